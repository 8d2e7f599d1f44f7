//! Each deadline check of what the pass wrote, with one mistake.

use std::path::Path;

use wasm_encoder::{BlockType, CodeSection, Encode, Instruction, MemArg, Module, RawSection};
use wasmparser::{Parser, Payload};

use super::module;
use crate::check::{self, CheckError};
use crate::undo::{Options, instrument};

/// A function's body: its locals, and its instructions.
#[derive(Clone)]
pub(in crate::check) struct Body {
    locals: Vec<u8>,
    pub(in crate::check) code: Vec<Vec<u8>>,
}

pub(in crate::check) fn take(wasm: &[u8]) -> Vec<Body> {
    let mut bodies = Vec::new();
    for payload in Parser::new(0).parse_all(wasm) {
        let Payload::CodeSectionEntry(body) = payload.unwrap() else { continue };
        let mut reader = body.get_operators_reader().unwrap();
        let locals = wasm[body.range().start..reader.original_position()].to_vec();
        let mut code = Vec::new();
        while !reader.eof() {
            let at = reader.original_position();
            reader.read().unwrap();
            code.push(wasm[at..reader.original_position()].to_vec());
        }
        bodies.push(Body { locals, code });
    }
    bodies
}

pub(in crate::check) fn put(wasm: &[u8], bodies: &[Body]) -> Vec<u8> {
    let mut module = Module::new();
    for payload in Parser::new(0).parse_all(wasm) {
        match payload.unwrap() {
            Payload::CodeSectionStart { .. } => {
                let mut section = CodeSection::new();
                bodies.iter().for_each(|body| {
                    section.raw(&[&body.locals[..], &body.code.concat()].concat());
                });
                module.section(&section);
            }
            other => {
                if let Some((id, range)) = other.as_section() {
                    module.section(&RawSection { id, data: &wasm[range] });
                }
            }
        }
    }
    module.finish()
}

pub(in crate::check) fn op(instruction: Instruction<'_>) -> Vec<u8> {
    let mut bytes = Vec::new();
    instruction.encode(&mut bytes);
    bytes
}

pub(in crate::check) fn at(memory_index: u32, offset: u64) -> MemArg {
    MemArg { offset, align: 2, memory_index }
}

/// How many instructions a deadline check has.
const LEN: usize = 7;

/// Returns where deadline checks begin, found by their bytes.
fn deadline_checks(body: &Body) -> Vec<usize> {
    let (load, bit) = (op(Instruction::I32AtomicLoad(at(1, 0))), op(Instruction::I32Const(1)));
    let is_check = |code: &[Vec<u8>]| {
        code[0] == [0x41, 0]
            && (&code[1], &code[2], code[3][0]) == (&load, &bit, 0x71)
            && code[4] == [0x04, 0x40]
            && (code[5][0] == 0x10 || code[5][0] == 0x00)
            && code[6] == [0x0b]
    };
    (0..body.code.len().saturating_sub(LEN - 1)).filter(|at| is_check(&body.code[*at..*at + LEN])).collect()
}

/// A mistake in the deadline check that begins at an instruction.
type Mistake = fn(&mut Vec<Vec<u8>>, usize);

const MISTAKES: &[(&str, Mistake)] = &[
    ("it is missing", |code, i| drop(code.drain(i..i + LEN))),
    ("it is elsewhere in the function", |code, i| {
        let check: Vec<_> = code.drain(i..i + LEN).collect();
        let end = code.len() - 1;
        code.splice(end..end, check);
    }),
    ("another cell, by its offset", |code, i| code[i + 1] = op(Instruction::I32AtomicLoad(at(1, 4)))),
    ("another cell, by its address", |code, i| code[i] = op(Instruction::I32Const(4))),
    ("the driver's memory", |code, i| code[i + 1] = op(Instruction::I32AtomicLoad(at(0, 0)))),
    ("a load that may be taken out of a loop", |code, i| code[i + 1] = op(Instruction::I32Load(at(1, 0)))),
    ("a load of one byte", |code, i| {
        code[i + 1] = op(Instruction::I32AtomicLoad8U(MemArg { align: 0, ..at(1, 0) }));
    }),
    ("a second mask", |code, i| {
        code.splice(i + 2..i + 2, [op(Instruction::I32Const(0)), op(Instruction::I32And)]);
    }),
    ("no bit", |code, i| code[i + 2] = op(Instruction::I32Const(0))),
    ("another bit", |code, i| code[i + 2] = op(Instruction::I32Const(2))),
    ("any bit", |code, i| code[i + 3] = op(Instruction::I32Or)),
    ("the opposite", |code, i| code.insert(i + 4, op(Instruction::I32Eqz))),
    ("what was loaded is not used", |code, i| {
        code.splice(i + 2..i + 2, [op(Instruction::Drop), op(Instruction::I32Const(0))]);
    }),
    ("nothing is done", |code, i| code[i + 5] = op(Instruction::Nop)),
    ("a hostcall is called", |code, i| code[i + 5] = op(Instruction::Call(0))),
    ("it is left", |code, i| code[i + 5] = op(Instruction::Br(0))),
    ("it is jumped over", |code, i| {
        code.insert(i + LEN, op(Instruction::End));
        code.splice(i..i, [op(Instruction::Block(BlockType::Empty)), op(Instruction::Br(0))]);
    }),
    ("it is only sometimes made", |code, i| {
        code.insert(i + LEN, op(Instruction::End));
        code.splice(i..i, [op(Instruction::I32Const(0)), op(Instruction::If(BlockType::Empty))]);
    }),
    ("it is in another loop", |code, i| {
        code.insert(i + LEN, op(Instruction::End));
        code.insert(i, op(Instruction::Loop(BlockType::Empty)));
    }),
];

