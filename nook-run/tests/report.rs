//! What a report and a crash bundle say, key by key, held by golden files: a key that goes, comes, or changes its kind
//! is seen here.

mod support;

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;

use serde_json::Value;
use support::{Place, e1000};

/// The paths of all values, each with its kind. Elements of a list are one.
fn keys(value: &Value, path: &str, found: &mut BTreeSet<String>) {
    match value {
        Value::Object(fields) => {
            let dot = if path.is_empty() { "" } else { "." };
            fields.iter().for_each(|(name, value)| keys(value, &format!("{path}{dot}{name}"), found));
        }
        Value::Array(elements) => elements.iter().for_each(|element| keys(element, &format!("{path}[]"), found)),
        Value::Null => _ = found.insert(format!("{path}: nothing")),
        Value::Bool(_) => _ = found.insert(format!("{path}: truth")),
        Value::Number(_) => _ = found.insert(format!("{path}: number")),
        Value::String(_) => _ = found.insert(format!("{path}: text")),
    }
}

#[track_caller]
fn assert_golden(name: &str, report: &Path) {
    let report: Value = serde_json::from_slice(&fs::read(report).unwrap()).expect("JSON");
    let mut found = BTreeSet::new();
    keys(&report, "", &mut found);
    let found: String = found.into_iter().map(|line| line + "\n").collect();
    let file = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden").join(name);
    if std::env::var_os("NOOK_BLESS").is_some() {
        fs::write(&file, &found).unwrap();
    }
    let golden = fs::read_to_string(&file).unwrap_or_default();
    assert_eq!(found, golden, "if that is right: NOOK_BLESS=1 cargo test --release -p nook-run --test report");
}

#[test]
fn a_report_and_a_bundle_have_the_keys_of_the_golden_files() {
    let place = Place::new();
    place.file("policy.toml", "[bundles]\nfolder = \"bundles\"\n");
    let driver = e1000();
    let run = [driver.to_str().unwrap(), "--policy", "policy.toml", "--exercise", "ping,tcp,rr", "--seed", "3"];
    let report = ["--crash-at", "poll:25", "--virtual-time", "--json", "report.json"];
    place.nook_run(run.into_iter().chain(report)).end().with(0);
    assert_golden("report.txt", &place.at("report.json"));
    let mut bundles = fs::read_dir(place.at("bundles")).unwrap();
    assert_golden("bundle.txt", &bundles.next().expect("a bundle").unwrap().path().join("report.json"));
}
