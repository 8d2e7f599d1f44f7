//! `nook-run registers`: what a device's registers hold, and what a crash bundle says of them.

mod support;

use std::fs;
use std::path::PathBuf;

use serde_json::Value;
use support::module::Module;
use support::{Place, assert_is_said, e1000};

/// Returns the line of the register with this name.
fn line<'a>(text: &'a str, name: &str) -> &'a str {
    let of = |line: &&str| line.split_whitespace().nth(2) == Some(name);
    text.lines().find(of).unwrap_or_else(|| panic!("no {name} in:\n{text}"))
}

#[test]
fn a_device_is_read_by_the_map_and_nothing_that_reading_changes_is() {
    let place = Place::new();
    let text = place.nook_run(["registers", e1000().to_str().unwrap()]).end().with(0).stdout;
    assert!(text.starts_with("# Intel 82540EM (embedded model, seed 1), register map `e1000`\n"), "{text}");
    assert!(text.contains("# PCI 8086:100e, class 020000\n"), "{text}");
    // Of the model after power-on, whose cable leads nowhere.
    assert!(line(&text, "STATUS").contains("  0x") && line(&text, "STATUS").ends_with(']'), "{text}");
    assert!(line(&text, "ICR").ends_with("-  not read: that clears it"), "{text}");
    assert!(line(&text, "IMC").ends_with("-  not read: write only"), "{text}");
    assert!(text.lines().any(|line| line.contains("MTA[0..=127]")), "{text}");
}

#[test]
fn json_has_each_register_with_its_fields() {
    let place = Place::new();
    let driver = e1000();
    let text = place.nook_run(["registers", driver.to_str().unwrap(), "--json"]).end().with(0).stdout;
    let json: Value = serde_json::from_str(&text).unwrap();
    let of = |name: &str| json["registers"].as_array().unwrap().iter().find(|it| it["name"] == name).unwrap();
    assert_eq!(json["map"], "e1000");
    assert_eq!((&of("STATUS")["offset"], &of("STATUS")["width"]), (&8.into(), &32.into()));
    let (value, fields) = (of("STATUS")["value"].as_u64().unwrap(), &of("STATUS")["fields"]);
    assert_eq!(fields["LU"].as_u64(), Some(value >> 1 & 1), "{fields}");
    assert_eq!(of("ICR")["unknown"], "not read: that clears it");
    assert!(of("MTA[127]")["value"].is_u64());
}

#[test]
fn a_device_of_qemus_is_read_by_the_built_in_map_that_describes_it_or_by_the_one_that_is_named() {
    let place = Place::new();
    let text = place.nook_run(["registers", "--qemu", "edu"]).end().with(0).stdout;
    assert!(text.contains(", register map `edu`\n# PCI 1234:11e8, "), "{text}");
    // The version that QEMU's device has: 1.0, and its mark.
    assert!(line(&text, "IDENTIFICATION").contains("  0x010000ed"), "{text}");
    let map = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/rtl8139/rtl8139.regs.toml");
    let text = place.nook_run(["registers", "--qemu", "rtl8139", "--registers", map]).end().with(0).stdout;
    // The address that it has behind QEMU's user network, first byte lowest.
    assert!(line(&text, "IDR0").ends_with("  0x6e005452"), "{text}");
    assert!(line(&text, "TSD[0..=3]").ends_with("  0x00002000  [OWN]"), "{text}");
}

/// Runs a driver that masks interrupts, reads two registers and traps in `poll`; returns its newest bundle.
fn bundle(place: &Place) -> PathBuf {
    let probe = r#"(func (export "nook_probe") (param i32 i32) (result i32)
        (call $write (i32.const 0) (i32.const 0xd8) (i32.const 0xffff))
        (drop (call $read (i32.const 0) (i32.const 0x8)))
        (call $attach (i64.const 0x010000005452) (i32.const 1500)))"#;
    let poll = r#"(func (export "nook_poll") (param i32 i32 i32) (result i32)
        (call $write (i32.const 0) (i32.const 0xd8) (i32.const 0x4)) unreachable)"#;
    let imports = r#"(import "nook" "net_attach" (func $attach (param i64 i32) (result i32)))
        (import "nook" "mmio_write32" (func $write (param i32 i32 i32)))
        (import "nook" "mmio_read32" (func $read (param i32 i32) (result i32)))"#;
    place.file("driver.wasm", Module { probe, poll, imports, ..Module::default() }.wasm());
    place.file("policy.toml", "[restart]\nbudget = 1\n[bundles]\nfolder = \"bundles\"\nevery = \"0s\"\n");
    place.nook_run(["driver.wasm", "--policy", "policy.toml"]).end().with(4);
    fs::read_dir(place.at("bundles")).unwrap().map(|entry| entry.unwrap().path()).max().unwrap()
}

#[test]
fn a_bundle_has_what_the_driver_read_and_wrote_last() {
    let place = Place::new();
    let bundle = bundle(&place);
    let text = place.nook_run(["registers", bundle.to_str().unwrap()]).end().with(0).stdout;
    assert!(text.contains("embedded model") && text.contains("poll: trap: unreachable code was reached"), "{text}");
    // What `poll` wrote was held back, and never reached the device.
    assert!(line(&text, "IMC").contains("  <- 0x0000ffff"), "{text}");
    assert!(line(&text, "STATUS").contains("  -> 0x"), "{text}");
    assert!(line(&text, "CTRL").ends_with("-  not accessed"), "{text}");
    let told = place.nook_run(["postmortem", bundle.to_str().unwrap()]).end().with(0).stdout;
    assert!(told.contains("`nook-run registers "), "{told}");
    fs::write(bundle.join("registers.jsonl"), "{}\n").unwrap();
    assert_is_said("a damaged one", &place.nook_run(["registers", bundle.to_str().unwrap()]).end(), 1, &["is damaged"]);
    fs::remove_file(bundle.join("registers.jsonl")).unwrap();
    let older = place.nook_run(["registers", bundle.to_str().unwrap()]).end();
    assert_is_said("an older one", &older, 1, &["has nothing of registers: an older nook-run left it"]);
}

#[test]
fn what_cannot_be_read_is_said_with_what_to_do() {
    let place = Place::new();
    let driver = e1000();
    let map = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/rtl8139/rtl8139.regs.toml");
    for (what, args, code, says) in [
        ("nothing", &[][..], 1, "name what to read: a device with --qemu or --pci"),
        ("no such device", &["--pci", "ff:1f.7"][..], 1, "there is no PCI device 0000:ff:1f.7"),
        ("no map", &["--qemu", "rtl8139"][..], 1, "describes 10ec:8139, class 020000: name a file with --registers"),
        (
            "another device's map",
            &["--qemu", "edu", "--registers", map][..],
            1,
            "the register map `rtl8139` is for 10ec:8139, and QEMU's edu",
        ),
        ("no bundle", &["."][..], 1, "is not a crash bundle"),
        ("no file", &["no-such.wasm"][..], 1, "cannot read"),
    ] {
        assert_is_said(what, &place.nook_run(["registers"].iter().chain(args)).end(), code, &[says]);
    }
    let both = ["registers", driver.to_str().unwrap(), "--qemu", "edu"];
    assert_is_said("another driver's", &place.nook_run(both).end(), 1, &["is for 8086:100e, "]);
}
