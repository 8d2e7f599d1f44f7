//! I/O queues, in pairs: of each kind one, with the same number (section 3.3.1).

use nook_sdk::{CompletionRing, DescriptorRing, Kernel, Nook, Status};

use crate::admin::{Completions, Submissions};
use crate::io::IO_ENTRIES;

/// Pairs that there are room and vectors for.
pub(crate) const MOST_PAIRS: usize = 4;

/// Returns the number by which the controller knows a pair's queues: 0 are the admin queues.
#[inline(always)]
pub(crate) const fn number(at: usize) -> u32 {
    at as u32 + 1
}

/// A pair of I/O queues, in memory.
pub(crate) struct Queue<K: Kernel> {
    pub(crate) sq: Submissions<K, IO_ENTRIES>,
    pub(crate) cq: Completions<K, IO_ENTRIES>,
}

impl<K: Kernel> Queue<K> {
    fn new(nook: Nook<K>) -> Result<Self, Status> {
        Ok(Queue { sq: DescriptorRing::new(nook)?, cq: CompletionRing::new(nook)? })
    }

    /// Begins with empty queues. The controller must be off: what it completed while it was reset is still in memory,
    /// and would pass for new.
    fn clear(&mut self) -> Result<(), Status> {
        self.sq.clear(|()| ());
        self.cq.clear()
    }
}

/// All pairs that may be used, and how many are. The first stands by itself: with one pair the driver's loops know
/// where it is.
pub(crate) struct Pairs<K: Kernel> {
    pub(crate) first: Queue<K>,
    others: [Option<Queue<K>>; MOST_PAIRS - 1],
    /// One less than how many are used, which is a power of two: a slot's pair is the slot's number under this mask.
    mask: usize,
}

impl<K: Kernel> Pairs<K> {
    /// Makes as many as are wanted (0 is one), rounded down to a power of two.
    pub(crate) fn new(nook: Nook<K>, wanted: u32) -> Result<Self, Status> {
        let most = power_of_two(wanted as usize);
        let first = Queue::new(nook)?;
        let mut others = [const { None }; MOST_PAIRS - 1];
        for queue in others.iter_mut().take(most - 1) {
            *queue = Some(Queue::new(nook)?);
        }
        Ok(Pairs { first, others, mask: most - 1 })
    }

    /// Returns how many there are.
    pub(crate) fn made(&self) -> usize {
        1 + self.others.iter().flatten().count()
    }

    /// Begins with empty queues. The controller must be off.
    pub(crate) fn clear(&mut self) -> Result<(), Status> {
        self.first.clear()?;
        self.others.iter_mut().flatten().try_for_each(Queue::clear)
    }

    /// Uses as many as are granted of those that there are, from now on.
    pub(crate) fn limit(&mut self, granted: u32) {
        self.mask = power_of_two((granted as usize).min(self.made())) - 1;
    }

    /// Returns how many are used.
    #[inline(always)]
    pub(crate) fn count(&self) -> usize {
        self.mask + 1
    }

    /// Returns whether one is used.
    #[inline(always)]
    pub(crate) fn is_one(&self) -> bool {
        self.mask == 0
    }

    /// Returns one of them.
    #[inline(always)]
    pub(crate) fn get_mut(&mut self, at: usize) -> Option<&mut Queue<K>> {
        match at.checked_sub(1) {
            None => Some(&mut self.first),
            Some(at) => self.others.get_mut(at)?.as_mut(),
        }
    }

    /// Returns where the commands of a slot go.
    pub(crate) fn at_of_slot(&self, id: u16) -> usize {
        usize::from(id) & self.mask
    }

    /// Returns the pair for the commands of a slot.
    pub(crate) fn of_slot(&mut self, id: u16) -> &mut Queue<K> {
        match self.at_of_slot(id).checked_sub(1).and_then(|at| self.others.get_mut(at)).and_then(Option::as_mut) {
            Some(queue) => queue,
            None => &mut self.first,
        }
    }
}

/// Returns the largest power of two that is not above this, from 1 to [`MOST_PAIRS`].
fn power_of_two(wanted: usize) -> usize {
    let wanted = wanted.clamp(1, MOST_PAIRS);
    1 << wanted.ilog2()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pairs_are_powers_of_two_and_one_at_least() {
        assert_eq!([0, 1, 2, 3, 4, 64].map(power_of_two), [1, 1, 2, 2, 4, 4]);
        assert_eq!([0, 3].map(number), [1, 4]);
    }
}
