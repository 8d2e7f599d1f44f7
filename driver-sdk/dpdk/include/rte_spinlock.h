/* Without transactional memory, its variants of the locks are the locks. */
#ifndef NOOK_RTE_SPINLOCK_H
#define NOOK_RTE_SPINLOCK_H

#include <generic/rte_spinlock.h>

static inline int rte_tm_supported(void) { return 0; }
static inline void rte_spinlock_lock_tm(rte_spinlock_t *lock) { rte_spinlock_lock(lock); }
static inline void rte_spinlock_unlock_tm(rte_spinlock_t *lock) { rte_spinlock_unlock(lock); }
static inline int rte_spinlock_trylock_tm(rte_spinlock_t *lock) { return rte_spinlock_trylock(lock); }
static inline void rte_spinlock_recursive_lock_tm(rte_spinlock_recursive_t *lock) { rte_spinlock_recursive_lock(lock); }
static inline void rte_spinlock_recursive_unlock_tm(rte_spinlock_recursive_t *lock) { rte_spinlock_recursive_unlock(lock); }
static inline int rte_spinlock_recursive_trylock_tm(rte_spinlock_recursive_t *lock) {
    return rte_spinlock_recursive_trylock(lock);
}

#endif
