//! What a file can do to the program that loads it: nothing, and the message shows it as it is.

use std::fs::File;
use std::sync::Arc;

use nook_abi::is_printable;
use nook_runtime::{
    CheckError, DriverModule, EngineError, Host, InstanceRollback, LoadError, ModuleCache, Prepared, Rollback,
    RollbackMethod, Wasi, WasmLauncher,
};
use nook_tests::e1000_module;
use wasmtime::{Func, Instance, Store};

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
        ("", r"abi = 1.0\nname = TRICK\n"),
        ("", r"abi = 1.0\nname = odd\nversion = 1\nlicense = TRICK\nclass = net\n"),
    ] {
        let error = module(parts, manifest).unwrap_err().to_string();
        assert!(error.chars().all(is_printable), "{error:?}");
    }
}

#[test]
fn names_are_shown_as_what_they_are_where_calls_cannot_be_rolled_back() {
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
    let refused = RollbackMethod::Log.instrument(&module(entries, &manifest).unwrap()).err().unwrap().to_string();
    assert!(refused.contains("the exported table") && refused.chars().all(is_printable), "{refused:?}");
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

/// The undo log's pass, if it forgot the last deadline check of the module's code that comes before this byte.
struct Forgets(usize);

/// A deadline check: `i32.const 0`, the atomic load of the time cell in the second memory, `i32.const 1`, `i32.and`,
/// `if`.
const CHECK: &[u8] = &[0x41, 0, 0xfe, 0x10, 0x42, 1, 0, 0x41, 1, 0x71, 0x04, 0x40];
const NOP: u8 = 1;
const END: u8 = 0x0b;

impl Rollback for Forgets {
    fn isolation(&self) -> &'static str {
        RollbackMethod::Log.isolation()
    }

    fn prepare(&self, module: &DriverModule) -> Result<Prepared, String> {
        let mut prepared = RollbackMethod::Log.prepare(module)?;
        let before = &prepared.wasm[..prepared.wasm.len() / self.0];
        let at = before.windows(CHECK.len()).rposition(|code| code == CHECK).ok_or("there is no deadline check")?;
        let end = at + prepared.wasm[at..].iter().position(|byte| *byte == END).ok_or("it has no end")?;
        prepared.wasm[at..=end].fill(NOP);
        Ok(prepared)
    }

    fn keeps_time(&self) -> bool {
        true
    }

    fn attach(&self, _: &mut Store<Host>, _: &Instance, _: Func) -> wasmtime::Result<Box<dyn InstanceRollback>> {
        unreachable!("nothing of the module may run")
    }
}

#[test]
fn a_module_with_a_loop_without_a_check_is_refused_before_it_runs() {
    for module in [e1000_module(), Arc::new(e1000_module().counting())] {
        for half in [1, 2, 3] {
            let refused = WasmLauncher::with_rollback(&module, &ModuleCache::none(), Arc::new(Forgets(half))).err();
            let Some(error @ EngineError::NoDeadlineCheck(_)) = refused else { panic!("{refused:?}") };
            let text = error.to_string();
            assert!(text.contains("nook's own instrumentation") && text.contains("report it"), "{text}");
        }
    }
}

/// The undo log's pass, if one of its records said eight bytes where four were read.
struct SaysMore;

/// `i64.extend_i32_u`, `i64.const` of a length of four in the upper half.
const FOUR_BYTES: &[u8] = &[0xad, 0x42, 0x80, 0x80, 0x80, 0x80, 0xc0, 0];
const EIGHT_BYTES: &[u8] = &[0xad, 0x42, 0x80, 0x80, 0x80, 0x80, 0x80, 1];

impl Rollback for SaysMore {
    fn isolation(&self) -> &'static str {
        RollbackMethod::Log.isolation()
    }

    fn prepare(&self, module: &DriverModule) -> Result<Prepared, String> {
        let mut prepared = RollbackMethod::Log.prepare(module)?;
        let at = prepared.wasm.windows(FOUR_BYTES.len()).rposition(|code| code == FOUR_BYTES);
        let at = at.ok_or("there is no record of four bytes")?;
        prepared.wasm[at..at + FOUR_BYTES.len()].copy_from_slice(EIGHT_BYTES);
        Ok(prepared)
    }

    fn check(&self, module: &DriverModule, wasm: &[u8]) -> Result<(), CheckError> {
        RollbackMethod::Log.check(module, wasm)
    }

    fn keeps_time(&self) -> bool {
        true
    }

    fn attach(&self, _: &mut Store<Host>, _: &Instance, _: Func) -> wasmtime::Result<Box<dyn InstanceRollback>> {
        unreachable!("nothing of the module may run")
    }
}

#[test]
fn a_module_with_a_record_that_is_wrong_is_refused_before_it_runs() {
    for module in [e1000_module(), Arc::new(e1000_module().counting())] {
        let refused = WasmLauncher::with_rollback(&module, &ModuleCache::none(), Arc::new(SaysMore)).err();
        let Some(error @ EngineError::NotLogged(_)) = refused else { panic!("{refused:?}") };
        let text = error.to_string();
        assert!(text.contains("a record of another place") && text.contains("report it"), "{text}");
    }
}
