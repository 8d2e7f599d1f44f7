//! The undo log on generated modules: heavy on stores of every width, loops, branches, calls, bulk and atomics. A call
//! that ends anywhere and is rolled back leaves nothing; one that returns does what it does without the log.

use std::fmt::Write;

use nook_recovery::undo::{Flaw, Options, UndoLog, instrument_with};
use wasmtime::{Config, Engine, Instance, Linker, Module, Store};

fn modules() -> u64 {
    // `NOOK_LONG=1` for a longer look.
    if std::env::var_os("NOOK_LONG").is_some() { 10_000 } else { 150 }
}

/// At most so many calls of `tick` until one of them fails.
const MOST_TICKS: u64 = 40;

/// xorshift64.
struct Dice(u64);

impl Dice {
    fn new(seed: u64) -> Dice {
        Dice(seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1)
    }

    fn below(&mut self, n: u64) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        (self.0 >> 11) % n
    }
}

/// Writes functions in the text format. Addresses come from few places, so that stores meet: constants, a parameter, a
/// local that moves in loops, and what memory holds.
struct Author {
    dice: Dice,
    text: String,
    loops: u64,
}

impl Author {
    fn address(&mut self) -> String {
        match self.dice.below(5) {
            0 => format!("(i32.const {})", 4096 + self.dice.below(64)),
            1 => "(local.get $p)".into(),
            2 => "(i32.add (local.get $p) (local.get $i))".into(),
            3 => "(i32.and (i32.load (i32.const 4096)) (i32.const 0x3ff8))".into(),
            _ => format!("(i32.add (local.get $i) (i32.const {}))", 4096 + 8 * self.dice.below(8)),
        }
    }

    fn value32(&mut self) -> String {
        match self.dice.below(3) {
            0 => format!("(i32.const {})", self.dice.below(1 << 31)),
            1 => "(i32.add (local.get $i) (global.get $g))".into(),
            _ => format!("(i32.load8_u offset={} (local.get $p))", self.dice.below(32)),
        }
    }

    fn value64(&mut self) -> String {
        format!("(i64.mul (i64.extend_i32_u {}) (i64.const 0x0101010101010101))", self.value32())
    }

    fn store(&mut self) {
        let (address, offset) = (self.address(), self.dice.below(24));
        let line = match self.dice.below(9) {
            0 => format!("(i32.store8 offset={offset} {address} {})", self.value32()),
            1 => format!("(i32.store16 offset={offset} {address} {})", self.value32()),
            2 => format!("(i64.store offset={offset} {address} {})", self.value64()),
            3 => format!("(i64.store32 offset={offset} {address} {})", self.value64()),
            4 => format!("(v128.store offset={offset} {address} (i64x2.splat {}))", self.value64()),
            5 => format!("(f64.store offset={offset} {address} (f64.convert_i32_u {}))", self.value32()),
            6 => format!("(drop (i32.atomic.rmw.add (i32.and {address} (i32.const -8)) {}))", self.value32()),
            _ => format!("(i32.store offset={offset} {address} {})", self.value32()),
        };
        self.text += &line;
        self.text.push('\n');
    }

    fn statement(&mut self, depth: u64, callable: u64) {
        match self.dice.below(if depth > 3 { 7 } else { 12 }) {
            0..=3 => self.store(),
            4 => self.text += "(call $tick)\n",
            5 => {
                let value = self.value32();
                self.text += &match self.dice.below(3) {
                    0 => format!("(global.set $g {value})\n"),
                    1 => "(global.set $h (i64.add (global.get $h) (i64.const 3)))\n".into(),
                    _ => format!("(local.set $p (i32.and {value} (i32.const 0x1ff8)))\n"),
                };
            }
            6 => {
                let (to, from, len) = (self.address(), self.address(), self.dice.below(70));
                let value = self.value32();
                self.text += &match self.dice.below(2) {
                    0 => format!("(memory.fill {to} {value} (i32.const {len}))\n"),
                    _ => format!("(memory.copy {to} {from} (i32.const {len}))\n"),
                };
            }
            7 | 8 => {
                let value = self.value32();
                let _ = writeln!(self.text, "(if (i32.and {value} (i32.const 1)) (then");
                self.block(depth + 1, callable);
                self.text += ") (else\n";
                self.block(depth + 1, callable);
                self.text += "))\n";
            }
            9 | 10 => {
                self.loops += 1;
                let (name, counter) = (format!("$l{}", self.loops), format!("$c{}", depth.min(4)));
                let step = [0, 4, 8][self.dice.below(3) as usize];
                let _ =
                    writeln!(self.text, "(local.set {counter} (i32.const {}))\n(loop {name}", 1 + self.dice.below(4));
                self.block(depth + 1, callable);
                let _ = writeln!(
                    self.text,
                    "(local.set $i (i32.and (i32.add (local.get $i) (i32.const {step})) (i32.const 255)))"
                );
                let _ = writeln!(
                    self.text,
                    "(br_if {name} (local.tee {counter} (i32.sub (local.get {counter}) (i32.const 1)))))"
                );
            }
            _ if callable > 0 => {
                let callee = self.dice.below(callable);
                let argument = self.address();
                let _ = writeln!(self.text, "(call $f{callee} (i32.and {argument} (i32.const 0x1ff8)))");
            }
            _ => self.store(),
        }
    }

    fn block(&mut self, depth: u64, callable: u64) {
        for _ in 0..1 + self.dice.below(5) {
            self.statement(depth, callable);
        }
    }

    fn module(seed: u64) -> String {
        let mut author = Author { dice: Dice::new(seed), text: String::new(), loops: 0 };
        author.text += "(module (import \"host\" \"tick\" (func $tick)) (memory (export \"memory\") 2 2)\n\
                        (global $g (export \"g\") (mut i32) (i32.const 7)) (global $h (export \"h\") (mut i64) (i64.const 9))\n";
        for function in 0..3 {
            let _ = writeln!(
                author.text,
                "(func $f{function} (param $p i32) (local $i i32) (local $c0 i32) (local $c1 i32) (local $c2 i32) (local $c3 i32) (local $c4 i32)"
            );
            for _ in 0..3 {
                author.block(0, function);
            }
            author.text += ")\n";
        }
        author.text +=
            "(func (export \"nook_poll\") (param i32 i32 i32) (result i32) (call $f2 (i32.const 4096)) (i32.const 0)))";
        author.text
    }
}

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
        let mut dice = Dice::new(seed ^ 0xfeed);
        memory.data_mut(&mut store).iter_mut().for_each(|byte| *byte = dice.below(256) as u8);
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

/// What is wrong with the log of this seed's module, if anything is; and how many calls were cut short.
fn examine(engine: &Engine, seed: u64, flaw: Option<Flaw>) -> (Result<(), String>, usize) {
    let text = Author::module(seed);
    let wasm = wat::parse_str(&text).unwrap_or_else(|error| panic!("seed {seed}: {error}\n{text}"));
    let prepared = instrument_with(&wasm, &Options { flaw, ..Options::default() }).unwrap();
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
