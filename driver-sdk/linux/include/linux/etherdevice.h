#ifndef NOOK_LINUX_ETHERDEVICE_H
#define NOOK_LINUX_ETHERDEVICE_H

#include <asm/byteorder.h>
#include <linux/netdevice.h>

#define ETH_HLEN 14
#define ETH_ZLEN 60
#define ETH_DATA_LEN 1500
#define ETH_FRAME_LEN 1514
#define ETH_FCS_LEN 4
#define ETH_P_IP 0x0800
#define ETH_P_8021Q 0x8100
#define ETH_P_IPV6 0x86dd

static inline bool is_multicast_ether_addr(const u8 *address) { return address[0] & 1; }
static inline bool is_broadcast_ether_addr(const u8 *address) {
    return memcmp(address, (const u8[ETH_ALEN]){255, 255, 255, 255, 255, 255}, ETH_ALEN) == 0;
}
static inline bool is_valid_ether_addr(const u8 *address) {
    return !is_multicast_ether_addr(address) && memcmp(address, (const u8[ETH_ALEN]){0}, ETH_ALEN) != 0;
}
static inline void eth_hw_addr_set(struct net_device *device, const u8 *address) {
    memcpy(device->dev_addr, address, ETH_ALEN);
}
int eth_validate_addr(struct net_device *device);

/* The host looks into frames, not the driver's side: the header stays where it is, and no protocol learns of it. */
static inline __be16 eth_type_trans(struct sk_buff *skb, struct net_device *device) {
    (void)skb, (void)device;
    return 0;
}
/* Makes a frame as long as Ethernet's shortest, in what is free behind it in the packet buffer. */
int eth_skb_pad(struct sk_buff *skb);

#endif
