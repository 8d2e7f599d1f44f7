//! Calls in interrupt and atomic context are ended by the clock: their deadline checks trap and ask nobody.

use std::sync::Arc;

use nook_abi::{Entry, Fault};
use nook_bus::DmaWindow;
use nook_runtime::{Budgets, Driver, Launcher, Mmio, ModuleCache, RollbackMethod, WasmLauncher};
use nook_tests::{BareDevice, BareDeviceHandle, host, wat_driver};

const BUDGETS: fn() -> Budgets =
    || Budgets { interrupt_cpu_ns: 80_000_000, atomic_cpu_ns: 80_000_000, ..Budgets::default() };
/// A register that keeps what is written to it (VLAN EtherType), and no doorbell.
const VET: u64 = 0x38;
const WRITES: &str = "(call $mmio_write32 (i32.const 0) (i32.const 0x38) (i32.const 0x8100))";

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Level {
    Sfi,
    SfiTxn,
}

const LEVELS: [Level; 2] = [Level::Sfi, Level::SfiTxn];

fn launch(level: Level, entry: &str, body: &str, more: &str) -> (Box<dyn Driver>, BareDeviceHandle) {
    let module = wat_driver(&[(entry, body)], more);
    let (device, handle) = BareDevice::new();
    let window = DmaWindow::new(module.layout().window_bytes).unwrap();
    let host = host(Box::new(device), window, &module, BUDGETS());
    let cache = ModuleCache::none();
    let launcher = match level {
        Level::Sfi => WasmLauncher::new(Arc::new(module), &cache, Mmio::Emulated),
        Level::SfiTxn => WasmLauncher::with_rollback(&module, &cache, Arc::new(RollbackMethod::Log)),
    };
    let driver = launcher.unwrap().launch(host).unwrap_or_else(|error| panic!("{}", error.why));
    (driver, handle)
}

#[test]
fn a_short_call_that_does_not_end_is_ended_whether_only_short_calls_reach_its_loop_or_others_too() {
    let shared = "(type $nothing (func)) (func $shared (loop $l (br $l))) (func (export \"beside\") (call $shared))";
    for level in LEVELS {
        for body in ["(loop $l (br $l))", "(call $shared)", "(call_indirect (type $nothing) (i32.const 0))"] {
            let (mut driver, _) = launch(level, "irq", &format!("{body} (i32.const 0)"), shared);
            let fault = Fault::CpuBudget { entry: Entry::Irq, limit_ns: BUDGETS().interrupt_cpu_ns };
            assert_eq!(driver.irq(0), Err(fault), "{level:?}, {body}");
        }
    }
}

#[test]
fn no_call_is_ended_for_those_before_it() {
    // Some milliseconds each, so that ticks find each of them.
    let works = "(local $n i32)
        (loop $l (br_if $l (i32.lt_u (local.tee $n (i32.add (local.get $n) (i32.const 1))) (i32.const 5000000))))
        (i32.const 0)";
    for level in LEVELS {
        let (mut driver, _) = launch(level, "poll", works, "");
        for call in 0..100 {
            assert_eq!(driver.poll(0, 256, 0), Ok(0), "{level:?}, call {call}");
            driver.commit().unwrap();
        }
    }
}

#[test]
fn a_trap_of_the_drivers_own_is_not_taken_for_the_end_of_its_time() {
    for level in LEVELS {
        let (mut driver, _) = launch(level, "poll", "(unreachable)", "");
        let fault = driver.poll(0, 256, 0).unwrap_err();
        assert!(matches!(fault, Fault::Trap { entry: Entry::Poll, .. }), "{level:?}: {fault:?}");
    }
}

#[test]
fn what_a_call_writes_that_spins_without_a_hostcall_never_reaches_the_device() {
    let (mut driver, device) = launch(Level::SfiTxn, "poll", &format!("{WRITES} (loop $l (br $l)) (i32.const 0)"), "");
    assert!(matches!(driver.poll(0, 256, 0), Err(Fault::CpuBudget { .. })));
    assert_eq!(device.register(VET), 0);
    assert!(driver.roll_back().is_some());
    assert_eq!(device.register(VET), 0);
}

#[test]
fn what_a_call_writes_that_asks_for_the_time_reaches_the_device_once_it_has_worked_for_20_ms() {
    // It works until its budget of 80 ms ends it: how much it works in a time by the clock depends on the machine.
    let asks = format!("{WRITES} (loop $l (drop (call $clock_ns)) (br $l)) (i32.const 0)");
    let (mut driver, device) = launch(Level::SfiTxn, "poll", &asks, "");
    assert!(matches!(driver.poll(0, 256, 0), Err(Fault::CpuBudget { .. })));
    assert_eq!(device.register(VET), 0x8100);
}
