//! How a driver is isolated when nobody says how, and that what stands against it is said.

mod support;

use std::path::Path;

use serde_json::Value;
use support::module::Module;
use support::{Ended, Place, assert_is_said, built, e1000};

/// What a driver does that no log holds: its calls cannot be rolled back.
const WAITS: &str = r#"(func (export "nook_poll") (param i32 i32 i32) (result i32)
    (drop (memory.atomic.wait32 (i32.const 0) (i32.const 1) (i64.const 0))) (i32.const 0))"#;

const WASI: &str = r#"(import "nook" "net_attach" (func $attach (param i64 i32) (result i32)))
    (import "wasi_snapshot_preview1" "fd_write" (func (param i32 i32 i32 i32) (result i32)))"#;

/// Runs modules with these arguments, and reads the report.
fn run(modules: &str, args: &[&str]) -> (Ended, Value) {
    let place = Place::new();
    let all = [modules].into_iter().chain(args.iter().copied()).chain(["--json", "report.json"]);
    let ended = place.nook_run(all).end().with(0);
    let report = std::fs::read(place.at("report.json")).expect("a report");
    (ended, serde_json::from_slice(&report).expect("JSON"))
}

fn text(path: &Path) -> &str {
    path.to_str().expect("a test's paths are text")
}

#[test]
fn without_a_word_a_call_that_faults_is_rolled_back() {
    let (ended, report) = run(text(&e1000()), &["--exercise", "ping", "--crash-at", "poll:20"]);
    assert!(!ended.stderr.contains("not sfi+txn"), "{}", ended.stderr);
    assert_eq!(report["isolation"], "sfi+txn");
    let RecoveryCounts { rollbacks, restarts } = RecoveryCounts::of(&report);
    assert_eq!((report["fault_count"].as_u64(), rollbacks, restarts), (Some(1), 1, 0), "{report:#}");
    assert_eq!(report["exercise"]["ping"]["received"], 100);
}

#[test]
fn traps_anywhere_under_load_cost_no_byte_and_no_restart() {
    let (_, report) = run(text(&e1000()), &["--exercise", "ping,tcp,rr", "--crash-every", "20ms", "--seed", "5"]);
    let RecoveryCounts { rollbacks, restarts } = RecoveryCounts::of(&report);
    assert!(rollbacks > 10 && restarts == 0, "{report:#}");
    assert_eq!(report["fault_count"].as_u64(), Some(rollbacks), "{report:#}");
    let exercise = &report["exercise"];
    assert_eq!((&exercise["tcp"]["hash_ok"], &exercise["rr"]["lost"]), (&true.into(), &0.into()), "{report:#}");
    assert_eq!(exercise["ping"]["received"], 100);
}

struct RecoveryCounts {
    rollbacks: u64,
    restarts: u64,
}

impl RecoveryCounts {
    fn of(report: &Value) -> Self {
        let count = |name: &str| report["recovery"][name].as_u64().expect("a count");
        RecoveryCounts { rollbacks: count("rollbacks"), restarts: count("restarts") }
    }
}

#[test]
fn a_driver_whose_calls_cannot_be_rolled_back_runs_without_that_and_it_is_said() {
    let place = Place::new();
    let waits = place.file("waits.wasm", Module { poll: WAITS, ..Module::default() }.wasm());
    let wasi = place.file("wasi.wasm", Module { imports: WASI, ..Module::default() }.wasm());
    let pages = place.file("pages.toml", "[rollback]\nmethod = \"pages\"\n");
    let cases = [
        (&waits, &[][..], "memory.atomic.wait"),
        (&wasi, &["--wasi"], "imports WASI"),
        (&wasi, &["--wasi", "--policy", text(&pages)], "imports WASI"),
    ];
    for (driver, more, why) in cases {
        let args = [more, &["--duration", "50ms"]].concat();
        let (ended, report) = run(text(driver), &args);
        assert!(ended.stderr.contains("WARN isolation sfi, not sfi+txn: "), "{}", ended.stderr);
        assert!(ended.stderr.contains(why), "{}", ended.stderr);
        assert_eq!(report["isolation"], "sfi");
        let asked = [&[text(driver), "--isolation", "sfi+txn"], more].concat();
        let says = ["cannot be rolled back (--isolation sfi runs it without that)", why];
        assert_is_said(why, &place.nook_run(asked).end(), 1, &says);
    }
}

