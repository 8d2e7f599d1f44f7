//! The oracle of disk drivers: blocks of which it knows what each holds. It shares no code with a driver and none with
//! what disks are plugged into otherwise.
//!
//! A request's number says what it asks, and what a write writes. Requests do not overlap while they are under way, so
//! that each has one right answer. One that is not done is asked again, later each time, and none is ever given up. Of
//! every other stretch of the disk nothing is ever asked: what is written there has gone astray, and is found in the
//! end, past the driver.

use std::collections::BTreeMap;
use std::io;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use nook_block_api::{BlockBackend, Geometry, Op, Outcome, Request};
use nook_bus::Clock;
use nook_seed::{Rng, word_at};
use vm_memory::VolatileSlice;

use crate::BackendFault;
use crate::traffic::{FLOW, Flow, NOT_TAKEN_NS, OVERDUE_NS, RESEND_FIRST_NS, RESEND_MOST_NS, Tally, Traffic};

/// Requests that are under way at most.
const UNDER_WAY: usize = 32;
/// Blocks that belong together. Every other stretch is used.
const STRETCH: u64 = 128;
/// The longest request, in blocks: of 512 bytes, eight pages and so a list of them.
const LONGEST: u64 = 64;

/// Reads the medium past the driver: blocks from one on.
pub type Medium = Box<dyn Fn(u64, &mut [u8]) -> io::Result<()> + Send>;

/// What a block holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Content {
    Zero,
    /// What the request with this number writes.
    Of(u64),
}

/// What a block may hold: what was acknowledged last, or what is being written.
#[derive(Clone, Copy, Debug)]
struct Block {
    is: Content,
    becomes: Option<Content>,
}

#[derive(Clone, Copy, Debug)]
struct Asked {
    request: Request,
    first_ns: u64,
    /// When it is asked again; `None` while the nook has it.
    due_ns: Option<u64>,
    wait_ns: u64,
}

struct State {
    seed: u64,
    clock: Clock,
    medium: Medium,
    /// Bytes of a block of the medium.
    block_bytes: usize,
    /// What the driver says of the disk.
    geometry: Geometry,
    /// Between two requests; `None` while there is no traffic.
    pace_ns: Option<u64>,
    /// Of the medium.
    blocks: Vec<Block>,
    next: u64,
    next_new_ns: u64,
    under_way: BTreeMap<u64, Asked>,
    tally: Tally,
    first_failure_ns: Option<u64>,
}

/// The oracle, to be held by the disk's other side and by what judges.
#[derive(Clone)]
pub struct DiskOracle(Arc<Mutex<State>>);

impl DiskOracle {
    /// Creates it for a disk of zeros, of this many blocks and bytes of each; nothing is asked before
    /// [`pace`](Traffic::pace).
    pub fn new(seed: u64, clock: Clock, (blocks, block_bytes): (usize, usize), medium: Medium) -> Self {
        DiskOracle(Arc::new(Mutex::new(State {
            seed,
            clock,
            medium,
            block_bytes,
            geometry: Geometry::default(),
            pace_ns: None,
            blocks: vec![Block { is: Content::Zero, becomes: None }; blocks],
            next: 0,
            next_new_ns: 0,
            under_way: BTreeMap::new(),
            tally: Tally::default(),
            first_failure_ns: None,
        })))
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Traffic for DiskOracle {
    fn pace(&self, pace_ns: u64) {
        let mut state = self.state();
        (state.pace_ns, state.next_new_ns) = (Some(pace_ns), state.clock.now_ns());
    }

    fn flow(&self) -> Flow {
        Flow([self.state().next, 0])
    }

    fn is_complete(&self, Flow([from, _]): Flow) -> bool {
        let state = self.state();
        state.next >= from + FLOW && state.under_way.range(..from + FLOW).next().is_none()
    }

    fn first_failure_ns(&self) -> Option<u64> {
        let mut state = self.state();
        state.look();
        state.first_failure_ns
    }

    fn tally(&self) -> Tally {
        self.state().tally
    }

    fn standing(&self) -> Vec<&'static str> {
        let state = self.state();
        let late = |op: Op| state.overdue().any(|asked| asked.request.op == op);
        let ops = [(Op::Read, "reads"), (Op::Write, "writes"), (Op::WriteZeroes, "zeroes"), (Op::Flush, "flushes")];
        ops.into_iter().filter(|(op, _)| late(*op)).map(|(_, name)| name).collect()
    }

    fn finish(&self) {
        let mut state = self.state();
        let (mut wrong, mut found) = (0, vec![0; state.block_bytes]);
        for (number, block) in (0..).zip(&state.blocks) {
            let read = (state.medium)(number, &mut found).is_ok();
            let is = |content: Content| state.is(number, content, &found);
            let holds = read && (is(block.is) || block.becomes.is_some_and(is));
            wrong += u64::from(!holds);
        }
        state.tally.damaged += wrong;
    }
}

impl State {
    fn overdue(&self) -> impl Iterator<Item = &Asked> {
        let now_ns = self.clock.now_ns();
        self.under_way.values().filter(move |asked| asked.first_ns + OVERDUE_NS < now_ns)
    }

