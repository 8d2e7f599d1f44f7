//! The undo log where it is hardest: a call is cut off before any instruction of the rewritten code, also amid the
//! logging; the driver has frames on a stack and a stack pointer that it corrupts; a device writes into the same lines
//! as the driver. The same with private memory by pages, and a log for what is shared.

use std::fmt::Write;

use nook_runtime::{Pages, UndoLog};
use nook_seed::Rng;
use wasmtime::{Caller, Config, Engine, Extern, Instance, Linker, Memory, Module, Store, Val};

use crate::Counting;
use crate::undo::{Flaw, Options, instrument};

pub(crate) const MODULES: u64 = 120;
/// How many calls of each module are cut off.
const CUTS: u64 = 12;
/// The stack is below; then the driver's data, which nobody else writes.
const STACK_TOP: usize = 0x8000;
/// A word that is always zero.
const ZERO: usize = 0xe000;
/// From here on the device writes too: the last 4 bytes of each 16.
pub(crate) const SHARED: usize = 0x1_0000;
/// From here on everything is the device's; the driver has code that would write here, and never comes to it.
const DEVICE: usize = 0x1_8000;
const MEMORY: usize = 0x2_0000;
const FUNCTIONS: u64 = 3;
/// What branches look at.
const CONDITION: &str = "(i32.add (local.get $i) (i32.load8_u offset=3 (local.get $p)))";

/// Writes a driver in the text format.
pub(crate) struct Author {
    rng: Rng,
    text: String,
    blocks: usize,
    /// Labels of the blocks that are open.
    open: Vec<usize>,
    corrupt: bool,
}

impl Author {
    fn line(&mut self, line: std::fmt::Arguments<'_>) {
        let _ = self.text.write_fmt(line);
        self.text.push('\n');
    }

    /// Returns an address, and how many bytes from there on the driver may write.
    fn place(&mut self) -> (String, usize) {
        let line = 16 * self.rng.index(12);
        match self.rng.index(7) {
            0 => (format!("(i32.const {})", STACK_TOP + 0x100 + line), 40),
            1 => ("(local.get $p)".into(), 40),
            2 => (format!("(i32.const {})", SHARED + line), 12),
            3 => ("(local.get $q)".into(), 12),
            4 => ("(i32.add (local.get $q) (i32.shl (local.get $i) (i32.const 4)))".into(), 12),
            5 => ("(i32.add (local.get $p) (local.get $i))".into(), 40),
            _ => ("(local.get $fp)".into(), 64),
        }
    }

    fn value(&mut self) -> String {
        match self.rng.index(3) {
            0 => format!("(i32.const {})", self.rng.index(1 << 30)),
            1 => "(i32.mul (local.get $i) (global.get $g))".into(),
            _ => format!("(i32.load offset={} (local.get $p))", self.rng.index(32)),
        }
    }

    fn store(&mut self) {
        let (address, room) = self.place();
        let (value, wide) = (self.value(), format!("(i64.extend_i32_s {})", self.value()));
        let vector = format!("(i32x4.splat {})", self.value());
        let choices = [
            (1, format!("i32.store8 @ {value}")),
            (2, format!("i64.store16 @ {wide}")),
            (4, format!("i32.store @ {value}")),
            (4, format!("i32.store @ {value}")),
            (4, format!("f32.store @ (f32.convert_i32_s {value})")),
            (8, format!("i64.store @ {wide}")),
            (16, format!("v128.store @ {vector}")),
            (2, format!("v128.store16_lane @ 3 {vector}")),
            (8, format!("v128.store64_lane @ 1 {vector}")),
        ];
        let fitting: Vec<_> = choices.iter().filter(|(width, _)| *width <= room).collect();
        let (width, store) = fitting[self.rng.index(fitting.len())];
        let offset = self.rng.index(room - width + 1);
        let (name, rest) = store.split_once(" @ ").unwrap();
        match rest.split_once(' ').filter(|(lane, _)| lane.len() == 1) {
            Some((lane, rest)) => self.line(format_args!("({name} offset={offset} {lane} {address} {rest})")),
            None => self.line(format_args!("({name} offset={offset} {address} {rest})")),
        }
    }