#[test]
fn a_filter_and_direct_registers_exclude_it_and_it_is_said() {
    let both = format!("{}+{}", text(&e1000()), text(&built("filter")));
    let (ended, report) = run(&both, &["--exercise", "ping", "--filter-rule", "udp:9"]);
    assert!(ended.stderr.contains("WARN isolation sfi, not sfi+txn: ") && ended.stderr.contains("a filter's memory"));
    assert_eq!(report["isolation"], "sfi");
    let asked = Place::new().nook_run([&*both, "--isolation", "sfi+txn"]).end();
    assert_is_said(
        "asked for with a filter",
        &asked,
        1,
        &["a filter's memory cannot be rolled back", "--isolation sfi"],
    );
    // The embedded model has no registers that could be mapped.
    let direct = Place::new().nook_run([text(&e1000()), "--mmio", "direct"]).end();
    assert_is_said("direct", &direct, 1, &["isolation sfi, not sfi+txn: ", "--mmio direct reaches the device at once"]);
}

#[test]
fn where_the_policy_says_so_calls_can_be_rolled_back_from_the_first_fault_on() {
    let place = Place::new();
    let policy = place.file("policy.toml", "[isolation]\nbegin = \"sfi\"\n");
    let policy = ["--policy", text(&policy), "--exercise", "tcp"];
    let (_, report) = run(text(&e1000()), &policy);
    assert_eq!((report["isolation"].as_str(), report["fault_count"].as_u64()), (Some("sfi"), Some(0)));
    let (_, report) = run(text(&e1000()), &[&policy[..], &["--crash-every", "100ms"]].concat());
    let RecoveryCounts { rollbacks, restarts } = RecoveryCounts::of(&report);
    assert_eq!((report["isolation"].as_str(), restarts), (Some("sfi+txn"), 1), "{report:#}");
    assert!(rollbacks > 0, "{report:#}");
    assert_eq!(report["exercise"]["tcp"]["hash_ok"], true);
}

#[test]
fn anybodys_driver_runs_natively_if_its_object_lies_beside_it() {
    let place = Place::new();
    let copy =
        |extension: &str| std::fs::read(e1000().with_extension(extension)).expect("`cargo xtask drivers` made it");
    let driver = place.file("theirs.wasm", copy("wasm"));
    place.file("theirs.so", copy("so"));
    for level in ["native", "wrapped"] {
        let (_, report) = run(text(&driver), &["--isolation", level, "--exercise", "ping"]);
        assert_eq!((report["isolation"].as_str(), report["fault_count"].as_u64()), (Some(level), Some(0)));
        assert_eq!(report["exercise"]["ping"]["received"], 100);
    }
    place.file("theirs.so", copy("elf"));
    let says = ["theirs.so", "does not export `nook_driver_e1000`"];
    assert_is_said("a program", &place.nook_run([text(&driver), "--isolation", "native"]).end(), 1, &says);
}

#[test]
fn a_limit_of_address_space_that_leaves_no_room_for_a_sandbox_is_named_with_what_would_do() {
    let place = Place::new();
    let driver = e1000();
    let script = "ulimit -v 5000000; exec \"$@\"";
    let asked = |isolation| {
        let args = ["-c", script, "sh", support::NOOK_RUN, driver.to_str().unwrap(), "--isolation", isolation];
        place.command("sh", args.into_iter().chain(["--exercise", "ping"])).end()
    };
    let ended = asked("sfi").with(1);
    for part in ["GiB of address space", "RLIMIT_AS", "4.8 GiB in all", "`ulimit -v "] {
        assert!(ended.stderr.contains(part), "{part}: {}", ended.stderr);
    }
    asked("wrapped").with(0);
}
