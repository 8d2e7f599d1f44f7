//! What was written, by a sum (CRC-32C) of each block: so a driver is found that reads or writes elsewhere than it was
//! asked, and a disk that loses what it acknowledged.
//!
//! It knows what was written through this host since the nook came up, as far as there is room, and nothing of what was
//! on the disk before. Data is summed in private memory of the host, on its way in and on its way out: what a driver or
//! a device does to a buffer in the window is found too.

use std::collections::HashMap;

use nook_block_api::Request;
use nook_bus::VolatileSlice;

/// Blocks whose sums lie together.
const GROUP: u64 = 64;
/// What a group takes, at most: itself, with an eighth more as they grow, and its place in the index, which doubles.
const GROUP_BYTES: usize = size_of::<Group>() * 9 / 8 + 2 * (size_of::<(u64, u32)>() + 1);

/// The sums of blocks that lie together.
#[derive(Clone, Debug)]
struct Group {
    /// The first block's number, by [`GROUP`].
    number: u64,
    /// Of which blocks the sum is known.
    known: u64,
    /// Which of those were read twice in a row with another sum: a restart does not help them.
    bad: u64,
    sums: [u32; GROUP as usize],
}

/// A block that is not what was written to it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Mismatch {
    pub(super) block: u64,
    /// The sum of what was written, and of what was read.
    pub(super) written: u32,
    pub(super) read: u32,
    /// Every block that differs was found to differ before, twice in a row.
    pub(super) known_bad: bool,
}

/// The sums of a disk's blocks.
#[derive(Debug)]
pub(super) struct Sums {
    block_bytes: usize,
    /// The sum of a block of zeros.
    zeros: u32,
    /// The most groups.
    most: usize,
    groups: Vec<Group>,
    /// Where each lies in `groups`, by its number.
    index: HashMap<u64, u32>,
    /// Which is given up next, when there is no room.
    oldest: usize,
    /// By a request's place: the sums of its blocks, while it writes.
    writing: Vec<Vec<u32>>,
    /// One request's data.
    copy: Vec<u8>,
    /// How many blocks that were read were compared, and how many sums were given up because there was no room.
    pub(super) compared: u64,
    pub(super) given_up: u64,
}

impl Sums {
    /// Creates them for a disk that has at most `requests` at a time; they take `most_bytes` at most.
    pub(super) fn new(most_bytes: usize, requests: u32) -> Self {
        Sums {
            block_bytes: 0,
            zeros: 0,
            most: (most_bytes / GROUP_BYTES).clamp(1, u32::MAX as usize),
            groups: Vec::new(),
            index: HashMap::new(),
            oldest: 0,
            writing: vec![Vec::new(); requests as usize],
            copy: Vec::new(),
            compared: 0,
            given_up: 0,
        }
    }

    /// Takes how long a block is.
    pub(super) fn attach(&mut self, block_bytes: u32) {
        self.block_bytes = block_bytes as usize;
        self.zeros = crc32c::crc32c(&vec![0; self.block_bytes]);
    }

    /// Forgets all of it: the disk is somebody else's.
    pub(super) fn clear(&mut self) {
        self.groups.clear();
        self.index.clear();
        self.oldest = 0;
    }

