//! The driver of QEMU's `edu` in C: it does what the one in Rust does, and what a null pointer does is as
//! docs/drivers-in-c.md says.

mod support;

use std::fs;
use std::path::{Path, PathBuf};

use serde_json::Value;
use support::{Place, assert_is_said, built};

fn tree() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().expect("nook-run/ lies in the repository")
}

fn folder() -> PathBuf {
    tree().join("drivers/edu-c")
}

/// Drives QEMU's edu, and reads the report.
fn run(driver: &Path, args: &[&str]) -> Value {
    run_at(&Place::new(), driver, args)
}

fn run_at(place: &Place, driver: &Path, args: &[&str]) -> Value {
    // The second fault that cannot be undone ends the run.
    place.file("policy.toml", "[restart]\nbudget = 1\n");
    let driver = driver.to_str().expect("a test's paths are text");
    let all = [driver, "--qemu", "edu", "--policy", "policy.toml", "--json", "report.json"];
    place.nook_run(all.iter().chain(args)).end();
    serde_json::from_slice(&fs::read(place.at("report.json")).expect("a report")).expect("JSON")
}

fn outputs(report: &Value) -> Vec<&str> {
    let operations = report["operations"].as_array().expect("a list");
    operations.iter().map(|it| it["output"].as_str().unwrap_or("none")).collect()
}

fn make(place: &Place, folder: &Path, args: &[&str]) -> String {
    let nook = format!("NOOK={}", tree().display());
    let out = format!("OUT={}", place.path().display());
    let all =
        ["--no-print-directory", "-C", folder.to_str().unwrap(), &nook, &out].into_iter().chain(args.iter().copied());
    place.command("make", all).end().with(0).stdout
}

#[test]
fn it_passes_its_own_test() {
    let place = Place::new();
    assert!(make(&place, &folder(), &["test"]).ends_with("all is well\n"));
}

#[test]
fn at_the_levels_that_have_no_drivers_in_c_it_says_which_have() {
    for isolation in ["native", "wrapped", "process", "mpk"] {
        let driver = built("edu-c.wasm");
        let args = [driver.to_str().expect("a test's paths are text"), "--qemu", "edu", "--isolation", isolation];
        let says = ["one in C has none, and runs at sfi and sfi+txn", "docs/security.md"];
        assert_is_said(isolation, &Place::new().nook_run(args).end(), 1, &says);
    }
}

#[test]
fn factorials_and_transfers_come_out_right() {
    for isolation in ["sfi+txn", "sfi"] {
        let report = run(&built("edu-c.wasm"), &["--isolation", isolation]);
        assert_eq!(report["isolation"], isolation);
        assert_eq!(outputs(&report), ["ed000001", "87a9cbed", "78000000", "", "6e6f6f6b"], "{report:#}");
    }
}

#[test]
fn each_entry_that_is_ended_is_rolled_back_and_all_is_done() {
    for at in ["invoke:3", "invoke:5", "irq:1", "irq:2"] {
        let report = run(&built("edu-c.wasm"), &["--crash-at", at]);
        let (faults, rollbacks) = (&report["fault_count"], &report["recovery"]["rollbacks"]);
        assert_eq!((faults.as_u64(), rollbacks.as_u64()), (Some(1), Some(1)), "{at}: {report:#}");
        assert_eq!(outputs(&report), ["ed000001", "87a9cbed", "78000000", "", "6e6f6f6b"], "{at}: {report:#}");
    }
}

#[test]
fn where_calls_cannot_be_rolled_back_a_fresh_driver_goes_on() {
    let report = run(&built("edu-c.wasm"), &["--isolation", "sfi", "--crash-at", "irq:2"]);
    assert_eq!(report["recovery"]["restarts"].as_u64(), Some(1), "{report:#}");
    // What the transfer brought is not known: it may have been done.
    assert_eq!(outputs(&report)[4], "6e6f6f6b", "{report:#}");
}

/// The driver with this in place of that, as its Makefile makes it.
fn changed(place: &Place, that: &str, this: &str, args: &[&str]) -> PathBuf {
    let source = fs::read_to_string(folder().join("driver.c")).expect("the driver");
    assert_eq!(source.matches(that).count(), 1, "the test changes this: {that}");
    let copy = place.at("copy");
    fs::create_dir_all(&copy).expect("a folder");
    fs::write(copy.join("driver.c"), source.replace(that, this)).expect("a driver");
    fs::copy(folder().join("Makefile"), copy.join("Makefile")).expect("a Makefile");
    make(place, &copy, args);
    place.at("edu-c.wasm")
}

