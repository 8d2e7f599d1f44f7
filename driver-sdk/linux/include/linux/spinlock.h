/* Locks: a nook has one thread, and nothing interrupts it. */
#ifndef NOOK_LINUX_SPINLOCK_H
#define NOOK_LINUX_SPINLOCK_H

#include <asm/barrier.h>
#include <linux/types.h>

typedef struct {
    char nothing;
} spinlock_t;
#define DEFINE_SPINLOCK(name) spinlock_t name
static inline void spin_lock_init(spinlock_t *lock) { (void)lock; }
#define spin_lock_irqsave(lock, flags) ((void)(lock), (flags) = 0)
#define spin_unlock_irqrestore(lock, flags) ((void)(lock), (void)(flags))

struct mutex {
    char nothing;
};
#define DEFINE_MUTEX(name) struct mutex name
static inline void mutex_lock(struct mutex *mutex) { (void)mutex; }
static inline void mutex_unlock(struct mutex *mutex) { (void)mutex; }

typedef struct {
    int counter;
} atomic_t;
static inline int atomic_read(const atomic_t *atomic) { return atomic->counter; }
static inline void atomic_set(atomic_t *atomic, int value) { atomic->counter = value; }

#define cond_resched() ((void)0)

#endif