    fn look(&mut self) {
        let overdue = self.overdue().map(|asked| asked.first_ns).min();
        self.first_failure_ns = [self.first_failure_ns, overdue].into_iter().flatten().min();
    }

    /// Returns whether a block that is to hold this holds it.
    fn is(&self, block: u64, content: Content, found: &[u8]) -> bool {
        match content {
            Content::Zero => found.iter().all(|byte| *byte == 0),
            Content::Of(number) => written(self.seed, number, block, found.len()) == found,
        }
    }

    /// Returns what is asked now.
    fn next(&mut self) -> Option<Request> {
        let (now_ns, pace_ns) = (self.clock.now_ns(), self.pace_ns?);
        let is_due = |asked: &&mut Asked| asked.due_ns.is_some_and(|due_ns| due_ns <= now_ns);
        if let Some(asked) = self.under_way.values_mut().find(is_due) {
            asked.due_ns = None;
            return Some(asked.request);
        }
        if self.under_way.len() >= UNDER_WAY || now_ns < self.next_new_ns {
            return None;
        }
        let request = self.drawn()?;
        self.next += 1;
        self.next_new_ns = now_ns + pace_ns;
        self.change(&request, |block| block.becomes = written_by(&request));
        let asked = Asked { request, first_ns: now_ns, due_ns: None, wait_ns: RESEND_FIRST_NS };
        self.under_way.insert(request.id, asked);
        Some(request)
    }

    /// Draws the next request, which overlaps with none that is under way.
    fn drawn(&self) -> Option<Request> {
        let id = self.next;
        let mut rng = Rng::new(word_at(self.seed, id));
        let op = match rng.below(16) {
            0 => Op::Flush,
            1 if self.geometry.write_zeroes => Op::WriteZeroes,
            2..=8 => Op::Read,
            _ => Op::Write,
        };
        if op == Op::Flush {
            return Some(Request { id, op, first: 0, blocks: 0, fua: false });
        }
        let stretches = self.geometry.blocks.min(self.blocks.len() as u64) / STRETCH / 2;
        (0..8).find_map(|_| {
            let most = LONGEST.min(self.geometry.max_blocks.into());
            // Most are short.
            let blocks = if rng.one_in(4) { 1 + rng.below(most) } else { 1 + rng.below(most.min(8)) };
            let first = 2 * STRETCH * rng.below(stretches.max(1)) + rng.below(STRETCH - blocks + 1);
            let request = Request { id, op, first, blocks: blocks as u32, fua: op.writes() && rng.one_in(8) };
            let overlaps = |other: &Asked| first < end(&other.request) && other.request.first < end(&request);
            (!self.under_way.values().any(overlaps)).then_some(request)
        })
    }

    fn change(&mut self, request: &Request, change: impl Fn(&mut Block)) {
        let range = request.first as usize..end(request) as usize;
        self.blocks.get_mut(range).into_iter().flatten().for_each(change);
    }

    fn complete(&mut self, id: u64, outcome: Outcome, data: Option<&[u8]>) {
        self.look();
        let now_ns = self.clock.now_ns();
        let Some(asked) = self.under_way.get_mut(&id).filter(|asked| asked.due_ns.is_none()) else {
            self.tally.duplicates += 1;
            return;
        };
        let request = asked.request;
        if outcome == Outcome::IoError {
            let first_ns = asked.first_ns;
            asked.due_ns = Some(now_ns + asked.wait_ns);
            asked.wait_ns = (asked.wait_ns * 2).min(RESEND_MOST_NS);
            self.tally.lost += 1;
            self.first_failure_ns = Some(self.first_failure_ns.map_or(first_ns, |before| before.min(first_ns)));
            return;
        }
        self.under_way.remove(&id);
        self.tally.delivered += 1;
        match request.op {
            Op::Read if !self.is_read(&request, data.unwrap_or_default()) => self.tally.corrupted += 1,
            _ => self.change(&request, |block| {
                if let Some(content) = block.becomes.take() {
                    block.is = content;
                }
            }),
        }
    }

