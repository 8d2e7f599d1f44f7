/* DMA: what lies in the window is where the device sees it, at a fixed distance. */
#ifndef NOOK_LINUX_DMA_MAPPING_H
#define NOOK_LINUX_DMA_MAPPING_H

#include <linux/device.h>
#include <linux/mm.h>

enum dma_data_direction { DMA_BIDIRECTIONAL, DMA_TO_DEVICE, DMA_FROM_DEVICE };
#define DMA_BIT_MASK(bits) ((bits) == 64 ? ~0ull : (1ull << (bits)) - 1)
#define NOOK_NOT_MAPPED (~(dma_addr_t)0)

/* The manifest says what the device reaches. */
static inline int dma_set_mask_and_coherent(struct device *device, u64 mask) {
    (void)device, (void)mask;
    return 0;
}
void *dma_alloc_coherent(struct device *device, size_t len, dma_addr_t *address, gfp_t flags);
void dma_free_coherent(struct device *device, size_t len, void *memory, dma_addr_t address);

/* Memory outside the window cannot be mapped. */
dma_addr_t dma_map_single(struct device *device, void *memory, size_t len, enum dma_data_direction direction);
static inline int dma_mapping_error(struct device *device, dma_addr_t address) {
    (void)device;
    return address == NOOK_NOT_MAPPED ? -ENOMEM : 0;
}
#define dma_unmap_single(device, address, len, direction) ((void)(device), (void)(address), (void)(len))
#define dma_sync_single_for_cpu(device, address, len, direction) ((void)(device), (void)(address), (void)(len))
#define dma_sync_single_for_device(device, address, len, direction) ((void)(device), (void)(address), (void)(len))
#define dma_map_page(device, page, offset, len, direction)                                                              \
    ((void)(device), (void)(page), (void)(offset), (void)(len), NOOK_NOT_MAPPED)
#define dma_unmap_page(device, address, len, direction) ((void)(device), (void)(address), (void)(len))

#endif
