//! The one table. Each hostcall and each entry stands here once, and everything that needs to know them expands from
//! here: the SDK's imports, the runtime's linker glue and checks, call tracing, `nook-run inspect`, the reference page.

use core::fmt;

/// What kind of value crosses the boundary.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Value {
    /// wasm `i32`, read as unsigned.
    U32,
    /// wasm `i64`, read as unsigned.
    U64,
    /// wasm `i32`: zero, or a negative [`Status`](crate::Status).
    I32,
    /// wasm `i64`: not negative, or a negative [`Status`](crate::Status).
    I64,
    /// wasm `i32`: an address in the driver's memory.
    Addr,
    /// Nothing.
    Unit,
}

/// Where a driver is when it makes a call.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Context {
    /// May sleep and allocate: `probe`, `open`, `stop`, `work`, settings.
    Process,
    /// In `irq`: must be short.
    Interrupt,
    /// In `poll` and `timer`: must not sleep.
    Atomic,
}

impl fmt::Display for Context {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Context::Process => "process",
            Context::Interrupt => "interrupt",
            Context::Atomic => "atomic",
        })
    }
}

/// A set of [`Context`]s.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Contexts(u8);

impl Contexts {
    /// Process context only.
    pub const PROCESS: Contexts = Contexts(1);
    /// Everywhere.
    pub const ANY: Contexts = Contexts(7);

    /// Whether `context` is in the set.
    pub const fn allows(self, context: Context) -> bool {
        let bit = match context {
            Context::Process => 1,
            Context::Interrupt => 2,
            Context::Atomic => 4,
        };
        self.0 & bit != 0
    }
}

/// What a hostcall is about.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CallClass {
    /// Device registers and configuration space.
    Register,
    /// The DMA window and bus mastering.
    Dma,
    /// Interrupt delivery.
    Interrupt,
    /// Clocks, delays, timers, deferred work.
    Time,
    /// Messages for people.
    Log,
    /// The network class.
    Net,
}

/// One argument.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ArgInfo {
    /// As in the table.
    pub name: &'static str,
    /// What crosses.
    pub value: Value,
}

/// One row of the hostcall table.
#[derive(Clone, Copy, Debug)]
pub struct HostcallInfo {
    /// Which one.
    pub call: Hostcall,
    /// The import's name, in module [`IMPORT_MODULE`](crate::IMPORT_MODULE).
    pub name: &'static str,
    /// In order.
    pub args: &'static [ArgInfo],
    /// The result.
    pub result: Value,
    /// What it is about.
    pub class: CallClass,
    /// Where it may be called.
    pub contexts: Contexts,
    /// The ABI version that brought it.
    pub since: (u16, u16),
    /// For the reference page.
    pub doc: &'static str,
}

/// One row of the entry table.
#[derive(Clone, Copy, Debug)]
pub struct EntryInfo {
    /// Which one.
    pub entry: Entry,
    /// The export's name is [`ENTRY_PREFIX`](crate::ENTRY_PREFIX) and this.
    pub name: &'static str,
    /// In order.
    pub args: &'static [ArgInfo],
    /// The result.
    pub result: Value,
    /// Where the driver is while it runs.
    pub context: Context,
    /// Whether every driver of class `net` must export it.
    pub required: bool,
    /// The ABI version that brought it.
    pub since: (u16, u16),
    /// For the reference page.
    pub doc: &'static str,
}

/// One row of the table of a filter's entries.
#[derive(Clone, Copy, Debug)]
pub struct FilterEntryInfo {
    /// The export's name is [`ENTRY_PREFIX`](crate::ENTRY_PREFIX) and this.
    pub name: &'static str,
    /// In order.
    pub args: &'static [ArgInfo],
    /// The result.
    pub result: Value,
    /// Where the filter is while it runs.
    pub context: Context,
    /// The ABI version that brought it.
    pub since: (u16, u16),
    /// For the reference page.
    pub doc: &'static str,
}

