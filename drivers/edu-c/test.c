/* The driver against a device of a few lines, natively: what it asks of its host is answered here. */
#include "driver.c"

#include <assert.h>
#include <stdio.h>

static uint32_t identification, inverse, number, status_bits, causes;
static uint64_t dma[4];
static unsigned char memory[4096], window[8192] __attribute__((aligned(4096))), mail[NOOK_MAILBOX_BYTES];
static struct nook_host_page host_page;
static uint64_t clock_now_ns;
/* What was completed last, and how often something was. */
static uint32_t completions, completed_ticket, completed_bytes;
static int32_t completed_status;
static bool dma_on, irq_on;

/* The factorial is computed. */
static void finish(void) {
    for (uint32_t factor = number, product = 1;; factor--) {
        if (factor < 2) {
            number = product;
            break;
        }
        product *= factor;
    }
    status_bits &= ~STATUS_COMPUTING;
    if (status_bits & STATUS_INTERRUPTS)
        causes |= CAUSES_COMPUTED;
}

/* The transfer is over. */
static void transfer(void) {
    assert(dma_on && dma[3] & COMMAND_RUNS);
    bool to_memory = dma[3] & COMMAND_TO_MEMORY;
    unsigned char *there = window + (dma[to_memory] - host_page.window_iova);
    unsigned char *here = memory + (dma[!to_memory] - MEMORY);
    assert(here >= memory && here + dma[2] <= memory + MEMORY_BYTES);
    assert(there >= window && there + dma[2] <= window + 4096);
    __builtin_memcpy(to_memory ? there : here, to_memory ? here : there, dma[2]);
    causes |= dma[3] & COMMAND_INTERRUPTS ? CAUSES_MOVED : 0;
    dma[3] &= ~(uint64_t)COMMAND_RUNS;
}

uint32_t nook_mmio_read32(uint32_t bar, uint32_t offset) {
    assert(bar == BAR);
    switch (offset) {
    case IDENTIFICATION:
        return identification;
    case LIVENESS:
        return inverse;
    case FACTORIAL:
        return number;
    case STATUS:
        return status_bits;
    case CAUSES:
        return causes;
    }
    assert(!"a register that can be read");
    return 0;
}

void nook_mmio_write32(uint32_t bar, uint32_t offset, uint32_t value) {
    assert(bar == BAR);
    switch (offset) {
    case LIVENESS:
        inverse = ~value;
        return;
    case FACTORIAL:
        assert(!(status_bits & STATUS_COMPUTING));
        number = value;
        status_bits |= STATUS_COMPUTING;
        return;
    case STATUS:
        status_bits = (status_bits & STATUS_COMPUTING) | (value & STATUS_INTERRUPTS);
        return;
    case ACKNOWLEDGE:
        causes &= ~value;
        return;
    }
    assert(!"a register that can be written");
}

uint64_t nook_mmio_read64(uint32_t bar, uint32_t offset) {
    assert(bar == BAR && offset == DMA_COMMAND);
    return dma[3];
}

void nook_mmio_write64(uint32_t bar, uint32_t offset, uint64_t value) {
    assert(bar == BAR && offset >= DMA_SOURCE && offset <= DMA_COMMAND && !(dma[3] & COMMAND_RUNS));
    dma[(offset - DMA_SOURCE) / 8] = value;
}

int64_t nook_dma_alloc(uint32_t len_bytes, uint32_t align_bytes) {
    assert(len_bytes == 4096 && align_bytes == 4096);
    return (int64_t)1 << 32;
}

void nook_dma_free(uint32_t region) { assert(region == 1); }

int32_t nook_dma_enable(void) {
    dma_on = true;
    return 0;
}

int32_t nook_dma_disable(void) {
    dma_on = false;
    return 0;
}

int32_t nook_irq_enable(uint32_t vector) {
    assert(vector == 0);
    irq_on = true;
    return 0;
}

int32_t nook_irq_disable(uint32_t vector) {
    assert(vector == 0);
    irq_on = false;
    return 0;
}

uint64_t nook_clock_ns(void) { return clock_now_ns; }
void nook_delay_ns(uint32_t ns) { clock_now_ns += ns; }

/* What the device was left at is over at last. */
void nook_sleep_ns(uint64_t ns) {
    clock_now_ns += ns;
    if (clock_now_ns == 5 * LOOK_EVERY_NS) {
        status_bits &= ~STATUS_COMPUTING;
        dma[3] = 0;
    }
}

void nook_timer_set(uint64_t due_ns) { (void)due_ns; }

void nook_log(uint32_t level, uintptr_t text, uint32_t len_bytes) {
    printf("%u: %.*s\n", level, (int)len_bytes, (const char *)text);
}

int32_t nook_misc_attach(uint32_t len_bytes) {
    assert(len_bytes == sizeof operations - 1 && __builtin_memcmp(mail, operations, len_bytes) == 0);
    return 0;
}

void nook_misc_complete(uint32_t ticket, int32_t status, uint32_t len_bytes) {
    completions++;
    completed_ticket = ticket, completed_status = status, completed_bytes = len_bytes;
}

static bool was_completed(uint32_t count, uint32_t ticket, int32_t status, uint32_t len_bytes) {
    return completions == count && completed_ticket == ticket && completed_status == status &&
           completed_bytes == len_bytes;
}

