//! `nook-run postmortem`: from a fault to the line that did it.

mod support;

use std::fs;
use std::path::PathBuf;

use support::module::Module;
use support::{Place, assert_is_said, e1000};
use wasmparser::{ExternalKind, Operator, Parser, Payload};

/// Returns the e1000 driver, with one instruction of `poll` made a trap.
fn driver_with_a_trap_in_poll() -> Vec<u8> {
    let mut wasm = fs::read(e1000()).unwrap();
    let (mut imports, mut poll, mut bodies) = (0, None, Vec::new());
    for payload in Parser::new(0).parse_all(&wasm) {
        match payload.unwrap() {
            Payload::ImportSection(section) => imports = section.count(),
            Payload::ExportSection(section) => {
                let mut exports = section.into_iter().map(Result::unwrap);
                poll = exports.find(|it| it.name == "nook_poll" && it.kind == ExternalKind::Func).map(|it| it.index);
            }
            Payload::CodeSectionEntry(body) => bodies.push(body),
            _ => {}
        }
    }
    let body = &bodies[(poll.unwrap() - imports) as usize];
    let instructions = body.get_operators_reader().unwrap().into_iter_with_offsets().map(Result::unwrap);
    // Two bytes, `local.get` and a small index: in their place, `unreachable` and `nop` are valid whatever follows.
    let mut gets = instructions.filter(|(operator, _)| matches!(operator, Operator::LocalGet { local_index: ..=127 }));
    let (_, at) = gets.next().unwrap();
    wasm[at..at + 2].copy_from_slice(&[0x00, 0x01]);
    wasm
}

/// Runs a faulty driver and returns the newest bundle that it leaves.
fn bundle(place: &Place, driver: &[u8]) -> PathBuf {
    place.file("driver.wasm", driver);
    place.file("policy.toml", "[restart]\nbudget = 1\n[bundles]\nfolder = \"bundles\"\nevery = \"0s\"\n");
    let ended = place.nook_run(["driver.wasm", "--policy", "policy.toml"]).end();
    assert_is_said("a faulty driver", &ended, 4, &["crash bundle: bundles/"]);
    let mut bundles: Vec<_> = fs::read_dir(place.at("bundles")).unwrap().map(|entry| entry.unwrap().path()).collect();
    bundles.sort();
    // Not only the first: later ones of the same place are left after a rollback that was of no use.
    for bundle in &bundles {
        let told = place.nook_run(["postmortem", bundle.to_str().unwrap()]).end().with(0).stdout;
        assert!(told.contains("call stack, innermost first:\n  "), "{}: {told}", bundle.display());
    }
    bundles.pop().unwrap()
}

#[test]
fn a_trap_is_traced_to_the_authors_file_and_line_and_to_what_the_driver_did_before() {
    let place = Place::new();
    let bundle = bundle(&place, &driver_with_a_trap_in_poll());
    let told = place.nook_run(["postmortem", bundle.to_str().unwrap()]).end().with(0).stdout;
    for part in [
        "poll: trap: unreachable code was reached",
        "embedded model",
        "call stack, innermost first:\n  nook_poll\n",
        ".rs:",
        "driver-sdk/src/instance.rs:",
        "    RCTL <- ",
        "  [EN",
        "\n  poll(queue 0, budget ",
        " ms before)\n",
        "data and stack",
    ] {
        assert!(told.contains(part), "{part:?} is not in:\n{told}");
    }
}