/// Expands `$with! { rows }` with every hostcall. A row is
/// `{ doc } Class CONTEXTS (major, minor) Variant fn name(arg: type, ...) -> type;`
/// where a type is `u32`, `u64`, `i32` (status), `i64` (value or status), `Addr` or `()`.
#[macro_export]
macro_rules! hostcalls {
    ($with:ident) => {
        $with! {
            { "Reads 8 bits of configuration space." }
            Register ANY (0, 1) ConfigRead8 fn config_read8(offset: u32) -> u32;
            { "Reads 16 bits of configuration space; `offset` is even." }
            Register ANY (0, 1) ConfigRead16 fn config_read16(offset: u32) -> u32;
            { "Reads 32 bits of configuration space; `offset` is a multiple of 4." }
            Register ANY (0, 1) ConfigRead32 fn config_read32(offset: u32) -> u32;
            { "Reads an 8-bit register." }
            Register ANY (0, 1) MmioRead8 fn mmio_read8(bar: u32, offset: u32) -> u32;
            { "Reads a 16-bit register; `offset` is even." }
            Register ANY (0, 1) MmioRead16 fn mmio_read16(bar: u32, offset: u32) -> u32;
            { "Reads a 32-bit register; `offset` is a multiple of 4." }
            Register ANY (0, 1) MmioRead32 fn mmio_read32(bar: u32, offset: u32) -> u32;
            { "Reads a 64-bit register; `offset` is a multiple of 8." }
            Register ANY (0, 1) MmioRead64 fn mmio_read64(bar: u32, offset: u32) -> u64;
            { "Writes an 8-bit register; higher bits of `value` are zero." }
            Register ANY (0, 1) MmioWrite8 fn mmio_write8(bar: u32, offset: u32, value: u32) -> ();
            { "Writes a 16-bit register; `offset` is even, higher bits of `value` are zero." }
            Register ANY (0, 1) MmioWrite16 fn mmio_write16(bar: u32, offset: u32, value: u32) -> ();
            { "Writes a 32-bit register; `offset` is a multiple of 4." }
            Register ANY (0, 1) MmioWrite32 fn mmio_write32(bar: u32, offset: u32, value: u32) -> ();
            { "Writes a 64-bit register; `offset` is a multiple of 8." }
            Register ANY (0, 1) MmioWrite64 fn mmio_write64(bar: u32, offset: u32, value: u64) -> ();
            { "Returns once all earlier register writes have reached the device." }
            Register ANY (0, 1) MmioFlush fn mmio_flush() -> ();
            { "Allocates zeroed DMA memory in the window, aligned to `align_bytes` (a power of two, at most 4096). \
The result is the region's handle in bits 32 to 62 and its offset in the window in bits 0 to 31, \
or `NoMemory`." }
            Dma PROCESS (0, 1) DmaAlloc fn dma_alloc(len_bytes: u32, align_bytes: u32) -> i64;
            { "Gives a region back. The device must no longer use it." }
            Dma PROCESS (0, 1) DmaFree fn dma_free(region: u32) -> ();
            { "Lets the device start DMA (bus mastering). Nothing else turns it on for a driver that never asked." }
            Dma PROCESS (0, 1) DmaEnable fn dma_enable() -> i32;
            { "Stops all DMA of the device." }
            Dma PROCESS (0, 1) DmaDisable fn dma_disable() -> i32;
            { "Starts delivery of interrupt `vector` to `irq`; less than the manifest's `irq_vectors`." }
            Interrupt PROCESS (0, 1) IrqEnable fn irq_enable(vector: u32) -> i32;
            { "Ends delivery of interrupt `vector`; `irq` is not called again once this has returned." }
            Interrupt PROCESS (0, 1) IrqDisable fn irq_disable(vector: u32) -> i32;
            { "Nanoseconds of a monotonic clock, now. The host page has the time shortly before the call, for free." }
            Time ANY (0, 1) ClockNs fn clock_ns() -> u64;
            { "Waits without sleeping, at least `ns` nanoseconds, at most 10 ms a call." }
            Time ANY (0, 1) DelayNs fn delay_ns(ns: u32) -> ();
            { "Sleeps at least `ns` nanoseconds, at most 1 s a call." }
            Time PROCESS (0, 1) SleepNs fn sleep_ns(ns: u64) -> ();
            { "Asks for one call of `timer` at `due_ns` of the monotonic clock; replaces an earlier wish, and 0 \
cancels it." }
            Time ANY (0, 1) TimerSet fn timer_set(due_ns: u64) -> ();
            { "Asks for one call of `work`, in process context." }
            Time ANY (0, 1) WorkSchedule fn work_schedule() -> ();
            { "A message for people: `len_bytes` of UTF-8 at `text`, at most 512; `level` is 1 (error) to 4 (debug)." }
            Log ANY (0, 1) Log fn log(level: u32, text: Addr, len_bytes: u32) -> ();
            { "Makes the network interface, once, in `probe`. `mac` holds the address's first byte in bits 0 to 7; \
`max_mtu` is in bytes; `features` is 0 in this version." }
            Net PROCESS (0, 1) NetAttach fn net_attach(mac: u64, max_mtu: u32, features: u64) -> i32;
            { "Reports the link: `up` is 0 or 1, `speed_mbps` 0 if it is down, `full_duplex` 0 or 1." }
            Net ANY (0, 1) NetLink fn net_link(up: u32, speed_mbps: u32, full_duplex: u32) -> ();
            { "Asks for a call of `poll`, as `irq` does with its result." }
            Net ANY (0, 1) PollSchedule fn poll_schedule(queue: u32) -> ();
            { "Asks the nook's filter about a frame of `len_bytes` at `offset` in the window; `direction` is a \
`filter_direction`, the answer a `filter_verdict`. The filter is called without the host; if the nook has none (the \
host page's `filters` is 0), the host answers `PASS`. The SDK makes this call." }
            Net ANY (0, 2) NetFilter fn net_filter(direction: u32, offset: u32, len_bytes: u32) -> u32;
        }
    };
}

