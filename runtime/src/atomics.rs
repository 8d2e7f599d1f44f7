//! Whether a module that turns DMA on was compiled with atomic instructions.
//!
//! Without the feature `atomics` a compiler writes plain loads and stores for atomic ones and nothing for a fence, and
//! does not say so. This host's compiler may then merge or drop a load of what the device writes, and the driver misses
//! some of it. So the instructions themselves are looked for: the section `target_features` says `+atomics`
//! of a module in which only some objects have them, and stripping takes it out of good ones.
//!
//! The rule: code that the host's calls can reach and that calls `dma_enable` must come with an atomic instruction that
//! the host's calls can reach. A driver that never turns DMA on shares no memory with a device and needs none. One of
//! the SDK's always has one, because the SDK fences right before that hostcall. What the rule cannot see is a module of
//! which only a part was compiled with atomics.

use std::ops::ControlFlow;

use nook_abi::{ENTRY_PREFIX, Hostcall, IMPORT_MODULE};
use nook_instrument::Sections;
use wasmparser::{BinaryReaderError, ExternalKind, Import, TypeRef};

use crate::reach;
use crate::survey::INITIALIZE;

/// What atomic instructions begin with (WebAssembly threads proposal, "Binary format, instructions").
const ATOMIC: u8 = 0xfe;

/// Returns whether code that the entries can reach turns DMA on, and none of that code has an atomic instruction.
pub(crate) fn are_missing(sections: &Sections<'_>) -> Result<bool, BinaryReaderError> {
    let mut has_one = false;
    let reached = reach::from(sections, entries(sections), |_, offset| {
        has_one = sections.wasm.get(offset) == Some(&ATOMIC);
        if has_one { ControlFlow::Break(()) } else { ControlFlow::Continue(()) }
    })?;
    Ok(!has_one && turns_dma_on(sections).any(|function| reached[function]))
}

/// Returns the functions that the host calls.
fn entries(sections: &Sections<'_>) -> impl Iterator<Item = u32> {
    let entries = sections.exports.iter().filter(|export| export.kind == ExternalKind::Func);
    let is_called = |name: &str| name.starts_with(ENTRY_PREFIX) || name == INITIALIZE;
    entries.filter(move |export| is_called(export.name)).map(|export| export.index)
}

/// Returns the imported functions that are the hostcall `dma_enable`. Imported functions come first in the index space.
fn turns_dma_on(sections: &Sections<'_>) -> impl Iterator<Item = usize> {
    let functions = sections.imports.iter().filter(|it| matches!(it.ty, TypeRef::Func(_) | TypeRef::FuncExact(_)));
    let is_it = |import: &Import<'_>| import.module == IMPORT_MODULE && import.name == Hostcall::DmaEnable.info().name;
    functions.enumerate().filter(move |(_, import)| is_it(import)).map(|(function, _)| function)
}

#[cfg(test)]
mod tests {
    use nook_instrument::features;

    use super::*;

    fn missing(parts: &str) -> bool {
        let text = format!(
            r#"(module (import "nook" "clock_ns" (func (result i64))) (import "nook" "dma_enable" (func $dma (result i32)))
                 (type $plain (func)) (memory 1) (table 4 funcref) {parts})"#
        );
        let wasm = wat::parse_str(text).unwrap();
        are_missing(&Sections::of(&wasm, features()).unwrap()).unwrap()
    }

    #[test]
    fn a_module_that_turns_dma_on_without_an_atomic_instruction_is_found() {
        assert!(missing(r#"(func (export "nook_open") (drop (call $dma)))"#));
        assert!(missing(r#"(func (export "nook_open") (call $on)) (func $on (drop (call $dma)))"#));
        assert!(missing(
            r#"(elem (i32.const 1) $on) (func (export "nook_open") (call_indirect (type $plain) (i32.const 1)))
                           (func $on (drop (call $dma)))"#
        ));
    }

    #[test]
    fn each_kind_of_atomic_instruction_will_do() {
        for atomic in [
            "(atomic.fence)",
            "(drop (i32.atomic.load (i32.const 0)))",
            "(i64.atomic.store8 (i32.const 0) (i64.const 0))",
            "(drop (i32.atomic.rmw.add (i32.const 0) (i32.const 1)))",
            "(drop (i64.atomic.rmw.cmpxchg (i32.const 0) (i64.const 1) (i64.const 1)))",
        ] {
            let poll =
                format!(r#"(func (export "nook_poll") {atomic}) (func (export "nook_open") (drop (call $dma)))"#);
            assert!(!missing(&poll), "{atomic}");
            let behind = format!(
                r#"(func (export "nook_poll") (call $looks)) (func $looks {atomic}) (func (export "nook_open") (drop (call $dma)))"#
            );
            assert!(!missing(&behind), "{atomic}");
        }
    }

    #[test]
    fn an_atomic_instruction_that_no_entry_reaches_does_not_count() {
        for idle in ["(func $idle (atomic.fence))", r#"(func (export "other") (atomic.fence))"#] {
            assert!(missing(&format!(r#"(func (export "nook_open") (drop (call $dma))) {idle}"#)), "{idle}");
        }
        // A constant that looks like one, and one in a table through which nothing is called.
        assert!(missing(r#"(func (export "nook_open") (drop (call $dma)) (drop (i32.const 0xfe)))"#));
        assert!(missing(
            r#"(elem (i32.const 0) $idle) (func $idle (atomic.fence)) (func (export "nook_open") (drop (call $dma)))"#
        ));
    }

    #[test]
    fn a_module_that_does_not_turn_dma_on_needs_none() {
        assert!(!missing(r#"(func (export "nook_open"))"#));
        assert!(!missing(r#"(func (export "nook_open")) (func $idle (drop (call $dma)))"#));
    }
}
