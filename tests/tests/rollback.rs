//! Calls that fault are rolled back, and nothing is lost by it: whichever call it is, and whatever device it is on.

use std::fs;
use std::sync::Arc;

use e1000_model::{Model, ModelConfig};
use nook_abi::Entry;
use nook_bus::DmaWindow;
use nook_recovery::{BundleConfig, Policy, RecoveryOutcome, Supervisor};
use nook_runtime::{
    Bisect, Budgets, CrashWhen, MemoryDump, Mmio, ModuleCache, Net, Nook, RollbackMethod, WasmLauncher, now_ns,
};
use nook_tests::{
    Device, Exchanged, FrameQueues, Isolation, Rig, Supervised, cable, e1000_module, frame, host, qemus, side_by_side,
    wat_driver,
};

const PATIENCE_NS: u64 = 60_000_000_000;
const FRAMES: u32 = 300;
/// How often they are sent both ways until a call has been ended.
const EXCHANGES: u32 = 4;

/// Returns the e1000 driver, whose calls can be ended on request, and be rolled back then.
fn crashing(method: RollbackMethod) -> Arc<WasmLauncher> {
    let module = e1000_module().counting();
    Arc::new(WasmLauncher::with_rollback(&module, &ModuleCache::none(), method.rollback()).unwrap())
}

fn nothing_is_lost_by_a_crash(launcher: &Arc<WasmLauncher>, device: &Device, entry: Entry, call: u64) -> u64 {
    let mut this = Supervised::new(Rig::up_with(device, Box::new(launcher.clone())), Policy::default());
    assert!(this.supervisor.nook_mut().crash(CrashWhen::At(entry, call), call));
    let mut context = String::new();
    // What a call is too short for is left to the next ones, of which there may not be enough in one exchange.
    for _ in 0..EXCHANGES {
        let Exchanged { frames, arrived, received } = this.exchange(FRAMES);
        context = format!("{device:?}, {entry} {call}: {:?}", this.supervisor.recoveries());
        assert!(arrived == frames, "sent otherwise than given: {context}");
        assert!(received == frames, "received otherwise than they came: {context}");
        if this.supervisor.faults() > 0 {
            break;
        }
    }
    assert_eq!(this.supervisor.restarts(), 0, "{context}");
    let rolled_back = |outcome| matches!(outcome, RecoveryOutcome::RolledBack { .. });
    assert!(this.supervisor.recoveries().iter().all(|recovery| rolled_back(recovery.outcome)), "{context}");
    assert_eq!(this.supervisor.rollbacks().count(), this.supervisor.faults());
    this.supervisor.faults()
}

#[test]
fn a_trap_anywhere_in_a_call_costs_no_frame_on_the_model() {
    let launcher = crashing(RollbackMethod::Log);
    let cases: Vec<_> =
        (1..=40).map(|call| (Entry::Poll, call)).chain((1..=10).map(|call| (Entry::Irq, call))).collect();
    let faults = side_by_side(cases, |(entry, call)| {
        let config = ModelConfig { seed: call, ..ModelConfig::default() };
        nothing_is_lost_by_a_crash(&launcher, &Device::Model(config), entry, call)
    });
    let faults: u64 = faults.iter().sum();
    assert!(faults > 20, "only {faults} of 50 calls were ended: are they made at all?");
}

#[test]
fn with_pages_for_private_memory_a_trap_anywhere_in_a_call_costs_no_frame_either() {
    let launcher = crashing(RollbackMethod::Pages);
    let cases: Vec<_> = (1..=15).map(|call| (Entry::Poll, call)).chain([(Entry::Irq, 1), (Entry::Irq, 3)]).collect();
    let faults = side_by_side(cases, |(entry, call)| {
        let config = ModelConfig { seed: call, ..ModelConfig::default() };
        nothing_is_lost_by_a_crash(&launcher, &Device::Model(config), entry, call)
    });
    let faults: u64 = faults.iter().sum();
    assert!(faults > 5, "only {faults} of 17 calls were ended: are they made at all?");
    assert!(nothing_is_lost_by_a_crash(&launcher, &Device::Qemu("e1000"), Entry::Poll, 4) > 0);
}

#[test]
fn a_trap_anywhere_in_a_call_costs_no_frame_on_qemus_card() {
    let card = qemus().next().expect("QEMU has a card of the driver's");
    let launcher = crashing(RollbackMethod::Log);
    let faults: u64 = [1, 4, 9]
        .map(|call| nothing_is_lost_by_a_crash(&launcher, &Device::Qemu(card), Entry::Poll, call))
        .iter()
        .sum();
    assert!(faults > 0);
}

