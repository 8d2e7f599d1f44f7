//! What a case is: a driver that does one wrong thing, and what is to come of it.

use std::fmt;

use nook_abi::{Entry, Fault};
use nook_runtime::{Budgets, Net, Nook};
use nook_tests::FrameQueues;

/// A kind of driver bug, as the literature counts them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Class {
    /// Stray loads, stores and jumps. Swift et al., *Improving the Reliability of Commodity Operating Systems* (Nooks,
    /// 2003), injects these.
    Stray,
    /// Arguments that were not checked. Huang et al., *SoK: Understanding the Attack Surface in Device Driver Isolation
    /// Frameworks* (ACSAC 2025), calls this and the next two compartment interface vulnerabilities.
    Argument,
    /// What lies in shared memory is forged, or changes between check and use.
    SharedData,
    /// Control passes where it should not: wrong context, wrong return value, wrong function.
    ControlTransfer,
    /// The driver breaks the operating system's protocol: order, pairing, state. Ryzhyk et al., *Dingo: Taming Device
    /// Drivers* (2009), counts these and the next.
    SystemProtocol,
    /// The driver programs the device against its rules.
    DeviceProtocol,
    /// It waits or loops for ever: left open by Nooks; Kadav et al., *Tolerating Hardware Device Failures in Software*
    /// (Carburizer, 2009), finds loops that wait for a device.
    Hang,
    /// It uses up what others need.
    Resources,
    /// The device fails, and the driver believes it (Carburizer, 2009).
    DeviceFailure,
}

impl fmt::Display for Class {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Class::Stray => "stray access",
            Class::Argument => "unchecked argument",
            Class::SharedData => "shared data",
            Class::ControlTransfer => "control transfer",
            Class::SystemProtocol => "system protocol",
            Class::DeviceProtocol => "device protocol",
            Class::Hang => "hang",
            Class::Resources => "resources",
            Class::DeviceFailure => "device failure",
        })
    }
}

/// What the device does besides what a device does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Script {
    /// It interrupts a few times, and otherwise behaves.
    Behaves,
    /// It never interrupts.
    Silent,
    /// Its interrupt line never goes away.
    Storms,
    /// Registers do not answer.
    Unplugged,
    /// Registers fail in another way.
    Fails,
    /// The operator takes it away when a register is read.
    TakenAway,
}

/// What is to come of a case.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Expect {
    /// Exactly this.
    Fault(Fault),
    /// Nothing: what the driver did can harm itself only.
    Harmless,
}

impl Expect {
    /// Returns the fault that is due, if one is.
    pub const fn fault(self) -> Option<Fault> {
        match self {
            Expect::Fault(fault) => Some(fault),
            Expect::Harmless => None,
        }
    }
}

/// What comes of a fault of a driver whose calls can be rolled back (`sfi+txn`).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Txn {
    /// If it came in a call that is a transaction, this is rolled back, and does the same again.
    Usual,
    /// It is not rolled back, for this reason.
    Stands(&'static str),
    /// Another fault comes, for this reason. It is rolled back as usual.
    Other(Fault, &'static str),
    /// The driver is not run at all. The message has this reason.
    Refused(&'static str),
}

/// How the driver is isolated, as `--isolation` calls it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Level {
    /// `sfi`.
    Sfi,
    /// `sfi+txn`: a call that faults can be rolled back.
    SfiTxn,
}

impl Level {
    /// All of them: what a case comes to is the same at each, unless it says otherwise.
    pub const ALL: [Level; 2] = [Level::Sfi, Level::SfiTxn];
}

impl fmt::Display for Level {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Level::Sfi => "sfi",
            Level::SfiTxn => "sfi+txn",
        })
    }
}

/// Limits of a case that does not name its own: a good driver keeps to them even on a busy machine, because they count
/// CPU time.
pub const BUDGETS: Budgets = Budgets {
    interrupt_cpu_ns: 100_000_000,
    atomic_cpu_ns: 200_000_000,
    process_cpu_ns: 300_000_000,
    short_wall_ns: 60_000_000_000,
    process_wall_ns: 60_000_000_000,
    process_total_ns: 60_000_000_000,
    transmit_ns: 60_000_000_000,
    stall_ns: 60_000_000_000,
    quiet_ns: 1_000_000_000,
    counters_ns: 10_000_000_000,
    instruction_ns: 10,
    net_cpu_ns: 1_000_000_000,
};

/// What the driver drives.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Subject {
    /// A network card.
    Card,
    /// A disk.
    Disk,
}

/// One hostile driver.
#[derive(Clone, Copy, Debug)]
pub struct Case {
    /// Its name.
    pub name: &'static str,
    /// What kind of bug it has.
    pub class: Class,
    /// What it drives.
    pub subject: Subject,
    /// Entries whose bodies differ from those of the harmless driver.
    pub entries: &'static [(&'static str, &'static str)],
    /// Its own functions and data.
    pub extra: &'static str,
    /// What the device does.
    pub script: Script,
    /// Other limits than a driver usually has. The good driver that follows is then given its own device.
    pub budgets: Option<Budgets>,
    /// What is to come of it.
    pub expect: Expect,
    /// What comes of it at `sfi+txn`.
    pub txn: Txn,
    /// What holds afterwards besides, of a card.
    pub holds: fn(&Nook<Net<FrameQueues>>) -> bool,
}

/// The harmless driver, which every case changes.
pub const HARMLESS: Case = Case {
    name: "harmless",
    class: Class::Stray,
    subject: Subject::Card,
    entries: &[],
    extra: "",
    script: Script::Behaves,
    budgets: None,
    expect: Expect::Harmless,
    txn: Txn::Usual,
    holds: |_| true,
};

impl Case {
    /// Creates a case that changes one entry.
    pub const fn of(name: &'static str, class: Class, expect: Expect, entries: &'static [(&str, &str)]) -> Case {
        Case { name, class, entries, expect, ..HARMLESS }
    }

    /// The same for a driver of a disk.
    pub const fn of_disk(name: &'static str, class: Class, expect: Expect, entries: &'static [(&str, &str)]) -> Case {
        Case { subject: Subject::Disk, ..Case::of(name, class, expect, entries) }
    }

    /// Returns the fault that is due at a level.
    pub fn fault_at(&self, level: Level) -> Option<Fault> {
        match (level, self.txn) {
            (Level::SfiTxn, Txn::Other(fault, _)) => Some(fault),
            _ => self.expect.fault(),
        }
    }

    /// Returns why it is not run at a level.
    pub fn refusal_at(&self, level: Level) -> Option<&'static str> {
        match (level, self.txn) {
            (Level::SfiTxn, Txn::Refused(why)) => Some(why),
            _ => None,
        }
    }

    /// Returns whether its faulty call is rolled back at a level: a case that has a wrong call that is a transaction is
    /// about it.
    pub fn is_rolled_back_at(&self, level: Level) -> bool {
        let transaction = |entry: &str| Entry::named(entry).is_some_and(Entry::is_transaction);
        level == Level::SfiTxn
            && !matches!(self.txn, Txn::Stands(_))
            && self.fault_at(level).is_some()
            && self.entries.iter().any(|(entry, _)| transaction(entry))
    }
}

/// Short for [`Expect::Fault`].
pub const fn fault(fault: Fault) -> Expect {
    Expect::Fault(fault)
}
