/* Linux's numbers, which are not wasi-libc's. */
#ifndef NOOK_LINUX_ERRNO_H
#define NOOK_LINUX_ERRNO_H

#define EIO 5
#define ENOMEM 12
#define EFAULT 14
#define EBUSY 16
#define ENODEV 19
#define EINVAL 22
#define EOPNOTSUPP 95
#define EADDRNOTAVAIL 99

#endif
