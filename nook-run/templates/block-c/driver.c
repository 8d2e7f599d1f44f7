/* The driver @NAME@: it finds its device and has a disk in its own memory, until requests go to the device. nook/abi.h
   has everything that it may ask its host for, nook/runtime.h what makes that easy. */
#include <nook/block.h>

/* The registers, made of @NAME@.regs.toml by make. */
#include "registers.h"

/* What the driver is, and what it needs: read before it runs. */
NOOK_MANIFEST("name = @NAME@\n"
              "version = 0.1.0\n"
              "license = Apache-2.0\n"
              "class = block\n"
              "pci = @PCI@\n"
              "registers = @NAME@\n"
              "dma_bytes = 4096\n"
              "dma_mask_bits = 32\n"
              "requests = 16\n"
              "transfer_bytes = 32768\n");

/* The disk, until the device says what it is. */
enum { BLOCKS = 1024, BLOCK_BYTES = 512 };

/* What it holds. It is gone when the driver ends, as no driver's disk should be. */
static unsigned char content[BLOCKS * BLOCK_BYTES];

int32_t nook_probe(uint32_t reason, uintptr_t host_page) {
    static const char text[] = "the disk is memory of the driver's: nothing reaches the device, and nothing lasts";
    (void)reason;
    int32_t status = nook_runtime_begin(host_page);
    if (status < 0)
        return status;
    /* After a fault the device may be in any state: reset it here, and ask it what disk it has. */
    if (nook_mmio_read32(BAR, FIRST) == UINT32_MAX)
        return NOOK_NO_DEVICE;
    nook_log(NOOK_LOG_LEVEL_WARN, (uintptr_t)text, sizeof text - 1);
    /* What it cannot do is not asked: discards and zeroes, writes that are durable when they are done. */
    struct nook_disk disk = {.blocks = BLOCKS,
                             .block_bytes = BLOCK_BYTES,
                             .max_blocks = nook_block_page()->transfer_bytes / BLOCK_BYTES,
                             .flags = NOOK_DISK_FLAGS_VOLATILE_CACHE};
    __builtin_memcpy((void *)(uintptr_t)nook_page->mailbox_addr, &disk, sizeof disk);
    return nook_block_attach(sizeof disk);
}

void nook_remove(void) {}

/* Queues, DMA and interrupts are turned on here. */
int32_t nook_open(void) { return 0; }

/* What the device still has is completed here, as NOOK_BLOCK_STATUS_UNUSED if it was not done. */
int32_t nook_stop(void) { return 0; }

/* Returns whether it was done. The host asks for blocks that are there, and the data is as long as these. */
static bool serve(const struct nook_block_request *request) {
    unsigned char *data = (unsigned char *)(uintptr_t)(nook_page->window_addr + request->offset);
    unsigned char *blocks = content + (size_t)request->first * BLOCK_BYTES;
    switch (request->op) {
    case NOOK_BLOCK_OP_READ:
        __builtin_memcpy(data, blocks, request->len_bytes);
        return true;
    case NOOK_BLOCK_OP_WRITE:
        __builtin_memcpy(blocks, data, request->len_bytes);
        return true;
    case NOOK_BLOCK_OP_FLUSH:
        return true;
    default:
        return false;
    }
}

/* Requests go to a queue of the device here, are kept by their ids, and completed when the device is done with them.
   Until then each is done at once. */
uint32_t nook_poll(uint32_t queue, uint32_t budget, uint32_t flags) {
    (void)queue, (void)flags;
    struct nook_block_request request;
    for (uint32_t done = 0; done < budget && nook_block_room() > 0; done++) {
        if (!nook_block_take(&request))
            return NOOK_POLL_RESULT_IDLE;
        nook_block_complete(&request, serve(&request) ? NOOK_BLOCK_STATUS_DONE : NOOK_BLOCK_STATUS_FAILED, 0);
    }
    return NOOK_POLL_RESULT_AGAIN;
}

uint32_t nook_irq(uint32_t vector) {
    (void)vector;
    return 0;
}
