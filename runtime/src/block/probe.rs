//! Reads that nobody asks for, by policy: that a disk does no more is otherwise seen only when somebody wants something
//! of it.

use nook_block_api::{Op, Request};

/// The number of a probe, which is no backend's.
pub(super) const PROBE_ID: u64 = u64::MAX;

/// When a block is read to see whether one can be.
#[derive(Debug)]
pub(super) struct Probe {
    every_ns: u64,
    /// When the next is due; 0 before the first look.
    next_ns: u64,
    /// Completions until the last look.
    returned: u64,
    due: bool,
}

impl Probe {
    /// Creates what reads a block whenever nothing was completed for this long.
    pub(super) fn new(every_ns: u64) -> Self {
        Probe { every_ns, next_ns: 0, returned: 0, due: false }
    }

    /// Notes how many requests were completed so far, and whether any is open. Returns when to look again.
    pub(super) fn look(&mut self, returned: u64, open: bool, now_ns: u64) -> u64 {
        if open || self.next_ns == 0 || std::mem::replace(&mut self.returned, returned) != returned {
            (self.due, self.next_ns) = (false, now_ns + self.every_ns);
        } else if now_ns >= self.next_ns {
            (self.due, self.next_ns) = (true, now_ns + self.every_ns);
        }
        self.next_ns
    }

    /// Returns what is to be asked, if it is time.
    pub(super) fn take(&mut self) -> Option<Request> {
        let read = Request { id: PROBE_ID, op: Op::Read, first: 0, blocks: 1, fua: false };
        std::mem::take(&mut self.due).then_some(read)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_block_is_read_when_nothing_was_completed_for_a_while_and_once_at_a_time() {
        let mut probe = Probe::new(100);
        assert_eq!((probe.look(0, false, 50), probe.take()), (150, None));
        assert_eq!((probe.look(0, false, 149), probe.take()), (150, None));
        assert_eq!((probe.look(1, false, 150), probe.take()), (250, None), "one was completed");
        assert_eq!((probe.look(1, true, 300), probe.take()), (400, None), "one is open");
        assert_eq!(probe.look(1, false, 400), 500);
        assert_eq!(probe.take().map(|it| (it.id, it.op, it.blocks)), Some((PROBE_ID, Op::Read, 1)));
        assert_eq!(probe.take(), None);
    }
}
