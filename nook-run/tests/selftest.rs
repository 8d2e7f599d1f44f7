//! The command `nook-run selftest`, as a stranger would run it.

use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use nook_tests::{DiskBug, with_disk_bug};
use serde_json::Value;

fn driver(name: &str) -> PathBuf {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).parent().expect("nook-run/ lies in the repository");
    root.join("target/drivers").join(name)
}

fn selftest(arguments: &[&str]) -> Output {
    selftest_of(&driver("e1000.wasm"), arguments)
}

fn selftest_of(driver: &Path, arguments: &[&str]) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_nook-run"));
    command.arg("selftest").arg(driver).args(arguments).output().expect("nook-run starts")
}

fn told(output: &Output) -> String {
    String::from_utf8_lossy(&output.stdout).into_owned() + &String::from_utf8_lossy(&output.stderr)
}

/// Runs the test on a device and returns the report.
fn passed(name: &str, arguments: &[&str]) -> Value {
    let path = Path::new(env!("CARGO_TARGET_TMPDIR")).join(format!("selftest-{name}.json"));
    let json = path.to_str().expect("the target folder's name is text");
    let output = selftest(&[&["--json", json, "--packets", "3000"], arguments].concat());
    let told = String::from_utf8_lossy(&output.stdout).into_owned() + &String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{name}: {told}; was the driver built (`cargo xtask drivers`)?");
    assert!(told.contains("self-test passed"), "{told}");
    let report: Value = serde_json::from_slice(&std::fs::read(&path).expect("a report")).expect("JSON");
    assert_eq!(report["passed"], true);
    assert_eq!(report["frames"]["received"], 3000);
    assert_eq!(report["frames"]["sha256_sent"], report["frames"]["sha256_received"]);
    assert_eq!(report["driver"]["name"], "e1000");
    report
}

#[test]
fn the_embedded_model_passes_with_every_seed() {
    let mut hashes = Vec::new();
    for seed in ["1", "2", "3", "4", "5"] {
        let report = passed(&format!("model-{seed}"), &["--seed", seed]);
        assert_eq!(report["device"]["from"], "model");
        hashes.push(report["frames"]["sha256_sent"].to_string());
    }
    hashes.dedup();
    assert_eq!(hashes.len(), 5, "each seed has its own frames");
}

#[test]
fn each_of_qemus_cards_passes() {
    for (model, id) in [("e1000", "8086:100e"), ("e1000-82545em", "8086:100f"), ("e1000e", "8086:10d3")] {
        let report = passed(model, &["--qemu", model]);
        assert_eq!((&report["device"]["from"], &report["device"]["id"]), (&"qemu".into(), &id.into()));
    }
}

#[test]
fn what_cannot_be_tested_is_no_verdict() {
    for (arguments, says) in [
        (&["--qemu", "rtl8139"][..], "10ec:8139"),
        (&["--qemu", "no-such-card"], "no device `no-such-card`"),
        (&["--pci", "ff:1f.7"], "ff:1f.7"),
        (&["--json", "/nowhere/at/all.json"], "/nowhere/at"),
    ] {
        let output = selftest(arguments);
        assert_eq!(output.status.code(), Some(1), "{arguments:?}");
        assert!(String::from_utf8_lossy(&output.stderr).contains(says), "{output:?}");
    }
    assert_eq!(selftest(&["--packets", "1"]).status.code(), Some(2));
}

/// A disk of 4 MiB that holds something.
fn image(dir: &tempfile::TempDir) -> PathBuf {
    let path = dir.path().join("disk.img");
    let content: Vec<u8> = (0..1_u32 << 20).flat_map(|word| word.wrapping_mul(0x9e37_79b9).to_le_bytes()).collect();
    std::fs::write(&path, content).expect("a file");
    path
}

#[test]
fn a_disk_passes_and_is_only_read_unless_its_serial_number_is_given() {
    let nvme = driver("nvme.wasm");
    for qemu in [false, true] {
        let dir = tempfile::tempdir().expect("a folder");
        let (path, json) = (image(&dir), dir.path().join("report.json"));
        let (path, json) = (path.to_str().expect("text"), json.to_str().expect("text"));
        let spec = format!("nvme,file={path},serial=abc");
        let (device, serial) = if qemu { (["--qemu", &spec], "abc") } else { (["--disk", path], "nook-model-1") };
        let before = std::fs::read(path).expect("the file");
        let run = |more: &[&str]| {
            let output = selftest_of(&nvme, &[&device[..], &["--json", json], more].concat());
            let report: Value = serde_json::from_slice(&std::fs::read(json).unwrap_or_default()).unwrap_or_default();
            (output.status.code(), told(&output), report)
        };
        let (code, told, report) = run(&[]);
        assert_eq!(code, Some(0), "{told}");
        assert!(told.contains("self-test passed") && told.contains(&format!("--destroy-data {serial}")), "{told}");
        assert_eq!((&report["passed"], &report["counters"]["writes"]), (&true.into(), &0.into()));
        assert_eq!(report["disk"]["serial"], serial);
        assert!(std::fs::read(path).expect("the file") == before, "it was written to");
        let (code, told, _) = run(&["--destroy-data", "another"]);
        assert_eq!(code, Some(1), "{told}");
        assert!(told.contains(&format!("the disk's serial number is `{serial}`")), "{told}");
        assert!(std::fs::read(path).expect("the file") == before, "it was written to");
        let (code, told, report) = run(&["--destroy-data", serial]);
        assert_eq!(code, Some(0), "{told}");
        assert!(told.contains("zeroes are zero") && report["not_written"].is_null(), "{told}");
        assert!(report["counters"]["writes"].as_u64() > Some(0) && std::fs::read(path).expect("the file") != before);
    }
}

#[test]
fn a_disks_driver_that_lies_does_not_pass() {
    let dir = tempfile::tempdir().expect("a folder");
    let good = std::fs::read(driver("nvme.wasm")).expect("`cargo xtask drivers` made it");
    let lying = dir.path().join("lying.wasm");
    for bug in [DiskBug::LosesBits(1 << 16), DiskBug::LosesBits(2), DiskBug::Skips(0)] {
        std::fs::write(&lying, with_disk_bug(&good, bug)).expect("a file");
        let output = selftest_of(&lying, &["--destroy-data", "nook-model-1"]);
        let told = told(&output);
        assert_eq!(output.status.code(), Some(3), "{bug:?}: {told}");
        assert!(told.contains("FAILED  writes are read") && told.contains("did not pass"), "{bug:?}: {told}");
    }
}

#[test]
fn options_of_another_class_are_refused() {
    for (name, arguments, says) in [
        ("nvme.wasm", ["--packets", "7"], "--packets is for drivers of class net"),
        ("e1000.wasm", ["--destroy-data", "x"], "--destroy-data is for drivers of class block"),
        ("e1000.wasm", ["--disk", "x"], "--disk is for drivers of class block"),
    ] {
        let output = selftest_of(&driver(name), &arguments);
        assert_eq!(output.status.code(), Some(1));
        assert!(told(&output).contains(says), "{}", told(&output));
    }
}
