#![expect(unsafe_code, reason = "rings that the test reads and writes as a driver would")]

use std::collections::HashMap;

use nook_abi::block::{BlockCompletion, BlockFault, RequestOwner, disk_flags};
use nook_abi::{ClassFault, QUEUE_CAPACITY, RingHeader, ring_bytes};
use nook_seed::Rng;

use super::*;

const PLACES: u32 = 8;
const BUFFERS: Buffers = Buffers { offset: 4096, count: PLACES, transfer_bytes: 8192 };
const DISK: Disk = Disk {
    blocks: 64,
    block_bytes: 512,
    max_blocks: 1000,
    max_zeroes: 4,
    flags: disk_flags::VOLATILE_CACHE | disk_flags::DISCARD | disk_flags::WRITE_ZEROES,
    serial: [0; 40],
};

/// A driver's ends of the two rings, and what it has.
struct Driver {
    memory: Vec<u64>,
    taken: Vec<BlockRequest>,
}

const REQUESTS: usize = ring_bytes(size_of::<BlockRequest>());
const COMPLETIONS: usize = ring_bytes(size_of::<BlockCompletion>());

impl Driver {
    fn new() -> Self {
        Driver { memory: vec![0; (REQUESTS + COMPLETIONS) / 8 + 8], taken: Vec::new() }
    }

    fn at<T>(&mut self, offset: usize) -> *mut T {
        let base = self.memory.as_mut_ptr().cast::<u8>();
        base.wrapping_add(base.align_offset(64) + offset).cast()
    }

    fn begin(&mut self, requests: &mut Requests) {
        self.taken.clear();
        let entries = size_of::<RingHeader>();
        let rings = [(0, entries), (REQUESTS, REQUESTS + entries)];
        // SAFETY: the memory has room for both rings, aligned by `at`, and is kept in place by the test.
        let rings = unsafe {
            (
                RequestRing::new(self.at(rings[0].0), self.at(rings[0].1)),
                CompletionRing::new(self.at(rings[1].0), self.at(rings[1].1)),
            )
        };
        requests.begin(Some(rings));
    }

    /// Takes up to `most` requests.
    fn take(&mut self, most: u32) -> u32 {
        let header = self.at::<RingHeader>(0);
        // SAFETY: the ring lies there.
        let RingHeader { produced, consumed } = unsafe { header.read() };
        let count = produced.wrapping_sub(consumed).min(most);
        for at in (0..count).map(|at| consumed.wrapping_add(at) % QUEUE_CAPACITY) {
            let words = self.at::<RequestWords>(size_of::<RingHeader>() + at as usize * size_of::<BlockRequest>());
            // SAFETY: an entry of the ring.
            self.taken.push(BlockRequest::from_words(unsafe { words.read() }));
        }
        // SAFETY: the ring lies there.
        unsafe { (*header).consumed = consumed.wrapping_add(count) };
        count
    }

    fn put(&mut self, completion: BlockCompletion) {
        let header = self.at::<RingHeader>(REQUESTS);
        // SAFETY: the ring lies there.
        let produced = unsafe { (*header).produced };
        let place = (produced % QUEUE_CAPACITY) as usize * size_of::<BlockCompletion>();
        let words = self.at::<CompletionWords>(REQUESTS + size_of::<RingHeader>() + place);
        // SAFETY: an entry of the ring, and its header.
        unsafe {
            words.write(completion.to_words());
            (*header).produced = produced.wrapping_add(1);
        }
    }

    /// Completes the request that it took at this place.
    fn complete(&mut self, at: usize, status: BlockStatus) -> BlockRequest {
        let request = self.taken.swap_remove(at);
        self.put(completion(&request, status));
        request
    }
}

fn completion(request: &BlockRequest, status: BlockStatus) -> BlockCompletion {
    let BlockRequest { id, generation, .. } = *request;
    BlockCompletion { id, generation, status: status as u16, ..BlockCompletion::default() }
}

fn attached(disk: Disk) -> (Requests, Driver) {
    let (mut requests, mut driver) = (Requests::new(BUFFERS), Driver::new());
    driver.begin(&mut requests);
    requests.attach(disk);
    (requests, driver)
}

fn request(id: u64, op: Op, first: u64, blocks: u32) -> Request {
    Request { id, op, first, blocks, fua: false }
}

fn answers(requests: &mut Requests) -> Vec<(u64, Verdict)> {
    let mut answers = Vec::new();
    let each = |answered: &Answered, _| -> Result<Handled, ()> {
        answers.push((answered.request.id, answered.verdict));
        Ok(Handled::Answered)
    };
    requests.answer(each).unwrap();
    answers
}

