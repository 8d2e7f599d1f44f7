//! The requests of a disk: who has each, what has to wait for what, and what becomes of them when a driver ends.
//!
//! - Requests that change blocks and overlap are never in flight together. A flush is given when all that was asked
//!   before it and changes blocks is done, and nothing that changes blocks and was asked after it is given before it is
//!   done. Reads wait for nothing.
//! - What an instance had when it ended is given again, in the order in which it was asked, once the device is quiet.
//!   What two instances ended with is given alone, so that it is known which one ends them; what they end with alone,
//!   twice, is given up.
//! - A request that the device takes in parts, or that needs a flush behind it, keeps its buffer until all is done.

mod completions;
mod order;

use nook_abi::Fault;
use nook_abi::block::{
    BlockOp, BlockQueue, BlockRequest, BlockStatus, CompletionWords, Disk, RequestWords, disk_flags, request_flags,
};
use nook_block_api::{Op, Request};

use super::layout::Buffers;
use crate::ring::{HostConsumer, HostProducer};

pub(super) type RequestRing = HostProducer<{ size_of::<RequestWords>() / size_of::<u64>() }>;
pub(super) type CompletionRing = HostConsumer<{ size_of::<CompletionWords>() / size_of::<u64>() }>;

/// How many instances may end with a request among others: after that it is given alone.
const ENDS_AMONG_OTHERS: u32 = 2;
/// How many may end with it alone: after that it is given up.
pub(super) const ENDS_ALONE: u32 = 2;

/// How many may be stuck with it, the second one alone: after that it is given up.
pub(super) const ENDS_STUCK: u32 = 2;

/// Who has a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    /// Nobody: the place is free.
    Free,
    /// The host: it waits to be given.
    Waiting,
    /// The driver, or the ring to it.
    Given,
    /// The host: its completion was checked, and does not count yet.
    Held,
    /// The host: it is to be answered.
    Over,
}

/// One request, or a free place.
#[derive(Clone, Copy, Debug)]
struct Slot {
    state: State,
    /// How often the place was given.
    generation: u16,
    request: Request,
    /// In which order it was asked.
    sequence: u64,
    /// Blocks of it that are done.
    done: u32,
    /// Blocks that were given last.
    part: u32,
    /// The blocks are done, and the flush behind them is not.
    flushing: bool,
    /// Of a read: something of what it reads may have changed while the driver had it.
    contested: bool,
    /// What was read was not what had been written.
    differed: bool,
    /// Instances that ended with it among others, and alone, since something of it was done last.
    ends: u32,
    alone: u32,
    /// Of those, how many did not complete it in time.
    stuck: u32,
    /// Where it stands in the ring.
    place: u32,
    /// When it was given.
    since_ns: u64,
}

const FREE: Slot = Slot {
    state: State::Free,
    generation: 0,
    request: Request { id: 0, op: Op::Flush, first: 0, blocks: 0, fua: false },
    sequence: 0,
    done: 0,
    part: 0,
    flushing: false,
    contested: false,
    differed: false,
    ends: 0,
    alone: 0,
    stuck: 0,
    place: 0,
    since_ns: 0,
};

impl Slot {
    /// Returns whether it still changes blocks.
    fn writes(&self) -> bool {
        self.request.op.writes()
    }

    fn is_suspect(&self) -> bool {
        self.ends >= ENDS_AMONG_OTHERS || self.stuck > 0
    }

    fn overlaps(&self, other: &Slot) -> bool {
        let (a, b) = (&self.request, &other.request);
        a.first < b.first + u64::from(b.blocks) && b.first < a.first + u64::from(a.blocks)
    }
}

/// Why a request is answered.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Verdict {
    Done,
    /// The device said this.
    Failed(u32),
    /// It is not to be given again.
    Abandoned,
    /// Drivers ended at it.
    Poison,
    /// What was read is not what was written.
    Differs,
    /// It is not a request that the disk takes.
    Refused,
}

