//! What the driver completed: checked, held until the call is final, and accepted.

use nook_abi::Fault;
use nook_abi::block::{BlockCompletion, BlockFault, BlockQueue, BlockStatus, RequestOwner, disk_flags};

use super::{Completion, Requests, Slot, State, Verdict};

impl Requests {
    /// Checks all that the driver completed, and holds it: nothing counts before [`accept`](Self::accept).
    pub(in crate::block) fn check(&mut self) -> Result<(), Fault> {
        let Requests { rings: Some((requests, completions)), slots, held, .. } = self else { return Ok(()) };
        let outcome = requests.look(BlockQueue::Requests.name()).and_then(|taken| {
            completions.take(BlockQueue::Completions.name(), |words| {
                held.push(hold(slots, &BlockCompletion::from_words(words), taken)?);
                Ok(())
            })
        });
        if outcome.is_err() {
            self.disregard();
        }
        outcome
    }

    /// Drops what was checked and not accepted: it counts as not completed.
    pub(in crate::block) fn disregard(&mut self) {
        if let Some((_, completions)) = &mut self.rings {
            completions.rewind(self.held.len() as u32);
        }
        self.held.drain(..).for_each(|it| self.slots[it.id as usize].state = State::Given);
    }

    /// Accepts what was checked. Returns how many, and which was returned unused, if one was.
    pub(in crate::block) fn accept(&mut self) -> (u32, Option<u32>) {
        let mut unused = None;
        if self.held.is_empty() {
            return (0, None);
        }
        self.moves += 1;
        if let Some((_, completions)) = &mut self.rings {
            completions.publish();
        }
        let held = std::mem::take(&mut self.held);
        for &Completion { id, status, detail } in &held {
            self.remove_given(id);
            match status {
                BlockStatus::Done => self.part_is_done(id),
                BlockStatus::Failed => self.finish(id, Verdict::Failed(detail)),
                BlockStatus::Unused => {
                    unused = Some(id);
                    self.wait(id);
                }
            }
        }
        let count = held.len() as u32;
        self.held = held;
        self.held.clear();
        (count, unused)
    }

    fn part_is_done(&mut self, id: u32) {
        let flags = self.disk.map_or(0, |disk| disk.flags);
        let slot = &mut self.slots[id as usize];
        (slot.ends, slot.alone, slot.stuck) = (0, 0, 0);
        slot.done += slot.part;
        let all = slot.done == slot.request.blocks;
        let untrusted = flags & (disk_flags::VOLATILE_CACHE | disk_flags::FUA) == disk_flags::VOLATILE_CACHE;
        if all && (slot.flushing || !(slot.request.fua && slot.writes() && untrusted)) {
            return self.finish(id, Verdict::Done);
        }
        slot.flushing = all;
        self.wait(id);
    }
}

/// Checks a completion, and holds its request. `taken` is how many entries of the ring the driver says it has taken.
fn hold(slots: &mut [Slot], completion: &BlockCompletion, taken: u32) -> Result<Completion, Fault> {
    let BlockCompletion { id, generation, status, detail, reserved } = *completion;
    let not_given = |owner| Fault::from(BlockFault::NotGiven { id, generation, owner });
    let slot = slots.get_mut(id as usize).ok_or(not_given(RequestOwner::Nobody))?;
    if slot.state != State::Given {
        return Err(not_given(RequestOwner::Nobody));
    }
    if slot.generation != generation {
        return Err(not_given(RequestOwner::Later));
    }
    // Counters run free: what was taken lies behind, at most as far as the ring is long.
    if taken.wrapping_sub(slot.place) as i32 <= 0 {
        return Err(not_given(RequestOwner::Host));
    }
    let malformed = |field, value, rule| Fault::from(BlockFault::CompletionMalformed { id, field, value, rule });
    let known = BlockStatus::from_u16(status);
    let known = known.ok_or(malformed("status", status.into(), "no such status"))?;
    if reserved != 0 {
        return Err(malformed("reserved", reserved.into(), "not 0"));
    }
    slot.state = State::Held;
    Ok(Completion { id, status: known, detail })
}