    /// Has `fill` put the data of a write into private memory of the host, sums it, and then copies it to `buffer`.
    ///
    /// # Errors
    /// What `fill` returns; nothing was copied then.
    pub(super) fn fill<E>(
        &mut self,
        id: u32,
        buffer: &VolatileSlice<'_>,
        fill: impl FnOnce(VolatileSlice<'_>) -> Result<(), E>,
    ) -> Result<(), E> {
        self.copy.resize(buffer.len(), 0);
        fill(VolatileSlice::from(&mut self.copy[..]))?;
        let sums = &mut self.writing[id as usize];
        sums.clear();
        sums.extend(self.copy.chunks(self.block_bytes).map(crc32c::crc32c));
        buffer.copy_from(&self.copy);
        Ok(())
    }

    /// Forgets the blocks that a request changes which is about to be given: until it is done they hold this or that.
    pub(super) fn forget(&mut self, request: &Request) {
        let (first, end) = (request.first, request.first + u64::from(request.blocks));
        let forget = |group: &mut Group| {
            let mask = mask(group.number, first, end);
            group.known &= !mask;
            group.bad &= !mask;
        };
        let numbers = first / GROUP..end.div_ceil(GROUP);
        if numbers.end - numbers.start > self.groups.len() as u64 {
            return self.groups.iter_mut().for_each(forget);
        }
        for at in numbers.filter_map(|number| self.index.get(&number)) {
            forget(&mut self.groups[*at as usize]);
        }
    }

    /// Takes that a write is done.
    pub(super) fn wrote(&mut self, id: u32, request: &Request) {
        let sums = std::mem::take(&mut self.writing[id as usize]);
        self.set(request, |at| sums[at as usize]);
        self.writing[id as usize] = sums;
    }

    /// Takes that blocks are zero. More of them than there is room for are not remembered.
    pub(super) fn zeroed(&mut self, request: &Request) {
        let zeros = self.zeros;
        if u64::from(request.blocks) / GROUP < self.most as u64 {
            self.set(request, |_| zeros);
        }
    }

    fn set(&mut self, request: &Request, sum: impl Fn(u32) -> u32) {
        for at in 0..request.blocks {
            let block = request.first + u64::from(at);
            let group = self.group(block / GROUP);
            let bit = 1 << (block % GROUP);
            group.known |= bit;
            group.bad &= !bit;
            group.sums[(block % GROUP) as usize] = sum(at);
        }
    }

    /// Returns a group, which takes the oldest one's place if there is no room.
    fn group(&mut self, number: u64) -> &mut Group {
        if let Some(&at) = self.index.get(&number) {
            return &mut self.groups[at as usize];
        }
        let fresh = Group { number, known: 0, bad: 0, sums: [0; GROUP as usize] };
        let at = if self.groups.len() < self.most {
            if self.groups.len() == self.groups.capacity() {
                self.groups.reserve_exact((self.groups.len() / 8).max(1));
            }
            self.groups.push(fresh);
            self.groups.len() - 1
        } else {
            let at = self.oldest;
            self.oldest = (at + 1) % self.most;
            let old = std::mem::replace(&mut self.groups[at], fresh);
            self.given_up += u64::from(old.known.count_ones());
            self.index.remove(&old.number);
            at
        };
        self.index.insert(number, at as u32);
        &mut self.groups[at]
    }

    /// Compares what a read has read with what was written.
    ///
    /// # Errors
    /// The first block that differs.
    pub(super) fn check(&mut self, request: &Request, data: &VolatileSlice<'_>) -> Result<(), Mismatch> {
        self.copy.resize(data.len(), 0);
        data.copy_to(&mut self.copy);
        let mut mismatch: Option<Mismatch> = None;
        for (block, data) in (request.first..).zip(self.copy.chunks(self.block_bytes)) {
            let Some(&at) = self.index.get(&(block / GROUP)) else { continue };
            let (group, bit) = (&mut self.groups[at as usize], 1 << (block % GROUP));
            if group.known & bit == 0 {
                continue;
            }
            self.compared += 1;
            let (written, read) = (group.sums[(block % GROUP) as usize], crc32c::crc32c(data));
            if written == read {
                group.bad &= !bit;
                continue;
            }
            let known_bad = group.bad & bit != 0;
            match &mut mismatch {
                Some(mismatch) => mismatch.known_bad &= known_bad,
                None => mismatch = Some(Mismatch { block, written, read, known_bad }),
            }
        }
        mismatch.map_or(Ok(()), Err)
    }

    /// Returns a copy of what was checked last, which neither driver nor device can change.
    pub(super) fn checked(&mut self) -> VolatileSlice<'_> {
        VolatileSlice::from(&mut self.copy[..])
    }

    /// Notes the blocks of this read, which was [checked](Self::check) last, that differ: a restart does not help.
    pub(super) fn condemn(&mut self, request: &Request) {
        for (block, data) in (request.first..).zip(self.copy.chunks(self.block_bytes)) {
            if let Some(&at) = self.index.get(&(block / GROUP)) {
                let (group, bit) = (&mut self.groups[at as usize], 1 << (block % GROUP));
                let differs = group.sums[(block % GROUP) as usize] != crc32c::crc32c(data);
                group.bad |= if differs { group.known & bit } else { 0 };
            }
        }
    }
}

/// Returns which blocks of a group lie in a range.
fn mask(number: u64, first: u64, end: u64) -> u64 {
    let base = number * GROUP;
    let (from, to) = (first.clamp(base, base + GROUP) - base, end.clamp(base, base + GROUP) - base);
    let below = |bit: u64| if bit == GROUP { u64::MAX } else { (1 << bit) - 1 };
    below(to) & !below(from)
}

#[cfg(test)]
mod tests {
    use nook_block_api::Op;

    use super::*;

    const BLOCK: usize = 512;

    fn request(op: Op, first: u64, blocks: u32) -> Request {
        Request { id: 0, op, first, blocks, fua: false }
    }

    fn sums(groups: usize) -> Sums {
        let mut sums = Sums::new(groups * GROUP_BYTES, 4);
        sums.attach(BLOCK as u32);
        sums
    }

    fn data(byte: u8, blocks: usize) -> Vec<u8> {
        (0..blocks).flat_map(|at| vec![byte.wrapping_add(at as u8); BLOCK]).collect()
    }

