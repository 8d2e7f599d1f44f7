/* Barriers. Each is a real fence; see nook/fence.h. A barrier for the compiler is one too: there are two compilers, and
   the host's knows no other. */
#ifndef NOOK_RTE_ATOMIC_H
#define NOOK_RTE_ATOMIC_H

#include <generic/rte_atomic.h>
#include <nook/fence.h>

#define rte_mb() nook_fence()
#define rte_wmb() rte_mb()
#define rte_rmb() rte_mb()
#define rte_smp_mb() rte_mb()
#define rte_smp_wmb() rte_mb()
#define rte_smp_rmb() rte_mb()
#define rte_io_mb() rte_mb()
#define rte_io_wmb() rte_mb()
#define rte_io_rmb() rte_mb()
#undef rte_compiler_barrier
#define rte_compiler_barrier() rte_mb()

static inline void rte_atomic_thread_fence(int order) {
    (void)order;
    rte_mb();
}

#endif
