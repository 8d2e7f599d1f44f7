//! What the pass writes is accepted; the same with one mistake anywhere is refused, by the checker alone.

pub(super) mod mutants;
mod written_by_hand;

use std::path::Path;

use crate::Counting;
use crate::check::{self, CheckError, Checked};
use crate::deadline::{with_deadline_checks, with_flaw};
use crate::tests::author::{Author, modules};
use crate::undo::{Flaw, Options, instrument};

/// Returns the finished modules that come of one: with deadline checks alone, with all memory logged, with private
/// memory kept by other means, and each of them counting.
fn finished(wasm: &[u8]) -> Vec<Vec<u8>> {
    let kept = Options { private_bytes: Some(4096), private_is_kept: true, ..Options::default() };
    let timed = with_deadline_checks(wasm).unwrap();
    let mut all = vec![Counting::of(&timed.wasm, u32::MAX).unwrap().wasm, timed.wasm];
    for options in [Options::default(), kept] {
        let instrumented = instrument(wasm, &options).unwrap();
        all.push(Counting::of(&instrumented.wasm, instrumented.wrappers_from).unwrap().wasm);
        all.push(instrumented.wasm);
    }
    all
}

/// Makes one mistake in either pass; the checker's verdict is the same of both.
fn with(wasm: &[u8], flaw: Flaw) -> Result<Checked, CheckError> {
    let with_log = instrument(wasm, &Options { flaw: Some(flaw), ..Options::default() }).unwrap();
    let verdict = check::deadlines(&with_log.wasm);
    let plain = check::deadlines(&with_flaw(wasm, flaw).unwrap().wasm);
    assert_eq!(verdict.is_ok(), plain.is_ok(), "{flaw:?}: {verdict:?} with a log, {plain:?} without");
    verdict
}

/// Returns a module with this code in a function and in a transaction that calls it.
fn module(code: &str, rest: &str) -> Vec<u8> {
    let text = format!(
        r#"(module (import "host" "tick" (func $tick)) (memory (export "memory") 2 2) {rest}
            (func $f (param $p i32) (local $i i32) (local $v v128) {code})
            (func (export "nook_poll") (call $f (i32.const 5000)))
            (func (export "nook_probe") (call $f (i32.const 6000))))"#
    );
    wat::parse_str(&text).unwrap_or_else(|error| panic!("{error}\n{text}"))
}

/// Control flow of every kind that there is, with the number of deadline checks at it.
const FLOWS: &[(&str, &str)] = &[
    ("a loop without a branch back", "(loop $l (call $tick))"),
    ("an endless loop", "(loop $l (br $l))"),
    ("a conditional one", "(loop $l (br_if $l (local.get $p)))"),
    ("nested loops that leave to the outer one", "(loop $a (loop $b (loop $c (br_if $c (local.get $p)) (br $a))))"),
    ("a table with loops and blocks", "(loop $l (block $b (br_table $b $l $b $l (local.get $p))))"),
    ("a table without loops", "(block $a (block $b (br_table $a $b (local.get $p))))"),
    ("a branch out of a loop", "(block $b (loop $l (br_if $b (local.get $p)) (br $l)))"),
    (
        "a loop with parameters and results",
        "(i32.const 1) (i32.const 2)
            (loop $l (param i32 i32) (result i32 i32) (br_if $l (local.get $p))) (i32.add) (drop)",
    ),
    ("ifs with branches back", "(loop $l (if (local.get $p) (then (br $l)) (else (br_if $l (local.get $i)))))"),
    ("a branch that cannot be reached", "(loop $l (return) (br $l))"),
    ("blocks that cannot be reached", "(loop $l (unreachable) (block (br $l)) (loop $m (br $m)) (br $l))"),
    ("a bulk instruction of any length", "(memory.fill (local.get $p) (i32.const 1) (local.get $i))"),
    ("bulk instructions in a loop", "(loop $l (memory.copy (local.get $p) (local.get $i) (local.get $p)) (br $l))"),
    ("a short one", "(memory.fill (local.get $p) (i32.const 1) (i32.const 100))"),
    ("recursion", "(call $f (local.get $p))"),
    (
        "stores of every width in a loop",
        "(loop $l (i32.store8 (local.get $p) (i32.const 1)) (i32.store16 offset=4 (local.get $p) (i32.const 1))
            (i32.store offset=8 (local.get $p) (i32.const 1)) (i64.store offset=16 (local.get $i) (i64.const 1))
            (f32.store offset=24 (local.get $i) (f32.const 1)) (f64.store offset=32 (i32.const 64) (f64.const 1))
            (v128.store offset=40 (local.get $p) (local.get $v)) (v128.store64_lane 1 (local.get $i) (local.get $v))
            (drop (i32.atomic.rmw.cmpxchg (local.get $p) (i32.const 1) (i32.const 2)))
            (local.set $i (i32.add (local.get $i) (i32.const 4))) (br_if $l (local.get $i)))",
    ),
];

