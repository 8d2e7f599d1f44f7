/* Packet buffers. DPDK's mbufs are the driver's own memory; the data that they point to lies in the host's packet
   buffers, so no frame is copied.

   A receive mbuf belongs to one packet buffer. The driver's allocations take buffers out of `rx_provide`. What it frees
   without having received into it is given to it again, or is returned unused: a driver that stops its port frees all that
   it has, and one that drops damaged frames any number in a call, which `rx_return` may have no room for.

   A transmit mbuf belongs to nobody. A driver frees one when it needs the descriptor again, which may be never, so the
   frames that the driver was given also stand in a list of ours, and are returned to the host as soon as the driver's
   descriptor status says that the device is done with them. The mbuf is used again when the driver has freed it, too. */
#include "shim.h"
#include <rte_mbuf.h>
#include <rte_mempool.h>

/* Frames that a driver is offered at once. */
#define BURST 64

struct rte_mempool_ops_table rte_mempool_ops_table;
struct rte_mempool *nook_receive_pool;
static struct rte_mempool *send_pool;

/* By packet buffer: its receive mbuf, and what it was given with. */
static struct rte_mbuf *receive_mbufs;
static uint16_t *generations;
/* Those that the driver freed. */
static struct rte_mbuf **spares;
static uint32_t spare_count;

/* What is known of a transmit mbuf beside it. */
struct sent {
    struct nook_queue_entry entry;
    bool listed, held, freed;
};
static struct rte_mbuf *send_mbufs;
static struct sent *sent;
static uint16_t *idle;
static uint32_t idle_count;
/* How many descriptors the driver's transmit ring has. */
static uint32_t ring_len;

/* Transmit mbufs in the order of their frames. Before `given` the driver has them, after it not yet. The counters run
   free. */
static uint16_t order[NOOK_DESCRIPTORS];
static uint32_t oldest, given, newest;
#define PLACE(counter) ((counter) % NOOK_DESCRIPTORS)

static uint8_t *buffer(uint32_t id) {
    const struct nook_pool_layout *pool = &nook_net_page()->pool;
    return (uint8_t *)(uintptr_t)nook_page->window_addr + pool->offset + (size_t)id * pool->stride_bytes;
}

static void point(struct rte_mbuf *mbuf, uint32_t id) {
    const struct nook_pool_layout *pool = &nook_net_page()->pool;
    uint32_t before = pool->headroom_bytes - RTE_PKTMBUF_HEADROOM;
    mbuf->buf_addr = buffer(id) + before;
    mbuf->buf_iova = nook_page->window_iova + pool->offset + (uint64_t)id * pool->stride_bytes + before;
}

static int receive_take(struct rte_mempool *pool, void **mbufs, unsigned count) {
    (void)pool;
    if (spare_count + nook_waiting(NOOK_QUEUE_RX_PROVIDE) < count)
        return -ENOENT;
    struct nook_queue_entry entry;
    unsigned i = 0;
    while (i < count && spare_count > 0)
        mbufs[i++] = spares[--spare_count];
    for (; i < count && nook_take(NOOK_QUEUE_RX_PROVIDE, &entry); i++) {
        generations[entry.id] = entry.generation;
        mbufs[i] = &receive_mbufs[entry.id];
    }
    return 0;
}

static void receive_give(struct rte_mbuf *mbuf, uint32_t len_bytes, uint16_t status) {
    uint32_t id = (uint32_t)(mbuf - receive_mbufs);
    nook_give(NOOK_QUEUE_RX_RETURN, &(struct nook_queue_entry){
                                        .id = id,
                                        .generation = generations[id],
                                        .flags = NOOK_ENTRY_FLAGS_FIRST | NOOK_ENTRY_FLAGS_LAST,
                                        .len_bytes = len_bytes,
                                        .status = status,
                                    });
}

static int receive_free(struct rte_mempool *pool, void *const *mbufs, unsigned count) {
    (void)pool;
    for (unsigned i = 0; i < count; i++)
        spares[spare_count++] = mbufs[i];
    return 0;
}

void nook_return_spares(void) {
    while (spare_count > 0 && nook_room(NOOK_QUEUE_RX_RETURN) > 0)
        receive_give(spares[--spare_count], 0, NOOK_PACKET_STATUS_UNUSED);
}

