//! A fault that is older than the call that ends in it: the driver is restored from a snapshot, and traffic goes on.

use e1000_model::ModelConfig;
use nook_abi::net::NetFault;
use nook_abi::{Entry, Fault};
use nook_recovery::{Policy, RecoveryOutcome};
use nook_runtime::{
    Class, CrashWhen, DriverModule, Launcher, MemoryDump, ModuleCache, NetImage, RollbackMethod, Settings, Snapshot,
    SnapshotAttempt, Wasi, WasmLauncher, now_ns,
};
use nook_tests::{
    Device, Exchanged, Isolation, Rig, Supervised, corrupted_at, driver_file, e1000_module, frame, side_by_side,
};

const FRAMES: u32 = 300;
/// Calls of `poll` until the planted bug strikes: after the first snapshot.
const POLLS: u32 = 3000;

/// Returns the e1000 driver, which corrupts its memory once.
fn planted(fuse: u32, method: RollbackMethod) -> Box<dyn Launcher> {
    let driver = std::fs::read(driver_file("e1000")).expect("run `cargo xtask drivers`");
    let module = DriverModule::from_bytes(&corrupted_at(&driver, POLLS, fuse), Wasi::Refused).unwrap();
    Box::new(WasmLauncher::with_rollback(&module, &ModuleCache::none(), method.rollback()).unwrap())
}

fn up(device: &Device, fuse: u32, method: RollbackMethod, policy: Policy) -> Supervised {
    let mut this = Supervised::new(Rig::up_with(device, planted(fuse, method)), policy);
    this.until("there is a snapshot", |this| this.supervisor.snapshots() > 0);
    assert!(this.supervisor.nook().counters().polls < POLLS.into(), "the bug has struck already");
    this
}

/// Frames go both ways until something has become of a fault.
fn traffic_until(
    this: &mut Supervised,
    what: &str,
    done: impl Fn(&Supervised) -> bool,
) -> (Vec<Vec<u8>>, Vec<Vec<u8>>) {
    let (mut given, mut arrived) = (Vec::new(), Vec::new());
    this.until(what, |this| {
        if given.len() < arrived.len() + 32 {
            let next = frame(given.len() as u32, 60 + given.len() % 1400);
            this.supervisor.nook_mut().backend_mut().to_send.push_back(next.clone());
            let _ = this.far.send(&next);
            given.push(next);
        }
        arrived.extend(this.arrived());
        done(this)
    });
    this.until("what was given has arrived", |this| {
        arrived.extend(this.arrived());
        given.iter().all(|frame| arrived.contains(frame))
    });
    (given, arrived)
}

/// Everything arrives again, as it was given and once.
fn assert_flows(this: &mut Supervised, context: &str) {
    // A card may hold on to what came while its receiver was off (QEMU's: for a second), and give it all at once then.
    this.supervisor.nook_mut().backend_mut().received.clear();
    let mut next_ns = 0;
    this.until("a frame gets through", |this| {
        if now_ns() >= next_ns {
            next_ns = now_ns() + 20_000_000;
            let _ = this.far.send(&frame(0, 60));
        }
        !std::mem::take(&mut this.supervisor.nook_mut().backend_mut().received).is_empty()
    });
    // Frames keep their order: once this one has come, the card holds on to none, however late it is.
    let last = frame(u32::MAX, 60);
    this.until("the cable takes one more frame", |this| matches!(this.far.send(&last), Ok(true)));
    this.until("it comes", |this| {
        std::mem::take(&mut this.supervisor.nook_mut().backend_mut().received).contains(&last)
    });
    let mut end = now_ns() + 200_000_000;
    this.until("nothing is under way", |this| {
        let late = std::mem::take(&mut this.supervisor.nook_mut().backend_mut().received);
        if !late.is_empty() || !this.arrived().is_empty() {
            end = now_ns() + 200_000_000;
        }
        now_ns() > end
    });
    let Exchanged { frames, arrived, received } = this.exchange(FRAMES);
    assert!(arrived == frames, "sent otherwise than given: {context}");
    assert!(received == frames, "received otherwise than they came: {context}");
}