/// Expands `$with! { rows }` with every entry. A row is
/// `{ doc } Context required|optional (major, minor) Variant fn name(arg: type, ...) -> type;`.
#[macro_export]
macro_rules! entries {
    ($with:ident) => {
        $with! {
            { "Finds out what the device is, brings it to a known state, attaches the interface. `reason` is a \
`ProbeReason`; `host_page` is the address of the `HostPage`." }
            Process required (0, 1) Probe fn probe(reason: u32, host_page: Addr) -> i32;
            { "The driver is going away: the device is quiet when this returns." }
            Process required (0, 1) Remove fn remove() -> ();
            { "The interface goes up: rings, receiver, transmitter, interrupts." }
            Process required (0, 1) Open fn open() -> i32;
            { "The interface goes down: DMA and interrupts stop, and every packet that it took is returned." }
            Process required (0, 1) Stop fn stop() -> i32;
            { "Reaps transmissions, harvests and refills receive buffers, submits transmissions; at most `budget` \
packets each way. `flags` holds `poll_flags` bits, which drivers of ABI 0.1 are not given. Returns a \
`poll_result`." }
            Atomic required (0, 1) Poll fn poll(queue: u32, budget: u32, flags: u32) -> u32;
            { "An interrupt fired, perhaps another device's. Returns `irq_result` bits." }
            Interrupt required (0, 1) Irq fn irq(vector: u32) -> u32;
            { "The time asked for by `timer_set` has come." }
            Atomic optional (0, 1) Timer fn timer() -> ();
            { "What `work_schedule` asked for." }
            Process optional (0, 1) Work fn work() -> ();
            { "Changes the interface's address; first byte in bits 0 to 7." }
            Process optional (0, 1) SetMac fn set_mac(mac: u64) -> i32;
            { "Changes the largest payload, in bytes, without the Ethernet header." }
            Process optional (0, 1) SetMtu fn set_mtu(mtu_bytes: u32) -> i32;
            { "Changes what is received: `mode` holds `rx_mode` bits; the mailbox holds `multicast_count` addresses \
of 6 bytes." }
            Process optional (0, 1) SetRxMode fn set_rx_mode(mode: u32, multicast_count: u32) -> i32;
            { "Turns loopback inside of the device on or off: `mode` is a `loopback_mode`. While it is on, what is sent \
is received, nothing passes the cable, and the driver reports a link." }
            Process optional (0, 1) SetLoopback fn set_loopback(mode: u32) -> i32;
            { "Writes fresh counters into the host page's `stats`." }
            Process optional (0, 1) Stats fn stats() -> ();
        }
    };
}

