//! The undo log on small modules that are written by hand.

use nook_runtime::{CorruptLog, UndoLog};
use wasmtime::{Config, Engine, Instance, Linker, Module, Store, Val};

use crate::undo::{Options, Refused, instrument};

struct Bench {
    store: Store<()>,
    instance: Instance,
    undo: UndoLog,
}

impl Bench {
    fn new(text: &str) -> Bench {
        let wasm = wat::parse_str(text).unwrap();
        let instrumented = instrument(&wasm, &Options::default()).unwrap();
        let mut config = Config::new();
        config.wasm_multi_memory(true).wasm_threads(true);
        let engine = Engine::new(&config).unwrap();
        let module = Module::new(&engine, &instrumented.wasm).unwrap();
        let mut store = Store::new(&engine, ());
        let mut linker = Linker::new(&engine);
        linker
            .func_wrap("host", "fail", || -> wasmtime::Result<()> { Err(wasmtime::format_err!("the host fails")) })
            .unwrap();
        let instance = linker.instantiate(&mut store, &module).unwrap();
        let undo = UndoLog::of(&mut store, &instance).unwrap();
        Bench { store, instance, undo }
    }

    fn call(&mut self, name: &str) -> wasmtime::Result<()> {
        let entry = self.instance.get_typed_func::<(), ()>(&mut self.store, name).unwrap();
        entry.call(&mut self.store, ())
    }

    fn memory(&mut self) -> Vec<u8> {
        let memory = self.instance.get_memory(&mut self.store, "memory").unwrap();
        memory.data(&self.store).to_vec()
    }

    fn global(&mut self, name: &str) -> Val {
        let global = self.instance.get_global(&mut self.store, name).unwrap();
        global.get(&mut self.store)
    }
}

const COUNTER: &str = r#"(module
    (import "host" "fail" (func $fail))
    (memory (export "memory") 1 1)
    (global $calls (export "calls") (mut i64) (i64.const 5))
    (data (i32.const 100) "before")
    (func $write
        (global.set $calls (i64.add (global.get $calls) (i64.const 1)))
        (i32.store (i32.const 100) (i32.const 0x41414141))
        (i32.store8 offset=200 (i32.const 65335) (i32.const 7))
        (memory.fill (i32.const 1000) (i32.const 9) (i32.const 333)))
    (func (export "nook_timer") (call $write))
    (func (export "nook_work") (call $write) (call $fail))
    (func (export "nook_remove") (call $write) (call $fail)))"#;

#[test]
fn a_call_that_fails_leaves_memory_and_globals_as_before() {
    let mut bench = Bench::new(COUNTER);
    bench.call("nook_timer").unwrap();
    let (memory, calls) = (bench.memory(), bench.global("calls").unwrap_i64());
    bench.store.data_mut();
    bench.call("nook_work").unwrap_err();
    assert_eq!(bench.global("calls").unwrap_i64(), calls + 1);
    let undone = bench.undo.roll_back(&mut bench.store).unwrap();
    assert_eq!((undone.entries, undone.bytes), (3, 4 + 1 + 333));
    assert_eq!(bench.memory(), memory);
    assert_eq!(bench.global("calls").unwrap_i64(), calls);
    bench.call("nook_timer").unwrap();
    assert_eq!(bench.global("calls").unwrap_i64(), calls + 1, "it can be called again");
}

#[test]
fn a_call_that_returned_is_undone_only_on_purpose() {
    let mut bench = Bench::new(COUNTER);
    let memory = bench.memory();
    bench.call("nook_timer").unwrap();
    assert_eq!(bench.undo.roll_back(&mut bench.store).unwrap().entries, 0);
    assert_ne!(bench.memory(), memory);
    bench.undo.roll_back_returned(&mut bench.store).unwrap();
    assert_eq!(bench.memory(), memory);
    assert_eq!(bench.global("calls").unwrap_i64(), 5);
}

#[test]
fn what_is_no_transaction_is_not_rolled_back() {
    let mut bench = Bench::new(COUNTER);
    bench.call("nook_remove").unwrap_err();
    assert_eq!(bench.undo.roll_back(&mut bench.store), Err(CorruptLog::NotATransaction));
    assert_eq!(bench.undo.roll_back_returned(&mut bench.store), Err(CorruptLog::NotATransaction));
}

#[test]
fn a_log_that_is_full_is_distinguished_from_an_address_that_is_wrong_and_can_be_undone() {
    let fills = "(memory.fill (i32.const 0) (i32.const 1) (i32.const 65536))".repeat(1100);
    let stores = "(local $i i32) (loop $l (i32.store (local.get $i) (i32.const 9))
        (local.set $i (i32.and (i32.add (local.get $i) (i32.const 4)) (i32.const 0xfffc))) (br $l))";
    for (body, full) in [
        (&fills[..], true),
        (stores, true),
        ("(memory.fill (i32.const 0) (i32.const 1) (i32.const 65537))", false),
        ("(memory.fill (i32.const 9) (i32.const 1) (i32.const -1))", false),
        ("(i32.store (i32.const 65533) (i32.const 1))", false),
    ] {
        let mut bench = Bench::new(&format!(
            r#"(module (memory (export "memory") 1 1) (data (i32.const 7) "x") (func (export "nook_timer") {body}))"#
        ));
        let memory = bench.memory();
        bench.call("nook_timer").unwrap_err();
        assert_eq!(bench.undo.is_full(&mut bench.store), full, "{body:.60}");
        bench.undo.roll_back(&mut bench.store).unwrap();
        assert_eq!(bench.memory(), memory);
        assert!(!bench.undo.is_full(&mut bench.store));
    }
}

#[test]
fn what_cannot_be_covered_is_refused_with_its_name() {
    let refusals = [
        ("memory.grow", "(func (drop (memory.grow (i32.const 1))))"),
        ("data.drop", "(data $d \"x\") (func (data.drop $d))"),
        (
            "table",
            "(table 1 1 funcref) (elem $e func) (func (table.init $e (i32.const 0) (i32.const 0) (i32.const 0)))",
        ),
        ("elem.drop", "(elem $e func) (func (elem.drop $e))"),
        ("memory.atomic.wait", "(func (drop (memory.atomic.wait32 (i32.const 0) (i32.const 0) (i64.const 0))))"),
        ("reserved", "(func (export \"nook_undo_log\"))"),
    ];
    for (word, text) in refusals {
        let wasm = wat::parse_str(format!("(module (memory (export \"memory\") 1 1) {text})")).unwrap();
        let refused = instrument(&wasm, &Options::default()).unwrap_err().to_string();
        assert!(refused.contains(word), "{word}: {refused}");
    }
    let two = wat::parse_str("(module (memory 1 1) (memory 1 1))").unwrap();
    assert!(matches!(instrument(&two, &Options::default()), Err(Refused::Invalid(_) | Refused::Memory(_))));
}
