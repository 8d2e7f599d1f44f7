/* Frames. The host's packet buffer is what an sk_buff points to: no frame is copied for it. */
#ifndef NOOK_LINUX_SKBUFF_H
#define NOOK_LINUX_SKBUFF_H

#include <linux/dma-mapping.h>
#include <linux/kernel.h>

/* Bytes that drivers leave free before a frame; the manifest's headroom is at least as long. */
#define NET_SKB_PAD 64
#define NET_IP_ALIGN 0
#define SKB_DATA_ALIGN(len) ALIGN(len, 64)

enum { CHECKSUM_NONE, CHECKSUM_UNNECESSARY, CHECKSUM_COMPLETE, CHECKSUM_PARTIAL };

/* A frame lies in one packet buffer. */
#define MAX_SKB_FRAGS 1
typedef struct {
    struct page *page;
    u32 offset, len;
} skb_frag_t;
struct skb_shared_info {
    u8 nr_frags;
    u16 gso_size, gso_segs;
    skb_frag_t frags[MAX_SKB_FRAGS];
};

struct net_device;
struct sk_buff {
    u8 *data, *tail;
    unsigned len, data_len, truesize;
    __be16 protocol;
    u8 ip_summed;
    bool no_fcs;
    u16 csum_offset;
    struct skb_shared_info shared;
    /* The packet buffer, and whether it is one to be sent. */
    struct nook_queue_entry entry;
    bool sending;
    /* Among the frames that wait for the driver, or among the sk_buffs that are free. */
    struct nook_list in;
};
#define skb_shinfo(skb) (&(skb)->shared)
#define skb_headlen(skb) ((skb)->len - (skb)->data_len)
#define skb_tail_pointer(skb) ((skb)->tail)

/* Room in a packet buffer for a frame that the device will write: where NET_SKB_PAD + NET_IP_ALIGN begin. */
void *netdev_alloc_frag(unsigned len);
void skb_free_frag(void *anywhere_in_it);
struct sk_buff *napi_build_skb(void *frag, unsigned len);

/* Memory that is no packet buffer: nothing could send it. */
#define alloc_skb(len, flags) ((void)(len), (void)(flags), (struct sk_buff *)NULL)

void dev_kfree_skb_any(struct sk_buff *skb);
#define dev_kfree_skb(skb) dev_kfree_skb_any(skb)
/* Sent, where a driver cleans up in its poll; in other places the budget is 0. */
void napi_consume_skb(struct sk_buff *skb, int budget);

static inline void skb_reserve(struct sk_buff *skb, int len) {
    skb->data += len;
    skb->tail += len;
}
static inline void *skb_put(struct sk_buff *skb, unsigned len) {
    void *end = skb->tail;
    skb->tail += len;
    skb->len += len;
    return end;
}
static inline void skb_put_data(struct sk_buff *skb, const void *from, unsigned len) {
    memcpy(skb_put(skb, len), from, len);
}
static inline void skb_trim(struct sk_buff *skb, unsigned len) {
    if (skb->len > len) {
        skb->len = len;
        skb->tail = skb->data + len;
    }
}
#define pskb_trim(skb, len) skb_trim(skb, len)
#define skb_checksum_none_assert(skb) ((void)(skb))
#define skb_tx_timestamp(skb) ((void)(skb))

/* The offloads that drivers offer are not taken up: no frame asks for one. */
#define NOOK_NO_OFFLOAD(type, name)                                                                                     \
    static inline type name(const struct sk_buff *skb) {                                                                \
        (void)skb;                                                                                                      \
        nook_absent(#name);                                                                                             \
    }
static inline bool skb_is_gso(const struct sk_buff *skb) { return skb->shared.gso_size; }
NOOK_NO_OFFLOAD(bool, skb_is_gso_v6)
NOOK_NO_OFFLOAD(int, skb_tcp_all_headers)
NOOK_NO_OFFLOAD(int, skb_network_offset)
NOOK_NO_OFFLOAD(int, skb_transport_offset)
NOOK_NO_OFFLOAD(int, skb_checksum_start_offset)
#define skb_cow_head(skb, room) ((void)(skb), 0)
#define __pskb_pull_tail(skb, len) ((void)(skb), (void)(len), nook_absent("__pskb_pull_tail"), NULL)

#define skb_frag_size(frag) ((frag)->len)
#define skb_frag_page(frag) ((frag)->page)
#define skb_frag_dma_map(device, frag, offset, len, direction) dma_map_page(device, (frag)->page, offset, len, direction)
#define skb_fill_page_desc(skb, index, page, offset, len)                                                               \
    ((void)(skb), (void)(index), (void)(page), (void)(len), nook_absent("skb_fill_page_desc"))

#endif
