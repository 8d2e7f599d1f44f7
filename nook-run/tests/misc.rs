//! A misc driver on QEMU's `edu`: its examples come out right at every level, and whatever ends its calls.

mod support;

use serde_json::Value;
use support::module::Module;
use support::{Ended, Place, built};

/// Drives QEMU's edu, and reads the report.
fn run(args: &[&str]) -> Value {
    let place = Place::new();
    let edu = built("edu.wasm");
    let edu = edu.to_str().expect("a test's paths are text");
    let all = [edu, "--qemu", "edu", "--json", "report.json"].into_iter().chain(args.iter().copied());
    place.nook_run(all).end().with(0);
    let report = std::fs::read(place.at("report.json")).expect("a report");
    serde_json::from_slice(&report).expect("JSON")
}

fn count(value: &Value) -> u64 {
    value.as_u64().expect("a count")
}

#[test]
fn factorials_and_transfers_come_out_right_at_every_level() {
    for isolation in ["sfi+txn", "sfi", "wrapped", "native", "process"] {
        let report = run(&["--isolation", isolation]);
        assert_eq!(report["isolation"], isolation);
        let outputs: Vec<_> = report["operations"].as_array().expect("a list").iter().map(|it| &it["output"]).collect();
        assert_eq!(outputs, ["ed000001", "87a9cbed", "78000000", "", "6e6f6f6b"], "{report:#}");
        assert!(count(&report["counters"]["irqs"]) >= 1, "{report:#}");
    }
}

#[test]
fn a_call_that_is_ended_is_rolled_back_and_its_operation_done_all_the_same() {
    let report = run(&["--crash-at", "invoke:3"]);
    assert_eq!((count(&report["fault_count"]), count(&report["recovery"]["rollbacks"])), (1, 1), "{report:#}");
    assert_eq!(count(&report["recovery"]["restarts"]), 0);
    let factorial = &report["operations"][2];
    assert_eq!((&factorial["output"], count(&factorial["lost"])), (&"78000000".into(), 0));
}

#[test]
fn what_a_driver_can_do_is_asked_when_it_is_up_which_may_be_later_or_never() {
    let report = run(&["--crash-at", "probe:1"]);
    assert_eq!((count(&report["fault_count"]), count(&report["recovery"]["restarts"])), (1, 1), "{report:#}");
    assert!(report["operations"].as_array().expect("a list").iter().all(|it| count(&it["right"]) == 1), "{report:#}");
    let place = Place::new();
    place.file("policy.toml", "[restart]\nbudget = 0\n");
    let edu = built("edu.wasm").display().to_string();
    for options in [&[][..], &["--call", "factorial:05000000"]] {
        let args = [&*edu, "--qemu", "edu", "--policy", "policy.toml", "--crash-at", "probe:1"];
        let ended = place.nook_run(args.iter().chain(options)).end().with(1);
        assert!(!ended.stdout.contains("no operation"), "{}", ended.stdout);
    }
}

#[test]
fn where_calls_cannot_be_rolled_back_a_fresh_driver_goes_on() {
    let report = run(&["--isolation", "sfi", "--crash-at", "invoke:3"]);
    assert_eq!((count(&report["fault_count"]), count(&report["recovery"]["restarts"])), (1, 1), "{report:#}");
    // It was not accepted yet, and so asked again of the successor.
    assert!(report["operations"].as_array().expect("a list").iter().all(|it| count(&it["right"]) == 1), "{report:#}");
}

#[test]
fn the_only_interrupt_of_a_run_can_be_ended_and_is_handled_all_the_same() {
    for (isolation, remedy) in [("sfi+txn", "rollbacks"), ("sfi", "restarts")] {
        let report = run(&["--isolation", isolation, "--crash-at", "irq:1"]);
        assert_eq!((count(&report["fault_count"]), count(&report["recovery"][remedy])), (1, 1), "{report:#}");
    }
}