/// Makes each mistake in each deadline check of a module, one at a time; how many that were. Each is refused.
fn refused(wasm: &[u8], mistakes: &[(&str, Mistake)]) -> usize {
    check::deadlines(wasm).unwrap();
    let bodies = take(wasm);
    let mut tried = 0;
    for (function, body) in bodies.iter().enumerate() {
        for at in deadline_checks(body) {
            for (what, mistake) in mistakes {
                let mut bodies = bodies.clone();
                mistake(&mut bodies[function].code, at);
                match check::deadlines(&put(wasm, &bodies)) {
                    Err(CheckError::Code { .. }) => tried += 1,
                    other => panic!("{what}, deadline check at instruction {at} of body {function}: {other:?}"),
                }
            }
        }
    }
    tried
}

/// Loops, a table, long code, recursion, bulk instructions: every kind of place at which there is a deadline check.
fn all_kinds() -> Vec<u8> {
    let code = format!(
        "(loop $a (i32.store (local.get $p) (i32.const 1)) (loop $b (br_if $b (local.get $p)) (br_if $a (local.get $i)))
            (block $c (br_table $c $a (local.get $p))))
         (memory.fill (local.get $p) (i32.const 0) (local.get $i)) (call $f (local.get $p)) {}",
        "(call $tick)".repeat(600)
    );
    instrument(&module(&code, ""), &Options::default()).unwrap().wasm
}

#[test]
fn a_module_that_was_only_taken_apart_and_put_together_is_accepted() {
    let wasm = all_kinds();
    assert_eq!(check::deadlines(&put(&wasm, &take(&wasm))), check::deadlines(&wasm));
}

#[test]
fn each_mistake_in_each_check_is_refused() {
    let wasm = all_kinds();
    // At the beginning and at those of its two callers, before three branches and a bulk instruction, and in the range
    // logger.
    assert_eq!(refused(&wasm, MISTAKES), 8 * MISTAKES.len());
}

#[test]
fn each_mistake_in_each_check_is_refused_in_copies_that_count_too() {
    let instrumented = instrument(&module("(loop $l (br $l))", ""), &Options::default()).unwrap();
    let wasm = crate::Counting::of(&instrumented.wasm, instrumented.wrappers_from).unwrap().wasm;
    // In a copy, a deadline check's instructions have others between them: each is changed by itself.
    let bodies = take(&wasm);
    let (load, broken) = (op(Instruction::I32AtomicLoad(at(1, 0))), op(Instruction::I32AtomicLoad(at(1, 8))));
    let mut tried = 0;
    for function in 0..bodies.len() {
        for place in (0..bodies[function].code.len()).filter(|place| bodies[function].code[*place] == load) {
            let mut bodies = bodies.clone();
            bodies[function].code[place] = broken.clone();
            assert!(matches!(check::deadlines(&put(&wasm, &bodies)), Err(CheckError::Code { .. })));
            tried += 1;
        }
    }
    // The loop's and the range logger's, twice.
    assert_eq!(tried, 4);
}

#[test]
fn of_the_e1000_driver_no_check_can_be_missing() {
    let file = Path::new(env!("CARGO_MANIFEST_DIR")).join("../target/drivers/e1000.wasm");
    let driver = std::fs::read(&file).expect("`cargo xtask drivers` makes it");
    let wasm = instrument(&driver, &Options::default()).unwrap().wasm;
    let tried = refused(&wasm, &MISTAKES[..1]);
    println!("{tried} deadline checks");
    assert!(tried > 20);
}

