/* The driver against a device of a few lines, natively: what it asks of its host is answered here. */
#include "driver.c"

#include <assert.h>
#include <stdio.h>

static uint32_t first;
static unsigned char mail[NOOK_MAILBOX_BYTES];
static struct nook_host_page host_page;
static uint32_t attached, completed;

uint32_t nook_mmio_read32(uint32_t bar, uint32_t offset) {
    assert(bar == BAR && offset == FIRST);
    return first;
}

int32_t nook_misc_attach(uint32_t len_bytes) {
    attached = len_bytes;
    return 0;
}

void nook_misc_complete(uint32_t ticket, int32_t status, uint32_t len_bytes) {
    assert(ticket == 7 && status == 0 && len_bytes == 4);
    completed++;
}

int main(void) {
    host_page.mailbox_addr = (uintptr_t)mail;
    first = UINT32_MAX;
    assert(nook_probe(NOOK_PROBE_REASON_COLD, (uintptr_t)&host_page) == NOOK_NO_DEVICE);
    first = 0x12345678;
    assert(nook_probe(NOOK_PROBE_REASON_COLD, (uintptr_t)&host_page) == 0 && attached == sizeof operations - 1);
    assert(nook_open() == 0);
    assert(nook_invoke(7, 0, 0) == 0 && completed == 1);
    assert(mail[0] == 0x78 && mail[1] == 0x56 && mail[2] == 0x34 && mail[3] == 0x12);
    assert(nook_invoke(8, 1, 0) == NOOK_UNSUPPORTED && nook_invoke(8, 0, 1) == NOOK_INVALID);
    puts("all is well");
    return 0;
}
