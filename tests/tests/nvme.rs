//! The NVMe driver on the embedded disk and on QEMU's, at each level: what is read is what was written, whatever the
//! controller does.

use std::collections::{HashMap, HashSet};
use std::path::{Path, PathBuf};

use nook_abi::block::disk_flags;
use nook_block_api::{Geometry, Op, Outcome};
use nook_recovery::{Policy, Supervisor};
use nook_runtime::{Block, CrashWhen};
use nook_seed::Rng;
use nook_tests::{Asker, DiskNook, Drive, Isolation, Served, disk_nook, until_answered};
use nvme_model::{Behaviour, Disk, ModelConfig};

const BLOCK: usize = 512;
const BLOCKS: u64 = 8192;
const HARD: Behaviour = Behaviour::adversarial();

/// A file of zeros that is a disk.
fn image(dir: &tempfile::TempDir) -> PathBuf {
    let path = dir.path().join("disk.img");
    std::fs::File::create(&path).unwrap().set_len(BLOCKS * BLOCK as u64).unwrap();
    path
}

fn memory() -> Disk {
    Disk::in_memory(BLOCKS, BLOCK as u32).unwrap().with_cache(16 << 20)
}

fn model(seed: u64, behaviour: Behaviour) -> ModelConfig {
    ModelConfig { seed, behaviour }
}

fn started(drive: Drive<'_>, isolation: Isolation) -> DiskNook {
    let mut nook = disk_nook(drive, isolation);
    nook.start().unwrap_or_else(|error| panic!("{isolation:?}: {error}"));
    nook
}

/// Content of a block that says which block it is and which write it comes from.
fn content(block: u64, write: u64) -> Vec<u8> {
    let mut rng = Rng::new(block << 32 | write);
    (0..BLOCK / 8).flat_map(|_| rng.word().to_le_bytes()).collect()
}

/// What a disk has to hold, by the writes that were acknowledged.
struct Expected {
    rng: Rng,
    /// The write that each block holds; 0 is zeros.
    writes: HashMap<u64, u64>,
    next: u64,
}

impl Expected {
    fn new(seed: u64) -> Self {
        Expected { rng: Rng::new(seed), writes: HashMap::new(), next: 1 }
    }

    fn block(&self, block: u64) -> Vec<u8> {
        match self.writes.get(&block) {
            None | Some(0) => vec![0; BLOCK],
            Some(write) => content(block, *write),
        }
    }

    /// Asks for `count` requests of each kind that do not overlap, and checks what is answered.
    fn round(&mut self, served: &mut impl Served, count: usize) {
        let nook = served.nook();
        let (most, mut used) = (u64::from(nook.backend().geometry.max_blocks), HashSet::new());
        let mut asked = HashMap::new();
        while asked.len() < count {
            let long = if self.rng.one_in(4) { most } else { 16 };
            let (first, blocks) = (self.rng.below(BLOCKS - long), 1 + self.rng.below(long));
            if (first..first + blocks).any(|block| used.contains(&block)) {
                continue;
            }
            used.extend(first..first + blocks);
            let op = match self.rng.below(12) {
                0 => Op::Flush,
                1 => Op::WriteZeroes,
                2..6 => Op::Read,
                _ => Op::Write,
            };
            let (write, fua) = (self.next, op == Op::Write && self.rng.one_in(8));
            self.next += 1;
            let data = if op == Op::Write {
                (first..first + blocks).flat_map(|b| content(b, write)).collect()
            } else {
                Vec::new()
            };
            let (at, len) = if op == Op::Flush { (0, 0) } else { (first, blocks as u32) };
            asked.insert(nook.backend_mut().ask(op, at, len, fua, data), (op, first, blocks, write));
        }
        let answers = until_answered(served);
        for (id, (op, first, blocks, write)) in asked {
            let (outcome, data) = &answers[&id];
            let counters = served.nook().block_counters();
            assert_eq!(*outcome, Outcome::Done, "{op:?} of {blocks} at {first}: {counters:?}");
            match op {
                Op::Read => {
                    for (at, got) in data.chunks(BLOCK).enumerate() {
                        assert!(got == self.block(first + at as u64), "block {} read wrong", first + at as u64);
                    }
                }
                Op::Write => (first..first + blocks).for_each(|block| _ = self.writes.insert(block, write)),
                Op::WriteZeroes => (first..first + blocks).for_each(|block| _ = self.writes.insert(block, 0)),
                _ => {}
            }
        }
    }

    /// Compares with what is on the medium.
    fn compare(&self, medium: &[u8]) {
        for (block, got) in medium.chunks(BLOCK).enumerate() {
            assert!(got == self.block(block as u64), "block {block} is wrong on the medium");
        }
    }
}

fn on_medium(disk: &Disk) -> Vec<u8> {
    let mut medium = vec![0; BLOCKS as usize * BLOCK];
    disk.read(0, &mut medium).unwrap();
    medium
}