static int32_t invoke(uint32_t ticket, uint32_t operation, const void *input, uint32_t len_bytes) {
    __builtin_memcpy(mail, input, len_bytes);
    return nook_invoke(ticket, operation, len_bytes);
}

static int32_t probe(uint32_t reason) { return nook_probe(reason, (uintptr_t)&host_page); }

static void a_device_that_is_no_edu_is_refused(void) {
    identification = 0x010000ee;
    assert(probe(NOOK_PROBE_REASON_COLD) == NOOK_NO_DEVICE);
}

static void a_device_that_was_left_at_work_is_waited_for(void) {
    identification = 0x010000ed;
    status_bits = STATUS_COMPUTING | STATUS_INTERRUPTS, causes = CAUSES_COMPUTED, dma[3] = COMMAND_RUNS;
    assert(probe(NOOK_PROBE_REASON_RESTART) == 0 && clock_now_ns == 5 * LOOK_EVERY_NS);
    assert(status_bits == 0 && causes == 0);
    assert(nook_open() == 0 && dma_on && irq_on && status_bits == STATUS_INTERRUPTS);
}

static void what_the_device_does_at_once_is_completed_at_once(void) {
    assert(invoke(1, IDENTIFY, "", 0) == 0 && was_completed(1, 1, 0, 4));
    assert(__builtin_memcmp(mail, "\xed\0\0\1", 4) == 0);
    assert(invoke(2, INVERT, "\x78\x56\x34\x12", 4) == 0 && was_completed(2, 2, 0, 4));
    assert(__builtin_memcmp(mail, "\x87\xa9\xcb\xed", 4) == 0);
    assert(invoke(3, INVERT, "\0", 1) == NOOK_INVALID && invoke(3, LOAD + 1, "", 0) == NOOK_UNSUPPORTED);
}

static void a_factorial_is_completed_by_its_interrupt(void) {
    assert(invoke(7, COMPUTE, "\5\0\0\0", 4) == 0 && completions == 2);
    assert(invoke(8, COMPUTE, "\6\0\0\0", 4) == NOOK_BUSY);
    assert(nook_irq(0) == 0 && "it is another device's");
    finish();
    assert(nook_irq(0) == NOOK_IRQ_RESULT_HANDLED && was_completed(3, 7, 0, 4) && causes == 0);
    assert(__builtin_memcmp(mail, "\x78\0\0\0", 4) == 0);
}

static void bytes_are_moved_to_the_device_and_back(void) {
    assert(invoke(9, STORE, "\x64\0\0\0edu", 7) == 0);
    assert(nook_irq(0) == 0 && invoke(10, LOAD, "\x64\0\0\0\3\0\0\0", 8) == NOOK_BUSY);
    transfer();
    assert(nook_irq(0) == NOOK_IRQ_RESULT_HANDLED && was_completed(4, 9, 0, 0));
    assert(__builtin_memcmp(memory + 99, "\0edu", 5) == 0);
    __builtin_memset(window, 0, sizeof window);
    assert(invoke(10, LOAD, "\x64\0\0\0\3\0\0\0", 8) == 0);
    transfer();
    assert(nook_irq(0) == NOOK_IRQ_RESULT_HANDLED && was_completed(5, 10, 0, 3));
    assert(__builtin_memcmp(mail, "edu", 3) == 0);
}

static void a_transfer_outside_the_devices_memory_is_refused(void) {
    assert(invoke(11, LOAD, "\xfe\x0f\0\0\2\0\0\0", 8) == NOOK_INVALID);
    assert(invoke(11, LOAD, "\xff\xff\xff\xff\2\0\0\0", 8) == NOOK_INVALID);
    assert(invoke(11, LOAD, "\0\0\0\0\1\x08\0\0", 8) == NOOK_INVALID);
    assert(invoke(11, LOAD, "\0\0\0\0\0\0\0\0", 8) == NOOK_INVALID);
    assert(invoke(11, LOAD, "\xfd\x0f\0\0\2\0\0\0", 8) == 0);
    transfer();
    assert(nook_irq(0) == NOOK_IRQ_RESULT_HANDLED && was_completed(6, 11, 0, 2));
}

static void what_is_open_when_it_stops_is_completed_as_not_done(void) {
    assert(invoke(12, COMPUTE, "\7\0\0\0", 4) == 0);
    assert(nook_stop() == 0 && was_completed(7, 12, NOOK_BUSY, 0));
    assert(!dma_on && !irq_on && causes == 0 && !(status_bits & STATUS_INTERRUPTS));
    nook_remove();
}

int main(void) {
    host_page.magic = NOOK_HOST_PAGE_MAGIC;
    host_page.mailbox_addr = (uintptr_t)mail;
    host_page.window_addr = (uintptr_t)window;
    host_page.window_iova = 0x8000000;
    a_device_that_is_no_edu_is_refused();
    a_device_that_was_left_at_work_is_waited_for();
    what_the_device_does_at_once_is_completed_at_once();
    a_factorial_is_completed_by_its_interrupt();
    bytes_are_moved_to_the_device_and_back();
    a_transfer_outside_the_devices_memory_is_refused();
    what_is_open_when_it_stops_is_completed_as_not_done();
    puts("all is well");
    return 0;
}
