/* The device on DPDK's PCI bus, its port, and its interrupt. */
#include "shim.h"
#include <bus_pci_driver.h>
#include <rte_interrupts.h>
#include <rte_io.h>

struct rte_pci_device nook_pci;
struct rte_eth_dev_data nook_port_data;
struct rte_eth_dev rte_eth_devices[RTE_MAX_ETHPORTS];
int rte_eth_dev_logtype;

/* Drivers of this module, and the one that has the device. */
static struct rte_pci_driver *drivers[4];
static struct rte_pci_driver *driver;

/* What stands for the interrupt: drivers only pass it on. */
static int interrupt;
/* How many vectors the queues have, from vector 1 on, beside vector 0, which is the port's; and the vector of each queue. */
static uint32_t queue_vectors, vector_of[NOOK_RECEIVE_QUEUES];
static rte_intr_callback_fn on_interrupt;
static void *on_interrupt_argument;

void rte_pci_register(struct rte_pci_driver *registered) {
    for (unsigned i = 0; i < RTE_DIM(drivers); i++) {
        if (!drivers[i]) {
            drivers[i] = registered;
            return;
        }
    }
    nook_log_format(NOOK_LOG_LEVEL_ERROR, "more than %u drivers in one module", (unsigned)RTE_DIM(drivers));
    __builtin_trap();
}

static bool takes(const struct rte_pci_driver *one, const struct rte_pci_id *id) {
    for (const struct rte_pci_id *entry = one->id_table; entry->vendor_id; entry++) {
        bool vendor = entry->vendor_id == id->vendor_id || entry->vendor_id == RTE_PCI_ANY_ID;
        bool device = entry->device_id == id->device_id || entry->device_id == RTE_PCI_ANY_ID;
        bool by = entry->subsystem_vendor_id == id->subsystem_vendor_id || entry->subsystem_vendor_id == RTE_PCI_ANY_ID;
        bool of = entry->subsystem_device_id == id->subsystem_device_id || entry->subsystem_device_id == RTE_PCI_ANY_ID;
        if (vendor && device && by && of)
            return true;
    }
    return false;
}

int nook_pci_probe(void) {
    uint32_t id = nook_config_read32(0), subsystem = nook_config_read32(0x2c);
    nook_pci.id = (struct rte_pci_id){
        .class_id = nook_config_read32(8) >> 8,
        .vendor_id = (uint16_t)id,
        .device_id = (uint16_t)(id >> 16),
        .subsystem_vendor_id = (uint16_t)subsystem,
        .subsystem_device_id = (uint16_t)(subsystem >> 16),
    };
    for (uint32_t bar = 0; bar < PCI_MAX_RESOURCE; bar++) {
        nook_pci.mem_resource[bar].addr = NOOK_BAR(bar);
        nook_pci.mem_resource[bar].len = NOOK_BAR_BYTES;
    }
    memcpy(nook_pci.name, "nook", sizeof "nook");
    nook_pci.device.name = nook_pci.name;
    nook_pci.intr_handle = (struct rte_intr_handle *)&interrupt;
    for (unsigned i = 0; i < RTE_DIM(drivers) && drivers[i]; i++) {
        if (takes(drivers[i], &nook_pci.id)) {
            driver = nook_pci.driver = drivers[i];
            return driver->probe(driver, &nook_pci);
        }
    }
    return -ENODEV;
}

void nook_pci_remove(void) { driver->remove(&nook_pci); }

uint32_t nook_pci_interrupt(uint32_t vector) {
    /* What drivers register is for the port's own events. */
    if (vector == 0 && on_interrupt)
        on_interrupt(on_interrupt_argument);
    uint32_t queues = 0;
    for (uint32_t queue = 0; queue < nook_port_data.nb_rx_queues; queue++)
        queues |= (vector_of[queue] == vector) << queue;
    return queues;
}

int rte_pci_read_config(const struct rte_pci_device *device, void *to, size_t len, off_t offset) {
    (void)device;
    for (size_t i = 0; i < len; i++)
        ((uint8_t *)to)[i] = (uint8_t)nook_config_read8((uint32_t)offset + i);
    return (int)len;
}