    /// Returns whether this is what the blocks of a read hold.
    fn is_read(&self, request: &Request, data: &[u8]) -> bool {
        let len = self.geometry.block_bytes as usize;
        data.len() == len * request.blocks as usize
            && (request.first..).zip(data.chunks(len)).all(|(block, found)| {
                self.blocks.get(block as usize).is_some_and(|known| self.is(block, known.is, found))
            })
    }

    fn due_ns(&self) -> Option<u64> {
        let again = self.under_way.values().filter_map(|asked| asked.due_ns).min();
        let new = (self.under_way.len() < UNDER_WAY && self.pace_ns.is_some()).then_some(self.next_new_ns);
        let due_ns = [again, new].into_iter().flatten().min()?;
        Some(due_ns.max(self.clock.now_ns() + NOT_TAKEN_NS))
    }
}

fn end(request: &Request) -> u64 {
    request.first + u64::from(request.blocks)
}

/// Returns what blocks hold that a request writes.
fn written_by(request: &Request) -> Option<Content> {
    match request.op {
        Op::Write => Some(Content::Of(request.id)),
        Op::WriteZeroes => Some(Content::Zero),
        Op::Read | Op::Flush | Op::Discard => None,
    }
}

/// Returns what a request writes to a block.
fn written(seed: u64, number: u64, block: u64, len_bytes: usize) -> Vec<u8> {
    let mut rng = Rng::new(word_at(seed ^ number.rotate_left(32), block));
    let mut bytes = Vec::with_capacity(len_bytes + 8);
    while bytes.len() < len_bytes {
        bytes.extend(rng.word().to_le_bytes());
    }
    bytes.truncate(len_bytes);
    bytes
}

/// The other side of a driver's disk. With a fault, what it does with requests fails.
pub struct DiskEnd {
    oracle: DiskOracle,
    fault: Option<BackendFault>,
}

impl DiskEnd {
    /// Creates it.
    pub fn new(oracle: DiskOracle, fault: Option<BackendFault>) -> Self {
        DiskEnd { oracle, fault }
    }
}

impl BlockBackend for DiskEnd {
    fn attach(&mut self, geometry: &Geometry) -> io::Result<()> {
        self.oracle.state().geometry = geometry.clone();
        Ok(())
    }

    fn next(&mut self) -> io::Result<Option<Request>> {
        if let Some(fault) = &self.fault {
            fault.fetches()?;
        }
        Ok(self.oracle.state().next())
    }

    fn fill(&mut self, id: u64, buffer: VolatileSlice<'_>) -> io::Result<()> {
        let state = self.oracle.state();
        let Some(asked) = state.under_way.get(&id) else { return Ok(()) };
        let len = state.geometry.block_bytes as usize;
        let blocks = asked.request.first..end(&asked.request);
        let bytes: Vec<u8> = blocks.flat_map(|block| written(state.seed, id, block, len)).collect();
        buffer.copy_from(&bytes[..]);
        Ok(())
    }

    fn complete(&mut self, id: u64, outcome: Outcome, data: Option<VolatileSlice<'_>>) -> io::Result<()> {
        if let Some(fault) = &self.fault {
            fault.takes()?;
        }
        let bytes = data.map(|data| {
            let mut bytes = vec![0; data.len()];
            data.copy_to(&mut bytes[..]);
            bytes
        });
        self.oracle.state().complete(id, outcome, bytes.as_deref());
        Ok(())
    }

