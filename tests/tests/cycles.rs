//! Nooks that are made and die leave nothing behind, however often and wherever they die.

use std::fs;
use std::sync::Arc;

use e1000_model::{Behaviour, Model, ModelConfig};
use nook_abi::{Fault, TrapKind};
use nook_runtime::{
    Driver, DriverModule, Host, LaunchError, Launcher, Mmio, ModuleCache, Net, Nook, NookBuilder, NookError, Wasi,
    WasmLauncher, now_ns,
};
use nook_tests::{FrameQueues, cable};

/// Driver instances that are made and die.
const LIVES: usize = 10_000;
/// Where a driver dies.
const ENTRIES: [&str; 5] = ["probe", "open", "poll", "irq", "stop"];

/// Returns a driver that takes what it can get (interrupts, DMA memory, a timer, work, packets) and dies in `entry`.
fn dies_in(entry: &str) -> DriverModule {
    let [probe, open, poll, irq, stop] = ENTRIES.map(|name| if name == entry { "unreachable" } else { "" });
    let text = format!(
        r#"(module
            (import "nook" "net_attach" (func $attach (param i64 i32) (result i32)))
            (import "nook" "irq_enable" (func $irq (param i32) (result i32)))
            (import "nook" "dma_alloc" (func $alloc (param i32 i32) (result i64)))
            (import "nook" "dma_enable" (func $dma (result i32)))
            (import "nook" "timer_set" (func $timer (param i64)))
            (import "nook" "work_schedule" (func $work))
            (import "nook" "mmio_write32" (func $write (param i32 i32 i32)))
            (memory (export "memory") 1)
            (func (export "nook_probe") (param i32 i32) (result i32) {probe}
                (drop (call $alloc (i32.const 4096) (i32.const 4096)))
                (call $attach (i64.const 2) (i32.const 1500)))
            (func (export "nook_remove"))
            (func (export "nook_open") (result i32) {open}
                (call $timer (i64.const -1)) (call $work) (drop (call $irq (i32.const 0))) (atomic.fence) (drop (call $dma))
                ;; An interrupt is let through and asked for: IMS, then ICS (sections 13.4.20 and 13.4.19).
                (call $write (i32.const 0) (i32.const 0xd0) (i32.const 4))
                (call $write (i32.const 0) (i32.const 0xc8) (i32.const 4))
                (i32.const 0))
            (func (export "nook_stop") (result i32) {stop} (i32.const 0))
            (func (export "nook_poll") (param i32 i32 i32) (result i32) {poll} (i32.const 0))
            (func (export "nook_irq") (param i32) (result i32) {irq} (i32.const 1))
            (@custom "nook.manifest" "abi = 1.0\nname = mortal\nversion = 1\nlicense = Apache-2.0\nclass = net\npci = 8086:100e\nregisters = e1000\ndma_bytes = 8192\ndma_mask_bits = 64\n"))"#
    );
    DriverModule::from_bytes(&wat::parse_str(text).unwrap(), Wasi::Refused).unwrap()
}

/// One launcher for all nooks: a nook owns its launcher, and compiling is not what is tested here.
struct Shared(Arc<WasmLauncher>);

impl Launcher for Shared {
    fn launch(&self, host: Host) -> Result<Box<dyn Driver>, Box<LaunchError>> {
        self.0.launch(host)
    }
    fn isolation(&self) -> &'static str {
        self.0.isolation()
    }
}

/// Makes a nook, lets it die, starts it again, and lets it die for good.
fn live_twice(entry: &str, module: &DriverModule, launcher: &Arc<WasmLauncher>) {
    let (near, _far) = cable();
    let model = ModelConfig { behaviour: Behaviour::calm(), ..ModelConfig::default() };
    let mut nook = NookBuilder::of(module, &[&e1000_regs::MAP])
        .net(Box::new(Model::new(model, Box::new(near))), Box::new(Shared(launcher.clone())), FrameQueues::default())
        .unwrap();
    let died = |outcome: Result<(), NookError>| match outcome {
        Err(NookError::Fault { fault: Fault::Trap { entry: at, kind: TrapKind::Unreachable }, .. }) => {
            assert_eq!(at.info().name, entry);
        }
        other => panic!("it should have died in {entry}: {other:?}"),
    };
    let outcome = nook.start().and_then(|()| until_death(&mut nook));
    died(outcome);
    let outcome = nook.restart().and_then(|()| until_death(&mut nook));
    died(outcome);
    nook.shut().unwrap();
}

fn until_death(nook: &mut Nook<Net<FrameQueues>>) -> Result<(), NookError> {
    for _ in 0..20 {
        nook.turn(now_ns())?;
    }
    nook.stop()
}

/// What this process holds.
#[derive(Clone, Copy, Debug)]
struct Holdings {
    descriptors: usize,
    mappings: usize,
    resident_kib: u64,
}

fn holdings() -> Holdings {
    let status = fs::read_to_string("/proc/self/status").unwrap();
    let resident = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).unwrap();
    Holdings {
        descriptors: fs::read_dir("/proc/self/fd").unwrap().count(),
        mappings: fs::read_to_string("/proc/self/maps").unwrap().lines().count(),
        resident_kib: resident.trim().trim_end_matches(" kB").parse().unwrap(),
    }
}

#[test]
fn memory_descriptors_and_mappings_stay_the_same() {
    let drivers = ENTRIES.map(|entry| {
        let module = dies_in(entry);
        let launcher = WasmLauncher::new(module.clone().into(), &ModuleCache::none(), Mmio::Emulated).unwrap();
        (entry, module, Arc::new(launcher))
    });
    let live = |count: usize| {
        for i in 0..count / 2 {
            let (entry, module, launcher) = &drivers[i % drivers.len()];
            live_twice(entry, module, launcher);
        }
    };
    // What an allocator and an engine keep for next time is there after the first thousands.
    live(LIVES / 5);
    let before = holdings();
    live(LIVES);
    let after = holdings();
    assert_eq!(after.descriptors, before.descriptors, "{before:?} {after:?}");
    // An allocator may split or grow its own; a leak would be one in each life.
    assert!(after.mappings < before.mappings + 20, "{before:?} {after:?}");
    assert!(after.resident_kib < before.resident_kib + 8 * 1024, "{before:?} {after:?}");
}
