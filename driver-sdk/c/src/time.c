/* Waiting and timers. */
#include <nook/runtime.h>

/* The longest that the host keeps the processor for, and that it sleeps for, in one call. */
#define LONGEST_DELAY_NS 10000000u
#define LONGEST_SLEEP_NS 1000000000u
/* A shorter sleep is not worth waking up from. */
#define SHORTEST_SLEEP_NS 200000u

void nook_wait_ns(uint64_t ns) {
    while (ns > 0) {
        bool sleeps = nook_may_sleep && ns >= SHORTEST_SLEEP_NS;
        uint64_t longest = sleeps ? LONGEST_SLEEP_NS : LONGEST_DELAY_NS;
        uint64_t piece = ns < longest ? ns : longest;
        if (sleeps)
            nook_sleep_ns(piece);
        else
            nook_delay_ns((uint32_t)piece);
        ns -= piece;
    }
}

/* Set timers, the next one first. */
static struct nook_list timers = NOOK_LIST_INIT(timers);

static void tell_host(void) {
    nook_timer_set(nook_list_is_empty(&timers) ? 0 : NOOK_HOLDER(timers.next, struct nook_timer, in)->due_ns);
}

static bool is_set(const struct nook_timer *timer) { return timer->in.next && !nook_list_is_empty(&timer->in); }

void nook_timer_start(struct nook_timer *timer, uint64_t due_ns) {
    if (is_set(timer))
        nook_list_remove(&timer->in);
    timer->due_ns = due_ns ? due_ns : 1;
    struct nook_list *place = timers.next;
    while (place != &timers && NOOK_HOLDER(place, struct nook_timer, in)->due_ns <= timer->due_ns)
        place = place->next;
    nook_list_insert_before(place, &timer->in);
    tell_host();
}

void nook_timer_stop(struct nook_timer *timer) {
    if (!is_set(timer))
        return;
    nook_list_remove(&timer->in);
    tell_host();
}

void nook_timers_run(void) {
    uint64_t now_ns = nook_clock_ns();
    while (!nook_list_is_empty(&timers)) {
        struct nook_timer *first = NOOK_HOLDER(timers.next, struct nook_timer, in);
        if (first->due_ns > now_ns)
            break;
        nook_list_remove(&first->in);
        first->fire(first);
    }
    tell_host();
}
