//! The undo log on generated modules: heavy on stores of every width, loops, branches, calls, bulk and atomics. A call
//! that ends anywhere and is rolled back leaves nothing; one that returns does what it does without the log.

use nook_runtime::UndoLog;
use wasmtime::{Config, Engine, Instance, Linker, Module, Store};

use nook_seed::Rng;

use super::author::{Author, modules};
use crate::undo::{Flaw, Options, instrument};

/// Maximum number of calls of `tick` until one of them fails.
const MOST_TICKS: u64 = 40;

/// Everything that a call may change.
type State = (Vec<u8>, i32, i64);

struct Run {
    store: Store<u64>,
    instance: Instance,
}

impl Run {
    fn new(engine: &Engine, wasm: &[u8], seed: u64) -> Run {
        let module = Module::new(engine, wasm).unwrap();
        // How many ticks go well.
        let mut store = Store::new(engine, u64::MAX);
        let mut linker = Linker::new(engine);
        let tick = |mut caller: wasmtime::Caller<'_, u64>| -> wasmtime::Result<()> {
            let left = caller.data_mut();
            *left = left.checked_sub(1).ok_or_else(|| wasmtime::format_err!("the last tick"))?;
            Ok(())
        };
        linker.func_wrap("host", "tick", tick).unwrap();
        let instance = linker.instantiate(&mut store, &module).unwrap();
        let memory = instance.get_memory(&mut store, "memory").unwrap();
        let mut rng = Rng::new(seed ^ 0xfeed);
        memory.data_mut(&mut store).iter_mut().for_each(|byte| *byte = rng.below(256) as u8);
        Run { store, instance }
    }

    fn poll(&mut self, ticks: u64) -> bool {
        *self.store.data_mut() = ticks;
        let poll = self.instance.get_typed_func::<(i32, i32, i32), i32>(&mut self.store, "nook_poll").unwrap();
        poll.call(&mut self.store, (0, 0, 0)).is_ok()
    }

    fn state(&mut self) -> State {
        let memory = self.instance.get_memory(&mut self.store, "memory").unwrap().data(&self.store).to_vec();
        let mut global = |name| self.instance.get_global(&mut self.store, name).unwrap().get(&mut self.store);
        let (g, h) = (global("g").unwrap_i32(), global("h").unwrap_i64());
        (memory, g, h)
    }
}

fn engine() -> Engine {
    let mut config = Config::new();
    config.wasm_multi_memory(true).wasm_threads(true);
    Engine::new(&config).unwrap()
}

/// Returns what is wrong with the log of this seed's module, if anything is; and how many calls were cut short.
fn examine(engine: &Engine, seed: u64, flaw: Option<Flaw>) -> (Result<(), String>, usize) {
    let text = Author::module(seed);
    let wasm = wat::parse_str(&text).unwrap_or_else(|error| panic!("seed {seed}: {error}\n{text}"));
    let prepared = instrument(&wasm, &Options { flaw, ..Options::default() }).unwrap();
    let mut logged = Run::new(engine, &prepared.wasm, seed);
    let mut plain = Run::new(engine, &wasm, seed);
    let undo = UndoLog::of(&mut logged.store, &logged.instance).unwrap();
    let mut cut_short = 0;
    let problem = |what: &str| Err(format!("seed {seed}: {what}"));
    for ticks in (0..MOST_TICKS).chain([u64::MAX]) {
        let before = logged.state();
        let returned = logged.poll(ticks);
        let undone = if returned {
            undo.roll_back_returned(&mut logged.store)
        } else {
            cut_short += 1;
            undo.roll_back(&mut logged.store)
        };
        if undone.is_err() || logged.state() != before {
            return (problem("a call that was rolled back left something"), cut_short);
        }
        // The same call again, and for good.
        let outcomes = (logged.poll(u64::MAX), plain.poll(u64::MAX));
        if outcomes.0 != outcomes.1 {
            return (problem("a call ends otherwise with a log than without"), cut_short);
        }
        if !outcomes.0 {
            // Out of bounds: with the log it may have ended a few stores earlier.
            return (Ok(()), cut_short);
        }
        if logged.state() != plain.state() {
            return (problem("a call does otherwise with a log than without"), cut_short);
        }
        if returned {
            break;
        }
    }
    (Ok(()), cut_short)
}

#[test]
fn a_call_that_is_rolled_back_leaves_nothing_and_one_that_returns_does_as_without_the_log() {
    let engine = engine();
    let mut cut_short = 0;
    for seed in 1..=modules() {
        let (outcome, calls) = examine(&engine, seed, None);
        outcome.unwrap_or_else(|problem| panic!("{problem}"));
        cut_short += calls;
    }
    assert!(cut_short > modules() as usize, "only {cut_short} calls were cut short: the generator has become tame");
}

#[test]
fn mistakes_in_the_pass_are_noticed() {
    let engine = engine();
    let flaws = [
        Flaw::LogAfterStore,
        Flaw::WrongWidth,
        Flaw::ForgetGlobals,
        Flaw::KeepTopAfterCall,
        Flaw::KeepFactsOfOtherPath,
        Flaw::HoistVariantAddress,
    ];
    for flaw in flaws {
        let noticed = (1..=modules()).any(|seed| examine(&engine, seed, Some(flaw)).0.is_err());
        assert!(noticed, "{flaw:?} goes unnoticed");
    }
}
