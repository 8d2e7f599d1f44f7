//! Rolling back the call that faulted, and going on with care.

use std::fmt;

use nook_abi::Entry;
use nook_bus::{Irreversible, RegisterName};
use serde::Serialize;

use super::Nook;
use crate::{Class, CrashWhen, Life, NookError, RolledBack};

/// A call that was rolled back.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RolledBackCall {
    /// What was called.
    pub entry: Entry,
    /// What was put back in memory.
    pub memory: RolledBack,
}

/// Why a call that faulted cannot be rolled back.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case", tag = "reason")]
pub enum NoRollback {
    /// The driver runs at an isolation level that keeps no log of a call.
    Level,
    /// The last call was no transaction: its entry may sleep, and what it does is meant to reach the device at once.
    /// The fault may have been noticed after it.
    NotATransaction {
        /// What was called last.
        entry: &'static str,
    },
    /// No call was open: the fault was noticed after the one that caused it had become final.
    Over,
    /// The fault is the device's, and no driver's memory mends that.
    DeviceFault,
    /// Something of the call has reached the device.
    Irreversible(Irreversible<RegisterName>),
}

impl fmt::Display for NoRollback {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            NoRollback::Level => f.write_str("only --isolation sfi+txn rolls calls back"),
            NoRollback::NotATransaction { entry } => write!(f, "the last call, `{entry}`, is not a transaction"),
            NoRollback::Over => f.write_str("the call that led to it was over"),
            NoRollback::DeviceFault => f.write_str("it is a fault of the device"),
            NoRollback::Irreversible(why) => why.fmt(f),
        }
    }
}

impl<C: Class> Nook<C> {
    /// Returns why the call that ended with `error` cannot be [rolled back](Self::can_roll_back); `None` if it can be,
    /// or if the error is not about a call.
    pub fn no_rollback(&self, error: &NookError) -> Option<NoRollback> {
        let NookError::Fault { fault, .. } = error else { return None };
        if self.can_roll_back(error).is_some() {
            return None;
        }
        let host = self.host();
        let entry = host.call.budget.entry();
        Some(match host.device.device.irreversible() {
            _ if !self.launcher.rolls_back() => NoRollback::Level,
            _ if fault.is_device() => NoRollback::DeviceFault,
            Some(why) => NoRollback::Irreversible(why),
            None if !entry.is_transaction() => NoRollback::NotATransaction { entry: entry.info().name },
            None => NoRollback::Over,
        })
    }

    /// Returns which call ended with `error`, if it can be rolled back. `None` if something of it had reached the
    /// device, if this isolation cannot undo, or if the error is not about one call.
    pub fn can_roll_back(&self, error: &NookError) -> Option<Entry> {
        let NookError::Fault { fault, .. } = error else { return None };
        if fault.is_device() {
            return None;
        }
        let host = self.host();
        (self.lifecycle.runs() && host.can_roll_back()).then(|| host.call.budget.entry())
    }

    /// Rolls back the call that ended with `error`, if it [can be](Self::can_roll_back): everything is then as before
    /// the call, except for what is history (counters, messages), and the call is due again.
    pub fn roll_back(&mut self, error: &NookError) -> Option<RolledBackCall> {
        let entry = self.can_roll_back(error)?;
        let Nook { lifecycle, class, .. } = self;
        let driver = lifecycle.driver()?;
        let memory = driver.roll_back()?;
        let host = driver.host_mut();
        host.abort_transaction();
        host.call.trace.lived(Life::RolledBack(entry, error));
        class.abort();
        Some(RolledBackCall { entry, memory })
    }

    /// Makes each call end after the [`SHORT_CALLS`](crate::SHORT_CALLS)th part of the CPU time that it may ordinarily
    /// use, or no longer: for calls that are tried again after one that did not come to an end.
    pub fn shorten_calls(&mut self, short: bool) {
        self.host_mut().shorten_calls(short);
    }

    /// Ends calls of the driver in traps, at places that `seed` picks; see [`CrashWhen`]. Says whether they can be: it
    /// has to be a wasm driver that was compiled [for that](crate::DriverModule::counting).
    #[must_use]
    pub fn crash(&mut self, when: CrashWhen, seed: u64) -> bool {
        self.host_mut().crash(when, seed);
        self.launcher.crashes()
    }

    /// Returns how many calls were ended so.
    pub fn crashes_made(&self) -> u64 {
        self.host().crashes_made()
    }
}
