//! What a module could do without end or measure: each of it ends, or never begins.

use std::sync::atomic::{AtomicBool, Ordering};

use e1000_model::{Model, ModelConfig};
use nook_abi::{Entry, Fault};
use nook_bus::{Clock, DmaWindow};
use nook_runtime::{
    Budgets, Driver, DriverModule, Launcher, LoadError, Mmio, ModuleCache, NookBuilder, RollbackMethod, Wasi,
    WasmLauncher,
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
    stall_ns: 500_000_000,
    quiet_ns: 1_000_000_000,
    counters_ns: 10_000_000_000,
    instruction_ns: 10,
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
    // The card is turned on: what is not would be noticed.
    let [ctrl, rctl, tctl] = [(0, 0x40), (0x100, 2), (0x400, 2)]
        .map(|(offset, value)| format!("(call $mmio_write32 (i32.const 0) (i32.const {offset}) (i32.const {value}))"));
    let open = format!("{ctrl} {rctl} {tctl} (call $timer_set (i64.const 1)) (i32.const 0)");
    let module = wat_driver(&[("open", &open), ("timer", timer)], "");
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

/// Runs a driver on virtual time whose `poll` counts its rounds in the window, for ever. Returns what ended it, the
/// rounds, and the time that passed.
fn rounds(way: Option<RollbackMethod>) -> (Result<u32, Fault>, u32, u64) {
    let at = wat_driver(&[], "").layout().window;
    let body = format!(
        "(loop (i32.atomic.store (i32.const {at}) (i32.add (i32.atomic.load (i32.const {at})) (i32.const 1))) (br 0))
         (i32.const 0)"
    );
    let module = wat_driver(&[("poll", &body)], "").metered();
    let (window, clock) = (DmaWindow::new(module.layout().window_bytes).unwrap(), Clock::new_virtual());
    let maps = [&e1000_regs::MAP];
    let builder = NookBuilder::of(&module, &maps).in_window(window.clone()).clock(clock.clone());
    let (near, _far) = cable();
    let host = builder.host(Box::new(Model::new(ModelConfig::default(), Box::new(near)))).unwrap();
    let launcher = match way {
        None => WasmLauncher::new(module.into(), &ModuleCache::none(), Mmio::Emulated),
        Some(way) => WasmLauncher::with_rollback(&module, &ModuleCache::none(), way.rollback()),
    };
    let mut driver = launcher.unwrap().launch(host).unwrap_or_else(|error| panic!("{}", error.why));
    let begun_ns = clock.now_ns();
    let outcome = driver.poll(0, 256, 0);
    let mut bytes = [0; 4];
    window.slice().subslice(0, 4).unwrap().copy_to(&mut bytes);
    (outcome, u32::from_le_bytes(bytes), clock.now_ns() - begun_ns)
}

#[test]
fn on_virtual_time_a_loop_ends_after_the_same_number_of_rounds_on_a_machine_that_has_other_things_to_do() {
    let limit_ns = Budgets::default().atomic_cpu_ns;
    let most = limit_ns / Budgets::default().instruction_ns;
    for way in [None, Some(RollbackMethod::Log)] {
        let first = rounds(way);
        let (outcome, rounds_made, took_ns) = first;
        assert_eq!(outcome, Err(Fault::CpuBudget { entry: Entry::Poll, limit_ns }), "{way:?}");
        assert!(rounds_made > 100 && u64::from(rounds_made) < most && took_ns >= limit_ns, "{way:?}: {first:?}");
        let over = AtomicBool::new(false);
        std::thread::scope(|scope| {
            let busy = || {
                while !over.load(Ordering::Relaxed) {
                    std::hint::spin_loop()
                }
            };
            (0..6).for_each(|_| drop(scope.spawn(busy)));
            let again = rounds(way);
            over.store(true, Ordering::Relaxed);
            assert_eq!(again, first, "{way:?}");
        });
    }
}
