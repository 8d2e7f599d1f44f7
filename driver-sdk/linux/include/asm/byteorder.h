/* WebAssembly is little-endian. */
#ifndef NOOK_ASM_BYTEORDER_H
#define NOOK_ASM_BYTEORDER_H

#include <linux/types.h>

#define cpu_to_le16(value) ((__le16)(value))
#define cpu_to_le32(value) ((__le32)(value))
#define cpu_to_le64(value) ((__le64)(value))
#define le16_to_cpu(value) ((u16)(value))
#define le64_to_cpu(value) ((u64)(value))
#define cpu_to_le16s(place) ((void)(place))
#define le16_to_cpus(place) ((void)(place))
/* A constant for a constant, as labels of a switch need it. */
#define cpu_to_be16(value) ((__be16)(((value) & 0xff) << 8 | ((value) >> 8 & 0xff)))
#define htons(value) cpu_to_be16(value)

#endif
