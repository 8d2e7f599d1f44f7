/* The driver against a device of a few lines, natively: what it asks of its host is answered here. */
#include "driver.c"

#include <assert.h>
#include <stdio.h>

static uint32_t first;
static unsigned char mail[NOOK_MAILBOX_BYTES], window[3 * 4096];
static struct nook_block_requests requests;
static struct nook_block_completions completions;
static struct nook_host_page host_page;
static uint32_t attached;

uint32_t nook_mmio_read32(uint32_t bar, uint32_t offset) {
    assert(bar == BAR && offset == FIRST);
    return first;
}

void nook_log(uint32_t level, uintptr_t text, uint32_t len_bytes) {
    assert(level == NOOK_LOG_LEVEL_WARN);
    printf("%.*s\n", (int)len_bytes, (const char *)text);
}

/* What the runtime asks for when a driver has DMA memory. */
int64_t nook_dma_alloc(uint32_t len_bytes, uint32_t align_bytes) {
    (void)len_bytes, (void)align_bytes;
    return NOOK_NO_MEMORY;
}

void nook_dma_free(uint32_t region) { (void)region; }

int32_t nook_block_attach(uint32_t len_bytes) {
    struct nook_disk disk;
    assert(len_bytes == sizeof disk);
    __builtin_memcpy(&disk, mail, sizeof disk);
    assert(disk.blocks == BLOCKS && disk.block_bytes == BLOCK_BYTES && disk.max_blocks == 4096 / BLOCK_BYTES);
    attached++;
    return 0;
}

/* Asks for two blocks from 7 on; a flush has none. */
static void ask(uint32_t id, uint8_t op) {
    uint32_t blocks = op == NOOK_BLOCK_OP_FLUSH ? 0 : 2;
    requests.entries[requests.header.produced++ % NOOK_QUEUE_CAPACITY] =
        (struct nook_block_request){.id = id, .generation = 3, .op = op, .first = blocks ? 7 : 0, .blocks = blocks,
                                    .len_bytes = blocks * BLOCK_BYTES, .offset = id * 4096};
}

int main(void) {
    struct nook_block_page class = {.requests = (uintptr_t)&requests, .completions = (uintptr_t)&completions,
                                    .most_requests = 3, .transfer_bytes = 4096};
    __builtin_memcpy(host_page.class, &class, sizeof class);
    host_page.magic = NOOK_HOST_PAGE_MAGIC;
    host_page.mailbox_addr = (uintptr_t)mail;
    host_page.window_addr = (uintptr_t)window;
    first = UINT32_MAX;
    assert(nook_probe(NOOK_PROBE_REASON_COLD, (uintptr_t)&host_page) == NOOK_NO_DEVICE && attached == 0);
    first = 0x12345678;
    assert(nook_probe(NOOK_PROBE_REASON_COLD, (uintptr_t)&host_page) == 0 && attached == 1);
    assert(nook_open() == 0);
    __builtin_memset(window, 0xa5, 2 * BLOCK_BYTES);
    ask(0, NOOK_BLOCK_OP_WRITE);
    ask(1, NOOK_BLOCK_OP_FLUSH);
    ask(2, NOOK_BLOCK_OP_READ);
    assert(nook_poll(0, 2, 0) == NOOK_POLL_RESULT_AGAIN && completions.header.produced == 2);
    assert(nook_poll(0, 2, 0) == NOOK_POLL_RESULT_IDLE && completions.header.produced == 3);
    for (uint32_t id = 0; id < 3; id++) {
        const struct nook_block_completion *completion = &completions.entries[id];
        assert(completion->id == id && completion->generation == 3 && completion->status == NOOK_BLOCK_STATUS_DONE);
    }
    assert(window[2 * 4096] == 0xa5 && window[2 * 4096 + 2 * BLOCK_BYTES - 1] == 0xa5);
    assert(window[2 * 4096 + 2 * BLOCK_BYTES] == 0);
    ask(0, NOOK_BLOCK_OP_DISCARD);
    assert(nook_poll(0, 2, 0) == NOOK_POLL_RESULT_IDLE && completions.entries[3].status == NOOK_BLOCK_STATUS_FAILED);
    assert(nook_stop() == 0);
    puts("all is well");
    return 0;
}
