/* No other thread runs that could be waited for. */
#ifndef NOOK_RTE_PAUSE_H
#define NOOK_RTE_PAUSE_H

#include <rte_atomic.h>
#include <generic/rte_pause.h>

static inline void rte_pause(void) { rte_mb(); }

#endif
