//! Runs that should go well.

use std::fs;

use serde_json::Value;

use crate::command::{driver, nook_run, stderr};

/// Runs the exercise and returns the report.
fn exercise(args: &[&str]) -> Value {
    let folder = tempfile::tempdir().unwrap();
    let json = folder.path().join("out.json");
    let mut command = nook_run();
    command.arg(driver()).args(args).arg("--json").arg(&json).env("XDG_CACHE_HOME", folder.path());
    let output = command.output().unwrap();
    let told = String::from_utf8_lossy(&output.stdout).into_owned();
    assert_eq!(output.status.code(), Some(0), "{args:?}\n{told}\n{}", stderr(&output));
    println!("{args:?}\n{told}");
    serde_json::from_slice(&fs::read(json).unwrap()).unwrap()
}

fn check(report: &Value, pings: u64) {
    assert_eq!(report["link"], "up", "{report}");
    let exercise = &report["exercise"];
    assert_eq!((exercise["ping"]["sent"].as_u64(), exercise["ping"]["received"].as_u64()), (Some(pings), Some(pings)));
    assert_eq!(exercise["tcp"]["hash_ok"], true, "{report}");
    assert!(exercise["tcp"]["bits_per_second"].as_u64().unwrap() > 0);
    assert!(exercise["rr"]["p50_ns"].as_u64().unwrap() <= exercise["rr"]["p99_ns"].as_u64().unwrap());
    for counter in ["reg_reads", "reg_writes", "hostcalls", "irqs", "crossings", "packets"] {
        assert!(report["counters"][counter].as_u64().unwrap() > 0, "{counter}: {report}");
    }
    assert_eq!(report["faults"].as_array().unwrap().len(), 0, "{report}");
    assert_eq!((report["dma_faults"].as_u64(), report["recovery"]["restarts"].as_u64()), (Some(0), Some(0)));
    // What the device counted is what passed the boundary.
    let (device, counters) = (&report["device_counters"], &report["counters"]);
    assert_eq!(device["tx_packets"], counters["tx_packets"], "{report}");
    assert_eq!(device["rx_packets"], counters["rx_packets"], "{report}");
}

#[test]
fn the_exercise_passes_at_every_level_and_with_every_behaviour() {
    for isolation in ["native", "wrapped", "sfi", "sfi+txn"] {
        for behaviour in [&["--seed", "1"][..], &["--seed", "2"], &["--seed", "3"], &["--calm"]] {
            let args = [&["--exercise", "ping,tcp,rr", "--isolation", isolation], behaviour].concat();
            let report = exercise(&args);
            assert_eq!(report["isolation"], isolation);
            check(&report, 100);
        }
    }
}

#[test]
fn the_exercise_passes_on_qemus_cards_and_a_stream_of_64_mib_has_the_right_hash() {
    for model in ["e1000", "e1000-82545em", "e1000e"] {
        let report = exercise(&["--qemu", model, "--exercise", "ping,tcp,rr"]);
        check(&report, 100);
        assert_eq!(report["exercise"]["tcp"]["download"]["bytes"], 64 << 20, "{report}");
        assert_eq!(report["exercise"]["tcp"]["upload"]["bytes"], 64 << 20, "{report}");
    }
}

#[test]
fn a_cable_that_leads_nowhere_is_no_link() {
    let folder = tempfile::tempdir().unwrap();
    let json = folder.path().join("out.json");
    let mut command = nook_run();
    let output = command.arg(driver()).args(["--wire", "none", "--duration", "300ms", "--json"]).arg(&json).output();
    assert_eq!(output.unwrap().status.code(), Some(0));
    let report: Value = serde_json::from_slice(&fs::read(json).unwrap()).unwrap();
    assert_eq!(report["link"], "down");
}

#[test]
fn a_capture_holds_every_frame_of_the_run() {
    let folder = tempfile::tempdir().unwrap();
    let pcap = folder.path().join("run.pcap");
    let report = exercise(&["--exercise", "ping", "--pcap", pcap.to_str().unwrap()]);
    let bytes = fs::read(&pcap).unwrap();
    // The header has 24 bytes; its magic number says nanoseconds, little endian.
    assert_eq!(bytes[..4], [0x4d, 0x3c, 0xb2, 0xa1]);
    let (mut at, mut frames) = (24, 0);
    while at < bytes.len() {
        let len = u32::from_le_bytes(bytes[at + 8..at + 12].try_into().unwrap()) as usize;
        at += 16 + len;
        frames += 1;
    }
    assert_eq!(at, bytes.len(), "the last frame is whole");
    assert_eq!(Some(frames), report["counters"]["packets"].as_u64());
}

#[test]
fn a_capture_onto_a_full_disk_ends_and_the_run_goes_on() {
    let output = nook_run().arg(driver()).args(["--exercise", "ping,tcp", "--pcap", "/dev/full"]).output().unwrap();
    let told = String::from_utf8_lossy(&output.stdout);
    assert!(told.contains("100 of 100 answered") && told.contains("hash ok"), "{told}\n{}", stderr(&output));
    assert!(stderr(&output).contains("No space left on device"), "{}", stderr(&output));
}

#[test]
fn a_second_start_takes_the_compiled_driver_from_the_cache() {
    let folder = tempfile::tempdir().unwrap();
    let run = || {
        let mut command = nook_run();
        command.arg(driver()).args(["--duration", "50ms"]).env("XDG_CACHE_HOME", folder.path());
        assert!(command.output().unwrap().status.success());
        let files = fs::read_dir(folder.path().join("nook")).unwrap().flatten();
        let files: Vec<_> = files.map(|entry| (entry.path(), entry.metadata().unwrap().modified().unwrap())).collect();
        assert_eq!(files.len(), 1, "{files:?}");
        files
    };
    assert_eq!(run(), run(), "it was not compiled and written again");
}

#[test]
fn inspect_tells_what_a_driver_is_and_runs_nothing_of_it() {
    let output = nook_run().arg("inspect").arg(driver()).output().unwrap();
    let text = String::from_utf8_lossy(&output.stdout);
    assert_eq!(output.status.code(), Some(0));
    for line in
        ["driver          e1000", "8086:100e", "mmio_write32", "poll            atomic context", "packet buffers"]
    {
        assert!(text.contains(line), "{line}: {text}");
    }
}

#[test]
fn log_lines_are_json_if_asked() {
    let output = nook_run().arg(driver()).args(["--duration", "50ms", "--log-format", "json"]).output().unwrap();
    let text = stderr(&output);
    assert!(!text.is_empty());
    for line in text.lines() {
        let _: Value = serde_json::from_str(line).unwrap_or_else(|error| panic!("{error}: {line}"));
    }
}
