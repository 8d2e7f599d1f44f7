/* The driver @NAME@: it finds its device and has a line on which nothing comes or goes yet. nook/abi.h has everything
   that it may ask its host for. */
#include <nook/abi.h>

/* The registers, made of @NAME@.regs.toml by make. */
#include "registers.h"

/* What the driver is, and what it needs: read before it runs. */
NOOK_MANIFEST("name = @NAME@\n"
              "version = 0.1.0\n"
              "license = Apache-2.0\n"
              "class = serial\n"
              "pci = @PCI@\n"
              "registers = @NAME@\n"
              "dma_bytes = 4096\n"
              "dma_mask_bits = 32\n");

/* What the chip holds each way, and its highest rate. */
enum { FIFO_BYTES = 16, MOST_BAUD = 115200 };

int32_t nook_probe(uint32_t reason, uintptr_t host_page) {
    (void)reason, (void)host_page;
    /* After a fault the device may be in any state: turn its interrupts off here, and leave what its FIFOs hold. */
    for (uint32_t pattern = 0x55; pattern <= 0xaa; pattern += 0x55) {
        nook_mmio_write8(BAR, SCRATCH, pattern);
        if (nook_mmio_read8(BAR, SCRATCH) != pattern)
            return NOOK_NO_DEVICE;
    }
    return nook_serial_attach(FIFO_BYTES, MOST_BAUD);
}

void nook_remove(void) {}

/* Interrupts are turned on here. */
int32_t nook_open(void) { return 0; }

int32_t nook_stop(void) { return 0; }

/* Rate and format go into the device here. NOOK_UNSUPPORTED refuses what it cannot do. */
int32_t nook_set_line(uint32_t baud, uint32_t format) {
    (void)baud, (void)format;
    return 0;
}

/* The lines towards the other side, and a break: bits of NOOK_CONTROL_*. */
int32_t nook_set_control(uint32_t lines) {
    (void)lines;
    return 0;
}

/* What was received is handed over with nook_serial_received here, at most `budget` bytes, and with
   NOOK_SERIAL_POLL_SEND in `flags`, the device is given what nook_serial_next has, as much as it takes; until then what
   is to be sent waits. */
uint32_t nook_poll(uint32_t queue, uint32_t budget, uint32_t flags) {
    (void)queue, (void)budget, (void)flags;
    return NOOK_POLL_RESULT_IDLE;
}

uint32_t nook_irq(uint32_t vector) {
    (void)vector;
    return 0;
}
