//! What an operator can choose of an NVMe controller: how many pairs of queues, and which namespace.

use std::collections::BTreeSet;
use std::path::PathBuf;
use std::sync::{Arc, Mutex};

use nook_block_api::{Op, Outcome};
use nook_bus::{BusAccess, PciDevice, Tracing};
use nook_recovery::{Policy, Supervisor};
use nook_runtime::{CrashWhen, DiskChoice, NookError};
use nook_seed::Rng;
use nook_tests::{DiskNook, Drive, Isolation, Served, chosen_disk_nook, disk_nook, model_nook, until_answered};
use nvme_model::{Behaviour, Disk, Model, ModelConfig, OtherNamespace};

const BLOCK: usize = 512;
/// Units of 8 blocks that the tests write and read.
const UNITS: u64 = 256;
const UNIT_BLOCKS: u64 = 8;
const HARD: Behaviour = Behaviour::adversarial();

fn memory() -> Disk {
    Disk::in_memory(UNITS * UNIT_BLOCKS, BLOCK as u32).unwrap().with_cache(4 << 20)
}

fn image(dir: &tempfile::TempDir) -> PathBuf {
    let path = dir.path().join("disk.img");
    std::fs::File::create(&path).unwrap().set_len(UNITS * UNIT_BLOCKS * BLOCK as u64).unwrap();
    path
}

fn pairs(queue_pairs: u32) -> DiskChoice {
    DiskChoice { number: 0, queue_pairs }
}

fn content(unit: u64, write: u64) -> Vec<u8> {
    let mut rng = Rng::new(unit << 32 | write);
    (0..UNIT_BLOCKS as usize * BLOCK / 8).flat_map(|_| rng.word().to_le_bytes()).collect()
}

/// Writes units in a random order, some twice, reads all and compares; then compares the medium.
fn exercise(served: &mut impl Served, rounds: u64, medium: impl FnOnce() -> Vec<u8>) {
    let mut rng = Rng::new(rounds);
    let mut last = vec![0; UNITS as usize];
    for write in 1..=rounds {
        for unit in 0..UNITS {
            if write == 1 || rng.one_in(2) {
                let data = content(unit, write);
                let fua = rng.one_in(9);
                served.nook().backend_mut().ask(Op::Write, unit * UNIT_BLOCKS, UNIT_BLOCKS as u32, fua, data);
                last[unit as usize] = write;
            }
        }
        let answers = until_answered(served);
        assert!(answers.values().all(|(outcome, _)| *outcome == Outcome::Done));
    }
    let ask = |nook: &mut DiskNook, unit| {
        nook.backend_mut().ask(Op::Read, unit * UNIT_BLOCKS, UNIT_BLOCKS as u32, false, Vec::new())
    };
    let reads: Vec<u64> = (0..UNITS).map(|unit| ask(served.nook(), unit)).collect();
    let answers = until_answered(served);
    for (unit, (id, write)) in (0..).zip(reads.iter().zip(&last)) {
        assert!(answers[id].1 == content(unit, *write), "unit {unit} reads wrong");
    }
    let flush = served.nook().backend_mut().ask(Op::Flush, 0, 0, false, Vec::new());
    assert_eq!(until_answered(served)[&flush].0, Outcome::Done);
    for (unit, got) in (0..).zip(medium().chunks(UNIT_BLOCKS as usize * BLOCK)) {
        assert!(got == content(unit, last[unit as usize]), "unit {unit} is wrong on the medium");
    }
    assert_eq!(served.nook().block_counters().errors, 0);
}

fn on_medium(disk: &Disk) -> Vec<u8> {
    let mut medium = vec![0; (UNITS * UNIT_BLOCKS) as usize * BLOCK];
    disk.read(0, &mut medium).unwrap();
    medium
}

fn exercise_model(seed: u64, behaviour: Behaviour, queue_pairs: u32, isolation: Isolation) {
    let disk = memory();
    let drive = Drive::Model(ModelConfig { seed, behaviour }, &disk);
    let mut nook = chosen_disk_nook(drive, isolation, pairs(queue_pairs));
    nook.start().unwrap();
    exercise(&mut nook, 3, || on_medium(&disk));
    nook.stop().unwrap();
}

#[test]
fn what_is_written_through_several_pairs_of_queues_is_read_whatever_the_controller_grants() {
    // An adversarial one may grant fewer than it is asked for, another number at each start.
    for seed in 0..4 {
        let behaviour = Behaviour { transient_errors_ppm: 20_000, ..HARD };
        exercise_model(seed, behaviour, [2, 4, 3, 64][seed as usize], Isolation::SfiTxn);
    }
    exercise_model(1, Behaviour { messages: false, ..HARD }, 4, Isolation::SfiTxn);
    for isolation in [Isolation::Native, Isolation::Process, Isolation::Sfi] {
        exercise_model(1, Behaviour::calm(), 4, isolation);
    }
}

#[test]
fn commands_of_each_pair_are_aborted_and_made_again_and_a_controller_that_fails_is_reset() {
    for seed in 0..2 {
        exercise_model(seed, Behaviour { stuck_one_in: 60, ..HARD }, 4, Isolation::SfiTxn);
        exercise_model(seed, Behaviour { fatal_one_in: 200, ..HARD }, 4, Isolation::SfiTxn);
    }
}