void nook_received(struct rte_mbuf *frame, uint16_t status) {
    uint32_t id = (uint32_t)(frame - receive_mbufs);
    if (status == NOOK_PACKET_STATUS_DONE && !nook_passes(NOOK_FILTER_DIRECTION_RECEIVED, id, frame->pkt_len))
        status = NOOK_PACKET_STATUS_DROPPED;
    receive_give(frame, frame->pkt_len, status);
}

static void rest(struct sent *one) {
    if (!one->listed && !one->held)
        idle[idle_count++] = (uint16_t)(one - sent);
}

/* The driver is done with them. It allocates none from this pool. */
static int send_free(struct rte_mempool *pool, void *const *mbufs, unsigned count) {
    (void)pool;
    for (unsigned i = 0; i < count; i++) {
        struct sent *one = &sent[(struct rte_mbuf *)mbufs[i] - send_mbufs];
        one->held = false;
        one->freed = true;
        rest(one);
    }
    return 0;
}
static int send_take(struct rte_mempool *pool, void **mbufs, unsigned count) {
    (void)pool, (void)mbufs, (void)count;
    return -ENOENT;
}

static struct rte_mempool *pool(unsigned ops, rte_mempool_dequeue_t take, rte_mempool_enqueue_t give) {
    struct rte_mempool *made = nook_alloc(sizeof *made + sizeof(struct rte_pktmbuf_pool_private), RTE_CACHE_LINE_SIZE);
    struct rte_mempool_memhdr *chunk = nook_alloc(sizeof *chunk, 0);
    if (!made || !chunk)
        return NULL;
    rte_mempool_ops_table.ops[ops].dequeue = take;
    rte_mempool_ops_table.ops[ops].enqueue = give;
    rte_mempool_ops_table.num_ops = ops + 1;
    made->ops_index = (int)ops;
    /* Some drivers tell their devices where the buffers lie. */
    const struct nook_pool_layout *all = &nook_net_page()->pool;
    *chunk = (struct rte_mempool_memhdr){
        .mp = made,
        .addr = buffer(0),
        .iova = nook_page->window_iova + all->offset,
        .len = (size_t)all->count * all->stride_bytes,
    };
    STAILQ_INIT(&made->mem_list);
    STAILQ_INSERT_HEAD(&made->mem_list, chunk, next);
    struct rte_pktmbuf_pool_private *about = rte_mempool_get_priv(made);
    about->mbuf_data_room_size = (uint16_t)(RTE_PKTMBUF_HEADROOM + nook_net_page()->pool.room_bytes);
    return made;
}

static struct rte_mbuf *mbufs(uint32_t count, struct rte_mempool *of) {
    struct rte_mbuf *made = nook_alloc(count * sizeof *made, RTE_CACHE_LINE_SIZE);
    for (uint32_t i = 0; made && i < count; i++) {
        made[i].pool = of;
        made[i].buf_len = (uint16_t)(RTE_PKTMBUF_HEADROOM + nook_net_page()->pool.room_bytes);
        made[i].data_off = RTE_PKTMBUF_HEADROOM;
        made[i].nb_segs = 1;
        rte_mbuf_refcnt_set(&made[i], 1);
    }
    return made;
}

int nook_pools_make(uint32_t descriptors) {
    if (nook_receive_pool)
        return 0;
    ring_len = descriptors;
    /* Those that the driver keeps, and those of frames that it does not have yet. */
    uint32_t send_count = ring_len + NOOK_DESCRIPTORS;
    nook_receive_pool = pool(0, receive_take, receive_free);
    send_pool = pool(1, send_take, send_free);
    uint32_t count = nook_net_page()->pool.count;
    receive_mbufs = mbufs(count, nook_receive_pool);
    send_mbufs = mbufs(send_count, send_pool);
    sent = nook_alloc(send_count * sizeof *sent, 0);
    idle = nook_alloc(send_count * sizeof *idle, 0);
    spares = nook_alloc(count * sizeof *spares, 0);
    generations = nook_alloc(count * sizeof *generations, 0);
    if (!nook_receive_pool || !send_pool || !receive_mbufs || !send_mbufs || !generations)
        return -ENOMEM;
    if (!sent || !idle || !spares)
        return -ENOMEM;
    for (uint32_t id = 0; id < count; id++)
        point(&receive_mbufs[id], id);
    for (uint32_t i = 0; i < send_count; i++)
        idle[idle_count++] = (uint16_t)i;
    return 0;
}

