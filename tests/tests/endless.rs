//! What a module could do without end or measure: each of it ends, or never begins.

use e1000_model::{Model, ModelConfig};
use nook_abi::{Entry, Fault};
use nook_bus::DmaWindow;
use nook_runtime::{
    Budgets, Driver, DriverModule, Host, HostConfig, Launcher, LoadError, Mmio, ModuleCache, Wasi, WasmLauncher,
};
use nook_tests::cable;

/// Small enough that a test does not take long; what is measured against them has no end.
const BUDGETS: Budgets = Budgets {
    interrupt_cpu_ns: 20_000_000,
    atomic_cpu_ns: 5_000_000_000,
    process_cpu_ns: 5_000_000_000,
    short_wall_ns: 100_000_000,
    process_wall_ns: 5_000_000_000,
    process_total_ns: 200_000_000,
    transmit_ns: 10_000_000_000,
    quiet_ns: 1_000_000_000,
    counters_ns: 10_000_000_000,
};

/// A driver with these bodies of `probe` and `poll`.
fn module(extra: &str, probe: &str, poll: &str) -> Result<DriverModule, LoadError> {
    let text = format!(
        r#"(module
            (import "nook" "delay_ns" (func $delay (param i32)))
            (import "nook" "sleep_ns" (func $sleep (param i64)))
            (memory (export "memory") 1)
            {extra}
            (func (export "nook_probe") (param i32 i32) (result i32) {probe} (i32.const 0))
            (func (export "nook_remove"))
            (func (export "nook_open") (result i32) (i32.const 0))
            (func (export "nook_stop") (result i32) (i32.const 0))
            (func (export "nook_poll") (param i32 i32 i32) (result i32) {poll} (i32.const 0))
            (func (export "nook_irq") (param i32) (result i32) (i32.const 0))
            (@custom "nook.manifest" "abi = 0.1\nname = endless\nversion = 1\nlicense = Apache-2.0\nclass = net\npci = 8086:100e\nregisters = e1000\ndma_bytes = 4096\ndma_mask_bits = 64\n"))"#
    );
    DriverModule::from_bytes(&wat::parse_str(text).unwrap(), Wasi::Refused)
}

fn launch(module: DriverModule) -> Box<dyn Driver> {
    let (near, _far) = cable();
    let config = HostConfig {
        device: Box::new(Model::new(ModelConfig::default(), Box::new(near))),
        window: DmaWindow::new(module.layout().window_bytes).unwrap(),
        maps: &[&e1000_regs::MAP],
        manifest: module.manifest(),
        layout: module.layout(),
        budgets: BUDGETS,
    };
    let host = Host::new(config).unwrap();
    let launcher = WasmLauncher::new(module.into(), &ModuleCache::none(), Mmio::Emulated).unwrap();
    launcher.launch(host).unwrap_or_else(|error| panic!("{}", error.why))
}

#[test]
fn a_poll_that_only_delays_ends() {
    let mut driver = launch(module("", "", "(loop (call $delay (i32.const 10000000)) (br 0))").unwrap());
    let limit_ns = BUDGETS.short_wall_ns;
    assert_eq!(driver.poll(0, 256, 0), Err(Fault::WallBudget { entry: Entry::Poll, limit_ns }));
}

#[test]
fn a_probe_that_only_sleeps_ends() {
    let mut driver = launch(module("", "(loop (call $sleep (i64.const 10000000)) (br 0))", "").unwrap());
    let page = driver.host_page();
    let limit_ns = BUDGETS.process_total_ns;
    assert_eq!(driver.probe(0, page), Err(Fault::WallBudget { entry: Entry::Probe, limit_ns }));
}

#[test]
fn a_table_that_would_grow_over_the_hosts_memory_is_refused() {
    let table = "(table $t 1 funcref)";
    let grow = "(drop (table.grow $t (ref.null func) (i32.const 0x7fffffff)))";
    assert!(matches!(module(table, grow, ""), Err(LoadError::Invalid(_))));
}
