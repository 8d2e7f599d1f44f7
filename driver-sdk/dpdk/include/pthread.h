/* What DPDK's headers want of threads: types for what a nook, with its one thread, never does. */
#ifndef NOOK_PTHREAD_H
#define NOOK_PTHREAD_H

#include <sys/types.h>

typedef struct {
    unsigned long bits[2];
} cpu_set_t;
#define CPU_SETSIZE 64

#endif
