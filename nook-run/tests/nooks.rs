//! Several nooks from one command: each has its own modules, options, device and end.

mod support;

use nook_net::EXERCISE_PORT;
use serde_json::Value;

use support::module::Module;
use support::{Ended, Place, assert_is_said, built, e1000};

/// Runs one nook for each text, and reads the report.
fn run(place: &Place, nooks: &[String]) -> (Ended, Vec<Value>) {
    let args = nooks.iter().flat_map(|text| ["--nook", text]).chain(["--json", "report.json"]);
    let ended = place.nook_run(args).end();
    let report = std::fs::read(place.at("report.json")).unwrap_or_else(|error| panic!("{error}: {}", ended.stderr));
    let report: Value = serde_json::from_slice(&report).expect("JSON");
    let nooks = report["nooks"].as_array().expect("a list").clone();
    (ended, nooks)
}

#[track_caller]
fn assert_went_well(nook: &Value) {
    assert_eq!((&nook["status"], &nook["error"]), (&0.into(), &Value::Null), "{nook:#}");
    let report = &nook["report"];
    assert_eq!((&report["fault_count"], &report["ended"]), (&0.into(), &"the exercise was over".into()), "{nook:#}");
    assert_eq!(report["exercise"]["ping"]["received"], 100);
}

/// Both ends computed the same hash, each way.
#[track_caller]
fn assert_hashes_are_right(nook: &Value) {
    let tcp = &nook["report"]["exercise"]["tcp"];
    assert_eq!((&tcp["hash_ok"], &tcp["bytes"]), (&true.into(), &(128u64 << 20).into()), "{nook:#}");
}

#[test]
fn two_nooks_run_side_by_side_and_each_is_reported() {
    let (place, driver, filter) = (Place::new(), e1000(), built("filter"));
    let (driver, filter) = (driver.display(), filter.display());
    let nooks = [
        format!("{driver} --exercise ping,tcp --seed 2"),
        format!("{driver}+{filter} --filter-rule ethertype:0x86dd --filter-rule udp:9 --exercise ping,rr"),
    ];
    let (ended, reports) = run(&place, &nooks);
    let ended = ended.with(0);
    for ((number, text), nook) in (1..).zip(&nooks).zip(&reports) {
        assert_eq!((&nook["number"], &nook["nook"]), (&number.into(), &text.as_str().into()));
        assert!(ended.stdout.contains(&format!("nook {number}: {text}\n")), "{}", ended.stdout);
        assert!(ended.stderr.contains(&format!("[{number}] link up")), "{}", ended.stderr);
        assert_eq!(nook["report"]["driver"]["name"], "e1000");
        assert_went_well(nook);
    }
    assert_hashes_are_right(&reports[0]);
    assert_eq!(reports[0]["report"]["filter"], Value::Null);
    assert!(reports[0]["report"]["device"].as_str().is_some_and(|device| device.contains("seed 2")));
    assert_eq!(reports[1]["report"]["filter"]["name"], "filter");
    let rr = &reports[1]["report"]["exercise"]["rr"];
    assert_eq!((&rr["lost"], rr["received"] == 0), (&0.into(), false), "{rr}");
}

#[test]
fn what_one_nooks_filter_drops_is_not_dropped_in_the_other() {
    let (place, driver, filter) = (Place::new(), e1000(), built("filter"));
    let (driver, filter) = (driver.display(), filter.display());
    let filtered = |port| format!("{driver}+{filter} --isolation sfi --filter-rule tcp:{port} --exercise ping,tcp");
    let (ended, nooks) = run(&place, &[filtered(EXERCISE_PORT), filtered(EXERCISE_PORT - 1)]);
    let ended = ended.with(3);
    assert_eq!(nooks[0]["status"], 3);
    assert!(nooks[0]["report"]["counters"]["tx_dropped"].as_u64().is_some_and(|dropped| dropped > 0), "{:#}", nooks[0]);
    assert!(ended.stdout.contains("ended with status 3: the exercise was over"), "{}", ended.stdout);
    assert_went_well(&nooks[1]);
    assert_hashes_are_right(&nooks[1]);
    assert_eq!(nooks[1]["report"]["counters"]["tx_dropped"], 0);
}

