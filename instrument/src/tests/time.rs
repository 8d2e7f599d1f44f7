//! No call goes on for ever: whatever it does, it keeps checking its time cell.

use nook_runtime::UndoLog;
use wasmtime::{Config, Engine, Func, Linker, Module, Store, Trap};

use super::author::{Author, modules};
use crate::undo::{Flaw, Options, instrument};

/// Number of deadline checks after which a call is ended.
const MOST_CHECKS: u64 = 10_000;
/// Seconds after which the engine's own epochs end a call that does not check its deadline.
const PATIENCE: u64 = 20;

#[derive(Debug, PartialEq, Eq)]
enum End {
    Returned,
    /// It checked its deadline, which had passed.
    TimeUp,
    /// Something else stopped it: the log's end, the stack's, an address.
    Trapped(Trap),
    /// It had to be stopped from outside.
    Escaped,
}

/// Returns an engine with a referee that does not rely on the pass.
fn engine() -> Engine {
    let mut config = Config::new();
    config.wasm_multi_memory(true).wasm_threads(true).epoch_interruption(true);
    let engine = Engine::new(&config).unwrap();
    let weak = engine.weak();
    std::thread::spawn(move || {
        while let Some(engine) = weak.upgrade() {
            engine.increment_epoch();
            drop(engine);
            std::thread::sleep(std::time::Duration::from_secs(1));
        }
    });
    engine
}

fn call(engine: &Engine, text: &str, entry: &str, flaw: Option<Flaw>) -> End {
    let wasm = wat::parse_str(text).unwrap_or_else(|error| panic!("{error}\n{text}"));
    let prepared = instrument(&wasm, &Options { flaw, ..Options::default() }).unwrap();
    let module = Module::new(engine, &prepared.wasm).unwrap();
    let mut store = Store::new(engine, 0);
    // A flaw is to escape, so that there is nothing to wait for.
    store.set_epoch_deadline(if flaw.is_some() { 2 } else { PATIENCE });
    let mut linker = Linker::new(engine);
    linker.func_wrap("host", "tick", || {}).unwrap();
    let instance = linker.instantiate(&mut store, &module).unwrap();
    let log = UndoLog::of(&mut store, &instance).unwrap();
    let ask = Func::wrap(&mut store, |mut caller: wasmtime::Caller<'_, u64>| {
        let checks = caller.data_mut();
        *checks += 1;
        if *checks < MOST_CHECKS { Ok(1) } else { Err(wasmtime::format_err!("the time is up")) }
    });
    log.ask(&mut store, ask).unwrap();
    let (memory, offset) = log.time_cell();
    memory.write(&mut store, offset as usize, &1u32.to_le_bytes()).unwrap();
    let function = instance.get_func(&mut store, entry).unwrap();
    let mut results = vec![wasmtime::Val::I32(0); function.ty(&store).results().len()];
    let arguments = vec![wasmtime::Val::I32(0); function.ty(&store).params().len()];
    match function.call(&mut store, &arguments, &mut results) {
        Ok(()) => End::Returned,
        Err(error) => match error.downcast_ref::<Trap>() {
            Some(Trap::Interrupt) => End::Escaped,
            Some(trap) => End::Trapped(*trap),
            None => End::TimeUp,
        },
    }
}

/// Returns a module with this body for a transaction and for another entry, and with `rest`.
fn both(body: &str, rest: &str) -> String {
    format!(
        r#"(module (import "host" "tick" (func $tick)) (memory (export "memory") 2 2)
            {rest}
            (func (export "nook_timer") (local $i i32) {body})
            (func (export "nook_probe") (local $i i32) {body}))"#
    )
}

fn ends(body: &str, rest: &str) -> [End; 2] {
    let (engine, text) = (engine(), both(body, rest));
    ["nook_timer", "nook_probe"].map(|entry| call(&engine, &text, entry, None))
}

#[test]
fn an_empty_loop_without_end_is_ended() {
    assert_eq!(ends("(loop $l (br $l))", ""), [End::TimeUp, End::TimeUp]);
}

#[test]
fn a_loop_that_continues_by_a_table_or_from_inside_a_block_is_ended() {
    let table = "(loop $l (block $b (br_table $b $l $b (i32.const 1))))";
    assert_eq!(ends(table, ""), [End::TimeUp, End::TimeUp]);
    let inside = "(loop $l (block (if (i32.const 1) (then (br $l)))))";
    assert_eq!(ends(inside, ""), [End::TimeUp, End::TimeUp]);
}

#[test]
fn a_loop_that_only_makes_hostcalls_is_ended() {
    assert_eq!(ends("(loop $l (call $tick) (br $l))", ""), [End::TimeUp, End::TimeUp]);
}

#[test]
fn a_loop_that_stores_is_ended_by_the_log_or_by_the_time() {
    // In a transaction each round logs again, because the address is another one.
    let body = "(loop $l
        (local.set $i (i32.and (i32.add (local.get $i) (i32.const 4)) (i32.const 0xffff)))
        (i32.store (local.get $i) (i32.const 1)) (br $l))";
    assert_eq!(ends(body, ""), [End::TimeUp, End::TimeUp]);
}

#[test]
fn two_to_the_sixtieth_calls_without_a_loop_are_ended() {
    let mut tree = "(func $f0)".to_owned();
    for level in 1..=60 {
        tree += &format!("(func $f{level} (call $f{0}) (call $f{0}))", level - 1);
    }
    assert_eq!(ends("(call $f60)", &tree), [End::TimeUp, End::TimeUp]);
}

#[test]
fn the_same_through_a_table_and_by_tail_calls_is_ended() {
    let mut tree = "(type $t (func)) (table 60 funcref) (func $f0)".to_owned();
    for level in 1..60 {
        let call = format!("(call_indirect (type $t) (i32.const {}))", level - 1);
        tree += &format!("(func $f{level} {call} {call}) (elem (i32.const {level}) func $f{level})");
    }
    tree += "(elem (i32.const 0) func $f0)";
    assert_eq!(ends("(call $f59)", &tree), [End::TimeUp, End::TimeUp]);
    let pair = "(func $a (return_call $b)) (func $b (return_call $a))";
    assert_eq!(ends("(call $a)", pair), [End::TimeUp, End::TimeUp]);
}

#[test]
fn bulk_instructions_in_a_row_are_ended_outside_transactions_and_fill_the_log_in_them() {
    let row = "(memory.fill (i32.const 0) (i32.const 1) (i32.const 65536))".repeat(MOST_CHECKS as usize);
    assert_eq!(ends(&row, ""), [End::Trapped(Trap::UnreachableCodeReached), End::TimeUp]);
}

#[test]
fn generated_modules_whose_loops_never_end_are_ended() {
    let engine = engine();
    let mut time_up = 0;
    for seed in 1..=modules() {
        let end = call(&engine, &Author::endless_module(seed), "nook_poll", None);
        assert_ne!(end, End::Escaped, "seed {seed}");
        time_up += u64::from(end == End::TimeUp);
    }
    assert!(time_up > modules() / 4, "only {time_up} calls needed to be ended");
}

#[test]
fn a_loop_that_does_not_look_is_noticed() {
    let engine = engine();
    let text = both("(loop $l (br $l))", "");
    assert_eq!(call(&engine, &text, "nook_timer", Some(Flaw::LoopWithoutCheck)), End::Escaped);
}
