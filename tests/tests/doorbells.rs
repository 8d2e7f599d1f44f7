//! Doorbells that a driver leaves in its host page: the device sees the writes that it would have seen of hostcalls, in
//! the same order, and none of a call that does not count.

use std::sync::{Arc, Mutex};

use nook_abi::{DOORBELLS, Fault, Hostcall};
use nook_bus::{BusAccess, Tracing};
use nook_regs::RegisterMap;
use nook_runtime::{
    Call, Driver, Launcher, Mmio, ModuleCache, Nook, NookBuilder, RollbackMethod, WasmLauncher, now_ns,
};
use nook_tests::{BareDevice, FrameQueues, wat_driver};
use vmxnet3_regs::{IMR, TXPROD};

/// The vmxnet3's registers, for any device.
static MAP: RegisterMap = RegisterMap::checked("vmxnet3", vmxnet3_regs::MAP.bars(), vmxnet3_regs::MAP.registers());

/// What reached the device: register and value; of a read, no value.
type Seen = Arc<Mutex<Vec<(u32, Option<u64>)>>>;

/// A driver, probed, and what its device has seen.
struct Probed {
    driver: Box<dyn Driver>,
    seen: Seen,
}

impl Probed {
    /// Returns one whose `poll` does this, at `sfi` or at `sfi+txn`.
    fn new(poll: &str, rolls_back: bool) -> Self {
        let module = wat_driver(&[("poll", &format!("{poll} (i32.const 0)"))], "");
        let mut manifest = module.manifest().clone();
        manifest.registers = MAP.name().into();
        let seen = Seen::default();
        let sink = seen.clone();
        let device = Tracing::new(BareDevice::new().0, move |access| {
            sink.lock().unwrap().extend(match access {
                BusAccess::Read { offset, .. } => Some((offset, None)),
                BusAccess::Write { offset, value, .. } => Some((offset, Some(value))),
                _ => None,
            });
        });
        let host = NookBuilder::new(&manifest, module.layout(), &[&MAP]).host(Box::new(device)).unwrap();
        let launcher = match rolls_back {
            false => WasmLauncher::new(module.into(), &ModuleCache::none(), Mmio::Emulated),
            true => WasmLauncher::with_rollback(&module, &ModuleCache::none(), Arc::new(RollbackMethod::Log)),
        };
        let mut driver = launcher.unwrap().launch(host).unwrap_or_else(|error| panic!("{}", error.why));
        let page = driver.host_page();
        assert_eq!(driver.probe(0, page), Ok(0));
        seen.lock().unwrap().clear();
        Probed { driver, seen }
    }

    fn seen(&self) -> Vec<(u32, Option<u64>)> {
        std::mem::take(&mut self.seen.lock().unwrap())
    }
}

/// A write, as seen.
fn written(offset: u32, value: u64) -> (u32, Option<u64>) {
    (offset, Some(value))
}

fn leaves(value: u32) -> String {
    format!("(call $leave (i32.const 0) (i32.const {}) (i32.const {value}))", TXPROD.get(0).offset())
}

fn writes_mask(value: u32) -> String {
    format!("(call $mmio_write32 (i32.const 0) (i32.const {}) (i32.const {value}))", IMR.get(0).offset())
}

const BELL: u32 = TXPROD.get(0).offset();
const MASK: u32 = IMR.get(0).offset();

#[test]
fn doorbells_are_rung_in_order_when_the_call_has_returned_and_only_once() {
    let mut driver = Probed::new(&(leaves(1) + &leaves(2)), false);
    let before = *driver.driver.host().counters();
    for _ in 0..2 {
        assert_eq!(driver.driver.poll(0, 1, 0), Ok(0));
        assert_eq!(driver.seen(), [written(BELL, 1), written(BELL, 2)]);
    }
    let after = driver.driver.host().counters();
    assert_eq!((after.reg_writes - before.reg_writes, after.hostcalls - before.hostcalls), (4, 0));
}

#[test]
fn an_access_or_a_wait_finds_what_was_left_before_it_done() {
    for wait in ["(call $delay_ns (i32.const 1))", "(drop (call $clock_ns))", "(call $mmio_flush)"] {
        let poll =
            leaves(1) + wait + "(if (call $left) (then (unreachable)))" + &leaves(2) + &writes_mask(3) + &leaves(4);
        let mut driver = Probed::new(&poll, false);
        assert_eq!(driver.driver.poll(0, 1, 0), Ok(0), "{wait}");
        let expected = [written(BELL, 1), written(BELL, 2), written(MASK, 3), written(BELL, 4)];
        assert_eq!(driver.seen(), expected, "{wait}");
    }
}

