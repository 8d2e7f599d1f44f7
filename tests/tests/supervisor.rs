//! Coming back: what holds between a fault and the restart, and what is reported about both.

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};

use e1000_model::{Behaviour, Model, ModelConfig};
use nook_abi::net::NetFault;
use nook_abi::{Entry, Fault, TrapKind};
use nook_bus::{BusAccess, Clock, DmaWindow, Tracing};
use nook_recovery::{BundleConfig, Policy, RecoveryOutcome, Supervisor};
use nook_runtime::{
    Budgets, Class, DriverModule, MemoryDump, Mmio, ModuleCache, Net, Nook, NookBuilder, RollbackMethod, SHORT_CALLS,
    Wasi, WasmLauncher, now_ns,
};
use nook_tests::{FrameQueues, cable, host, wat_driver};

const FOR_EVER_NS: u64 = 3_600_000_000_000;

/// A driver that says that its link is up, turns everything on, and dies at the first poll.
const DIES_IN_POLL: &str = r#"(module
    (import "nook" "net_attach" (func $attach (param i64 i32) (result i32)))
    (import "nook" "net_link" (func $link (param i32 i32 i32)))
    (import "nook" "irq_enable" (func $irq (param i32) (result i32)))
    (import "nook" "dma_enable" (func $dma (result i32)))
    (import "nook" "mmio_read32" (func $read (param i32 i32) (result i32)))
    (memory (export "memory") 1)
    (func (export "nook_probe") (param i32 i32) (result i32)
        (call $attach (i64.const 2) (i32.const 1500)))
    (func (export "nook_remove"))
    (func (export "nook_open") (result i32)
        (drop (call $irq (i32.const 0))) (atomic.fence) (drop (call $dma))
        (call $link (i32.const 1) (i32.const 1000) (i32.const 1)) (i32.const 0))
    (func (export "nook_stop") (result i32) (i32.const 0))
    (func (export "nook_poll") (param i32 i32 i32) (result i32)
        (i32.store (i32.const 0x1234) (i32.const 0x600dcafe)) (drop (call $read (i32.const 0) (i32.const 8)))
        (call $breaks) (i32.const 0))
    (func $breaks unreachable)
    (func (export "nook_irq") (param i32) (result i32) (i32.const 1))
    (@custom "nook.manifest" "abi = 1.0\nname = mortal\nversion = 1\nlicense = Apache-2.0\nclass = net\npci = 8086:100e\nregisters = e1000\ndma_bytes = 8192\ndma_mask_bits = 64\n"))"#;

/// What was written to the device last.
#[derive(Default)]
struct Device {
    bus_master: bool,
    maps: usize,
    unmaps: usize,
    resets: usize,
}

fn supervisor(policy: Policy) -> (Supervisor<Net<FrameQueues>>, Arc<Mutex<Device>>) {
    let module = DriverModule::from_bytes(&wat::parse_str(DIES_IN_POLL).unwrap(), Wasi::Refused).unwrap();
    supervisor_of(module, policy)
}

fn supervisor_of(module: DriverModule, policy: Policy) -> (Supervisor<Net<FrameQueues>>, Arc<Mutex<Device>>) {
    let module = Arc::new(module);
    let (near, _far) = cable();
    let model = Model::new(ModelConfig { behaviour: Behaviour::calm(), ..ModelConfig::default() }, Box::new(near));
    let device = Arc::new(Mutex::new(Device::default()));
    let told = device.clone();
    let sink = move |access: BusAccess| {
        let mut device = told.lock().unwrap();
        match access {
            BusAccess::BusMaster(on) => device.bus_master = on,
            BusAccess::Map(_) => device.maps += 1,
            BusAccess::Unmap(_) => device.unmaps += 1,
            BusAccess::Reset(_) => device.resets += 1,
            _ => {}
        }
    };
    let window = DmaWindow::new(module.layout().window_bytes).unwrap();
    let host = host(Box::new(Tracing::new(model, sink)), window, &module, Budgets::default());
    let launcher = WasmLauncher::new(module.clone(), &ModuleCache::none(), Mmio::Emulated).unwrap();
    let nook = Nook::net(host, Box::new(launcher), FrameQueues::default());
    (Supervisor::new(nook, policy), device)
}

/// Turns until the driver has faulted this often.
fn until_faults(supervisor: &mut Supervisor<Net<FrameQueues>>, faults: u64) {
    for _ in 0..10_000 * faults {
        if supervisor.faults() >= faults {
            return;
        }
        supervisor.turn(now_ns() + 1_000_000).unwrap();
    }
    panic!("{} faults, not {faults}", supervisor.faults());
}

