//! Hints become instructions: each call of `nook_hint.store64` becomes an `i64.store`, and what is known of it
//! ([`Scratch`]) goes along for the pass that logs stores.
//!
//! The imports stay, so that no index changes; nothing calls them any more.

use std::collections::BTreeSet;

use nook_abi::{HINT_MODULE, Hint, HintInfo};
use wasm_encoder::reencode::{Reencode, RoundtripReencoder};
use wasm_encoder::{CodeSection, Function, Instruction, MemArg, ValType};
use wasmparser::{ElementItems, ExternalKind, Import, Operator, Parser, Payload, TypeRef};

use crate::sections::{Body, Error, Rewriting, Sections, rewrite};
use crate::{Invalid, OffsetMap, features};

/// Returns the row of a hint that is imported, by module and name.
pub fn row(module: &str, name: &str) -> Option<&'static HintInfo> {
    nook_abi::HINTS.iter().find(|row| module == HINT_MODULE && row.name == name)
}

/// The stores of a module that hints declared to go to scratch: a rollback may leave what they wrote.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Scratch {
    /// For each function that is not imported, its instructions that are such stores, in their order.
    bodies: Vec<Vec<usize>>,
}

impl Scratch {
    /// Returns which instructions of a body are such stores, by number and in their order.
    pub fn of(&self, body: usize) -> &[usize] {
        self.bodies.get(body).map_or(&[], Vec::as_slice)
    }

    /// Returns how many there are.
    pub fn count(&self) -> usize {
        self.bodies.iter().map(Vec::len).sum()
    }
}

/// A module without calls of hints.
#[derive(Clone, Debug)]
pub struct Replaced {
    /// The module.
    pub wasm: Vec<u8>,
    /// Where its code comes from.
    pub offsets: OffsetMap,
    /// Which of its stores were hints.
    pub scratch: Scratch,
}

/// Puts the instruction in the place of each call of a hint. None if the module imports no hint.
///
/// # Errors
/// If it is not valid.
pub fn replace(wasm: &[u8]) -> Result<Option<Replaced>, Invalid> {
    let mut sections = Sections::of(wasm, features())?;
    let stores = imported(&sections, Hint::Store64);
    if stores.is_empty() {
        return Ok(None);
    }
    let bodies = std::mem::take(&mut sections.bodies);
    let mut replacing = Replacing { sections: &sections, stores, code: CodeSection::new(), placed: Vec::new() };
    let mut scratch = Scratch::default();
    for (number, body) in bodies.iter().enumerate() {
        scratch.bodies.push(replacing.body(number, body).map_err(Invalid::from)?);
    }
    let wasm = rewrite(&sections, &replacing)?;
    let offsets = replacing.offsets(&wasm).map_err(Error::from)?;
    Ok(Some(Replaced { wasm, offsets, scratch }))
}

