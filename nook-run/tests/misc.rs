//! A misc driver on QEMU's `edu`: its examples come out right at every level, and whatever ends its calls.

mod support;

use serde_json::Value;
use support::{Place, built};

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
