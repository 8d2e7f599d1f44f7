/* Registers. A driver's pointer to one is no address in its memory: it names a BAR and an offset, and each access is a
   hostcall, which no compiler moves other accesses across. */
#ifndef NOOK_RTE_IO_H
#define NOOK_RTE_IO_H

#define RTE_OVERRIDE_IO_H
#include <generic/rte_io.h>
#include <nook/abi.h>
#include <rte_atomic.h>

/* Above the memory that a driver can have: bit 31, the BAR in bits 24 to 30, the offset in the others. */
#define NOOK_BAR(bar) ((void *)(uintptr_t)(0x80000000u | (uint32_t)(bar) << 24))
#define NOOK_BAR_BYTES (1u << 24)

static inline uint32_t nook_bar_of(const volatile void *place) { return (uint32_t)(uintptr_t)place >> 24 & 0x7f; }
static inline uint32_t nook_offset_of(const volatile void *place) { return (uint32_t)(uintptr_t)place & (NOOK_BAR_BYTES - 1); }

#define NOOK_REGISTER(bits)                                                                                             \
    static inline uint##bits##_t rte_read##bits##_relaxed(const volatile void *place) {                                 \
        return (uint##bits##_t)nook_mmio_read##bits(nook_bar_of(place), nook_offset_of(place));                         \
    }                                                                                                                   \
    static inline uint##bits##_t rte_read##bits(const volatile void *place) { return rte_read##bits##_relaxed(place); } \
    static inline void rte_write##bits##_relaxed(uint##bits##_t value, volatile void *place) {                          \
        nook_mmio_write##bits(nook_bar_of(place), nook_offset_of(place), value);                                        \
    }                                                                                                                   \
    static inline void rte_write##bits(uint##bits##_t value, volatile void *place) {                                    \
        rte_write##bits##_relaxed(value, place);                                                                        \
    }

NOOK_REGISTER(8)
NOOK_REGISTER(16)
NOOK_REGISTER(32)
NOOK_REGISTER(64)

static inline void rte_write32_wc_relaxed(uint32_t value, volatile void *place) { rte_write32_relaxed(value, place); }
static inline void rte_write32_wc(uint32_t value, volatile void *place) { rte_write32(value, place); }

#endif