fn memory_that_was_corrupted_is_restored(device: &Device, method: RollbackMethod) {
    let mut this = up(device, 0, method, Policy::default());
    let (given, arrived) =
        traffic_until(&mut this, "the bug strikes", |this| this.supervisor.snapshot_restores().count() > 0);
    let context = format!("{device:?}: {:?}", this.supervisor.recoveries());
    assert!(arrived.len() <= given.len() + 512, "sent again: what the driver had, and no more: {context}");
    assert_flows(&mut this, &context);
    assert_eq!((this.supervisor.restarts(), this.supervisor.snapshot_restores().count()), (0, 1), "{context}");
    let outcome = this.supervisor.recoveries().last().map(|recovery| recovery.outcome);
    assert!(matches!(outcome, Some(RecoveryOutcome::SnapshotRestored { .. })), "{context}");
    assert_eq!(this.supervisor.nook().backend().links, [true], "the interface's other side noticed nothing");
}

#[test]
fn memory_that_was_corrupted_is_restored_on_the_model() {
    side_by_side(1..=6, |seed| {
        let config = ModelConfig { seed, ..ModelConfig::default() };
        let method = if seed <= 4 { RollbackMethod::Log } else { RollbackMethod::Pages };
        memory_that_was_corrupted_is_restored(&Device::Model(config), method);
    });
}

#[test]
fn memory_that_was_corrupted_is_restored_on_qemus_cards() {
    side_by_side(["e1000", "e1000e"], |card| {
        memory_that_was_corrupted_is_restored(&Device::Qemu(card), RollbackMethod::Log);
    });
}

/// What a snapshot did not mend, no other one does: if nothing has come out of the driver since, it is restarted.
#[test]
fn against_what_stands_still_after_a_restore_no_snapshot_helps() {
    let rig = Rig::up(&Device::Model(ModelConfig::default()), Isolation::SfiTxn);
    let mut this = Supervised::new(rig, Policy { snapshots: 0, ..Policy::default() });
    let faults = [
        NetFault::ReceiveStuck { packets: 8, limit_ns: 1 },
        NetFault::TransmitStuck { packets: 8, limit_ns: 1 },
        NetFault::CountersDisagree { counter: "tx_packets", device: 8, driver: 16, rule: "" },
    ];
    let helps = |this: &Supervised| faults.map(|it| this.supervisor.nook().class().snapshot_helps(&it.into()));
    let sent_are = |this: &mut Supervised, count: u64| {
        this.until("they came back", |this| this.supervisor.nook().net_counters().tx_done >= count);
    };
    this.exchange(8);
    sent_are(&mut this, 8);
    assert_eq!(helps(&this), [true; 3]);
    let mut taken = None;
    this.until("nothing moves", |this| match this.supervisor.nook_mut().try_snapshot().unwrap() {
        SnapshotAttempt::Taken(snapshot) => taken.replace(snapshot).is_none(),
        _ => false,
    });
    this.supervisor.nook_mut().restore(&taken.expect("it was taken")).unwrap();
    assert_eq!(helps(&this), [false; 3], "the device has sent none of the eight since");
    assert_flows(&mut this, "it was restored");
    let sent = 8 + u64::from(FRAMES);
    sent_are(&mut this, sent);
    let more = Fault::from(NetFault::CountersDisagree { counter: "tx_packets", device: sent, driver: sent, rule: "" });
    assert_eq!(helps(&this)[..2], [true; 2]);
    assert!(this.supervisor.nook().class().snapshot_helps(&more));
}

/// Lets the bug strike, and takes a snapshot before it shows.
fn with_a_corrupt_snapshot(keep: u16) -> Supervised {
    let policy = Policy { snapshots: keep, snapshot_every_ns: 0, ..Policy::default() };
    let mut this = up(&Device::Model(ModelConfig::default()), 500, RollbackMethod::Log, policy);
    traffic_until(&mut this, "the bug strikes", |this| this.supervisor.nook().counters().polls > (POLLS + 10).into());
    let before = this.supervisor.nook().counters().snapshots;
    this.until("there is a snapshot with it", |this| this.supervisor.nook().counters().snapshots > before);
    assert_eq!(this.supervisor.faults(), 0);
    this
}

