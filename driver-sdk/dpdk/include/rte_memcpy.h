/* The compiler makes one instruction of it. */
#ifndef NOOK_RTE_MEMCPY_H
#define NOOK_RTE_MEMCPY_H

#include <string.h>
#define rte_memcpy(to, from, len) memcpy(to, from, len)

#endif
