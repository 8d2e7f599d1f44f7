/* The one interface. */
#ifndef NOOK_LINUX_NETDEVICE_H
#define NOOK_LINUX_NETDEVICE_H

#include <linux/device.h>
#include <linux/ethtool.h>
#include <linux/interrupt.h>
#include <linux/skbuff.h>
#include <linux/workqueue.h>

#define IFNAMSIZ 16
#define ETH_ALEN 6

typedef u64 netdev_features_t;
#define NETIF_F_SG (1ull << 0)
#define NETIF_F_HW_CSUM (1ull << 1)
#define NETIF_F_HIGHDMA (1ull << 2)
#define NETIF_F_HW_VLAN_CTAG_TX (1ull << 3)
#define NETIF_F_HW_VLAN_CTAG_RX (1ull << 4)
#define NETIF_F_HW_VLAN_CTAG_FILTER (1ull << 5)
#define NETIF_F_TSO (1ull << 6)
#define NETIF_F_RXCSUM (1ull << 7)
#define NETIF_F_RXFCS (1ull << 8)
#define NETIF_F_RXALL (1ull << 9)

#define IFF_PROMISC 0x100u
#define IFF_ALLMULTI 0x200u
#define IFF_UNICAST_FLT (1u << 0)
#define IFF_SUPP_NOFCS (1u << 1)

typedef enum { NETDEV_TX_OK = 0, NETDEV_TX_BUSY = 0x10 } netdev_tx_t;

struct net_device_stats {
    unsigned long rx_packets, tx_packets, rx_bytes, tx_bytes, rx_errors, tx_errors, tx_dropped, multicast,
        collisions, rx_length_errors, rx_over_errors, rx_crc_errors, rx_frame_errors, rx_missed_errors,
        tx_aborted_errors, tx_carrier_errors, tx_fifo_errors, tx_heartbeat_errors, tx_window_errors;
};

struct netdev_hw_addr {
    u8 addr[ETH_ALEN];
};
struct sockaddr {
    u16 sa_family;
    u8 sa_data[14];
};

struct ifreq;
struct net_device;
struct net_device_ops {
    int (*ndo_open)(struct net_device *device);
    int (*ndo_stop)(struct net_device *device);
    netdev_tx_t (*ndo_start_xmit)(struct sk_buff *skb, struct net_device *device);
    void (*ndo_set_rx_mode)(struct net_device *device);
    int (*ndo_set_mac_address)(struct net_device *device, void *address);
    void (*ndo_tx_timeout)(struct net_device *device, unsigned queue);
    int (*ndo_change_mtu)(struct net_device *device, int mtu);
    int (*ndo_eth_ioctl)(struct net_device *device, struct ifreq *request, int command);
    int (*ndo_validate_addr)(struct net_device *device);
    int (*ndo_vlan_rx_add_vid)(struct net_device *device, __be16 protocol, u16 vid);
    int (*ndo_vlan_rx_kill_vid)(struct net_device *device, __be16 protocol, u16 vid);
    netdev_features_t (*ndo_fix_features)(struct net_device *device, netdev_features_t features);
    int (*ndo_set_features)(struct net_device *device, netdev_features_t features);
};

struct net_device {
    char name[IFNAMSIZ];
    struct device *parent;
    const struct net_device_ops *netdev_ops;
    const struct ethtool_ops *ethtool_ops;
    netdev_features_t features, hw_features, vlan_features;
    unsigned flags, priv_flags, mtu, min_mtu, max_mtu;
    int watchdog_timeo;
    u8 dev_addr[ETH_ALEN], addr_len;
    struct net_device_stats stats;
    /* Groups to be received. */
    struct netdev_hw_addr *mc;
    unsigned mc_count;
    /* The interface is up, the link is, the driver takes no frames now, more of them follow in this call. */
    bool running, carrier, stopped, more;
    struct napi_struct *napi;
    u64 private[];
};
#define netdev_priv(device) ((void *)(device)->private)
#define SET_NETDEV_DEV(device, of) ((device)->parent = (of))

struct net_device *alloc_etherdev(int private_bytes);
void free_netdev(struct net_device *device);
int register_netdev(struct net_device *device);
void unregister_netdev(struct net_device *device);

static inline bool netif_running(const struct net_device *device) { return device->running; }
static inline void netif_device_detach(struct net_device *device) { (void)device; }
static inline void netif_device_attach(struct net_device *device) { (void)device; }

void netif_carrier_on(struct net_device *device);
void netif_carrier_off(struct net_device *device);
static inline bool netif_carrier_ok(const struct net_device *device) { return device->carrier; }

