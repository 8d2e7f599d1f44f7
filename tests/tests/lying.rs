//! Drivers of a disk with planted bugs, on the embedded disk and on QEMU's: one that computes block numbers wrong and
//! one that acknowledges what it never made are found by `block.verify`, and by nothing in the class without it; one
//! that chokes on one block costs that request and no other.

use std::path::PathBuf;
use std::sync::{Arc, LazyLock};

use nook_abi::block::BlockFault;
use nook_abi::{ClassFault, Fault};
use nook_block_api::{Op, Outcome};
use nook_recovery::{Policy, Supervisor};
use nook_runtime::{Block, CrashWhen, DriverModule, NookError, Wasi};
use nook_tests::{
    Asker, DiskBug, DiskNook, Drive, Isolation, Served, disk_nook_of, driver_file, nvme_launcher, nvme_module,
    until_answered, wasm_launcher, with_disk_bug,
};
use nvme_model::{Behaviour, Disk, ModelConfig};

const BLOCK: usize = 512;
const BLOCKS: u64 = 4096;
/// Each is another block of the same disk with this bit.
const BIT: u64 = 1024;
const AT: u64 = 77;
const SUMS_BYTES: usize = 1 << 20;
const WASM: [Isolation; 2] = [Isolation::Sfi, Isolation::SfiTxn];
const AT_ONCE: Policy = Policy { restarts: u32::MAX, backoff_first_ns: 0, backoff_most_ns: 0, ..Policy::DEFAULT };

fn memory() -> Disk {
    Disk::in_memory(BLOCKS, BLOCK as u32).unwrap().with_cache(1 << 20)
}

fn model(disk: &Disk) -> Drive<'_> {
    Drive::Model(ModelConfig { seed: 3, behaviour: Behaviour::adversarial() }, disk)
}

fn image(dir: &tempfile::TempDir) -> PathBuf {
    let path = dir.path().join("disk.img");
    std::fs::File::create(&path).unwrap().set_len(BLOCKS * BLOCK as u64).unwrap();
    path
}

/// The NVMe driver with a bug.
fn planted(bug: DiskBug) -> Arc<DriverModule> {
    static DRIVER: LazyLock<Vec<u8>> =
        LazyLock::new(|| std::fs::read(driver_file("nvme")).expect("`cargo xtask drivers` made it"));
    Arc::new(DriverModule::from_bytes(&with_disk_bug(&DRIVER, bug), Wasi::Refused).expect("a driver"))
}

fn nook(bug: DiskBug, drive: Drive<'_>, isolation: Isolation, verifies: bool) -> DiskNook {
    let module = planted(bug);
    let mut nook = disk_nook_of(&module, wasm_launcher(&module, isolation), drive, isolation);
    if verifies {
        nook.verify(SUMS_BYTES);
    }
    nook
}

fn supervised(nook: DiskNook) -> Supervisor<Block<Asker>> {
    let mut supervisor = Supervisor::new(nook, AT_ONCE);
    supervisor.start().unwrap();
    supervisor
}

/// Asks for one thing and waits for it.
fn ask(served: &mut impl Served, op: Op, first: u64, blocks: u32, data: Vec<u8>) -> (Outcome, Vec<u8>) {
    let id = served.nook().backend_mut().ask(op, first, blocks, false, data);
    until_answered(served).remove(&id).unwrap()
}

fn write(served: &mut impl Served, first: u64, byte: u8, blocks: u32) {
    assert_eq!(ask(served, Op::Write, first, blocks, vec![byte; blocks as usize * BLOCK]).0, Outcome::Done);
}

fn read(served: &mut impl Served, first: u64, blocks: u32) -> (Outcome, Vec<u8>) {
    ask(served, Op::Read, first, blocks, Vec::new())
}

fn turns_until_fault(nook: &mut DiskNook) -> Fault {
    loop {
        let until_ns = nook.clock().now_ns() + 1_000_000;
        match nook.turn(until_ns) {
            Ok(_) => assert!(nook.backend().open() > 0, "all was answered"),
            Err(NookError::Fault { fault, .. }) => return fault,
            Err(error) => panic!("{error}"),
        }
    }
}

#[test]
fn fault_read_differs() {
    for isolation in WASM {
        let disk = memory();
        let mut nook = nook(DiskBug::LosesBits(BIT), model(&disk), isolation, true);
        nook.start().unwrap();
        write(&mut nook, AT, 1, 1);
        write(&mut nook, AT + BIT, 2, 1);
        nook.backend_mut().ask(Op::Read, AT, 1, false, Vec::new());
        let Fault::Class(ClassFault::Block(BlockFault::ReadDiffers { block, written, read })) =
            turns_until_fault(&mut nook)
        else {
            panic!("another fault")
        };
        assert_eq!((block, written), (AT, crc32c::crc32c(&[1; BLOCK])));
        assert_eq!(read, crc32c::crc32c(&[2; BLOCK]));
    }
}