/// What is to be answered.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Answered {
    /// The place, whose buffer holds what a read has read.
    pub(super) id: u32,
    pub(super) request: Request,
    pub(super) verdict: Verdict,
    /// Of a read: what it read can be compared with what was written, which was the same all the time.
    pub(super) settled: bool,
    /// It was [`Again`](Handled::Again) before.
    pub(super) differed: bool,
}

/// What became of an answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Handled {
    /// The backend has it.
    Answered,
    /// It is not to be believed: the request is to be given again.
    Again,
}

/// A completion that was checked.
#[derive(Clone, Copy, Debug)]
struct Completion {
    id: u32,
    status: BlockStatus,
    detail: u32,
}

/// All requests of a disk.
pub(super) struct Requests {
    buffers: Buffers,
    disk: Option<Disk>,
    slots: Vec<Slot>,
    free: Vec<u32>,
    /// What waits, in the order in which it was asked.
    waiting: Vec<u32>,
    /// What was given, in no order.
    given: Vec<u32>,
    /// What the driver had not taken when it was to be given nothing, in the order of the ring.
    withheld: Vec<u32>,
    held: Vec<Completion>,
    over: Vec<Answered>,
    rings: Option<(RequestRing, CompletionRing)>,
    sequence: u64,
    /// Changes whenever something changes hands.
    moves: u64,
    /// How many were given to a driver again.
    pub(super) given_again: u64,
}

impl Requests {
    pub(super) fn new(buffers: Buffers) -> Self {
        Requests {
            buffers,
            disk: None,
            slots: vec![FREE; buffers.count as usize],
            free: (0..buffers.count).rev().collect(),
            waiting: Vec::with_capacity(buffers.count as usize),
            given: Vec::with_capacity(buffers.count as usize),
            withheld: Vec::new(),
            held: Vec::with_capacity(buffers.count as usize),
            over: Vec::with_capacity(buffers.count as usize),
            rings: None,
            sequence: 0,
            moves: 0,
            given_again: 0,
        }
    }

    /// Begins an instance, which has nothing yet.
    pub(super) fn begin(&mut self, rings: Option<(RequestRing, CompletionRing)>) {
        self.rings = rings;
    }

    /// Takes what the disk is.
    pub(super) fn attach(&mut self, disk: Disk) {
        self.disk = Some(disk);
    }

    /// Returns the most blocks of a read or a write.
    pub(super) fn max_blocks(&self, disk: &Disk) -> u32 {
        disk.max_blocks.min(self.buffers.transfer_bytes / disk.block_bytes)
    }

    /// Returns whether another request can be taken.
    #[inline]
    pub(super) fn has_room(&self) -> bool {
        !self.free.is_empty() && self.disk.is_some()
    }

    /// Takes a request. Returns the place whose buffer is to be filled, if it has data; one that the disk does not take
    /// is to be answered at once.
    pub(super) fn ask(&mut self, request: Request) -> Option<u32> {
        let id = self.free.pop()?;
        self.moves += 1;
        self.sequence += 1;
        let slot = &mut self.slots[id as usize];
        *slot = Slot { state: State::Waiting, generation: slot.generation, request, sequence: self.sequence, ..FREE };
        if !self.takes(&request) {
            self.finish(id, Verdict::Refused);
            return None;
        }
        self.waiting.push(id);
        (request.op == Op::Write).then_some(id)
    }

    fn takes(&self, request: &Request) -> bool {
        let Some(disk) = &self.disk else { return false };
        let Request { op, first, blocks, .. } = *request;
        let has = |flag: u32| disk.flags & flag != 0;
        let inside = blocks > 0 && first.checked_add(blocks.into()).is_some_and(|end| end <= disk.blocks);
        let able = match op {
            Op::Flush => return (first, blocks) == (0, 0),
            Op::Read | Op::Write => blocks <= self.max_blocks(disk),
            Op::Discard => has(disk_flags::DISCARD),
            Op::WriteZeroes => has(disk_flags::WRITE_ZEROES),
        };
        inside && able && !(op.writes() && has(disk_flags::READ_ONLY))
    }

