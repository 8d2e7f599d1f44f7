/* A cycle is a nanosecond of the host's clock. */
#ifndef NOOK_RTE_CYCLES_H
#define NOOK_RTE_CYCLES_H

#include <generic/rte_cycles.h>
#include <nook/abi.h>

static inline uint64_t rte_rdtsc(void) { return nook_clock_ns(); }
static inline uint64_t rte_rdtsc_precise(void) { return nook_clock_ns(); }
static inline uint64_t rte_get_tsc_cycles(void) { return nook_clock_ns(); }

#endif
