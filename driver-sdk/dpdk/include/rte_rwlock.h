/* Without transactional memory, its variants of the locks are the locks. */
#ifndef NOOK_RTE_RWLOCK_H
#define NOOK_RTE_RWLOCK_H

#include <generic/rte_rwlock.h>

static inline void rte_rwlock_read_lock_tm(rte_rwlock_t *lock) { rte_rwlock_read_lock(lock); }
static inline void rte_rwlock_read_unlock_tm(rte_rwlock_t *lock) { rte_rwlock_read_unlock(lock); }
static inline void rte_rwlock_write_lock_tm(rte_rwlock_t *lock) { rte_rwlock_write_lock(lock); }
static inline void rte_rwlock_write_unlock_tm(rte_rwlock_t *lock) { rte_rwlock_write_unlock(lock); }

#endif
