//! What the pass wrote, with one mistake.

use wasm_encoder::{BlockType, Instruction};

use super::driver;
use crate::check::tests::mutants::{at, op, put, take};
use crate::check::{self, CheckError};
use crate::undo::{Options, instrument};

/// A mistake in the code of the driver's function.
type Mistake = fn(&mut Vec<Vec<u8>>);

/// Globals behind the driver's: the log's top, the mode, the stack pointer when the call began.
const TOP: u32 = 1;
const MODE: u32 = 2;
const LIMIT: u32 = 3;
/// The local behind the driver's that keeps the log's top.
const KEPT: u32 = 3;

/// Makes each mistake, one at a time; each is refused.
fn refused(driver: &[u8], function: usize, mistakes: &[(&str, Mistake)]) {
    let wasm = instrument(&crate::hints::replace(driver).unwrap().unwrap().wasm, &Options::default()).unwrap().wasm;
    check::stores(driver, None, &wasm).unwrap();
    let bodies = take(&wasm);
    for (what, mistake) in mistakes {
        let mut bodies = bodies.clone();
        mistake(&mut bodies[function].code);
        match check::stores(driver, None, &put(&wasm, &bodies)) {
            Err(CheckError::Code { what: wrong, .. }) => println!("{what}: {wrong}"),
            other => panic!("{what}: {other:?}"),
        }
    }
}

/// Returns where an instruction stands for the first time.
fn find(code: &[Vec<u8>], instruction: Instruction<'_>) -> usize {
    let wanted = op(instruction);
    code.iter().position(|code| *code == wanted).expect("the pass writes it")
}

/// Returns where the record of four bytes begins: the log's top, the address, the load, the trailer of four, the lane,
/// the store, and the five that raise the top; the driver's store is behind them.
fn record(code: &[Vec<u8>]) -> usize {
    find(code, Instruction::V128Load32Zero(wasm_encoder::MemArg { align: 0, ..at(0, 0) })) - 2
}

const LEN: usize = 14;

