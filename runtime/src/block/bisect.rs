//! How the request is found that ends a driver.

use nook_abi::{Entry, Fault, QUEUE_CAPACITY};
use nook_block_api::BlockBackend;

use super::Block;
use crate::Bisect;

/// How the next calls of `poll` differ from ordinary ones.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct PollRestrictions {
    /// This many of them move one entry each way.
    pub(super) single: u32,
    /// The next one is given nothing.
    pub(super) withhold: bool,
}

impl PollRestrictions {
    /// Takes what holds for the call that is about to be made.
    pub(super) fn take(&mut self) -> PollRestrictions {
        let single = self.single.saturating_sub(1);
        std::mem::replace(self, PollRestrictions { single, withhold: false })
    }
}

impl<U: BlockBackend> Bisect for Block<U> {
    const BATCH: u32 = QUEUE_CAPACITY;
    const MOVES: Entry = Entry::Poll;

    fn single(&mut self, calls: u32) {
        self.restrictions.single = calls;
    }

    fn is_single(&self) -> bool {
        self.restrictions.single > 0
    }

    fn withhold(&mut self) -> Result<bool, Fault> {
        self.restrictions.withhold = true;
        self.restrictions.single = self.restrictions.single.max(1);
        self.requests.withhold()?;
        Ok(true)
    }

    /// Has the oldest of what was withheld answered with an error.
    fn give_up(&mut self) -> bool {
        self.requests.give_up_withheld()
    }

    /// Discards nothing: what comes from a disk is an answer, and somebody waits for it. A driver that ends at one is
    /// restarted, and is given what it had one at a time.
    fn discard_next(&mut self) -> bool {
        false
    }

    fn discarded(&self) -> u64 {
        0
    }
}
