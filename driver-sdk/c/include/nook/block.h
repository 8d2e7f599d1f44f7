/* The two rings of a disk's driver. Host and driver never use one at the same time, so nothing here needs a barrier. */
#ifndef NOOK_BLOCK_H
#define NOOK_BLOCK_H

#include <nook/runtime.h>

/* What the block class has in the host page. */
static inline struct nook_block_page *nook_block_page(void) { return (struct nook_block_page *)nook_page->class; }

struct nook_block_requests {
    struct nook_ring_header header;
    struct nook_block_request entries[NOOK_QUEUE_CAPACITY];
};

struct nook_block_completions {
    struct nook_ring_header header;
    struct nook_block_completion entries[NOOK_QUEUE_CAPACITY];
};

/* Takes the next request, if there is one: it is the driver's until it is completed, once. */
static inline bool nook_block_take(struct nook_block_request *request) {
    struct nook_block_requests *ring = (struct nook_block_requests *)(uintptr_t)nook_block_page()->requests;
    if (ring->header.consumed == ring->header.produced)
        return false;
    *request = ring->entries[ring->header.consumed % NOOK_QUEUE_CAPACITY];
    ring->header.consumed++;
    return true;
}

/* How many completions there is room for. The host takes them out after each call that makes some. */
static inline uint32_t nook_block_room(void) {
    struct nook_block_completions *ring = (struct nook_block_completions *)(uintptr_t)nook_block_page()->completions;
    return NOOK_QUEUE_CAPACITY - (ring->header.produced - ring->header.consumed);
}

/* Completes a request, if there is room: the device will not touch its data any more. `status` is one of
   NOOK_BLOCK_STATUS_*, `detail` what the device said, for people. */
static inline void nook_block_complete(const struct nook_block_request *request, uint16_t status, uint32_t detail) {
    struct nook_block_completions *ring = (struct nook_block_completions *)(uintptr_t)nook_block_page()->completions;
    ring->entries[ring->header.produced % NOOK_QUEUE_CAPACITY] = (struct nook_block_completion){
        .id = request->id, .generation = request->generation, .status = status, .detail = detail};
    ring->header.produced++;
}

#endif
