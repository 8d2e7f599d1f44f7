/* The heap: blocks in the order of their addresses, first fit, neighbours merged when they are free. Drivers allocate
   when they start and seldom afterwards. */
#include <nook/runtime.h>
#include <stdint.h>

struct nook_host_page *nook_page;
bool nook_may_sleep = true;

/* Before each block. Its size keeps what follows aligned to 16 bytes. */
struct block {
    struct nook_list in;
    /* Bytes after this header. */
    uint32_t len_bytes;
    uint32_t is_free;
} __attribute__((aligned(16)));
_Static_assert(sizeof(struct block) % 16 == 0, "what follows a header is aligned");

/* What nook_alloc returned is preceded by the address of its block: the header lies further away if the alignment is
   larger. */
struct tag {
    struct block *block;
};

static struct nook_list blocks = NOOK_LIST_INIT(blocks);

static uintptr_t up_to(uintptr_t address, uintptr_t align) { return (address + align - 1) & ~(align - 1); }

int32_t nook_runtime_begin(uintptr_t host_page) {
    struct nook_host_page *page = (struct nook_host_page *)host_page;
    if (page->magic != NOOK_HOST_PAGE_MAGIC)
        return NOOK_INVALID;
    nook_page = page;
    nook_list_init(&blocks);
    uintptr_t begin = up_to(page->heap_addr, 16), end = (page->heap_addr + page->heap_len_bytes) & ~(uintptr_t)15;
    if (end > begin + sizeof(struct block)) {
        struct block *whole = (struct block *)begin;
        whole->len_bytes = end - begin - sizeof *whole;
        whole->is_free = 1;
        nook_list_insert_before(&blocks, &whole->in);
    }
    return 0;
}

void *nook_alloc(size_t len_bytes, size_t align_bytes) {
    if (align_bytes < 16)
        align_bytes = 16;
    for (struct nook_list *link = blocks.next; link != &blocks; link = link->next) {
        struct block *block = NOOK_HOLDER(link, struct block, in);
        uintptr_t begin = (uintptr_t)(block + 1), end = begin + block->len_bytes;
        uintptr_t memory = up_to(begin + sizeof(struct tag), align_bytes);
        if (!block->is_free || memory > end || end - memory < len_bytes)
            continue;
        uintptr_t rest = up_to(memory + len_bytes, 16);
        if (end - rest > sizeof(struct block)) {
            struct block *next = (struct block *)rest;
            next->len_bytes = end - rest - sizeof *next;
            next->is_free = 1;
            nook_list_insert_before(block->in.next, &next->in);
            block->len_bytes = rest - begin;
        }
        block->is_free = 0;
        ((struct tag *)memory)[-1].block = block;
        __builtin_memset((void *)memory, 0, len_bytes);
        return (void *)memory;
    }
    return 0;
}

/* Makes one block of two neighbours if both are free. */
static void merge(struct nook_list *first, struct nook_list *second) {
    if (first == &blocks || second == &blocks)
        return;
    struct block *lower = NOOK_HOLDER(first, struct block, in), *upper = NOOK_HOLDER(second, struct block, in);
    if (!lower->is_free || !upper->is_free)
        return;
    lower->len_bytes += sizeof *upper + upper->len_bytes;
    nook_list_remove(&upper->in);
}

void nook_free(void *memory) {
    if (!memory)
        return;
    struct block *block = ((struct tag *)memory)[-1].block;
    block->is_free = 1;
    struct nook_list *before = block->in.previous;
    merge(&block->in, block->in.next);
    merge(before, &block->in);
}

int32_t nook_dma_begin(struct nook_dma *region, uint32_t len_bytes, uint32_t align_bytes) {
    int64_t answer = nook_dma_alloc(len_bytes, align_bytes);
    if (answer < 0)
        return (int32_t)answer;
    uint32_t offset = (uint32_t)answer;
    region->memory = (void *)(uintptr_t)(nook_page->window_addr + offset);
    region->iova = nook_page->window_iova + offset;
    region->len_bytes = len_bytes;
    region->handle = (uint32_t)(answer >> 32);
    return 0;
}

void nook_dma_end(struct nook_dma *region) {
    nook_dma_free(region->handle);
    *region = (struct nook_dma){0};
}
