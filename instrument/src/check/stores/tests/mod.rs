//! What the pass writes is accepted; the same with one mistake anywhere is refused, by this checker alone.

mod mutants;

use std::path::Path;

use crate::check::{self, CheckError, StoresChecked};
use crate::tests::anywhere::{self, MODULES, SHARED};
use crate::tests::author::{Author, modules};
use crate::undo::{Flaw, Options, instrument};
use crate::{Counting, hints};

/// How private memory is kept, up to this address.
#[derive(Clone, Copy, Debug)]
enum By {
    Log,
    Pages(u32),
}

/// Instruments a driver, hints and all, and checks what came of it, with copies that count and without.
fn verdict(driver: &[u8], by: By, flaw: Option<Flaw>) -> Result<StoresChecked, CheckError> {
    let replaced = hints::replace(driver).unwrap();
    let (wasm, scratch) = match &replaced {
        Some(replaced) => (&replaced.wasm[..], Some(&replaced.scratch)),
        None => (driver, None),
    };
    let (private_bytes, kept_below) = match by {
        By::Log => (Some(4096), None),
        By::Pages(to) => (Some(to), Some(to)),
    };
    let options = Options { private_bytes, private_is_kept: kept_below.is_some(), scratch, flaw };
    let instrumented = instrument(wasm, &options).unwrap();
    let checked = check::stores(driver, kept_below, &instrumented.wasm);
    let counting = Counting::of(&instrumented.wasm, instrumented.wrappers_from).unwrap();
    let of_copies = check::stores(driver, kept_below, &counting.wasm);
    assert_eq!(checked.is_ok(), of_copies.is_ok(), "{checked:?}, with copies {of_copies:?}");
    checked
}

#[test]
fn every_driver_at_hand_is_accepted() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../target/drivers");
    let mut names = Vec::new();
    for entry in std::fs::read_dir(&folder).expect("`cargo xtask drivers` makes them") {
        let path = entry.unwrap().path();
        if path.extension().is_some_and(|extension| extension == "wasm") {
            let wasm = std::fs::read(&path).unwrap();
            for by in [By::Log, By::Pages(1 << 20), By::Pages(4096)] {
                let checked =
                    verdict(&wasm, by, None).unwrap_or_else(|wrong| panic!("{} {by:?}: {wrong}", path.display()));
                println!("{}: {} bytes, {by:?}: {checked:?}", path.display(), wasm.len());
            }
            names.push(path.file_stem().unwrap().to_string_lossy().into_owned());
        }
    }
    for driver in ["e1000", "filter"] {
        assert!(names.iter().any(|name| name == driver), "{driver}.wasm is missing: run `cargo xtask drivers`");
    }
}

#[test]
fn generated_modules_are_accepted() {
    for seed in 1..=modules() {
        for text in [Author::module(seed), Author::endless_module(seed)] {
            for by in [By::Log, By::Pages(4096 + 100)] {
                verdict(&wat::parse_str(&text).unwrap(), by, None)
                    .unwrap_or_else(|wrong| panic!("seed {seed} {by:?}: {wrong}\n{text}"));
            }
        }
    }
}

/// Returns generated drivers: with a stack, a window that a device writes, and without both.
fn generated() -> impl Iterator<Item = Vec<u8>> {
    let texts = (1..=MODULES).flat_map(|seed| [anywhere::Author::module(seed), Author::module(seed)]);
    texts.map(|text| wat::parse_str(text).unwrap())
}

#[test]
fn of_the_passes_mistakes_all_are_refused_that_leave_a_store_without_a_record() {
    let pages = By::Pages(SHARED as u32);
    // What is logged too much, or what a device may write, is for the tests that run it.
    let rows = [
        (Flaw::MergeAcrossGap, By::Log, false),
        (Flaw::HoistSharedMemory, By::Log, false),
        (Flaw::HoistVariantAddress, By::Log, true),
        (Flaw::NoStackCheck, By::Log, true),
        (Flaw::KeepTopAfterCall, By::Log, true),
        (Flaw::LogAfterStore, By::Log, true),
        (Flaw::WrongWidth, By::Log, true),
        (Flaw::KeepFactsOfOtherPath, By::Log, true),
        (Flaw::ForgetGlobals, By::Log, true),
        (Flaw::TakeStoreForScratch, By::Log, true),
        (Flaw::KeepAcrossBorder, pages, true),
        (Flaw::KeepFactsOfOtherPath, pages, true),
        (Flaw::LogAfterStore, pages, true),
    ];
    for (flaw, by, expected) in rows {
        let refused = generated().any(|wasm| verdict(&wasm, by, Some(flaw)).is_err());
        assert_eq!(refused, expected, "{flaw:?}, {by:?}");
    }
}

#[test]
fn drivers_with_stacks_and_windows_are_accepted() {
    for (number, wasm) in generated().enumerate() {
        for by in [By::Log, By::Pages(SHARED as u32), By::Pages(0x8104)] {
            verdict(&wasm, by, None).unwrap_or_else(|wrong| panic!("module {number} {by:?}: {wrong}"));
        }
    }
}