/* A queue that stays stopped is the host's to notice, as of every driver: frames that are never sent are a fault. */
static inline void netif_stop_queue(struct net_device *device) { device->stopped = true; }
void netif_wake_queue(struct net_device *device);
static inline void netif_start_queue(struct net_device *device) { device->stopped = false; }
static inline bool netif_queue_stopped(const struct net_device *device) { return device->stopped; }
#define netif_tx_disable(device) netif_stop_queue(device)
#define netdev_get_tx_queue(device, index) ((void)(index), (device))
#define netif_xmit_stopped(queue) netif_queue_stopped(queue)
/* Whether another frame is sent in this call. */
bool netdev_xmit_more(void);
/* How many bytes lie in the ring is watched by the kernel to keep queues short: the host has its own queues. */
#define netdev_sent_queue(device, bytes) ((void)(device), (void)(bytes))
#define netdev_completed_queue(device, frames, bytes) ((void)(device), (void)(frames), (void)(bytes))
#define netdev_reset_queue(device) ((void)(device))

/* Only one address is the interface's own. */
#define netdev_uc_count(device) 0
#define netdev_for_each_uc_addr(address, device) for ((address) = NULL; (address);)
#define netdev_for_each_mc_addr(address, device)                                                                        \
    for ((address) = (device)->mc; (address) != (device)->mc + (device)->mc_count; (address)++)

struct napi_struct {
    int (*poll)(struct napi_struct *napi, int budget);
    bool enabled, scheduled;
};
void netif_napi_add(struct net_device *device, struct napi_struct *napi,
                    int (*poll)(struct napi_struct *napi, int budget));
static inline void napi_enable(struct napi_struct *napi) { napi->enabled = true; }
/* Entries do not overlap, so no poll has to be waited for. */
static inline void napi_disable(struct napi_struct *napi) { napi->enabled = napi->scheduled = false; }
static inline bool napi_schedule_prep(struct napi_struct *napi) {
    bool was = napi->scheduled;
    napi->scheduled = napi->enabled;
    return napi->enabled && !was;
}
void __napi_schedule(struct napi_struct *napi);
static inline bool napi_complete_done(struct napi_struct *napi, int work) {
    (void)work;
    napi->scheduled = false;
    return true;
}
struct sk_buff *napi_alloc_skb(struct napi_struct *napi, unsigned len);
void napi_gro_receive(struct napi_struct *napi, struct sk_buff *skb);
/* Frames in pages: see linux/mm.h. */
#define napi_free_frags(napi) ((void)(napi))
static inline struct sk_buff *napi_get_frags(struct napi_struct *napi) {
    (void)napi;
    nook_absent("napi_get_frags");
}
#define napi_gro_frags(napi) ((void)(napi), nook_absent("napi_gro_frags"))

enum {
    NETIF_MSG_DRV = 0x1,
    NETIF_MSG_PROBE = 0x2,
    NETIF_MSG_LINK = 0x4,
    NETIF_MSG_RX_ERR = 0x40,
    NETIF_MSG_TX_ERR = 0x80,
    NETIF_MSG_TX_DONE = 0x400,
    NETIF_MSG_RX_STATUS = 0x800,
    NETIF_MSG_HW = 0x2000,
};
static inline u32 netif_msg_init(int wanted, u32 usual) { return wanted < 0 ? usual : (u32)wanted; }
#define netif_msg_drv(adapter) ((adapter)->msg_enable & NETIF_MSG_DRV)
#define netif_msg_probe(adapter) ((adapter)->msg_enable & NETIF_MSG_PROBE)
#define netif_msg_rx_err(adapter) ((adapter)->msg_enable & NETIF_MSG_RX_ERR)
#define netif_msg_tx_err(adapter) ((adapter)->msg_enable & NETIF_MSG_TX_ERR)
#define netif_msg_tx_done(adapter) ((adapter)->msg_enable & NETIF_MSG_TX_DONE)
#define netif_msg_rx_status(adapter) ((adapter)->msg_enable & NETIF_MSG_RX_STATUS)
#define netif_msg_hw(adapter) ((adapter)->msg_enable & NETIF_MSG_HW)
#define nook_netif_printk(level, adapter, kind, device, ...)                                                            \
    do {                                                                                                                \
        if (netif_msg_##kind(adapter))                                                                                  \
            nook_printk(level, (device)->name, __VA_ARGS__);                                                            \
    } while (0)
#define netif_err(adapter, kind, device, ...) nook_netif_printk(NOOK_LOG_LEVEL_ERROR, adapter, kind, device, __VA_ARGS__)
#define netif_warn(adapter, kind, device, ...) nook_netif_printk(NOOK_LOG_LEVEL_WARN, adapter, kind, device, __VA_ARGS__)
#define netif_notice(adapter, kind, device, ...)                                                                        \
    nook_netif_printk(NOOK_LOG_LEVEL_INFO, adapter, kind, device, __VA_ARGS__)
#define netif_info(adapter, kind, device, ...) nook_netif_printk(NOOK_LOG_LEVEL_INFO, adapter, kind, device, __VA_ARGS__)
#define netdev_dbg(device, ...)                                                                                         \
    do {                                                                                                                \
        (void)(device);                                                                                                 \
        nook_no_printk(__VA_ARGS__);                                                                                    \
    } while (0)
#define netdev_WARN_ONCE(device, ...) nook_printk(NOOK_LOG_LEVEL_WARN, (device)->name, __VA_ARGS__)
#define net_ratelimit() true

#endif
