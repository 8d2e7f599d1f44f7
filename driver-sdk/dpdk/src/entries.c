/* The entries of a nook's driver, by the operations of a DPDK port.

   Poll-mode drivers expect to be polled all the time. Here they are polled by an interrupt, and then by a timer for as
   long as something happens; only after a while of silence the interrupt is turned on again. */
#include "shim.h"

/* How long a silence must be, and how often the port is looked at until then. */
#define SILENCE_NS 20000000u
#define LOOK_EVERY_NS 50000u
/* Receive mbufs that are asked for at once. */
#define BURST 64
/* The largest payload for which drivers leave a frame in one buffer of the usual 2048 bytes. */
#define LARGEST_MTU RTE_ETHER_MTU

/* The linker's list of constructors, in which DPDK's drivers register themselves. */
void __wasm_call_ctors(void);

static bool is_set_up, is_open;
/* The queues whose receive interrupt is off, as bits, and when something moved last. */
static uint32_t masked;
static uint64_t moved_ns;
/* From which queue frames are received first: each call begins with the next one. */
static uint16_t first_queue;
static struct nook_timer look;

/* What the interface is set to: drivers forget some of it when they start. */
static uint32_t mode;
static struct rte_ether_addr multicast[NOOK_MOST_MULTICAST];
static uint32_t multicast_count;

static int32_t status_of(int error) {
    switch (error) {
    case 0:
        return 0;
    case -ENOMEM:
        return NOOK_NO_MEMORY;
    case -ENODEV:
        return NOOK_NO_DEVICE;
    case -ENOTSUP:
        return NOOK_UNSUPPORTED;
    case -EINVAL:
        return NOOK_INVALID;
    default:
        return NOOK_DEVICE_FAILED;
    }
}

static void look_now(struct nook_timer *timer) {
    (void)timer;
    nook_poll_schedule(0);
}

int32_t nook_probe(uint32_t reason, uintptr_t host_page) {
    (void)reason;
    if (nook_runtime_begin(host_page) != 0)
        return NOOK_INVALID;
    __wasm_call_ctors();
    look.fire = look_now;
    int error = nook_pci_probe();
    if (error)
        return status_of(error);
    uint64_t mac = 0;
    __builtin_memcpy(&mac, nook_port_data.mac_addrs[0].addr_bytes, RTE_ETHER_ADDR_LEN);
    return nook_net_attach(mac, LARGEST_MTU);
}

void nook_remove(void) {
    nook_pci_remove();
    nook_dma_disable();
}

/* Makes the port what it is set to, where it is not so after a start. */
static int32_t apply_mode(void) {
    struct rte_eth_dev *port = nook_port();
    struct rte_eth_dev_data *data = port->data;
    int error = 0;
    bool promiscuous = mode & NOOK_RX_MODE_PROMISCUOUS, all_multicast = mode & NOOK_RX_MODE_ALL_MULTICAST;
    /* A driver that has no list receives all groups for some. */
    all_multicast |= multicast_count > 0 && !port->dev_ops->set_mc_addr_list;
    /* Drivers look at the other flag when one of them changes. */
    if (promiscuous != data->promiscuous) {
        data->promiscuous = promiscuous;
        error = promiscuous ? port->dev_ops->promiscuous_enable(port) : port->dev_ops->promiscuous_disable(port);
    }
    if (!error && all_multicast != data->all_multicast) {
        data->all_multicast = all_multicast;
        error = all_multicast ? port->dev_ops->allmulticast_enable(port) : port->dev_ops->allmulticast_disable(port);
    }
    if (!error && port->dev_ops->set_mc_addr_list)
        error = port->dev_ops->set_mc_addr_list(port, multicast, multicast_count);
    return status_of(error);
}

