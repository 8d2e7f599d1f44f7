//! Why a call cannot be rolled back.

use std::fmt;

use nook_regs::RegisterMap;
use serde::Serialize;

use crate::register_name;

/// A register's place.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RegisterAt {
    /// Its BAR.
    pub bar: u8,
    /// Bytes from the BAR's beginning.
    pub offset: u32,
}

/// A register's place and its name: with its index, if it is one of several.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct RegisterName {
    /// Its BAR.
    pub bar: u8,
    /// Bytes from the BAR's beginning.
    pub offset: u32,
    /// As the register map has it, such as `TSD[3]`; `BAR 0 0x1c` if no register of the map begins there.
    pub name: String,
}

/// Why a transaction can no longer be undone: what of it was the first to reach the device for good. `R` says which
/// register it was.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case", tag = "why")]
pub enum Irreversible<R = RegisterAt> {
    /// A register was read while a write waited that it may depend on, so the write had to reach the device first.
    ReadAfterWrite {
        /// What was read.
        read: R,
        /// The first register whose write waited.
        written: R,
    },
    /// Reading takes out of the device what cannot be given back (the map's `Pops` and `Other`).
    ReadTakes {
        /// What was read.
        read: R,
    },
    /// The write is over only when the device has done what it says (the map's `Command`).
    Command {
        /// What was written.
        written: R,
    },
    /// More writes than can wait.
    TooManyWrites {
        /// The first register whose write waited.
        written: R,
        /// How many can.
        limit: usize,
    },
    /// The driver waited or asked for the device's answer after a write.
    Awaited {
        /// The first register whose write waited.
        written: R,
        /// What the driver did then.
        by: Await,
    },
    /// The device was asked for something other than a register access.
    Asked {
        /// What.
        what: Ask,
    },
}

/// What lets writes reach the device besides reads of registers.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Await {
    /// All earlier writes were to be carried out.
    Flush,
    /// Configuration space was read.
    ConfigRead,
    /// The driver slept or spun, or ran in a context in which it may.
    Wait,
}

/// What a device is asked for that no transaction undoes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
#[expect(missing_docs, reason = "named as the device's methods")]
pub enum Ask {
    DmaMap,
    DmaUnmap,
    DmaEnable,
    DmaDisable,
    Reset,
    IrqEnable,
    IrqDisable,
    IrqUnmask,
}

impl<R> Irreversible<R> {
    /// The same with other words for registers.
    pub fn map<S>(self, name: impl Fn(R) -> S) -> Irreversible<S> {
        match self {
            Irreversible::ReadAfterWrite { read, written } => {
                Irreversible::ReadAfterWrite { read: name(read), written: name(written) }
            }
            Irreversible::ReadTakes { read } => Irreversible::ReadTakes { read: name(read) },
            Irreversible::Command { written } => Irreversible::Command { written: name(written) },
            Irreversible::TooManyWrites { written, limit } => {
                Irreversible::TooManyWrites { written: name(written), limit }
            }
            Irreversible::Awaited { written, by } => Irreversible::Awaited { written: name(written), by },
            Irreversible::Asked { what } => Irreversible::Asked { what },
        }
    }
}

impl Irreversible {
    /// With the registers' names.
    pub fn named(self, map: &RegisterMap) -> Irreversible<RegisterName> {
        self.map(|RegisterAt { bar, offset }| {
            let name = register_name(map, bar, offset);
            RegisterName { bar, offset, name }
        })
    }
}

impl fmt::Display for RegisterName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.name)
    }
}

impl<R: fmt::Display> fmt::Display for Irreversible<R> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Irreversible::ReadAfterWrite { read, written } => write!(f, "{read} was read after {written} was written"),
            Irreversible::ReadTakes { read } => {
                write!(f, "{read} was read, and what a read takes out of it cannot be given back")
            }
            Irreversible::Command { written } => write!(f, "{written} was written, which the device obeys at once"),
            Irreversible::TooManyWrites { written, limit } => {
                write!(f, "more than {limit} register writes came, of which that of {written} was the first")
            }
            Irreversible::Awaited { written, by } => {
                let by = match by {
                    Await::Flush => "writes were flushed",
                    Await::ConfigRead => "configuration space was read",
                    Await::Wait => "the driver waited",
                };
                write!(f, "{by} after {written} was written")
            }
            Irreversible::Asked { what } => f.write_str(match what {
                Ask::DmaMap => "the window was mapped for the device",
                Ask::DmaUnmap => "the window was unmapped",
                Ask::DmaEnable => "DMA was enabled",
                Ask::DmaDisable => "DMA was disabled",
                Ask::Reset => "the device was reset",
                Ask::IrqEnable => "interrupts were enabled",
                Ask::IrqDisable => "interrupts were disabled",
                Ask::IrqUnmask => "an interrupt was unmasked",
            }),
        }
    }
}
