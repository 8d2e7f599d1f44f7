#ifndef NOOK_LINUX_DEVICE_H
#define NOOK_LINUX_DEVICE_H

#include <linux/kernel.h>

struct device {
    const char *name;
    void *driver_data;
};
#define dev_err(device, format, ...) nook_printk(NOOK_LOG_LEVEL_ERROR, (device)->name, format, ##__VA_ARGS__)
#define dev_warn(device, format, ...) nook_printk(NOOK_LOG_LEVEL_WARN, (device)->name, format, ##__VA_ARGS__)
#define dev_info(device, format, ...) nook_printk(NOOK_LOG_LEVEL_INFO, (device)->name, format, ##__VA_ARGS__)

/* A nook does not sleep. */
static inline bool device_can_wakeup(struct device *device) {
    (void)device;
    return false;
}
static inline int device_set_wakeup_enable(struct device *device, bool enable) {
    (void)device, (void)enable;
    return 0;
}
struct dev_pm_ops {
    int (*suspend)(struct device *device);
    int (*resume)(struct device *device);
};
#define SIMPLE_DEV_PM_OPS(name, suspend_one, resume_one)                                                                \
    const struct dev_pm_ops __maybe_unused name = {.suspend = suspend_one, .resume = resume_one}

#endif
