/* The shim between DPDK's poll-mode Ethernet drivers and a nook: what its files say to each other. */
#ifndef NOOK_DPDK_SHIM_H
#define NOOK_DPDK_SHIM_H

#include <ethdev_driver.h>
#include <ethdev_pci.h>
#include <nook/runtime.h>
#include <stdbool.h>

/* Frames and buffers that the driver may hold: as many as a queue of the host has entries, so that all of them can be
   returned at once. */
#define NOOK_DESCRIPTORS NOOK_QUEUE_CAPACITY
/* Rings that the driver fills with buffers for each of its receive queues. */
#ifndef NOOK_RECEIVE_RINGS
#define NOOK_RECEIVE_RINGS 1
#endif

/* Receive queues that the driver is asked for. The device spreads frames over them by a hash of addresses and ports, so
   that those of one flow are in one queue; each has a vector, if there are as many. All belong to the nook's one
   interface, and one `poll` receives from all. */
#ifndef NOOK_RECEIVE_QUEUES
#define NOOK_RECEIVE_QUEUES 1
#endif

/* The one device, its port, and the driver that took it. */
extern struct rte_pci_device nook_pci;
extern struct rte_eth_dev_data nook_port_data;
static inline struct rte_eth_dev *nook_port(void) { return &rte_eth_devices[0]; }
/* Finds a driver for the device. Returns what its probe returned, or -ENODEV. */
int nook_pci_probe(void);
void nook_pci_remove(void);
/* Calls what the driver registered, if the interrupt is the port's. Says which receive queues it is for (too), as bits. */
uint32_t nook_pci_interrupt(uint32_t vector);
/* Tells the host of the link as the driver last found it. */
void nook_tell_link(void);

/* The pools that the driver takes receive buffers from and puts transmit buffers into. */
extern struct rte_mempool *nook_receive_pool;
/* Makes the pools, once, for a transmit ring of this many descriptors. Returns 0 or -ENOMEM. */
int nook_pools_make(uint32_t descriptors);
/* Returns receive buffers to the host that the driver freed, as many as there is room for. */
void nook_return_spares(void);
/* Gives a received frame to the host; `status` is a NOOK_PACKET_STATUS. */
void nook_received(struct rte_mbuf *frame, uint16_t status);
/* Hands frames from the host to the driver, as many as it takes. */
void nook_send(uint32_t budget);
/* Returns frames that the device is done with to the host. Says how many. */
uint32_t nook_reap(void);
/* After the driver was stopped: returns all frames that are left. */
void nook_reap_all(void);
/* Frames that the host gave and did not get back yet. */
uint32_t nook_sending(void);

#endif
