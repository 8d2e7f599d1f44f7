//! The rows of the tables that every class has.

/// Expands `$with! { $state rows }` with every hostcall that is no class's. A row is
/// `{ doc } Topic CONTEXTS (major, minor) Variant fn name(arg: type, ...) -> type;`
/// where a type is `u32`, `u64`, `i32` (status), `i64` (value or status), `Addr` or `()`.
#[doc(hidden)]
#[macro_export]
macro_rules! core_hostcalls {
    ($with:ident $state:tt) => {
        $crate::$with! { $state
            { "Reads 8 bits of configuration space." }
            Register ANY (1, 0) ConfigRead8 fn config_read8(offset: u32) -> u32;
            { "Reads 16 bits of configuration space; `offset` is even." }
            Register ANY (1, 0) ConfigRead16 fn config_read16(offset: u32) -> u32;
            { "Reads 32 bits of configuration space; `offset` is a multiple of 4." }
            Register ANY (1, 0) ConfigRead32 fn config_read32(offset: u32) -> u32;
            { "Reads an 8-bit register." }
            Register ANY (1, 0) MmioRead8 fn mmio_read8(bar: u32, offset: u32) -> u32;
            { "Reads a 16-bit register; `offset` is even." }
            Register ANY (1, 0) MmioRead16 fn mmio_read16(bar: u32, offset: u32) -> u32;
            { "Reads a 32-bit register; `offset` is a multiple of 4." }
            Register ANY (1, 0) MmioRead32 fn mmio_read32(bar: u32, offset: u32) -> u32;
            { "Reads a 64-bit register; `offset` is a multiple of 8." }
            Register ANY (1, 0) MmioRead64 fn mmio_read64(bar: u32, offset: u32) -> u64;
            { "Writes an 8-bit register; higher bits of `value` are zero." }
            Register ANY (1, 0) MmioWrite8 fn mmio_write8(bar: u32, offset: u32, value: u32) -> ();
            { "Writes a 16-bit register; `offset` is even, higher bits of `value` are zero." }
            Register ANY (1, 0) MmioWrite16 fn mmio_write16(bar: u32, offset: u32, value: u32) -> ();
            { "Writes a 32-bit register; `offset` is a multiple of 4." }
            Register ANY (1, 0) MmioWrite32 fn mmio_write32(bar: u32, offset: u32, value: u32) -> ();
            { "Writes a 64-bit register; `offset` is a multiple of 8." }
            Register ANY (1, 0) MmioWrite64 fn mmio_write64(bar: u32, offset: u32, value: u64) -> ();
            { "Returns once all earlier register writes have reached the device." }
            Register ANY (1, 0) MmioFlush fn mmio_flush() -> ();
            { "Allocates zeroed DMA memory in the window, aligned to `align_bytes` (a power of two, at most 4096). \
The result is the region's handle in bits 32 to 62 and its offset in the window in bits 0 to 31, \
or `NoMemory`." }
            Dma PROCESS (1, 0) DmaAlloc fn dma_alloc(len_bytes: u32, align_bytes: u32) -> i64;
            { "Gives a region back. The device must no longer use it." }
            Dma PROCESS (1, 0) DmaFree fn dma_free(region: u32) -> ();
            { "Lets the device start DMA (bus mastering). Nothing else turns it on for a driver that never asked." }
            Dma PROCESS (1, 0) DmaEnable fn dma_enable() -> i32;
            { "Stops all DMA of the device." }
            Dma PROCESS (1, 0) DmaDisable fn dma_disable() -> i32;
            { "Starts delivery of interrupt `vector` to `irq`; less than the manifest's `irq_vectors`." }
            Interrupt PROCESS (1, 0) IrqEnable fn irq_enable(vector: u32) -> i32;
            { "Ends delivery of interrupt `vector`; `irq` is not called again once this has returned." }
            Interrupt PROCESS (1, 0) IrqDisable fn irq_disable(vector: u32) -> i32;
            { "Nanoseconds of a monotonic clock, now. The host page has the time shortly before the call, for free." }
            Time ANY (1, 0) ClockNs fn clock_ns() -> u64;
            { "Waits without sleeping, at least `ns` nanoseconds, at most 10 ms a call." }
            Time ANY (1, 0) DelayNs fn delay_ns(ns: u32) -> ();
            { "Sleeps at least `ns` nanoseconds, at most 1 s a call." }
            Time PROCESS (1, 0) SleepNs fn sleep_ns(ns: u64) -> ();
            { "Asks for one call of `timer` at `due_ns` of the monotonic clock; replaces an earlier wish, and 0 \
cancels it." }
            Time ANY (1, 0) TimerSet fn timer_set(due_ns: u64) -> ();
            { "Asks for one call of `work`, in process context." }
            Time ANY (1, 0) WorkSchedule fn work_schedule() -> ();
            { "A message for people: `len_bytes` of UTF-8 at `text`, at most 512; `level` is 1 (error) to 4 (debug)." }
            Log ANY (1, 0) Log fn log(level: u32, text: Addr, len_bytes: u32) -> ();
            { "Asks for a call of `poll` for this queue, as `irq` does with its result for queue 0. `queue` is less than the \
manifest's `queues`, and than the number that the operator wants." }
            Time ANY (1, 0) PollSchedule fn poll_schedule(queue: u32) -> ();
        }
    };
}

/// Expands `$with! { $state rows }` with every entry that is no class's. A row is
/// `{ doc } Context required|optional transaction|setting|plain (major, minor) Variant fn name(arg: type, ...) ->
/// type;`.
#[doc(hidden)]
#[macro_export]
macro_rules! core_entries {
    ($with:ident $state:tt) => {
        $crate::$with! { $state
            { "Finds out what the device is, brings it to a known state, attaches what its class serves. `reason` is \
a `ProbeReason`; `host_page` is the address of the `HostPage`." }
            Process required plain (1, 0) Probe fn probe(reason: u32, host_page: Addr) -> i32;
            { "The driver is going away: the device is quiet when this returns." }
            Process required plain (1, 0) Remove fn remove() -> ();
            { "Service begins: rings, interrupts, whatever the device needs for its work." }
            Process required plain (1, 0) Open fn open() -> i32;
            { "Service ends: DMA and interrupts stop, and all that the driver was given is returned." }
            Process required plain (1, 0) Stop fn stop() -> i32;
            { "Moves what its class moves between the host's rings and the device, at most `budget` entries of each \
ring. `flags` holds bits of the class. `queue` is 0, or one that `poll_schedule` asked for; what was asked for is called \
in turn. Returns a `poll_result`." }
            Atomic required transaction (1, 0) Poll fn poll(queue: u32, budget: u32, flags: u32) -> u32;
            { "An interrupt fired, perhaps another device's. Returns `irq_result` bits." }
            Interrupt required transaction (1, 0) Irq fn irq(vector: u32) -> u32;
            { "The time asked for by `timer_set` has come." }
            Atomic optional transaction (1, 0) Timer fn timer() -> ();
            { "What `work_schedule` asked for." }
            Process optional transaction (1, 0) Work fn work() -> ();
            { "Writes fresh counters where its class has them in the host page, and adds 1 to the page's \
`stats_written`." }
            Process optional plain (1, 0) Stats fn stats() -> ();
        }
    };
}
