/* What this driver needs that others do not: it stands before each of its files, and of the shim's. */
#ifndef NOOK_DPDK_VMXNET3_H
#define NOOK_DPDK_VMXNET3_H

/* It fills two rings for each receive queue; the second is for the rest of long frames. */
#define NOOK_RECEIVE_RINGS 2

/* In place of the driver's own base/vmxnet3_osdep.h, which is made to be replaced. A receive descriptor is given to the
   device by a bit in memory, with nothing in the source that orders it after the address: clang 14 stored the address
   last. The words that descriptors are made of are volatile here, so that the order of the source is kept. */
#define _VMXNET3_OSDEP_H
#include <stdbool.h>
#include <stdint.h>

typedef volatile uint64_t uint64;
typedef volatile uint32_t uint32;
typedef uint16_t uint16;
typedef uint8_t uint8;

#define UNLIKELY(x) __builtin_expect((x), 0)

#endif
