//! Two modules in one nook: a network driver and a filter, which call each other without the host.

use std::sync::Arc;

use e1000_model::{Model, ModelConfig};
use nook_abi::{Entry, Fault, Hostcall, TrapKind};
use nook_bus::DmaWindow;
use nook_runtime::{
    Budgets, DriverModule, Ended, FilterModule, Launcher, Mmio, ModuleCache, Nook, NookError, WasmLauncher,
};
use nook_tests::{FrameQueues, Rig, cable, driver_file, e1000_module, frame, host, wat_driver};

const FRAMES: u32 = 600;

fn filter() -> FilterModule {
    FilterModule::load(&driver_file("filter")).unwrap_or_else(|error| panic!("{error}; run `cargo xtask drivers`"))
}

/// Returns a filter, `strange`, whose `frame` has this body, after another 64 KiB of memory than the driver has.
fn wat(body: &str) -> FilterModule {
    beginning("(i32.const 0)", body)
}

/// Returns the filter with this body, and this `begin`.
fn beginning(begin: &str, body: &str) -> FilterModule {
    let text = format!(
        r#"(module (memory (export "memory") 3)
            (global $seen (mut i32) (i32.const 0))
            (func $again (param i32) (result i32) (i32.add (call $again (local.get 0)) (i32.const 1)))
            (func (export "nook_begin") (param i32 i32) (result i32) {begin})
            (func (export "nook_frame") (param $direction i32) (param $offset i32) (param $len i32) (result i32) {body})
            (@custom "nook.manifest" "abi = 1.0\nname = strange\nversion = 1\nlicense = Apache-2.0\nclass = filter\n"))"#
    );
    FilterModule::from_bytes(&wat::parse_str(text).unwrap()).unwrap()
}

fn launcher(filter: &FilterModule, rules: &str) -> WasmLauncher {
    launcher_of(e1000_module(), filter, rules)
}

fn launcher_of(driver: Arc<DriverModule>, filter: &FilterModule, rules: &str) -> WasmLauncher {
    WasmLauncher::filtered(driver, filter, rules.into(), &ModuleCache::none(), Mmio::Emulated).unwrap()
}

fn nook_with(launcher: WasmLauncher) -> Rig {
    nook_of(&e1000_module(), launcher)
}

fn nook_of(module: &DriverModule, launcher: WasmLauncher) -> Rig {
    let window = DmaWindow::new(module.layout().window_bytes).unwrap();
    let (near, far) = cable();
    // What ends a loop is the CPU time, also on a machine that gives it a small share.
    let budgets = Budgets { atomic_cpu_ns: 100_000_000, short_wall_ns: 60_000_000_000, ..Budgets::default() };
    let host = host(Box::new(Model::new(ModelConfig::default(), Box::new(near))), window, module, budgets);
    Rig { nook: Nook::net(host, Box::new(launcher), FrameQueues::default()), far: Box::new(far) }
}

fn up(launcher: WasmLauncher) -> Rig {
    let mut rig = nook_with(launcher);
    rig.nook.start().unwrap();
    rig.until("the link is up", |rig| rig.nook.backend().links.last() == Some(&true));
    rig
}

/// Makes a frame; every third one has another type.
fn typed(number: u32) -> Vec<u8> {
    let mut frame = frame(number, 60 + number as usize % 1400);
    if number.is_multiple_of(3) {
        frame[13] = 0xb6;
    }
    frame
}

