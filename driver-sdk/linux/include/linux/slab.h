/* Memory: the heap that the manifest asked for. It is zeroed always. */
#ifndef NOOK_LINUX_SLAB_H
#define NOOK_LINUX_SLAB_H

#include <linux/types.h>
#include <nook/runtime.h>

#define GFP_KERNEL 0u
#define GFP_ATOMIC 1u

static inline void *kmalloc(size_t len, gfp_t flags) {
    (void)flags;
    return nook_alloc(len, 0);
}
static inline void *kzalloc(size_t len, gfp_t flags) { return kmalloc(len, flags); }
static inline void *kmalloc_array(size_t count, size_t len, gfp_t flags) {
    return len && count > SIZE_MAX / len ? NULL : kmalloc(count * len, flags);
}
static inline void *kcalloc(size_t count, size_t len, gfp_t flags) { return kmalloc_array(count, len, flags); }
static inline void kfree(void *memory) { nook_free(memory); }
static inline void *vzalloc(unsigned long len) { return kmalloc(len, GFP_KERNEL); }
static inline void vfree(void *memory) { nook_free(memory); }

#endif