#[test]
fn a_trap_on_request_is_traced_to_the_authors_line_too() {
    let place = Place::new();
    place.file("policy.toml", "[bundles]\nfolder = \"bundles\"\n");
    let driver = e1000();
    for seed in ["3", "4", "5"] {
        let run = [driver.to_str().unwrap(), "--policy", "policy.toml", "--exercise", "ping", "--seed", seed];
        place.nook_run(run.into_iter().chain(["--crash-at", "poll:25"])).end().with(0);
    }
    for bundle in fs::read_dir(place.at("bundles")).unwrap() {
        let bundle = bundle.unwrap().path();
        let told = place.nook_run(["postmortem", bundle.to_str().unwrap()]).end().with(0).stdout;
        let stack = told.split("call stack, innermost first:\n").nth(1).unwrap().split("\n\n").next().unwrap();
        assert!(told.contains("poll: trap: trap made on request"), "{told}");
        assert!(stack.contains("nook_poll\n") && stack.lines().nth(1).unwrap().contains(".rs:"), "{told}");
        assert!(!stack.contains("function "), "each has its name: {told}");
    }
}

#[test]
fn without_the_drivers_file_the_rest_is_shown_all_the_same() {
    let place = Place::new();
    let bundle = bundle(&place, &driver_with_a_trap_in_poll());
    fs::remove_file(place.at("driver.wasm")).unwrap();
    let bundle = bundle.to_str().unwrap();
    let told = place.nook_run(["postmortem", bundle]).end().with(0).stdout;
    assert!(told.contains("(no files and lines: ") && told.contains("--driver FILE names it"), "{told}");
    assert!(told.contains("nook_poll") && told.contains("RCTL <- "), "{told}");
    let other = e1000();
    let told = place.nook_run(["postmortem", bundle, "--driver", other.to_str().unwrap()]).end().with(0).stdout;
    assert!(told.contains("is not the driver that ran"), "{told}");
}

#[test]
fn a_register_that_was_refused_is_named() {
    let place = Place::new();
    let poll = r#"(func (export "nook_poll") (param i32 i32 i32) (result i32)
        (call $write (i32.const 0) (i32.const 0x5838) (i32.const 1)) (i32.const 0))"#;
    let imports = r#"(import "nook" "net_attach" (func $attach (param i64 i32) (result i32)))
        (import "nook" "mmio_write32" (func $write (param i32 i32 i32)))"#;
    let bundle = bundle(&place, &Module { poll, imports, ..Module::default() }.wasm());
    let told = place.nook_run(["postmortem", bundle.to_str().unwrap()]).end().with(0).stdout;
    assert!(told.contains("not a driver's to touch (register IPAV)\n"), "{told}");
    assert!(told.contains("register   IPAV\n") && told.contains("mmio_write32 IPAV  REFUSED"), "{told}");
}

