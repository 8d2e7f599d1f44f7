//! How the frame is found that ends a driver.

use nook_abi::{Entry, Fault, QUEUE_CAPACITY};
use nook_net_api::NetBackend;

use super::Net;
use crate::Bisect;

/// How the next calls of `poll` differ from ordinary ones.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct PollRestrictions {
    /// This many of them move one packet each way.
    pub(super) single: u32,
    /// The next one is given no frame to send.
    pub(super) withhold_tx: bool,
    /// The next one completes a received frame without looking at it.
    pub(super) discard_rx: bool,
}

impl PollRestrictions {
    /// Returns whether the next call is an ordinary one.
    pub(super) fn is_none(&self) -> bool {
        self.single == 0 && !self.withhold_tx && !self.discard_rx
    }

    /// Takes what holds for the call that is about to be made; what follows is an ordinary one again, or single.
    #[inline]
    pub(super) fn take(&mut self) -> PollRestrictions {
        let single = self.single.saturating_sub(1);
        std::mem::replace(self, PollRestrictions { single, ..PollRestrictions::default() })
    }
}

impl<U: NetBackend> Bisect for Net<U> {
    const BATCH: u32 = QUEUE_CAPACITY;
    const MOVES: Entry = Entry::Poll;

    fn single(&mut self, calls: u32) {
        self.restrictions.single = calls;
    }

    fn is_single(&self) -> bool {
        self.restrictions.single > 0
    }

    fn withhold(&mut self) -> Result<bool, Fault> {
        self.restrictions.withhold_tx = true;
        self.restrictions.single = self.restrictions.single.max(1);
        self.counters.tx_given_up += self.traffic.withhold_tx()?;
        Ok(true)
    }

    fn give_up(&mut self) -> bool {
        let dropped = self.traffic.drop_withheld_tx();
        self.counters.tx_poison += u64::from(dropped);
        dropped
    }

    /// Completes the next received frame as failed.
    fn discard_next(&mut self) -> bool {
        self.restrictions.discard_rx = true;
        true
    }

    fn discarded(&self) -> u64 {
        self.counters.rx_poison
    }
}