#[test]
fn a_snapshot_that_is_corrupt_too_is_passed_over() {
    let mut this = with_a_corrupt_snapshot(100);
    traffic_until(&mut this, "it is restored for good", |this| {
        this.supervisor.nook().counters().polls > (3 * POLLS).into()
    });
    let recoveries = format!("{:?}", this.supervisor.recoveries());
    assert!(this.supervisor.snapshot_restores().count() > 1, "{recoveries}");
    assert_eq!(this.supervisor.restarts(), 0, "{recoveries}");
    assert_flows(&mut this, &recoveries);
}

#[test]
fn when_no_older_snapshot_is_left_the_driver_is_restarted() {
    let mut this = with_a_corrupt_snapshot(1);
    traffic_until(&mut this, "it is restarted", |this| this.supervisor.restarts() > 0);
    let recoveries = format!("{:?}", this.supervisor.recoveries());
    assert_eq!((this.supervisor.restarts(), this.supervisor.snapshot_restores().count()), (1, 1), "{recoveries}");
    assert_flows(&mut this, &recoveries);
}

#[test]
fn a_policy_without_snapshots_restarts() {
    let device = Device::Model(ModelConfig::default());
    let policy = Policy { snapshots: 0, ..Policy::default() };
    let mut this = Supervised::new(Rig::up_with(&device, planted(0, RollbackMethod::Log)), policy);
    traffic_until(&mut this, "it is restarted", |this| this.supervisor.restarts() > 0);
    assert_eq!((this.supervisor.snapshot_restores().count(), this.supervisor.snapshots()), (0, 0));
}

/// Returns a nook that does nothing, and what it is then.
fn at_rest(rig: &mut Rig) -> Box<Snapshot<NetImage>> {
    let mut taken = None;
    rig.until("nothing moves", |rig| match rig.nook.try_snapshot().unwrap() {
        SnapshotAttempt::Taken(snapshot) => {
            taken = Some(snapshot);
            true
        }
        SnapshotAttempt::Unsupported => panic!("this driver can be restored"),
        _ => false,
    });
    taken.unwrap()
}

#[test]
fn private_memory_is_byte_for_byte_what_it_was() {
    let mut rig = Rig::up(&Device::Model(ModelConfig::default()), Isolation::SfiTxn);
    rig.nook.dump_memory_on_fault(MemoryDump::Private);
    for round in 0..5 {
        let snapshot = at_rest(&mut rig);
        let before = rig.nook.take_crash_state().memory;
        rig.nook.backend_mut().to_send.extend((0..40 + round).map(|n| frame(n, 60)));
        (0..20).for_each(|n| assert!(rig.far.send(&frame(n, 100)).unwrap()));
        rig.settle();
        assert!(rig.nook.take_crash_state().memory != before, "frames leave traces");
        rig.nook.restore(&snapshot).unwrap();
        assert!(rig.nook.take_crash_state().memory == before, "round {round}");
        rig.settle();
    }
}

#[test]
fn a_snapshot_is_of_one_instance_and_of_one_setting() {
    let mut rig = Rig::up(&Device::Model(ModelConfig::default()), Isolation::SfiTxn);
    let snapshot = at_rest(&mut rig);
    assert!(rig.nook.fits(&snapshot));
    rig.nook.set(Settings { promiscuous: true, ..Settings::default() }).unwrap();
    assert!(!rig.nook.fits(&snapshot) && rig.nook.restore(&snapshot).is_err());
    rig.nook.set(Settings::default()).unwrap();
    assert!(rig.nook.fits(&snapshot));
    rig.nook.restart().unwrap();
    assert!(!rig.nook.fits(&snapshot) && rig.nook.restore(&snapshot).is_err());
}

#[test]
fn under_load_none_is_taken_and_without_transactions_none_ever() {
    let device = Device::Model(ModelConfig::default());
    let mut rig = Rig::up(&device, Isolation::SfiTxn);
    for n in 0..2000 {
        rig.nook.backend_mut().to_send.push_back(frame(n, 60));
        rig.turn().unwrap();
        let look = rig.nook.try_snapshot().unwrap();
        assert!(!matches!(look, SnapshotAttempt::Taken(_)), "frames are under way all the time");
    }
    let mut rig = Rig::up(&device, Isolation::Sfi);
    rig.settle();
    assert!(matches!(rig.nook.try_snapshot().unwrap(), SnapshotAttempt::Unsupported));
}