#[test]
fn frames_that_a_driver_had_when_it_ended_are_sent_by_its_successor() {
    let module = Arc::new(e1000_module().counting());
    let launcher = Arc::new(WasmLauncher::new(module, &ModuleCache::none(), Mmio::Emulated).unwrap());
    for call in 1..=3 {
        let rig = Rig::up_with(&Device::Model(ModelConfig::default()), Box::new(launcher.clone()));
        let mut this = Supervised::new(rig, Policy::default());
        assert!(this.supervisor.nook_mut().crash(CrashWhen::At(Entry::Poll, call), call));
        let frames: Vec<_> = (1..=FRAMES).map(|n| frame(n, 60 + n as usize % 1400)).collect();
        this.supervisor.nook_mut().backend_mut().to_send.extend(frames.iter().cloned());
        let mut arrived = Vec::new();
        this.until("all frames arrived", |this| {
            arrived.extend(this.arrived());
            frames.iter().all(|frame| arrived.contains(frame))
        });
        assert_eq!(this.supervisor.restarts(), 1, "call {call}");
    }
}

/// What came of frames that the driver had when it ended.
#[derive(Debug, Default)]
struct Fate {
    /// Arrived more than once, counted each time but the first.
    twice: usize,
    /// Never arrived.
    lost: usize,
    /// What the host says that it gave up.
    given_up: u64,
}

/// Restarts the driver amid frames to be sent, and looks what has become of them at the far end.
fn fate(launcher: &Arc<WasmLauncher>, seed: u64, resubmit: bool) -> Fate {
    let device = Device::Model(ModelConfig { seed, ..ModelConfig::default() });
    let policy = Policy { resubmit, ..Policy::default() };
    let mut this = Supervised::new(Rig::up_with(&device, Box::new(launcher.clone())), policy);
    assert!(this.supervisor.nook_mut().crash(CrashWhen::At(Entry::Poll, 1 + seed % 4), seed));
    let frames: Vec<_> = (1..=FRAMES).map(|n| frame(n, 60 + n as usize % 1400)).collect();
    this.supervisor.nook_mut().backend_mut().to_send.extend(frames.iter().cloned());
    let mut arrived = Vec::new();
    this.until("each frame is reported", |this| {
        arrived.extend(this.arrived());
        let c = this.supervisor.nook().net_counters();
        c.tx_done + c.tx_failed + c.tx_given_up >= u64::from(FRAMES)
    });
    // What was given up may still be on its way.
    let end = now_ns() + 100_000_000;
    this.until("nothing is under way", |this| {
        arrived.extend(this.arrived());
        now_ns() > end
    });
    let counts = frames.iter().map(|frame| arrived.iter().filter(|came| *came == frame).count());
    let given_up = this.supervisor.nook().net_counters().tx_given_up;
    counts.fold(Fate { given_up, ..Fate::default() }, |fate, count| Fate {
        twice: fate.twice + count.saturating_sub(1),
        lost: fate.lost + usize::from(count == 0),
        ..fate
    })
}

#[test]
fn the_policy_says_whether_frames_that_may_have_been_sent_are_sent_again() {
    let module = Arc::new(e1000_module().counting());
    let launcher = Arc::new(WasmLauncher::new(module, &ModuleCache::none(), Mmio::Emulated).unwrap());
    let fates = |resubmit| side_by_side(1..=24, |seed| fate(&launcher, seed, resubmit));
    let (again, never) = (fates(true), fates(false));
    assert!(again.iter().all(|fate| fate.lost == 0), "none is lost: {again:?}");
    assert!(again.iter().any(|fate| fate.twice > 0), "some are sent twice: {again:?}");
    assert!(never.iter().all(|fate| fate.twice == 0), "none is sent twice: {never:?}");
    assert!(never.iter().all(|fate| fate.lost as u64 <= fate.given_up), "what is lost was given up: {never:?}");
    assert!(never.iter().any(|fate| fate.lost > 0), "some are lost: {never:?}");
}

#[test]
fn a_received_frame_that_a_driver_is_to_discard_is_given_up_and_no_other() {
    for device in Device::one_of_each() {
        let mut rig = Rig::up(&device, Isolation::SfiTxn);
        let frames: Vec<_> = (1..=20).map(|n| frame(n, 60 + n as usize * 50)).collect();
        for frame in &frames {
            assert!(rig.far.send(frame).unwrap());
        }
        rig.until("a frame is given up", |rig| {
            // Of a `poll` that comes before the frames, nothing is left to be asked of the next one.
            rig.nook.net_counters().rx_poison == 1 || !rig.nook.class_mut().discard_next()
        });
        rig.until("the others came", |rig| rig.nook.backend().received.len() == frames.len() - 1);
        assert!(rig.nook.backend().received == frames[1..], "the first one, and it alone: {device:?}");
        assert_eq!(rig.nook.net_counters().rx_poison, 1);
    }
}

