/* The driver against a device of a few lines, natively: what it asks of its host is answered here. */
#include "driver.c"

#include <assert.h>
#include <stdio.h>

/* A register, of which these bits can be written. */
static uint32_t held, writable;
static struct nook_host_page host_page;
static uint32_t attached;

uint32_t nook_mmio_read8(uint32_t bar, uint32_t offset) {
    assert(bar == BAR && offset == SCRATCH);
    return held;
}

void nook_mmio_write8(uint32_t bar, uint32_t offset, uint32_t value) {
    assert(bar == BAR && offset == SCRATCH && value <= 0xff);
    held = value & writable;
}

int32_t nook_serial_attach(uint32_t fifo_bytes, uint32_t most_baud) {
    assert(fifo_bytes == FIFO_BYTES && most_baud == MOST_BAUD);
    attached++;
    return 0;
}

int main(void) {
    writable = 0x0f;
    assert(nook_probe(NOOK_PROBE_REASON_COLD, (uintptr_t)&host_page) == NOOK_NO_DEVICE && attached == 0);
    writable = 0xff;
    assert(nook_probe(NOOK_PROBE_REASON_COLD, (uintptr_t)&host_page) == 0 && attached == 1);
    assert(nook_set_line(9600, 8 | 1 << 16) == 0 && nook_set_control(NOOK_CONTROL_DTR | NOOK_CONTROL_RTS) == 0);
    assert(nook_open() == 0 && nook_poll(0, 8, 0) == NOOK_POLL_RESULT_IDLE && nook_stop() == 0);
    puts("all is well");
    return 0;
}