/// Returns the e1000 driver, made so that its calls can be ended on request, before its start.
fn ends_on_request(device: &Device, policy: Policy) -> Supervised {
    let launcher =
        WasmLauncher::with_rollback(&e1000_module().counting(), &ModuleCache::none(), RollbackMethod::Log.rollback());
    Supervised::new(Rig::with(device, Box::new(launcher.unwrap())), policy)
}

/// Nothing is rolled back, and each fault is a separate one.
const RESTORES_ONLY: Policy = Policy { rollback: false, window_ns: 0, ..Policy::DEFAULT };

#[test]
fn a_driver_that_never_rests_between_two_crashes_is_restored_each_time() {
    side_by_side(1..=4, |seed| {
        let device = Device::Model(ModelConfig { seed, ..ModelConfig::default() });
        let mut this = ends_on_request(&device, RESTORES_ONLY);
        this.supervisor.start().unwrap();
        this.until("the link is up", |this| this.supervisor.nook().backend().links == [true]);
        assert!(this.supervisor.nook_mut().crash(CrashWhen::Every(50_000_000), seed));
        let (mut given, mut arrived) = (0, 0);
        this.until("it crashes", |this| {
            if given < arrived + 32 {
                this.supervisor.nook_mut().backend_mut().to_send.push_back(frame(given, 60));
                let _ = this.far.send(&frame(given, 60));
                given += 1;
            }
            arrived += this.arrived().len() as u32;
            this.supervisor.faults() >= 20
        });
        let recoveries = format!("{:?}", this.supervisor.recoveries());
        assert!(this.supervisor.nook_mut().crash(CrashWhen::At(Entry::Probe, u64::MAX), seed), "no more");
        assert_eq!(this.supervisor.restarts(), 0, "{recoveries}");
        assert_eq!(this.supervisor.snapshot_restores().count(), this.supervisor.faults(), "{recoveries}");
        assert_flows(&mut this, &recoveries);
        assert_eq!(this.supervisor.nook().backend().links, [true], "the interface's other side noticed nothing");
    });
}

#[test]
fn a_driver_whose_open_faults_has_a_snapshot_once_it_came_up() {
    let device = Device::Model(ModelConfig::default());
    let mut this = ends_on_request(&device, RESTORES_ONLY);
    assert!(this.supervisor.nook_mut().crash(CrashWhen::At(Entry::Open, 1), 3));
    this.supervisor.start().unwrap();
    assert_eq!((this.supervisor.faults(), this.supervisor.snapshots()), (1, 0));
    this.until("it is restarted", |this| this.supervisor.restarts() > 0);
    assert_eq!((this.supervisor.faults(), this.supervisor.snapshots()), (1, 1), "nothing has moved yet");
    assert!(this.supervisor.nook_mut().crash(CrashWhen::At(Entry::Poll, 1), 3));
    let recoveries = |this: &Supervised| format!("{:?}", this.supervisor.recoveries());
    this.until("it crashes again", |this| this.supervisor.faults() == 2);
    assert_eq!(
        (this.supervisor.restarts(), this.supervisor.snapshot_restores().count()),
        (1, 1),
        "{}",
        recoveries(&this)
    );
    let context = recoveries(&this);
    assert_flows(&mut this, &context);
}

#[test]
fn a_driver_that_faults_in_each_open_ends_in_quarantine_without_a_snapshot() {
    let module = nook_tests::wat_driver(&[("open", "(unreachable)")], "");
    let launcher = WasmLauncher::with_rollback(&module, &ModuleCache::none(), RollbackMethod::Log.rollback()).unwrap();
    let policy = Policy { restarts: 3, ..Policy::default() };
    let rig = Rig::with(&Device::Model(ModelConfig::default()), Box::new(launcher));
    let mut this = Supervised::new(rig, policy);
    this.supervisor.start().unwrap();
    let quarantine = loop {
        assert_eq!(this.supervisor.snapshots(), 0);
        if let Err(quarantine) = this.supervisor.turn(now_ns() + 1_000_000) {
            break quarantine;
        }
    };
    assert_eq!((quarantine.restarts, this.supervisor.snapshot_restores().count()), (3, 0));
}

