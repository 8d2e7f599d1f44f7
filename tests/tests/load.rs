//! What a file can do to whoever loads it: nothing, and the message shows it as it is.

use std::fs::File;

use nook_abi::is_plain;
use nook_runtime::{DriverModule, LoadError, Method, Wasi};

/// What moves a terminal's cursor, and what turns the direction of the text after it, as the text format has them.
const TRICK: &str = r"\1b[2J\u{202e}";

fn module(parts: &str, manifest: &str) -> Result<DriverModule, LoadError> {
    let text = format!(r#"(module {parts} (@custom "nook.manifest" "{manifest}"))"#);
    DriverModule::from_bytes(&wat::parse_str(text.replace("TRICK", TRICK)).unwrap(), Wasi::Refused)
}

#[test]
fn names_out_of_a_module_are_shown_as_what_they_are() {
    for (parts, manifest) in [
        (r#"(import "nook" "TRICK" (func))"#, ""),
        (r#"(import "TRICK" "log" (func))"#, ""),
        (r#"(import "wasi_snapshot_preview1" "TRICK" (func))"#, ""),
        (r#"(import "TRICK" "TRICK" (global i32))"#, ""),
        (r#"(memory (export "nook_TRICK") 1)"#, ""),
        (r#"(func (export "TRICK")) (memory (export "TRICK") 1)"#, ""),
        ("", "TRICK"),
        ("", r"abi = 0.9\nname = TRICK\n"),
        ("", r"abi = 0.9\nname = odd\nversion = 1\nlicense = TRICK\nclass = net\n"),
    ] {
        let error = module(parts, manifest).unwrap_err().to_string();
        assert!(error.chars().all(is_plain), "{error:?}");
    }
}

#[test]
fn names_are_shown_as_what_they_are_where_calls_cannot_be_taken_back() {
    let entries = r#"
        (memory (export "memory") 1)
        (table (export "TRICK") 1 funcref)
        (func (export "nook_probe") (param i32 i32) (result i32) (i32.const 0))
        (func (export "nook_remove"))
        (func (export "nook_open") (result i32) (i32.const 0))
        (func (export "nook_stop") (result i32) (i32.const 0))
        (func (export "nook_poll") (param i32 i32 i32) (result i32) (i32.const 0))
        (func (export "nook_irq") (param i32) (result i32) (i32.const 0))"#;
    let manifest = e1000_wasm::MANIFEST.escape_default().to_string();
    let refused = Method::Log.instrument(&module(entries, &manifest).unwrap()).err().unwrap().to_string();
    assert!(refused.contains("the exported table") && refused.chars().all(is_plain), "{refused:?}");
}

#[test]
fn a_file_that_is_longer_than_a_driver_can_be_is_not_read() {
    const MOST: u64 = 8 << 20;
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("long.wasm");
    let file = File::create(&path).unwrap();
    for (len_bytes, refused) in [(MOST, false), (MOST + 1, true), (u64::MAX >> 2, true)] {
        // Not every file system has files as long as the last one.
        if file.set_len(len_bytes).is_ok() {
            let error = DriverModule::load(&path, Wasi::Refused).unwrap_err();
            let too_long = matches!(error, LoadError::TooLong { len_bytes: found, .. } if found == len_bytes);
            assert_eq!(too_long, refused, "{len_bytes}: {error}");
        }
    }
}
