//! How descriptors change hands in the compiled driver: wasm has no volatile access, so this is pinned.
//!
//! `NOOK_BLESS=1 cargo test -p nook-tests --test handoff` rewrites the listing.

use std::collections::BTreeSet;
use std::fmt::Write;
use std::fs;
use std::path::Path;

use nook_tests::driver_file;
use wasmparser::{ExternalKind, FunctionBody, Operator, Parser, Payload, TypeRef};

/// What of a module the listing needs.
struct Module<'a> {
    /// Module and name.
    imports: Vec<(&'a str, &'a str)>,
    bodies: Vec<FunctionBody<'a>>,
    poll: u32,
}

fn read(wasm: &[u8]) -> Module<'_> {
    let mut module = Module { imports: Vec::new(), bodies: Vec::new(), poll: 0 };
    for payload in Parser::new(0).parse_all(wasm) {
        match payload.unwrap() {
            Payload::ImportSection(imports) => {
                for import in imports.into_imports() {
                    let import = import.unwrap();
                    assert!(matches!(import.ty, TypeRef::Func(_)));
                    module.imports.push((import.module, import.name));
                }
            }
            Payload::ExportSection(exports) => {
                let poll = exports.into_iter().map(Result::unwrap).find(|export| export.name == "nook_poll");
                let poll = poll.expect("the driver polls");
                assert_eq!(poll.kind, ExternalKind::Func);
                module.poll = poll.index;
            }
            Payload::CodeSectionEntry(body) => module.bodies.push(body),
            _ => {}
        }
    }
    module
}

/// Atomic accesses, fences and hostcalls of a function and what it calls, in the order of the code; what never
/// returns (a panic) is left out.
fn list(module: &Module<'_>, function: u32, seen: &mut BTreeSet<u32>, out: &mut Vec<String>) {
    let Some(index) = (function as usize).checked_sub(module.imports.len()) else {
        let (from, name) = module.imports[function as usize];
        // A hint is a store.
        if from != nook_abi::HINT_MODULE {
            out.push(format!("call {name}"));
        }
        return;
    };
    if !seen.insert(function) {
        return;
    }
    let body = &module.bodies[index];
    let operators: Vec<_> = body.get_operators_reader().unwrap().into_iter().map(Result::unwrap).collect();
    for (at, operator) in operators.iter().enumerate() {
        match operator {
            Operator::Call { function_index } => {
                if !matches!(operators.get(at + 1), Some(Operator::Unreachable)) {
                    list(module, *function_index, seen, out);
                }
            }
            Operator::AtomicFence => out.push("atomic.fence".into()),
            other => {
                let name = format!("{other:?}");
                if name.contains("Atomic") {
                    out.push(name.split([' ', '{']).next().unwrap_or_default().to_owned());
                }
            }
        }
    }
}

#[test]
fn the_compiled_poll_hands_descriptors_over_with_atomic_loads_before_and_hostcalls_after() {
    let file = driver_file("e1000");
    let wasm = fs::read(&file).unwrap_or_else(|error| panic!("{}: {error}; run `cargo xtask drivers`", file.display()));
    let module = read(&wasm);
    let mut lines = Vec::new();
    list(&module, module.poll, &mut BTreeSet::new(), &mut lines);
    let mut text = String::new();
    for line in &lines {
        writeln!(text, "{line}").unwrap();
    }
    // Whatever the order is: each ring is looked at atomically, status and length of a receive descriptor by one load,
    // and for each doorbell there is a hostcall besides, for when none can be left. (One that is left needs no barrier:
    // the host rings it when the call has ended, or in a hostcall.) Three are of one receive queue and of what is sent;
    // three are of two queues: both rings' and the one that lets a queue's interrupts through.
    assert!(lines.iter().filter(|line| *line == "I64AtomicLoad").count() >= 2, "{text}");
    assert_eq!(lines.iter().filter(|line| *line == "call mmio_write32").count(), 6, "{text}");

    let golden = Path::new(env!("CARGO_MANIFEST_DIR")).join("golden/e1000-handoff.txt");
    if std::env::var_os("NOOK_BLESS").is_some() {
        fs::write(&golden, &text).unwrap();
    }
    assert_eq!(text, fs::read_to_string(&golden).unwrap_or_default(), "see the head of this test's file");
}
