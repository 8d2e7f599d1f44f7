/* Registers as pointers, for drivers that were written for systems where a register has an address: such a pointer is no
   address in the driver's memory but names a BAR and an offset, and code that reads or writes through it must make a
   hostcall of it, which no compiler moves other accesses across. */
#ifndef NOOK_REGISTERS_H
#define NOOK_REGISTERS_H

#include <nook/abi.h>

/* Above the memory that a driver can have: bit 31, the BAR in bits 24 to 30, the offset in the others. */
#define NOOK_BAR(bar) ((void *)(uintptr_t)(0x80000000u | (uint32_t)(bar) << 24))
#define NOOK_BAR_BYTES (1u << 24)

static inline uint32_t nook_bar_of(const volatile void *place) { return (uint32_t)(uintptr_t)place >> 24 & 0x7f; }
static inline uint32_t nook_offset_of(const volatile void *place) { return (uint32_t)(uintptr_t)place & (NOOK_BAR_BYTES - 1); }

#endif
