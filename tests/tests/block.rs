//! The host's side of a disk, with the NVMe driver: what only time or a restart shows, and what becomes of a request
//! that no driver gets done. Wrong completions are tried in runtime/src/block/requests/tests.rs, and in
//! tests/hostile/cases/disks.rs.

use nook_abi::block::BlockFault;
use nook_abi::{ClassFault, Fault};
use nook_block_api::{Op, Outcome};
use nook_bus::{Clock, DmaWindow};
use nook_recovery::{Policy, Supervisor};
use nook_runtime::{Budgets, NookBuilder, NookError};
use nook_tests::{Asker, DiskNook, Isolation, nvme_launcher, nvme_module, until_answered};
use nvme_model::{Behaviour, Disk, Model, ModelConfig};

const BLOCKS: u64 = 1024;
/// For how long a driver may keep a request here: less than it waits before it aborts a command.
const LIMIT_NS: u64 = 20_000_000;

fn disk() -> Disk {
    Disk::in_memory(BLOCKS, 512).unwrap()
}

fn nook(disk: &Disk, behaviour: Behaviour) -> DiskNook {
    let module = nvme_module();
    let window = DmaWindow::new(module.layout().window_bytes).unwrap();
    let model = Model::new(ModelConfig { seed: 1, behaviour }, disk.clone());
    NookBuilder::of(&module, &[&nvme_regs::MAP])
        .in_window(window)
        .budgets(Budgets { transmit_ns: LIMIT_NS, ..Budgets::default() })
        .clock(Clock::new_virtual())
        .block(Box::new(model), nvme_launcher(Isolation::SfiTxn), Asker::default())
        .unwrap()
}

fn fault_of(error: &NookError) -> BlockFault {
    match error {
        NookError::Fault { fault: Fault::Class(ClassFault::Block(fault)), .. } => *fault,
        other => panic!("{other}"),
    }
}

/// Never completes an I/O command.
const STUCK: Behaviour = Behaviour { stuck_one_in: 1, ..Behaviour::calm() };

#[test]
fn fault_request_stuck() {
    let mut nook = nook(&disk(), STUCK);
    nook.start().unwrap();
    let backend = nook.backend_mut();
    for first in 0..3 {
        backend.ask(Op::Read, first, 1, false, Vec::new());
    }
    let late_ns = nook.clock().now_ns() + 1_000_000_000;
    let error = loop {
        let until_ns = nook.clock().now_ns() + 1_000_000;
        match nook.turn(until_ns) {
            Ok(_) => assert!(nook.clock().now_ns() < late_ns),
            Err(error) => break error,
        }
    };
    assert_eq!(fault_of(&error), BlockFault::RequestStuck { requests: 3, limit_ns: LIMIT_NS });
}

#[test]
fn a_disk_that_does_nothing_any_more_is_seen_before_anybody_asks_if_blocks_are_read_meanwhile() {
    let run = |behaviour, probe_ns: Option<u64>| {
        let mut nook = nook(&disk(), behaviour);
        probe_ns.into_iter().for_each(|every_ns| nook.probe(every_ns));
        nook.start().unwrap();
        let late_ns = nook.clock().now_ns() + 1_000_000_000;
        while nook.clock().now_ns() < late_ns {
            let until_ns = nook.clock().now_ns() + 1_000_000;
            if let Err(error) = nook.turn(until_ns) {
                return Err(fault_of(&error));
            }
        }
        assert!(nook.backend_mut().answered.is_empty() && nook.block_counters().reads == 0, "it is nobody's read");
        Ok(nook.counters().irqs)
    };
    assert!(run(STUCK, None).is_ok(), "nobody asked");
    assert_eq!(run(STUCK, Some(100_000_000)), Err(BlockFault::RequestStuck { requests: 1, limit_ns: LIMIT_NS }));
    let (quiet, probed) = (run(Behaviour::calm(), None).unwrap(), run(Behaviour::calm(), Some(100_000_000)).unwrap());
    assert!(probed >= quiet + 8, "{quiet} interrupts, and {probed}");
}

#[test]
fn fault_disk_changed() {
    let disk = disk();
    let mut nook = nook(&disk, Behaviour::calm());
    nook.start().unwrap();
    nook.restart().unwrap();
    disk.shrink(BLOCKS / 2);
    let error = nook.restart().unwrap_err();
    let changed = BlockFault::DiskChanged { field: "blocks", before: BLOCKS, now: BLOCKS / 2 };
    assert_eq!(fault_of(&error), changed);
}

#[test]
fn a_request_that_no_driver_gets_done_is_answered_with_an_error_and_counted() {
    let policy = Policy { restarts: u32::MAX, backoff_first_ns: 0, backoff_most_ns: 0, ..Policy::default() };
    let mut supervisor = Supervisor::new(nook(&disk(), STUCK), policy);
    supervisor.start().unwrap();
    let backend = supervisor.nook_mut().backend_mut();
    let asked = [0, 8].map(|first| backend.ask(Op::Write, first, 1, false, vec![1; 512]));
    let answers = until_answered(&mut supervisor);
    assert!(asked.iter().all(|id| answers[id].0 == Outcome::IoError));
    let counters = supervisor.nook().block_counters();
    assert_eq!((counters.poison, counters.errors, counters.abandoned), (2, 2, 0));
    // Both at first, and then each alone.
    assert_eq!(supervisor.restarts(), 1 + 2);
}

#[test]
fn what_was_taken_is_done_before_the_driver_is_stopped_and_what_was_not_is_not() {
    let disk = Disk::in_memory(BLOCKS, 512).unwrap();
    let mut nook = nook(&disk, Behaviour::adversarial());
    nook.start().unwrap();
    let ask = |nook: &mut DiskNook, first| nook.backend_mut().ask(Op::Write, first, 1, false, vec![7; 512]);
    let taken: Vec<u64> = (0..40).map(|first| ask(&mut nook, first)).collect();
    let until_ns = nook.clock().now_ns() + 1000;
    nook.turn(until_ns).unwrap();
    assert!(nook.open_requests() > 0);
    nook.take_no_more();
    let late = ask(&mut nook, 100);
    while nook.open_requests() > 0 {
        let until_ns = nook.clock().now_ns() + 1_000_000;
        nook.turn(until_ns).unwrap();
    }
    let done: Vec<u64> = nook
        .backend_mut()
        .answered
        .drain(..)
        .map(|(id, outcome, _)| (id, outcome))
        .filter_map(|(id, outcome)| (outcome == Outcome::Done).then_some(id))
        .collect();
    assert_eq!(done.len(), taken.len());
    assert!(!done.contains(&late));
    nook.stop().unwrap();
    assert_eq!((nook.block_counters().errors, nook.requests_with_driver()), (0, 0));
}

#[test]
fn what_is_left_when_there_is_no_driver_any_more_is_answered_with_an_error() {
    let mut nook = nook(&disk(), STUCK);
    nook.start().unwrap();
    let id = nook.backend_mut().ask(Op::Read, 0, 1, false, Vec::new());
    for _ in 0..3 {
        let until_ns = nook.clock().now_ns() + 1_000_000;
        nook.turn(until_ns).unwrap();
    }
    nook.shut().unwrap();
    assert_eq!(until_answered(&mut nook)[&id].0, Outcome::IoError);
    assert_eq!((nook.block_counters().abandoned, nook.requests_with_driver()), (1, 0));
}
