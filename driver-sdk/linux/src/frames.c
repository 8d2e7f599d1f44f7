/* Frames. An sk_buff is the driver's own memory; its data lies in the host's packet buffer, so no frame is copied here.

   A driver takes memory to receive into (netdev_alloc_frag), and gets a packet buffer that the host gave, at the place
   that puts the frame where the host looks for it. What it gives back without a frame is kept, to be taken again, until
   the interface goes down. Drivers copy short frames by themselves, into a buffer of the same kind. */
#include "shim.h"

/* As many packet buffers as a driver may hold of each kind: all can be returned in one call then. */
#define MOST NOOK_QUEUE_CAPACITY
/* The sk_buffs of those that it sends, and those in its hands while it receives. */
static struct sk_buff skbs[MOST + 8];
static struct nook_list idle = NOOK_LIST_INIT(idle);

/* What each receive buffer was given with, by its number. */
static u16 *generations;
/* Receive buffers that the driver gave back, and how many it or this list has. */
static u32 *kept;
static u32 kept_count, receiving;
bool nook_discarding;

/* Frames that the host gave and the driver did not get yet, and how many are not returned to the host. */
static struct nook_list waiting = NOOK_LIST_INIT(waiting);
static u32 sending;

static u8 *buffer(u32 id) {
    const struct nook_pool_layout *pool = &nook_net_page()->pool;
    return (u8 *)(uintptr_t)nook_page->window_addr + pool->offset + (size_t)id * pool->stride_bytes;
}
static u8 *frame_in(u32 id) { return buffer(id) + nook_net_page()->pool.headroom_bytes; }
static u32 buffer_of(const void *anywhere_in_it) {
    return (u32)((const u8 *)anywhere_in_it - buffer(0)) / nook_net_page()->pool.stride_bytes;
}

int nook_frames_make(void) {
    u32 count = nook_net_page()->pool.count;
    for (u32 i = 0; i < ARRAY_SIZE(skbs); i++)
        nook_list_insert_before(&idle, &skbs[i].in);
    generations = nook_alloc(count * sizeof *generations, 0);
    kept = nook_alloc(MOST * sizeof *kept, 0);
    if (nook_net_page()->pool.headroom_bytes < NET_SKB_PAD + NET_IP_ALIGN) {
        nook_printk(NOOK_LOG_LEVEL_ERROR, NULL, "the manifest's headroom_bytes must be %u or more",
                    NET_SKB_PAD + NET_IP_ALIGN);
        return -EINVAL;
    }
    return generations && kept ? 0 : -ENOMEM;
}

static struct sk_buff *make(u8 *data, u32 id) {
    if (nook_list_is_empty(&idle))
        return NULL;
    struct sk_buff *skb = NOOK_HOLDER(idle.next, struct sk_buff, in);
    nook_list_remove(&skb->in);
    *skb = (struct sk_buff){.data = data, .tail = data, .entry.id = id};
    nook_list_init(&skb->in);
    return skb;
}

static void forget(struct sk_buff *skb) { nook_list_insert_before(&idle, &skb->in); }

void *netdev_alloc_frag(unsigned len) {
    struct nook_queue_entry entry;
    u32 id;
    if (len > NET_SKB_PAD + NET_IP_ALIGN + nook_net_page()->pool.room_bytes)
        return NULL;
    if (kept_count > 0) {
        id = kept[--kept_count];
    } else if (receiving < MOST && nook_take(NOOK_QUEUE_RX_PROVIDE, &entry)) {
        id = entry.id;
        generations[id] = entry.generation;
        receiving++;
    } else {
        return NULL;
    }
    return frame_in(id) - NET_SKB_PAD - NET_IP_ALIGN;
}

void skb_free_frag(void *anywhere_in_it) { kept[kept_count++] = buffer_of(anywhere_in_it); }

struct sk_buff *napi_build_skb(void *frag, unsigned len) {
    (void)len;
    return make(frag, buffer_of(frag));
}

