/* The interface: what the driver tells the kernel of it, and the kernel the driver. */
#include "shim.h"

struct net_device *nook_device;
bool nook_in_interrupt;

struct net_device *alloc_etherdev(int private_bytes) {
    struct net_device *device = nook_alloc(sizeof *device + (size_t)private_bytes, 0);
    if (device) {
        device->addr_len = ETH_ALEN;
        device->mtu = device->max_mtu = ETH_DATA_LEN;
    }
    return device;
}
void free_netdev(struct net_device *device) { nook_free(device); }

int ethtool_op_get_ts_info(struct net_device *device, struct ethtool_ts_info *about) {
    (void)device, (void)about;
    return -EOPNOTSUPP;
}

int eth_validate_addr(struct net_device *device) { return is_valid_ether_addr(device->dev_addr) ? 0 : -EADDRNOTAVAIL; }

int register_netdev(struct net_device *device) {
    char pattern[IFNAMSIZ];
    strscpy(pattern, device->name, sizeof pattern);
    snprintf(device->name, sizeof device->name, pattern, 0);
    /* A nook's contract has no offloads, so the interface has what is left without any. */
    netdev_features_t features = 0;
    const struct net_device_ops *ops = device->netdev_ops;
    if (ops->ndo_fix_features)
        features = ops->ndo_fix_features(device, features);
    int answer = ops->ndo_set_features ? ops->ndo_set_features(device, features) : 0;
    if (answer < 0)
        return answer;
    device->features = features;
    nook_device = device;
    return 0;
}

void unregister_netdev(struct net_device *device) {
    (void)device;
    nook_device = NULL;
}

void netif_carrier_on(struct net_device *device) {
    struct ethtool_link_ksettings link = {0};
    if (device->carrier)
        return;
    device->carrier = true;
    device->ethtool_ops->get_link_ksettings(device, &link);
    nook_net_link(1, link.base.speed, link.base.duplex == DUPLEX_FULL);
}
void netif_carrier_off(struct net_device *device) {
    if (device->carrier)
        nook_net_link(0, 0, 0);
    device->carrier = false;
}

void netif_wake_queue(struct net_device *device) {
    if (device->stopped)
        nook_poll_schedule(0);
    device->stopped = false;
}
bool netdev_xmit_more(void) { return nook_device->more; }

void netif_napi_add(struct net_device *device, struct napi_struct *napi, int (*poll)(struct napi_struct *, int)) {
    *napi = (struct napi_struct){.poll = poll};
    device->napi = napi;
}
void __napi_schedule(struct napi_struct *napi) {
    (void)napi;
    if (!nook_in_interrupt)
        nook_poll_schedule(0);
}