    /// Makes a request one to be answered.
    fn finish(&mut self, id: u32, verdict: Verdict) {
        let slot = &mut self.slots[id as usize];
        slot.state = State::Over;
        let Slot { request, contested, differed, .. } = *slot;
        self.over.push(Answered { id, request, verdict, settled: !contested, differed });
    }

    /// Shows what is to be answered, each with where its data is in the window, and frees the places of those that
    /// were. Returns whether there was something.
    ///
    /// # Errors
    /// The first of those that `each` returns; the others are not shown.
    pub(super) fn answer<E>(
        &mut self,
        mut each: impl FnMut(&Answered, (u32, u32)) -> Result<Handled, E>,
    ) -> Result<bool, E> {
        if self.over.is_empty() {
            return Ok(false);
        }
        self.moves += 1;
        let mut over = std::mem::take(&mut self.over);
        let mut outcome = Ok(true);
        for answered in over.drain(..) {
            let id = answered.id;
            let handled = match outcome {
                Ok(_) => each(&answered, self.data(id, &answered.request)),
                Err(_) => Ok(Handled::Answered),
            };
            match handled {
                Ok(Handled::Again) => {
                    self.slots[id as usize].differed = true;
                    self.slots[id as usize].done = 0;
                    self.given_again += 1;
                    self.wait(id);
                    continue;
                }
                Ok(Handled::Answered) => {}
                Err(error) => outcome = Err(error),
            }
            self.slots[id as usize].state = State::Free;
            self.free.push(id);
        }
        self.over = over;
        outcome
    }

    /// Returns where a request's data is in the window, and how long it is.
    pub(super) fn data(&self, id: u32, request: &Request) -> (u32, u32) {
        let block_bytes = self.disk.map_or(0, |disk| disk.block_bytes);
        let moves = matches!(request.op, Op::Read | Op::Write);
        (self.buffers.offset_of(id), if moves { request.blocks * block_bytes } else { 0 })
    }

    /// Returns the entry that asks for the rest of a request, and counts it as given now.
    fn entry(&mut self, id: u32, place: u32, now_ns: u64) -> RequestWords {
        let Disk { block_bytes, max_zeroes, flags, .. } = self.disk.unwrap_or_default();
        let slot = &mut self.slots[id as usize];
        let Request { op, first, blocks, fua, .. } = slot.request;
        let left = blocks - slot.done;
        let (op, part) = match op {
            _ if slot.flushing => (BlockOp::Flush, 0),
            Op::Read => (BlockOp::Read, left),
            Op::Write => (BlockOp::Write, left),
            Op::Flush => (BlockOp::Flush, 0),
            Op::Discard => (BlockOp::Discard, left.min(max_zeroes)),
            Op::WriteZeroes => (BlockOp::WriteZeroes, left.min(max_zeroes)),
        };
        // Where nothing is lost with the power there is nothing to be said.
        let fua = fua && flags & disk_flags::FUA != 0 && flags & disk_flags::VOLATILE_CACHE != 0;
        let moves = matches!(op, BlockOp::Read | BlockOp::Write);
        slot.state = State::Given;
        slot.generation = slot.generation.wrapping_add(1);
        slot.part = part;
        slot.place = place;
        slot.since_ns = now_ns;
        let entry = BlockRequest {
            id,
            generation: slot.generation,
            op: op as u8,
            flags: if fua && part > 0 { request_flags::FUA } else { 0 },
            first: if part > 0 { first + u64::from(slot.done) } else { 0 },
            blocks: part,
            len_bytes: if moves { part * block_bytes } else { 0 },
            offset: self.buffers.offset_of(id),
            reserved: 0,
        };
        entry.to_words()
    }

