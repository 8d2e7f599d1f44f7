//! Options about traces.

use std::path::PathBuf;

use clap::ValueEnum;

use super::event::Event;

/// Of a run.
#[derive(Clone, Debug, clap::Args)]
pub struct RunTrace {
    /// Writes a trace to this file: each entry into the driver with its time, each hostcall, what crossed the bus, for
    /// `nook-run trace FILE`. At sfi, sfi+txn and process; see docs/trace.md.
    #[arg(long, value_name = "FILE")]
    pub trace: Option<PathBuf>,
}

/// `nook-run trace`.
#[derive(Debug, clap::Args)]
#[command(args_conflicts_with_subcommands = true, subcommand_negates_reqs = true)]
pub struct TraceArgs {
    /// What is done besides printing a trace.
    #[command(subcommand)]
    pub command: Option<TraceCommand>,
    /// What --trace wrote.
    #[arg(required = true)]
    pub file: Option<PathBuf>,
    /// As what it is printed.
    #[arg(long, value_enum, default_value_t = Format::Text)]
    pub format: Format,
    /// Prints these events only.
    #[arg(long, value_name = "LIST", value_enum, value_delimiter = ',')]
    pub only: Vec<Kind>,
}

/// What can be done with traces besides printing one.
#[derive(Debug, clap::Subcommand)]
pub enum TraceCommand {
    /// Says where two traces part, whatever the times. Of runs in real time, compare kinds that do not depend on it.
    Diff(DiffArgs),
}

/// `nook-run trace diff`.
#[derive(Debug, clap::Args)]
pub struct DiffArgs {
    /// One trace.
    pub old: PathBuf,
    /// The other.
    pub new: PathBuf,
    /// Compares these events only.
    #[arg(long, value_name = "LIST", value_enum, value_delimiter = ',')]
    pub only: Vec<Kind>,
}

/// As what a trace is printed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Format {
    /// Lines to read.
    Text,
    /// One JSON object a line.
    Jsonl,
    /// The Trace Event format, for Perfetto and Chrome.
    Chrome,
}

/// A kind of events.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Kind {
    /// Calls of the driver, and their ends.
    Entry,
    /// Calls of the host by the driver.
    Hostcall,
    /// Registers as they were read and written at the device: in a transaction, writes come when it is committed.
    Register,
    /// Interrupts that the device raised.
    Interrupt,
    /// What the host did with the device: DMA window, bus mastering, reset.
    Device,
    /// Instances that began and ended, calls that were rolled back, restored snapshots.
    Driver,
}

impl Kind {
    /// Returns what an event is.
    pub fn of(event: &Event) -> Self {
        use nook_bus::BusAccess;
        match event {
            Event::Entered { .. } | Event::Left(_) => Kind::Entry,
            Event::Called { .. } => Kind::Hostcall,
            Event::Bus(BusAccess::Read { .. } | BusAccess::Write { .. }) => Kind::Register,
            Event::Bus(BusAccess::Irq(_)) => Kind::Interrupt,
            Event::Bus(_) => Kind::Device,
            Event::Begun | Event::Ended | Event::RolledBack { .. } | Event::Restored => Kind::Driver,
        }
    }

    /// Returns its name.
    pub fn name(self) -> &'static str {
        match self {
            Kind::Entry => "entry",
            Kind::Hostcall => "hostcall",
            Kind::Register => "register",
            Kind::Interrupt => "interrupt",
            Kind::Device => "device",
            Kind::Driver => "driver",
        }
    }
}
