//! What became of accesses to DMA memory in a compiled module: wasm has no volatile access, so this is pinned.
//!
//! The module is `tests/access-wasm`: in front of each case it calls the host with the case's number. What is listed is
//! what the case comes to, in the order of the code: accesses that neither the module's compiler nor the host's merges
//! or drops, and loops. Plain loads and stores are left out, so a case that was compiled to them is empty and fails.

use std::collections::BTreeMap;
use std::fs;

use nook_tests::driver_file;
use wasmparser::{Operator, Parser, Payload, TypeRef};

/// The cases by their numbers.
fn cases(wasm: &[u8]) -> BTreeMap<i32, Vec<String>> {
    let (mut imports, mut found) = (Vec::new(), BTreeMap::new());
    for payload in Parser::new(0).parse_all(wasm) {
        match payload.unwrap() {
            Payload::ImportSection(section) => {
                for import in section.into_imports() {
                    let import = import.unwrap();
                    assert!(matches!(import.ty, TypeRef::Func(_)));
                    imports.push(import.name.to_owned());
                }
            }
            Payload::CodeSectionEntry(body) => {
                let operators: Vec<_> = body.get_operators_reader().unwrap().into_iter().map(Result::unwrap).collect();
                list(&imports, &operators, &mut found);
            }
            _ => {}
        }
    }
    found
}

/// Adds the cases of one function. A case ends where the next begins, and the last one of a function has no content.
fn list(imports: &[String], operators: &[Operator<'_>], found: &mut BTreeMap<i32, Vec<String>>) {
    let (mut case, mut blocks) = (None, Vec::new());
    for (at, operator) in operators.iter().enumerate() {
        let import = match operator {
            Operator::Call { function_index } => imports.get(*function_index as usize).map(String::as_str),
            _ => None,
        };
        if import == Some("delay_ns") {
            let Some(Operator::I32Const { value }) = operators[..at].last() else { panic!("a case without a number") };
            assert!(found.insert(*value, Vec::new()).is_none(), "case {value} stands twice");
            case = Some(*value);
            continue;
        }
        let line = match operator {
            Operator::Block { .. } | Operator::If { .. } => {
                blocks.push(false);
                continue;
            }
            Operator::Loop { .. } => {
                blocks.push(true);
                "loop".to_owned()
            }
            Operator::End if blocks.pop() == Some(true) => "end of loop".to_owned(),
            other => match access(other) {
                Some(name) => name.to_owned(),
                None => continue,
            },
        };
        if let Some(case) = case {
            found.get_mut(&case).expect("it was made when it began").push(line);
        }
    }
}

/// What a device sees of it: where the value goes is the compiler's choice.
fn access(operator: &Operator<'_>) -> Option<&'static str> {
    use Operator::*;
    Some(match operator {
        I32AtomicLoad8U { .. } | I64AtomicLoad8U { .. } => "load 8",
        I32AtomicLoad16U { .. } | I64AtomicLoad16U { .. } => "load 16",
        I32AtomicLoad { .. } | I64AtomicLoad32U { .. } => "load 32",
        I64AtomicLoad { .. } => "load 64",
        I32AtomicStore8 { .. } | I64AtomicStore8 { .. } => "store 8",
        I32AtomicStore16 { .. } | I64AtomicStore16 { .. } => "store 16",
        I32AtomicStore { .. } | I64AtomicStore32 { .. } => "store 32",
        I64AtomicStore { .. } => "store 64",
        MemoryCopy { .. } => "copy",
        MemoryFill { .. } => "fill",
        _ => return None,
    })
}

fn compiled() -> BTreeMap<i32, Vec<String>> {
    let file = driver_file("access");
    let wasm = fs::read(&file).unwrap_or_else(|error| panic!("{}: {error}; run `cargo xtask drivers`", file.display()));
    cases(&wasm)
}

#[test]
fn each_read_and_write_of_a_value_is_one_atomic_access_in_its_place() {
    let cases = compiled();
    let expected: [(i32, &[&str]); 7] = [
        (101, &["load 32", "load 32"]),
        (102, &["store 32", "load 32"]),
        (103, &["store 32", "store 32", "store 32"]),
        (104, &["load 32"]),
        (105, &["load 32", "loop", "load 32", "end of loop"]),
        (106, &["load 8", "load 16", "load 64", "store 8", "store 16", "store 64"]),
        (199, &[]),
    ];
    for (case, accesses) in expected {
        assert_eq!(cases[&case], accesses, "case {case}");
    }
}

#[test]
fn each_copy_and_fill_is_one_bulk_instruction_and_content_comes_before_what_hands_it_over() {
    let cases = compiled();
    let expected: [(i32, &[&str]); 6] = [
        (201, &["copy", "copy"]),
        (202, &["copy", "copy"]),
        (203, &["fill", "fill"]),
        (204, &["copy", "copy"]),
        (205, &["copy", "store 32"]),
        (299, &[]),
    ];
    for (case, accesses) in expected {
        assert_eq!(cases[&case], accesses, "case {case}");
    }
}

#[test]
fn a_ring_is_looked_at_in_each_round_and_read_after_it_said_so() {
    let cases = compiled();
    assert_eq!(cases[&301], ["loop", "load 32", "end of loop", "load 32"]);
    assert_eq!(cases[&302], ["loop", "load 16", "end of loop", "load 32"]);
}

#[test]
fn a_case_that_was_merged_or_moved_would_be_seen() {
    let module = wat::parse_str(
        r#"(module
            (import "nook" "delay_ns" (func (param i32)))
            (memory 1)
            (func
                (call 0 (i32.const 1))
                (drop (i32.add (i32.load (i32.const 0)) (i32.load (i32.const 0))))
                (call 0 (i32.const 2))
                (drop (i32.atomic.load (i32.const 0)))
                (loop (nop))
                (call 0 (i32.const 3))))"#,
    )
    .unwrap();
    let expected = [(1, vec![]), (2, vec!["load 32", "loop", "end of loop"]), (3, vec![])];
    let seen = cases(&module);
    assert!(seen.iter().map(|(case, lines)| (*case, lines.iter().map(String::as_str).collect())).eq(expected));
}