/* Takes a frame from the host and puts it at the end of the list. False if there is none, or no room for one. */
static bool take_frame(void) {
    struct nook_queue_entry entry;
    if (newest - oldest == NOOK_DESCRIPTORS || idle_count == 0 || nook_waiting(NOOK_QUEUE_TX_PROVIDE) == 0)
        return false;
    /* A frame that the filter drops is returned at once, and all others may have to be. */
    if (nook_room(NOOK_QUEUE_TX_RETURN) <= newest - oldest || !nook_take(NOOK_QUEUE_TX_PROVIDE, &entry))
        return false;
    if (!nook_passes(NOOK_FILTER_DIRECTION_SENDING, entry.id, entry.len_bytes)) {
        entry.status = NOOK_PACKET_STATUS_DROPPED;
        nook_give(NOOK_QUEUE_TX_RETURN, &entry);
        return true;
    }
    uint16_t index = idle[--idle_count];
    struct rte_mbuf *mbuf = &send_mbufs[index];
    point(mbuf, entry.id);
    mbuf->data_off = RTE_PKTMBUF_HEADROOM;
    mbuf->data_len = (uint16_t)entry.len_bytes;
    mbuf->pkt_len = entry.len_bytes;
    mbuf->ol_flags = 0;
    sent[index] = (struct sent){.entry = entry, .listed = true};
    order[PLACE(newest++)] = index;
    return true;
}

void nook_send(uint32_t budget) {
    struct rte_eth_dev *port = nook_port();
    while (budget > 0 && take_frame())
        budget--;
    while (given != newest) {
        struct rte_mbuf *burst[BURST];
        uint16_t count = 0;
        for (uint32_t at = given; at != newest && count < BURST; at++)
            burst[count++] = &send_mbufs[order[PLACE(at)]];
        /* What it takes, it may free in the same call. */
        for (uint16_t i = 0; i < count; i++)
            sent[order[PLACE(given + i)]].held = true;
        uint16_t taken = port->tx_pkt_burst(port->data->tx_queues[0], burst, count);
        for (uint16_t i = taken; i < count; i++)
            sent[order[PLACE(given + i)]].held = false;
        given += taken;
        if (taken < count)
            break;
    }
}

/* Whether the device is done with the frame at place `at` of the list: each has one descriptor. */
static bool is_done(uint32_t at) {
    struct rte_eth_dev *port = nook_port();
    if (sent[order[PLACE(at)]].freed)
        return true;
    if (!port->tx_descriptor_status)
        return false;
    uint16_t after_tail = (uint16_t)(ring_len - (given - at));
    return port->tx_descriptor_status(port->data->tx_queues[0], after_tail) == RTE_ETH_TX_DESC_DONE;
}

static void return_oldest(uint16_t status) {
    struct sent *one = &sent[order[PLACE(oldest++)]];
    one->entry.status = status;
    nook_give(NOOK_QUEUE_TX_RETURN, &one->entry);
    one->listed = false;
    rest(one);
}

uint32_t nook_reap(void) {
    struct rte_eth_dev *port = nook_port();
    uint32_t before = oldest;
    /* A driver that cannot say how far its device is frees what was sent when it is offered frames, also when it is
       offered none. */
    if (oldest != given && !port->tx_descriptor_status)
        port->tx_pkt_burst(port->data->tx_queues[0], NULL, 0);
    /* A driver that cleans up may have cleared the mark of the oldest; frames are sent in order, so the next one's mark
       stands for both. */
    while (oldest != given && (is_done(oldest) || (oldest + 1 != given && is_done(oldest + 1))))
        return_oldest(NOOK_PACKET_STATUS_DONE);
    return oldest - before;
}

void nook_reap_all(void) {
    while (oldest != newest) {
        if (oldest == given)
            given++;
        return_oldest(NOOK_PACKET_STATUS_UNUSED);
    }
}

uint32_t nook_sending(void) { return newest - oldest; }