/// Expands `$with! { rows }` with every entry of a filter: the module beside a driver that sees each frame. Rows are as
/// those of [`entries!`].
#[macro_export]
macro_rules! filter_entries {
    ($with:ident) => {
        $with! {
            { "Begins. `host_page` is the address of a `HostPage` in the filter's own memory, of which only the window, \
the packet buffers and the mailbox are filled in; the mailbox holds `rules_len_bytes` of UTF-8: what the operator asks \
for, a rule a line. `Invalid` refuses them." }
            Process required (0, 2) Begin fn begin(host_page: Addr, rules_len_bytes: u32) -> i32;
            { "A frame passes: the driver calls it, as `net_filter`. Returns a `filter_verdict`." }
            Atomic required (0, 2) Frame fn frame(direction: u32, offset: u32, len_bytes: u32) -> u32;
        }
    };
}

macro_rules! value {
    (u32) => {
        Value::U32
    };
    (u64) => {
        Value::U64
    };
    (i32) => {
        Value::I32
    };
    (i64) => {
        Value::I64
    };
    (Addr) => {
        Value::Addr
    };
    (()) => {
        Value::Unit
    };
}

macro_rules! required {
    (required) => {
        true
    };
    (optional) => {
        false
    };
}

macro_rules! define_hostcalls {
    ($({ $doc:literal } $class:ident $contexts:ident $since:tt $variant:ident
       fn $name:ident($($arg:ident: $ty:tt),*) -> $result:tt;)*) => {
        /// Each service that a driver can ask the host for.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
        #[repr(u8)]
        pub enum Hostcall { $(#[doc = $doc] $variant,)* }

        /// The hostcall table, in the order of [`Hostcall`].
        pub static HOSTCALLS: &[HostcallInfo] = &[$(HostcallInfo {
            call: Hostcall::$variant,
            name: stringify!($name),
            args: &[$(ArgInfo { name: stringify!($arg), value: value!($ty) }),*],
            result: value!($result),
            class: CallClass::$class,
            contexts: Contexts::$contexts,
            since: $since,
            doc: $doc,
        }),*];
    };
}

macro_rules! define_entries {
    ($({ $doc:literal } $context:ident $required:ident $since:tt $variant:ident
       fn $name:ident($($arg:ident: $ty:tt),*) -> $result:tt;)*) => {
        /// Each way into a driver.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
        #[repr(u8)]
        pub enum Entry { $(#[doc = $doc] $variant,)* }

        /// The entry table, in the order of [`Entry`].
        pub static ENTRIES: &[EntryInfo] = &[$(EntryInfo {
            entry: Entry::$variant,
            name: stringify!($name),
            args: &[$(ArgInfo { name: stringify!($arg), value: value!($ty) }),*],
            result: value!($result),
            context: Context::$context,
            required: required!($required),
            since: $since,
            doc: $doc,
        }),*];
    };
}

macro_rules! define_filter_entries {
    ($({ $doc:literal } $context:ident $required:ident $since:tt $variant:ident
       fn $name:ident($($arg:ident: $ty:tt),*) -> $result:tt;)*) => {
        /// The entries of a filter. Every filter exports all of them.
        pub static FILTER_ENTRIES: &[FilterEntryInfo] = &[$(FilterEntryInfo {
            name: stringify!($name),
            args: &[$(ArgInfo { name: stringify!($arg), value: value!($ty) }),*],
            result: value!($result),
            context: Context::$context,
            since: $since,
            doc: $doc,
        }),*];
    };
}

hostcalls!(define_hostcalls);
entries!(define_entries);
filter_entries!(define_filter_entries);

impl Hostcall {
    /// Its row.
    pub fn info(self) -> &'static HostcallInfo {
        &HOSTCALLS[self as usize]
    }
}

impl Entry {
    /// Its row.
    pub fn info(self) -> &'static EntryInfo {
        &ENTRIES[self as usize]
    }
}

impl fmt::Display for Hostcall {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.info().name)
    }
}

impl fmt::Display for Entry {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.info().name)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_row_stands_at_its_own_number() {
        for (index, row) in HOSTCALLS.iter().enumerate() {
            assert_eq!(row.call as usize, index);
        }
        for (index, row) in ENTRIES.iter().enumerate() {
            assert_eq!(row.entry as usize, index);
        }
    }

    #[test]
    fn nothing_is_newer_than_the_abi() {
        for since in HOSTCALLS
            .iter()
            .map(|row| row.since)
            .chain(ENTRIES.iter().map(|row| row.since))
            .chain(FILTER_ENTRIES.iter().map(|row| row.since))
        {
            assert!(since <= crate::ABI_VERSION);
        }
    }
}
