//! No call goes on for ever: whatever it does, it keeps checking its time cell.

use wasmtime::{Config, Engine, Func, Linker, Module, Ref, Store, Trap, UpdateDeadline};

use super::author::{Author, modules};
use crate::deadline::{ASK_EXPORT, CELL_EXPORT, with_deadline_checks, with_flaw};
use crate::undo::layout::LOG_EXPORT;
use crate::undo::{Flaw, Options, instrument};

/// Number of deadline checks after which a call that asks is ended.
const MOST_CHECKS: u64 = 10_000;
/// Milliseconds after which the time of a call is up whose checks trap.
const TICK_MS: u64 = 20;
/// Such ticks after which the engine's own epochs end a call that does not check its deadline.
const PATIENCE: u64 = 1000;
/// The same where a flaw is to escape, so that there is nothing to wait for.
const NO_PATIENCE: u64 = 50;

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

/// Returns an engine with a referee that does not rely on the passes.
fn engine() -> Engine {
    let mut config = Config::new();
    config.wasm_multi_memory(true).wasm_threads(true).epoch_interruption(true);
    let engine = Engine::new(&config).unwrap();
    let weak = engine.weak();
    std::thread::spawn(move || {
        while let Some(engine) = weak.upgrade() {
            engine.increment_epoch();
            drop(engine);
            std::thread::sleep(std::time::Duration::from_millis(TICK_MS));
        }
    });
    engine
}

/// Which pass adds the deadline checks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Pass {
    Plain,
    Log,
}

const PASSES: [Pass; 2] = [Pass::Plain, Pass::Log];

fn call(engine: &Engine, text: &str, pass: Pass, entry: &str, flaw: Option<Flaw>) -> End {
    // Checks that ask do so from the beginning; those that trap find something else, and their bit after a tick.
    call_with(engine, text, pass, entry, flaw, if entry == "nook_probe" { 1 } else { 2 })
}

/// Calls with this in the time cell.
fn call_with(engine: &Engine, text: &str, pass: Pass, entry: &str, flaw: Option<Flaw>, cell_value: u32) -> End {
    let wasm = wat::parse_str(text).unwrap_or_else(|error| panic!("{error}\n{text}"));
    let prepared = match (pass, flaw) {
        (Pass::Log, flaw) => instrument(&wasm, &Options { flaw, ..Options::default() }).unwrap().wasm,
        (Pass::Plain, None) => with_deadline_checks(&wasm).unwrap().wasm,
        (Pass::Plain, Some(flaw)) => with_flaw(&wasm, flaw).unwrap().wasm,
    };
    let module = Module::new(engine, &prepared).unwrap();
    let mut store = Store::new(engine, 0);
    let mut linker = Linker::new(engine);
    linker.func_wrap("host", "tick", || {}).unwrap();
    store.set_epoch_deadline(PATIENCE);
    let instance = linker.instantiate(&mut store, &module).unwrap();
    let name = if pass == Pass::Log { LOG_EXPORT } else { CELL_EXPORT };
    let cell = instance.get_memory(&mut store, name).unwrap();
    let ask = Func::wrap(&mut store, |mut caller: wasmtime::Caller<'_, u64>| {
        let checks = caller.data_mut();
        *checks += 1;
        if *checks < MOST_CHECKS { Ok(1) } else { Err(wasmtime::format_err!("the time is up")) }
    });
    instance.get_table(&mut store, ASK_EXPORT).unwrap().set(&mut store, 0, Ref::Func(Some(ask))).unwrap();
    cell.write(&mut store, 0, &cell_value.to_le_bytes()).unwrap();
    let (patience, mut ticks) = (if flaw.is_some() { NO_PATIENCE } else { PATIENCE }, 0);
    store.set_epoch_deadline(1);
    store.epoch_deadline_callback(move |mut context| {
        ticks += 1;
        if ticks > 1 {
            return Err(Trap::Interrupt.into());
        }
        if cell_value & 1 == 0 {
            cell.write(&mut context, 0, &3u32.to_le_bytes()).unwrap();
        }
        Ok(UpdateDeadline::Continue(patience))
    });
    let function = instance.get_func(&mut store, entry).unwrap();
    let mut results = vec![wasmtime::Val::I32(0); function.ty(&store).results().len()];
    let arguments = vec![wasmtime::Val::I32(0); function.ty(&store).params().len()];
    match function.call(&mut store, &arguments, &mut results) {
        Ok(()) => End::Returned,
        Err(error) => match error.downcast_ref::<Trap>() {
            Some(Trap::Interrupt) => End::Escaped,
            // No module here has this instruction but in what was added.
            Some(Trap::UnreachableCodeReached) => End::TimeUp,
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

/// Returns how a transaction and another call end, which is the same with either pass.
fn ends(body: &str, rest: &str) -> [End; 2] {
    let (engine, text) = (engine(), both(body, rest));
    let [plain, log] =
        PASSES.map(|pass| ["nook_timer", "nook_probe"].map(|entry| call(&engine, &text, pass, entry, None)));
    assert_eq!(plain, log);
    log
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
    let (engine, text) = (engine(), both(body, ""));
    for pass in PASSES {
        assert_eq!(call(&engine, &text, pass, "nook_probe", None), End::TimeUp);
        let end = call(&engine, &text, pass, "nook_timer", None);
        let full = pass == Pass::Log && end == End::Trapped(Trap::MemoryOutOfBounds);
        assert!(end == End::TimeUp || full, "{pass:?}: {end:?}");
    }
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
    let (engine, text) = (engine(), both(&row, ""));
    for pass in PASSES {
        assert_eq!(call(&engine, &text, pass, "nook_probe", None), End::TimeUp, "{pass:?}");
    }
    // The log's end traps like a check.
    assert_eq!(call(&engine, &text, Pass::Log, "nook_timer", None), End::TimeUp);
}

#[test]
fn a_bulk_instruction_in_a_transaction_is_not_begun_when_the_time_is_up() {
    // The engine's epochs, by which these tests set the cell, do not come between instructions in a row.
    let body = "(memory.fill (i32.const 0) (i32.const 1) (i32.const 65536))";
    let (engine, text) = (engine(), both(body, ""));
    for pass in PASSES {
        let ends = [2, 3].map(|cell_value| call_with(&engine, &text, pass, "nook_timer", None, cell_value));
        assert_eq!(ends, [End::Returned, End::TimeUp], "{pass:?}");
    }
}

#[test]
fn generated_modules_whose_loops_never_end_are_ended() {
    let engine = engine();
    let mut time_up = 0;
    for seed in 1..=modules() {
        for pass in PASSES {
            let end = call(&engine, &Author::endless_module(seed), pass, "nook_poll", None);
            assert_ne!(end, End::Escaped, "seed {seed}, {pass:?}");
            time_up += u64::from(end == End::TimeUp);
        }
    }
    assert!(time_up > modules() / 4, "only {time_up} calls needed to be ended");
}

#[test]
fn a_loop_that_does_not_look_is_noticed() {
    let engine = engine();
    let text = both("(loop $l (br $l))", "");
    for pass in PASSES {
        assert_eq!(call(&engine, &text, pass, "nook_timer", Some(Flaw::LoopWithoutCheck)), End::Escaped);
    }
}
