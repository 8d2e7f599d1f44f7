/* Work for later, in process context: the nook's `work`. */
#ifndef NOOK_LINUX_WORKQUEUE_H
#define NOOK_LINUX_WORKQUEUE_H

#include <linux/jiffies.h>
#include <linux/types.h>

struct work_struct {
    struct nook_list in;
    void (*function)(struct work_struct *work);
    /* It waits, for its time or for its turn. */
    bool pending;
};
struct delayed_work {
    struct work_struct work;
    struct nook_timer timer;
};

void nook_work_init(struct work_struct *work, void (*function)(struct work_struct *work));
void nook_delayed_work_init(struct delayed_work *work, void (*function)(struct work_struct *work));
#define INIT_WORK(work, function) nook_work_init(work, function)
#define INIT_DELAYED_WORK(work, function) nook_delayed_work_init(work, function)

/* False if it waits already. */
bool schedule_work(struct work_struct *work);
bool schedule_delayed_work(struct delayed_work *work, unsigned long delay_jiffies);
/* True if it waited. */
bool cancel_work_sync(struct work_struct *work);
bool cancel_delayed_work_sync(struct delayed_work *work);

#endif
