//! Calls that fault are taken back, and nothing is lost by it: whichever call it is, and whatever device it is on.

use std::sync::Arc;

use e1000_model::{Model, ModelConfig};
use nook_abi::Entry;
use nook_bus::{DmaWindow, Wire};
use nook_recovery::{Outcome, Policy, Supervisor, UndoLogging};
use nook_runtime::{Budgets, CrashWhen, DriverModule, Host, HostConfig, ModuleCache, Nook, Wasi, WasmLauncher, now_ns};
use nook_tests::{Device, FrameQueues, Isolation, Rig, cable, frame};
use rayon::prelude::*;

const PATIENCE_NS: u64 = 60_000_000_000;
const FRAMES: u32 = 300;

type Frames = Vec<Vec<u8>>;

/// A driver that runs and has a link, under supervision, and the far end of its cable.
struct Supervised {
    supervisor: Supervisor<FrameQueues>,
    far: Box<dyn Wire>,
}

impl Supervised {
    fn up(device: &Device, isolation: Isolation) -> Supervised {
        let Rig { nook, far } = Rig::up(device, isolation);
        Supervised { supervisor: Supervisor::new(nook, Policy::default()), far }
    }

    fn until(&mut self, what: &str, mut done: impl FnMut(&mut Supervised) -> bool) {
        let end = now_ns() + PATIENCE_NS;
        while !done(self) {
            let counters = self.supervisor.nook().counters();
            assert!(now_ns() < end, "{what} did not happen; {:?}, {counters:?}", self.supervisor.recoveries());
            self.supervisor.turn(now_ns() + 1_000_000).unwrap();
        }
    }

    /// Numbered frames both ways: as they were given, as the far end saw them, and as the interface did.
    fn exchange(&mut self) -> (Frames, Frames, Frames) {
        let frames: Vec<_> = (1..=FRAMES).map(|n| frame(n, 60 + n as usize % 1400)).collect();
        self.supervisor.nook_mut().uplink_mut().to_send.extend(frames.iter().cloned());
        let (mut sent, mut arrived, mut buffer) = (0, Vec::new(), vec![0; 65536]);
        self.until("all frames arrived", |this| {
            let received = this.supervisor.nook().uplink().received.len();
            // No more under way than the device can hold.
            while sent < frames.len() && sent < received + 32 {
                assert!(this.far.send(&frames[sent]).unwrap());
                sent += 1;
            }
            while let Ok(Some(len)) = this.far.recv(&mut buffer) {
                arrived.push(buffer[..len].to_vec());
            }
            arrived.len() >= frames.len() && received >= frames.len()
        });
        (frames, arrived, std::mem::take(&mut self.supervisor.nook_mut().uplink_mut().received))
    }
}

fn nothing_is_lost_by_a_crash(device: &Device, entry: Entry, call: u64) -> u64 {
    let mut this = Supervised::up(device, Isolation::SfiTxn);
    this.supervisor.nook_mut().crash(CrashWhen::At(entry, call), call);
    let (frames, arrived, received) = this.exchange();
    let context = format!("{device:?}, {entry} {call}: {:?}", this.supervisor.recoveries());
    assert!(arrived == frames, "sent otherwise than given: {context}");
    assert!(received == frames, "received otherwise than they came: {context}");
    assert_eq!(this.supervisor.restarts(), 0, "{context}");
    let taken_back = |outcome| matches!(outcome, Outcome::TakenBack { .. });
    assert!(this.supervisor.recoveries().iter().all(|recovery| taken_back(recovery.outcome)), "{context}");
    assert_eq!(this.supervisor.rollbacks().count(), this.supervisor.faults());
    this.supervisor.faults()
}

#[test]
fn a_trap_anywhere_in_a_call_costs_no_frame_on_the_model() {
    let cases: Vec<_> =
        (1..=40).map(|call| (Entry::Poll, call)).chain((1..=10).map(|call| (Entry::Irq, call))).collect();
    let faults: u64 = cases
        .into_par_iter()
        .map(|(entry, call)| {
            let config = ModelConfig { seed: call, ..ModelConfig::default() };
            nothing_is_lost_by_a_crash(&Device::Model(config), entry, call)
        })
        .sum();
    assert!(faults > 20, "only {faults} of 50 calls were ended: are they made at all?");
}

#[test]
fn a_trap_anywhere_in_a_call_costs_no_frame_on_qemus_e1000() {
    let faults: u64 =
        [1, 4, 9].map(|call| nothing_is_lost_by_a_crash(&Device::Qemu("e1000"), Entry::Poll, call)).iter().sum();
    assert!(faults > 0);
}

#[test]
fn frames_that_a_driver_had_when_it_ended_are_sent_by_its_successor() {
    for call in [2, 5, 9] {
        let mut this = Supervised::up(&Device::Model(ModelConfig::default()), Isolation::Sfi);
        this.supervisor.nook_mut().crash(CrashWhen::At(Entry::Poll, call), call);
        let frames: Vec<_> = (1..=FRAMES).map(|n| frame(n, 60 + n as usize % 1400)).collect();
        this.supervisor.nook_mut().uplink_mut().to_send.extend(frames.iter().cloned());
        let (mut arrived, mut buffer) = (Vec::new(), vec![0; 65536]);
        this.until("all frames arrived", |this| {
            while let Ok(Some(len)) = this.far.recv(&mut buffer) {
                arrived.push(buffer[..len].to_vec());
            }
            frames.iter().all(|frame| arrived.contains(frame))
        });
        assert!(this.supervisor.restarts() <= 1);
    }
}