    fn atomic(&mut self) {
        let (address, _) = self.place();
        let (address, value) = (format!("(i32.and {address} (i32.const -16))"), self.value());
        let line = match self.rng.index(3) {
            0 => format!("(drop (i32.atomic.rmw.cmpxchg {address} (i32.load {address}) {value}))"),
            1 => format!("(drop (i32.atomic.rmw16.xchg_u offset=8 {address} {value}))"),
            _ => format!("(i64.atomic.store {address} (i64.extend_i32_u {value}))"),
        };
        self.line(format_args!("{line}"));
    }

    fn statement(&mut self, depth: usize, callable: usize) {
        match self.rng.index(if depth > 3 { 20 } else { 30 }) {
            0..=9 => self.store(),
            10 => self.atomic(),
            11 => self.line(format_args!("(call $tick)")),
            12 | 13 => {
                let value = self.value();
                let line = match self.rng.index(3) {
                    0 => format!("(global.set $g {value})"),
                    1 => format!(
                        "(local.set $p (i32.add (i32.and {value} (i32.const 0xff0)) (i32.const {})))",
                        STACK_TOP + 0x100
                    ),
                    _ => format!("(local.set $q (i32.add (i32.and {value} (i32.const 0xff0)) (i32.const {SHARED})))"),
                };
                self.line(format_args!("{line}"));
            }
            14 => {
                let (value, length) = (self.value(), self.rng.index(60));
                let to = ["(local.get $p)", "(local.get $fp)"][self.rng.index(2)];
                match self.rng.index(3) {
                    0 => self.line(format_args!("(memory.fill {to} {value} (i32.const {length}))")),
                    1 => self.line(format_args!("(memory.copy {to} (local.get $q) (i32.const {length}))")),
                    _ => {
                        let length = self.rng.index(20);
                        self.line(format_args!("(memory.init $seed {to} (i32.const 0) (i32.const {length}))"));
                    }
                }
            }
            15 => {
                // Never reached, and in a loop always the same: the tempting thing to log ahead.
                let address = DEVICE + 16 * self.rng.index(12);
                self.line(format_args!(
                    "(if (i32.load (i32.const {ZERO})) (then (i32.store (i32.const {address}) (i32.const 1))))"
                ));
            }
            16 if self.corrupt => {
                let up = 16 << self.rng.index(12);
                self.line(format_args!("(global.set $sp (i32.add (global.get $sp) (i32.const {up})))"));
            }
            17 | 18 if !self.open.is_empty() => {
                let label = self.open[self.rng.index(self.open.len())];
                let other = self.open[self.rng.index(self.open.len())];
                let bit = 1 << self.rng.index(4);
                match self.rng.index(3) {
                    0 => self.line(format_args!(
                        "(if (i32.and {} (i32.const {bit})) (then (br_table $b{label} $b{other} (local.get $i))))",
                        CONDITION
                    )),
                    _ => self.line(format_args!("(br_if $b{label} (i32.and {} (i32.const {bit})))", CONDITION)),
                }
            }
            20 | 21 => {
                self.blocks += 1;
                let label = self.blocks;
                self.line(format_args!("(block $b{label}"));
                self.open.push(label);
                self.block(depth + 1, callable);
                self.open.pop();
                self.line(format_args!(")"));
            }
            22 | 23 => {
                self.line(format_args!("(if (i32.and {} (i32.const 1)) (then", CONDITION));
                self.block(depth + 1, callable);
                self.line(format_args!(") (else"));
                self.block(depth + 1, callable);
                self.line(format_args!("))"));
            }
            24..=27 => {
                self.blocks += 1;
                let (label, counter) = (self.blocks, depth.min(4));
                let rounds = 1 + self.rng.index(4);
                self.line(format_args!("(local.set $c{counter} (i32.const {rounds})) (loop $l{label}"));
                self.block(depth + 1, callable);
                self.line(format_args!(
                    "(local.set $i (i32.and (i32.add (local.get $i) (i32.const 1)) (i32.const 7)))
                     (br_if $l{label} (local.tee $c{counter} (i32.sub (local.get $c{counter}) (i32.const 1)))))"
                ));
            }
            28 | 29 if callable > 0 => {
                let callee = self.rng.index(callable);
                self.line(format_args!("(call $f{callee} (local.get $p) (local.get $q))"));
            }
            _ => self.store(),
        }
    }

    fn block(&mut self, depth: usize, callable: usize) {
        for _ in 0..2 + self.rng.index(5) {
            self.statement(depth, callable);
        }
    }

    pub(crate) fn module(seed: u64) -> String {
        let mut author = Author {
            rng: Rng::new(seed),
            text: String::new(),
            blocks: 0,
            open: Vec::new(),
            corrupt: seed.is_multiple_of(3),
        };
        author.line(format_args!(
            "(module (import \"host\" \"tick\" (func $tick)) (memory (export \"memory\") 2 2)
             (global $sp (export \"__stack_pointer\") (mut i32) (i32.const {STACK_TOP}))
             (global $g (export \"g\") (mut i32) (i32.const 7))
             (data (i32.const {STACK_TOP}) \"data\") (data $seed \"what memory.init takes\")"
        ));
        for function in 0..FUNCTIONS as usize {
            author.line(format_args!(
                "(func $f{function} (param $p i32) (param $q i32) (local $fp i32) (local $i i32) (local $c0 i32)
                 (local $c1 i32) (local $c2 i32) (local $c3 i32) (local $c4 i32)
                 (global.set $sp (local.tee $fp (i32.sub (global.get $sp) (i32.const 64))))"
            ));
            author.block(0, function);
            author.block(0, function);
            author.line(format_args!("(global.set $sp (i32.add (local.get $fp) (i32.const 64))))"));
        }
        let last = FUNCTIONS - 1;
        author.line(format_args!(
            "(func (export \"nook_poll\") (call $f{last} (i32.const {}) (i32.const {}))))",
            STACK_TOP + 0x100,
            SHARED
        ));
        author.text
    }
}

/// What the device does while the driver waits.
struct World {
    rng: Rng,
}

fn tick(mut caller: Caller<'_, World>) {
    let Some(Extern::Memory(memory)) = caller.get_export("memory") else { unreachable!("it has one") };
    for _ in 0..40 {
        let rng = &mut caller.data_mut().rng;
        let (line, all) = (16 * rng.index(0x100), rng.index(2) == 0);
        let bytes = rng.word().to_le_bytes();
        let at = if all { DEVICE + line % 192 } else { SHARED + line + 12 };
        memory.write(&mut caller, at, &bytes[..4]).unwrap();
    }
}

struct Run {
    store: Store<World>,
    instance: Instance,
    memory: Memory,
}

impl Run {
    fn new(engine: &Engine, wasm: &[u8], seed: u64) -> Run {
        let module = Module::new(engine, wasm).unwrap();
        let mut store = Store::new(engine, World { rng: Rng::new(seed ^ 0xd1ce) });
        let mut linker = Linker::new(engine);
        linker.func_wrap("host", "tick", tick).unwrap();
        let instance = linker.instantiate(&mut store, &module).unwrap();
        let memory = instance.get_memory(&mut store, "memory").unwrap();
        let mut rng = Rng::new(seed ^ 0xfeed);
        for byte in memory.data_mut(&mut store) {
            *byte = rng.index(256) as u8;
        }
        memory.data_mut(&mut store)[ZERO..ZERO + 4].fill(0);
        Run { store, instance, memory }
    }

    /// Calls the driver; it is cut off before the instruction with this number, if it counts. How many it took, if it
    /// returned.
    fn poll(&mut self, number: i64) -> Option<i64> {
        let countdown = self.instance.get_global(&mut self.store, "nook_countdown");
        if let Some(global) = countdown {
            global.set(&mut self.store, Val::I64(number)).unwrap();
        }
        let poll = self.instance.get_typed_func::<(), ()>(&mut self.store, "nook_poll").unwrap();
        poll.call(&mut self.store, ()).ok()?;
        let left = countdown.map_or(0, |global| global.get(&mut self.store).unwrap_i64());
        Some(number - left)
    }

    /// Memory without what is the device's and what is below the stack, and the globals.
    fn state(&mut self) -> (Vec<u8>, [i32; 2]) {
        let mut memory = self.memory.data(&self.store).to_vec();
        memory[..STACK_TOP].fill(0);
        memory[SHARED..].iter_mut().enumerate().filter(|(at, _)| at % 16 >= 12).for_each(|(_, byte)| *byte = 0);
        memory[DEVICE..].fill(0);
        let mut global = |name| self.instance.get_global(&mut self.store, name).unwrap().get(&mut self.store);
        let globals = [global("__stack_pointer").unwrap_i32(), global("g").unwrap_i32()];
        (memory, globals)
    }

    /// Returns what is the device's.
    fn device(&self) -> Vec<u8> {
        let shared = self.memory.data(&self.store)[SHARED..MEMORY].iter().enumerate();
        shared.filter(|(at, _)| SHARED + at >= DEVICE || at % 16 >= 12).map(|(_, byte)| *byte).collect()
    }
}

fn engine() -> Engine {
    let mut config = Config::new();
    config.wasm_multi_memory(true).wasm_threads(true);
    Engine::new(&config).unwrap()
}

/// What the generated drivers came to, so that a generator that has become tame is noticed.
#[derive(Default)]
struct Seen {
    cut_off: usize,
    committed: usize,
    undone: usize,
}

/// How private memory is kept.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum By {
    Log,
    Pages,
}

fn examine(engine: &Engine, seed: u64, by: By, flaw: Option<Flaw>, seen: &mut Seen) -> Result<(), String> {
    let text = Author::module(seed);
    let wasm = wat::parse_str(&text).unwrap_or_else(|error| panic!("seed {seed}: {error}\n{text}"));
    let options = Options { private_bytes: Some(SHARED as u32), private_is_kept: by == By::Pages, scratch: None, flaw };
    let instrumented = instrument(&wasm, &options).unwrap();
    assert!(instrumented.effect.own_frames_known);
    let counting = Counting::of(&instrumented.wasm, instrumented.wrappers_from).unwrap();
    let mut logged = Run::new(engine, &counting.wasm, seed);
    let undo = UndoLog::of(&mut logged.store, &logged.instance).unwrap();
    let mut pages =
        (by == By::Pages).then(|| Pages::of(&mut logged.store, logged.memory, SHARED).expect("the kernel has it"));
    let mut rng = Rng::new(seed ^ 0xc07);
    let problem = |what: &str| Err(format!("seed {seed}: {what}"));
    let mut length = 20_000;
    for cut in 0..CUTS {
        let before = logged.state();
        let number = if cut == 0 { i64::MAX } else { 1 + rng.index(length as usize) as i64 };
        let private = logged.memory.data(&logged.store)[..SHARED].to_vec();
        if let Some(pages) = &mut pages {
            pages.begin(&logged.store);
        }
        let returned = logged.poll(number);
        let device = logged.device();
        let undone = match returned {
            Some(instructions) => {
                length = instructions;
                undo.roll_back_returned(&mut logged.store)
            }
            None => {
                seen.cut_off += 1;
                undo.roll_back(&mut logged.store)
            }
        };
        match undone {
            Ok(undone) => seen.undone += undone.entries,
            Err(error) => return problem(&format!("{error}")),
        }
        if let Some(pages) = &mut pages {
            pages.roll_back(&logged.store).unwrap();
            if logged.memory.data(&logged.store)[..SHARED] != private {
                return problem("private memory is not byte for byte as it was");
            }
        }
        if logged.state() != before {
            return problem("a call that was rolled back left something");
        }
        if logged.device() != device {
            return problem("what the device wrote was rolled back too");
        }
    }
    let (mut logged, mut plain) = (Run::new(engine, &instrumented.wasm, seed), Run::new(engine, &wasm, seed));
    for _ in 0..3 {
        match (logged.poll(0), plain.poll(0)) {
            (Some(_), Some(_)) => {
                let memory = |run: &Run| run.memory.data(&run.store).to_vec();
                if memory(&logged) != memory(&plain) || logged.state() != plain.state() {
                    return problem("a call does otherwise with a log than without");
                }
            }
            (None, None) => break,
            // A stack pointer that is wrong is noticed only with a log.
            (None, Some(_)) if text.contains("(i32.add (global.get $sp)") => break,
            _ => return problem("a call ends otherwise with a log than without"),
        }
        seen.committed += 1;
    }
    Ok(())
}

#[test]
fn a_call_that_is_cut_off_anywhere_is_undone_without_touching_what_is_the_devices() {
    let engine = engine();
    let mut seen = Seen::default();
    let modules = if std::env::var_os("NOOK_LONG").is_some() { 10_000 } else { MODULES };
    for seed in 1..=modules {
        examine(&engine, seed, By::Log, None, &mut seen).unwrap_or_else(|problem| panic!("{problem}"));
    }
    assert!(seen.committed as u64 > modules, "the generator has become tame: {} committed", seen.committed);
    assert!(seen.cut_off as u64 > 5 * modules, "the generator has become tame: {} cut off", seen.cut_off);
    assert!(seen.undone as u64 > 100 * modules, "the generator has become tame: {} undone", seen.undone);
}

#[test]
fn with_pages_for_private_memory_a_call_that_is_cut_off_anywhere_is_undone_too() {
    if let Err(error) = Pages::supported() {
        return println!("not here: {error}");
    }
    let (engine, modules) = (engine(), MODULES / 3);
    let mut seen = Seen::default();
    for seed in 1..=modules {
        examine(&engine, seed, By::Pages, None, &mut seen).unwrap_or_else(|problem| panic!("{problem}"));
    }
    assert!(seen.committed as u64 > modules && seen.cut_off as u64 > 5 * modules, "the generator has become tame");
    assert!(seen.undone as u64 > 10 * modules, "hardly anything was shared: {} undone", seen.undone);
}

#[test]
fn every_mistake_of_the_pass_is_noticed() {
    let engine = engine();
    let flaws = [
        (Flaw::MergeAcrossGap, By::Log),
        (Flaw::HoistVariantAddress, By::Log),
        (Flaw::HoistSharedMemory, By::Log),
        (Flaw::NoStackCheck, By::Log),
        (Flaw::KeepTopAfterCall, By::Log),
        (Flaw::LogAfterStore, By::Log),
        (Flaw::WrongWidth, By::Log),
        (Flaw::KeepFactsOfOtherPath, By::Log),
        (Flaw::ForgetGlobals, By::Log),
        (Flaw::TakeStoreForScratch, By::Log),
        (Flaw::KeepAcrossBorder, By::Pages),
        (Flaw::KeepFactsOfOtherPath, By::Pages),
        (Flaw::LogAfterStore, By::Pages),
    ];
    let watches = Pages::supported().is_ok();
    for (flaw, by) in flaws.into_iter().filter(|(_, by)| watches || *by == By::Log) {
        let found = (1..=MODULES).find_map(|seed| examine(&engine, seed, by, Some(flaw), &mut Seen::default()).err());
        println!("{flaw:?}: {}", found.as_deref().unwrap_or("not noticed"));
        assert!(found.is_some(), "{flaw:?} goes unnoticed");
    }
}
