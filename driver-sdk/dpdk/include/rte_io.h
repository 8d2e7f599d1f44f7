/* Registers. A driver's pointer to one is no address in its memory: it names a BAR and an offset, and each access is a
   hostcall, which no compiler moves other accesses across. */
#ifndef NOOK_RTE_IO_H
#define NOOK_RTE_IO_H

#define RTE_OVERRIDE_IO_H
#include <generic/rte_io.h>
#include <nook/registers.h>
#include <rte_atomic.h>

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
