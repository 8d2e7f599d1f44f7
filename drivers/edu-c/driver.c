/* The driver of QEMU's educational device, `edu` (`--qemu edu`), in C: registers, factorials by interrupt, DMA both
   ways. drivers/edu-wasm is the same in Rust. nook/abi.h has everything that a driver may ask its host for,
   nook/runtime.h what makes that easy; docs/drivers-in-c.md says how it is compiled, and what to look after. */
#include <nook/fence.h>
#include <nook/runtime.h>

/* What the driver is, and what it needs: read before it runs. */
NOOK_MANIFEST("name = edu-c\n"
              "version = 0.1.0\n"
              "license = Apache-2.0\n"
              "class = misc\n"
              "pci = 1234:11e8\n"
              "registers = edu\n"
              "dma_bytes = 4096\n"
              "dma_mask_bits = 28\n");

/* Registers, and bits in them (QEMU, docs/specs/edu). The host holds the driver to its own map, `edu`. */
enum {
    BAR = 0,
    IDENTIFICATION = 0x00,
    LIVENESS = 0x04,
    FACTORIAL = 0x08,
    STATUS = 0x20,
    CAUSES = 0x24,
    ACKNOWLEDGE = 0x64,
    DMA_SOURCE = 0x80,
    DMA_DESTINATION = 0x88,
    DMA_COUNT = 0x90,
    DMA_COMMAND = 0x98,
};
enum { STATUS_COMPUTING = 0x01, STATUS_INTERRUPTS = 0x80 };
enum { CAUSES_COMPUTED = 0x001, CAUSES_MOVED = 0x100 };
enum { COMMAND_RUNS = 1, COMMAND_TO_MEMORY = 2, COMMAND_INTERRUPTS = 4 };
/* Where the device's memory begins, as its DMA addresses it, and how much of it may be moved: QEMU 7.2
   ends its process over the last of its 4096 bytes. */
enum { MEMORY = 0x40000, MEMORY_BYTES = 4095 };

/* How long the longest factorial takes that a driver before this one may have begun. */
#define LONGEST_NS 30000000000u
#define LOOK_EVERY_NS 1000000u
/* The most that an operation takes or gives. */
enum { MOST_BYTES = NOOK_MAILBOX_BYTES };

/* The operations, one a line, called by their number from 0: a name, and an example with input and output. */
enum { IDENTIFY, INVERT, COMPUTE, STORE, LOAD };
static const char operations[] = "identify - ed000001\n"
                                 "invert 78563412 87a9cbed\n"
                                 "factorial 05000000 78000000\n"
                                 "store 100000006e6f6f6b -\n"
                                 "load 1000000004000000 6e6f6f6b\n";

/* An operation that the device works on: whose it is, and how many bytes it brings. */
struct pending {
    bool open;
    uint32_t ticket, len_bytes;
};
static struct pending computes, moves;
/* Memory from which and to which the device moves bytes. */
static struct nook_dma buffer;

/* The mailbox, in which text and bytes pass that no register holds. */
static unsigned char *mailbox(void) { return (unsigned char *)(uintptr_t)nook_page->mailbox_addr; }

static uint32_t mail32(size_t at) {
    uint32_t value;
    __builtin_memcpy(&value, mailbox() + at, sizeof value);
    return value;
}

static void complete32(uint32_t ticket, uint32_t value) {
    __builtin_memcpy(mailbox(), &value, sizeof value);
    nook_misc_complete(ticket, 0, sizeof value);
}

static bool is_moving(void) { return nook_mmio_read64(BAR, DMA_COMMAND) & COMMAND_RUNS; }

static bool is_at_work(void) { return nook_mmio_read32(BAR, STATUS) & STATUS_COMPUTING || is_moving(); }

/* Waits until it is not so any more. */
static int32_t wait_while(bool (*is_so)(void)) {
    uint64_t end_ns = nook_clock_ns() + LONGEST_NS;
    while (is_so()) {
        if (nook_clock_ns() > end_ns)
            return NOOK_TIMEOUT;
        nook_wait_ns(LOOK_EVERY_NS);
    }
    return 0;
}

static void be_quiet(void) {
    nook_mmio_write32(BAR, STATUS, 0);
    nook_mmio_write32(BAR, ACKNOWLEDGE, UINT32_MAX);
}

int32_t nook_probe(uint32_t reason, uintptr_t host_page) {
    (void)reason;
    int32_t status = nook_runtime_begin(host_page);
    if (status < 0)
        return status;
    uint32_t found = nook_mmio_read32(BAR, IDENTIFICATION);
    if ((found & 0xff) != 0xed) {
        nook_log_format(NOOK_LOG_LEVEL_ERROR, "this is no edu: it identifies itself as %#010x", found);
        return NOOK_NO_DEVICE;
    }
    nook_log_format(NOOK_LOG_LEVEL_INFO, "edu %u.%u", found >> 24, found >> 16 & 0xff);
    status = nook_dma_begin(&buffer, 4096, 4096);
    if (status < 0)
        return status;
    /* A driver before this one may have left it at work: what is asked meanwhile would be lost. */
    status = wait_while(is_at_work);
    if (status < 0)
        return status;
    be_quiet();
    __builtin_memcpy(mailbox(), operations, sizeof operations - 1);
    return nook_misc_attach(sizeof operations - 1);
}

