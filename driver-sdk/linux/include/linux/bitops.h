/* Bits. Nothing else runs meanwhile, so plain accesses do. */
#ifndef NOOK_LINUX_BITOPS_H
#define NOOK_LINUX_BITOPS_H

#include <linux/types.h>

#define BITS_PER_LONG (8 * sizeof(unsigned long))
#define BITS_TO_LONGS(bits) (((bits) + BITS_PER_LONG - 1) / BITS_PER_LONG)

static inline unsigned long nook_bit(unsigned bit) { return 1ul << bit % BITS_PER_LONG; }
static inline bool test_bit(unsigned bit, const unsigned long *map) {
    return map[bit / BITS_PER_LONG] & nook_bit(bit);
}
static inline void set_bit(unsigned bit, unsigned long *map) { map[bit / BITS_PER_LONG] |= nook_bit(bit); }
static inline void clear_bit(unsigned bit, unsigned long *map) { map[bit / BITS_PER_LONG] &= ~nook_bit(bit); }
static inline bool test_and_set_bit(unsigned bit, unsigned long *map) {
    bool was = test_bit(bit, map);
    set_bit(bit, map);
    return was;
}
/* The first set bit from `bit` on, or `size`. */
static inline unsigned nook_next_bit(const unsigned long *map, unsigned size, unsigned bit) {
    while (bit < size && !test_bit(bit, map))
        bit += map[bit / BITS_PER_LONG] >> bit % BITS_PER_LONG ? 1 : BITS_PER_LONG - bit % BITS_PER_LONG;
    return bit < size ? bit : size;
}
#define for_each_set_bit(bit, map, size)                                                                                \
    for ((bit) = nook_next_bit((map), (size), 0); (bit) < (size); (bit) = nook_next_bit((map), (size), (bit) + 1))

/* The number of the highest set bit, from 1; 0 if there is none. */
static inline int fls(unsigned value) { return value ? 32 - __builtin_clz(value) : 0; }

#endif
