/* Drivers' vector code is written for other processors; their portable code is taken. */
#ifndef NOOK_RTE_VECT_H
#define NOOK_RTE_VECT_H

#include <generic/rte_vect.h>
#define RTE_VECT_DEFAULT_SIMD_BITWIDTH RTE_VECT_SIMD_DISABLED

#endif
