//! What became of accesses to DMA memory in a compiled module: wasm has no volatile access, so this is pinned.
//!
//! The module is `tests/access-wasm`: in front of each case it calls the host with the case's number. What is listed is
//! what the case comes to, in the order of the code: accesses that neither the module's compiler nor the host's merges
//! or drops, and loops. Plain loads and stores are left out, so a case that was compiled to them is empty and fails.

use std::collections::BTreeMap;
use std::mem::offset_of;
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::mpsc::{self, Receiver, Sender};
use std::time::Duration;
use std::{fs, thread};

use nook_abi::{HOST_PAGE_MAGIC, HostPage};
use nook_tests::driver_file;
use wasmparser::{Operator, Parser, Payload, TypeRef};
use wasmtime::{Engine, Extern, Instance, Linker, Memory, Module, Store, Val};

/// Returns the cases by their numbers.
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

/// Returns what a device sees of it: where the value goes is the compiler's choice.
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

fn module() -> Vec<u8> {
    let file = driver_file("access");
    fs::read(&file).unwrap_or_else(|error| panic!("{}: {error}; run `cargo xtask drivers`", file.display()))
}

fn compiled() -> BTreeMap<i32, Vec<String>> {
    cases(&module())
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
    assert_eq!(cases[&301], ["loop", "load 64", "end of loop", "load 32"]);
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

/// Bytes of the window that `dma_alloc` gives out, each region by itself.
const REGION: u32 = 4096;
/// And how many regions there are: memory, completions, used ring.
const REGIONS: u32 = 3;

/// Returns the driver without a nook: its hostcalls do nothing but give out memory and tell which case begins.
fn instance(cases: Sender<u32>) -> (Store<u32>, Instance, Memory) {
    let engine = Engine::default();
    let module = Module::new(&engine, module()).unwrap();
    let (mut store, mut linker) = (Store::new(&engine, 0), Linker::new(&engine));
    for import in module.imports() {
        let ty = import.ty().unwrap_func().clone();
        let (name, cases) = (import.name().to_owned(), cases.clone());
        let call = move |mut caller: wasmtime::Caller<'_, u32>, given: &[Val], results: &mut [Val]| {
            if name == "dma_alloc" {
                let region = *caller.data();
                *caller.data_mut() += 1;
                results[0] = Val::I64(i64::from(region + 1) << 32 | i64::from(region * REGION));
            } else if name == "delay_ns" {
                cases.send(given[0].unwrap_i32() as u32).unwrap();
            }
            Ok(())
        };
        linker.func_new(import.module(), import.name(), ty, call).unwrap();
    }
    let instance = linker.instantiate(&mut store, &module).unwrap();
    let Some(Extern::Memory(memory)) = instance.get_export(&mut store, "memory") else { panic!("no memory") };
    (store, instance, memory)
}

/// Writes a word of the driver's memory, as a device does: at any time.
///
/// # Safety
/// The word at `base + at` is aligned and mapped until this returns.
unsafe fn device_writes(base: usize, at: u32, value: u32) {
    // SAFETY: the caller vouches for the word, which wasm and this thread alone touch, both atomically.
    unsafe { AtomicU32::from_ptr((base + at as usize) as *mut u32) }.store(value, Ordering::SeqCst);
}

/// Runs the cases that wait for a device, and answers when they are through. The device writes a while after a case has
/// begun, when the driver looks already.
fn wait_for_the_device(through: &Sender<[i32; 3]>) {
    let (begins, begun): (_, Receiver<u32>) = mpsc::channel();
    let (store, instance, memory) = instance(begins);
    // Never freed, so that the device may write whatever becomes of this thread.
    let mut store = Box::leak(Box::new(store));
    let page = memory.grow(&mut store, 2).unwrap() as u32 * 0x1_0000;
    let window = page + 0x1_0000;
    let fields: [(usize, &[u8]); 3] = [
        (offset_of!(HostPage, magic), &HOST_PAGE_MAGIC.to_le_bytes()),
        (offset_of!(HostPage, window_addr), &u64::from(window).to_le_bytes()),
        (offset_of!(HostPage, window_len_bytes), &u64::from(REGIONS * REGION).to_le_bytes()),
    ];
    for (offset, bytes) in fields {
        memory.write(&mut store, page as usize + offset, bytes).unwrap();
    }
    let base = memory.data_ptr(&store) as usize;
    let device = thread::spawn(move || {
        for case in begun {
            let (at, value) = match case {
                105 => (64, 0x5a5a),
                301 => (REGION + 12, 0x1_0000),
                // The index is in the upper half of the second word.
                302 => (2 * REGION + 4, 1 << 16),
                399 => break,
                _ => continue,
            };
            thread::sleep(Duration::from_millis(50));
            // SAFETY: the memory was leaked after it had grown past the window, and does not grow again.
            unsafe { device_writes(base, window + at, value) };
        }
    });
    let probe = instance.get_typed_func::<(u32, u32), i32>(&mut store, "nook_probe").unwrap();
    let open = instance.get_typed_func::<(), i32>(&mut store, "nook_open").unwrap();
    let stop = instance.get_typed_func::<(), i32>(&mut store, "nook_stop").unwrap();
    let work = instance.get_typed_func::<(), ()>(&mut store, "nook_work").unwrap();
    let probed = probe.call(&mut store, (0, page)).unwrap();
    let codes = [probed, open.call(&mut store, ()).unwrap(), stop.call(&mut store, ()).unwrap()];
    work.call(&mut store, ()).unwrap();
    device.join().unwrap();
    assert_eq!(*store.data(), REGIONS);
    through.send(codes).unwrap();
}

#[test]
fn a_driver_that_waits_sees_what_a_device_writes_meanwhile() {
    let (through, done) = mpsc::channel();
    // A loop that looks once would never end, and cannot be ended here.
    thread::spawn(move || wait_for_the_device(&through));
    let codes =
        done.recv_timeout(Duration::from_secs(120)).expect("the driver sees each write, and the test does not fail");
    assert_eq!(codes, [0; 3]);
}
