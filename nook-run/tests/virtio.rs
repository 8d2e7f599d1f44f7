//! QEMU's virtio disk and network card through the command: content at every level, calls that are rolled back, drivers
//! that are restarted, and devices that are refused.

mod support;

use std::fs;

use serde_json::Value;
use support::{Place, assert_is_said, built};

const DISK: &str = "virtio-blk-pci,file=disk.img";

/// Runs the exercise on a fresh disk, expects that each step found what had to be there, and returns the report.
fn exercised(device: &str, steps: &str, more: &[&str]) -> Value {
    let place = Place::new();
    place.file("disk.img", vec![0; 16 << 20]);
    place.file(
        "policy.toml",
        "[restart]\nbudget = 100000\nbackoff_first = \"0ms\"\nbackoff_most = \"0ms\"\n[block]\nverify = \"crc\"\n",
    );
    let driver = built("virtio-blk.wasm");
    let args = [driver.to_str().expect("a test's paths are text"), "--qemu", device, "--exercise", steps];
    let common = ["--destroy-data", "nook", "--policy", "policy.toml", "--json", "report.json"];
    place.nook_run(args.iter().chain(&common).chain(more)).end().with(0);
    let report: Value = serde_json::from_slice(&fs::read(place.at("report.json")).expect("a report")).expect("JSON");
    for step in report["exercise"].as_array().expect("a list") {
        assert!(step["requests"].as_u64().expect("a count") > 0, "{step}");
        assert_eq!((&step["errors"], &step["wrong"]), (&0.into(), &0.into()), "{step}");
    }
    assert_eq!((&report["counters"]["errors"], &report["counters"]["differing"]), (&0.into(), &0.into()));
    report
}

#[test]
fn what_is_written_is_read_at_every_level_but_mpk() {
    for isolation in ["sfi+txn", "sfi", "wrapped", "native", "process"] {
        let report = exercised(DISK, "write,read,verify", &["--isolation", isolation, "--io-bytes", "65536"]);
        assert_eq!((&report["isolation"], &report["disk"]["serial"]), (&isolation.into(), &"nook".into()));
        assert_eq!((&report["interrupts"], &report["fault_count"]), (&"msix".into(), &0.into()));
    }
}

#[test]
fn every_call_that_crashes_is_rolled_back_and_nothing_is_lost() {
    for (options, every) in
        [("", "50ms"), (",vectors=1", "50ms"), (",disable-legacy=on,iommu_platform=on,vectors=0", "2ms")]
    {
        let report = exercised(&format!("{DISK}{options}"), "write,read,verify", &["--crash-every", every]);
        assert!(report["fault_count"].as_u64().expect("a count") > 5, "{}", report["recovery"]);
        assert_eq!(report["recovery"]["rollbacks"], report["fault_count"], "{}", report["recovery"]);
    }
}

#[test]
fn a_driver_that_is_restarted_under_load_loses_nothing() {
    let report = exercised(DISK, "write,read,verify", &["--crash-every", "50ms", "--isolation", "sfi"]);
    assert!(report["recovery"]["restarts"].as_u64().expect("a count") > 5, "{}", report["recovery"]);
}

#[test]
fn blocks_of_a_page_and_flushes_are_had() {
    let device = format!("{DISK},logical_block_size=4096,physical_block_size=4096");
    let report = exercised(&device, "write,fsync,verify", &["--io-bytes", "131072"]);
    assert_eq!((&report["disk"]["block_bytes"], &report["disk"]["blocks"]), (&4096.into(), &4096.into()));
    assert!(report["counters"]["flushes"].as_u64().expect("a count") > 0, "{}", report["counters"]);
}

#[test]
fn a_device_with_another_layout_or_of_the_old_standard_is_refused_with_the_reason() {
    for (option, says) in [
        ("disable-modern=on", "the device has no structure 1 of the standard: QEMU's needs disable-modern=off"),
        ("page-per-vq=on", "page-per-vq is not supported"),
    ] {
        let place = Place::new();
        place.file("disk.img", vec![0; 1 << 20]);
        let device = format!("{DISK},{option}");
        let driver = built("virtio-blk.wasm");
        let args = [driver.to_str().expect("a test's paths are text"), "--qemu", &device, "--exercise", "read"];
        assert_is_said(option, &place.nook_run(args).end(), 1, &[says]);
    }
}

/// Has the card carry pings, TCP both ways and requests, expects that all came as it was sent, and returns the report.
fn carried(device: &str, more: &[&str]) -> Value {
    let place = Place::new();
    place.file("policy.toml", "[restart]\nbudget = 100000\nbackoff_first = \"0ms\"\nbackoff_most = \"0ms\"\n");
    let driver = built("virtio-net.wasm");
    let args = [driver.to_str().expect("a test's paths are text"), "--qemu", device, "--exercise", "ping,tcp,rr"];
    place.nook_run(args.iter().chain(&["--policy", "policy.toml", "--json", "report.json"]).chain(more)).end().with(0);
    let report: Value = serde_json::from_slice(&fs::read(place.at("report.json")).expect("a report")).expect("JSON");
    let exercise = &report["exercise"];
    assert_eq!((&exercise["tcp"]["hash_ok"], &exercise["rr"]["lost"]), (&true.into(), &0.into()), "{exercise:#}");
    report
}

#[test]
fn a_network_card_carries_at_every_level_but_mpk() {
    for isolation in ["sfi", "wrapped", "native", "process"] {
        let report = carried("virtio-net-pci", &["--isolation", isolation]);
        assert_eq!((&report["interrupts"], &report["fault_count"]), (&"msix".into(), &0.into()));
        assert_eq!(report["exercise"]["ping"]["received"], 100, "{isolation}");
    }
}

#[test]
fn every_call_of_a_network_cards_that_crashes_is_rolled_back_and_nothing_is_lost() {
    for options in ["", ",vectors=1", ",disable-legacy=on,iommu_platform=on,vectors=0"] {
        let report = carried(&format!("virtio-net-pci{options}"), &["--crash-every", "20ms"]);
        assert!(report["fault_count"].as_u64().expect("a count") > 5, "{}", report["recovery"]);
        assert_eq!(report["recovery"]["rollbacks"], report["fault_count"], "{}", report["recovery"]);
        assert_eq!(report["exercise"]["ping"]["received"], 100, "{options}");
    }
}