    fn service(&mut self, _: u64) -> io::Result<Option<u64>> {
        Ok(self.oracle.state().due_ns())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MS: u64 = 1_000_000;
    const LEN: usize = 512;

    /// A disk of its requests, done at once, and in which a test can meddle.
    #[derive(Clone, Default)]
    struct Disk(Arc<Mutex<Vec<u8>>>);

    impl Disk {
        fn at(&self, first: u64, blocks: u64) -> std::ops::Range<usize> {
            first as usize * LEN..(first + blocks) as usize * LEN
        }

        fn with<T>(&self, of: impl FnOnce(&mut Vec<u8>) -> T) -> T {
            of(&mut self.0.lock().unwrap())
        }
    }

    fn rig() -> (DiskOracle, DiskEnd, Disk, Clock) {
        let (clock, disk) = (Clock::new_virtual(), Disk(Arc::new(Mutex::new(vec![0; 1024 * LEN]))));
        let medium = disk.clone();
        let read = move |first: u64, into: &mut [u8]| {
            medium.with(|bytes| into.copy_from_slice(&bytes[medium.at(first, (into.len() / LEN) as u64)]));
            Ok(())
        };
        let oracle = DiskOracle::new(7, clock.clone(), (1024, LEN), Box::new(read));
        let mut end = DiskEnd::new(oracle.clone(), None);
        let geometry = Geometry {
            block_bytes: LEN as u32,
            blocks: 1024,
            max_blocks: 64,
            write_zeroes: true,
            ..Geometry::default()
        };
        end.attach(&geometry).unwrap();
        oracle.pace(MS);
        (oracle, end, disk, clock)
    }

    /// Does a request as a disk does.
    fn done(end: &mut DiskEnd, disk: &Disk, request: &Request) {
        let mut buffer = vec![0; request.blocks as usize * LEN];
        let range = disk.at(request.first, request.blocks.into());
        match request.op {
            Op::Write => {
                end.fill(request.id, VolatileSlice::from(&mut buffer[..])).unwrap();
                disk.with(|bytes| bytes[range].copy_from_slice(&buffer));
            }
            Op::WriteZeroes => disk.with(|bytes| bytes[range].fill(0)),
            Op::Read => disk.with(|bytes| buffer.copy_from_slice(&bytes[range])),
            Op::Flush | Op::Discard => {}
        }
        let data = (request.op == Op::Read).then(|| VolatileSlice::from(&mut buffer[..]));
        end.complete(request.id, Outcome::Done, data).unwrap();
    }

    #[test]
    fn what_a_disk_does_right_is_right_and_makes_flows() {
        let (oracle, mut end, disk, clock) = rig();
        let flow = oracle.flow();
        while !oracle.is_complete(flow) {
            clock.charge(MS);
            if let Some(request) = end.next().unwrap() {
                done(&mut end, &disk, &request);
            }
        }
        oracle.finish();
        assert_eq!(oracle.tally(), Tally { delivered: FLOW, ..Tally::default() });
        assert!(disk.with(|bytes| bytes.iter().any(|byte| *byte != 0)), "something was written");
        assert_eq!((oracle.first_failure_ns(), oracle.standing()), (None, vec![]));
    }

    #[test]
    fn a_byte_that_changed_is_found_by_the_read_or_in_the_end() {
        let (oracle, mut end, disk, clock) = rig();
        for _ in 0..200 {
            clock.charge(MS);
            let request = end.next().unwrap().unwrap();
            if request.op == Op::Read {
                disk.with(|bytes| bytes[request.first as usize * LEN + 3] ^= 1);
                done(&mut end, &disk, &request);
                oracle.finish();
                assert_eq!((oracle.tally().corrupted, oracle.tally().damaged), (1, 1));
                return;
            }
            done(&mut end, &disk, &request);
        }
        panic!("nothing was read");
    }

    #[test]
    fn a_write_that_went_astray_or_was_never_made_is_found_in_the_end() {
        let (oracle, mut end, disk, clock) = rig();
        disk.with(|bytes| bytes[STRETCH as usize * LEN] = 1);
        loop {
            clock.charge(MS);
            let request = end.next().unwrap().unwrap();
            if request.op == Op::Write {
                end.complete(request.id, Outcome::Done, None).unwrap();
                oracle.finish();
                assert_eq!((oracle.tally().corrupted, oracle.tally().damaged), (0, 1 + u64::from(request.blocks)));
                return;
            }
            done(&mut end, &disk, &request);
        }
    }

    #[test]
    fn what_fails_or_never_comes_is_noted_and_asked_again_and_is_not_answered_twice() {
        let (oracle, mut end, disk, clock) = rig();
        clock.charge(MS);
        let (flow, request) = (oracle.flow(), end.next().unwrap().unwrap());
        clock.charge(16 * MS);
        assert!(oracle.first_failure_ns().is_some() && oracle.standing().len() == 1);
        end.complete(request.id, Outcome::IoError, None).unwrap();
        assert_eq!(oracle.tally().lost, 1);
        end.complete(request.id, Outcome::Done, None).unwrap();
        assert_eq!(oracle.tally().duplicates, 1, "it was not asked again yet");
        let mut again = 0;
        while !oracle.is_complete(flow) {
            clock.charge(MS);
            if let Some(next) = end.next().unwrap() {
                again += u64::from(next == request);
                done(&mut end, &disk, &next);
            }
        }
        assert_eq!(again, 1);
    }
}