#[test]
fn while_the_back_off_waits_the_device_is_quiet_and_the_carrier_stays() {
    let policy = Policy { backoff_first_ns: FOR_EVER_NS, backoff_most_ns: FOR_EVER_NS, ..Policy::default() };
    let (mut supervisor, device) = supervisor(policy);
    supervisor.start().unwrap();
    assert!(device.lock().unwrap().bus_master);
    until_faults(&mut supervisor, 2);
    for _ in 0..10 {
        supervisor.turn(now_ns() + 1_000_000).unwrap();
    }
    assert_eq!(supervisor.restarts(), 1, "the second restart waits");
    {
        let device = device.lock().unwrap();
        assert!(!device.bus_master, "nothing reaches memory");
        assert_eq!((device.maps, device.unmaps), (2, 2));
        assert_eq!(device.resets, 2, "once for each instance that ended");
    }
    assert_eq!(supervisor.nook().backend().links, [true], "no link change was reported");
    supervisor.nook_mut().shut().unwrap();
    assert_eq!(supervisor.nook().backend().links, [true, false]);
}

#[test]
fn while_the_reason_of_a_call_without_an_end_is_sought_calls_are_short_and_a_fresh_instance_has_all_its_time() {
    // The card is turned on: what is not would be noticed.
    let on: String = [(0, 0x40), (0x100, 2), (0x400, 2)]
        .map(|(offset, value)| format!("(call $write (i32.const 0) (i32.const {offset}) (i32.const {value}))"))
        .concat();
    let import = r#"(import "nook" "mmio_write32" (func $write (param i32 i32 i32)))"#;
    let text = DIES_IN_POLL
        .replace("(func $breaks unreachable)", "(func $breaks (loop (br 0)))")
        .replace("(memory (export", &format!("{import} (memory (export"))
        .replace("(call $link (i32.const 1)", &format!("{on} (call $link (i32.const 1)"));
    let module = DriverModule::from_bytes(&wat::parse_str(&text).unwrap(), Wasi::Refused).unwrap().metered();
    let (near, _far) = cable();
    let model = Model::new(ModelConfig { behaviour: Behaviour::calm(), ..ModelConfig::default() }, Box::new(near));
    let method = RollbackMethod::Log.rollback();
    let launcher = WasmLauncher::with_rollback(&module, &ModuleCache::none(), method).unwrap();
    let nook = NookBuilder::of(&module, &[&e1000_regs::MAP])
        .clock(Clock::new_virtual())
        .net(Box::new(model), Box::new(launcher), FrameQueues::default())
        .unwrap();
    let mut supervisor = Supervisor::new(nook, Policy { snapshots: 0, ..Policy::default() });
    supervisor.start().unwrap();
    while supervisor.restarts() < 2 {
        let now_ns = supervisor.nook().clock().now_ns();
        supervisor.turn(now_ns + 1_000_000).unwrap();
    }
    let all_ns = Budgets::default().atomic_cpu_ns;
    let told = supervisor.recoveries().iter().map(|recovery| {
        let took = |ns: u64| recovery.fault.contains(&format!(" {} us ", ns / 1000));
        let restarted = matches!(recovery.outcome, RecoveryOutcome::Restarted { .. });
        assert!(took(all_ns) || took(all_ns / SHORT_CALLS), "{}", recovery.fault);
        (took(all_ns), restarted)
    });
    let told: Vec<_> = told.collect();
    let instances: Vec<_> = told.split_inclusive(|(_, restarted)| *restarted).take(2).collect();
    for instance in instances {
        let whole: Vec<_> = instance.iter().map(|(whole, _)| *whole).collect();
        assert!(whole.len() > 2 && whole[0] && whole[1..].iter().all(|whole| !whole), "{told:?}");
    }
}

#[test]
fn of_very_many_faults_the_first_are_kept_as_they_were() {
    let policy = Policy { restarts: u32::MAX, backoff_first_ns: 0, ..Policy::default() };
    let (mut supervisor, _device) = supervisor(policy);
    supervisor.start().unwrap();
    until_faults(&mut supervisor, 257);
    let first = supervisor.recoveries().to_vec();
    assert_eq!(first.len(), 256);
    assert!(first.iter().all(|recovery| matches!(recovery.outcome, RecoveryOutcome::Restarted { .. })));
    until_faults(&mut supervisor, 300);
    assert_eq!(supervisor.recoveries(), first);
    assert_eq!((supervisor.faults(), supervisor.restarts()), (300, 299));
}

#[test]
fn every_instance_ends_once_whatever_ended_it() {
    let policy = Policy { restarts: 3, backoff_first_ns: 0, ..Policy::default() };
    let (mut supervisor, device) = supervisor(policy);
    supervisor.start().unwrap();
    while supervisor.turn(now_ns() + 1_000_000).is_ok() {}
    let counters = *supervisor.nook().counters();
    assert_eq!((counters.starts, counters.ends), (4, 4), "by faults and a restart each, and the last by quarantine");
    // What has ended does not end again.
    supervisor.nook_mut().end().unwrap();
    supervisor.nook_mut().shut().unwrap();
    assert_eq!((supervisor.nook().counters().ends, device.lock().unwrap().resets), (4, 4));
}