struct sk_buff *napi_alloc_skb(struct napi_struct *napi, unsigned len) {
    (void)napi;
    void *frag = netdev_alloc_frag(NET_SKB_PAD + NET_IP_ALIGN + len);
    struct sk_buff *skb = frag ? napi_build_skb(frag, len) : NULL;
    if (skb)
        skb_reserve(skb, NET_SKB_PAD + NET_IP_ALIGN);
    else if (frag)
        skb_free_frag(frag);
    return skb;
}

static void give_received(u32 id, u32 len_bytes, u16 status) {
    nook_give(NOOK_QUEUE_RX_RETURN, &(struct nook_queue_entry){
                                        .id = id,
                                        .generation = generations[id],
                                        .flags = NOOK_ENTRY_FLAGS_FIRST | NOOK_ENTRY_FLAGS_LAST,
                                        .len_bytes = len_bytes,
                                        .status = status,
                                    });
    receiving--;
}

void napi_gro_receive(struct napi_struct *napi, struct sk_buff *skb) {
    (void)napi;
    u32 id = skb->entry.id;
    if (skb->data != frame_in(id))
        nook_absent("a frame that begins elsewhere in its buffer");
    u16 status = NOOK_PACKET_STATUS_DONE;
    if (nook_discarding)
        status = NOOK_PACKET_STATUS_FAILED;
    else if (!nook_passes(NOOK_FILTER_DIRECTION_RECEIVED, id, skb->len))
        status = NOOK_PACKET_STATUS_DROPPED;
    give_received(id, skb->len, status);
    forget(skb);
}

static void give_sent(struct sk_buff *skb, u16 status) {
    skb->entry.status = status;
    nook_give(NOOK_QUEUE_TX_RETURN, &skb->entry);
    sending--;
    forget(skb);
}

void napi_consume_skb(struct sk_buff *skb, int budget) {
    give_sent(skb, budget ? NOOK_PACKET_STATUS_DONE : NOOK_PACKET_STATUS_UNUSED);
}

void dev_kfree_skb_any(struct sk_buff *skb) {
    if (skb->sending) {
        give_sent(skb, NOOK_PACKET_STATUS_FAILED);
        return;
    }
    skb_free_frag(skb->data);
    forget(skb);
}

/* Takes the next frame from the host. False if there is none, or no room for one. */
static bool take_frame(void) {
    struct nook_queue_entry entry;
    /* All that are here may have to be returned in one call. */
    if (nook_room(NOOK_QUEUE_TX_RETURN) <= sending || nook_list_is_empty(&idle) ||
        !nook_take(NOOK_QUEUE_TX_PROVIDE, &entry))
        return false;
    struct sk_buff *skb = make(frame_in(entry.id), entry.id);
    sending++;
    skb->sending = true;
    skb->entry = entry;
    skb_put(skb, entry.len_bytes);
    if (nook_passes(NOOK_FILTER_DIRECTION_SENDING, entry.id, entry.len_bytes))
        nook_list_insert_before(&waiting, &skb->in);
    else
        give_sent(skb, NOOK_PACKET_STATUS_DROPPED);
    return true;
}

int eth_skb_pad(struct sk_buff *skb) {
    if (skb->len < ETH_ZLEN) {
        u32 missing = ETH_ZLEN - skb->len;
        memset(skb_put(skb, missing), 0, missing);
    }
    return 0;
}

void nook_send(u32 budget) {
    struct net_device *device = nook_device;
    while (budget > 0 && !device->stopped && take_frame())
        budget--;
    while (!device->stopped && !nook_list_is_empty(&waiting)) {
        struct nook_list *first = waiting.next;
        nook_list_remove(first);
        device->more = !nook_list_is_empty(&waiting);
        if (device->netdev_ops->ndo_start_xmit(NOOK_HOLDER(first, struct sk_buff, in), device) != NETDEV_TX_OK) {
            nook_list_insert_before(waiting.next, first);
            break;
        }
    }
}

void nook_frames_return(void) {
    while (!nook_list_is_empty(&waiting)) {
        struct nook_list *first = waiting.next;
        nook_list_remove(first);
        give_sent(NOOK_HOLDER(first, struct sk_buff, in), NOOK_PACKET_STATUS_UNUSED);
    }
    while (kept_count > 0)
        give_received(kept[--kept_count], 0, NOOK_PACKET_STATUS_UNUSED);
}
