//! The contract between a driver and the runtime that holds it.
//!
//! Both sides of the boundary use this crate and nothing else to agree: the table of hostcalls and entries
//! ([`hostcalls!`], [`entries!`], [`hints!`]), the layouts of what they share ([`HostPage`], [`RingHeader`]), how a
//! native driver is called ([`NativeDriver`]), the [`Manifest`], and the two kinds of bad news: [`Status`], which is
//! returned, and [`Fault`], which ends a call. What a class of devices adds is in a folder of its name.
//!
//! It is not an API for driver authors (that is `driver-sdk`) and holds no policy (that is `runtime`). It runs in
//! guests: `no_std`, no dependencies, no `unsafe`.
#![no_std]
#![forbid(unsafe_code)]

#[cfg(test)]
extern crate std;

pub mod block;
mod class;
mod fault;
mod hint;
mod layout;
mod manifest;
pub mod misc;
mod native;
pub mod net;
mod queue;
mod rows;
pub mod serial;
mod status;
mod table;
mod text;
mod words;

pub use class::{Class, ClassFault, ClassKeys, Part, Tell};
pub use fault::{Fault, TrapKind};
pub use hint::{HINT_MODULE, HINTS, Hint, HintInfo};
pub use layout::{CLASS_WORDS, DOORBELLS, Doorbell, HOST_PAGE_BYTES, HOST_PAGE_MAGIC, HostPage, MAILBOX_BYTES};
pub use manifest::{MANIFEST_SECTION, Manifest, ManifestError};
pub use native::{
    NATIVE_MANIFEST_SECTION, NATIVE_SYMBOL_PREFIX, NativeDriver, NativeEntries, NativeHead, NativeServices,
};
pub use queue::{QUEUE_CAPACITY, RingHeader, ring_bytes};
pub use status::Status;
pub use table::{
    ArgInfo, Context, Contexts, ENTRIES, Entry, EntryInfo, EntryKind, HOSTCALLS, Hostcall, HostcallInfo, Topic, Value,
};
pub use text::{Hex, Printable, is_printable};
pub use words::{MOST_ARGS, padded};

/// The wasm module name of every import.
pub const IMPORT_MODULE: &str = "nook";

/// Each entry `name` is exported as this prefix and the name, so that a C driver may have its own `open`.
pub const ENTRY_PREFIX: &str = "nook_";

/// Major and minor version of everything in this crate. What a minor version may add is in docs/abi.md, "Versions".
pub const ABI_VERSION: (u16, u16) = (1, 0);

/// The oldest version that a driver may have been built for. Those before 1.0 were drafts: tables and memory differ.
pub const OLDEST_ABI: (u16, u16) = (1, 0);

/// An address in the driver's own memory: 32 bits in a wasm driver, a pointer's bits in a native one.
pub type Addr = usize;

/// The most queues for which `poll` is called.
pub const MOST_QUEUES: u32 = 8;

/// Why [`Entry::Probe`] is called.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u32)]
pub enum ProbeReason {
    /// The first time: nothing is known of the device's state.
    Cold = 0,
    /// After a fault: the device may be in any state, DMA is off, the window keeps its contents.
    Restart = 1,
}

impl ProbeReason {
    /// Returns the reason with this number. One that has no name here is of a later host: nothing can be known of the
    /// device, as after a fault.
    pub const fn from_u32(value: u32) -> Self {
        match value {
            0 => ProbeReason::Cold,
            _ => ProbeReason::Restart,
        }
    }
}

/// Bits of what [`Entry::Irq`] returns.
pub mod irq_result {
    /// The device raised it, and the driver dealt with it.
    pub const HANDLED: u32 = 1 << 0;
    /// There is work for `poll` of queue 0; the driver has masked the device's interrupt until `poll` says that it is
    /// done. For other queues it calls `poll_schedule`.
    pub const POLL: u32 = 1 << 1;
    /// Every bit that may be set.
    pub const ALL: u32 = HANDLED | POLL;
}

/// What [`Entry::Poll`] returns.
pub mod poll_result {
    /// Nothing is left, and the driver has unmasked the device's interrupt.
    pub const IDLE: u32 = 0;
    /// The budget was used up: call again.
    pub const AGAIN: u32 = 1;
}

/// Levels of the `log` hostcall.
pub mod log_level {
    /// Something failed and a person should look.
    pub const ERROR: u32 = 1;
    /// Something odd that the driver coped with.
    pub const WARN: u32 = 2;
    /// What an operator wants to see once: link changes, the chip that was found.
    pub const INFO: u32 = 3;
    /// For the driver's author.
    pub const DEBUG: u32 = 4;
    /// The longest message, in bytes of UTF-8.
    pub const MAX_BYTES: u32 = 512;
}