    /// Reads how many of the ring's requests the driver has taken, which counts from here on.
    ///
    /// # Errors
    /// If it makes no sense.
    pub(super) fn sync(&mut self) -> Result<(), Fault> {
        self.rings.as_mut().map_or(Ok(()), |(requests, _)| requests.sync(BlockQueue::Requests.name()))
    }

    fn remove_given(&mut self, id: u32) {
        if let Some(at) = self.given.iter().position(|&given| given == id) {
            self.given.swap_remove(at);
        }
    }

    /// Ends the instance: what it had is the host's, and is given again, if it may be, or given up.
    pub(super) fn end(&mut self, resubmits: bool) {
        self.disregard();
        self.rings = None;
        let given = std::mem::take(&mut self.given);
        let alone = given.len() == 1;
        for id in given {
            let slot = &mut self.slots[id as usize];
            slot.ends += 1;
            slot.alone += u32::from(alone && slot.ends > ENDS_AMONG_OTHERS);
            if slot.alone >= ENDS_ALONE || slot.stuck >= ENDS_STUCK {
                self.finish(id, Verdict::Poison);
            } else if resubmits {
                self.given_again += 1;
                self.wait(id);
            } else {
                self.finish(id, Verdict::Abandoned);
            }
        }
        self.withheld.clear();
        self.moves += 1;
    }

    /// Abandons all that is left: no instance will come.
    pub(super) fn abandon(&mut self) {
        let left = std::mem::take(&mut self.waiting);
        left.into_iter().for_each(|id| self.finish(id, Verdict::Abandoned));
        self.withheld.clear();
    }

    /// Returns what was not taken from the ring to the host; it is given again after the next call.
    ///
    /// # Errors
    /// If what the driver says of what it took makes no sense.
    pub(super) fn withhold(&mut self) -> Result<(), Fault> {
        self.sync()?;
        let Some((requests, _)) = &mut self.rings else { return Ok(()) };
        let (produced, consumed) = requests.counts();
        let count = produced.wrapping_sub(consumed);
        requests.retract(count);
        let place = |slot: &Slot| slot.place.wrapping_sub(consumed);
        let mut withheld: Vec<u32> =
            self.given.iter().copied().filter(|&id| place(&self.slots[id as usize]) < count).collect();
        withheld.sort_by_key(|&id| place(&self.slots[id as usize]));
        for &id in &withheld {
            self.remove_given(id);
            self.wait(id);
        }
        self.withheld = withheld;
        Ok(())
    }

    /// Gives up the oldest that was withheld. Returns whether there was one.
    pub(super) fn give_up_withheld(&mut self) -> bool {
        let Some(&id) = self.withheld.first() else { return false };
        self.withheld.clear();
        self.waiting.retain(|&waiting| waiting != id);
        self.finish(id, Verdict::Poison);
        true
    }

    /// Returns whether the driver has something.
    pub(super) fn are_given(&self) -> bool {
        !self.given.is_empty()
    }

    /// Returns how many were given before then and are not completed.
    pub(super) fn overdue(&self, given_before_ns: u64) -> u32 {
        let since = self.given.iter().map(|&id| self.slots[id as usize].since_ns);
        since.filter(|&since_ns| since_ns <= given_before_ns).count() as u32
    }

    /// Notes that the driver is stuck with those: its successors are given each of them alone.
    pub(super) fn note_stuck(&mut self, given_before_ns: u64) {
        for &id in &self.given {
            let slot = &mut self.slots[id as usize];
            slot.stuck += u32::from(slot.since_ns <= given_before_ns);
        }
    }

    /// Returns how many were taken and are not answered.
    pub(super) fn count_open(&self) -> usize {
        self.slots.len() - self.free.len()
    }

    /// Returns how many the driver has; what is in the ring counts.
    pub(super) fn count_given(&self) -> usize {
        self.given.len()
    }

    /// Returns a number that changes whenever something changes hands; `None` while there is a request.
    pub(super) fn idle_stamp(&self) -> Option<u64> {
        (self.free.len() == self.slots.len()).then_some(self.moves)
    }
}

#[cfg(test)]
mod tests;
