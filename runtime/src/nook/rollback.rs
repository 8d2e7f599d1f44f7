//! Rolling back the call that faulted, and going on with care.

use nook_abi::Entry;

use super::Nook;
use crate::{Class, CrashWhen, NookError, RolledBack};

/// A call that was rolled back.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RolledBackCall {
    /// What was called.
    pub entry: Entry,
    /// What was put back in memory.
    pub memory: RolledBack,
}

impl<C: Class> Nook<C> {
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
        class.abort();
        Some(RolledBackCall { entry, memory })
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
