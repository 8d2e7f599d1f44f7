//! Modules that a generator writes.
#![allow(dead_code, reason = "not every test that has this module uses all of it")]

use std::fmt::Write;

use nook_seed::Rng;

/// Returns how many to try.
pub fn modules() -> u64 {
    // `NOOK_LONG=1` for a longer look.
    if std::env::var_os("NOOK_LONG").is_some() { 10_000 } else { 150 }
}

/// Writes functions in the text format. Addresses come from few places, so that stores meet: constants, a parameter, a
/// local that moves in loops, and what memory holds.
pub struct Author {
    rng: Rng,
    text: String,
    loops: u64,
    endless: bool,
}

impl Author {
    fn address(&mut self) -> String {
        match self.rng.below(5) {
            0 => format!("(i32.const {})", 4096 + self.rng.below(64)),
            1 => "(local.get $p)".into(),
            2 => "(i32.add (local.get $p) (local.get $i))".into(),
            3 => "(i32.and (i32.load (i32.const 4096)) (i32.const 0x3ff8))".into(),
            _ => format!("(i32.add (local.get $i) (i32.const {}))", 4096 + 8 * self.rng.below(8)),
        }
    }

    fn value32(&mut self) -> String {
        match self.rng.below(3) {
            0 => format!("(i32.const {})", self.rng.below(1 << 31)),
            1 => "(i32.add (local.get $i) (global.get $g))".into(),
            _ => format!("(i32.load8_u offset={} (local.get $p))", self.rng.below(32)),
        }
    }

    fn value64(&mut self) -> String {
        format!("(i64.mul (i64.extend_i32_u {}) (i64.const 0x0101010101010101))", self.value32())
    }

    fn store(&mut self) {
        let (address, offset) = (self.address(), self.rng.below(24));
        let line = match self.rng.below(9) {
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
        match self.rng.below(if depth > 3 { 7 } else { 12 }) {
            0..=3 => self.store(),
            4 => self.text += "(call $tick)\n",
            5 => {
                let value = self.value32();
                self.text += &match self.rng.below(3) {
                    0 => format!("(global.set $g {value})\n"),
                    1 => "(global.set $h (i64.add (global.get $h) (i64.const 3)))\n".into(),
                    _ => format!("(local.set $p (i32.and {value} (i32.const 0x1ff8)))\n"),
                };
            }
            6 => {
                let (to, from, len) = (self.address(), self.address(), self.rng.below(70));
                let value = self.value32();
                self.text += &match self.rng.below(2) {
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
                let step = [0, 4, 8][self.rng.below(3) as usize];
                let _ =
                    writeln!(self.text, "(local.set {counter} (i32.const {}))\n(loop {name}", 1 + self.rng.below(4));
                self.block(depth + 1, callable);
                let _ = writeln!(
                    self.text,
                    "(local.set $i (i32.and (i32.add (local.get $i) (i32.const {step})) (i32.const 255)))"
                );
                let step = if self.endless { 0 } else { 1 };
                let _ = writeln!(
                    self.text,
                    "(br_if {name} (local.tee {counter} (i32.sub (local.get {counter}) (i32.const {step})))))"
                );
            }
            _ if callable > 0 => {
                let callee = self.rng.below(callable);
                let argument = self.address();
                let _ = writeln!(self.text, "(call $f{callee} (i32.and {argument} (i32.const 0x1ff8)))");
            }
            _ => self.store(),
        }
    }

    fn block(&mut self, depth: u64, callable: u64) {
        for _ in 0..1 + self.rng.below(5) {
            self.statement(depth, callable);
        }
    }

    /// Returns a module whose `nook_poll` ends after a few thousand instructions.
    pub fn module(seed: u64) -> String {
        Author { rng: Rng::new(seed), text: String::new(), loops: 0, endless: false }.write()
    }

    /// Returns the same, but for its loops, which never end.
    pub fn endless_module(seed: u64) -> String {
        Author { rng: Rng::new(seed), text: String::new(), loops: 0, endless: true }.write()
    }

    fn write(mut self) -> String {
        let author = &mut self;
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
        self.text
    }
}
