//! The command `nook-run selftest`, as a stranger would run it.

use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use serde_json::Value;

fn driver() -> PathBuf {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).parent().expect("nook-run/ lies in the repository");
    root.join("target/drivers/e1000.wasm")
}

fn selftest(arguments: &[&str]) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_nook-run"));
    command.arg("selftest").arg(driver()).args(arguments).output().expect("nook-run starts")
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