#[test]
fn a_filter_drops_what_its_rules_name_both_ways_and_the_rest_arrives_in_order() {
    let mut rig = up(launcher(&filter(), "udp:53\nethertype:0x88b6"));
    let (mut arrived, mut next) = (Vec::new(), 0);
    let passing: Vec<_> = (0..FRAMES).filter(|number| !number.is_multiple_of(3)).map(typed).collect();
    rig.until("what passes has arrived at both ends", |rig| {
        while next < FRAMES && rig.nook.backend().to_send.len() < 64 {
            rig.nook.backend_mut().to_send.push_back(typed(next));
            assert!(rig.far.send(&typed(next)).unwrap());
            next += 1;
        }
        arrived.extend(rig.arrived());
        arrived.len() >= passing.len() && rig.nook.backend().received.len() >= passing.len()
    });
    rig.settle();
    arrived.extend(rig.arrived());
    assert!(arrived == passing && rig.nook.backend().received == passing);
    rig.nook.stats().unwrap();
    let counters = *rig.nook.net_counters();
    assert_eq!((counters.rx_dropped, counters.tx_dropped), (u64::from(FRAMES / 3), u64::from(FRAMES / 3)));
    rig.nook.stop().unwrap();
}

#[test]
fn driver_and_filter_call_each_other_without_the_host() {
    let calls = |launcher: WasmLauncher| {
        let mut rig = up(launcher);
        (0..100).for_each(|number| rig.nook.backend_mut().to_send.push_back(frame(number, 60)));
        let others = |rig: &Rig| rig.nook.counters().hostcalls - rig.nook.counters().reg_reads;
        let before = others(&rig);
        let mut arrived = 0;
        rig.until("all were sent", |rig| {
            arrived += rig.arrived().len();
            arrived == 100
        });
        // What reads no register is a timer and its like, or masks interrupts.
        others(&rig) - before
    };
    let calls = calls(launcher(&filter(), "udp:53"));
    assert!(calls < 100, "{calls}");
}

#[test]
fn a_fault_of_either_names_the_module_and_a_restart_restarts_both() {
    let told = |filter: &FilterModule| {
        let mut rig = up(launcher(filter, ""));
        rig.nook.backend_mut().to_send.extend((0..8).map(|number| frame(number, 60)));
        let told = fault_of(&mut rig);
        rig.nook.restart().unwrap();
        rig.until("the link is up again", |rig| rig.nook.interface().is_some_and(|interface| interface.link.up));
        told
    };
    let trap = |kind| Fault::Trap { entry: Entry::Poll, kind };
    for (body, fault) in [
        ("unreachable", trap(TrapKind::Unreachable)),
        ("(i32.load (i32.const -4))", trap(TrapKind::MemoryOutOfBounds)),
        ("(call $again (i32.const 0))", trap(TrapKind::StackOverflow)),
        ("(loop $l (br $l)) (i32.const 0)", Fault::CpuBudget { entry: Entry::Poll, limit_ns: 100_000_000 }),
    ] {
        let (found, text) = told(&wat(body));
        assert_eq!(found, fault);
        assert!(text.ends_with("in `strange`)"), "{text}");
    }
    // A filter that answers nonsense drops everything, and what it cannot do to its driver's memory it does to its own.
    let mut rig =
        up(launcher(&wat("(memory.fill (i32.const 0) (i32.const 255) (i32.const 196608)) (i32.const 77)"), ""));
    rig.nook.backend_mut().to_send.extend((0..8).map(|number| frame(number, 60)));
    rig.until("all were dropped", |rig| rig.nook.net_counters().tx_dropped == 8);
}

/// Lets a nook work until it faults: the fault, and what is said of it.
fn fault_of(rig: &mut Rig) -> (Fault, String) {
    let error = loop {
        if let Err(error) = rig.turn() {
            break error;
        }
    };
    let NookError::Fault { fault, .. } = error else { panic!("{error}") };
    (fault, error.to_string())
}