    fn write(sums: &mut Sums, first: u64, byte: u8, blocks: usize) {
        let (request, mut buffer) = (request(Op::Write, first, blocks as u32), vec![0; blocks * BLOCK]);
        let fill = |copy: VolatileSlice<'_>| -> Result<(), ()> {
            copy.copy_from(&data(byte, blocks));
            Ok(())
        };
        sums.fill(1, &VolatileSlice::from(&mut buffer[..]), fill).unwrap();
        assert_eq!(buffer, data(byte, blocks));
        sums.forget(&request);
        sums.wrote(1, &request);
    }

    fn check(sums: &mut Sums, first: u64, mut data: Vec<u8>) -> Result<(), (u64, bool)> {
        let read = request(Op::Read, first, (data.len() / BLOCK) as u32);
        let outcome = sums.check(&read, &VolatileSlice::from(&mut data[..]));
        outcome.map_err(|mismatch| (mismatch.block, mismatch.known_bad))
    }

    #[test]
    fn what_was_written_is_known_and_nothing_else() {
        let mut sums = sums(100);
        write(&mut sums, 60, 1, 8);
        assert_eq!(check(&mut sums, 60, data(1, 8)), Ok(()));
        assert_eq!(check(&mut sums, 62, data(3, 2)), Ok(()));
        assert_eq!(check(&mut sums, 62, data(2, 2)), Err((62, false)));
        assert_eq!(sums.compared, 12);
        // Beside it, and where nothing was written at all.
        assert_eq!(check(&mut sums, 68, data(9, 5)), Ok(()));
        assert_eq!(check(&mut sums, 1 << 50, data(9, 5)), Ok(()));
        assert_eq!(sums.compared, 12);
        write(&mut sums, 61, 7, 1);
        assert_eq!(check(&mut sums, 60, data(1, 8)), Err((61, false)));
    }

    #[test]
    fn zeroes_are_known_and_what_is_discarded_or_in_flight_is_not() {
        let mut sums = sums(100);
        sums.zeroed(&request(Op::WriteZeroes, 100, 64));
        assert_eq!(check(&mut sums, 163, vec![1; BLOCK]), Err((163, false)));
        sums.forget(&request(Op::Discard, 110, 20));
        assert_eq!(check(&mut sums, 110, data(3, 20)), Ok(()));
        assert_eq!(check(&mut sums, 109, data(3, 1)), Err((109, false)));
        assert_eq!(check(&mut sums, 130, data(3, 1)), Err((130, false)));
        // A discard of more than there are groups.
        sums.forget(&request(Op::Discard, 130, u32::MAX));
        assert_eq!(check(&mut sums, 130, data(3, 34)), Ok(()));
        assert_eq!(check(&mut sums, 129, data(3, 1)), Ok(()));
        assert_eq!(check(&mut sums, 100, data(3, 1)), Err((100, false)));
        sums.clear();
        assert_eq!(check(&mut sums, 100, data(3, 1)), Ok(()));
    }

    #[test]
    fn a_block_that_was_found_to_differ_is_known_for_it_until_it_is_written_or_right_again() {
        let mut sums = sums(100);
        write(&mut sums, 0, 1, 4);
        let wrong = [data(1, 1), data(9, 1), data(3, 1), data(9, 1)].concat();
        assert_eq!(check(&mut sums, 0, wrong.clone()), Err((1, false)));
        sums.condemn(&request(Op::Read, 0, 4));
        assert_eq!(check(&mut sums, 0, wrong.clone()), Err((1, true)));
        // One that was right before is not known for it.
        assert_eq!(check(&mut sums, 1, data(9, 2)), Err((1, false)));
        assert_eq!(check(&mut sums, 3, data(4, 1)), Ok(()));
        assert_eq!(check(&mut sums, 0, wrong), Err((1, false)));
        write(&mut sums, 1, 9, 1);
        assert_eq!(check(&mut sums, 1, data(9, 1)), Ok(()));
        assert_eq!(check(&mut sums, 1, data(8, 1)), Err((1, false)));
    }

    #[test]
    fn there_is_a_limit_beyond_which_the_oldest_are_given_up() {
        let mut sums = sums(3);
        (0..5).for_each(|at| write(&mut sums, at * GROUP, 1, 2));
        assert_eq!((sums.groups.len(), sums.index.len(), sums.given_up), (3, 3, 4));
        let found: Vec<bool> = (0..5).map(|at| check(&mut sums, at * GROUP, data(7, 2)).is_err()).collect();
        assert_eq!(found, [false, false, true, true, true]);
        // Zeroes that would not fit are not remembered, and those that do are.
        sums.zeroed(&request(Op::WriteZeroes, 0, 1 << 20));
        assert_eq!(check(&mut sums, 0, data(7, 2)), Ok(()));
        assert_eq!(check(&mut sums, 4 * GROUP, data(1, 2)), Ok(()));
    }

    #[test]
    fn a_group_has_a_few_bytes_for_each_block() {
        // docs/block.md and docs/policy.md say so.
        assert!(GROUP_BYTES <= 6 * GROUP as usize, "{GROUP_BYTES}");
    }

    #[test]
    fn a_mask_has_the_blocks_of_a_group_that_lie_in_a_range() {
        assert_eq!(mask(1, 0, 64), 0);
        assert_eq!(mask(1, 0, 65), 1);
        assert_eq!(mask(1, 127, 1 << 40), 1 << 63);
        assert_eq!(mask(1, 64, 128), u64::MAX);
        assert_eq!(mask(1, 66, 68), 0b1100);
    }
}
