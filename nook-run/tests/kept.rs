//! Modules that were built for ABI 1.0 when it was declared, one of each class and more, are run by every later host.
//! They are those of drivers/ as it was then (edu-c by clang 14), without debug information, and are never built again.

mod support;

use std::fs;
use std::path::PathBuf;

use serde_json::Value;
use support::Place;

fn kept(name: &str) -> String {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("tests/kept-1.0").join(name).display().to_string()
}

/// Runs a kept driver, which must end well and without a fault, and returns the report.
fn ran(driver: &str, args: &[&str]) -> Value {
    let place = Place::new();
    place.file("disk.img", vec![0; 16 << 20]);
    let args = [&[driver, "--json", "report.json"], args].concat();
    let ended = place.nook_run(args).end();
    assert_eq!(ended.code(), 0, "{driver}: {}{}", ended.stdout, ended.stderr);
    let report: Value = serde_json::from_slice(&fs::read(place.at("report.json")).expect("a report")).expect("JSON");
    assert_eq!(report["fault_count"], 0, "{driver}: {report}");
    report
}

#[test]
fn network_drivers_answer_pings_with_a_filter_too() {
    ran(&kept("e1000.wasm"), &["--exercise", "ping"]);
    ran(&kept("e1000.wasm"), &["--exercise", "ping", "--isolation", "sfi", "--qemu", "e1000"]);
    ran(&format!("{}+{}", kept("e1000.wasm"), kept("filter.wasm")), &["--exercise", "ping", "--filter-rule", "udp:53"]);
    ran(&kept("virtio-net.wasm"), &["--exercise", "ping", "--qemu", "virtio-net-pci"]);
}

#[test]
fn a_network_driver_that_crashes_is_rolled_back() {
    let place = Place::new();
    let driver = kept("e1000.wasm");
    let args = [&*driver, "--exercise", "ping", "--crash-every", "1ms", "--json", "report.json"];
    place.nook_run(args).end().with(0);
    let report: Value = serde_json::from_slice(&fs::read(place.at("report.json")).expect("a report")).expect("JSON");
    assert!(report["fault_count"].as_u64() > Some(0), "{report}");
    assert_eq!(report["recovery"]["rollbacks"], report["fault_count"], "{report}");
}

#[test]
fn disks_hold_what_is_written() {
    ran(&kept("nvme.wasm"), &["--exercise", "write,verify", "--io-bytes", "65536"]);
    let qemu = ["--qemu", "virtio-blk-pci,file=disk.img", "--destroy-data", "nook"];
    ran(&kept("virtio-blk.wasm"), &[&qemu[..], &["--exercise", "write,verify", "--io-bytes", "65536"]].concat());
}

#[test]
fn a_serial_line_carries_bytes_both_ways() {
    ran(&kept("serial.wasm"), &["--qemu", "pci-serial", "--exercise", "loop"]);
}

#[test]
fn operations_return_what_they_are_for_in_rust_and_in_c() {
    for driver in ["edu.wasm", "edu-c.wasm"] {
        let place = Place::new();
        let args = [&*kept(driver), "--qemu", "edu", "--call", "factorial:05000000"];
        let ended = place.nook_run(args).end().with(0);
        assert!(ended.stdout.contains("78000000"), "{driver}: 5! is 120: {}", ended.stdout);
    }
}