/// Puts instructions behind the two that let a local keep the log's top, at the beginning of the driver's function.
fn with(code: &[Instruction<'_>]) -> Result<check::Checked, CheckError> {
    let wasm = instrument(&module("(i32.store (local.get $p) (i32.const 1))", ""), &Options::default()).unwrap().wasm;
    let mut bodies = take(&wasm);
    bodies[0].code.splice(2..2, code.iter().map(|instruction| op(instruction.clone())));
    check::deadlines(&put(&wasm, &bodies))
}

#[test]
fn what_touches_the_cell_or_moves_the_logs_top_there_is_refused() {
    use Instruction::*;
    // Globals: the log's top, its mode, the stack's limit.
    let top = 0;
    let refusals: &[(&str, &[Instruction<'_>])] = &[
        ("a store to the time cell", &[I32Const(0), I32Const(0), I32Store(at(1, 0))]),
        ("a store to the time cell", &[I32Const(2), I32Const(0), I32Store(at(1, 0))]),
        ("may be the time cell's", &[LocalGet(0), I32Const(0), I32Store(at(1, 64))]),
        ("may be the time cell's", &[LocalGet(0), I64Const(0), I64Store(at(1, 0))]),
        ("neither a deadline check nor a store", &[I32Const(0), I32Const(0), I32AtomicStore(at(1, 0))]),
        ("neither a deadline check nor a store", &[I32Const(8), I32Const(0), I32AtomicRmwAdd(at(1, 0)), Drop]),
        ("neither a deadline check nor a store", &[I32Const(0), I32Load(at(1, 0)), Drop]),
        ("the log's top is set", &[I32Const(0), GlobalSet(top)]),
        ("the log's top is set", &[LocalGet(0), GlobalSet(top)]),
        ("the log's top is set", &[GlobalGet(top), I32Const(8), I32Add, GlobalSet(top)]),
        ("on the log memory", &[I32Const(0), I32Const(0), I32Const(4), MemoryFill(1)]),
        ("the range logger's", &[I32Const(0), I32Const(0), I32Const(4), MemoryCopy { src_mem: 0, dst_mem: 1 }]),
        ("out of the log memory", &[I32Const(0), I32Const(0), I32Const(4), MemoryCopy { src_mem: 1, dst_mem: 0 }]),
        ("call of the host's answer", &[I32Const(0), CallIndirect { type_index: 3, table_index: 0 }, Drop]),
    ];
    for (word, code) in refusals {
        let wrong = with(code).unwrap_err().to_string();
        assert!(wrong.contains(word), "{code:?}: {wrong}");
    }
    with(&[I32Const(64), I32Const(0), I32Store(at(1, 0))]).expect("behind the cells");
}

#[test]
fn a_top_that_is_raised_further_than_was_written_is_refused() {
    let wasm = instrument(&module("(i32.store (local.get $p) (i32.const 1))", ""), &Options::default()).unwrap().wasm;
    let bodies = take(&wasm);
    let add = op(Instruction::I32Add);
    let raise = bodies[0].code.iter().position(|code| *code == add).expect("the log's top is raised") - 1;
    for (by, right) in [(16, true), (24, false), (-16, false), (i32::MAX, false)] {
        let mut bodies = bodies.clone();
        bodies[0].code[raise] = op(Instruction::I32Const(by));
        assert_eq!(check::deadlines(&put(&wasm, &bodies)).is_ok(), right, "by {by}");
    }
}

#[test]
fn a_driver_whose_store_goes_to_the_log_memory_is_refused() {
    let wasm = instrument(&module("(i32.store (local.get $p) (i32.const 1))", ""), &Options::default()).unwrap().wasm;
    let mut bodies = take(&wasm);
    let (from, to) = (op(Instruction::I32Store(at(0, 0))), op(Instruction::I32Store(at(1, 0))));
    let store = bodies[0].code.iter().position(|code| *code == from).expect("the driver's store");
    bodies[0].code[store] = to;
    let wrong = check::deadlines(&put(&wasm, &bodies)).unwrap_err().to_string();
    assert!(wrong.contains("may be the time cell's"), "{wrong}");
}

#[test]
fn a_question_that_does_not_put_the_answer_into_the_cell_is_refused() {
    let wasm = instrument(&module("(loop $l (br $l))", ""), &Options::default()).unwrap().wasm;
    let bodies = take(&wasm);
    let store = op(Instruction::I32AtomicStore(at(1, 0)));
    let question = bodies.iter().position(|body| body.code.contains(&store)).expect("there is one");
    let place = bodies[question].code.iter().position(|code| *code == store).unwrap();
    for code in [
        vec![op(Instruction::Drop), op(Instruction::Drop)],
        vec![op(Instruction::I32AtomicStore(at(1, 4)))],
        vec![op(Instruction::I32AtomicStore(at(0, 0)))],
    ] {
        let mut bodies = bodies.clone();
        bodies[question].code.splice(place..place + 1, code);
        assert!(matches!(check::deadlines(&put(&wasm, &bodies)), Err(CheckError::Code { .. })));
    }
}
