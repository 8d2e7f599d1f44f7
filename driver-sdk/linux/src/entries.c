/* The entries of a nook's driver, by the operations of Linux's interface. */
#include "shim.h"

/* A frame of this payload fits into the buffers into which drivers receive without pages. */
#define LARGEST_MTU ETH_DATA_LEN
/* Counters that a driver may have for ethtool. */
#define MOST_COUNTERS 64
static char counter_names[MOST_COUNTERS][ETH_GSTRING_LEN];
static uint64_t counters[MOST_COUNTERS];
static int counter_count;

static struct netdev_hw_addr multicast[NOOK_MOST_MULTICAST];

static int32_t status_of(int error) {
    switch (error) {
    case 0:
        return 0;
    case -ENOMEM:
        return NOOK_NO_MEMORY;
    case -ENODEV:
        return NOOK_NO_DEVICE;
    case -EOPNOTSUPP:
        return NOOK_UNSUPPORTED;
    case -EINVAL:
        return NOOK_INVALID;
    case -EBUSY:
        return NOOK_BUSY;
    case -EADDRNOTAVAIL:
        return NOOK_CORRUPT;
    default:
        return NOOK_DEVICE_FAILED;
    }
}

/* The linker's list of constructors, in which drivers register themselves. */
void __wasm_call_ctors(void);

int32_t nook_probe(uint32_t reason, uintptr_t host_page) {
    (void)reason;
    if (nook_runtime_begin(host_page) != 0)
        return NOOK_INVALID;
    __wasm_call_ctors();
    int error = nook_frames_make();
    if (!error)
        error = nook_pci_probe();
    if (!error)
        error = nook_device->netdev_ops->ndo_validate_addr(nook_device);
    if (error)
        return status_of(error);
    uint64_t mac = 0;
    memcpy(&mac, nook_device->dev_addr, ETH_ALEN);
    return nook_net_attach(mac, LARGEST_MTU);
}

int32_t nook_open(void) {
    struct net_device *device = nook_device;
    /* Drivers reset their device in probe: what an earlier one had left in its rings is gone. */
    int32_t status = nook_dma_enable();
    if (status != 0)
        return status;
    device->running = true;
    int error = device->netdev_ops->ndo_open(device);
    device->running = error == 0;
    return status_of(error);
}

int32_t nook_stop(void) {
    struct net_device *device = nook_device;
    if (!device->running)
        return 0;
    device->running = false;
    int error = device->netdev_ops->ndo_stop(device);
    nook_frames_return();
    nook_dma_disable();
    return status_of(error);
}

void nook_remove(void) {
    nook_stop();
    nook_pci_remove();
}

uint32_t nook_irq(uint32_t vector) {
    (void)vector;
    nook_may_sleep = false;
    nook_in_interrupt = true;
    bool handled = nook_pci_interrupt();
    nook_in_interrupt = false;
    nook_may_sleep = true;
    if (!handled)
        return 0;
    return NOOK_IRQ_RESULT_HANDLED | (nook_device->napi->scheduled ? NOOK_IRQ_RESULT_POLL : 0);
}

static uint32_t poll(uint32_t budget, uint32_t flags) {
    struct napi_struct *napi = nook_device->napi;
    uint32_t room = nook_room(NOOK_QUEUE_RX_RETURN);
    if (flags & NOOK_POLL_FLAGS_DISCARD_NEXT_RX) {
        nook_discarding = true;
        napi->poll(napi, 1);
        nook_discarding = false;
    } else {
        if (napi->scheduled)
            napi->poll(napi, (int)(budget < room ? budget : room));
        nook_send(budget);
    }
    return napi->scheduled ? NOOK_POLL_RESULT_AGAIN : NOOK_POLL_RESULT_IDLE;
}

uint32_t nook_poll(uint32_t queue, uint32_t budget, uint32_t flags) {
    (void)queue;
    if (!nook_device->running)
        return NOOK_POLL_RESULT_IDLE;
    nook_may_sleep = false;
    uint32_t result = poll(budget, flags);
    nook_may_sleep = true;
    return result;
}

void nook_timer(void) {
    nook_may_sleep = false;
    nook_timers_run();
    nook_may_sleep = true;
}

int32_t nook_set_mac(uint64_t mac) {
    struct sockaddr address = {0};
    memcpy(address.sa_data, &mac, ETH_ALEN);
    if (mac >> 48 || !is_valid_ether_addr(address.sa_data))
        return NOOK_INVALID;
    return status_of(nook_device->netdev_ops->ndo_set_mac_address(nook_device, &address));
}

int32_t nook_set_mtu(uint32_t mtu_bytes) {
    if (mtu_bytes < nook_device->min_mtu || mtu_bytes > LARGEST_MTU)
        return NOOK_INVALID;
    return status_of(nook_device->netdev_ops->ndo_change_mtu(nook_device, (int)mtu_bytes));
}

int32_t nook_set_rx_mode(uint32_t mode, uint32_t count) {
    struct net_device *device = nook_device;
    if (mode & ~(NOOK_RX_MODE_PROMISCUOUS | NOOK_RX_MODE_ALL_MULTICAST) || count > ARRAY_SIZE(multicast))
        return NOOK_INVALID;
    device->flags = (mode & NOOK_RX_MODE_PROMISCUOUS ? IFF_PROMISC : 0) |
                    (mode & NOOK_RX_MODE_ALL_MULTICAST ? IFF_ALLMULTI : 0);
    device->mc = multicast;
    device->mc_count = count;
    memcpy(multicast, (const void *)(uintptr_t)nook_page->mailbox_addr, count * sizeof multicast[0]);
    if (device->running)
        device->netdev_ops->ndo_set_rx_mode(device);
    return 0;
}

/* What ethtool calls a counter `name`, or `otherwise` if the driver has none of that name. */
static uint64_t counter(const char *name, uint64_t otherwise) {
    for (int i = 0; i < counter_count; i++) {
        if (strcmp(counter_names[i], name) == 0)
            return counters[i];
    }
    return otherwise;
}

void nook_stats(void) {
    struct net_device *device = nook_device;
    const struct ethtool_ops *ops = device->ethtool_ops;
    struct ethtool_stats about = {0};
    /* Drivers look at their device's counters from time to time; to be asked by ethtool makes them look now. */
    int count = ops->get_sset_count(device, ETH_SS_STATS);
    if (count > 0 && count <= MOST_COUNTERS) {
        ops->get_strings(device, ETH_SS_STATS, (u8 *)counter_names);
        ops->get_ethtool_stats(device, &about, counters);
        counter_count = count;
    }
    const struct net_device_stats *counted = &device->stats;
    /* Of what was moved the device's own count: the driver's would agree with the driver. */
    nook_post_stats(&(struct nook_net_stats){
        .rx_packets = counter("rx_packets", counted->rx_packets),
        .rx_bytes = counter("rx_bytes", counted->rx_bytes),
        .rx_errors = counted->rx_errors,
        .rx_missed = counted->rx_missed_errors,
        .rx_crc_errors = counted->rx_crc_errors,
        .rx_length_errors = counted->rx_length_errors,
        .multicast = counted->multicast,
        .tx_packets = counter("tx_packets", counted->tx_packets),
        .tx_bytes = counter("tx_bytes", counted->tx_bytes),
        .tx_errors = counted->tx_errors,
        .collisions = counted->collisions,
        .tx_timeouts = counter("tx_timeout_count", 0),
    });
}