#[test]
fn a_nook_that_faults_for_good_ends_alone_and_is_named() {
    let place = Place::new();
    let poll = r#"(func (export "nook_poll") (param i32 i32 i32) (result i32) unreachable)"#;
    let faulty = place.file("faulty.wasm", Module { poll, ..Module::default() }.wasm());
    let policy = place.file("policy.toml", "[restart]\nbudget = 0\n");
    let (driver, policy) = (e1000().display().to_string(), policy.display());
    let nooks = [
        format!("{} --isolation sfi --policy {policy}", faulty.display()),
        format!("{driver} --exercise ping,tcp"),
        format!("{driver} --isolation sfi --policy {policy} --crash-at poll:40 --exercise tcp"),
    ];
    let (ended, reports) = run(&place, &nooks);
    let ended = ended.with(4);
    for (nook, says) in [(0, "poll: trap"), (2, "poll: trap")] {
        let (number, report) = (nook + 1, &reports[nook]["report"]);
        assert_eq!((&reports[nook]["status"], &reports[nook]["number"]), (&4.into(), &number.into()), "{report:#}");
        assert_eq!((&report["fault_count"], &report["recovery"]["restarts"]), (&1.into(), &0.into()), "{report:#}");
        let why = report["ended"].as_str().expect("why it ended");
        assert!(why.starts_with("the driver is in quarantine after 0 restarts") && why.contains(says), "{why}");
        let told = format!("nook {number}: {}\n", nooks[nook]);
        let told = ended.stdout.split_once(&told).unwrap_or_else(|| panic!("{}", ended.stdout)).1;
        let told = told.split("\nnook ").next().unwrap_or_default();
        assert!(told.contains(&format!("ended with status 4: {why}")), "{told}");
    }
    assert_went_well(&reports[1]);
    assert_hashes_are_right(&reports[1]);
}

#[test]
fn nooks_that_fault_at_once_leave_a_crash_bundle_each() {
    let place = Place::new();
    let poll = r#"(func (export "nook_poll") (param i32 i32 i32) (result i32) unreachable)"#;
    let faulty = place.file("faulty.wasm", Module { poll, ..Module::default() }.wasm());
    place.file("policy.toml", "[restart]\nbudget = 0\n[bundles]\nfolder = \"crashes\"\nkeep = 100\nrollbacks = 0\n");
    let nooks = vec![format!("{} --policy policy.toml", faulty.display()); 8];
    let (ended, _) = run(&place, &nooks);
    ended.with(4);
    let names = place.names();
    let reports = names.iter().filter(|name| name.starts_with("crashes/") && name.ends_with("/report.json"));
    assert_eq!(reports.count(), nooks.len(), "{names:?}");
}

#[test]
fn a_nook_that_cannot_be_run_leaves_the_others_alone() {
    let (place, driver) = (Place::new(), e1000().display().to_string());
    let (ended, nooks) = run(&place, &["missing.wasm".to_owned(), format!("{driver} --exercise ping")]);
    assert_is_said("a missing driver", &ended, 1, &["[1] ", "missing.wasm", "not run to the end: nook 1;"]);
    assert_eq!((&nooks[0]["status"], &nooks[0]["report"]), (&1.into(), &Value::Null));
    assert!(nooks[0]["error"].as_str().is_some_and(|error| error.contains("missing.wasm")), "{:#}", nooks[0]);
    assert_went_well(&nooks[1]);
}

#[test]
fn what_a_nook_cannot_be_is_said_before_anything_runs() {
    let place = Place::new();
    let rows = [
        (&["--nook", "a.wasm --frob"][..], &["'a.wasm --frob'", "'--frob'"][..]),
        (&["--nook", ""], &["<DRIVER>"]),
        (&["--nook", "a.wasm+b.wasm+c.wasm"], &["at most one filter: driver.wasm+filter.wasm"]),
        (&["--nook", "a.wasm --json x"], &["--json", "give them outside"]),
        (&["--nook", "a.wasm --nook b.wasm"], &["'a.wasm --nook b.wasm'", "cannot be used with '--nook"]),
        (&["--nook", "a.wasm", "--tap", "t0"], &["'--nook", "cannot be used with", "--tap"]),
        (&["b.wasm", "--nook", "a.wasm"], &["'--nook", "cannot be used with", "[DRIVER]"]),
    ];
    for (args, says) in rows {
        assert_is_said(&args.join(" "), &place.nook_run(args).end(), 2, says);
    }
}

#[test]
fn rules_without_a_filter_that_takes_them_are_refused() {
    let (place, driver, filter) = (Place::new(), e1000().display().to_string(), built("filter"));
    let both = format!("{driver}+{}", filter.display());
    let rows = [
        (vec![&*driver, "--filter-rule", "udp:9"], 1, "there is no filter; name one after the driver"),
        (
            vec![&*both, "--isolation", "sfi", "--filter-rule", "frob"],
            1,
            "the filter `filter` refuses its rules: \"frob\"",
        ),
        (vec![&*both, "--isolation", "native"], 1, "use --isolation sfi"),
        (vec![filter.to_str().expect("text")], 1, "driver.wasm+filter.wasm"),
    ];
    for (args, code, says) in rows {
        assert_is_said(&args.join(" "), &place.nook_run(args).end(), code, &[says]);
    }
}
