/* There are none. */
#ifndef NOOK_RTE_POWER_INTRINSICS_H
#define NOOK_RTE_POWER_INTRINSICS_H

#include <generic/rte_power_intrinsics.h>

#endif