/// Returns a driver with this code in a function and in a transaction that calls it.
fn driver(code: &str) -> Vec<u8> {
    let text = format!(
        r#"(module (import "host" "tick" (func $tick))
            (import "nook_hint" "store64" (func $scratch (param i32 i64 i32)))
            (memory (export "memory") 2 2)
            (global $sp (export "__stack_pointer") (mut i32) (i32.const 1024))
            (data (i32.const 1024) "data")
            (func $f (param $p i32) (local $q i32) (local $i i32) {code})
            (func (export "nook_poll") (call $f (i32.const 5000))))"#
    );
    wat::parse_str(&text).unwrap_or_else(|error| panic!("{error}\n{text}"))
}

#[test]
fn what_a_driver_declares_as_scratch_is_its_own_to_say_but_no_other_store_is() {
    let hint = "(call $scratch (local.get $p) (i64.const 1) (i32.const 8))";
    let store = "(i64.store offset=8 (local.get $p) (i64.const 1))";
    for (code, scratch) in [(hint.to_owned(), 1), (format!("{store} {hint} {hint}"), 2)] {
        let found = verdict(&driver(&code), By::Log, None).unwrap();
        assert_eq!((found.scratch, found.stores), (scratch, code.matches("i64.store").count()));
    }
    // The pass takes the store for a hint; in the driver's file it is none.
    let wrong = verdict(&driver(&format!("{hint} {store}")), By::Log, Some(Flaw::TakeStoreForScratch)).unwrap_err();
    assert!(wrong.to_string().contains("not in the log on every path"), "{wrong}");
}

#[test]
fn a_module_of_another_driver_is_refused() {
    let store = |at: u32| driver(&format!("(i32.store (i32.const {at}) (i32.const 1)) (call $tick)"));
    let instrumented = instrument(&store(2000), &Options::default()).unwrap().wasm;
    check::stores(&store(3000), None, &instrumented).expect("the address is what the code says");
    for (other, word) in [
        (driver("(i64.store (i32.const 2000) (i64.const 1)) (call $tick)"), "another store than"),
        (driver("(call $tick)"), "a store that the driver's function does not have"),
        (
            driver("(i32.store (i32.const 2000) (i32.const 1)) (i32.store8 (i32.const 2000) (i32.const 1))"),
            "fewer stores",
        ),
        (wat::parse_str("(module (memory (export \"memory\") 2 2))").unwrap(), "other functions"),
    ] {
        let wrong = check::stores(&other, None, &instrumented).unwrap_err().to_string();
        assert!(wrong.contains(word), "{wrong} says nothing of `{word}`");
    }
}

#[test]
fn what_it_takes_grows_as_the_module_does() {
    let stores = |n: usize| driver(&"(i32.store (local.get $p) (local.get $q)) (call $tick)".repeat(n));
    let distinct = |n: usize| {
        let stores = (0..n).map(|at| format!("(i32.store offset={} (local.get $p) (local.get $q))", 4 * at));
        driver(&stores.collect::<String>())
    };
    let nested = |n: usize| {
        let open = "(if (i32.gt_u (local.get $p) (i32.const 9)) (then (i32.store (local.get $p) (i32.const 1))";
        driver(&format!("{}{}", open.repeat(n), "))".repeat(n)))
    };
    let blocks = |n: usize| {
        let close = "(local.set $q (local.get $i)) (br_if 0 (local.get $q)))";
        let reads = "(i32.store (local.get $q) (i32.const 1))";
        driver(&format!("{}{}{reads}", "(block ".repeat(n), close.repeat(n)))
    };
    let loops = |n: usize| {
        let body = "(local.set $q (i32.add (local.get $q) (i32.const 4))) (i32.store (local.get $i) (local.get $q))";
        driver(&format!("{}{}", "(loop ".repeat(n), format!("{body} (br_if 0 (local.get $q)))").repeat(n)))
    };
    let table = |n: usize| {
        let targets = " 0".repeat(n);
        driver(&format!("(block (br_table{targets} (local.get $p)))").repeat(4))
    };
    let locals = |n: usize| {
        let reads: String = (0..n).map(|at| format!("(i32.store (local.get {}) (i32.const 1))", 3 + at)).collect();
        driver(&format!("(local {}) (loop {reads} (br_if 0 (local.get $p)))", "i32 ".repeat(n)))
    };
    type Maker<'a> = &'a dyn Fn(usize) -> Vec<u8>;
    let makers: [(&str, Maker); 7] = [
        ("stores", &stores),
        ("stores that are logged together", &distinct),
        ("nested conditions", &nested),
        ("nested blocks", &blocks),
        ("nested loops", &loops),
        ("tables", &table),
        ("locals", &locals),
    ];
    for (what, make) in makers {
        for kept in [None, Some(4096)] {
            let steps = |n: usize| {
                let driver = make(n);
                let options =
                    Options { private_bytes: Some(4096), private_is_kept: kept.is_some(), ..Options::default() };
                let wasm = hints::replace(&driver).unwrap().map_or(driver.clone(), |replaced| replaced.wasm);
                let wasm = instrument(&wasm, &options).unwrap().wasm;
                let checked = check::stores(&driver, kept, &wasm).unwrap_or_else(|wrong| panic!("{what}: {wrong}"));
                (checked.steps as f64, wasm.len() as f64)
            };
            let ((small, _), (large, bytes)) = (steps(100), steps(400));
            println!("{what}, {kept:?}: {small} steps, four times as large {large}, {bytes} bytes");
            assert!(large < 4.4 * small, "{what}: {small} steps, four times as large {large}");
            assert!(large < 6.0 * bytes, "{what}: {large} steps for {bytes} bytes");
        }
    }
}
