//! A device that is taken away, or goes, while its driver is in the middle of using it.

use std::sync::Arc;
use std::thread;

use e1000_model::ModelConfig;
use nook_abi::Fault;
use nook_bus::DmaWindow;
use nook_recovery::{Policy, Supervisor};
use nook_runtime::{
    Budgets, Driver, DriverModule, Launcher, Mmio, ModuleCache, NookError, Revoker, WasmLauncher, now_ns,
};
use nook_tests::{BareDevice, BareDeviceHandle, Device, Isolation, Rig, host, wat_driver};

/// What is looked for in the window, and what it is overwritten with.
const DRIVERS: u8 = 0x5a;
const OURS: u8 = 0xa5;
/// How often each is tried: where in an instruction it comes is chance.
const ROUNDS: usize = 20;

/// Only what is tested ends a call, however busy the machine.
const PATIENT: Budgets = Budgets {
    interrupt_cpu_ns: 60_000_000_000,
    atomic_cpu_ns: 60_000_000_000,
    process_cpu_ns: 60_000_000_000,
    short_wall_ns: 60_000_000_000,
    process_wall_ns: 60_000_000_000,
    process_total_ns: 60_000_000_000,
    transmit_ns: 60_000_000_000,
    stall_ns: 60_000_000_000,
    quiet_ns: 60_000_000_000,
    counters_ns: 60_000_000_000,
    instruction_ns: 10,
    net_cpu_ns: 60_000_000_000,
};

const BOTH: [Mmio; 2] = [Mmio::Emulated, Mmio::Direct];

/// A driver that runs, and all that it has.
struct Running {
    driver: Box<dyn Driver>,
    device: BareDeviceHandle,
    window: DmaWindow,
    revoker: Revoker,
}

/// Returns a driver with this `poll`, on registers in memory.
fn launch(launcher: &WasmLauncher, module: &DriverModule) -> Running {
    let (device, handle) = BareDevice::new();
    let window = DmaWindow::new(module.layout().window_bytes).unwrap();
    let host = host(Box::new(device), window.clone(), module, PATIENT);
    let revoker = host.revoker();
    let driver = launcher.launch(host).unwrap_or_else(|error| panic!("{}", error.why));
    Running { driver, device: handle, window, revoker }
}

/// Calls `poll` with the place and length of the window. When `begun` says so, `act` acts. Returns how the call ended.
fn meanwhile(
    running: &mut Running,
    begun: impl Fn(&DmaWindow, &BareDeviceHandle) -> bool + Sync,
    act: impl FnOnce(&DmaWindow, &BareDeviceHandle, &Revoker) + Send,
) -> Fault {
    let Running { driver, device, window, revoker } = running;
    let (at, len) = (driver.host().layout().window as u32, window.len_bytes() as u32);
    thread::scope(|scope| {
        scope.spawn(|| {
            while !begun(window, device) {
                thread::yield_now();
            }
            act(window, device, revoker);
        });
        driver.poll(at, len, 0).expect_err("a call without end")
    })
}

/// Returns the last byte of the window.
fn last(window: &DmaWindow) -> u8 {
    let mut byte = [0];
    let slice = window.slice().subslice(window.len_bytes() as usize - 1, 1).unwrap();
    slice.copy_to(&mut byte[..]);
    byte[0]
}

fn overwrite(window: &DmaWindow) {
    window.slice().copy_from(&vec![OURS; window.len_bytes() as usize]);
}

fn is_ours(window: &DmaWindow) -> bool {
    let mut bytes = vec![0; window.len_bytes() as usize];
    window.slice().copy_to(&mut bytes[..]);
    bytes.iter().all(|&byte| byte == OURS)
}

/// Bodies of `poll(at, len)` that use the window for ever.
const USES: [(&str, &str); 4] = [
    ("fill", "(loop (memory.fill (local.get $queue) (i32.const 0x5a) (local.get $budget)) (br 0)) (i32.const 0)"),
    (
        "copy into it and out of it",
        "(memory.fill (i32.const 1024) (i32.const 0x5a) (i32.const 65536))
         (loop
            (memory.copy
                (i32.sub (i32.add (local.get $queue) (local.get $budget)) (i32.const 65536))
                (i32.const 1024) (i32.const 65536))
            (memory.copy (i32.const 1024) (local.get $queue) (i32.const 1024))
            (br 0))
         (i32.const 0)",
    ),
    (
        "copy inside it",
        "(memory.fill (local.get $queue) (i32.const 0x5a) (local.get $budget))
         (loop
            (memory.copy
                (i32.add (local.get $queue) (i32.shr_u (local.get $budget) (i32.const 1)))
                (local.get $queue) (i32.shr_u (local.get $budget) (i32.const 1)))
            (br 0))
         (i32.const 0)",
    ),
    (
        "loads and stores",
        "(loop
            (i32.store8 (i32.sub (i32.add (local.get $queue) (local.get $budget)) (i32.const 1)) (i32.const 0x5a))
            (i32.store (local.get $queue) (i32.add (i32.load (local.get $queue)) (i32.const 1)))
            (br 0))
         (i32.const 0)",
    ),
];

