/* Barriers. What orders accesses that a device sees is a real fence (nook/fence.h). What orders those of several
   processors need only stop the compiler: a nook has one thread, as a kernel for one processor has. */
#ifndef NOOK_ASM_BARRIER_H
#define NOOK_ASM_BARRIER_H

#include <nook/fence.h>

#define barrier() __asm__ volatile("" ::: "memory")
#define dma_wmb() nook_fence()
#define dma_rmb() nook_fence()
#define smp_mb() barrier()
#define smp_mb__before_atomic() barrier()

#define READ_ONCE(place) (*(const volatile typeof(place) *)&(place))
#define smp_load_acquire(place)                                                                                         \
    ({                                                                                                                  \
        typeof(*(place)) loaded = READ_ONCE(*(place));                                                                  \
        barrier();                                                                                                      \
        loaded;                                                                                                         \
    })
#define smp_store_release(place, value)                                                                                 \
    do {                                                                                                                \
        barrier();                                                                                                      \
        *(volatile typeof(*(place)) *)(place) = (value);                                                                \
    } while (0)

#endif
