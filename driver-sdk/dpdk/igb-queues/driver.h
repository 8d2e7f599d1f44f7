/* The igb with several queues. How many there are decides over vectors and DMA memory, which a manifest says before the
   driver runs, so this is another module. It stands before each of its files, and of the shim's. */
#ifndef NOOK_DPDK_IGB_QUEUES_H
#define NOOK_DPDK_IGB_QUEUES_H

/* The card has 16; the host's register map describes four. */
#define NOOK_RECEIVE_QUEUES 4

#endif