#[test]
fn a_window_is_taken_away_in_the_middle_of_an_instruction_that_uses_it() {
    for (what, body) in USES {
        for mmio in BOTH {
            let module = Arc::new(wat_driver(&[("poll", body)], ""));
            let launcher = WasmLauncher::new(module.clone(), &ModuleCache::none(), mmio).unwrap();
            for _ in 0..ROUNDS {
                let mut running = launch(&launcher, &module);
                let taken = |window: &DmaWindow, _: &BareDeviceHandle, revoker: &Revoker| {
                    revoker.revoke();
                    overwrite(window);
                };
                let fault = meanwhile(&mut running, |window, _| last(window) == DRIVERS, taken);
                assert_eq!(fault, Fault::Revoked, "{what}, {mmio:?}");
                assert!(is_ours(&running.window), "{what}, {mmio:?}: a store reached the window");
            }
        }
    }
}

/// Writes 1 to a register and then, for ever, what it reads there and 2.
const REGISTERS: &str = "(call $mmio_write32 (i32.const 0) (i32.const 0x18) (i32.const 1))
    (loop
        (call $mmio_write32 (i32.const 0) (i32.const 0x18)
            (i32.or (i32.const 2) (call $mmio_read32 (i32.const 0) (i32.const 0x18))))
        (br 0))
    (i32.const 0)";

fn each_way_to_registers(act: impl Fn(&BareDeviceHandle, &Revoker) + Sync, ends: Fault) {
    for mmio in BOTH {
        let module = Arc::new(wat_driver(&[("poll", REGISTERS)], ""));
        let launcher = WasmLauncher::new(module.clone(), &ModuleCache::none(), mmio).unwrap();
        for _ in 0..ROUNDS {
            let mut running = launch(&launcher, &module);
            let begun = |_: &DmaWindow, device: &BareDeviceHandle| device.register(0x18) == 3;
            let fault = meanwhile(&mut running, begun, |_, device, revoker| act(device, revoker));
            assert_eq!(fault, ends, "{mmio:?}");
        }
    }
}

#[test]
fn registers_are_taken_away_while_they_are_used() {
    each_way_to_registers(|_, revoker| revoker.revoke(), Fault::Revoked);
}

#[test]
fn registers_vanish_while_they_are_used() {
    each_way_to_registers(|device, _| device.vanish(), Fault::DeviceGone);
}

#[test]
fn a_register_that_was_taken_away_is_not_written_any_more() {
    let module = Arc::new(wat_driver(&[("poll", REGISTERS)], ""));
    let launcher = WasmLauncher::new(module.clone(), &ModuleCache::none(), Mmio::Direct).unwrap();
    let mut running = launch(&launcher, &module);
    let begun = |_: &DmaWindow, device: &BareDeviceHandle| device.register(0x18) == 3;
    let taken = |_: &DmaWindow, device: &BareDeviceHandle, revoker: &Revoker| {
        revoker.revoke();
        device.set_register(0x18, 0x1000);
    };
    assert_eq!(meanwhile(&mut running, begun, taken), Fault::Revoked);
    assert_eq!(running.device.register(0x18), 0x1000);
}

#[test]
fn a_nook_whose_device_was_taken_away_ends_whatever_its_isolation() {
    for &isolation in Isolation::all() {
        let mut rig = Rig::new(&Device::Model(ModelConfig::default()), isolation);
        rig.nook.start().unwrap();
        rig.nook.host().revoker().revoke();
        let error = rig.turn().unwrap_err();
        assert!(matches!(error, NookError::Fault { fault: Fault::Revoked, .. }), "{isolation:?}: {error}");
        let error = rig.nook.restart().unwrap_err();
        assert!(matches!(error, NookError::Launch(_)), "{isolation:?}: {error}");
    }
}

#[test]
fn a_supervisor_does_not_restart_a_driver_without_its_device() {
    let Rig { nook, .. } = Rig::new(&Device::Model(ModelConfig::default()), Isolation::SfiTxn);
    let mut supervisor = Supervisor::new(nook, Policy::default());
    supervisor.start().unwrap();
    supervisor.nook().host().revoker().revoke();
    let quarantine = supervisor.turn(now_ns()).unwrap_err();
    assert!(matches!(quarantine.last, NookError::Fault { fault: Fault::Revoked, .. }), "{quarantine}");
    assert_eq!(supervisor.restarts(), 0);
}