/// Has the driver take all, and complete all of it as done.
fn serve(requests: &mut Requests, driver: &mut Driver) -> Vec<(u8, u64, u32)> {
    requests.sync().unwrap();
    requests.give(0);
    driver.take(QUEUE_CAPACITY);
    let served = driver.taken.iter().map(|it| (it.op, it.first, it.blocks)).collect();
    while !driver.taken.is_empty() {
        driver.complete(0, BlockStatus::Done);
    }
    requests.check().unwrap();
    requests.accept();
    served
}

const READ: u8 = BlockOp::Read as u8;
const WRITE: u8 = BlockOp::Write as u8;
const FLUSH: u8 = BlockOp::Flush as u8;

#[test]
fn writes_that_overlap_are_given_one_after_the_other_and_in_their_order() {
    let (mut requests, mut driver) = attached(DISK);
    for (id, first) in [(1, 0), (2, 3), (3, 4), (4, 8)] {
        requests.ask(request(id, Op::Write, first, 4));
    }
    assert_eq!(serve(&mut requests, &mut driver), [(WRITE, 0, 4), (WRITE, 8, 4)]);
    assert_eq!(serve(&mut requests, &mut driver), [(WRITE, 3, 4)]);
    assert_eq!(serve(&mut requests, &mut driver), [(WRITE, 4, 4)]);
    assert_eq!(answers(&mut requests).len(), 4);
}

#[test]
fn what_is_asked_behind_a_flush_stays_behind_it_and_reads_wait_for_nothing() {
    let (mut requests, mut driver) = attached(DISK);
    requests.ask(request(1, Op::Write, 0, 1));
    requests.ask(request(2, Op::Flush, 0, 0));
    requests.ask(request(3, Op::Write, 9, 1));
    requests.ask(request(4, Op::Read, 0, 1));
    assert_eq!(serve(&mut requests, &mut driver), [(WRITE, 0, 1), (READ, 0, 1)]);
    assert_eq!(serve(&mut requests, &mut driver), [(FLUSH, 0, 0)]);
    assert_eq!(serve(&mut requests, &mut driver), [(WRITE, 9, 1)]);
}

#[test]
fn a_flush_of_a_disk_that_loses_nothing_is_over_without_the_driver() {
    let (mut requests, mut driver) = attached(Disk { flags: 0, max_zeroes: 0, ..DISK });
    requests.ask(request(1, Op::Write, 0, 1));
    requests.ask(request(2, Op::Flush, 0, 0));
    assert_eq!(serve(&mut requests, &mut driver), [(WRITE, 0, 1)]);
    assert_eq!(answers(&mut requests), [(1, Verdict::Done)]);
    assert_eq!(serve(&mut requests, &mut driver), []);
    assert_eq!(answers(&mut requests), [(2, Verdict::Done)]);
}

#[test]
fn fua_is_a_write_and_a_flush_where_the_device_is_not_trusted_with_it() {
    let write = Request { fua: true, ..request(1, Op::Write, 0, 1) };
    let (mut requests, mut driver) = attached(DISK);
    requests.ask(write);
    assert_eq!(serve(&mut requests, &mut driver), [(WRITE, 0, 1)]);
    assert_eq!(answers(&mut requests), []);
    assert_eq!(serve(&mut requests, &mut driver), [(FLUSH, 0, 0)]);
    assert_eq!(answers(&mut requests), [(1, Verdict::Done)]);
    // One that is trusted is given the flag, and one that loses nothing neither.
    for (flags, flag) in [(DISK.flags | disk_flags::FUA, request_flags::FUA), (disk_flags::DISCARD, 0)] {
        let (mut requests, mut driver) = attached(Disk { flags, ..DISK });
        requests.ask(write);
        requests.give(0);
        driver.take(1);
        assert_eq!(driver.taken[0].flags, flag);
        driver.complete(0, BlockStatus::Done);
        requests.check().unwrap();
        requests.accept();
        assert_eq!(answers(&mut requests), [(1, Verdict::Done)]);
    }
}

#[test]
fn zeroes_are_given_in_parts_as_large_as_the_device_takes_them() {
    let (mut requests, mut driver) = attached(DISK);
    requests.ask(request(1, Op::WriteZeroes, 10, 10));
    let served: Vec<_> = (0..3).flat_map(|_| serve(&mut requests, &mut driver)).collect();
    let zeroes = BlockOp::WriteZeroes as u8;
    assert_eq!(served, [(zeroes, 10, 4), (zeroes, 14, 4), (zeroes, 18, 2)]);
    assert_eq!(answers(&mut requests), [(1, Verdict::Done)]);
}

