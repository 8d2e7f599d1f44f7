//! What the driver does all day: requests become commands in the submission queue, and completions answer them.
//!
//! Each of the two allocates nothing, reads no register and rings at most one doorbell for each pair of queues.

use nook_sdk::{Completing, Kernel, RequestTicket, Requested, warn};
use nvme_regs::{CQHDBL, SQTDBL, completion, status};

use crate::admin::{halves, taken_to};
use crate::driver::{Nvme, State};
use crate::pairs::number;
use crate::slots::{SLOTS, Slots};

/// Entries of each queue: twice as many as requests that the driver has at a time, so that a call never needs one that
/// it has just reclaimed, and a completion queue is never full.
pub(crate) const IO_ENTRIES: usize = 256;
/// How often a command is sent again that fails with a status that lets it be. After that its request fails.
const TRIES: u8 = 5;

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

/// Answers a request that cannot be made: a host that gives such a one is broken.
#[inline(always)]
fn refuse(ticket: Option<RequestTicket>, completing: &mut Completing<'_>) {
    if let (Some(ticket), Some(place)) = (ticket, completing.vacant()) {
        place.failed(ticket, 0);
    }
}

impl<K: Kernel> Slots<K> {
    /// Returns the slot whose command is sent next: one that is to be sent again, or one that keeps what is asked.
    /// A ticket is one that finds no slot.
    #[inline(always)]
    fn next(
        &mut self,
        again: &mut Again,
        requested: &mut Requested<'_>,
        now_ns: u64,
    ) -> Option<Result<u16, RequestTicket>> {
        if let Some(id) = again.take() {
            if let Some(mut slot) = self.slots.get(id.into()) {
                slot.sent_ns = now_ns;
                self.slots.set(id.into(), slot);
            }
            return Some(Ok(id));
        }
        Some(self.keep(requested.next()?, now_ns))
    }
}

impl<K: Kernel> Nvme<K> {
    /// Answers requests that are done. Returns whether it stopped before there was nothing left.
    #[inline(always)]
    pub(crate) fn complete(&mut self, completing: &mut Completing<'_>) -> bool {
        let more = self.complete_in(0, completing);
        if self.pairs.is_one() { more } else { self.complete_in_others(completing) | more }
    }

    #[inline(never)]
    fn complete_in_others(&mut self, completing: &mut Completing<'_>) -> bool {
        let mut more = false;
        for at in 1..self.pairs.count() {
            more |= self.complete_in(at, completing);
        }
        more
    }

    /// Does so for one pair of queues.
    #[inline(always)]
    fn complete_in(&mut self, at: usize, completing: &mut Completing<'_>) -> bool {
        let Some(queue) = self.pairs.get_mut(at) else { return false };
        let (mut head, mut more) = (None, false);
        let mut taken = queue.cq.take();
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
        if let Some(head) = queue.cq.release() {
            self.chip.regs.write(CQHDBL.get(number(at)), head);
        }
        if let Some(head) = head
            && taken_to(&mut queue.sq, head).is_err()
        {
            warn!(self.nook, "the controller says that it took commands that it was not given");
            self.want_reset();
        }
        more
    }

    /// Sends what is asked, and what is to be sent again.
    #[inline(always)]
    pub(crate) fn submit(&mut self, requested: &mut Requested<'_>, completing: &mut Completing<'_>) {
        if !self.pairs.is_one() {
            return self.submit_to_several(requested, completing);
        }
        let now_ns = self.nook.now_ns();
        let queue = &mut self.pairs.first;
        let mut fill = queue.sq.fill();
        while let Some(place) = fill.vacant() {
            let refused = match self.slots.next(&mut self.again, requested, now_ns) {
                Some(Ok(id)) => match self.slots.command(id) {
                    Ok(command) => {
                        place.put(halves(command), ());
                        continue;
                    }
                    Err(_) => self.slots.slots.take(id.into()),
                },
                Some(Err(ticket)) => Some(ticket),
                None => break,
            };
            refuse(refused, completing);
        }
        drop(fill);
        if let Some(tail) = queue.sq.publish() {
            self.chip.regs.write(SQTDBL.get(number(0)), tail);
        }
    }

    /// Does so with a pair of queues for each slot.
    #[inline(never)]
    fn submit_to_several(&mut self, requested: &mut Requested<'_>, completing: &mut Completing<'_>) {
        let now_ns = self.nook.now_ns();
        while let Some(next) = self.slots.next(&mut self.again, requested, now_ns) {
            let refused = match next.map(|id| (id, self.slots.command(id))) {
                Ok((id, Ok(command))) => {
                    if let Some(place) = self.pairs.of_slot(id).sq.fill().vacant() {
                        place.put(halves(command), ());
                        continue;
                    }
                    // Each queue has more entries than there are slots: the controller does not say what it has taken.
                    self.again.set(id);
                    break;
                }
                Ok((id, Err(_))) => self.slots.slots.take(id.into()),
                Err(ticket) => Some(ticket),
            };
            refuse(refused, completing);
        }
        for at in 0..self.pairs.count() {
            if let Some(tail) = self.pairs.get_mut(at).and_then(|queue| queue.sq.publish()) {
                self.chip.regs.write(SQTDBL.get(number(at)), tail);
            }
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