/// Returns the name of a hint of which the module does something else than to call it.
///
/// # Errors
/// If it is not valid.
pub fn referred(sections: &Sections<'_>) -> Result<Option<&'static str>, Invalid> {
    let read = |error: wasmparser::BinaryReaderError| Invalid(error.to_string());
    for row in nook_abi::HINTS {
        let functions = imported(sections, row.hint);
        let mut referred = sections
            .exports
            .iter()
            .any(|export| export.kind == ExternalKind::Func && functions.contains(&export.index));
        for element in &sections.elements {
            match &element.items {
                ElementItems::Functions(items) => {
                    for function in items.clone() {
                        referred |= functions.contains(&function.map_err(read)?);
                    }
                }
                ElementItems::Expressions(_, expressions) => {
                    for expression in expressions.clone() {
                        for operator in expression.map_err(read)?.get_operators_reader() {
                            if let Operator::RefFunc { function_index } = operator.map_err(read)? {
                                referred |= functions.contains(&function_index);
                            }
                        }
                    }
                }
            }
        }
        if referred {
            return Ok(Some(row.name));
        }
    }
    Ok(None)
}

/// Returns the functions by which a module imports a hint.
fn imported(sections: &Sections<'_>, hint: Hint) -> BTreeSet<u32> {
    let function = |import: &&Import<'_>| matches!(import.ty, TypeRef::Func(_) | TypeRef::FuncExact(_));
    let functions = sections.imports.iter().filter(function).zip(0..);
    let of_hint = |import: &Import<'_>| row(import.module, import.name).is_some_and(|row| row.hint == hint);
    functions.filter(|(import, _)| of_hint(import)).map(|(_, index)| index).collect()
}

struct Replacing<'s, 'a> {
    sections: &'s Sections<'a>,
    /// Functions that are `store64`.
    stores: BTreeSet<u32>,
    code: CodeSection,
    /// For each body, where in it an instruction begins, and where in the original module it was.
    placed: Vec<Vec<(usize, usize)>>,
}

impl Replacing<'_, '_> {
    /// Writes a function. Says which of its instructions are stores that were hints.
    fn body(&mut self, number: usize, body: &Body<'_>) -> Result<Vec<usize>, Error> {
        let mut operators = Vec::new();
        for operator in body.code.get_operators_reader()?.into_iter_with_offsets() {
            operators.push(operator?);
        }
        let end = body.code.range().end;
        let mut locals = Vec::new();
        let mut count = self.sections.function_type(self.imported() + number as u32).params().len() as u32;
        for declared in body.code.get_locals_reader()? {
            let (of_type, ty) = declared?;
            locals.push((of_type, RoundtripReencoder.val_type(ty)?));
            count += of_type;
        }
        let unknown =
            (0..operators.len()).any(|at| self.is_store(&operators[at].0) && offset(&operators[..at]).is_none());
        if unknown {
            locals.extend([(1, ValType::I32), (1, ValType::I64)]);
        }
        let (of_offset, of_value) = (count, count + 1);
        let mut function = Function::new(locals);
        let (mut written, mut scratch, mut places) = (0, Vec::new(), Vec::new());
        for (at, (operator, from)) in operators.iter().enumerate() {
            let to = operators.get(at + 1).map_or(end, |(_, next)| *next);
            let is_offset = operators.get(at + 1).is_some_and(|(next, _)| self.is_store(next))
                && offset(&operators[..=at]).is_some();
            places.push((function.byte_len(), *from));
            if is_offset {
                continue;
            }
            if !self.is_store(operator) {
                function.raw(self.sections.wasm[*from..to].iter().copied());
                written += 1;
                continue;
            }
            let known = offset(&operators[..at]);
            if known.is_none() {
                for instruction in [
                    Instruction::LocalSet(of_offset),
                    Instruction::LocalSet(of_value),
                    Instruction::LocalGet(of_offset),
                    Instruction::I32Add,
                    Instruction::LocalGet(of_value),
                ] {
                    function.instruction(&instruction);
                    written += 1;
                }
            }
            scratch.push(written);
            let offset = u64::from(known.unwrap_or(0));
            function.instruction(&Instruction::I64Store(MemArg { offset, align: 0, memory_index: 0 }));
            written += 1;
            if let Operator::ReturnCall { .. } = operator {
                function.instruction(&Instruction::Return);
                written += 1;
            }
        }
        self.code.function(&function);
        self.placed.push(places);
        Ok(scratch)
    }

    fn imported(&self) -> u32 {
        self.sections.imported(ExternalKind::Func)
    }

    fn is_store(&self, operator: &Operator<'_>) -> bool {
        match operator {
            Operator::Call { function_index } | Operator::ReturnCall { function_index } => {
                self.stores.contains(function_index)
            }
            _ => false,
        }
    }

    fn offsets(&self, wasm: &[u8]) -> wasmparser::Result<OffsetMap> {
        let mut map = OffsetMap::default();
        let mut placed = self.placed.iter();
        for payload in Parser::new(0).parse_all(wasm) {
            let Payload::CodeSectionEntry(body) = payload? else { continue };
            let start = body.range().start;
            for &(at, original) in placed.next().into_iter().flatten() {
                map.push(start + at, Some(original));
            }
        }
        Ok(map)
    }
}

/// Returns the constant that stands last: before a hint, it is the offset of the store.
fn offset(operators: &[(Operator<'_>, usize)]) -> Option<u32> {
    match operators.last() {
        Some((Operator::I32Const { value }, _)) => Some(value.cast_unsigned()),
        _ => None,
    }
}

impl Rewriting for Replacing<'_, '_> {
    fn code(&self) -> Option<&CodeSection> {
        Some(&self.code)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const IMPORTS: &str = r#"(import "nook" "a" (func (param i32)))
        (import "nook_hint" "store64" (func $store (param i32 i64 i32))) (memory (export "memory") 1)"#;

    fn replaced(code: &str) -> Replaced {
        let wasm = wat::parse_str(format!("(module {IMPORTS} {code})")).unwrap();
        let replaced = replace(&wasm).unwrap().unwrap();
        wasmparser::Validator::new_with_features(features()).validate_all(&replaced.wasm).unwrap();
        replaced
    }

    fn operators(wasm: &[u8]) -> Vec<String> {
        let sections = Sections::of(wasm, features()).unwrap();
        let bodies = sections.bodies.iter().map(|body| body.code.get_operators_reader().unwrap());
        bodies.flat_map(|body| body.into_iter().map(|operator| format!("{:?}", operator.unwrap()))).collect()
    }

    #[test]
    fn a_hint_becomes_a_store_with_its_offset_and_everything_else_stays() {
        let code = |store| format!(r#"(func (param i32 i64) (local f32) (nop) {store} (drop (i32.const 8)))"#);
        let hint = replaced(&code("(call $store (local.get 0) (local.get 1) (i32.const 8))"));
        let store = wat::parse_str(format!(
            "(module {IMPORTS} {})",
            code("(i64.store offset=8 align=1 (local.get 0) (local.get 1))")
        ));
        assert_eq!(operators(&hint.wasm), operators(&store.unwrap()));
        assert_eq!((hint.scratch.of(0), hint.scratch.of(1), hint.scratch.count()), (&[3][..], &[][..], 1));
    }

    #[test]
    fn an_offset_that_is_no_constant_is_added_and_a_tail_call_returns() {
        let hint = replaced(
            "(func (call $store (i32.const 1) (i64.const 2) (i32.popcnt (i32.const 3))))
             (func (i32.const 1) (i64.const 2) (return_call $store (i32.const 8)))",
        );
        let found = operators(&hint.wasm);
        assert!(
            found[4].starts_with("LocalSet") && found[7] == "I32Add" && found[9].starts_with("I64Store"),
            "{found:?}"
        );
        assert_eq!((hint.scratch.of(0), hint.scratch.of(1)), (&[9][..], &[2][..]));
        assert_eq!(found[14], "Return");
    }

    #[test]
    fn each_place_leads_back_to_the_instruction_that_it_was() {
        let text = format!(
            "(module {IMPORTS} (func (param i32 i64) (nop) (nop) (call $store (local.get 0) (local.get 1) (i32.const 8)) (unreachable)))"
        );
        let wasm = wat::parse_str(text).unwrap();
        let replaced = replace(&wasm).unwrap().unwrap();
        let places = |wasm: &[u8], what: &str| {
            let sections = Sections::of(wasm, features()).unwrap();
            let reader = sections.bodies[0].code.get_operators_reader().unwrap();
            let found = reader.into_iter_with_offsets().map(Result::unwrap);
            found
                .filter(|(operator, _)| format!("{operator:?}").starts_with(what))
                .map(|(_, at)| at)
                .collect::<Vec<_>>()
        };
        let original = |at: usize| replaced.offsets.original(at as u32).map(|at| at as usize);
        for what in ["Nop", "LocalGet", "Unreachable", "End"] {
            let before = places(&replaced.wasm, what).into_iter().map(|at| original(at).unwrap()).collect::<Vec<_>>();
            assert_eq!(before, places(&wasm, what), "{what}");
        }
        assert_eq!(original(places(&replaced.wasm, "I64Store")[0]), Some(places(&wasm, "I32Const")[0]));
    }

    #[test]
    fn a_module_without_hints_is_left_alone_and_one_that_refers_to_a_hint_is_found() {
        assert!(replace(&wat::parse_str("(module (memory 1))").unwrap()).unwrap().is_none());
        let referred = |code: &str| {
            let wasm = wat::parse_str(format!("(module {IMPORTS} {code})")).unwrap();
            referred(&Sections::of(&wasm, features()).unwrap()).unwrap()
        };
        assert_eq!(referred("(func (call $store (i32.const 0) (i64.const 0) (i32.const 0)))"), None);
        assert_eq!(referred("(table 2 funcref) (elem (i32.const 0) func 0 $store)"), Some("store64"));
        assert_eq!(referred(r#"(export "nook_poll" (func $store))"#), Some("store64"));
    }
}