#[test]
fn a_fault_of_the_drivers_own_beside_a_filter_names_the_driver() {
    // Each has asked the filter before.
    let trap = |kind| Fault::Trap { entry: Entry::Poll, kind };
    for (body, fault) in [
        ("unreachable", trap(TrapKind::Unreachable)),
        ("(drop (i32.load (i32.const -4))) (i32.const 0)", trap(TrapKind::MemoryOutOfBounds)),
        ("(drop (call $recurse (i64.const 0))) (i32.const 0)", trap(TrapKind::StackOverflow)),
        ("(call $spin) (i32.const 0)", Fault::CpuBudget { entry: Entry::Poll, limit_ns: 100_000_000 }),
        (
            "(call $delay_ns (i32.const -1)) (i32.const 0)",
            Fault::BadArgument {
                call: Hostcall::DelayNs,
                argument: "ns",
                value: 0xffff_ffff,
                rule: "longer than 10 ms: sleep instead",
            },
        ),
        // Found by the host after the call.
        ("(i32.const 2)", Fault::BadReturn { entry: Entry::Poll, value: 2, rule: "neither idle nor again" }),
    ] {
        let poll = format!("(drop (call $net_filter (i32.const 0) (i32.const 0) (i32.const 60))) {body}");
        let driver = Arc::new(wat_driver(&[("poll", &poll)], ""));
        let mut rig = nook_of(&driver, launcher_of(driver.clone(), &wat("(i32.const 0)"), ""));
        rig.nook.start().unwrap();
        let (found, text) = fault_of(&mut rig);
        assert_eq!(found, fault);
        assert!(text.ends_with("in `odd`)"), "{text}");
    }
}

#[test]
fn a_filter_is_not_blamed_for_what_the_driver_does_in_its_next_life() {
    // The window outlives both: in its first life the driver asks the filter, in its second it traps itself.
    let poll = "(local $window i32) (local.set $window (i32.wrap_i64 (i64.load offset=8 (global.get $page))))
                (if (i32.load (local.get $window)) (then unreachable))
                (i32.store (local.get $window) (i32.const 1))
                (call $net_filter (i32.const 0) (i32.const 0) (i32.const 60))";
    assert_eq!(std::mem::offset_of!(nook_abi::HostPage, window_addr), 8);
    let driver = Arc::new(wat_driver(&[("poll", poll)], ""));
    let mut rig = nook_of(&driver, launcher_of(driver.clone(), &wat("unreachable"), ""));
    rig.nook.start().unwrap();
    let (_, text) = fault_of(&mut rig);
    assert!(text.ends_with("in `strange`)"), "{text}");
    rig.nook.restart().unwrap();
    let (_, text) = fault_of(&mut rig);
    assert!(text.ends_with("in `odd`)"), "{text}");
}

#[test]
fn a_second_instance_of_a_filter_begins_again() {
    // It passes three frames and traps at the fourth: each life has three.
    let body = "(global.set $seen (i32.add (global.get $seen) (i32.const 1)))
                (if (i32.gt_u (global.get $seen) (i32.const 3)) (then unreachable)) (i32.const 0)";
    let mut rig = up(launcher(&wat(body), ""));
    for _ in 0..3 {
        rig.nook.backend_mut().to_send.extend((0..4).map(|number| frame(number, 60)));
        while rig.turn().is_ok() {}
        *rig.nook.backend_mut() = FrameQueues::default();
        rig.nook.restart().unwrap();
    }
}

