//! What may be given now.

use nook_abi::block::disk_flags;
use nook_block_api::{Op, Request};

use super::{Requests, Slot, State, Verdict};

impl Requests {
    /// Makes a request wait, where its turn is.
    pub(super) fn wait(&mut self, id: u32) {
        self.slots[id as usize].state = State::Waiting;
        let sequence = |id: u32| self.slots[id as usize].sequence;
        let at = self.waiting.partition_point(|&other| sequence(other) < sequence(id));
        self.waiting.insert(at, id);
    }

    /// Gives the driver what may be given now, in the order in which it was asked. Returns how many.
    pub(in crate::block) fn give(&mut self, now_ns: u64) -> u32 {
        self.withheld.clear();
        if self.waiting.is_empty() {
            return 0;
        }
        let suspects = |ids: &[u32]| ids.iter().any(|&id| self.slots[id as usize].is_suspect());
        let alone = suspects(&self.waiting) || suspects(&self.given);
        if alone && !self.given.is_empty() {
            return 0;
        }
        let waiting = std::mem::take(&mut self.waiting);
        let (mut ready, mut left) = self.sort_out(waiting);
        if alone && ready.len() > 1 {
            let first = ready.iter().position(|&id| self.slots[id as usize].is_suspect()).unwrap_or(0);
            let one = ready.remove(first);
            left.append(&mut ready);
            left.sort_by_key(|&id| self.slots[id as usize].sequence);
            ready.push(one);
        }
        self.waiting = left;
        let given = self.put(&ready, now_ns);
        ready[given as usize..].iter().for_each(|&id| self.wait(id));
        given
    }

    /// Shows the last `count` that were given, and notes which reads can have read this or that, because they and what
    /// changes the same blocks are in flight together.
    pub(in crate::block) fn note_given(&mut self, count: u32, mut each: impl FnMut(&Request)) {
        let Requests { given, slots, .. } = self;
        let before = given.len() - count as usize;
        given[before..].iter().for_each(|&id| slots[id as usize].contested = false);
        for (at, &id) in given.iter().enumerate().skip(before) {
            let this = slots[id as usize];
            each(&this.request);
            for &other in &given[..at] {
                let that = slots[other as usize];
                let (read, write) = if this.writes() { (other, this) } else { (id, that) };
                let overlap = write.writes() && slots[read as usize].overlaps(&write);
                slots[read as usize].contested |= overlap;
            }
        }
    }

    /// Splits what waits into what may be given now and what has to wait on. A flush of what cannot be lost is over.
    fn sort_out(&mut self, waiting: Vec<u32>) -> (Vec<u32>, Vec<u32>) {
        let volatile = self.disk.is_some_and(|disk| disk.flags & disk_flags::VOLATILE_CACHE != 0);
        let slot = |slots: &[Slot], id: u32| slots[id as usize];
        let mut flush_before = self.given.iter().any(|&id| slot(&self.slots, id).request.op == Op::Flush);
        // What changes blocks and is not done.
        let mut writing: Vec<u32> = self.given.iter().copied().filter(|&id| slot(&self.slots, id).writes()).collect();
        let (mut ready, mut left) = (Vec::with_capacity(waiting.len()), Vec::new());
        for id in waiting {
            let this = slot(&self.slots, id);
            let may = match this.request.op {
                Op::Read => true,
                Op::Flush => writing.is_empty(),
                // Its blocks are done.
                _ if this.flushing => true,
                _ => !flush_before && !writing.iter().any(|&other| slot(&self.slots, other).overlaps(&this)),
            };
            if this.request.op == Op::Flush && may && !volatile {
                self.finish(id, Verdict::Done);
                continue;
            }
            flush_before |= this.request.op == Op::Flush;
            if this.writes() {
                writing.push(id);
            }
            if may { ready.push(id) } else { left.push(id) }
        }
        (ready, left)
    }

    /// Puts requests into the ring. Returns for how many there was room.
    fn put(&mut self, ready: &[u32], now_ns: u64) -> u32 {
        let Some((mut requests, completions)) = self.rings.take() else { return 0 };
        let count = ready.len().min(requests.room() as usize);
        let (first, _) = requests.counts();
        let entries = (0..count as u32).map(|at| self.entry(ready[at as usize], first.wrapping_add(at), now_ns));
        let put = requests.put(entries);
        if put > 0 {
            self.moves += 1;
            requests.publish();
        }
        self.given.extend_from_slice(&ready[..count]);
        self.rings = Some((requests, completions));
        put
    }
}
