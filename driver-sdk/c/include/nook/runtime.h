/* A small runtime for drivers in C: what stands between nook/abi.h and a driver that was written for another system.

   It has memory, lists, timers, messages, DMA regions, waiting, the ends of the packet queues, and the hand-over of
   descriptors. It knows no device and no other system's names. Everything is for one thread, as a nook has one. */
#ifndef NOOK_RUNTIME_H
#define NOOK_RUNTIME_H

#include <nook/abi.h>
#include <nook/list.h>
#include <stdarg.h>
#include <stdbool.h>

/* The host page; null before nook_runtime_begin. The host writes it before a call, never during one. */
extern struct nook_host_page *nook_page;

/* Begins: to be called first in nook_probe, with its argument. Returns 0, or NOOK_INVALID for what is no host page. */
int32_t nook_runtime_begin(uintptr_t host_page);

/* The monotonic clock shortly before the call, in nanoseconds, for free. */
static inline uint64_t nook_now_ns(void) { return nook_page->now_ns; }

/* Memory: zeroed, from the heap that the manifest asked for. `align_bytes` is a power of two (less than 16 is 16). Null
   if there is no room. */
void *nook_alloc(size_t len_bytes, size_t align_bytes);
void nook_free(void *memory);

/* Messages. The format has what printf has, without floating point, and %pM for the six bytes
   of a MAC address. What is longer than the host takes is cut off. */
void nook_log_format(uint32_t level, const char *format, ...) __attribute__((format(printf, 2, 3)));
void nook_log_list(uint32_t level, const char *format, va_list arguments);
/* Writes at most `room_bytes` with the terminating zero, and returns how many bytes the whole text has without it. */
size_t nook_format(char *text, size_t room_bytes, const char *format, va_list arguments);

/* Waits at least so long, however long that is. Where the driver may sleep (`nook_may_sleep`) it sleeps if that is worth
   it; elsewhere it keeps the processor, in pieces that the host allows. */
void nook_wait_ns(uint64_t ns);
/* Whether the entry that runs may sleep. The driver clears it in poll, irq and timer, and sets it again. */
extern bool nook_may_sleep;

/* A timer. The owner sets `fire` and keeps it in place while it is set. */
struct nook_timer {
    struct nook_list in;
    uint64_t due_ns;
    void (*fire)(struct nook_timer *timer);
};
/* Sets or moves it. */
void nook_timer_start(struct nook_timer *timer, uint64_t due_ns);
void nook_timer_stop(struct nook_timer *timer);
/* Fires what is due: the driver's nook_timer calls it. */
void nook_timers_run(void);

/* A DMA region: zeroed memory in the window. Process context only. */
struct nook_dma {
    void *memory;
    uint64_t iova;
    uint32_t len_bytes;
    uint32_t handle;
};
/* Returns 0 or NOOK_NO_MEMORY. `align_bytes` is a power of two, at most 4096. */
int32_t nook_dma_begin(struct nook_dma *region, uint32_t len_bytes, uint32_t align_bytes);
void nook_dma_end(struct nook_dma *region);

/* What the network class has in the host page. */
static inline struct nook_net_page *nook_net_page(void) { return (struct nook_net_page *)nook_page->class; }

/* The ends of the packet queues. Host and driver never use one at the same time, so nothing here needs a barrier. */
struct nook_ring {
    struct nook_ring_header header;
    struct nook_queue_entry entries[NOOK_QUEUE_CAPACITY];
};
static inline struct nook_ring *nook_ring(uint32_t queue) {
    return (struct nook_ring *)(uintptr_t)nook_net_page()->rings[queue];
}

/* Takes the next entry of a queue that the host fills, if there is one. */
static inline bool nook_take(uint32_t queue, struct nook_queue_entry *entry) {
    struct nook_ring *ring = nook_ring(queue);
    if (ring->header.consumed == ring->header.produced)
        return false;
    *entry = ring->entries[ring->header.consumed % NOOK_QUEUE_CAPACITY];
    ring->header.consumed++;
    return true;
}

/* How many entries wait in a queue that the host fills. */
static inline uint32_t nook_waiting(uint32_t queue) {
    struct nook_ring *ring = nook_ring(queue);
    return ring->header.produced - ring->header.consumed;
}

/* How many entries a queue to the host has room for. The host empties it after each call that moves packets. */
static inline uint32_t nook_room(uint32_t queue) {
    struct nook_ring *ring = nook_ring(queue);
    return NOOK_QUEUE_CAPACITY - (ring->header.produced - ring->header.consumed);
}

/* Gives a packet buffer back through a queue to the host that has room. */
static inline void nook_give(uint32_t queue, const struct nook_queue_entry *entry) {
    struct nook_ring *ring = nook_ring(queue);
    ring->entries[ring->header.produced % NOOK_QUEUE_CAPACITY] = *entry;
    ring->header.produced++;
}

/* Asks the nook's filter, if it has one, about the frame in a packet buffer. */
static inline bool nook_passes(uint32_t direction, uint32_t id, uint32_t len_bytes) {
    const struct nook_pool_layout *pool = &nook_net_page()->pool;
    if (!nook_net_page()->filters)
        return true;
    uint32_t offset = pool->offset + id * pool->stride_bytes + pool->headroom_bytes;
    return nook_net_filter(direction, offset, len_bytes) == NOOK_FILTER_VERDICT_PASS;
}

/* Posts counters: in the `stats` entry. */
static inline void nook_post_stats(const struct nook_net_stats *stats) {
    nook_net_page()->stats = *stats;
    nook_page->stats_written++;
}

#endif