#[test]
fn what_the_pass_writes_is_accepted_whatever_the_control_flow() {
    for (what, code) in FLOWS {
        for wasm in finished(&module(code, "(global $g (mut i32) (i32.const 3))")) {
            check::deadlines(&wasm).unwrap_or_else(|wrong| panic!("{what}: {wrong}"));
        }
    }
}

#[test]
fn calls_through_tables_trees_of_calls_and_tail_calls_are_accepted() {
    let mut tree = "(type $t (func)) (table 4 funcref) (elem (i32.const 0) func $a $b $t0 $t9)
        (func $a (return_call $b)) (func $b (return_call_indirect (type $t) (i32.const 1)))
        (func $t0 (call $tick) (call $tick))"
        .to_owned();
    for level in 1..30 {
        tree += &format!("(func $t{level} (call $t{0}) (call $t{0}))", level - 1);
    }
    for wasm in finished(&module("(call $t29) (call_indirect (type $t) (local.get $p))", &tree)) {
        check::deadlines(&wasm).unwrap();
    }
}

#[test]
fn generated_modules_are_accepted() {
    let mut checks = 0;
    for seed in 1..=modules() {
        for text in [Author::module(seed), Author::endless_module(seed)] {
            for wasm in finished(&wat::parse_str(&text).unwrap()) {
                checks += check::deadlines(&wasm)
                    .unwrap_or_else(|wrong| panic!("seed {seed}: {wrong}\n{text}"))
                    .deadline_checks;
            }
        }
    }
    assert!(checks as u64 > 10 * modules(), "the generator has become tame: {checks} deadline checks");
}

#[test]
fn every_driver_at_hand_is_accepted() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../target/drivers");
    let mut names = Vec::new();
    for entry in std::fs::read_dir(&folder).expect("`cargo xtask drivers` makes them") {
        let path = entry.unwrap().path();
        if path.extension().is_some_and(|extension| extension == "wasm") {
            for wasm in finished(&std::fs::read(&path).unwrap()) {
                let checked = check::deadlines(&wasm).unwrap_or_else(|wrong| panic!("{}: {wrong}", path.display()));
                println!("{}: {} bytes, {checked:?}", path.display(), wasm.len());
            }
            names.push(path.file_stem().unwrap().to_string_lossy().into_owned());
        }
    }
    for driver in ["e1000", "filter"] {
        assert!(names.iter().any(|name| name == driver), "{driver}.wasm is missing: run `cargo xtask drivers`");
    }
}

#[test]
fn a_loop_without_a_check_is_refused() {
    let wrong = with(&module("(loop $l (br $l))", ""), Flaw::LoopWithoutCheck).unwrap_err();
    assert!(wrong.to_string().contains("a branch back to a loop's beginning without a deadline check"), "{wrong}");
    let mut refused = 0;
    for seed in 1..=modules() {
        let wasm = wat::parse_str(Author::endless_module(seed)).unwrap();
        let loops = instrument(&wasm, &Options::default()).unwrap().effect.back_edges;
        assert_eq!(with(&wasm, Flaw::LoopWithoutCheck).is_err(), loops > 0, "seed {seed}");
        refused += u64::from(loops > 0);
    }
    assert!(refused > modules() / 2, "the generator has become tame: {refused} have loops");
}

#[test]
fn a_long_function_without_a_check_is_refused_and_so_is_one_that_may_come_to_call_itself() {
    let long = "(call $tick)".repeat(600);
    let recursion = "(func $a (call $b)) (func $b (call $a))";
    let table = "(type $t (func)) (table 1 funcref) (func $t0 (call_indirect (type $t) (i32.const 0)))";
    for (code, rest) in
        [(&long[..], ""), ("(call $a)", recursion), ("(call $f (i32.const 1))", ""), ("(call $t0)", table)]
    {
        let wrong = with(&module(code, rest), Flaw::FunctionWithoutCheck).unwrap_err();
        assert!(wrong.to_string().contains("no deadline check at its beginning"), "{wrong}");
    }
    // What is short needs none.
    with(&module("(call $tick)", ""), Flaw::FunctionWithoutCheck).unwrap();
}

#[test]
fn a_check_that_traps_where_long_calls_come_is_refused() {
    // `nook_poll` and `nook_probe` share its function.
    let wrong = with(&module("(loop $l (br_if $l (local.get $p)))", ""), Flaw::TrapInSharedFunction).unwrap_err();
    assert!(wrong.to_string().contains("a deadline check that traps"), "{wrong}");
    let short = "(func (export \"nook_irq\") (local $i i32) (loop $l (br_if $l (local.get $i))))";
    with(&module("(call $tick)", short), Flaw::TrapInSharedFunction).expect("only a short call comes there");
}