/// A driver without a device that sends and receives by itself, with a planted bug each way: it traps at a frame of 666
/// bytes that it is to send, and at the sixth of the ten frames that it receives.
const PLANTED: &str = r#"(module
    (import "nook" "net_attach" (func $attach (param i64 i32 i64) (result i32)))
    (import "nook" "net_link" (func $link (param i32 i32 i32)))
    (memory (export "memory") 2)
    (global $page (mut i32) (i32.const 0))
    (global $received (mut i32) (i32.const 0))
    (func $ring (param $queue i32) (result i32)
        (i32.wrap_i64 (i64.load offset=@RINGS (i32.add (global.get $page) (i32.shl (local.get $queue) (i32.const 3))))))
    (func $slot (param $ring i32) (param $index i32) (result i32)
        (i32.add (i32.add (local.get $ring) (i32.const 64)) (i32.shl (i32.and (local.get $index) (i32.const 255)) (i32.const 5))))
    (func $take (param $queue i32) (result i32) (local $ring i32) (local $at i32)
        (local.set $ring (call $ring (local.get $queue)))
        (local.set $at (i32.load offset=4 (local.get $ring)))
        (if (i32.eq (local.get $at) (i32.load (local.get $ring))) (then (return (i32.const 0))))
        (i32.store offset=4 (local.get $ring) (i32.add (local.get $at) (i32.const 1)))
        (call $slot (local.get $ring) (local.get $at)))
    (func $put (param $queue i32) (param $entry i32) (local $ring i32) (local $at i32)
        (local.set $ring (call $ring (local.get $queue)))
        (local.set $at (i32.load (local.get $ring)))
        (memory.copy (call $slot (local.get $ring) (local.get $at)) (local.get $entry) (i32.const 32))
        (i32.store (local.get $ring) (i32.add (local.get $at) (i32.const 1))))
    (func (export "nook_probe") (param i32 i32) (result i32)
        (global.set $page (local.get 1))
        (call $attach (i64.const 0x563412005452) (i32.const 1500) (i64.const 0)))
    (func (export "nook_open") (result i32) (call $link (i32.const 1) (i32.const 1000) (i32.const 1)) (i32.const 0))
    (func (export "nook_stop") (result i32) (i32.const 0))
    (func (export "nook_remove"))
    (func (export "nook_irq") (param i32) (result i32) (i32.const 0))
    (func (export "nook_set_rx_mode") (param i32 i32) (result i32) (i32.const 0))
    (func (export "nook_poll") (param $queue i32) (param $budget i32) (param $flags i32) (result i32) (local $entry i32)
        (if (i32.and (local.get $flags) (i32.const 1)) (then
            (local.set $entry (call $take (i32.const 0)))
            (i32.store16 offset=14 (local.get $entry) (i32.const 1))
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
        (i32.store8 offset=7 (local.get $entry) (i32.const 3))
        (i32.store offset=8 (local.get $entry) (i32.const 60))
        (call $put (i32.const 1) (local.get $entry))
        (i32.const 1))
    (@custom "nook.manifest" "abi = 0.2\nname = planted\nversion = 1\nlicense = Apache-2.0\nclass = net\npci = 8086:100e\nregisters = e1000\ndma_bytes = 4096\ndma_mask_bits = 64\n"))"#;

#[test]
fn a_frame_that_ends_the_driver_is_given_up_each_way_and_all_others_pass() {
    let text = PLANTED.replace("@RINGS", &std::mem::offset_of!(nook_abi::HostPage, rings).to_string());
    assert_eq!(size_of::<nook_abi::RingHeader>(), 64, "the text has it");
    let module = DriverModule::from_bytes(&wat::parse_str(text).unwrap(), Wasi::Refused).unwrap();
    let window = DmaWindow::new(module.layout().window_bytes).unwrap();
    let (near, _far) = cable();
    let host = Host::new(HostConfig {
        device: Box::new(Model::new(ModelConfig::default(), Box::new(near))),
        window,
        maps: &[&e1000_regs::MAP],
        manifest: module.manifest(),
        layout: module.layout(),
        budgets: Budgets::default(),
    })
    .unwrap();
    let launcher = WasmLauncher::undoable(&module, &ModuleCache::none(), Arc::new(UndoLogging)).unwrap();
    let mut uplink = FrameQueues::default();
    let lengths = (0..50).map(|n| if n == 20 || n == 33 { 666 } else { 100 + n });
    uplink.to_send.extend(lengths.map(|len| frame(len as u32, len)));
    let mut supervisor = Supervisor::new(Nook::new(host, Box::new(launcher), uplink), Policy::default());
    supervisor.start().unwrap();
    let end = now_ns() + PATIENCE_NS;
    while supervisor.nook().counters().tx_done < 48 || supervisor.nook().uplink().received.len() < 9 {
        assert!(now_ns() < end, "{:?}, {:?}", supervisor.nook().counters(), supervisor.recoveries());
        supervisor.turn(now_ns() + 1_000_000).unwrap();
    }
    let counters = supervisor.nook().counters();
    assert_eq!((counters.tx_poison, counters.rx_poison, counters.tx_failed), (2, 1, 0));
    assert_eq!((supervisor.restarts(), supervisor.nook().uplink().received.len()), (0, 9));
}