/// Mixed requests, then the medium compared; what is stopped in order has all of it, even if power is cut then.
fn exercise_model(seed: u64, behaviour: Behaviour, isolation: Isolation, rounds: usize) -> DiskNook {
    let disk = memory();
    let mut nook = started(Drive::Model(model(seed, behaviour), &disk), isolation);
    let mut expected = Expected::new(seed);
    for _ in 0..rounds {
        expected.round(&mut nook, 40);
    }
    expected.compare(&on_medium(&disk));
    nook.stop().unwrap();
    disk.cut_power(seed).unwrap();
    expected.compare(&on_medium(&disk));
    nook
}

fn exercise_qemu(path: &Path, options: &str, isolation: Isolation, rounds: usize) -> DiskNook {
    let mut nook = started(Drive::Qemu(path, options), isolation);
    let mut expected = Expected::new(5);
    for _ in 0..rounds {
        expected.round(&mut nook, 40);
    }
    nook.stop().unwrap();
    expected.compare(&std::fs::read(path).unwrap());
    nook
}

#[test]
fn what_is_written_is_read_at_each_level_on_a_calm_disk() {
    for isolation in Isolation::all() {
        exercise_model(1, Behaviour::calm(), *isolation, 3);
    }
}

#[test]
fn what_is_written_is_read_whatever_the_controller_makes_of_the_specification() {
    for seed in 0..6 {
        exercise_model(seed, Behaviour { transient_errors_ppm: 20_000, ..HARD }, Isolation::SfiTxn, 6);
    }
    exercise_model(9, HARD, Isolation::Native, 6);
}

#[test]
fn a_controller_with_nothing_but_a_line_is_driven_too() {
    exercise_model(3, Behaviour { messages: false, ..HARD }, Isolation::SfiTxn, 4);
}

#[test]
fn what_is_written_is_in_the_file_behind_qemu_s_controller() {
    for isolation in Isolation::all() {
        let dir = tempfile::tempdir().unwrap();
        exercise_qemu(&image(&dir), "", *isolation, 2);
    }
}

#[test]
fn commands_that_are_never_completed_are_aborted_and_made_again_or_the_controller_is_reset() {
    for seed in 0..3 {
        let disk = memory();
        let behaviour = Behaviour { stuck_one_in: 40, ..HARD };
        let mut nook = started(Drive::Model(model(seed, behaviour), &disk), Isolation::SfiTxn);
        let mut expected = Expected::new(seed);
        (0..4).for_each(|_| expected.round(&mut nook, 40));
        expected.compare(&on_medium(&disk));
        assert_eq!(nook.block_counters().errors, 0);
    }
}

#[test]
fn a_controller_that_fails_is_reset_and_every_request_is_made_again() {
    for (seed, isolation) in (0..).zip([Isolation::SfiTxn, Isolation::Native]) {
        let disk = memory();
        let behaviour = Behaviour { fatal_one_in: 60, ..HARD };
        let mut nook = started(Drive::Model(model(seed, behaviour), &disk), isolation);
        let mut expected = Expected::new(seed);
        (0..4).for_each(|_| expected.round(&mut nook, 40));
        expected.compare(&on_medium(&disk));
        assert_eq!(nook.block_counters().errors, 0);
    }
}

/// Ends the driver's calls again and again under load, and compares what is acknowledged with what is there.
fn crashed(nook: DiskNook, every_ns: u64, policy: Policy, crashes: u64) -> Supervisor<Block<Asker>> {
    let mut supervisor = Supervisor::new(nook, policy);
    supervisor.start().unwrap();
    assert!(supervisor.nook_mut().crash(CrashWhen::Every(every_ns), 7));
    let mut expected = Expected::new(1);
    for round in 0.. {
        if supervisor.nook().crashes_made() >= crashes {
            break;
        }
        assert!(round < 1000, "{} crashes in {round} rounds", supervisor.nook().crashes_made());
        expected.round(&mut supervisor, 40);
    }
    let mut medium = Vec::new();
    // Read through another life of the driver than those that wrote.
    for first in (0..BLOCKS).step_by(128) {
        let id = supervisor.nook_mut().backend_mut().ask(Op::Read, first, 128, false, Vec::new());
        medium.extend_from_slice(&until_answered(&mut supervisor)[&id].1);
    }
    expected.compare(&medium);
    assert_eq!(supervisor.nook().block_counters().errors, 0);
    supervisor
}

#[test]
fn calls_that_are_rolled_back_lose_no_request() {
    let disk = memory();
    let nook = disk_nook(Drive::Model(model(1, HARD), &disk), Isolation::SfiTxn);
    let supervisor = crashed(nook, 20_000, Policy::default(), 100);
    assert_eq!(supervisor.restarts(), 0);
    let dir = tempfile::tempdir().unwrap();
    let path = image(&dir);
    crashed(disk_nook(Drive::Qemu(&path, ""), Isolation::SfiTxn), 5_000_000, Policy::default(), 20);
}

