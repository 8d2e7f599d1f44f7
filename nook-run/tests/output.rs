//! What nook-run does when what it writes cannot be written.

mod support;

use std::fs;
use std::os::unix::fs::PermissionsExt;

use support::{Place, assert_is_said, e1000};

#[test]
fn a_report_that_cannot_be_written_is_an_error_after_a_run_that_went_well() {
    let place = Place::new();
    let ended = place.nook_run([e1000().to_str().unwrap(), "--duration", "100ms", "--json", "/dev/full"]).end();
    assert_is_said("a full disk", &ended, 1, &["cannot write the report to /dev/full", "No space left on device"]);
    assert!(ended.stdout.contains(" packets in "), "{}", ended.stdout);
    assert!(place.names().is_empty(), "{:?}", place.names());
    assert!(fs::metadata("/dev/full").unwrap().permissions().mode() & 0o170000 == 0o020000, "it is still a device");
}

#[test]
#[ignore = "needs root"]
fn a_full_disk_keeps_no_half_report() {
    let place = Place::new();
    let script = r#"mkdir full && mount -t tmpfs -o size=8k tmpfs full && head -c 8k /dev/zero >full/filler
        "$0" "$1" --duration 100ms --json full/report.json; code=$?
        ls full; exit $code"#;
    let driver = e1000();
    let args = ["--mount", "sh", "-c", script, support::NOOK_RUN, driver.to_str().unwrap()];
    let ended = place.command("unshare", args).end();
    assert_is_said(
        "a full disk",
        &ended,
        1,
        &["cannot write the report to full/report.json", "No space left on device"],
    );
    assert!(ended.stdout.contains(" packets in ") && ended.stdout.ends_with("\nfiller\n"), "{}", ended.stdout);
}

#[test]
fn a_report_can_go_to_standard_output() {
    let place = Place::new();
    let script = r#""$0" "$1" --duration 100ms --json /dev/stdout | cat"#;
    let ended = place.command("sh", ["-c", script, support::NOOK_RUN, e1000().to_str().unwrap()]).end().with(0);
    assert!(fs::symlink_metadata("/dev/stdout").unwrap().is_symlink());
    assert!(ended.stdout.contains("\"link\": "), "{}", ended.stdout);
}

#[test]
fn a_capture_that_cannot_be_written_does_not_end_the_run_and_is_an_error_at_its_end() {
    let place = Place::new();
    let args = [e1000().to_str().unwrap().to_owned(), "--calm".into(), "--exercise".into(), "ping,tcp".into()];
    let ended = place.nook_run(args.into_iter().chain(["--pcap".into(), "/dev/full".into()])).end();
    assert!(ended.stdout.contains("100 of 100 answered") && ended.stdout.contains("hash ok"), "{}", ended.stdout);
    assert_is_said(
        "a full disk",
        &ended,
        1,
        &["the capture ends here, the traffic goes on", "No space left on device"],
    );
}

#[test]
fn a_capture_to_a_file_that_another_one_is_written_to_is_refused_and_damages_nothing() {
    let place = Place::new();
    let mut first = nook_net::Pcap::create(place.at("frames.pcap")).unwrap();
    first.record(1_000_000_000, &[0xff; 60], nook_net::Passed::In).unwrap();
    first.flush().unwrap();
    let before = fs::read(place.at("frames.pcap")).unwrap();
    let run = [e1000().to_str().unwrap().to_owned(), "--exercise".into(), "ping".into()];
    let run = || run.iter().cloned().chain(["--pcap".into(), "frames.pcap".into()]);
    let ended = place.nook_run(run()).end();
    assert_is_said("two captures", &ended, 1, &["--pcap", "frames.pcap", "another capture is being written to it"]);
    assert_eq!(fs::read(place.at("frames.pcap")).unwrap(), before);
    drop(first);
    place.nook_run(run()).end().with(0);
    assert!(fs::read(place.at("frames.pcap")).unwrap().len() > 200 * (16 + 60));
}

#[test]
fn output_that_nobody_can_take_is_no_panic() {
    let place = Place::new();
    let driver = e1000();
    let run = [driver.to_str().unwrap(), "--duration", "100ms", "--json", "report.json"];
    let ended = place.nook_run(run).stdout_to("/dev/full").end();
    assert_is_said("standard output", &ended, 1, &["cannot write to standard output", "No space left on device"]);
    assert!(place.at("report.json").is_file());
    let ended = place.nook_run(["inspect", run[0]]).stdout_to("/dev/full").end();
    assert_is_said("inspect", &ended, 1, &["cannot write to standard output", "No space left on device"]);
    place.nook_run(run).stderr_to("/dev/full").end().with(0);
    place.nook_run(["missing.wasm"]).stderr_to("/dev/full").end().with(1);
}

#[test]
fn a_run_that_is_asked_for_its_counters_ends_with_tables_of_them() {
    let place = Place::new();
    let run = [e1000().to_str().unwrap().to_owned(), "--exercise".into(), "ping".into(), "--virtual-time".into()];
    let ended = place.nook_run(run.iter().cloned().chain(["--counters".into()])).end().with(0);
    let line = |name: &str| ended.stdout.lines().find(|line| line.trim_start().starts_with(name)).map(str::to_owned);
    assert!(line("tx_65_to_127_bytes").unwrap().ends_with(" 101"), "100 pings and an ARP: {}", ended.stdout);
    assert!(line("tx_done").is_some() && line("rx_missed ").is_some(), "{}", ended.stdout);
    assert!(!place.nook_run(run).end().with(0).stdout.contains("tx_done"));
}

#[test]
fn who_reads_only_the_first_line_of_inspect_sees_no_error() {
    let place = Place::new();
    let script = r#"{ "$0" inspect "$1"; echo "status $?" >&2; } | true"#;
    let ended = place.command("sh", ["-c", script, support::NOOK_RUN, e1000().to_str().unwrap()]).end().with(0);
    assert_eq!(ended.stderr, "status 0\n");
}
