//! The undo log pass on the real driver.

use std::path::Path;

use wasmparser::{Parser, Payload};

use crate::undo::{Options, instrument};
use crate::{Counting, hints};

/// `cargo xtask drivers` makes it.
fn driver() -> Vec<u8> {
    let file = Path::new(env!("CARGO_MANIFEST_DIR")).join("../target/drivers/e1000.wasm");
    let read = std::fs::read(&file);
    let wasm = read.unwrap_or_else(|error| panic!("{}: {error}; run `cargo xtask drivers`", file.display()));
    hints::replace(&wasm).unwrap().expect("it returns packets by hints").wasm
}

#[test]
fn the_e1000_driver_can_be_undone_and_its_own_frames_are_known() {
    let driver = driver();
    let instrumented = instrument(&driver, &Options::default()).unwrap();
    println!("{}", instrumented.effect);
    let effect = instrumented.effect;
    assert!(effect.transactions >= 2, "poll and irq");
    assert!(effect.own_frames_known, "drivers are linked with the stack first");
    assert!(effect.groups < effect.stores);
}

/// Returns each instruction of each function: where it begins, and its bytes.
fn instructions(wasm: &[u8]) -> Vec<Vec<(usize, &[u8])>> {
    let mut functions = Vec::new();
    for payload in Parser::new(0).parse_all(wasm) {
        if let Payload::CodeSectionEntry(body) = payload.unwrap() {
            let mut reader = body.get_operators_reader().unwrap();
            let mut instructions = Vec::new();
            while !reader.eof() {
                let at = reader.original_position();
                reader.read().unwrap();
                instructions.push((at, &wasm[at..reader.original_position()]));
            }
            functions.push(instructions);
        }
    }
    functions
}

#[test]
fn every_place_in_the_rewritten_driver_leads_to_its_instruction_in_the_original() {
    let driver = driver();
    let rewritten = instrument(&driver, &Options::default()).unwrap();
    let (before, after) = (instructions(&driver), instructions(&rewritten.wasm));
    assert!(before.len() < after.len(), "wrappers were added");
    for (number, function) in after.iter().enumerate() {
        // What belongs to one instruction: the code that was added for it, then itself.
        let mut led = Vec::new();
        for &(at, bytes) in function {
            let original = rewritten.offsets.original(at as u32).map(|original| original as usize);
            match led.last_mut() {
                Some((last, instruction)) if *last == original => *instruction = bytes,
                _ => led.push((original, bytes)),
            }
        }
        match before.get(number) {
            Some(original) => {
                let expected: Vec<_> = original.iter().map(|&(at, bytes)| (Some(at), bytes)).collect();
                assert!(led == expected, "function {number}");
            }
            None => assert!(led.iter().all(|(original, _)| original.is_none()), "function {number} is no one's"),
        }
    }
}

#[test]
fn so_does_every_place_in_its_copy_that_counts_and_what_is_plain_stays_as_it_is() {
    let rewritten = instrument(&driver(), &Options::default()).unwrap();
    let counting = Counting::of(&rewritten.wasm, rewritten.wrappers_from).unwrap();
    let (before, after) = (instructions(&rewritten.wasm), instructions(&counting.wasm));
    let imported = Parser::new(0).parse_all(&rewritten.wasm).find_map(|payload| match payload.unwrap() {
        Payload::ImportSection(section) => Some(section.count()),
        _ => None,
    });
    let imported = imported.unwrap();
    let plain = (rewritten.wrappers_from - imported) as usize;
    assert_eq!(after.len(), before.len() + plain, "a copy of each function that is no wrapper");
    for (original, function) in before.iter().zip(&after).take(plain) {
        let expected: Vec<_> = original.iter().map(|&(at, bytes)| (Some(at as u32), bytes)).collect();
        let led: Vec<_> = function.iter().map(|&(at, bytes)| (counting.offsets.original(at as u32), bytes)).collect();
        assert!(led == expected);
    }
    for (original, copy) in before.iter().zip(&after[before.len()..]) {
        // What belongs to one instruction: its countdown, then itself; calls lead elsewhere, so only their kind is the
        // same.
        let mut led: Vec<(Option<u32>, u8)> = Vec::new();
        for &(at, bytes) in copy {
            let from = counting.offsets.original(at as u32);
            match led.last_mut() {
                Some((last, kind)) if *last == from => *kind = bytes[0],
                _ => led.push((from, bytes[0])),
            }
        }
        let expected: Vec<_> = original.iter().map(|&(at, bytes)| (Some(at as u32), bytes[0])).collect();
        assert!(led == expected);
    }
}