#[test]
fn a_driver_that_computes_block_numbers_wrong_is_found_with_sums_and_not_without() {
    let dir = tempfile::tempdir().unwrap();
    let path = image(&dir);
    let disk = memory();
    for (drive, isolation) in
        [(model(&disk), Isolation::Sfi), (model(&disk), Isolation::SfiTxn), (Drive::Qemu(&path, ""), Isolation::SfiTxn)]
    {
        for verifies in [false, true] {
            let mut supervisor = supervised(nook(DiskBug::LosesBits(BIT), drive, isolation, verifies));
            write(&mut supervisor, AT, 1, 4);
            write(&mut supervisor, AT + BIT + 2, 2, 4);
            let (outcome, data) = read(&mut supervisor, AT, 4);
            let counters = *supervisor.nook().block_counters();
            if !verifies {
                // Wrong, and nobody noticed.
                assert_eq!((outcome, &data[2 * BLOCK..], supervisor.faults()), (Outcome::Done, &[2; 2 * BLOCK][..], 0));
                assert_eq!((counters.errors, counters.compared_blocks), (0, 0));
                continue;
            }
            // Never handed out, and given again once.
            assert_eq!((outcome, &data[..]), (Outcome::IoError, &[][..]));
            assert_eq!((counters.differing, counters.errors, counters.given_again), (1, 1, 1));
            assert_eq!((supervisor.faults(), supervisor.restarts(), counters.compared_blocks), (1, 1, 8));
            // What a restart does not help is answered at once from then on, and what is right is read.
            assert_eq!(read(&mut supervisor, AT, 4).0, Outcome::IoError);
            assert_eq!(supervisor.restarts(), 1);
            assert_eq!(read(&mut supervisor, AT, 2), (Outcome::Done, vec![1; 2 * BLOCK]));
            // What is written is believed again.
            write(&mut supervisor, AT + 2, 5, 2);
            assert_eq!(read(&mut supervisor, AT, 4).0, Outcome::Done);
            assert_eq!(supervisor.faults(), 1);
        }
    }
}

#[test]
fn a_write_that_was_acknowledged_and_never_made_is_found() {
    let disk = memory();
    for isolation in WASM {
        let mut supervisor = supervised(nook(DiskBug::Skips(AT), model(&disk), isolation, true));
        for block in AT - 1..AT + 2 {
            write(&mut supervisor, block, 9 + isolation as u8, 1);
        }
        for block in AT - 1..AT + 2 {
            let expected = if block == AT { Outcome::IoError } else { Outcome::Done };
            assert_eq!(read(&mut supervisor, block, 1).0, expected);
        }
        assert_eq!((supervisor.restarts(), supervisor.nook().block_counters().differing), (1, 1));
    }
}

#[test]
fn a_driver_that_traps_at_one_block_costs_that_request_and_no_other() {
    let dir = tempfile::tempdir().unwrap();
    let path = image(&dir);
    let disk = memory();
    for (drive, isolation) in
        [(model(&disk), Isolation::Sfi), (model(&disk), Isolation::SfiTxn), (Drive::Qemu(&path, ""), Isolation::SfiTxn)]
    {
        let mut supervisor = supervised(nook(DiskBug::TrapsAt(AT), drive, isolation, false));
        let mut ids = Vec::new();
        for block in AT - 20..AT + 20 {
            ids.push((block, supervisor.nook_mut().backend_mut().ask(Op::Write, block, 1, false, vec![3; BLOCK])));
        }
        let answers = until_answered(&mut supervisor);
        for (block, id) in ids {
            let expected = if block == AT { Outcome::IoError } else { Outcome::Done };
            assert_eq!(answers[&id].0, expected, "block {block}, {isolation:?}");
        }
        let counters = supervisor.nook().block_counters();
        assert_eq!((counters.poison, counters.errors, counters.writes), (1, 1, 39));
        // A call that is rolled back shows which one it is; otherwise it takes two restarts, and two with it alone.
        assert_eq!(supervisor.restarts(), if isolation == Isolation::SfiTxn { 0 } else { 4 });
        write(&mut supervisor, AT + 1, 4, 1);
        assert_eq!(read(&mut supervisor, AT + 1, 1), (Outcome::Done, vec![4; BLOCK]));
    }
}

/// Requests that overlap in every way, with a good driver that is ended again and again: whatever is in flight
/// together, given again or rolled back, no read is held against the driver.
#[test]
fn a_good_driver_is_never_accused() {
    for (seed, isolation) in (0..).zip([Isolation::Sfi, Isolation::SfiTxn, Isolation::SfiTxn]) {
        let disk = memory();
        let module = nvme_module();
        let mut nook = disk_nook_of(&module, nvme_launcher(isolation), model(&disk), isolation);
        // So few that sums are given up, too.
        nook.verify(1 << 10);
        let mut supervisor = supervised(nook);
        let every_ns = if isolation == Isolation::Sfi { 10_000_000 } else { 50_000 };
        assert!(supervisor.nook_mut().crash(CrashWhen::Every(every_ns), seed));
        let mut rng = nook_seed::Rng::new(seed);
        for round in 0..60 {
            for _ in 0..60 {
                let (first, blocks) = (rng.below(4) * 64 * 20 + rng.below(40), 1 + rng.below(24) as u32);
                let op = [Op::Read, Op::Read, Op::Write, Op::WriteZeroes, Op::Discard, Op::Flush][rng.index(6)];
                let data = if op == Op::Write { vec![round as u8; blocks as usize * BLOCK] } else { Vec::new() };
                let (first, blocks) = if op == Op::Flush { (0, 0) } else { (first, blocks) };
                let fua = op == Op::Write && rng.one_in(4);
                supervisor.nook_mut().backend_mut().ask(op, first, blocks, fua, data);
            }
            assert!(until_answered(&mut supervisor).values().all(|(outcome, _)| *outcome == Outcome::Done));
        }
        let counters = supervisor.nook().block_counters();
        assert!(supervisor.faults() > 3, "{} faults", supervisor.faults());
        let accused = supervisor.recoveries().iter().filter(|it| it.fault.contains("was written with the sum")).count();
        assert_eq!((accused, counters.differing, counters.errors), (0, 0, 0));
        assert!(counters.compared_blocks > 300 && counters.sums_given_up > 0, "{counters:?}");
    }
}
