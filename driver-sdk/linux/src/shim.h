/* The shim between Linux's drivers of Ethernet cards and a nook: what its files say to each other. */
#ifndef NOOK_LINUX_SHIM_H
#define NOOK_LINUX_SHIM_H

#include <linux/etherdevice.h>
#include <linux/module.h>
#include <linux/pci.h>
#include <nook/runtime.h>

/* Finds out what the device is and lets the driver probe it. Returns what its probe returned, or -ENODEV. */
int nook_pci_probe(void);
void nook_pci_remove(void);
/* Calls what the driver requested the interrupt with. False if it says that another device raised it. */
bool nook_pci_interrupt(void);

/* The interface that the driver registered, or null. */
extern struct net_device *nook_device;
/* While the driver's interrupt handler runs: whether to poll is the handler's result then. */
extern bool nook_in_interrupt;

/* Makes what frames need, once. Returns 0 or -ENOMEM. */
int nook_frames_make(void);
/* While it is set, received frames go to the host as failed. */
extern bool nook_discarding;
/* Gives frames from the host to the driver, at most `budget` and as long as it takes some. */
void nook_send(u32 budget);
/* After the driver was stopped: returns all packet buffers that are left. */
void nook_frames_return(void);

#endif