void nook_remove(void) {
    be_quiet();
    nook_dma_end(&buffer);
}

int32_t nook_open(void) {
    /* With it the compiler leaves plain accesses to the window where they are. */
    nook_fence();
    int32_t status = nook_dma_enable();
    if (status < 0)
        return status;
    status = nook_irq_enable(0);
    if (status < 0)
        return status;
    nook_mmio_write32(BAR, STATUS, STATUS_INTERRUPTS);
    return 0;
}

int32_t nook_stop(void) {
    struct pending *all[] = {&computes, &moves};
    for (int i = 0; i < 2; i++) {
        if (all[i]->open)
            nook_misc_complete(all[i]->ticket, NOOK_BUSY, 0);
        all[i]->open = false;
    }
    /* The buffer is the device's until then. */
    int32_t quiet = wait_while(is_moving);
    be_quiet();
    int32_t status = nook_irq_disable(0);
    if (status == 0)
        status = nook_dma_disable();
    return status < 0 ? status : quiet;
}

/* Says where the device's DMA addresses a part of its memory, if there is such a part and nothing is being moved. */
static int32_t place(uint32_t at, uint32_t len_bytes, uint64_t *address) {
    if (len_bytes == 0 || len_bytes > MOST_BYTES || at > MEMORY_BYTES - len_bytes)
        return NOOK_INVALID;
    if (moves.open || is_moving())
        return NOOK_BUSY;
    *address = MEMORY + at;
    return 0;
}

static void start(uint64_t source, uint64_t destination, uint32_t len_bytes, uint64_t direction) {
    nook_mmio_write64(BAR, DMA_SOURCE, source);
    nook_mmio_write64(BAR, DMA_DESTINATION, destination);
    nook_mmio_write64(BAR, DMA_COUNT, len_bytes);
    nook_mmio_write64(BAR, DMA_COMMAND, direction | COMMAND_RUNS | COMMAND_INTERRUPTS);
}

static int32_t compute(uint32_t ticket, uint32_t number) {
    /* It takes one at a time and loses others without a word. */
    if (computes.open || nook_mmio_read32(BAR, STATUS) & STATUS_COMPUTING)
        return NOOK_BUSY;
    nook_mmio_write32(BAR, FACTORIAL, number);
    computes = (struct pending){.open = true, .ticket = ticket};
    return 0;
}

static int32_t store(uint32_t ticket, uint32_t at, uint32_t len_bytes) {
    uint64_t address;
    int32_t status = place(at, len_bytes, &address);
    if (status < 0)
        return status;
    __builtin_memcpy(buffer.memory, mailbox() + 4, len_bytes);
    start(buffer.iova, address, len_bytes, 0);
    moves = (struct pending){.open = true, .ticket = ticket};
    return 0;
}

static int32_t load(uint32_t ticket, uint32_t at, uint32_t len_bytes) {
    uint64_t address;
    int32_t status = place(at, len_bytes, &address);
    if (status < 0)
        return status;
    start(address, buffer.iova, len_bytes, COMMAND_TO_MEMORY);
    moves = (struct pending){.open = true, .ticket = ticket, .len_bytes = len_bytes};
    return 0;
}

int32_t nook_invoke(uint32_t ticket, uint32_t operation, uint32_t len_bytes) {
    switch (operation) {
    case IDENTIFY:
        if (len_bytes != 0)
            return NOOK_INVALID;
        complete32(ticket, nook_mmio_read32(BAR, IDENTIFICATION));
        return 0;
    case INVERT:
        if (len_bytes != 4)
            return NOOK_INVALID;
        nook_mmio_write32(BAR, LIVENESS, mail32(0));
        complete32(ticket, nook_mmio_read32(BAR, LIVENESS));
        return 0;
    case COMPUTE:
        return len_bytes == 4 ? compute(ticket, mail32(0)) : NOOK_INVALID;
    case STORE:
        return len_bytes > 4 ? store(ticket, mail32(0), len_bytes - 4) : NOOK_INVALID;
    case LOAD:
        return len_bytes == 8 ? load(ticket, mail32(0), mail32(4)) : NOOK_INVALID;
    default:
        return NOOK_UNSUPPORTED;
    }
}

uint32_t nook_irq(uint32_t vector) {
    (void)vector;
    uint32_t causes = nook_mmio_read32(BAR, CAUSES);
    if (causes == 0)
        return 0;
    /* Read first, write last: so that the call can be rolled back. */
    uint32_t factorial = nook_mmio_read32(BAR, FACTORIAL);
    nook_mmio_write32(BAR, ACKNOWLEDGE, causes);
    if (causes & CAUSES_COMPUTED && computes.open) {
        computes.open = false;
        complete32(computes.ticket, factorial);
    }
    if (causes & CAUSES_MOVED && moves.open) {
        moves.open = false;
        __builtin_memcpy(mailbox(), buffer.memory, moves.len_bytes);
        nook_misc_complete(moves.ticket, 0, moves.len_bytes);
    }
    return NOOK_IRQ_RESULT_HANDLED;
}

uint32_t nook_poll(uint32_t queue, uint32_t budget, uint32_t flags) {
    (void)queue, (void)budget, (void)flags;
    return NOOK_POLL_RESULT_IDLE;
}