fn wrap(code: &mut Vec<Vec<u8>>, before: &[Instruction<'_>]) {
    let begins = record(code);
    code.insert(begins + LEN, op(Instruction::End));
    code.splice(begins..begins, before.iter().cloned().map(op));
}

/// In the order of the instructions that they are about.
const RECORDS: &[(&str, Mistake)] = &[
    ("it is missing", |code| {
        let at = record(code);
        code.drain(at..at + LEN);
    }),
    ("it comes after the store", |code| {
        // The address and the value come before it, and what they come from stays as it is.
        let at = record(code);
        let record: Vec<_> = code.drain(at..at + LEN).collect();
        code.splice(at + 1..at + 1, record);
    }),
    ("it is on one path only", |code| wrap(code, &[Instruction::LocalGet(1), Instruction::If(BlockType::Empty)])),
    ("it is on no path", |code| wrap(code, &[Instruction::I32Const(0), Instruction::If(BlockType::Empty)])),
    ("it is jumped over", |code| {
        wrap(code, &[Instruction::Block(BlockType::Empty), Instruction::LocalGet(1), Instruction::BrIf(0)]);
    }),
    ("it is left out of small addresses", |code| {
        let (limit, is_greater) = (Instruction::I32Const(9), Instruction::I32GtU);
        wrap(code, &[Instruction::LocalGet(0), limit, is_greater, Instruction::If(BlockType::Empty)]);
    }),
    ("it is elsewhere in the log", |code| {
        let at = record(code);
        code[at] = op(Instruction::LocalGet(1));
    }),
    ("it is of another place", |code| {
        let at = record(code);
        (code[at + 1], code[at + 3]) = (op(Instruction::LocalGet(1)), op(Instruction::LocalGet(1)));
    }),
    ("its bytes are of another place", |code| {
        let at = record(code);
        code[at + 1] = op(Instruction::LocalGet(1));
    }),
    ("its bytes are of another offset", |code| {
        let place = record(code) + 2;
        code[place] = op(Instruction::V128Load32Zero(at(0, 4)));
    }),
    ("its bytes are the log's", |code| {
        let place = record(code) + 2;
        code[place] = op(Instruction::V128Load32Zero(at(1, 0)));
    }),
    ("its bytes are not what memory holds", |code| {
        let at = record(code);
        code.splice(at + 3..at + 3, [op(Instruction::Drop), op(Instruction::V128Const(0))]);
    }),
    ("something comes between its bytes and the log", |code| {
        let at = record(code);
        code.splice(at + 3..at + 3, [op(Instruction::Block(BlockType::Empty)), op(Instruction::End)]);
    }),
    ("a hostcall comes between", |code| {
        let at = record(code);
        code.insert(at + 3, op(Instruction::Call(0)));
    }),
    ("it says another address", |code| {
        let at = record(code);
        code[at + 3] = op(Instruction::LocalGet(1));
    }),
    ("it says fewer bytes", |code| {
        let at = record(code);
        code[at + 5] = op(Instruction::I64Const(2 << 32));
    }),
    ("it is not at the log's top", |code| {
        let place = record(code) + 8;
        code[place] = op(Instruction::V128Store(at(1, 8)));
    }),
    ("the top stays", |code| {
        let at = record(code);
        code.drain(at + 9..at + LEN);
    }),
    ("the top is raised by less", |code| {
        let at = record(code);
        code[at + 10] = op(Instruction::I32Const(8));
    }),
    ("the top is raised by more", |code| {
        let at = record(code);
        code[at + 10] = op(Instruction::I32Const(24));
    }),
    ("the top is raised in the local only", |code| {
        let at = record(code);
        code[at + 12] = op(Instruction::LocalSet(KEPT));
        code.remove(at + 13);
    }),
    ("the top is raised in the global only", |code| {
        let at = record(code);
        code.remove(at + 12);
    }),
    ("the top is lowered afterwards", |code| {
        let at = record(code) + LEN;
        code.splice(at..at, [op(Instruction::I32Const(64)), op(Instruction::GlobalSet(TOP))]);
    }),
    ("the local that keeps the top is changed afterwards", |code| {
        let at = record(code) + LEN;
        code.splice(at..at, [op(Instruction::I32Const(64)), op(Instruction::LocalSet(KEPT))]);
    }),
    ("the address is changed afterwards", |code| {
        // In a second store to the same place, which is covered by the first record.
        let last = code.iter().rposition(|code| *code == op(Instruction::LocalGet(0))).unwrap();
        code.splice(last..last, [op(Instruction::LocalGet(1)), op(Instruction::LocalSet(0))]);
    }),
    ("the store is another one", |code| {
        let place = find(code, Instruction::I32Store(at(0, 0)));
        code[place] = op(Instruction::I32Store(at(0, 4)));
    }),
    ("the driver's store is missing", |code| {
        let place = find(code, Instruction::I32Store(at(0, 0)));
        code.splice(place..place + 1, [op(Instruction::Drop), op(Instruction::Drop)]);
    }),
    ("the mode is changed", |code| {
        code.splice(2..2, [op(Instruction::I32Const(2)), op(Instruction::GlobalSet(MODE))]);
    }),
    ("the stack's limit is changed", |code| {
        code.splice(2..2, [op(Instruction::I32Const(2)), op(Instruction::GlobalSet(LIMIT))]);
    }),
];

#[test]
fn each_mistake_in_a_record_is_refused() {
    let driver =
        driver("(i32.store (local.get $p) (i32.const 1)) (call $tick) (i32.store (local.get $p) (i32.const 2))");
    refused(&driver, 0, RECORDS);
}

#[test]
fn a_call_behind_which_the_top_is_not_read_again_is_refused() {
    let missing: &[(&str, Mistake)] = &[("it is not read again", |code| {
        let again = code.iter().rposition(|code| *code == op(Instruction::LocalSet(KEPT))).unwrap();
        code.drain(again - 1..=again);
    })];
    refused(&driver("(call $tick) (i32.store (local.get $p) (i32.const 1))"), 0, missing);
    refused(&driver("(i32.store (local.get $p) (i32.const 1)) (call $f (i32.const 9))"), 0, missing);
}

#[test]
fn each_mistake_before_a_bulk_instruction_is_refused() {
    // Its operands are put into locals, and the address and the length are handed to what logs.
    let mistakes: &[(&str, Mistake)] = &[
        ("the range is not logged", |code| {
            let call = code.iter().position(|code| code[0] == 0x10).unwrap();
            code.splice(call..=call, [op(Instruction::Drop), op(Instruction::Drop)]);
        }),
        ("a shorter range is logged", |code| {
            let call = code.iter().position(|code| code[0] == 0x10).unwrap();
            code[call - 1] = op(Instruction::I32Const(8));
        }),
        ("another range is logged", |code| {
            let call = code.iter().position(|code| code[0] == 0x10).unwrap();
            code.splice(call - 1..call - 1, [op(Instruction::Drop), op(Instruction::LocalGet(1))]);
        }),
        ("the range is longer than what was logged", |code| {
            let fill = find(code, Instruction::MemoryFill(0));
            code[fill - 1] = op(Instruction::LocalGet(1));
        }),
        ("it is logged on one path only", |code| {
            let call = code.iter().position(|code| code[0] == 0x10).unwrap();
            let pair = code[call].clone();
            let code_on_one_path = [
                op(Instruction::Drop),
                op(Instruction::Drop),
                op(Instruction::LocalGet(1)),
                op(Instruction::If(BlockType::Empty)),
                op(Instruction::LocalGet(0)),
                op(Instruction::LocalGet(0)),
                pair,
                op(Instruction::End),
            ];
            code.splice(call..=call, code_on_one_path);
        }),
    ];
    refused(&driver("(memory.fill (local.get $p) (i32.const 0) (local.get $p))"), 0, mistakes);
}

#[test]
fn each_mistake_with_the_stack_pointer_is_refused() {
    let driver = driver(
        "(global.set $sp (local.tee $q (i32.sub (global.get $sp) (i32.const 64))))
         (i32.store offset=8 (local.get $q) (i32.const 1))
         (global.set $sp (i32.add (local.get $q) (i32.const 64)))",
    );
    refused(
        &driver,
        0,
        &[
            ("it is not compared", |code| {
                let compared = find(code, Instruction::GlobalGet(LIMIT));
                code.drain(compared - 2..compared + 5);
            }),
            ("it is compared with something else", |code| {
                let compared = find(code, Instruction::GlobalGet(LIMIT));
                code[compared] = op(Instruction::GlobalGet(TOP));
            }),
            ("another value is written", |code| {
                let compared = find(code, Instruction::GlobalGet(LIMIT));
                code.splice(compared + 5..compared + 5, [op(Instruction::Drop), op(Instruction::LocalGet(0))]);
            }),
            ("the frame is somewhere else", |code| {
                let first = find(code, Instruction::I32Const(64));
                code[first] = op(Instruction::I32Const(-64));
            }),
            ("the frame is too short", |code| {
                let first = find(code, Instruction::I32Const(64));
                code[first] = op(Instruction::I32Const(8));
            }),
        ],
    );
}

#[test]
fn each_mistake_in_what_begins_calls_and_logs_ranges_is_refused() {
    let driver = driver("(i32.store (local.get $p) (i32.const 1))");
    let instrumented = instrument(&crate::hints::replace(&driver).unwrap().unwrap().wasm, &Options::default()).unwrap();
    let bodies = take(&instrumented.wasm);
    let mut tried = 0;
    // Behind the driver's two: what logs ranges, the question to the host, what begins a call.
    for function in [2, 3, 4] {
        for place in 0..bodies[function].code.len() - 1 {
            let mut bodies = bodies.clone();
            bodies[function].code.insert(place, op(Instruction::Nop));
            let wrong = check::stores(&driver, None, &put(&instrumented.wasm, &bodies)).unwrap_err().to_string();
            assert!(wrong.contains("not as it has to be"), "function {function}, instruction {place}: {wrong}");
            tried += 1;
        }
    }
    assert!(tried > 60, "{tried}");
}

#[test]
fn an_export_that_begins_no_call_is_refused() {
    let text = |export: &str| {
        format!(
            r#"(module (memory (export "memory") 2 2) {export}
                (func $f (export "nook_poll") (i32.store (i32.const 2000) (i32.const 1))))"#
        )
    };
    let driver = wat::parse_str(text("")).unwrap();
    let instrumented = instrument(&driver, &Options::default()).unwrap().wasm;
    check::stores(&driver, None, &instrumented).unwrap();
    let other = wat::parse_str(text(r#"(export "nook_irq" (func $f))"#)).unwrap();
    let wrong = check::stores(&other, None, &instrumented).unwrap_err().to_string();
    assert!(wrong.contains("other functions"), "{wrong}");
}
