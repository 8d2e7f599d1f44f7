/* Time. */
#ifndef NOOK_LINUX_JIFFIES_H
#define NOOK_LINUX_JIFFIES_H

#include <nook/runtime.h>

#define HZ 1000
#define NOOK_JIFFY_NS (1000000000u / HZ)
/* As of the event that the driver was called for: reading it costs nothing. */
#define jiffies ((unsigned long)(nook_now_ns() / NOOK_JIFFY_NS))
#define time_after(a, b) ((long)((b) - (a)) < 0)
#define time_after_eq(a, b) ((long)((a) - (b)) >= 0)

#endif
