/* A module: here one that is linked in, with its parameters as they are. */
#ifndef NOOK_LINUX_MODULE_H
#define NOOK_LINUX_MODULE_H

#include <linux/kernel.h>

#define NOOK_STRING(x...) #x
#define __MODULE_STRING(x...) NOOK_STRING(x)
#define MODULE_AUTHOR(text) _Static_assert(1, text)
#define MODULE_DESCRIPTION(text) _Static_assert(1, text)
#define MODULE_LICENSE(text) _Static_assert(1, text)
#define MODULE_DEVICE_TABLE(kind, table) _Static_assert(sizeof(table) > 0, #kind)
#define MODULE_PARM_DESC(name, text) _Static_assert(sizeof(name) > 0, text)
#define module_param(name, type, mode) _Static_assert(sizeof(type) == sizeof(name), #name)
#define module_param_array_named(name, array, type, count, mode) _Static_assert(sizeof(array) >= sizeof(type), #name)

int init_module(void);
void cleanup_module(void);
#define module_init(function)                                                                                           \
    int init_module(void) { return function(); }
#define module_exit(function)                                                                                           \
    void cleanup_module(void) { function(); }

#endif
