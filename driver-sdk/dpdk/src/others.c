/* What DPDK's drivers of other cards ask for beyond what the e1000's does. */
#include "shim.h"
#include <bus_pci_driver.h>
#include <rte_alarm.h>
#include <rte_ether.h>
#include <rte_flow_driver.h>
#include <rte_lcore.h>
#include <rte_mbuf_dyn.h>

unsigned rte_socket_id(void) { return 0; }

/* A locally administered address that is nobody's group. */
void rte_eth_random_addr(uint8_t *address) {
    uint64_t bits = nook_clock_ns() * 0x9e3779b97f4a7c15u;
    __builtin_memcpy(address, (const uint8_t *)&bits + 2, RTE_ETHER_ADDR_LEN);
    address[0] = (uint8_t)((address[0] & ~RTE_ETHER_GROUP_ADDR) | RTE_ETHER_LOCAL_ADMIN_ADDR);
}

int rte_flow_error_set(struct rte_flow_error *error, int code, enum rte_flow_error_type type, const void *cause,
                       const char *message) {
    if (error)
        *error = (struct rte_flow_error){.type = type, .cause = cause, .message = message};
    rte_errno = code;
    return -code;
}

/* A driver's own fields in an mbuf: places in what every mbuf keeps for that, given out from the start. */
int rte_mbuf_dynfield_register(const struct rte_mbuf_dynfield *wanted) {
    static size_t used;
    size_t place = (used + wanted->align - 1) & ~(wanted->align - 1);
    if (place + wanted->size > sizeof ((struct rte_mbuf *)0)->dynfield1) {
        rte_errno = ENOENT;
        return -1;
    }
    used = place + wanted->size;
    return (int)(offsetof(struct rte_mbuf, dynfield1) + place);
}

/* Alarms are timers. */
struct alarm {
    struct nook_timer timer;
    rte_eal_alarm_callback call;
    void *argument;
};
static struct alarm alarms[8];

static void ring(struct nook_timer *timer) {
    struct alarm *alarm = NOOK_HOLDER(timer, struct alarm, timer);
    rte_eal_alarm_callback call = alarm->call;
    alarm->call = NULL;
    call(alarm->argument);
}

int rte_eal_alarm_set(uint64_t us, rte_eal_alarm_callback call, void *argument) {
    for (unsigned i = 0; i < RTE_DIM(alarms); i++) {
        if (!alarms[i].call) {
            alarms[i].call = call;
            alarms[i].argument = argument;
            alarms[i].timer.fire = ring;
            nook_timer_start(&alarms[i].timer, nook_clock_ns() + us * 1000);
            return 0;
        }
    }
    return -ENOMEM;
}

int rte_eal_alarm_cancel(rte_eal_alarm_callback call, void *argument) {
    int cancelled = 0;
    for (unsigned i = 0; i < RTE_DIM(alarms); i++) {
        bool same = alarms[i].argument == argument || argument == (void *)-1;
        if (alarms[i].call == call && same) {
            nook_timer_stop(&alarms[i].timer);
            alarms[i].call = NULL;
            cancelled++;
        }
    }
    return cancelled;
}

/* A part of a frame that may lie in several mbufs: where it is, or a copy in `copy`. */
const void *__rte_pktmbuf_read(const struct rte_mbuf *mbuf, uint32_t from, uint32_t len, void *copy) {
    if (from + len > mbuf->pkt_len)
        return NULL;
    for (; from >= mbuf->data_len; mbuf = mbuf->next)
        from -= mbuf->data_len;
    if (from + len <= mbuf->data_len)
        return rte_pktmbuf_mtod_offset(mbuf, const void *, from);
    for (uint8_t *to = copy; len > 0; mbuf = mbuf->next, from = 0) {
        uint32_t piece = mbuf->data_len - from < len ? mbuf->data_len - from : len;
        __builtin_memcpy(to, rte_pktmbuf_mtod_offset(mbuf, const void *, from), piece);
        to += piece;
        len -= piece;
    }
    return copy;
}