#[test]
fn pass_and_checker_agree_on_what_is_long_to_the_instruction() {
    let mut checks = [0; 2];
    for length in 440..=520 {
        let code = format!("(i32.store (local.get $p) (i32.const 1)) {}", "(nop)".repeat(length));
        let wasm = module(&code, "");
        let instrumented = instrument(&wasm, &Options::default()).unwrap();
        for wasm in finished(&wasm) {
            check::deadlines(&wasm).unwrap_or_else(|wrong| panic!("{length}: {wrong}"));
        }
        let is_long = instrumented.effect.entry_checks > 0;
        let flawed = Options { flaw: Some(Flaw::FunctionWithoutCheck), ..Options::default() };
        let flawed = instrument(&wasm, &flawed).unwrap().wasm;
        assert_eq!(check::deadlines(&flawed).is_err(), is_long, "{length}");
        checks[usize::from(is_long)] += 1;
    }
    assert!(checks[0] > 0 && checks[1] > 0, "{checks:?} are not about the border");
}

#[test]
fn plain_deadline_checks_are_where_the_checker_wants_them_to_the_instruction() {
    let mut long = [0; 2];
    for length in 500..=520 {
        let wasm = module(&"(nop)".repeat(length), "");
        check::deadlines(&with_deadline_checks(&wasm).unwrap().wasm).unwrap();
        let flawed = with_flaw(&wasm, Flaw::FunctionWithoutCheck).unwrap().wasm;
        long[usize::from(check::deadlines(&flawed).is_err())] += 1;
    }
    assert!(long[0] > 0 && long[1] > 0, "{long:?} are not about the border");
}

#[test]
fn what_no_log_can_hold_has_deadline_checks_all_the_same() {
    let tables = "(table 9 funcref) (elem $some func $f) (memory.init $d (local.get $p) (i32.const 0) (local.get $i))";
    let (rest, init) = tables.split_at(tables.find("(memory.init").unwrap());
    let rest = format!("{rest} (data $d \"what is copied\")");
    let wait = "(drop (memory.atomic.wait32 (i32.const 0) (i32.const 0) (i64.const 0)))";
    for code in [
        "(drop (memory.grow (i32.const 1)))",
        "(table.init $some (i32.const 0) (i32.const 0) (local.get $p))",
        "(table.copy (i32.const 0) (i32.const 1) (local.get $p)) (elem.drop $some)",
        &format!("{init} (data.drop $d)"),
        wait,
        "(drop (memory.atomic.notify (i32.const 0) (i32.const 1)))",
    ] {
        let timed = with_deadline_checks(&module(code, &rest)).unwrap();
        check::deadlines(&timed.wasm).unwrap_or_else(|wrong| panic!("{code}: {wrong}"));
    }
}

#[test]
fn what_it_takes_grows_as_the_module_does() {
    let nested = |n: usize| module(&format!("{}(br_if 0 (local.get $p)){}", "(loop ".repeat(n), ")".repeat(n)), "");
    let table = |n: usize| {
        let targets = " 0".repeat(n);
        module(&format!("(loop {} )", format!("(block (br_table{targets} (local.get $p)))").repeat(4)), "")
    };
    let back = |n: usize| {
        let targets: String = (0..n).map(|depth| format!(" {depth}")).collect();
        module(&format!("{}(br_table{targets} (local.get $p)){}", "(loop ".repeat(n), ")".repeat(n)), "")
    };
    let calls = |n: usize| {
        let tree: String =
            (1..n).map(|at| format!("(func $t{at} {})", format!("(call $t{})", at - 1).repeat(8))).collect();
        module(&format!("(call $t{})", n - 1), &format!("(func $t0) {tree}"))
    };
    let cycle = |n: usize| {
        let ring: String = (0..n).map(|at| format!("(func $t{at} (call $t{}) (call $t0))", (at + 1) % n)).collect();
        module("(call $t0)", &ring)
    };
    let stores = |n: usize| module(&"(i32.store (local.get $p) (local.get $i)) (call $tick)".repeat(n), "");
    type Maker<'a> = &'a dyn Fn(usize) -> Vec<u8>;
    let makers: [(&str, Maker); 6] = [
        ("nested loops", &nested),
        ("tables", &table),
        ("tables of loops", &back),
        ("trees of calls", &calls),
        ("rings of calls", &cycle),
        ("stores", &stores),
    ];
    for (what, make) in makers {
        let steps = |n: usize| {
            let wasm = instrument(&make(n), &Options::default()).unwrap().wasm;
            (check::deadlines(&wasm).unwrap().steps as f64, wasm.len() as f64)
        };
        let ((small, _), (large, bytes)) = (steps(200), steps(800));
        assert!(large < 4.4 * small, "{what}: {small} steps, four times as large {large}");
        assert!(large < 4.0 * bytes, "{what}: {large} steps for {bytes} bytes");
    }
}
