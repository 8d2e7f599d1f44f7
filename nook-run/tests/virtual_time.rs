//! `--virtual-time`: the same run gives the same report, to the byte; and what runs in real time is refused.

mod support;

use serde_json::Value;
use support::module::{ATTACH, Module};
use support::{Place, assert_is_said, e1000};

/// What a run leaves: its status, its output, its report, and what passed its interface.
#[derive(PartialEq, Eq)]
struct Left {
    status: i32,
    stdout: String,
    report: Vec<u8>,
    capture: Vec<u8>,
}

impl Left {
    fn report(&self) -> Value {
        serde_json::from_slice(&self.report).expect("JSON")
    }
}

fn run(args: &[&str]) -> Left {
    let place = Place::new();
    let always = ["--virtual-time", "--json", "report.json", "--pcap", "frames.pcap"];
    let ended = place.nook_run(args.iter().chain(&always)).end();
    let left = |name| std::fs::read(place.at(name)).unwrap_or_else(|error| panic!("{name}: {error}\n{}", ended.stderr));
    let (report, capture) = (left("report.json"), left("frames.pcap"));
    Left { status: ended.code(), stdout: ended.stdout, report, capture }
}

/// Runs it twice. What both have left is the same.
#[track_caller]
fn twice(file: &str, args: &[&str]) -> Left {
    let args = [&[file], args].concat();
    let (first, second) = (run(&args), run(&args));
    assert_eq!(first.stdout, second.stdout, "{args:?}");
    assert!(first == second, "{args:?}:\n{:#}\n{:#}", first.report(), second.report());
    first
}

#[test]
fn the_same_run_gives_the_same_report_to_the_byte_however_it_is_isolated_and_recovered() {
    let driver = e1000();
    let policies = Place::new();
    let policy = policies.file("policy.toml", "[rollback]\nenabled = false\n[restart]\nbudget = 1000\n");
    let policy = policy.to_str().expect("text");
    let on = |isolation: &str, more: &[&str]| {
        let args = ["--isolation", isolation, "--exercise", "ping,rr", "--duration", "500ms"];
        twice(driver.to_str().expect("text"), &[&args, more].concat()).report()
    };
    let undisturbed = on("sfi", &[]);
    assert_eq!(undisturbed["clock"], "virtual");
    // Before a snapshot the driver is asked for its counters, which takes its time.
    let without = policies.file("without.toml", "[snapshots]\nkeep = 0\n");
    let without = on("sfi+txn", &["--policy", without.to_str().expect("text")]);
    assert_eq!(without["exercise"], undisturbed["exercise"]);
    let crashes = ["--crash-every", "20ms", "--seed", "7"];
    let impatient = [&crashes[..], &["--policy", policy]].concat();
    for (isolation, more, how) in [
        ("sfi+txn", &crashes[..], "rollbacks"),
        ("sfi+txn", &impatient, "snapshot_restores"),
        ("sfi", &impatient, "restarts"),
    ] {
        let report = on(isolation, more);
        assert!(report["recovery"][how].as_u64().is_some_and(|count| count > 2), "{how}: {report:#}");
    }
}

#[test]
fn a_stream_is_the_same_each_time_and_another_seed_makes_another_run() {
    let driver = e1000();
    let of = |seed| {
        let args = ["--exercise", "tcp", "--crash-every", "20ms", "--seed", seed];
        twice(driver.to_str().expect("text"), &args)
    };
    let [one, other] = ["1", "2"].map(of);
    assert_eq!((one.status, other.status), (0, 0));
    assert_eq!(one.report()["exercise"]["tcp"]["hash_ok"], true);
    assert!(one.report != other.report && one.capture != other.capture);
}

#[test]
fn a_call_that_does_not_end_is_ended_and_time_has_passed() {
    let imports: &str = format!(r#"{ATTACH} (import "nook" "clock_ns" (func $clock (result i64)))"#).leak();
    // One looks at the clock and the other does not, which is the harder one to notice.
    let asks = r#"(func (export "nook_poll") (param i32 i32 i32) (result i32)
        (loop (drop (call $clock)) (br 0)) (i32.const 0))"#;
    let silent = r#"(func (export "nook_poll") (param i32 i32 i32) (result i32) (loop (br 0)) (i32.const 0))"#;
    let place = Place::new();
    place.file("policy.toml", "[rollback]\nenabled = false\n[restart]\nbudget = 0\n[snapshots]\nkeep = 0\n");
    let policy = place.at("policy.toml");
    for (isolation, poll) in [("sfi", asks), ("sfi+txn", asks), ("sfi", silent), ("sfi+txn", silent)] {
        let driver = place.file("endless.wasm", Module { imports, poll, ..Module::default() }.wasm());
        let args = ["--isolation", isolation, "--exercise", "ping", "--policy", policy.to_str().expect("text")];
        let left = twice(driver.to_str().expect("text"), &args);
        let report = left.report();
        assert_eq!(left.status, 4, "{report:#}");
        let fault = &report["faults"][0];
        assert!(fault["fault"].as_str().is_some_and(|fault| fault.contains("poll")), "{isolation}: {report:#}");
        let at_ms = fault["at_ns"].as_u64().map(|at_ns| at_ns / 1_000_000);
        assert_eq!(at_ms, Some(200), "its budget is used up: {report:#}");
    }
}

#[test]
fn what_runs_in_real_time_is_refused() {
    let rows: [(&[&str], i32, &str); 8] = [
        (&["--qemu", "e1000"], 2, "cannot be used with"),
        (&["--pci", "03:00.0"], 2, "cannot be used with"),
        (&["--tap", "nook0"], 2, "cannot be used with"),
        (&["--nbd", "tcp:0"], 2, "cannot be used with"),
        (&["--wasi", "--exercise", "ping"], 2, "cannot be used with"),
        (&[], 2, "--exercise <LIST>"),
        (&["--isolation", "process", "--exercise", "ping"], 1, "--virtual-time does not go with --isolation process"),
        (&["--wire", "tap:nook0", "--exercise", "ping"], 1, "--virtual-time does not go with --wire tap"),
    ];
    let driver = e1000();
    for (args, code, says) in rows {
        let place = Place::new();
        let args = [driver.to_str().expect("text"), "--virtual-time"].into_iter().chain(args.iter().copied());
        assert_is_said(says, &place.nook_run(args).end(), code, &[says]);
        assert!(place.names().is_empty(), "{says}: {:?}", place.names());
    }
}
