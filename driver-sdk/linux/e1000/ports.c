/* The 8254x has its registers behind two ports, too: which register, and its value (8254x manual, section 13.2.2).
   Drivers reset some chips by them, lest a bridge makes one access of 64 bits out of two. A nook's host allows no way to
   registers on which it cannot see which one is meant, and its accesses have the width that they are asked for. */
#include <asm/io.h>

enum { WHICH = 0, VALUE = 4 };

void outl(u32 value, unsigned long port) {
    static u32 which;
    if (port == WHICH)
        which = value;
    else if (port == VALUE)
        writel(value, (u8 *)NOOK_BAR(0) + which);
}
