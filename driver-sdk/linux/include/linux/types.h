/* Types, and attributes for the compiler. */
#ifndef NOOK_LINUX_TYPES_H
#define NOOK_LINUX_TYPES_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

typedef uint8_t u8;
typedef uint16_t u16;
typedef uint32_t u32;
typedef uint64_t u64;
typedef int32_t s32;
typedef unsigned int uint;

/* Bit orders stand in names only, as everywhere outside Linux's checker. */
typedef u16 __le16, __be16;
typedef u32 __le32, __be32;
typedef u64 __le64;
typedef u16 __sum16;

typedef u64 dma_addr_t;
typedef unsigned gfp_t;

#define __iomem
#define __init
#define __exit
#define __read_mostly
#define __maybe_unused __attribute__((unused))
#define __always_unused __attribute__((unused))
#define fallthrough __attribute__((fallthrough))
#define likely(x) __builtin_expect(!!(x), 1)
#define unlikely(x) __builtin_expect(!!(x), 0)

#endif