/// With a store in `identify` through a pointer of which the compiler does not know that it is null: a device at rest
/// has no causes.
fn with_a_null_store(place: &Place, checks: Option<&str>) -> PathBuf {
    let that = "        complete32(ticket, nook_mmio_read32(BAR, IDENTIFICATION));\n";
    let this = format!("        *(uint32_t *)(uintptr_t)nook_mmio_read32(BAR, CAUSES) = 1;\n{that}");
    changed(place, that, &this, checks.as_slice())
}

#[test]
fn constructors_run_once_or_the_driver_is_refused() {
    const PROBE: &str = "int32_t nook_probe(uint32_t reason, uintptr_t host_page) {\n";
    const CONSTRUCTOR: &str = "__attribute__((constructor)) static void construct(void) {\n    \
        nook_log(NOOK_LOG_LEVEL_WARN, (uintptr_t)\"constructed\", 11);\n}\nvoid __wasm_call_ctors(void);\n";
    let place = Place::new();
    let driver = changed(&place, PROBE, &format!("{CONSTRUCTOR}{PROBE}"), &[]);
    let refused = place.nook_run([driver.to_str().unwrap(), "--qemu", "edu"]).end().with(1);
    assert!(refused.stderr.contains("call it first in `nook_probe`"), "{}", refused.stderr);
    // Without names, too: what the linker puts before an entry is known by what it does.
    let file = fs::read(&driver).unwrap();
    let name = b"\x04name";
    let at = file.windows(name.len()).position(|it| it == name).expect("it has names");
    fs::write(&driver, [&file[..at], b"\x04gone", &file[at + name.len()..]].concat()).unwrap();
    let refused = place.nook_run([driver.to_str().unwrap(), "--qemu", "edu"]).end().with(1);
    assert!(refused.stderr.contains("runs its constructors at each entry"), "{}", refused.stderr);
    let place = Place::new();
    // As a WASI reactor has it.
    let reactor =
        "__attribute__((export_name(\"_initialize\"))) void initialize(void) {\n    __wasm_call_ctors();\n}\n";
    let driver = changed(&place, PROBE, &format!("{CONSTRUCTOR}{reactor}{PROBE}"), &[]);
    for isolation in ["sfi", "sfi+txn"] {
        let args = [driver.to_str().unwrap(), "--qemu", "edu", "--isolation", isolation, "--record", "run.rec"];
        let told = place.nook_run(args).end().with(0);
        assert_eq!(told.stderr.matches("constructed").count(), 1, "{isolation}: {}", told.stderr);
        place.nook_run(["replay", "run.rec", driver.to_str().unwrap()]).end().with(0);
    }
    let place = Place::new();
    let driver = changed(&place, PROBE, &format!("{CONSTRUCTOR}{PROBE}    __wasm_call_ctors();\n"), &[]);
    let told = place.nook_run([driver.to_str().unwrap(), "--qemu", "edu"]).end().with(0);
    assert_eq!(told.stderr.matches("constructed").count(), 1, "{}", told.stderr);
}

#[test]
fn a_null_store_traps_with_the_checks_and_is_not_noticed_without() {
    let place = Place::new();
    let report = run_at(&place, &with_a_null_store(&place, None), &["--call", "identify", "--state", "state"]);
    let fault = report["faults"][0]["fault"].as_str().expect("a fault");
    assert!(fault.starts_with("invoke: trap: unreachable code"), "{fault}");
    let mut bundles: Vec<_> = fs::read_dir(place.at("state/crashes")).expect("bundles").flatten().collect();
    bundles.sort_by_key(|bundle| bundle.file_name());
    let told = place.nook_run(["postmortem".as_ref(), bundles[0].path().as_os_str()]).end().with(0).stdout;
    let source = fs::read_to_string(place.at("copy/driver.c")).expect("the driver");
    let line = source.lines().position(|line| line.contains("CAUSES) = 1;")).expect("the planted line") + 1;
    assert!(told.contains(&format!("driver.c:{line}:")), "{told}");
    let place = Place::new();
    let report = run(&with_a_null_store(&place, Some("CHECKS=")), &["--call", "identify"]);
    assert_eq!((report["fault_count"].as_u64(), outputs(&report)), (Some(0), vec!["ed000001"]), "{report:#}");
}
