//! A fault ends a call. It says who did what, with which argument, against which rule.

use core::fmt;

use crate::{ClassFault, Context, Entry, Hostcall};

/// How a driver's code came to its end: by a wasm trap, or by what its process did.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TrapKind {
    /// `unreachable`: in Rust, a panic or an abort.
    Unreachable,
    /// A load or store outside linear memory.
    MemoryOutOfBounds,
    /// An atomic access to an address that is not a multiple of its width.
    Misaligned,
    /// Division by zero, or a quotient or conversion that does not fit.
    Arithmetic,
    /// An indirect call to nothing, or with the wrong signature.
    IndirectCall,
    /// The call stack is used up: recursion.
    StackOverflow,
    /// A system call that the sandbox of the driver's process forbids.
    Syscall,
    /// The driver's process ended by itself, or was ended from outside.
    Ended,
    /// What the driver's process said to the host makes no sense.
    Channel,
    /// The call changed more memory than can be rolled back.
    UndoLogFull,
    /// Anything else that the engine knows.
    Other,
    /// None of the driver's doing: somebody wanted to see what comes of a trap.
    Injected,
}

/// Why a call into a driver was ended. After one, nothing that the driver says is believed until it was recovered.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fault {
    /// The driver's code trapped.
    Trap {
        /// In this entry.
        entry: Entry,
        /// How.
        kind: TrapKind,
    },
    /// The entry used more CPU time than it may.
    CpuBudget {
        /// Which entry.
        entry: Entry,
        /// What it may use, in nanoseconds.
        limit_ns: u64,
    },
    /// The entry did not return in time, whatever it did.
    WallBudget {
        /// Which entry.
        entry: Entry,
        /// What it may take, in nanoseconds.
        limit_ns: u64,
    },
    /// A pointer and length that leave the driver's memory.
    OutOfBounds {
        /// In this hostcall.
        call: Hostcall,
        /// The argument's name.
        argument: &'static str,
        /// Its value.
        addr: u64,
        /// The length that went with it.
        len_bytes: u64,
    },
    /// An argument that breaks a rule.
    BadArgument {
        /// In this hostcall.
        call: Hostcall,
        /// The argument's name.
        argument: &'static str,
        /// Its value.
        value: u64,
        /// The rule.
        rule: &'static str,
    },
    /// A register that the policy does not let a driver touch like that.
    RegisterForbidden {
        /// In this hostcall.
        call: Hostcall,
        /// Which BAR.
        bar: u32,
        /// Bytes from its start.
        offset: u32,
        /// The rule.
        rule: &'static str,
    },
    /// A handle that was never given out, or was given back.
    StaleHandle {
        /// In this hostcall.
        call: Hostcall,
        /// The handle.
        handle: u32,
    },
    /// A hostcall where it may not be made.
    WrongContext {
        /// The hostcall.
        call: Hostcall,
        /// Where the driver was.
        context: Context,
    },
    /// An entry returned what it cannot return.
    BadReturn {
        /// The entry.
        entry: Entry,
        /// What it returned.
        value: u64,
        /// The rule.
        rule: &'static str,
    },
    /// A ring's counters make no sense.
    QueueCorrupt {
        /// Which ring.
        queue: &'static str,
        /// The counter's value.
        value: u32,
        /// The rule.
        rule: &'static str,
    },
    /// More messages than anybody can read.
    LogFlood {
        /// Messages allowed in one second.
        limit_per_s: u32,
    },
    /// The interrupt came again and again, and nothing came of it: nobody makes the device withdraw it.
    InterruptStorm {
        /// Which one.
        vector: u32,
        /// How often in a row.
        interrupts: u32,
    },
    /// Something had come from the device and no interrupt said so: it was left masked.
    InterruptsMasked {
        /// How often in a row the host had to look for itself.
        polls: u32,
    },
    /// The device does not answer any more.
    DeviceGone,
    /// The device, or the way to it, failed; the host's log says how.
    DeviceFailed,
    /// The device was taken away from the driver while it ran.
    Revoked,
    /// What only drivers of one class can be guilty of.
    Class(ClassFault),
}

impl Fault {
    /// Returns whether it is the device's end that ended the call: no driver can go on with this device.
    pub const fn is_device(&self) -> bool {
        matches!(self, Fault::DeviceGone | Fault::DeviceFailed | Fault::Revoked)
    }
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match *self {
            Fault::Trap { entry, kind } => write!(f, "{entry}: trap: {kind}"),
            Fault::CpuBudget { entry, limit_ns } => {
                write!(f, "{entry}: used more than its {} us of CPU time", limit_ns / 1000)
            }
            Fault::WallBudget { entry, limit_ns } => {
                write!(f, "{entry}: did not return within {} ms", limit_ns / 1_000_000)
            }
            Fault::OutOfBounds { call, argument, addr, len_bytes } => {
                write!(f, "{call}: {argument}: {len_bytes} bytes at {addr:#x} leave the driver's memory")
            }
            Fault::BadArgument { call, argument, value, rule } => {
                write!(f, "{call}: {argument} = {value:#x}: {rule}")
            }
            Fault::RegisterForbidden { call, bar, offset, rule } => {
                write!(f, "{call}: BAR {bar} offset {offset:#x}: {rule}")
            }
            Fault::StaleHandle { call, handle } => {
                write!(f, "{call}: handle {handle:#x} was never given out or was given back")
            }
            Fault::WrongContext { call, context } => write!(f, "{call}: not allowed in {context} context"),
            Fault::BadReturn { entry, value, rule } => write!(f, "{entry}: returned {value:#x}: {rule}"),
            Fault::QueueCorrupt { queue, value, rule } => write!(f, "{queue}: counter {value:#x}: {rule}"),
            Fault::LogFlood { limit_per_s } => write!(f, "log: more than {limit_per_s} messages in one second"),
            Fault::InterruptStorm { vector, interrupts } => {
                write!(f, "interrupt {vector}: came {interrupts} times in a row, and nothing came of it")
            }
            Fault::InterruptsMasked { polls } => {
                write!(f, "{polls} times in a row something had come from the device and no interrupt had said so")
            }
            Fault::DeviceGone => f.write_str("the device is gone"),
            Fault::DeviceFailed => f.write_str("the device failed"),
            Fault::Revoked => f.write_str("the device was taken away from the driver"),
            Fault::Class(fault) => fault.fmt(f),
        }
    }
}

impl core::error::Error for Fault {}

impl fmt::Display for TrapKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            TrapKind::Unreachable => "unreachable code was reached (a panic, in Rust)",
            TrapKind::MemoryOutOfBounds => "access outside the driver's memory",
            TrapKind::Misaligned => "misaligned atomic access",
            TrapKind::Arithmetic => "division by zero or overflow",
            TrapKind::IndirectCall => "indirect call to nothing or with the wrong signature",
            TrapKind::StackOverflow => "call stack used up",
            TrapKind::Syscall => "system call that its sandbox forbids",
            TrapKind::Ended => "its process ended",
            TrapKind::Channel => "its process said what makes no sense",
            TrapKind::Other => "other trap",
            TrapKind::UndoLogFull => "more changes in one call than the undo log holds",
            TrapKind::Injected => "trap made on request",
        })
    }
}
