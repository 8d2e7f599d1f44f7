//! Taking back the call that faulted, and going on with care.

use nook_abi::{Entry, Fault};

use super::Nook;
use crate::{CrashWhen, NookError, RolledBack, Uplink};

/// How the next calls of `poll` differ from ordinary ones.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Care {
    /// This many of them move one packet each way.
    pub(super) single: u32,
    /// The next one is given no frame to send.
    pub(super) withhold_tx: bool,
    /// The next one completes a received frame without looking at it.
    pub(super) discard_rx: bool,
}

impl Care {
    /// The next call is an ordinary one.
    pub(super) fn is_none(&self) -> bool {
        self.single == 0 && !self.withhold_tx && !self.discard_rx
    }

    /// Takes what holds for the call that is about to be made; what follows is an ordinary one again, or single.
    #[inline]
    pub(super) fn take(&mut self) -> Care {
        let single = self.single.saturating_sub(1);
        std::mem::replace(self, Care { single, ..Care::default() })
    }
}

/// A call that was taken back.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Undone {
    /// What was called.
    pub entry: Entry,
    /// What was put back in memory.
    pub memory: RolledBack,
}

impl<U: Uplink> Nook<U> {
    /// Which call ended with `error`, if it can be taken back. `None` if something of it had reached the device, if
    /// this isolation cannot undo, or if the error is not about one call.
    pub fn undoable(&self, error: &NookError) -> Option<Entry> {
        let NookError::Fault { fault, .. } = error else { return None };
        if matches!(fault, Fault::DeviceGone | Fault::DeviceFailed | Fault::Revoked) {
            return None;
        }
        let host = self.host();
        (self.life.runs() && host.can_roll_back()).then(|| host.call.budget.entry())
    }

    /// Takes back the call that ended with `error`, if it [can be](Self::undoable): everything is then as before the
    /// call, except for what is history (counters, messages), and the call is due again.
    pub fn undo(&mut self, error: &NookError) -> Option<Undone> {
        let entry = self.undoable(error)?;
        let driver = self.life.driver()?;
        let memory = driver.roll_back()?;
        let host = driver.host_mut();
        host.abort_transaction();
        host.counters.rolled_back += 1;
        Some(Undone { entry, memory })
    }

    /// Ends calls of the driver in traps, at places that `seed` picks; see [`CrashWhen`]. Says whether they can be: it
    /// has to be a wasm driver that was compiled [for that](crate::DriverModule::counting).
    #[must_use]
    pub fn crash(&mut self, when: CrashWhen, seed: u64) -> bool {
        self.host_mut().crash(when, seed);
        self.launcher.crashes()
    }

    /// Whether frames to be sent that a driver has when it ends, or is brought back to a snapshot, are given to its
    /// successor, or to it, again (as is the case unless this is called), though some may have been sent already;
    /// otherwise they are given up, though some may not have been sent.
    pub fn resubmit(&mut self, resubmits: bool) {
        self.host_mut().net.resubmits = resubmits;
    }

    /// The next `calls` of `poll` move one packet each way, so that one that ends the driver is found.
    pub fn poll_singly(&mut self, calls: u32) {
        self.care.single = calls;
    }

    /// Whether [`poll_singly`](Self::poll_singly) still holds.
    pub fn polls_singly(&self) -> bool {
        self.care.single > 0
    }

    /// The next `poll` moves one packet each way at most and is given no frame to send: those that the driver has not
    /// taken yet are withheld from it, and given to it afterwards.
    ///
    /// # Errors
    /// If the driver's queue makes no sense.
    pub fn withhold_tx(&mut self) -> Result<(), NookError> {
        self.care.withhold_tx = true;
        self.care.single = self.care.single.max(1);
        let outcome = self.host_mut().net.withhold_tx();
        outcome.map_err(|fault| self.fault(fault))
    }

    /// Gives up the oldest frame that was withheld. Says whether there was one.
    pub fn drop_withheld_tx(&mut self) -> bool {
        let host = self.host_mut();
        let dropped = host.net.drop_withheld_tx();
        host.counters.tx_poison += u64::from(dropped);
        dropped
    }

    /// The next `poll` completes one received frame as failed, without looking at it, and does nothing else. Says
    /// whether the driver can do that: every driver of this ABI can.
    pub fn discard_next_rx(&mut self) -> bool {
        self.care.discard_rx = true;
        self.care.discard_rx
    }
}