/// A `poll` without a device, which sends and receives by itself, with a planted bug each way: it traps at a frame of
/// 666 bytes that it is to send, and at the sixth of the ten frames that it receives.
const PLANTED: &str = "(local $entry i32)
    (if (i32.and (local.get $flags) (i32.const 1)) (then
        (local.set $entry (call $take (i32.const 0)))
        (i32.store16 offset=12 (local.get $entry) (i32.const 1))
        (call $put (i32.const 1) (local.get $entry))
        (global.set $received (i32.add (global.get $received) (i32.const 1)))
        (return (i32.const 1))))
    (block $all (loop $next
        (br_if $all (i32.eqz (local.get $budget)))
        (br_if $all (i32.eqz (local.tee $entry (call $take (i32.const 2)))))
        (if (i32.eq (i32.load offset=8 (local.get $entry)) (i32.const 666)) (then (unreachable)))
        (call $put (i32.const 3) (local.get $entry))
        (local.set $budget (i32.sub (local.get $budget) (i32.const 1)))
        (br $next)))
    (if (i32.ge_u (global.get $received) (i32.const 10)) (then (return (i32.const 0))))
    (local.set $entry (call $take (i32.const 0)))
    (global.set $received (i32.add (global.get $received) (i32.const 1)))
    (if (i32.eq (global.get $received) (i32.const 6)) (then (unreachable)))
    (call $put (i32.const 1) (call $received (local.get $entry)))
    (i32.const 1)";

/// Lets the driver with the planted bugs work until all frames but those that end it have passed.
fn planted(bundles: Option<BundleConfig>) -> Supervisor<Net<FrameQueues>> {
    let module = wat_driver(&[("poll", PLANTED)], "(global $received (mut i32) (i32.const 0))");
    let window = DmaWindow::new(module.layout().window_bytes).unwrap();
    let (near, _far) = cable();
    let model = Model::new(ModelConfig::default(), Box::new(near));
    let host = host(Box::new(model), window, &module, Budgets::default());
    let launcher = WasmLauncher::with_rollback(&module, &ModuleCache::none(), Arc::new(RollbackMethod::Log)).unwrap();
    let mut backend = FrameQueues::default();
    let lengths = (0..50).map(|n| if n == 20 || n == 33 { 666 } else { 100 + n });
    backend.to_send.extend(lengths.map(|len| frame(len as u32, len)));
    let mut supervisor = Supervisor::new(Nook::net(host, Box::new(launcher), backend), Policy::default());
    if let Some(bundles) = bundles {
        supervisor.leave_bundles(bundles);
    }
    supervisor.start().unwrap();
    let end = now_ns() + PATIENCE_NS;
    while supervisor.nook().net_counters().tx_done < 48 || supervisor.nook().backend().received.len() < 9 {
        assert!(now_ns() < end, "{:?}, {:?}", supervisor.nook().counters(), supervisor.recoveries());
        supervisor.turn(now_ns() + 1_000_000).unwrap();
        supervisor.finish_bundles();
    }
    supervisor
}

#[test]
fn a_frame_that_ends_the_driver_is_given_up_each_way_and_all_others_pass() {
    let supervisor = planted(None);
    let counters = supervisor.nook().net_counters();
    assert_eq!((counters.tx_poison, counters.rx_poison, counters.tx_failed), (2, 1, 0));
    assert_eq!((supervisor.restarts(), supervisor.nook().backend().received.len()), (0, 9));
}

#[test]
fn calls_that_are_rolled_back_leave_a_bundle_for_each_place_of_a_fault_and_no_more_than_the_policy_says() {
    for (rollbacks, expected) in [(0, 0), (1, 1), (8, 2)] {
        let folder = tempfile::tempdir().unwrap();
        let supervisor = planted(Some(BundleConfig {
            folder: folder.path().to_owned(),
            keep: 100,
            every_ns: 0,
            rollbacks,
            memory: MemoryDump::Private,
            driver_file: "/planted.wasm".into(),
            driver_sha256: [1; 32],
            registers: String::new(),
        }));
        assert!(supervisor.faults() > 5, "each bug is met again and again: {:?}", supervisor.recoveries());
        let mut bundles: Vec<_> = fs::read_dir(folder.path()).unwrap().map(|entry| entry.unwrap().path()).collect();
        bundles.sort();
        assert_eq!(bundles.len(), expected);
        if let Some(first) = bundles.first() {
            let report = fs::read_to_string(first.join("report.json")).unwrap();
            let report: serde_json::Value = serde_json::from_str(&report).unwrap();
            assert_eq!((&report["rolled_back"], &report["so_far"]["faults"]), (&true.into(), &1.into()));
            assert_eq!((&report["fault"]["kind"], &report["so_far"]["restarts"]), (&"Trap".into(), &0.into()));
            // As the driver left everything, not as it was when the call had been rolled back: its call stack is there.
            assert_eq!(report["callers"].as_array().unwrap().len(), 1, "the wrapper is not the author's: {report:#}");
            let calls = fs::read_to_string(first.join("calls.jsonl")).unwrap();
            assert!(calls.lines().last().unwrap().contains("poll"), "{calls}");
        }
    }
}