fn leaves(folder: &Path) -> BundleConfig {
    BundleConfig {
        folder: folder.to_owned(),
        keep: 2,
        every_ns: 0,
        rollbacks: 0,
        memory: MemoryDump::Private,
        driver_file: "/mortal.wasm".into(),
        driver_sha256: [0xab; 32],
        registers: String::new(),
    }
}

/// Lets the driver fault `times` times, each time with a bundle.
fn fault_with_bundles(config: BundleConfig, faults: u64) -> Supervisor<Net<FrameQueues>> {
    let (mut supervisor, _device) = supervisor(Policy { backoff_first_ns: 0, ..Policy::default() });
    supervisor.leave_bundles(config);
    supervisor.start().unwrap();
    for n in 1..=faults {
        until_faults(&mut supervisor, n);
        supervisor.finish_bundles();
    }
    supervisor
}

fn bundles(folder: &Path) -> Vec<PathBuf> {
    let mut paths: Vec<PathBuf> = fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path()).collect();
    paths.sort();
    paths
}

#[test]
fn a_fault_leaves_a_bundle_that_says_what_happened_and_only_the_newest_are_kept() {
    let folder = tempfile::tempdir().unwrap();
    fs::create_dir(folder.path().join("somebody's folder")).unwrap();
    drop(fault_with_bundles(leaves(folder.path()), 4));
    let found = bundles(folder.path());
    assert_eq!(found.len(), 3, "two, and what is not a bundle: {found:?}");
    let newest = &found[1];
    let report: serde_json::Value = serde_json::from_slice(&fs::read(newest.join("report.json")).unwrap()).unwrap();
    assert_eq!(report["fault"]["kind"], "Trap");
    assert_eq!(report["fault"]["entry"], "poll");
    assert_eq!((&report["so_far"]["faults"], &report["so_far"]["restarts"]), (&4.into(), &3.into()));
    assert_eq!(report["driver"]["sha256"].as_str().unwrap(), "ab".repeat(32));
    assert_eq!(report["callers"][0]["name"], "breaks");
    assert_eq!(report["callers"].as_array().unwrap().len(), 2);
    let calls = fs::read_to_string(newest.join("calls.jsonl")).unwrap();
    let last: Vec<serde_json::Value> =
        calls.lines().rev().take(2).map(|line| serde_json::from_str(line).unwrap()).collect();
    assert_eq!(last[0]["hostcall"], "mmio_read32");
    assert_eq!(last[0]["args"]["offset"], 8);
    assert_eq!(last[1]["entry"], "poll");
    assert_eq!(last[1]["args"]["queue"], 0);
    let memory = fs::read(newest.join("memory.bin")).unwrap();
    assert_eq!(memory[0x1234..0x1238], 0x600d_cafe_u32.to_le_bytes());
    assert_eq!(memory.len() as u64, report["memory"]["window"].as_u64().unwrap() + (2 << 20) * 2, "all addresses");
}

#[test]
fn faults_that_come_soon_after_a_bundle_leave_none() {
    let folder = tempfile::tempdir().unwrap();
    let supervisor = fault_with_bundles(BundleConfig { every_ns: FOR_EVER_NS, ..leaves(folder.path()) }, 3);
    assert_eq!((supervisor.faults(), bundles(folder.path()).len()), (3, 1));
}

#[test]
fn where_no_bundle_can_be_written_the_driver_comes_back_all_the_same() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("file");
    fs::write(&file, "").unwrap();
    let supervisor = fault_with_bundles(leaves(&file), 3);
    assert_eq!(supervisor.restarts(), 2);
    assert_eq!(bundles(folder.path()), [file]);
}

/// What never worked works no better from a snapshot; what did may.
#[test]
fn against_what_never_received_no_snapshot_helps() {
    let one = "(local $entry i32)
        (local.set $entry (call $take (i32.const 0)))
        (if (i32.and (i32.ne (local.get $entry) (i32.const 0)) (i32.eqz (i32.load (i32.const 1024)))) (then
            (i32.store (i32.const 1024) (i32.const 1))
            (call $put (i32.const 1) (call $received (local.get $entry)))))
        (i32.const 0)";
    let stuck = Fault::from(NetFault::ReceiveStuck { packets: 8, limit_ns: 1 });
    let unsent = Fault::from(NetFault::TransmitStuck { packets: 8, limit_ns: 1 });
    let trap = Fault::Trap { entry: Entry::Poll, kind: TrapKind::Unreachable };
    let helps = |supervisor: &Supervisor<Net<FrameQueues>>| {
        [&stuck, &unsent, &trap].map(|fault| supervisor.nook().class().snapshot_helps(fault))
    };
    let (mut supervisor, _) = supervisor_of(wat_driver(&[("poll", one)], ""), Policy::DEFAULT);
    supervisor.start().unwrap();
    assert_eq!(helps(&supervisor), [false, false, true]);
    while supervisor.nook().net_counters().rx_packets == 0 {
        supervisor.turn(now_ns() + 1_000_000).unwrap();
    }
    assert_eq!(helps(&supervisor), [true, false, true]);
}
