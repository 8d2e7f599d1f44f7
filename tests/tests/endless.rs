//! What a module could do without end or measure: each of it ends, or never begins.

use e1000_model::{Model, ModelConfig};
use nook_abi::{Entry, Fault};
use nook_bus::{Clock, DmaWindow};
use nook_runtime::{
    Budgets, Driver, DriverModule, Launcher, LoadError, Mmio, ModuleCache, NookBuilder, Wasi, WasmLauncher,
};
use nook_tests::{FrameQueues, cable, host, wat_driver};

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
    net_cpu_ns: 1_000_000_000,
};

fn launch(entry: &str, body: &str) -> Box<dyn Driver> {
    let module = wat_driver(&[(entry, body)], "");
    let (near, _far) = cable();
    let window = DmaWindow::new(module.layout().window_bytes).unwrap();
    let host = host(Box::new(Model::new(ModelConfig::default(), Box::new(near))), window, &module, BUDGETS);
    let launcher = WasmLauncher::new(module.into(), &ModuleCache::none(), Mmio::Emulated).unwrap();
    launcher.launch(host).unwrap_or_else(|error| panic!("{}", error.why))
}

#[test]
fn a_poll_that_only_delays_ends() {
    let mut driver = launch("poll", "(loop (call $delay_ns (i32.const 10000000)) (br 0)) (i32.const 0)");
    let limit_ns = BUDGETS.short_wall_ns;
    assert_eq!(driver.poll(0, 256, 0), Err(Fault::WallBudget { entry: Entry::Poll, limit_ns }));
}

#[test]
fn a_probe_that_only_sleeps_ends() {
    let mut driver = launch("probe", "(loop (call $sleep_ns (i64.const 10000000)) (br 0)) (i32.const 0)");
    let page = driver.host_page();
    let limit_ns = BUDGETS.process_total_ns;
    assert_eq!(driver.probe(0, page), Err(Fault::WallBudget { entry: Entry::Probe, limit_ns }));
}

#[test]
fn a_table_that_would_grow_over_the_hosts_memory_is_refused() {
    let text = r#"(module (table $t 1 funcref)
        (func (export "nook_remove") (drop (table.grow $t (ref.null func) (i32.const 0x7fffffff)))))"#;
    let refused = DriverModule::from_bytes(&wat::parse_str(text).unwrap(), Wasi::Refused);
    assert!(matches!(refused, Err(LoadError::Invalid(_))));
}

#[test]
fn a_link_that_goes_up_and_down_all_the_time_is_reported_a_hundred_times_in_a_second_at_most() {
    // By the clock, at each call; the clock begins with 1 s, and from 1.9 s on the link stays up.
    let timer = "(call $net_link (i32.or (i64.gt_u (call $clock_ns) (i64.const 1900000000))
                                         (i32.and (i32.wrap_i64 (i64.shr_u (call $clock_ns) (i64.const 10))) (i32.const 1)))
                     (i32.const 1000) (i32.const 1))
                 (call $timer_set (i64.const 1))";
    let module = wat_driver(&[("open", "(call $timer_set (i64.const 1)) (i32.const 0)"), ("timer", timer)], "");
    let (near, _far) = cable();
    let model = Model::new(ModelConfig::default(), Box::new(near));
    let launcher = WasmLauncher::new(module.clone().into(), &ModuleCache::none(), Mmio::Emulated).unwrap();
    let mut nook = NookBuilder::of(&module, &[&e1000_regs::MAP])
        .clock(Clock::new_virtual())
        .net(Box::new(model), Box::new(launcher), FrameQueues::default())
        .unwrap();
    nook.start().unwrap();
    let end_ns = nook.clock().now_ns() + 1_000_000_000;
    while nook.clock().now_ns() < end_ns {
        nook.turn(end_ns).unwrap();
    }
    let links = &nook.backend().links;
    assert!((2..=101).contains(&links.len()), "{} times", links.len());
    assert_eq!(links.last(), Some(&true), "what it came to is reported");
}
