/* The one device, and the driver that takes it. */
#ifndef NOOK_LINUX_PCI_H
#define NOOK_LINUX_PCI_H

#include <linux/device.h>
#include <linux/interrupt.h>
#include <linux/ioport.h>
#include <nook/registers.h>

#define PCI_STD_NUM_BARS 6
#define PCI_COMMAND 4
#define PCI_COMMAND_INVALIDATE 0x10
#define PCI_VENDOR_ID_INTEL 0x8086
#define PCI_VENDOR_ID_VMWARE 0x15ad
#define PCI_ANY_ID (~0u)
/* The power states of which drivers speak. */
enum { PCI_D3hot = 3, PCI_D3cold = 4 };

struct pci_device_id {
    u32 vendor, device, subvendor, subdevice;
};
#define PCI_DEVICE(of, id) .vendor = (of), .device = (id), .subvendor = PCI_ANY_ID, .subdevice = PCI_ANY_ID

struct pci_dev {
    struct device dev;
    u16 vendor, device, subsystem_vendor, subsystem_device;
    u8 revision;
    unsigned irq;
    /* IORESOURCE_MEM, IORESOURCE_IO or 0. */
    unsigned long bar_flags[PCI_STD_NUM_BARS];
};
#define to_pci_dev(device) container_of(device, struct pci_dev, dev)

typedef enum { pci_channel_io_normal = 1, pci_channel_io_frozen, pci_channel_io_perm_failure } pci_channel_state_t;
typedef enum {
    PCI_ERS_RESULT_NEED_RESET = 3,
    PCI_ERS_RESULT_DISCONNECT = 4,
    PCI_ERS_RESULT_RECOVERED = 5,
} pci_ers_result_t;
/* The host does not tell of errors on the bus. */
struct pci_error_handlers {
    pci_ers_result_t (*error_detected)(struct pci_dev *device, pci_channel_state_t state);
    pci_ers_result_t (*slot_reset)(struct pci_dev *device);
    void (*resume)(struct pci_dev *device);
};
static inline bool pci_channel_offline(struct pci_dev *device) {
    (void)device;
    return false;
}

struct pci_driver {
    const char *name;
    const struct pci_device_id *id_table;
    int (*probe)(struct pci_dev *device, const struct pci_device_id *id);
    void (*remove)(struct pci_dev *device);
    void (*shutdown)(struct pci_dev *device);
    struct {
        const struct dev_pm_ops *pm;
    } driver;
    const struct pci_error_handlers *err_handler;
};
int pci_register_driver(struct pci_driver *driver);
void pci_unregister_driver(struct pci_driver *driver);

static inline const char *pci_name(const struct pci_dev *device) { return device->dev.name; }
static inline void pci_set_drvdata(struct pci_dev *device, void *data) { device->dev.driver_data = data; }
static inline void *pci_get_drvdata(struct pci_dev *device) { return device->dev.driver_data; }

static inline int pci_read_config_word(const struct pci_dev *device, int offset, u16 *value) {
    (void)device;
    *value = (u16)nook_config_read16((u32)offset);
    return 0;
}

static inline unsigned long pci_resource_flags(const struct pci_dev *device, int bar) { return device->bar_flags[bar]; }
/* A register has the place that nook/registers.h gives it; ports have numbers from 0. */
static inline u64 pci_resource_start(const struct pci_dev *device, int bar) {
    return device->bar_flags[bar] & IORESOURCE_MEM ? (uintptr_t)NOOK_BAR(bar) : 0;
}
static inline u64 pci_resource_len(const struct pci_dev *device, int bar) {
    return device->bar_flags[bar] ? NOOK_BAR_BYTES : 0;
}
static inline int pci_select_bars(const struct pci_dev *device, unsigned long flags) {
    int bars = 0;
    for (int bar = 0; bar < PCI_STD_NUM_BARS; bar++)
        bars |= device->bar_flags[bar] & flags ? 1 << bar : 0;
    return bars;
}
static inline void *pci_ioremap_bar(const struct pci_dev *device, int bar) {
    return device->bar_flags[bar] & IORESOURCE_MEM ? NOOK_BAR(bar) : NULL;
}

/* The host has the device, its command register and its power; bus mastering goes on when the interface goes up, after
   the driver reset what an earlier one left behind. */
#define NOOK_HOST_DOES(name)                                                                                            \
    static inline int name(struct pci_dev *device) {                                                                    \
        (void)device;                                                                                                   \
        return 0;                                                                                                       \
    }
NOOK_HOST_DOES(pci_enable_device)
NOOK_HOST_DOES(pci_enable_device_mem)
NOOK_HOST_DOES(pci_disable_device)
NOOK_HOST_DOES(pci_set_master)
NOOK_HOST_DOES(pci_save_state)
NOOK_HOST_DOES(pci_set_mwi)
NOOK_HOST_DOES(pci_clear_mwi)
#define pci_request_selected_regions(device, bars, name) ((void)(device), (void)(bars), (void)(name), 0)
#define pci_release_selected_regions(device, bars) ((void)(device), (void)(bars))
#define pci_enable_wake(device, state, enable) ((void)(device), (void)(enable), 0)
#define pci_wake_from_d3(device, enable) ((void)(device), (void)(enable), 0)
#define pci_set_power_state(device, state) ((void)(device), 0)
/* The most that a card on PCI-X reads at once: what was set when it was started. */
#define pcix_get_mmrbc(device) ((void)(device), 512)
#define pcix_set_mmrbc(device, bytes) ((void)(device), (void)(bytes), -EIO)

#endif
