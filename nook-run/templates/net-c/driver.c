/* The driver @NAME@: it finds its device and has an interface without a link. nook/abi.h has everything that it may ask
   its host for, nook/runtime.h what makes that easy. */
#include <nook/runtime.h>

/* The registers, made of @NAME@.regs.toml by make. */
#include "registers.h"

/* What the driver is, and what it needs: read before it runs. */
NOOK_MANIFEST("name = @NAME@\n"
              "version = 0.1.0\n"
              "license = Apache-2.0\n"
              "class = net\n"
              "pci = @PCI@\n"
              "registers = @NAME@\n"
              "dma_bytes = 4096\n"
              "dma_mask_bits = 32\n");

/* What the interface is called on the wire until the device's own address is read: 02:00:00:00:00:01. */
static const uint64_t ADDRESS = 0x010000000002;
enum { MTU_BYTES = 1500 };

int32_t nook_probe(uint32_t reason, uintptr_t host_page) {
    (void)reason;
    int32_t status = nook_runtime_begin(host_page);
    if (status < 0)
        return status;
    /* After a fault the device may be in any state: reset it here. */
    if (nook_mmio_read32(BAR, FIRST) == UINT32_MAX)
        return NOOK_NO_DEVICE;
    return nook_net_attach(ADDRESS, MTU_BYTES);
}

void nook_remove(void) {}

/* Rings, DMA and interrupts are turned on here, and nook_net_link says that there is a link. */
int32_t nook_open(void) { return 0; }

int32_t nook_stop(void) { return 0; }

/* Frames to be sent go into a ring of the device here, and come back when it is done with them; until then they come
   back as not sent. */
uint32_t nook_poll(uint32_t queue, uint32_t budget, uint32_t flags) {
    (void)queue, (void)flags;
    struct nook_queue_entry frame;
    for (uint32_t done = 0; done < budget && nook_room(NOOK_QUEUE_TX_RETURN) > 0; done++) {
        if (!nook_take(NOOK_QUEUE_TX_PROVIDE, &frame))
            return NOOK_POLL_RESULT_IDLE;
        frame.status = NOOK_PACKET_STATUS_FAILED;
        nook_give(NOOK_QUEUE_TX_RETURN, &frame);
    }
    return NOOK_POLL_RESULT_AGAIN;
}

uint32_t nook_irq(uint32_t vector) {
    (void)vector;
    return 0;
}
