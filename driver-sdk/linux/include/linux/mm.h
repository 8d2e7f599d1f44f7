/* Pages: there are none to be had. Drivers receive into them what is longer than a packet buffer. */
#ifndef NOOK_LINUX_MM_H
#define NOOK_LINUX_MM_H

#include <linux/kernel.h>
#include <linux/slab.h>
#include <linux/spinlock.h>
#include <linux/workqueue.h>

#define PAGE_SIZE 4096

struct page;
#define alloc_page(flags) ((void)(flags), (struct page *)NULL)
#define put_page(page) ((void)(page), nook_absent("put_page"))
#define page_to_phys(page) ((void)(page), nook_absent("page_to_phys"), 0)
static inline void *page_address(const struct page *page) {
    (void)page;
    nook_absent("page_address");
}
#define kmap_atomic(page) page_address(page)
#define kunmap_atomic(address) ((void)(address))

#endif