#[test]
fn a_call_that_was_to_be_ended_and_never_came_is_reported() {
    let place = Place::new();
    let edu = built("edu.wasm");
    let edu = edu.to_str().expect("a test's paths are text");
    let end = place.nook_run([edu, "--qemu", "edu", "--crash-at", "irq:1000"]).end().with(0);
    assert!(end.stderr.contains("--crash-at irq:1000: no call was ended"), "{}", end.stderr);
}

#[test]
fn an_option_for_drivers_of_another_class_is_refused_with_both_classes() {
    for (driver, device, option, says) in [
        (
            "edu.wasm",
            &["--qemu", "edu"][..],
            &["--exercise", "ping"][..],
            "--exercise ping is for drivers of class net",
        ),
        ("edu.wasm", &["--qemu", "edu"], &["--pcap", "frames.pcap"], "--pcap is for drivers of class net"),
        ("e1000.wasm", &[], &["--call", "factorial"], "--call is for drivers of class misc"),
    ] {
        let place = Place::new();
        let driver = built(driver);
        let args = [driver.to_str().expect("a test's paths are text")].into_iter();
        let end = place.nook_run(args.chain(device.iter().copied()).chain(option.iter().copied())).end();
        let end = end.with(1);
        assert!(end.stderr.contains(says), "{}", end.stderr);
        assert!(!place.at("frames.pcap").exists());
    }
}

#[test]
fn a_transfer_whose_interrupt_is_ended_is_completed_or_lost_and_the_next_driver_finds_the_device_at_rest() {
    // The first interrupt is the factorial's.
    for (isolation, remedy, lost) in [("sfi+txn", "rollbacks", 0), ("sfi", "restarts", 1)] {
        let report = run(&["--isolation", isolation, "--crash-at", "irq:2"]);
        assert_eq!((count(&report["fault_count"]), count(&report["recovery"][remedy])), (1, 1), "{report:#}");
        let (store, load) = (&report["operations"][3], &report["operations"][4]);
        assert_eq!((count(&store["right"]), count(&store["lost"])), (1, lost), "{report:#}");
        assert_eq!((&load["output"], count(&load["wrong"])), (&"6e6f6f6b".into(), 0), "{report:#}");
    }
}

/// A misc driver as text, with the operation `nap`: what `open` does, what `invoke` does when it accepts, what its
/// deferred work does.
fn napping(ids: &str, registers: &str, [open, invoke, work]: [&str; 3]) -> Vec<u8> {
    let imports = r#"(import "nook" "misc_attach" (func $attach (param i32) (result i32)))
        (import "nook" "work_schedule" (func $later))
        (import "nook" "log" (func $log (param i32 i32 i32)))
        (import "nook" "mmio_read64" (func $get (param i32 i32) (result i64)))
        (import "nook" "mmio_write64" (func $put (param i32 i32 i64)))"#;
    let probe = r#"(global $page (mut i32) (i32.const 0))
        (data (i32.const 64) "nap") (data (i32.const 128) "it \1b[2J went wrong")
        (func (export "nook_probe") (param i32 i32) (result i32)
            (global.set $page (local.get 1))
            (memory.copy (i32.wrap_i64 (i64.load offset=48 (local.get 1))) (i32.const 64) (i32.const 3))
            (call $attach (i32.const 3)))"#;
    let entries = format!(
        r#"(func (export "nook_remove")) (func (export "nook_stop") (result i32) (i32.const 0))
        (func (export "nook_open") (result i32) {open} (i32.const 0))
        (func (export "nook_irq") (param i32) (result i32) (i32.const 0))
        (func (export "nook_invoke") (param i32 i32 i32) (result i32) {invoke} (i32.const 0))
        (func (export "nook_work") {work})"#
    );
    let manifest = format!(
        "abi = 1.0\nname = napper\nversion = 1\nlicense = Apache-2.0\nclass = misc\npci = {ids}\nregisters = {registers}\n\
         dma_bytes = 4096\ndma_mask_bits = 64\n"
    );
    Module { imports, entries: entries.leak(), probe, manifests: vec![manifest], ..Module::default() }.wasm()
}

