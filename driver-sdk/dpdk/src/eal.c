/* DPDK's environment: memory, messages, delays, and what it asks about processes. */
#include "shim.h"
#include <rte_debug.h>
#include <rte_errno.h>
#include <rte_log.h>
#include <rte_malloc.h>
#include <rte_mempool.h>
#include <rte_memzone.h>

unsigned per_lcore__lcore_id;
int per_lcore__rte_errno;

enum rte_proc_type_t rte_eal_process_type(void) { return RTE_PROC_PRIMARY; }

void *rte_zmalloc(const char *kind, size_t len, unsigned align) {
    (void)kind;
    return nook_alloc(len, align > RTE_CACHE_LINE_SIZE ? align : RTE_CACHE_LINE_SIZE);
}
void *rte_zmalloc_socket(const char *kind, size_t len, unsigned align, int socket) {
    (void)socket;
    return rte_zmalloc(kind, len, align);
}
void *rte_malloc(const char *kind, size_t len, unsigned align) { return rte_zmalloc(kind, len, align); }
void *rte_malloc_socket(const char *kind, size_t len, unsigned align, int socket) {
    return rte_zmalloc_socket(kind, len, align, socket);
}
void *rte_calloc(const char *kind, size_t count, size_t len, unsigned align) {
    return len && count > SIZE_MAX / len ? NULL : rte_zmalloc(kind, count * len, align);
}
void rte_free(void *memory) { nook_free(memory); }

/* A memory zone is a DMA region with a name. */
struct zone {
    struct rte_memzone public;
    struct nook_dma region;
    struct nook_list in;
};
static struct nook_list zones = NOOK_LIST_INIT(zones);

const struct rte_memzone *rte_memzone_reserve_aligned(const char *name, size_t len, int socket, unsigned flags,
                                                      unsigned align) {
    (void)socket, (void)flags;
    struct zone *zone = nook_alloc(sizeof *zone, 16);
    if (!zone || nook_dma_begin(&zone->region, (uint32_t)len, align > 4096 ? 4096 : align) != 0) {
        nook_free(zone);
        rte_errno = ENOMEM;
        return NULL;
    }
    for (size_t i = 0; i + 1 < sizeof zone->public.name && name[i]; i++)
        zone->public.name[i] = name[i];
    zone->public.addr = zone->region.memory;
    zone->public.iova = zone->region.iova;
    zone->public.len = len;
    nook_list_insert_before(&zones, &zone->in);
    return &zone->public;
}
const struct rte_memzone *rte_memzone_lookup(const char *name) {
    for (struct nook_list *link = zones.next; link != &zones; link = link->next) {
        const struct zone *zone = NOOK_HOLDER(link, struct zone, in);
        if (strncmp(zone->public.name, name, sizeof zone->public.name) == 0)
            return &zone->public;
    }
    return NULL;
}
int rte_memzone_free(const struct rte_memzone *public) {
    if (!public)
        return -EINVAL;
    struct zone *zone = (struct zone *)(uintptr_t)public;
    nook_list_remove(&zone->in);
    nook_dma_end(&zone->region);
    nook_free(zone);
    return 0;
}
/* A ring of a queue that was set up before is found again by the queue, which keeps it: here none is shared by name. */
const struct rte_memzone *rte_eth_dma_zone_reserve(const struct rte_eth_dev *port, const char *name, uint16_t queue,
                                                   size_t len, unsigned align, int socket) {
    (void)port, (void)queue;
    return rte_memzone_reserve_aligned(name, len, socket, 0, align);
}

/* DPDK's levels, of which there are twice as many. */
static uint32_t level_of(uint32_t level) {
    if (level <= RTE_LOG_ERR)
        return NOOK_LOG_LEVEL_ERROR;
    if (level <= RTE_LOG_WARNING)
        return NOOK_LOG_LEVEL_WARN;
    return level <= RTE_LOG_NOTICE ? NOOK_LOG_LEVEL_INFO : NOOK_LOG_LEVEL_DEBUG;
}
int rte_log(uint32_t level, uint32_t type, const char *format, ...) {
    (void)type;
    /* What drivers trace of themselves would be thousands of hostcalls in a probe. */
    if (level > RTE_LOG_INFO)
        return 0;
    va_list arguments;
    va_start(arguments, format);
    nook_log_list(level_of(level), format, arguments);
    va_end(arguments);
    return 0;
}
int rte_log_register_type_and_pick_level(const char *name, uint32_t level) {
    (void)name, (void)level;
    return 0;
}
void __rte_panic(const char *function, const char *format, ...) {
    nook_log_format(NOOK_LOG_LEVEL_ERROR, "panic in %s", function);
    va_list arguments;
    va_start(arguments, format);
    nook_log_list(NOOK_LOG_LEVEL_ERROR, format, arguments);
    va_end(arguments);
    __builtin_trap();
}

static void delay_us(unsigned us) { nook_wait_ns((uint64_t)us * 1000); }
void (*rte_delay_us)(unsigned us) = delay_us;
void rte_delay_us_sleep(unsigned us) { delay_us(us); }
uint64_t rte_get_tsc_hz(void) { return 1000000000; }
