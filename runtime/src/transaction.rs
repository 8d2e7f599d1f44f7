//! The host's share of a transaction: what a call did to the host's objects and to the device, kept so that it can be
//! rolled back.
//!
//! A driver that can be rolled back opens one for each call of an entry that is a transaction. Acquisitions in it
//! are undone by an abort; releases wait for the commit; register writes wait in the device's middleware. Counters,
//! messages and what was used of a budget are history, and stay.

use nook_abi::{Entry, Fault};

use crate::Host;
use crate::due_calls::DueCalls;

/// What a call may change in the host, as it was when the call began.
#[derive(Clone, Copy, Debug)]
struct Before {
    /// With the call itself, which is due again if it is rolled back.
    due: DueCalls,
}

/// The transaction of the call that runs, or ran last and waits for its verdict.
#[derive(Debug, Default)]
pub(crate) struct Transaction {
    before: Option<Before>,
    /// DMA regions that the call allocated.
    allocated: Vec<u32>,
    /// DMA regions that it freed: they are its own until the commit.
    freed: Vec<u32>,
}

impl Transaction {
    /// Returns whether one is open.
    pub(crate) fn is_open(&self) -> bool {
        self.before.is_some()
    }

    /// Notes that the call allocated this region.
    pub(crate) fn allocated(&mut self, region: u32) {
        if self.is_open() {
            self.allocated.push(region);
        }
    }

    /// Returns whether the call freed this region already.
    pub(crate) fn has_freed(&self, region: u32) -> bool {
        self.freed.contains(&region)
    }
}

impl Host {
    /// Begins a transaction: from here on the call can be rolled back. For drivers whose memory can be rolled back;
    /// called after [`begin_call`](Host::begin_call).
    #[inline]
    pub(crate) fn begin_transaction(&mut self) {
        if self.call.transaction.is_open() {
            // Somebody goes on after a fault without having rolled the call back: it stands as far as it went.
            self.forget_transaction();
        }
        self.port.begin_call();
        self.call.transaction.before = Some(Before { due: self.call.due.with_due(self.call.budget.entry()) });
        self.device.device.begin();
    }

    /// Makes the last call final: register writes that waited reach the device, and what the call freed is free.
    ///
    /// # Errors
    /// If the device or a freed region's handle is bad; then it cannot be rolled back any more either.
    #[inline]
    pub fn commit_transaction(&mut self) -> Result<(), Fault> {
        if self.call.transaction.before.take().is_some() {
            self.commit_open_transaction()?;
        }
        self.port.commit();
        Ok(())
    }

    #[inline]
    fn commit_open_transaction(&mut self) -> Result<(), Fault> {
        self.counters.transactions += 1;
        self.counters.rollback_possible += u64::from(self.device.device.can_roll_back());
        self.call.transaction.allocated.clear();
        self.device.device.commit().map_err(|error| self.device.failed(error))?;
        while let Some(region) = self.call.transaction.freed.pop() {
            self.device.regions.free(region)?;
        }
        Ok(())
    }

    /// Returns whether the call that is open can still be rolled back: nothing of it has reached the device.
    pub(crate) fn can_roll_back(&self) -> bool {
        self.call.transaction.is_open() && self.device.device.can_roll_back()
    }

    /// Rolls back what the call did here, and it is due again. The caller has asked
    /// [`can_roll_back`](Host::can_roll_back).
    pub(crate) fn abort_transaction(&mut self) {
        let Some(before) = self.call.transaction.before.take() else { return };
        self.device.policy.forget();
        if self.device.device.abort().causes_owed {
            self.device.deliver_all_again();
        }
        self.call.due = before.due;
        if self.call.budget.entry() == Entry::Irq {
            self.device.deliver_again();
        }
        self.port.abort();
        self.call.transaction.freed.clear();
        for region in self.call.transaction.allocated.drain(..) {
            // It was given out by this call, and `freed` regions are given back only at a commit.
            let _ = self.device.regions.free(region);
        }
    }

    /// Forgets a transaction whose instance is gone.
    pub(crate) fn forget_transaction(&mut self) {
        self.call.transaction = Transaction::default();
        self.device.policy.forget();
        self.device.device.forget();
    }

    /// Gives a region back, now or when the call is final.
    pub(crate) fn free_region(&mut self, region: u32) -> Result<(), Fault> {
        if !self.call.transaction.is_open() {
            return self.device.regions.free(region);
        }
        self.device.regions.check(region)?;
        if self.call.transaction.has_freed(region) {
            return Err(Fault::StaleHandle { call: nook_abi::Hostcall::DmaFree, handle: region });
        }
        self.call.transaction.freed.push(region);
        Ok(())
    }
}
