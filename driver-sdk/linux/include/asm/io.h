/* Registers. A pointer to one is no address: see nook/registers.h. */
#ifndef NOOK_ASM_IO_H
#define NOOK_ASM_IO_H

#include <asm/barrier.h>
#include <linux/kernel.h>
#include <nook/registers.h>

#define NOOK_REGISTER(letter, bits)                                                                                     \
    static inline u##bits read##letter(const volatile void *place) {                                                    \
        return (u##bits)nook_mmio_read##bits(nook_bar_of(place), nook_offset_of(place));                                \
    }                                                                                                                   \
    static inline void write##letter(u##bits value, volatile void *place) {                                             \
        nook_mmio_write##bits(nook_bar_of(place), nook_offset_of(place), value);                                        \
    }
NOOK_REGISTER(b, 8)
NOOK_REGISTER(w, 16)
NOOK_REGISTER(l, 32)

/* What a card has behind ports is the card's: in the driver's folder. */
void outl(u32 value, unsigned long port);

static inline void *ioremap(u64 address, unsigned long len) {
    (void)address, (void)len;
    return NULL;
}
static inline void iounmap(volatile void *place) { (void)place; }

#define phys_to_virt(address) ((void *)(uintptr_t)(address))
#define iowrite16_rep(place, from, count) ((void)(place), (void)(from), (void)(count), nook_absent("iowrite16_rep"))
#define ioread16_rep(place, to, count) ((void)(place), (void)(to), (void)(count), nook_absent("ioread16_rep"))

#endif