static int set_up(struct rte_eth_dev *port) {
    static void *receive_queues[NOOK_RECEIVE_QUEUES], *send_queues[1];
    struct rte_eth_dev_data *data = port->data;
    struct rte_eth_dev_info about = {0};
    int error = port->dev_ops->dev_infos_get(port, &about);
    if (error)
        return error;
    uint16_t descriptors = RTE_MAX(NOOK_DESCRIPTORS, about.tx_desc_lim.nb_min);
    error = nook_pools_make(descriptors);
    if (error)
        return error;
    data->rx_queues = receive_queues;
    data->tx_queues = send_queues;
    data->nb_rx_queues = RTE_MIN(NOOK_RECEIVE_QUEUES, about.max_rx_queues);
    data->nb_tx_queues = 1;
    if (data->nb_rx_queues > 1) {
        data->dev_conf.rxmode.mq_mode = RTE_ETH_MQ_RX_RSS;
        data->dev_conf.rx_adv_conf.rss_conf.rss_hf = about.flow_type_rss_offloads;
    }
    data->dev_conf.intr_conf.lsc = data->dev_conf.intr_conf.rxq = 1;
    data->dev_conf.rxmode.mtu = data->mtu;
    error = port->dev_ops->dev_configure(port);
    if (error)
        return error;
    struct rte_eth_txconf send = about.default_txconf;
    /* Each descriptor says when it is done. */
    send.tx_rs_thresh = 1;
    error = port->dev_ops->tx_queue_setup(port, 0, descriptors, 0, &send);
    if (error)
        return error;
    uint16_t each = NOOK_DESCRIPTORS / NOOK_RECEIVE_RINGS / data->nb_rx_queues;
    for (uint16_t queue = 0; !error && queue < data->nb_rx_queues; queue++)
        error = port->dev_ops->rx_queue_setup(port, queue, each, 0, &about.default_rxconf, nook_receive_pool);
    return error;
}

/* What there is to do after the driver has started its port. */
static int32_t started(struct rte_eth_dev *port) {
    port->data->dev_started = 1;
    masked = 0;
    moved_ns = nook_now_ns();
    /* The driver looked when it started, and interrupts only when it changes. */
    nook_tell_link();
    int error = port->dev_ops->mac_addr_set(port, &port->data->mac_addrs[0]);
    port->data->promiscuous = port->data->all_multicast = 0;
    if (!error && (mode || multicast_count))
        return apply_mode();
    return status_of(error);
}

int32_t nook_open(void) {
    struct rte_eth_dev *port = nook_port();
    int error = is_set_up ? 0 : set_up(port);
    if (error)
        return status_of(error);
    is_set_up = true;
    int32_t status = nook_dma_enable();
    if (status != 0)
        return status;
    error = port->dev_ops->dev_start(port);
    if (error)
        return status_of(error);
    is_open = true;
    return started(port);
}

int32_t nook_stop(void) {
    struct rte_eth_dev *port = nook_port();
    if (!is_open)
        return 0;
    is_open = false;
    nook_timer_stop(&look);
    nook_return_spares();
    nook_reap();
    int error = port->dev_ops->dev_stop(port);
    port->data->dev_started = 0;
    nook_reap_all();
    nook_return_spares();
    nook_tell_link();
    nook_irq_disable(0);
    nook_dma_disable();
    return status_of(error);
}

uint32_t nook_irq(uint32_t vector) {
    struct rte_eth_dev *port = nook_port();
    if (!is_open)
        return 0;
    nook_may_sleep = false;
    uint32_t result = NOOK_IRQ_RESULT_HANDLED;
    uint32_t queues = nook_pci_interrupt(vector);
    if (queues) {
        for (uint16_t queue = 0; queue < port->data->nb_rx_queues; queue++) {
            if (queues & ~masked & (1u << queue))
                port->dev_ops->rx_queue_intr_disable(port, queue);
        }
        masked |= queues;
        moved_ns = nook_now_ns();
        result |= NOOK_IRQ_RESULT_POLL;
    }
    nook_may_sleep = true;
    return result;
}

/* Receives at most `budget` frames of a queue. Says how many. */
static uint32_t receive_from(uint16_t queue, uint32_t budget, uint16_t status) {
    struct rte_eth_dev *port = nook_port();
    uint32_t all = 0;
    while (all < budget) {
        struct rte_mbuf *frames[BURST];
        uint32_t wanted = budget - all < BURST ? budget - all : BURST;
        uint32_t count = port->rx_pkt_burst(port->data->rx_queues[queue], frames, (uint16_t)wanted);
        for (uint32_t i = 0; i < count; i++)
            nook_received(frames[i], status);
        all += count;
        if (count < wanted)
            break;
    }
    return all;
}