#[test]
fn what_is_not_inside_the_disk_never_reaches_the_driver() {
    let (mut requests, mut driver) = attached(DISK);
    for (id, op, first, blocks) in [
        (1, Op::Read, 60, 5),
        (2, Op::Write, u64::MAX, 1),
        (3, Op::Read, 0, 0),
        (4, Op::Read, 0, 17),
        (5, Op::Flush, 1, 0),
    ] {
        requests.ask(request(id, op, first, blocks));
    }
    assert_eq!(serve(&mut requests, &mut driver), []);
    assert_eq!(answers(&mut requests), (1..=5).map(|id| (id, Verdict::Refused)).collect::<Vec<_>>());
    let (mut requests, _) = attached(Disk { flags: disk_flags::READ_ONLY, max_zeroes: 0, ..DISK });
    requests.ask(request(1, Op::Write, 0, 1));
    assert_eq!(answers(&mut requests), [(1, Verdict::Refused)]);
}

#[test]
fn what_a_driver_had_when_it_ended_is_given_again_in_the_order_in_which_it_was_asked() {
    let (mut requests, mut driver) = attached(DISK);
    for id in 1..=4 {
        requests.ask(request(id, Op::Write, id, 1));
    }
    requests.give(0);
    driver.take(3);
    driver.complete(1, BlockStatus::Done);
    requests.check().unwrap();
    requests.accept();
    // What was checked and not accepted does not count.
    driver.complete(0, BlockStatus::Done);
    requests.check().unwrap();
    requests.end(true);
    driver.begin(&mut requests);
    assert_eq!(serve(&mut requests, &mut driver), [(WRITE, 1, 1), (WRITE, 3, 1), (WRITE, 4, 1)]);
    assert_eq!(answers(&mut requests).len(), 4);
}

#[test]
fn the_one_that_ends_every_driver_is_found_and_the_others_are_done() {
    let (mut requests, mut driver) = attached(DISK);
    for id in 1..=6 {
        requests.ask(request(id, Op::Write, id, 1));
    }
    let (mut over, mut ends) = (Vec::new(), 0);
    while over.len() < 6 {
        requests.sync().unwrap();
        requests.give(0);
        driver.take(QUEUE_CAPACITY);
        if driver.taken.iter().any(|it| it.first == 4) {
            ends += 1;
            requests.end(true);
            driver.begin(&mut requests);
        } else {
            serve(&mut requests, &mut driver);
        }
        over.extend(answers(&mut requests));
    }
    over.sort_by_key(|(id, _)| *id);
    let expected = |id| if id == 4 { Verdict::Poison } else { Verdict::Done };
    assert_eq!(over, (1..=6).map(|id| (id, expected(id))).collect::<Vec<_>>());
    assert_eq!(ends, ENDS_AMONG_OTHERS + ENDS_ALONE);
}

#[test]
fn what_was_withheld_is_given_again_and_the_oldest_can_be_given_up() {
    let (mut requests, mut driver) = attached(DISK);
    for id in 1..=3 {
        requests.ask(request(id, Op::Read, id, 1));
    }
    requests.give(0);
    driver.take(1);
    requests.withhold().unwrap();
    assert_eq!(driver.take(9), 0);
    assert!(requests.give_up_withheld());
    assert!(!requests.give_up_withheld());
    assert_eq!(answers(&mut requests), [(2, Verdict::Poison)]);
    requests.give(0);
    driver.take(9);
    assert_eq!(driver.taken.iter().map(|it| it.first).collect::<Vec<_>>(), [1, 3]);
}

fn refused(requests: &mut Requests) -> BlockFault {
    match requests.check() {
        Err(Fault::Class(ClassFault::Block(fault))) => fault,
        other => panic!("{other:?}"),
    }
}

