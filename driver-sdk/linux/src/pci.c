/* The device, its interrupt and its DMA. */
#include "shim.h"
#include <linux/dma-mapping.h>

static struct pci_dev device = {.dev.name = "nook"};
static struct pci_driver *driver;

static irq_handler_t handler;
static void *handler_argument;

int pci_register_driver(struct pci_driver *registered) {
    driver = registered;
    return 0;
}
void pci_unregister_driver(struct pci_driver *registered) {
    (void)registered;
    driver = NULL;
}

/* The entry of the driver's table that names the device, or null. */
static const struct pci_device_id *find(const struct pci_device_id *id) {
    for (; id->vendor; id++) {
        bool of = id->subvendor == PCI_ANY_ID || id->subvendor == device.subsystem_vendor;
        bool kind = id->subdevice == PCI_ANY_ID || id->subdevice == device.subsystem_device;
        if (id->vendor == device.vendor && id->device == device.device && of && kind)
            return id;
    }
    return NULL;
}

/* Where in configuration space things are (PCI Local Bus Specification 3.0, section 6.1). */
enum { VENDOR = 0, REVISION = 8, BARS = 0x10, SUBSYSTEM = 0x2c };
enum { BAR_IS_IO = 1, BAR_TYPE = 6, BAR_IS_64_BIT = 4 };

int nook_pci_probe(void) {
    u32 id = nook_config_read32(VENDOR), subsystem = nook_config_read32(SUBSYSTEM);
    device.vendor = (u16)id;
    device.device = (u16)(id >> 16);
    device.subsystem_vendor = (u16)subsystem;
    device.subsystem_device = (u16)(subsystem >> 16);
    device.revision = nook_config_read8(REVISION);
    for (int bar = 0; bar < PCI_STD_NUM_BARS; bar++) {
        u32 value = nook_config_read32(BARS + 4 * (u32)bar);
        device.bar_flags[bar] = !value ? 0 : value & BAR_IS_IO ? IORESOURCE_IO : IORESOURCE_MEM;
        if (!(value & BAR_IS_IO) && (value & BAR_TYPE) == BAR_IS_64_BIT)
            bar++;
    }
    int error = init_module();
    if (error)
        return error;
    const struct pci_device_id *entry = driver ? find(driver->id_table) : NULL;
    return entry ? driver->probe(&device, entry) : -ENODEV;
}

void nook_pci_remove(void) {
    driver->remove(&device);
    cleanup_module();
}

bool nook_pci_interrupt(void) { return handler && handler((int)device.irq, handler_argument) == IRQ_HANDLED; }

int request_irq(unsigned irq, irq_handler_t wanted, unsigned long flags, const char *name, void *argument) {
    (void)irq, (void)flags, (void)name;
    if (handler)
        return -EBUSY;
    handler = wanted;
    handler_argument = argument;
    return nook_irq_enable(0) == 0 ? 0 : -EIO;
}
const void *free_irq(unsigned irq, void *argument) {
    (void)irq, (void)argument;
    nook_irq_disable(0);
    handler = NULL;
    return NULL;
}

/* Regions that a driver has, to be found again by their memory. */
static struct nook_dma regions[8];

void *dma_alloc_coherent(struct device *of, size_t len, dma_addr_t *address, gfp_t flags) {
    (void)of, (void)flags;
    for (unsigned i = 0; i < ARRAY_SIZE(regions); i++) {
        struct nook_dma *region = &regions[i];
        if (!region->memory) {
            if (nook_dma_begin(region, len, PAGE_SIZE) != 0)
                return NULL;
            *address = region->iova;
            return region->memory;
        }
    }
    return NULL;
}
void dma_free_coherent(struct device *of, size_t len, void *memory, dma_addr_t address) {
    (void)of, (void)len, (void)address;
    for (unsigned i = 0; memory && i < ARRAY_SIZE(regions); i++) {
        if (regions[i].memory == memory)
            nook_dma_end(&regions[i]);
    }
}

dma_addr_t dma_map_single(struct device *of, void *memory, size_t len, enum dma_data_direction direction) {
    (void)of, (void)direction;
    u64 offset = (uintptr_t)memory - nook_page->window_addr;
    bool inside = (uintptr_t)memory >= nook_page->window_addr && offset + len <= nook_page->window_len_bytes;
    return inside ? nook_page->window_iova + offset : NOOK_NOT_MAPPED;
}