struct rte_eth_dev *rte_eth_dev_allocate(const char *name) {
    struct rte_eth_dev *port = nook_port();
    (void)name;
    port->data = &nook_port_data;
    nook_port_data.mtu = RTE_ETHER_MTU;
    port->state = RTE_ETH_DEV_ATTACHED;
    return port;
}
struct rte_eth_dev *rte_eth_dev_allocated(const char *name) {
    (void)name;
    return nook_port()->state == RTE_ETH_DEV_ATTACHED ? nook_port() : NULL;
}
struct rte_eth_dev *rte_eth_dev_attach_secondary(const char *name) {
    (void)name;
    return NULL;
}
void rte_eth_dev_probing_finish(struct rte_eth_dev *port) { (void)port; }
int rte_eth_dev_release_port(struct rte_eth_dev *port) {
    port->state = RTE_ETH_DEV_UNUSED;
    return 0;
}

void nook_tell_link(void) {
    const struct rte_eth_link *link = &nook_port_data.dev_link;
    uint32_t up = link->link_status == RTE_ETH_LINK_UP;
    nook_net_link(up, up ? link->link_speed : 0, link->link_duplex == RTE_ETH_LINK_FULL_DUPLEX);
}

/* Drivers tell of the link by it. */
int rte_eth_dev_callback_process(struct rte_eth_dev *port, enum rte_eth_event_type event, void *result) {
    (void)port, (void)result;
    if (event == RTE_ETH_EVENT_INTR_LSC)
        nook_tell_link();
    return 0;
}

int rte_intr_callback_register(const struct rte_intr_handle *handle, rte_intr_callback_fn call, void *argument) {
    (void)handle;
    on_interrupt = call;
    on_interrupt_argument = argument;
    return 0;
}
int rte_intr_callback_unregister(const struct rte_intr_handle *handle, rte_intr_callback_fn call, void *argument) {
    (void)handle, (void)call, (void)argument;
    on_interrupt = NULL;
    return 1;
}
int rte_intr_enable(const struct rte_intr_handle *handle) {
    (void)handle;
    return nook_irq_enable(0) == 0 ? 0 : -EIO;
}
int rte_intr_disable(const struct rte_intr_handle *handle) {
    (void)handle;
    return nook_irq_disable(0) == 0 ? 0 : -EIO;
}
/* The host opens the line again by itself. */
int rte_intr_ack(const struct rte_intr_handle *handle) {
    (void)handle;
    return 0;
}
/* Vector 0 is the port's, each queue has the next one, if the manifest asks for that many and the device has them; if
   not, the last one is for the rest of the queues, and vector 0 for all if it is the only one. Drivers that say nothing
   about a queue have all of them at vector 1. */
int rte_intr_cap_multiple(struct rte_intr_handle *handle) {
    (void)handle;
    while (queue_vectors < NOOK_RECEIVE_QUEUES && queue_vectors + 1 < nook_page->irq_vectors &&
           nook_irq_enable(queue_vectors + 1) == 0)
        queue_vectors++;
    for (uint32_t queue = 0; queue < NOOK_RECEIVE_QUEUES; queue++)
        vector_of[queue] = queue_vectors > 0;
    return queue_vectors != 0;
}
int rte_intr_nb_efd_get(const struct rte_intr_handle *handle) {
    (void)handle;
    return (int)queue_vectors;
}
int rte_intr_efd_enable(struct rte_intr_handle *handle, uint32_t count) {
    (void)handle, (void)count;
    return 0;
}
void rte_intr_efd_disable(struct rte_intr_handle *handle) {
    (void)handle;
    for (; queue_vectors > 0; queue_vectors--)
        nook_irq_disable(queue_vectors);
    __builtin_memset(vector_of, 0, sizeof vector_of);
}
int rte_intr_allow_others(struct rte_intr_handle *handle) {
    (void)handle;
    return 1;
}
int rte_intr_dp_is_en(struct rte_intr_handle *handle) {
    (void)handle;
    return 1;
}
int rte_intr_vec_list_alloc(struct rte_intr_handle *handle, const char *name, int count) {
    (void)handle, (void)name, (void)count;
    return 0;
}
void rte_intr_vec_list_free(struct rte_intr_handle *handle) { (void)handle; }
int rte_intr_vec_list_index_get(const struct rte_intr_handle *handle, int index) {
    (void)handle;
    return (int)vector_of[index];
}
int rte_intr_vec_list_index_set(struct rte_intr_handle *handle, int index, int vector) {
    (void)handle;
    vector_of[index] = (uint32_t)vector;
    return 0;
}