/* The same of all queues. */
static uint32_t receive(uint32_t budget, uint16_t status) {
    uint16_t queues = nook_port()->data->nb_rx_queues;
    uint32_t all = 0, room = nook_room(NOOK_QUEUE_RX_RETURN);
    if (budget > room)
        budget = room;
    for (uint16_t i = 0; i < queues; i++)
        all += receive_from((first_queue + i) % queues, budget - all, status);
    first_queue = (first_queue + 1) % queues;
    return all;
}

static uint32_t poll(uint32_t budget, uint32_t flags) {
    struct rte_eth_dev *port = nook_port();
    nook_return_spares();
    uint32_t reaped = nook_reap();
    if (flags & NOOK_POLL_FLAGS_DISCARD_NEXT_RX) {
        receive(1, NOOK_PACKET_STATUS_FAILED);
        return NOOK_POLL_RESULT_AGAIN;
    }
    uint32_t received = receive(budget, NOOK_PACKET_STATUS_DONE), waiting = nook_waiting(NOOK_QUEUE_TX_PROVIDE);
    nook_send(budget);
    if (received > 0 || reaped > 0 || nook_waiting(NOOK_QUEUE_TX_PROVIDE) != waiting)
        moved_ns = nook_now_ns();
    if (received == budget)
        return NOOK_POLL_RESULT_AGAIN;
    bool is_silent = nook_now_ns() - moved_ns >= SILENCE_NS;
    if (is_silent && masked) {
        /* What came meanwhile is a cause that is kept: it interrupts at once. */
        for (uint16_t queue = 0; queue < port->data->nb_rx_queues; queue++) {
            if (masked & (1u << queue))
                port->dev_ops->rx_queue_intr_enable(port, queue);
        }
        masked = 0;
    }
    /* There is no transmit interrupt. Without a link, frames lie for long. */
    if (!is_silent)
        nook_timer_start(&look, nook_now_ns() + LOOK_EVERY_NS);
    else if (nook_sending() > 0)
        nook_timer_start(&look, nook_now_ns() + SILENCE_NS);
    return NOOK_POLL_RESULT_IDLE;
}

uint32_t nook_poll(uint32_t queue, uint32_t budget, uint32_t flags) {
    (void)queue;
    if (!is_open)
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
    struct rte_eth_dev *port = nook_port();
    struct rte_ether_addr address;
    __builtin_memcpy(address.addr_bytes, &mac, RTE_ETHER_ADDR_LEN);
    if (mac >> 48 || !rte_is_valid_assigned_ether_addr(&address))
        return NOOK_INVALID;
    int error = port->dev_ops->mac_addr_set(port, &address);
    if (!error)
        port->data->mac_addrs[0] = address;
    return status_of(error);
}

int32_t nook_set_mtu(uint32_t mtu_bytes) {
    struct rte_eth_dev *port = nook_port();
    if (mtu_bytes < RTE_ETHER_MIN_MTU || mtu_bytes > LARGEST_MTU)
        return NOOK_INVALID;
    int error = port->dev_ops->mtu_set(port, (uint16_t)mtu_bytes);
    if (error)
        return status_of(error);
    port->data->mtu = (uint16_t)mtu_bytes;
    /* There are drivers that stop their port for it, and start it again. */
    return is_open && !port->data->dev_started ? started(port) : 0;
}

int32_t nook_set_rx_mode(uint32_t new_mode, uint32_t count) {
    if (new_mode & ~(NOOK_RX_MODE_PROMISCUOUS | NOOK_RX_MODE_ALL_MULTICAST) || count > RTE_DIM(multicast))
        return NOOK_INVALID;
    mode = new_mode;
    multicast_count = count;
    __builtin_memcpy(multicast, (const void *)(uintptr_t)nook_page->mailbox_addr, count * sizeof multicast[0]);
    return is_open ? apply_mode() : 0;
}

void nook_stats(void) {
    struct rte_eth_stats counted = {0};
    struct rte_eth_dev *port = nook_port();
    if (port->dev_ops->stats_get(port, &counted) != 0)
        return;
    nook_post_stats(&(struct nook_net_stats){
        .rx_packets = counted.ipackets,
        .rx_bytes = counted.ibytes,
        .rx_errors = counted.ierrors,
        .rx_missed = counted.imissed,
        .tx_packets = counted.opackets,
        .tx_bytes = counted.obytes,
        .tx_errors = counted.oerrors,
    });
}
