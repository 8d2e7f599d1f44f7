#ifndef NOOK_LINUX_DELAY_H
#define NOOK_LINUX_DELAY_H

#include <nook/runtime.h>

static inline void udelay(unsigned long us) { nook_wait_ns((uint64_t)us * 1000); }
static inline void mdelay(unsigned long ms) { nook_wait_ns((uint64_t)ms * 1000000); }
static inline void msleep(unsigned ms) { mdelay(ms); }
static inline void usleep_range(unsigned long from_us, unsigned long to_us) {
    (void)to_us;
    udelay(from_us);
}
/* Nobody interrupts: nothing is left of the time. */
static inline unsigned long msleep_interruptible(unsigned ms) {
    msleep(ms);
    return 0;
}

#endif
