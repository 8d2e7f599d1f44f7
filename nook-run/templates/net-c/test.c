/* The driver against a device of a few lines, natively: what it asks of its host is answered here. */
#include "driver.c"

#include <assert.h>
#include <stdio.h>

static uint32_t first;
static struct nook_ring rings[4];
static struct nook_host_page host_page;
static uint32_t attached;

uint32_t nook_mmio_read32(uint32_t bar, uint32_t offset) {
    assert(bar == BAR && offset == FIRST);
    return first;
}

/* What the runtime asks for when a driver has DMA memory. */
int64_t nook_dma_alloc(uint32_t len_bytes, uint32_t align_bytes) {
    (void)len_bytes, (void)align_bytes;
    return NOOK_NO_MEMORY;
}

void nook_dma_free(uint32_t region) { (void)region; }

int32_t nook_net_attach(uint64_t mac, uint32_t max_mtu) {
    assert(mac == ADDRESS && max_mtu == MTU_BYTES);
    attached++;
    return 0;
}

uint32_t nook_net_filter(uint32_t direction, uint32_t offset, uint32_t len_bytes) {
    (void)direction, (void)offset, (void)len_bytes;
    return NOOK_FILTER_VERDICT_PASS;
}

int main(void) {
    struct nook_net_page class = {0};
    for (uint32_t queue = 0; queue < 4; queue++)
        class.rings[queue] = (uintptr_t)&rings[queue];
    __builtin_memcpy(host_page.class, &class, sizeof class);
    host_page.magic = NOOK_HOST_PAGE_MAGIC;
    first = UINT32_MAX;
    assert(nook_probe(NOOK_PROBE_REASON_COLD, (uintptr_t)&host_page) == NOOK_NO_DEVICE && attached == 0);
    first = 0x12345678;
    assert(nook_probe(NOOK_PROBE_REASON_COLD, (uintptr_t)&host_page) == 0 && attached == 1);
    assert(nook_open() == 0);
    for (uint32_t id = 0; id < 3; id++)
        nook_give(NOOK_QUEUE_TX_PROVIDE, &(struct nook_queue_entry){.id = id, .generation = 5, .len_bytes = 60});
    assert(nook_poll(0, 2, 0) == NOOK_POLL_RESULT_AGAIN && nook_waiting(NOOK_QUEUE_TX_RETURN) == 2);
    assert(nook_poll(0, 2, 0) == NOOK_POLL_RESULT_IDLE && nook_waiting(NOOK_QUEUE_TX_PROVIDE) == 0);
    for (uint32_t id = 0; id < 3; id++) {
        struct nook_queue_entry frame;
        assert(nook_take(NOOK_QUEUE_TX_RETURN, &frame) && frame.id == id && frame.generation == 5);
        assert(frame.status == NOOK_PACKET_STATUS_FAILED);
    }
    assert(nook_stop() == 0);
    puts("all is well");
    return 0;
}