#[test]
fn each_pair_that_is_granted_has_its_doorbells_and_no_other_is_rung() {
    for (wanted, used) in [(0, 1), (1, 1), (2, 2), (3, 2), (4, 4), (99, 4)] {
        let (disk, rung) = (memory(), Arc::new(Mutex::new(BTreeSet::new())));
        let (seen, config) = (rung.clone(), ModelConfig { seed: 1, behaviour: Behaviour::calm() });
        let device: Box<dyn PciDevice> = Box::new(Model::new(config, disk.clone()));
        let doorbells = u64::from(nvme_regs::SQTDBL.offset())..;
        let device = Tracing::new(device, move |access: BusAccess| {
            if let BusAccess::Write { offset, .. } = access
                && doorbells.contains(&offset.into())
            {
                seen.lock().unwrap().insert((offset - nvme_regs::SQTDBL.offset()) / 4);
            }
        });
        let mut nook = model_nook(Box::new(device), Isolation::SfiTxn, pairs(wanted));
        nook.start().unwrap();
        exercise(&mut nook, 1, || on_medium(&disk));
        // Tail and head of the admin queues, and of each pair.
        assert_eq!(*rung.lock().unwrap(), (0..2 + 2 * used).collect(), "{wanted} were asked for");
    }
}

#[test]
fn qemu_s_controller_has_several_pairs_with_a_message_each() {
    let dir = tempfile::tempdir().unwrap();
    let path = image(&dir);
    let mut nook = chosen_disk_nook(Drive::Qemu(&path, ""), Isolation::SfiTxn, pairs(4));
    nook.start().unwrap();
    // One at a time, each of which is seen by its interrupt: nothing else has the driver look before half a second.
    for first in 0..16 {
        let before = nook.counters().irqs;
        nook.backend_mut().ask(Op::Read, first, 1, false, Vec::new());
        until_answered(&mut nook);
        assert!(nook.counters().irqs > before, "read {first}");
    }
    exercise(&mut nook, 2, || std::fs::read(&path).unwrap());
    nook.stop().unwrap();
    // QEMU has the file to itself.
    drop(nook);
    // A controller with two vectors has one for all pairs.
    let mut nook = chosen_disk_nook(Drive::Qemu(&path, ",msix_qsize=2"), Isolation::Sfi, pairs(4));
    nook.start().unwrap();
    exercise(&mut nook, 1, || std::fs::read(&path).unwrap());
}

#[test]
fn no_request_is_lost_with_several_pairs_when_calls_are_rolled_back_or_drivers_restarted() {
    let at_once = Policy { restarts: u32::MAX, backoff_first_ns: 0, backoff_most_ns: 0, ..Policy::default() };
    for (isolation, policy, every_ns) in [
        (Isolation::SfiTxn, Policy::default(), 20_000),
        (Isolation::Sfi, Policy { rollback: false, ..at_once }, 10_000_000),
    ] {
        let disk = memory();
        let drive = Drive::Model(ModelConfig { seed: 2, behaviour: Behaviour { settle_ns: 20_000, ..HARD } }, &disk);
        let mut supervisor = Supervisor::new(chosen_disk_nook(drive, isolation, pairs(4)), policy);
        supervisor.start().unwrap();
        assert!(supervisor.nook_mut().crash(CrashWhen::Every(every_ns), 7));
        for _ in 0..100 {
            exercise(&mut supervisor, 2, || on_medium(&disk));
            if supervisor.nook().crashes_made() >= 10 {
                break;
            }
        }
        assert!(supervisor.nook().crashes_made() >= 10, "{} crashes", supervisor.nook().crashes_made());
    }
}

/// The disk is number 3. The others: number 1 has metadata, 2 blocks of 8 KiB, 5 protection.
fn model_of_many(disk: &Disk) -> Box<dyn PciDevice> {
    let others = [(1, 9 << 16 | 8, 0), (2, 13 << 16, 0), (5, 9 << 16, 1)];
    let other = |(id, format, protection)| OtherNamespace { id, blocks: 64, format, protection };
    let model = Model::new(ModelConfig { seed: 1, behaviour: HARD }, disk.clone());
    Box::new(model.with_namespaces(3, others.map(other).to_vec()))
}

#[test]
fn the_namespace_that_was_asked_for_is_the_disk() {
    let disk = memory();
    let mut nook = model_nook(model_of_many(&disk), Isolation::SfiTxn, DiskChoice { number: 3, queue_pairs: 1 });
    nook.start().unwrap();
    exercise(&mut nook, 1, || on_medium(&disk));
}

#[test]
fn a_namespace_that_cannot_be_the_disk_is_refused() {
    // What the driver says of each is tested through the command, on QEMU's controller.
    for (number, status) in [
        (0, "Unsupported"),
        (1, "Unsupported"),
        (2, "Unsupported"),
        (5, "Unsupported"),
        (4, "NoDevice"),
        (6, "NoDevice"),
        (8, "NoDevice"),
        (u32::MAX, "NoDevice"),
    ] {
        let choice = DiskChoice { number, queue_pairs: 1 };
        let mut nook = model_nook(model_of_many(&memory()), Isolation::Sfi, choice);
        match nook.start() {
            Err(NookError::Refused { status: said, .. }) => assert_eq!(format!("{said:?}"), status, "number {number}"),
            other => panic!("number {number}: {other:?}"),
        }
    }
}

#[test]
fn without_a_choice_the_first_namespace_is_the_disk() {
    let disk = memory();
    let mut nook = disk_nook(Drive::Model(ModelConfig { seed: 1, behaviour: HARD }, &disk), Isolation::Sfi);
    nook.start().unwrap();
    assert_eq!(nook.disk().unwrap().blocks, UNITS * UNIT_BLOCKS);
}
