//! Direct registers: the driver has the BAR as memory, and the host is not asked.

use nook_abi::{Fault, TrapKind};
use nook_bus::DmaWindow;
use nook_runtime::{Budgets, Driver, Launcher, Mmio, ModuleCache, WasmLauncher};
use nook_tests::{BAR_BYTES, BareDevice, BareDeviceHandle, host, wat_driver};

/// `poll(bar, offset, value)` reads a register, writes `value` there, and returns 0 if it had read 7.
const POLL: (&str, &str) = (
    "poll",
    "(i32.ne (i32.const 7) (call $mmio_read32 (local.get $queue) (local.get $budget)))
     (call $mmio_write32 (local.get $queue) (local.get $budget) (local.get $flags))",
);
/// `irq` reads the register whose offset stands in the first one.
const IRQ: (&str, &str) = ("irq", "(call $mmio_read32 (i32.const 0) (call $mmio_read32 (i32.const 0) (i32.const 0)))");

fn driver() -> (Box<dyn Driver>, BareDeviceHandle) {
    let module = wat_driver(&[POLL, IRQ], "");
    let (device, handle) = BareDevice::new();
    let window = DmaWindow::new(module.layout().window_bytes).unwrap();
    let host = host(Box::new(device), window, &module, Budgets::default());
    let launcher = WasmLauncher::new(module.into(), &ModuleCache::none(), Mmio::Direct).unwrap();
    (launcher.launch(host).unwrap_or_else(|error| panic!("{}", error.why)), handle)
}

#[test]
fn registers_are_memory_and_the_host_is_not_asked() {
    let (mut driver, device) = driver();
    device.set_register(0x1c, 7);
    assert_eq!(driver.poll(0, 0x1c, 9), Ok(0));
    assert_eq!(device.register(0x1c), 9);
    assert_eq!(driver.poll(0, 0x1c, 9), Ok(1));
    assert_eq!((driver.host().counters().reg_reads, driver.host().counters().hostcalls), (0, 0));
}

#[test]
fn the_bar_ends_where_it_ends_and_other_bars_are_not_there() {
    for (number, offset, kind) in [
        (0, BAR_BYTES as u32, TrapKind::MemoryOutOfBounds),
        (0, BAR_BYTES as u32 - 2, TrapKind::MemoryOutOfBounds),
        (0, u32::MAX - 3, TrapKind::MemoryOutOfBounds),
        (1, 0, TrapKind::Unreachable),
    ] {
        let (mut driver, _device) = driver();
        let fault = driver.poll(number, offset, 0).unwrap_err();
        assert!(matches!(fault, Fault::Trap { kind: found, .. } if found == kind), "{number} {offset:#x}: {fault}");
    }
}

#[test]
fn a_bar_that_vanished_is_a_fault_of_the_call_that_used_it() {
    let (mut driver, device) = driver();
    device.vanish();
    assert_eq!(driver.poll(0, 0, 0), Err(Fault::DeviceGone));
    assert_eq!(driver.poll(0, 0, 0), Err(Fault::DeviceGone));
}

#[test]
fn a_driver_that_trips_over_a_vanished_bar_is_not_at_fault() {
    let (mut driver, device) = driver();
    assert_eq!(driver.irq(0), Ok(0));
    device.vanish();
    assert_eq!(driver.irq(0), Err(Fault::DeviceGone));
}
