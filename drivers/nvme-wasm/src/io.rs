//! What the driver does all day: requests become commands in the submission queue, and completions answer them.
//!
//! Each of the two allocates nothing, reads no register and rings at most one doorbell.

use nook_sdk::{Completing, CompletionRing, DescriptorRing, Kernel, Nook, Requested, Status, warn};
use nvme_regs::{CQHDBL, SQTDBL, completion, status};

use crate::admin::{Completions, Submissions, halves, taken_to};
use crate::driver::{Nvme, State};
use crate::slots::SLOTS;

/// Entries of each queue: twice as many as requests that the driver has at a time, so that a call never needs one that
/// it has just reclaimed, and a completion queue is never full.
pub(crate) const IO_ENTRIES: usize = 256;
/// The queue's number.
const QUEUE: u32 = 1;
/// How often a command is sent again that fails with a status that lets it be. After that its request fails.
const TRIES: u8 = 5;

/// The I/O queue pair, in memory.
pub(crate) struct Queue<K: Kernel> {
    pub(crate) sq: Submissions<K, IO_ENTRIES>,
    pub(crate) cq: Completions<K, IO_ENTRIES>,
}

impl<K: Kernel> Queue<K> {
    pub(crate) fn new(nook: Nook<K>) -> Result<Self, Status> {
        Ok(Queue { sq: DescriptorRing::new(nook)?, cq: CompletionRing::new(nook)? })
    }

    /// Begins with empty queues. The controller must be off: what it completed while it was reset is still in memory,
    /// and would pass for new.
    pub(crate) fn clear(&mut self) -> Result<(), Status> {
        self.sq.clear(|()| ());
        self.cq.clear()
    }
}

/// Commands that are to be sent again: a bit for each slot.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Again(u128);

impl Again {
    pub(crate) fn set(&mut self, id: u16) {
        self.0 |= 1u128.checked_shl(id.into()).unwrap_or(0);
    }

    fn count(self) -> u32 {
        self.0.count_ones()
    }

    #[inline(always)]
    fn take(&mut self) -> Option<u16> {
        // Mostly there is none, and nothing to be stored.
        if self.0 == 0 {
            return None;
        }
        let id = self.0.trailing_zeros();
        self.0 &= self.0 - 1;
        Some(id as u16)
    }
}

/// Returns whether a command with this status may succeed if it is sent again: the controller says of those that will
/// not (section 3.3.3.2.3, DNR).
fn is_transient(code: u16) -> bool {
    code & status::DO_NOT_RETRY == 0
}

impl<K: Kernel> Nvme<K> {
    /// Answers requests that are done. Returns whether it stopped before there was nothing left.
    #[inline(always)]
    pub(crate) fn complete(&mut self, completing: &mut Completing<'_>) -> bool {
        let (mut head, mut more) = (None, false);
        let mut taken = self.queue.cq.take();
        loop {
            let Some(place) = completing.vacant() else {
                more = true;
                break;
            };
            let Some(done) = taken.next() else { break };
            let last = done.done_word();
            head = Some(completion::SQHD.get(done.word(completion::QUEUE_WORD)));
            let (cid, code) = (completion::CID.get(last) as u16, completion::STATUS.get(last) as u16);
            if code == status::SUCCESS {
                match self.slots.slots.take(cid.into()) {
                    Some(ticket) => place.done(ticket),
                    None => self.strays += 1,
                }
                continue;
            }
            let Some(mut slot) = self.slots.slots.get(cid.into()) else {
                self.strays += 1;
                continue;
            };
            // An Abort that the driver asked for says nothing of what the disk holds: the command is sent again.
            let aborted = slot.aborted && code & status::TYPE_AND_CODE == status::ABORT_REQUESTED;
            if aborted || is_transient(code) && slot.tries < TRIES {
                slot.tries += u8::from(!aborted);
                slot.aborted = false;
                self.slots.slots.set(cid.into(), slot);
                self.again.set(cid);
            } else if let Some(ticket) = self.slots.slots.take(cid.into()) {
                place.failed(ticket, code.into());
            }
        }
        drop(taken);
        if let Some(head) = self.queue.cq.release() {
            self.chip.regs.write(CQHDBL.get(QUEUE), head);
        }
        if let Some(head) = head
            && taken_to(&mut self.queue.sq, head).is_err()
        {
            warn!(self.nook, "the controller says that it took commands that it was not given");
            self.want_reset();
        }
        more
    }

    /// Sends what is asked, and what is to be sent again.
    #[inline(always)]
    pub(crate) fn submit(&mut self, requested: &mut Requested<'_>, completing: &mut Completing<'_>) {
        let now_ns = self.nook.now_ns();
        let mut fill = self.queue.sq.fill();
        while let Some(place) = fill.vacant() {
            let id = if let Some(id) = self.again.take() {
                if let Some(mut slot) = self.slots.slots.get(id.into()) {
                    slot.sent_ns = now_ns;
                    self.slots.slots.set(id.into(), slot);
                }
                Ok(id)
            } else if let Some(request) = requested.next() {
                self.slots.keep(request, now_ns)
            } else {
                break;
            };
            let refused = match id {
                Ok(id) => match self.slots.command(id) {
                    Ok(command) => {
                        place.put(halves(command), ());
                        continue;
                    }
                    Err(_) => self.slots.slots.take(id.into()),
                },
                Err(ticket) => Some(ticket),
            };
            // A host that gives such a request is broken.
            if let (Some(ticket), Some(place)) = (refused, completing.vacant()) {
                place.failed(ticket, 0);
            }
        }
        drop(fill);
        if let Some(tail) = self.queue.sq.publish() {
            self.chip.regs.write(SQTDBL.get(QUEUE), tail);
        }
    }

    /// Answers all requests, and those that come, with an error: the controller does not work any more.
    #[cold]
    pub(crate) fn refuse_all(&mut self, requested: &mut Requested<'_>, completing: &mut Completing<'_>) -> bool {
        for id in 0..SLOTS as u32 {
            if self.slots.slots.has(id) {
                let Some(place) = completing.vacant() else { return true };
                if let Some(ticket) = self.slots.slots.take(id) {
                    place.failed(ticket, 0);
                }
            }
        }
        loop {
            let Some(place) = completing.vacant() else { return true };
            let Some(request) = requested.next() else { return false };
            place.failed(request.ticket, 0);
        }
    }

    /// Gives all requests back that the driver has. The controller must be off.
    pub(crate) fn give_back(&mut self, completing: &mut Completing<'_>) {
        for id in 0..SLOTS as u32 {
            if self.slots.slots.has(id)
                && let Some(place) = completing.vacant()
                && let Some(ticket) = self.slots.slots.take(id)
            {
                place.unused(ticket);
            }
        }
        self.again = Again::default();
    }

    /// Returns whether the controller has requests: what is to be sent again, it has not.
    pub(crate) fn is_busy(&self) -> bool {
        let kept = self.slots.slots.ids().count();
        self.state == State::Open && kept as u32 > self.again.count()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_slot_that_is_to_be_sent_again_is_taken_once() {
        let mut again = Again::default();
        [127, 0, 5].into_iter().for_each(|id| again.set(id));
        again.set(128);
        assert_eq!([(); 4].map(|()| again.take()), [Some(0), Some(5), Some(127), None]);
    }
}
