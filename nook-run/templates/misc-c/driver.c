/* The driver @NAME@: nook/abi.h has everything that it may ask its host for. */
#include <nook/abi.h>

/* The registers, made of @NAME@.regs.toml by make. */
#include "registers.h"

/* What the driver is, and what it needs: read before it runs. */
NOOK_MANIFEST("name = @NAME@\n"
              "version = 0.1.0\n"
              "license = Apache-2.0\n"
              "class = misc\n"
              "pci = @PCI@\n"
              "registers = @NAME@\n"
              "dma_bytes = 4096\n"
              "dma_mask_bits = 32\n");

/* The operations, one a line, called by their number from 0: a name, and an example with input and output. */
static const char operations[] = "first -";

static struct nook_host_page *page;

/* The mailbox, in which text and bytes pass that no register holds. */
static unsigned char *mailbox(void) { return (unsigned char *)(uintptr_t)page->mailbox_addr; }

int32_t nook_probe(uint32_t reason, uintptr_t host_page) {
    (void)reason;
    page = (struct nook_host_page *)host_page;
    /* After a fault the device may be in any state: reset it here. */
    if (nook_mmio_read32(BAR, FIRST) == UINT32_MAX)
        return NOOK_NO_DEVICE;
    for (size_t i = 0; i + 1 < sizeof operations; i++)
        mailbox()[i] = operations[i];
    return nook_misc_attach(sizeof operations - 1);
}

void nook_remove(void) {}

int32_t nook_open(void) { return 0; }

int32_t nook_stop(void) { return 0; }

int32_t nook_invoke(uint32_t ticket, uint32_t operation, uint32_t len_bytes) {
    if (operation != 0)
        return NOOK_UNSUPPORTED;
    if (len_bytes != 0)
        return NOOK_INVALID;
    uint32_t first = nook_mmio_read32(BAR, FIRST);
    for (int i = 0; i < 4; i++)
        mailbox()[i] = first >> 8 * i;
    nook_misc_complete(ticket, 0, 4);
    return 0;
}

uint32_t nook_poll(uint32_t queue, uint32_t budget, uint32_t flags) {
    (void)queue, (void)budget, (void)flags;
    return 0;
}

uint32_t nook_irq(uint32_t vector) {
    (void)vector;
    return 0;
}