/// Has a driver on the embedded card called, which does not wait in earnest.
fn nap(place: &Place, invoke: &str, work: &str) -> (Ended, Value) {
    place.file("driver.wasm", napping("8086:100e", "e1000", ["", invoke, work]));
    place.file("policy.toml", "[bundles]\nfolder = \"bundles\"\nevery = \"0s\"\n");
    let args = ["driver.wasm", "--virtual-time", "--call", "nap", "--policy", "policy.toml", "--json", "report.json"];
    let ended = place.nook_run(args).end();
    let report = std::fs::read(place.at("report.json")).unwrap_or_else(|_| panic!("no report: {}", ended.stderr));
    (ended, serde_json::from_slice(&report).expect("JSON"))
}

#[test]
fn an_operation_that_is_never_completed_is_given_up_and_the_run_fails() {
    let (ended, report) = nap(&Place::new(), "", "");
    let ended = ended.with(3);
    let tried = &report["operations"][0];
    assert_eq!((count(&tried["lost"]), count(&tried["wrong"])), (3, 1), "{report:#}");
    assert!(
        ended.stdout.contains("lost with its driver 3 times in a row, and is not asked for again"),
        "{}",
        ended.stdout
    );
    // It is said once, with what the host saw, and counted from then on.
    let said = |what: &str| ended.stderr.lines().filter(|line| line.contains(what)).count();
    let why = "(`nap`: `irq_enable` was never called, so no interrupt can come)";
    assert_eq!(
        (said(why), said(" (2 more times)"), said("nook-run postmortem bundles/")),
        (2, 1, 1),
        "{}",
        ended.stderr
    );
    assert_eq!(said("the same fault as before, 2 in a row"), 1, "{}", ended.stderr);
}

#[test]
fn an_operation_whose_work_traps_each_time_is_given_up_and_its_last_words_are_kept() {
    let place = Place::new();
    let says = "(call $log (i32.const 1) (i32.const 128) (i32.const 18)) unreachable";
    let (ended, report) = nap(&place, "(call $later)", says);
    ended.with(3);
    assert_eq!(count(&report["operations"][0]["lost"]), 3, "{report:#}");
    let mut bundles = std::fs::read_dir(place.at("bundles")).expect("bundles");
    let bundle = bundles.next().expect("a bundle").expect("an entry").path();
    let told = place.nook_run(["postmortem", bundle.to_str().expect("a test's paths are text")]).end().with(0).stdout;
    assert!(told.contains("    log(level 1): it \u{fffd}[2J went wrong\n"), "{told}");
}

#[test]
fn a_call_whose_output_is_known_to_nobody_is_not_called_right() {
    let (ended, report) = nap(&Place::new(), "", "");
    assert_eq!(count(&report["operations"][0]["right"]), 0, "{}", ended.stdout);
    let report = run(&["--call", "factorial:06000000", "--call", "factorial:05000000"]);
    let counts = |at: usize| ["right", "not_compared", "wrong"].map(|name| count(&report["operations"][at][name]));
    assert_eq!((counts(0), counts(1)), ([0, 1, 0], [1, 0, 0]), "{report:#}");
}

#[test]
fn a_transfer_that_is_started_while_dma_is_off_is_said_by_the_register() {
    let place = Place::new();
    let start = "(drop (call $get (i32.const 0) (i32.const 0x98)))
        (call $put (i32.const 0) (i32.const 0x80) (i64.load offset=24 (global.get $page)))
        (call $put (i32.const 0) (i32.const 0x88) (i64.const 0x40000))
        (call $put (i32.const 0) (i32.const 0x90) (i64.const 4))
        (call $put (i32.const 0) (i32.const 0x98) (i64.const 1))";
    place.file("driver.wasm", napping("1234:11e8", "edu", [start, "", ""]));
    let ended = place.nook_run(["driver.wasm", "--qemu", "edu", "--duration", "100ms"]).end().with(0);
    let says = "DMA_COMMAND starts a DMA transfer while DMA is off";
    assert!(ended.stderr.contains(says) && ended.stderr.contains("call `dma_enable` in `open`"), "{}", ended.stderr);
}