#[test]
fn a_filters_constructors_run_once_before_it_begins() {
    let begin = r#"(i32.sub (global.get $seen) (i32.const 1)))
        (func (export "_initialize") (global.set $seen (i32.add (global.get $seen) (i32.const 1)))"#;
    let mut rig = up(launcher(&beginning(begin, "(i32.const 0)"), ""));
    rig.nook.restart().unwrap();
}

#[test]
fn rules_that_a_filter_does_not_know_keep_the_nook_from_starting() {
    let mut rig = nook_with(launcher(&filter(), "udp:53\nfrobnicate"));
    let error = rig.nook.start().unwrap_err().to_string();
    assert!(error.contains("the filter `filter` refuses its rules") && error.contains("frobnicate"), "{error}");
}

#[test]
fn a_filter_is_no_driver_and_a_driver_is_no_filter() {
    let bytes = std::fs::read(driver_file("filter")).unwrap();
    let error = nook_runtime::DriverModule::from_bytes(&bytes, nook_runtime::Wasi::Refused).unwrap_err().to_string();
    assert!(error.contains("driver.wasm+filter.wasm"), "{error}");
    let error = FilterModule::load(&driver_file("e1000")).unwrap_err().to_string();
    assert!(error.contains("`e1000` is a driver"), "{error}");
}

#[test]
fn a_filter_with_imports_is_refused_and_so_is_a_driver_that_asks_none() {
    let text = r#"(module (import "nook" "clock_ns" (func (result i64))) (memory (export "memory") 1)
        (@custom "nook.manifest" "abi = 1.0\nname = odd\nversion = 1\nlicense = Apache-2.0\nclass = filter\n"))"#;
    let error = FilterModule::from_bytes(&wat::parse_str(text).unwrap()).unwrap_err().to_string();
    assert!(error.contains("imports `nook.clock_ns`; a filter imports nothing"), "{error}");
    let of_net = |row: &&nook_abi::EntryInfo| row.class.is_none_or(|class| class == nook_abi::Class::Net);
    let entries: String = nook_abi::ENTRIES
        .iter()
        .filter(of_net)
        .map(|row| {
            let params: String = row
                .args
                .iter()
                .map(|arg| match arg.value {
                    nook_abi::Value::U64 | nook_abi::Value::I64 => "(param i64)",
                    _ => "(param i32)",
                })
                .collect();
            let (result, body) = match row.result {
                nook_abi::Value::Unit => ("", ""),
                _ => ("(result i32)", "(i32.const 0)"),
            };
            format!("(func (export \"nook_{}\") {params} {result} {body})", row.name)
        })
        .collect();
    let manifest = e1000_wasm::MANIFEST.escape_default();
    let text = format!("(module (memory (export \"memory\") 1) {entries} (@custom \"nook.manifest\" \"{manifest}\"))");
    let module = nook_runtime::DriverModule::from_bytes(&wat::parse_str(text).unwrap(), nook_runtime::Wasi::Refused);
    let cache = ModuleCache::none();
    let made = WasmLauncher::filtered(Arc::new(module.unwrap()), &filter(), String::new(), &cache, Mmio::Emulated);
    let error = made.err().unwrap().to_string();
    assert!(error.contains("calls no filter"), "{error}");
}

#[test]
fn what_runs_while_an_instance_is_made_is_not_charged_to_the_last_call() {
    const SHORT_NS: u64 = 2_000_000_000;
    const LONG_NS: u64 = 60_000_000_000;
    let budgets = Budgets {
        atomic_cpu_ns: LONG_NS,
        process_cpu_ns: LONG_NS,
        short_wall_ns: SHORT_NS,
        process_wall_ns: LONG_NS,
        ..Budgets::default()
    };
    // Long enough that the clock ticks meanwhile, both in the call and in the filter's beginning.
    let spins = "(local $end i64)
        (local.set $end (i64.add (call $clock_ns) (i64.const 100000000)))
        (loop $again (br_if $again (i64.lt_u (call $clock_ns) (local.get $end)))) (i32.const 0)";
    let begins = "(local $n i32)
        (loop $again
            (local.set $n (i32.add (local.get $n) (i32.const 1)))
            (br_if $again (i32.lt_u (local.get $n) (i32.const 100000000))))
        (i32.const 0)";
    let driver = Arc::new(wat_driver(&[("poll", spins)], ""));
    let launcher = launcher_of(driver.clone(), &beginning(begins, "(i32.const 0)"), "");
    let window = DmaWindow::new(driver.layout().window_bytes).unwrap();
    let (near, _far) = cable();
    let host = host(Box::new(Model::new(ModelConfig::default(), Box::new(near))), window, &driver, budgets);
    let mut instance = launcher.launch(host).unwrap_or_else(|error| panic!("{}", error.why));
    assert_eq!(instance.poll(0, 0, 0), Ok(0));
    let Ended { host, quiet } = instance.end();
    quiet.unwrap();
    // What the call may take is over long ago when the next instance is made.
    std::thread::sleep(std::time::Duration::from_nanos(SHORT_NS));
    let again = launcher.launch(host);
    assert!(again.is_ok(), "{}", again.err().unwrap().why);
}