#[test]
fn a_completion_counts_once_and_only_of_what_the_driver_has() {
    let (mut requests, mut driver) = attached(DISK);
    requests.ask(request(1, Op::Read, 0, 1));
    requests.ask(request(2, Op::Read, 1, 1));
    requests.give(0);
    driver.take(1);
    let [first] = driver.taken[..] else { panic!() };
    let done = completion(&first, BlockStatus::Done);
    for (wrong, owner) in [
        (BlockCompletion { id: PLACES, ..done }, RequestOwner::Nobody),
        (BlockCompletion { id: first.id ^ 5, ..done }, RequestOwner::Nobody),
        (BlockCompletion { generation: done.generation.wrapping_sub(1), ..done }, RequestOwner::Later),
        (BlockCompletion { id: first.id ^ 1, ..done }, RequestOwner::Host),
    ] {
        driver.put(wrong);
        let BlockCompletion { id, generation, .. } = wrong;
        assert_eq!(refused(&mut requests), BlockFault::NotGiven { id, generation, owner });
        // As a rollback does.
        // SAFETY: the ring's header.
        unsafe { (*driver.at::<RingHeader>(REQUESTS)).produced -= 1 };
    }
    driver.put(done);
    driver.put(done);
    assert!(matches!(refused(&mut requests), BlockFault::NotGiven { owner: RequestOwner::Nobody, .. }));
    assert_eq!(answers(&mut requests), []);
}

#[test]
fn a_completion_that_breaks_a_rule_is_refused_with_it() {
    for (field, status, reserved) in [("status", 3, 0), ("reserved", 0, 1)] {
        let (mut requests, mut driver) = attached(DISK);
        requests.ask(request(1, Op::Read, 0, 1));
        requests.give(0);
        driver.take(1);
        driver.put(BlockCompletion { status, reserved, ..completion(&driver.taken[0].clone(), BlockStatus::Done) });
        let fault = refused(&mut requests);
        assert!(matches!(fault, BlockFault::CompletionMalformed { field: it, .. } if it == field), "{fault}");
    }
}

/// Whatever is asked, taken, completed, checked and not accepted, and whenever drivers end: each request is answered
/// once, no two in flight overlap if they write, and flushes keep their place.
#[test]
fn each_request_is_answered_once_whatever_happens_to_drivers() {
    for seed in 0..300 {
        let mut rng = Rng::new(seed);
        let (mut requests, mut driver) = attached(DISK);
        // By id: the request, and whether it was answered.
        let mut asked: HashMap<u64, (Request, bool)> = HashMap::new();
        let (mut next, mut ended) = (0, 0);
        for step in 0.. {
            let closing = step > 400;
            match rng.index(7) {
                0 | 1 if !closing && requests.has_room() => {
                    let op = [Op::Read, Op::Write, Op::Write, Op::Flush, Op::Discard][rng.index(5)];
                    let (first, blocks) = (rng.index(20) as u64, 1 + rng.index(6) as u32);
                    let (first, blocks) = if op == Op::Flush { (0, 0) } else { (first, blocks) };
                    let fua = op.writes() && rng.index(4) == 0;
                    let request = Request { id: next, op, first, blocks, fua };
                    requests.ask(request);
                    asked.insert(next, (request, false));
                    next += 1;
                }
                2 => {
                    requests.sync().unwrap();
                    requests.give(step);
                }
                3 => drop(driver.take(1 + rng.index(4) as u32)),
                4 if !closing && ended < 20 && rng.index(20) == 0 => {
                    ended += 1;
                    requests.end(true);
                    driver.begin(&mut requests);
                }
                _ if !driver.taken.is_empty() => {
                    let at = rng.index(driver.taken.len());
                    driver.complete(at, BlockStatus::Done);
                    requests.check().unwrap();
                    requests.accept();
                }
                _ => {}
            }
            let flying: Vec<_> = requests.given.iter().map(|&id| requests.slots[id as usize]).collect();
            for (at, slot) in flying.iter().enumerate().filter(|(_, slot)| slot.writes()) {
                let later = flying[at + 1..].iter().filter(|other| other.writes());
                assert!(later.clone().all(|other| !other.overlaps(slot)), "seed {seed}, step {step}");
                let flushes = flying.iter().filter(|other| other.request.op == Op::Flush);
                assert_eq!(flushes.count(), 0, "seed {seed}, step {step}");
            }
            for (id, verdict) in answers(&mut requests) {
                let (request, answered) = asked.get_mut(&id).unwrap();
                assert!(!std::mem::replace(answered, true), "seed {seed}: request {id} is answered twice");
                assert_eq!(verdict, Verdict::Done, "seed {seed}: {request:?}");
            }
            let flush = asked.values().filter(|(it, done)| it.op == Op::Flush && *done).map(|(it, _)| it.id).max();
            let before = |it: &Request| it.op.writes() && flush.is_some_and(|flush| it.id < flush);
            assert!(asked.values().all(|(it, done)| *done || !before(it)), "seed {seed}: a flush overtook a write");
            if closing && asked.values().all(|(_, done)| *done) {
                break;
            }
            assert!(step < 5000, "seed {seed}: something is never answered");
        }
        assert!(requests.idle_stamp().is_some());
    }
}