fn before_traffic(rig: &mut Rig) -> Box<Snapshot<NetImage>> {
    match rig.nook.snapshot_before_traffic().unwrap() {
        SnapshotAttempt::Taken(snapshot) => snapshot,
        SnapshotAttempt::Unsupported => panic!("this driver can be restored"),
        SnapshotAttempt::Busy | SnapshotAttempt::QuietUntil(_) => panic!("nothing has moved yet"),
    }
}

fn a_snapshot_from_before_the_link_came_up_keeps_the_carrier(device: &Device) {
    let mut rig = Rig::with(device, Isolation::SfiTxn.launcher());
    rig.nook.start().unwrap();
    let snapshot = before_traffic(&mut rig);
    let link = |rig: &Rig| rig.nook.interface().unwrap().link.up;
    assert!(!link(&rig), "{device:?}: it is still negotiated");
    rig.until("the link is up", |rig| rig.nook.backend().links == [true]);
    let mut this = Supervised::new(rig, Policy { snapshots: 0, ..Policy::default() });
    assert_flows(&mut this, "before it is restored");
    this.supervisor.nook_mut().restore(&snapshot).unwrap();
    let up = |this: &Supervised| this.supervisor.nook().interface().unwrap().link.up;
    assert!(!up(&this), "it has to find its link again");
    this.until("the link is found again", |this| up(this));
    assert_flows(&mut this, &format!("{device:?}"));
    assert_eq!(this.supervisor.nook().backend().links, [true], "the interface's other side noticed nothing");
}

#[test]
fn a_snapshot_from_before_the_link_came_up_keeps_the_carrier_on_the_model_and_on_qemus_card() {
    let model = Device::Model(ModelConfig::default());
    side_by_side([model, Device::Qemu("e1000")], |device| {
        a_snapshot_from_before_the_link_came_up_keeps_the_carrier(&device);
    });
}

#[test]
fn once_the_link_is_up_there_is_a_snapshot_with_it_before_the_first_frame() {
    let mut this = ends_on_request(&Device::Model(ModelConfig::default()), RESTORES_ONLY);
    this.supervisor.start().unwrap();
    this.supervisor.nook_mut().backend_mut().to_send.extend((0..20).map(|n| frame(n, 60)));
    assert_eq!(this.supervisor.nook().counters().snapshots, 1);
    this.until("the link is up", |this| this.supervisor.nook().backend().links == [true]);
    this.until("a frame is sent", |this| this.supervisor.nook().net_counters().tx_packets > 0);
    let taken = this.supervisor.nook().counters().snapshots;
    assert!(taken > 1, "one without link, and one with it");
    assert!(this.supervisor.nook_mut().crash(CrashWhen::At(Entry::Poll, 1), 3));
    this.until("it crashes", |this| {
        this.supervisor.nook_mut().backend_mut().to_send.push_back(frame(20, 60));
        this.supervisor.faults() == 1
    });
    assert!(this.supervisor.nook().interface().unwrap().link.up, "the one with it is restored");
    assert_eq!(this.supervisor.snapshot_restores().count(), 1);
}

#[test]
fn when_frames_have_moved_a_snapshot_needs_a_rest_first() {
    let mut rig = Rig::up(&Device::Model(ModelConfig::default()), Isolation::SfiTxn);
    before_traffic(&mut rig);
    (0..3).for_each(|n| assert!(rig.far.send(&frame(n, 100)).unwrap()));
    rig.until("they have come", |rig| rig.nook.net_counters().rx_packets == 3);
    assert!(matches!(rig.nook.snapshot_before_traffic().unwrap(), SnapshotAttempt::Busy), "they may have left traces");
    at_rest(&mut rig);
    let mut rig = Rig::with(&Device::Model(ModelConfig::default()), Isolation::Sfi.launcher());
    rig.nook.start().unwrap();
    assert!(matches!(rig.nook.snapshot_before_traffic().unwrap(), SnapshotAttempt::Unsupported));
}
