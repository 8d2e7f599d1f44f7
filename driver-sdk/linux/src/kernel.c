/* Messages, text and work for later. */
#include "shim.h"

void nook_absent(const char *what) {
    nook_printk(NOOK_LOG_LEVEL_ERROR, NULL, "the driver came to what a nook does not have: %s", what);
    __builtin_trap();
}

void nook_printk(u32 level, const char *who, const char *format, ...) {
    char text[NOOK_LOG_LEVEL_MAX_BYTES + 1];
    va_list arguments;
    va_start(arguments, format);
    nook_format(text, sizeof text, format, arguments);
    va_end(arguments);
    nook_log_format(level, "%s%s%s", who ? who : "", who ? ": " : "", text);
}

void print_hex_dump(const char *level, const char *before, int kind, int per_line, int group, const void *bytes,
                    size_t len, bool ascii) {
    (void)level, (void)before, (void)kind, (void)group, (void)ascii;
    for (size_t line = 0; line < len; line += (size_t)per_line) {
        char text[3 * 32 + 1] = "";
        for (size_t at = line; at < len && at < line + (size_t)per_line && at < line + 32; at++)
            snprintf(text + 3 * (at - line), 4, " %02x", ((const u8 *)bytes)[at]);
        nook_printk(NOOK_LOG_LEVEL_ERROR, NULL, "%08zx:%s", line, text);
    }
}

ptrdiff_t strscpy(char *to, const char *from, size_t room) {
    size_t len = 0;
    for (; len + 1 < room && from[len]; len++)
        to[len] = from[len];
    if (room)
        to[len] = 0;
    return (ptrdiff_t)len;
}

/* Work whose turn it is. */
static struct nook_list turns = NOOK_LIST_INIT(turns);

static void take_turn(struct work_struct *work) {
    nook_list_insert_before(&turns, &work->in);
    nook_work_schedule();
}

static void time_has_come(struct nook_timer *timer) { take_turn(&NOOK_HOLDER(timer, struct delayed_work, timer)->work); }

void nook_work_init(struct work_struct *work, void (*function)(struct work_struct *work)) {
    *work = (struct work_struct){.function = function};
    nook_list_init(&work->in);
}

void nook_delayed_work_init(struct delayed_work *work, void (*function)(struct work_struct *work)) {
    nook_work_init(&work->work, function);
    work->timer = (struct nook_timer){.fire = time_has_come};
}

bool schedule_work(struct work_struct *work) {
    if (work->pending)
        return false;
    work->pending = true;
    take_turn(work);
    return true;
}

bool schedule_delayed_work(struct delayed_work *work, unsigned long delay_jiffies) {
    if (work->work.pending)
        return false;
    work->work.pending = true;
    nook_timer_start(&work->timer, nook_now_ns() + (u64)delay_jiffies * NOOK_JIFFY_NS);
    return true;
}

bool cancel_work_sync(struct work_struct *work) {
    bool was = work->pending;
    work->pending = false;
    nook_list_remove(&work->in);
    return was;
}

bool cancel_delayed_work_sync(struct delayed_work *work) {
    nook_timer_stop(&work->timer);
    return cancel_work_sync(&work->work);
}

void nook_work(void) {
    while (!nook_list_is_empty(&turns)) {
        struct work_struct *work = NOOK_HOLDER(turns.next, struct work_struct, in);
        nook_list_remove(&work->in);
        work->pending = false;
        work->function(work);
    }
}