/// Runs a driver whose `poll` does this and then traps; says what the log, the report and the bundle have of it.
fn after_a_trap(does: &str, policy: &str) -> (String, serde_json::Value, String) {
    let place = Place::new();
    let poll = format!(r#"(func (export "nook_poll") (param i32 i32 i32) (result i32) {does} unreachable)"#);
    let imports = r#"(import "nook" "net_attach" (func $attach (param i64 i32) (result i32)))
        (import "nook" "mmio_write32" (func $write (param i32 i32 i32)))
        (import "nook" "mmio_read32" (func $read (param i32 i32) (result i32)))
        (import "nook" "config_read32" (func $config (param i32) (result i32)))
        (import "nook" "delay_ns" (func $delay (param i32)))
        (import "nook" "mmio_flush" (func $flush))"#;
    place.file("driver.wasm", Module { poll: Box::leak(poll.into()), imports, ..Module::default() }.wasm());
    let text = format!("[restart]\nbudget = 1\n[bundles]\nfolder = \"bundles\"\nevery = \"0s\"\n{policy}");
    place.file("policy.toml", text);
    let ended = place.nook_run(["driver.wasm", "--policy", "policy.toml", "--json", "report.json"]).end().with(4);
    let report: serde_json::Value = serde_json::from_slice(&fs::read(place.at("report.json")).unwrap()).unwrap();
    let bundle = fs::read_dir(place.at("bundles")).unwrap().map(|entry| entry.unwrap().path()).max().unwrap();
    let told = place.nook_run(["postmortem", bundle.to_str().unwrap()]).end().with(0).stdout;
    let last = report["faults"].as_array().unwrap().last().unwrap()["no_rollback"].clone();
    (ended.stderr, last, told)
}

/// To IMC, and from the third element of RAL.
const WRITES: &str = "(call $write (i32.const 0) (i32.const 0xd8) (i32.const 1))";
const READS: &str = "(drop (call $read (i32.const 0) (i32.const 0x5410)))";

#[test]
fn why_a_call_could_not_be_rolled_back_is_reported_with_the_registers_names() {
    for (does, words, why) in [
        (format!("{WRITES} {READS}"), "RAL[2] was read after IMC was written", "read_after_write"),
        (format!("{WRITES} (call $flush)"), "writes were flushed after IMC was written", "awaited"),
        (format!("{WRITES} (call $delay (i32.const 1))"), "the driver waited after IMC was written", "awaited"),
        (
            format!("{WRITES} (drop (call $config (i32.const 0)))"),
            "configuration space was read after IMC was written",
            "awaited",
        ),
    ] {
        let (log, report, told) = after_a_trap(&does, "");
        let said = format!("; the call could not be rolled back: {words}\n");
        assert!(log.contains(&said), "{said:?} is not in:\n{log}");
        assert_eq!(
            (&report["text"], &report["reason"], &report["why"]),
            (&words.into(), &"irreversible".into(), &why.into())
        );
        assert!(told.contains(&format!("\nrollback   not possible: {words}\n")), "{told}");
    }
    let (_, report, _) = after_a_trap(&format!("{WRITES} {READS}"), "");
    assert_eq!(report["read"], serde_json::json!({"bar": 0, "offset": 0x5410, "name": "RAL[2]"}));
    assert_eq!(report["written"]["name"], "IMC");
}

#[test]
fn a_refused_value_is_reported_with_its_register_and_a_stray_access_with_its_address() {
    for (does, says) in [
        (
            "(call $write (i32.const 0) (i32.const 0x3800) (i32.const 0x10))",
            "the device would use an address outside the driver's window (register TDBAL at BAR 0 offset 0x3800)",
        ),
        (
            "(i32.store (i32.const 0xfffffff0) (i32.const 1))",
            "poll: trap: access outside the driver's memory (address 0xfffffff0; its memory has 0x",
        ),
    ] {
        let (log, _, told) = after_a_trap(does, "");
        assert!(log.contains(says) && told.contains(says), "{says:?} is not in:\n{log}\n{told}");
    }
}

#[test]
fn a_shadow_stack_that_overflows_is_called_that_with_the_function() {
    let place = Place::new();
    let poll = r#"(func (export "nook_poll") (param i32 i32 i32) (result i32) (call $deeper) (i32.const 0))"#;
    // As compilers have it: the first global is the pointer, the stack lies below the data.
    let more = r#"(global $stack (mut i32) (i32.const 1024)) (data (i32.const 1024) "data")
        (func $deeper
            (global.set $stack (i32.sub (global.get $stack) (i32.const 64)))
            (i32.store (global.get $stack) (i32.const 1))
            (call $deeper))"#;
    let bundle = bundle(&place, &Module { poll, more, ..Module::default() }.wasm());
    let told = place.nook_run(["postmortem", bundle.to_str().unwrap()]).end().with(0).stdout;
    let says = "(address 0xffffffc0, below 0, where its shadow stack of 1024 bytes ends: that is used up,";
    assert!(told.contains(says) && told.contains("innermost first:\n  deeper\n"), "{told}");
}

#[test]
fn a_fault_that_is_always_the_same_is_said_once_and_counted() {
    let place = Place::new();
    let probe = r#"(func (export "nook_probe") (param i32 i32) (result i32) unreachable)"#;
    place.file("driver.wasm", Module { probe, ..Module::default() }.wasm());
    place.file("policy.toml", "[restart]\nbudget = 4\nbackoff_first = \"1ms\"\n[bundles]\nkeep = 0\n");
    let log = place.nook_run(["driver.wasm", "--policy", "policy.toml"]).end().with(4).stderr;
    let of_it: Vec<&str> = log.lines().filter(|line| line.starts_with("ERROR probe: trap: ")).collect();
    assert!(of_it.len() == 2 && of_it[1].ends_with(" (4 more times)"), "{log}");
}

#[test]
fn each_rollback_is_logged_with_its_entry_and_its_number() {
    let place = Place::new();
    let driver = e1000();
    let run = [driver.to_str().unwrap(), "--exercise", "ping", "--crash-every", "1ms"];
    let log = place.nook_run(run).end().with(0).stderr;
    for number in 1..=2 {
        let mut lines = log.lines().filter(|line| line.contains(&format!(": rollback {number}, of ")));
        assert!(lines.next().is_some_and(|line| line.contains("trap made on request")), "{log}");
    }
}

#[test]
fn nothing_is_reported_of_calls_that_could_have_been_rolled_back() {
    for (does, policy) in
        [(format!("{READS} {WRITES}"), ""), (format!("{WRITES} {READS}"), "[rollback]\nenabled = false\n")]
    {
        let (log, report, told) = after_a_trap(&does, policy);
        assert!(!log.contains("could not be rolled back") && !told.contains("not possible"), "{log}\n{told}");
        assert!(report.is_null(), "{report}");
    }
}

#[test]
fn a_call_that_is_no_transaction_is_reported_as_such() {
    let place = Place::new();
    let entries = r#"(func (export "nook_remove")) (func (export "nook_open") (result i32) unreachable)
        (func (export "nook_stop") (result i32) (i32.const 0)) (func (export "nook_irq") (param i32) (result i32) (i32.const 0))"#;
    place.file("driver.wasm", Module { entries, ..Module::default() }.wasm());
    let log = place.nook_run(["driver.wasm"]).end().stderr;
    assert!(log.contains("the call could not be rolled back: the last call, `open`, is not a transaction\n"), "{log}");
    let log = place.nook_run(["driver.wasm", "--isolation", "sfi"]).end().stderr;
    assert!(!log.contains("rolled back"), "at this level nobody expects it: {log}");
}

#[test]
fn what_is_not_a_bundle_is_refused() {
    let place = Place::new();
    assert_is_said("a folder", &place.nook_run(["postmortem", "."]).end(), 1, &["is not a crash bundle"]);
    place.file("report.json", "{}");
    assert_is_said("no format", &place.nook_run(["postmortem", "."]).end(), 1, &["has format null"]);
    place.file("report.json", r#"{"format": 2}"#);
    let says = ["has format 2", "reads format 3", "the version that wrote it"];
    assert_is_said("an older format", &place.nook_run(["postmortem", "."]).end(), 1, &says);
    place.file("report.json", "{");
    assert_is_said("half a report", &place.nook_run(["postmortem", "."]).end(), 1, &["report.json is damaged"]);
}

#[test]
#[ignore = "needs root"]
fn a_full_disk_is_a_warning_and_the_driver_comes_back_all_the_same() {
    let place = Place::new();
    place.file("driver.wasm", driver_with_a_trap_in_poll());
    place.file("policy.toml", "[restart]\nbudget = 1\n[bundles]\nfolder = \"full\"\nevery = \"0s\"\n");
    let script = r#"mkdir full && mount -t tmpfs -o size=8k tmpfs full && head -c 8k /dev/zero >full/filler
        "$0" driver.wasm --policy policy.toml; code=$?
        ls -A full; exit $code"#;
    let ended = place.command("unshare", ["--mount", "sh", "-c", script, support::NOOK_RUN]).end();
    let says = ["no crash bundle in full: No space left on device", "the driver was restarted"];
    assert_is_said("a full disk", &ended, 4, &says);
    assert!(ended.stdout.ends_with("\nfiller\n"), "nothing is left of it: {}", ended.stdout);
}
