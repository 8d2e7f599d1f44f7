/* Small things, and messages. */
#ifndef NOOK_LINUX_KERNEL_H
#define NOOK_LINUX_KERNEL_H

#include <linux/errno.h>
#include <linux/types.h>
#include <nook/abi.h>
#include <string.h>

#define ARRAY_SIZE(array) (sizeof(array) / sizeof((array)[0]))
#define ALIGN(value, to) (((value) + (typeof(value))(to) - 1) & ~((typeof(value))(to) - 1))
#define container_of(pointer, type, member) ((type *)((char *)(pointer) - offsetof(type, member)))
#define min(a, b)                                                                                                       \
    ({                                                                                                                  \
        typeof(a) min_a = (a);                                                                                          \
        typeof(b) min_b = (b);                                                                                          \
        min_a < min_b ? min_a : min_b;                                                                                  \
    })
#define max(a, b)                                                                                                       \
    ({                                                                                                                  \
        typeof(a) max_a = (a);                                                                                          \
        typeof(b) max_b = (b);                                                                                          \
        max_a > max_b ? max_a : max_b;                                                                                  \
    })

/* For what no path of a nook leads to: says which part of the kernel is not there, and ends the driver. */
_Noreturn void nook_absent(const char *what);

/* A message of `who`, if that is no null pointer. */
void nook_printk(u32 level, const char *who, const char *format, ...) __attribute__((format(printf, 3, 4)));
/* What drivers trace of themselves would be thousands of hostcalls in a probe: only checked. */
#define nook_no_printk(...)                                                                                             \
    do {                                                                                                                \
        if (0)                                                                                                          \
            nook_printk(NOOK_LOG_LEVEL_DEBUG, NULL, __VA_ARGS__);                                                       \
    } while (0)

/* Drivers define it again, with their name before the message. */
#define pr_fmt(format) format
#define pr_err(format, ...) nook_printk(NOOK_LOG_LEVEL_ERROR, NULL, pr_fmt(format), ##__VA_ARGS__)
#define pr_info(format, ...) nook_printk(NOOK_LOG_LEVEL_INFO, NULL, pr_fmt(format), ##__VA_ARGS__)

#define KERN_ERR ""
enum { DUMP_PREFIX_NONE, DUMP_PREFIX_ADDRESS, DUMP_PREFIX_OFFSET };
void print_hex_dump(const char *level, const char *before, int kind, int per_line, int group, const void *bytes,
                    size_t len, bool ascii);

#define WARN_ON(condition)                                                                                              \
    ({                                                                                                                  \
        bool warn_on = !!(condition);                                                                                   \
        if (unlikely(warn_on))                                                                                          \
            nook_printk(NOOK_LOG_LEVEL_WARN, NULL, "%s:%d: %s", __FILE__, __LINE__, #condition);                        \
        warn_on;                                                                                                        \
    })
#define BUG() nook_absent("BUG()")

int snprintf(char *text, size_t room, const char *format, ...) __attribute__((format(printf, 3, 4)));
ptrdiff_t strscpy(char *to, const char *from, size_t room);

enum system_states { SYSTEM_RUNNING, SYSTEM_POWER_OFF };
#define system_state SYSTEM_RUNNING

#endif