#[test]
fn in_a_transaction_they_are_held_back_with_other_writes_until_the_commit() {
    let mut driver = Probed::new(&(leaves(1) + &writes_mask(2) + &leaves(3)), true);
    assert_eq!(driver.driver.poll(0, 1, 0), Ok(0));
    assert_eq!(driver.seen(), []);
    driver.driver.commit().unwrap();
    assert_eq!(driver.seen(), [written(BELL, 1), written(MASK, 2), written(BELL, 3)]);
}

#[test]
fn a_call_that_ends_in_a_fault_loses_what_it_left() {
    // The first call traps, later ones do not.
    let poll = leaves(7) + "(if (call $times (i32.const 1)) (then (unreachable)))";
    let mut driver = Probed::new(&poll, false);
    assert!(matches!(driver.driver.poll(0, 1, 0), Err(Fault::Trap { .. })));
    assert_eq!(driver.seen(), []);
    // In a transaction, what a hostcall took over is lost with it; and the next call finds none left.
    let poll =
        "(if (call $left) (then (unreachable)))".to_owned() + &leaves(7) + "(drop (call $clock_ns))" + &leaves(8);
    let mut driver =
        Probed::new(&(poll + "(if (i32.eq (local.get $budget) (i32.const 1)) (then (unreachable)))"), true);
    assert!(matches!(driver.driver.poll(0, 1, 0), Err(Fault::Trap { .. })));
    assert!(driver.driver.roll_back().is_some());
    assert_eq!(driver.driver.poll(0, 2, 0), Ok(0));
    driver.driver.commit().unwrap();
    assert_eq!(driver.seen(), [written(BELL, 7), written(BELL, 8)]);
}

#[test]
fn a_doorbell_that_is_refused_is_a_fault_of_the_write_and_the_ones_behind_it_are_lost() {
    let mask = format!("(call $leave (i32.const 0) (i32.const {MASK}) (i32.const 1))");
    let mut driver = Probed::new(&(leaves(1) + &mask + &leaves(2)), false);
    let fault = driver.driver.poll(0, 1, 0).unwrap_err();
    assert!(matches!(fault, Fault::RegisterForbidden { bar: 0, offset: MASK, .. }), "{fault}");
    assert_eq!(driver.seen(), [written(BELL, 1)]);
}

#[test]
fn what_is_kept_of_a_crash_shows_them_among_the_calls() {
    let mask = format!("(call $leave (i32.const 0) (i32.const {MASK}) (i32.const 3))");
    // What the harmless driver turns on there is in another device's map.
    let open = "(call $net_link (i32.const 1) (i32.const 1000) (i32.const 1)) (call $dma_on)";
    let module = wat_driver(&[("open", open), ("poll", &(leaves(1) + &mask + "(i32.const 0)"))], "");
    let mut manifest = module.manifest().clone();
    manifest.registers = MAP.name().into();
    let host = NookBuilder::new(&manifest, module.layout(), &[&MAP]).host(Box::new(BareDevice::new().0)).unwrap();
    let launcher = WasmLauncher::new(module.into(), &ModuleCache::none(), Mmio::Emulated).unwrap();
    let mut nook = Nook::net(host, Box::new(launcher), FrameQueues::default());
    nook.start().unwrap();
    nook.turn(now_ns()).unwrap_err();
    let steps = nook.take_crash_state().steps;
    let [.., rung, refused] = &steps[..] else { panic!("{steps:?}") };
    assert_eq!((rung.call, rung.args), (Call::Hostcall(Hostcall::MmioWrite32), [0, BELL.into(), 1]));
    assert_eq!((refused.call, refused.args), (Call::Refused(Hostcall::MmioWrite32), [0, MASK.into(), 3]));
}

#[test]
fn there_is_room_for_as_many_as_the_page_says_and_not_for_one_more() {
    let room = DOORBELLS as u32;
    let all: String = (1..=room).map(leaves).collect();
    let mut driver = Probed::new(&all, false);
    assert_eq!(driver.driver.poll(0, 1, 0), Ok(0));
    assert_eq!(driver.seen().len(), DOORBELLS);
    let mut driver = Probed::new(&format!("{all} (call $leave_many (i32.const {}))", room + 1), false);
    let fault = driver.driver.poll(0, 1, 0).unwrap_err();
    assert!(matches!(fault, Fault::QueueCorrupt { queue: "doorbells", .. }), "{fault}");
    assert_eq!(driver.seen(), []);
}