#[test]
fn drivers_that_are_restarted_lose_no_request() {
    let at_once = Policy { restarts: u32::MAX, backoff_first_ns: 0, backoff_most_ns: 0, ..Policy::default() };
    let policy = || Policy { rollback: false, ..at_once };
    let disk = memory();
    // A start is over long before the next end: a request at which drivers end twice in a row is given up.
    let nook = disk_nook(Drive::Model(model(2, Behaviour { settle_ns: 20_000, ..HARD }), &disk), Isolation::Sfi);
    let supervisor = crashed(nook, 10_000_000, policy(), 10);
    assert!(supervisor.restarts() >= 10, "{} restarts", supervisor.restarts());
    let dir = tempfile::tempdir().unwrap();
    let path = image(&dir);
    crashed(disk_nook(Drive::Qemu(&path, ""), Isolation::Sfi), 500_000_000, policy(), 3);
}

#[test]
fn completions_interrupt_by_message_on_both() {
    let (disk, dir) = (memory(), tempfile::tempdir().unwrap());
    let path = image(&dir);
    for drive in [Drive::Model(model(1, Behaviour::calm()), &disk), Drive::Qemu(&path, "")] {
        let mut nook = started(drive, Isolation::SfiTxn);
        // One at a time, each of which is seen by its interrupt: nothing else has the driver look before half a second.
        for first in 0..20 {
            let before = nook.counters().irqs;
            nook.backend_mut().ask(Op::Read, first, 1, false, Vec::new());
            until_answered(&mut nook);
            assert!(nook.counters().irqs > before, "read {first}");
        }
    }
}

#[test]
fn qemu_s_controller_is_not_trusted_with_fua_and_the_embedded_one_is() {
    let (disk, dir) = (memory(), tempfile::tempdir().unwrap());
    let path = image(&dir);
    let flags = |drive: Drive<'_>| started(drive, Isolation::Sfi).disk().unwrap().flags;
    let cached = disk_flags::VOLATILE_CACHE | disk_flags::DISCARD | disk_flags::WRITE_ZEROES;
    assert_eq!(flags(Drive::Qemu(&path, "")), cached);
    assert_eq!(flags(Drive::Model(model(1, HARD), &disk)), cached | disk_flags::FUA);
    let uncached = Disk::in_memory(BLOCKS, BLOCK as u32).unwrap();
    assert_eq!(flags(Drive::Model(model(1, HARD), &uncached)), disk_flags::DISCARD | disk_flags::WRITE_ZEROES);
}

#[test]
fn the_disk_is_what_the_controller_says() {
    let (disk, dir) = (memory(), tempfile::tempdir().unwrap());
    let path = image(&dir);
    let nook = started(Drive::Model(model(7, HARD), &disk), Isolation::Sfi);
    let Geometry { block_bytes, blocks, max_blocks, serial, .. } = &nook.backend().geometry;
    assert_eq!((*block_bytes, *blocks, *max_blocks, &**serial), (512, BLOCKS, 256, "nook-model-7"));
    // MDTS 2 is 16 KiB.
    let nook = started(
        Drive::Qemu(&path, ",serial=abc 1,mdts=2,logical_block_size=4096,physical_block_size=4096"),
        Isolation::Sfi,
    );
    let Geometry { block_bytes, blocks, max_blocks, serial, .. } = &nook.backend().geometry;
    assert_eq!((*block_bytes, *blocks, *max_blocks, &**serial), (4096, BLOCKS / 8, 4, "abc 1"));
}

#[test]
fn blocks_that_went_away_answer_with_an_error_and_the_others_go_on() {
    let disk = memory();
    let mut nook = started(Drive::Model(model(1, HARD), &disk), Isolation::SfiTxn);
    disk.shrink(BLOCKS / 2);
    let ask = |nook: &mut DiskNook, first| nook.backend_mut().ask(Op::Read, first, 8, false, Vec::new());
    let (gone, there) = (ask(&mut nook, BLOCKS - 8), ask(&mut nook, 0));
    let answers = until_answered(&mut nook);
    assert_eq!((answers[&gone].0, answers[&there].0), (Outcome::IoError, Outcome::Done));
    assert_eq!((nook.block_counters().device_errors, nook.block_counters().poison), (1, 0));
}

#[test]
fn a_discard_is_done_and_what_it_gave_up_reads_as_zeros_where_the_controller_says_so() {
    let (disk, dir) = (memory(), tempfile::tempdir().unwrap());
    let path = image(&dir);
    disk.write(0, &[7; 64 * BLOCK], true).unwrap();
    for drive in [Drive::Model(model(1, HARD), &disk), Drive::Qemu(&path, "")] {
        let mut nook = started(drive, Isolation::SfiTxn);
        let id = nook.backend_mut().ask(Op::Discard, 8, 16, false, Vec::new());
        assert_eq!(until_answered(&mut nook)[&id].0, Outcome::Done);
    }
    let mut medium = [0; 64 * BLOCK];
    disk.read(0, &mut medium).unwrap();
    for (block, bytes) in medium.chunks(BLOCK).enumerate() {
        assert_eq!(bytes[0], if (8..24).contains(&block) { 0 } else { 7 }, "block {block}");
    }
}
