//! A run that is stopped for longer than any limit goes on as if nothing had been, at every level.
//!
//! One stop each in an ordinary run of the tests; `NOOK_STOPS=10` for ten under the same connection.

mod support;

use std::path::Path;
use std::thread::sleep;
use std::time::Duration;

use serde_json::Value;
use support::{Place, Running, built, e1000};

/// Longer than anything is waited for, but for calls that may sleep: work that was given to a driver has ten seconds.
const STOP: Duration = Duration::from_secs(13);

/// Between two stops there is at least this much traffic.
const GO: Duration = Duration::from_secs(2);

fn stops() -> u32 {
    std::env::var("NOOK_STOPS").map_or(1, |stops| stops.parse().expect("NOOK_STOPS is a number"))
}

fn start(place: &Place, driver: &Path, args: &[&str]) -> Running {
    let all = [driver.to_str().unwrap()].into_iter().chain(args.iter().copied()).chain(["--json", "report.json"]);
    place.nook_run(all).start()
}

fn signal_all(runs: &[(&str, Place, Running)], signal: libc::c_int) {
    runs.iter().for_each(|(_, _, run)| run.signal(signal));
}

/// Stops the runs, all at once, and lets them go on, as often as is asked for.
fn stop_all(runs: &[(&str, Place, Running)]) {
    for _ in 0..stops() {
        sleep(GO);
        signal_all(runs, libc::SIGSTOP);
        sleep(STOP);
        signal_all(runs, libc::SIGCONT);
    }
}

/// Returns what a run reports that nothing has gone wrong in.
#[track_caller]
fn unharmed(name: &str, place: &Place, run: Running) -> Value {
    let ended = run.end();
    assert_eq!(ended.code(), 0, "{name}: {}{}", ended.stdout, ended.stderr);
    for said in ["ERROR", "WARN"] {
        assert!(!ended.stderr.contains(said), "{name}: {}", ended.stderr);
    }
    let report = std::fs::read(place.at("report.json")).expect("a report");
    let report: Value = serde_json::from_slice(&report).expect("JSON");
    assert_eq!(report["fault_count"], 0, "{name}: {report:#}");
    for recovery in ["rollbacks", "snapshot_restores", "restarts"] {
        assert_eq!(report["recovery"][recovery], 0, "{name}: {report:#}");
    }
    report
}

#[test]
fn a_connection_lives_through_stops_at_every_level() {
    let driver = e1000();
    // Streams last until after the last stop: while a run is stopped, its clock is.
    let lasts = format!("{}s", (GO * (stops() + 2)).as_secs());
    let mut runs = Vec::new();
    for (name, level, qemu) in [
        ("native", "native", false),
        ("wrapped", "wrapped", false),
        ("sfi", "sfi", false),
        ("sfi+txn", "sfi+txn", false),
        ("process", "process", false),
        ("sfi+txn on QEMU's device", "sfi+txn", true),
        ("process on QEMU's device", "process", true),
    ] {
        let place = Place::new();
        let mut args = vec!["--isolation", level, "--exercise", "tcp", "--duration", &lasts];
        args.extend(["--qemu", "e1000"].iter().filter(|_| qemu));
        let mut run = start(&place, &driver, &args);
        assert!(run.says("link up"), "{name}: {}", run.stderr());
        runs.push((name, place, run));
    }
    stop_all(&runs);
    for (name, place, run) in runs {
        let report = unharmed(name, &place, run);
        let tcp = &report["exercise"]["tcp"];
        assert_eq!(tcp["hash_ok"], true, "{name}: {report:#}");
        for way in ["upload", "download"] {
            assert!(tcp[way]["bytes"].as_u64() > Some(0), "{name}: {report:#}");
        }
    }
}

#[test]
fn a_misc_driver_goes_on_with_its_operations_after_stops() {
    let place = Place::new();
    let lasts = format!("{}s", (GO * (stops() + 1)).as_secs());
    let mut run = start(&place, &built("edu"), &["--qemu", "edu", "--duration", &lasts]);
    assert!(run.says("edu: edu 1.0"), "{}", run.stderr());
    let runs = [("edu", place, run)];
    stop_all(&runs);
    let [(name, place, run)] = runs;
    let report = unharmed(name, &place, run);
    let operations = report["operations"].as_array().expect("a list");
    assert!(operations.iter().all(|it| it["right"].as_u64() > Some(0) && it["wrong"] == 0), "{report:#}");
}
