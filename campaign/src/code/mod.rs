//! Mistakes in a driver's code: where they can be made ([`Sites`]), and a module with many of them behind one switch
//! ([`Sites::plant`]).
//!
//! The module is the driver's, before anything of the host's is added to it, so that undo log, deadline checks and
//! their checkers see the mistake as they would see the author's. It imports two functions of
//! [`FaultWorld`](crate::FaultWorld): `select`, which each entry asks first which mistake is to be made in this call
//! (0 is none), and `hit`, which is called each time that it is made. Each mistake stands beside what it changes:
//! `if selected == k { hit(); the mistake } else { the author's code }`. So hundreds of them share one compilation.

mod arithmetic;
mod class;
mod mutation;
mod write;

use nook_abi::ENTRY_PREFIX;
use nook_seed::Rng;
use wasmparser::{
    Export, ExternalKind, FuncToValidate, FuncType, FunctionBody, Global, Import, Operator, Parser, Payload, TypeRef,
    ValidPayload, Validator, ValidatorResources, WasmFeatures,
};

pub use class::CodeClass;
use mutation::{Callees, Mutation, Place, mutation};

/// Functions that a module with mistakes imports besides.
const ADDED_IMPORTS: u32 = 2;

/// A module in which no mistake can be planted.
#[derive(Debug, thiserror::Error)]
#[error("no mistake can be planted in this module: {0}")]
pub struct PlantError(String);

impl PlantError {
    pub(crate) fn new(error: impl std::fmt::Display) -> Self {
        PlantError(error.to_string())
    }
}

/// One mistake, in the module that it was planted in.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Planted {
    /// Its kind.
    pub class: CodeClass,
    /// The function's number among the module's own.
    pub function: u32,
    /// The instruction's offset in the driver's file, in bytes.
    pub offset: usize,
    /// What was changed, in words.
    pub what: String,
}

/// Where mistakes can be made in a module.
pub struct Sites<'a> {
    module: Module<'a>,
    /// For each class in the order of [`CodeClass::ALL`]: function and instruction, each by number.
    places: Vec<Vec<(u32, u32)>>,
}

/// What is in a module, as far as it matters here.
struct Module<'a> {
    wasm: &'a [u8],
    types: Vec<FuncType>,
    imports: Vec<Import<'a>>,
    /// The type of each function, imported ones first.
    functions: Vec<u32>,
    globals: Vec<Global<'a>>,
    exports: Vec<Export<'a>>,
    bodies: Vec<FunctionBody<'a>>,
    validators: Vec<FuncToValidate<ValidatorResources>>,
}

impl<'a> Module<'a> {
    fn read(wasm: &'a [u8]) -> Result<Self, wasmparser::BinaryReaderError> {
        let mut validator = Validator::new_with_features(WasmFeatures::default());
        let mut module = Module {
            wasm,
            types: Vec::new(),
            imports: Vec::new(),
            functions: Vec::new(),
            globals: Vec::new(),
            exports: Vec::new(),
            bodies: Vec::new(),
            validators: Vec::new(),
        };
        for payload in Parser::new(0).parse_all(wasm) {
            let payload = payload?;
            if let ValidPayload::Func(validator, body) = validator.payload(&payload)? {
                module.bodies.push(body);
                module.validators.push(validator);
            }
            match payload {
                Payload::TypeSection(types) => {
                    module.types = types.into_iter_err_on_gc_types().collect::<Result<_, _>>()?;
                }
                Payload::ImportSection(imports) => {
                    module.imports = imports.into_imports().collect::<Result<_, _>>()?;
                    module.functions.extend(module.imports.iter().filter_map(|import| match import.ty {
                        TypeRef::Func(ty) | TypeRef::FuncExact(ty) => Some(ty),
                        _ => None,
                    }));
                }
                Payload::FunctionSection(functions) => {
                    for function in functions {
                        module.functions.push(function?);
                    }
                }
                Payload::GlobalSection(globals) => module.globals = globals.into_iter().collect::<Result<_, _>>()?,
                Payload::ExportSection(exports) => module.exports = exports.into_iter().collect::<Result<_, _>>()?,
                _ => {}
            }
        }
        Ok(module)
    }

    fn callees(&self) -> Callees<'_> {
        Callees::of(&self.imports, &self.types, &self.functions)
    }

    /// Returns the numbers of the module's own functions that are entries.
    fn entries(&self) -> Vec<u32> {
        let imported = (self.functions.len() - self.bodies.len()) as u32;
        let is_entry =
            |export: &&Export<'_>| export.kind == ExternalKind::Func && export.name.starts_with(ENTRY_PREFIX);
        self.exports.iter().filter(is_entry).filter_map(|export| export.index.checked_sub(imported)).collect()
    }

    /// Goes through the instructions of one function.
    fn walk(
        &self,
        function: u32,
        mut look: impl FnMut(u32, usize, &Place<'_, 'a>),
    ) -> Result<(), wasmparser::BinaryReaderError> {
        let (body, to_validate) = (&self.bodies[function as usize], &self.validators[function as usize]);
        let callees = self.callees();
        let again = FuncToValidate {
            resources: to_validate.resources.clone(),
            index: to_validate.index,
            ty: to_validate.ty,
            features: to_validate.features,
        };
        let mut validator = again.into_validator(Default::default());
        validator.read_locals(&mut body.get_binary_reader())?;
        let operators: Vec<(Operator<'a>, usize)> =
            body.get_operators_reader()?.into_iter_with_offsets().collect::<Result<_, _>>()?;
        for (number, (operator, offset)) in operators.iter().enumerate() {
            let at = |number: usize| operators.get(number).map(|(operator, _)| operator);
            let place = Place {
                operator,
                previous: number.checked_sub(1).and_then(at),
                next: at(number + 1),
                validator: &validator,
                callees: &callees,
            };
            look(number as u32, *offset, &place);
            validator.op(*offset, operator)?;
        }
        Ok(())
    }
}

/// A mistake that was chosen, and the number that selects it.
struct Chosen {
    slot: u32,
    mutation: Mutation,
}

impl<'a> Sites<'a> {
    /// Looks for them in a driver's file.
    ///
    /// # Errors
    /// If it is not a valid module.
    pub fn of(wasm: &'a [u8]) -> Result<Self, PlantError> {
        let module = Module::read(wasm).map_err(PlantError::new)?;
        let mut places = vec![Vec::new(); CodeClass::ALL.len()];
        for function in 0..module.bodies.len() as u32 {
            let walked = module.walk(function, |number, _, place| {
                for (class, places) in CodeClass::ALL.iter().zip(&mut places) {
                    if mutation(*class, place, &mut Rng::new(0)).is_some() {
                        places.push((function, number));
                    }
                }
            });
            walked.map_err(PlantError::new)?;
        }
        Ok(Sites { module, places })
    }

    /// Returns in how many places mistakes of this kind can be made.
    pub fn count(&self, class: CodeClass) -> usize {
        CodeClass::ALL.iter().position(|other| *other == class).map_or(0, |at| self.places[at].len())
    }

    /// Returns the module with as many mistakes as there are seeds, and what they are: the first is selected by 1. Each
    /// depends on its own seed only. Its kind is drawn first, each as often as the others, and then its place.
    ///
    /// # Errors
    /// If there is no place for any mistake.
    pub fn plant(&self, seeds: &[u64]) -> Result<(Vec<u8>, Vec<Planted>), PlantError> {
        let classes: Vec<_> =
            CodeClass::ALL.iter().zip(&self.places).filter(|(_, places)| !places.is_empty()).collect();
        if classes.is_empty() {
            return Err(PlantError::new("it has no code"));
        }
        let drawn: Vec<_> = seeds
            .iter()
            .map(|&seed| {
                let mut rng = Rng::new(seed);
                let (class, places) = classes[rng.index(classes.len())];
                (*class, places[rng.index(places.len())], rng)
            })
            .collect();
        let mut planted: Vec<Option<Planted>> = vec![None; seeds.len()];
        let mut functions: Vec<Vec<(u32, Chosen)>> = (0..self.module.bodies.len()).map(|_| Vec::new()).collect();
        for function in 0..self.module.bodies.len() as u32 {
            if !drawn.iter().any(|(_, place, _)| place.0 == function) {
                continue;
            }
            let walked = self.module.walk(function, |number, offset, place| {
                for (slot, (class, at, rng)) in drawn.iter().enumerate() {
                    if *at != (function, number) {
                        continue;
                    }
                    let Some(mutation) = mutation(*class, place, &mut rng.clone()) else { continue };
                    planted[slot] = Some(Planted { class: *class, function, offset, what: mutation.what.clone() });
                    functions[function as usize].push((number, Chosen { slot: slot as u32 + 1, mutation }));
                }
            });
            walked.map_err(PlantError::new)?;
        }
        let planted: Option<Vec<_>> = planted.into_iter().collect();
        let planted = planted.ok_or_else(|| PlantError::new("a mistake could not be made again where it was found"))?;
        Ok((write::write(&self.module, functions)?, planted))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const DRIVER: &str = r#"(module
        (import "nook" "mmio_write32" (func $write (param i32 i32 i32)))
        (memory (export "memory") 1)
        (global $stack (mut i32) (i32.const 4096))
        (func $fill (param $at i32) (param $count i32) (local $i i32)
            (local.set $i (i32.const 0))
            (loop $again
                (i32.store (i32.add (local.get $at) (local.get $i)) (i32.const 7))
                (local.set $i (i32.add (local.get $i) (i32.const 4)))
                (br_if $again (i32.lt_u (local.get $i) (local.get $count)))))
        (func (export "nook_poll") (param i32 i32 i32) (result i32)
            (global.set $stack (i32.sub (global.get $stack) (i32.const 32)))
            (call $fill (i32.const 64) (local.get 1))
            (memory.fill (i32.const 0) (i32.const 1) (local.get 2))
            (call $write (i32.const 0) (i32.const 8) (local.get 1))
            (global.set $stack (i32.add (global.get $stack) (i32.const 32)))
            (i32.const 0)))"#;

    fn module() -> Vec<u8> {
        wat::parse_str(DRIVER).unwrap()
    }

    #[test]
    fn a_module_with_hundreds_of_mistakes_is_valid_and_asks_which_one_is_to_be_made() {
        let wasm = module();
        let seeds: Vec<u64> = (0..300).collect();
        let (planted_wasm, planted) = Sites::of(&wasm).unwrap().plant(&seeds).unwrap();
        let module = Module::read(&planted_wasm).unwrap();
        let imports: Vec<_> = module.imports.iter().map(|import| (import.module, import.name)).collect();
        assert_eq!(imports[1..], [("nook_fault", "select"), ("nook_fault", "hit")]);
        assert_eq!((module.globals.len(), planted.len()), (2, seeds.len()));
        let mut seen: Vec<_> = planted.iter().map(|planted| planted.class).collect();
        seen.sort_unstable();
        seen.dedup();
        let lacking: Vec<_> = CodeClass::ALL.iter().filter(|class| !seen.contains(class)).collect();
        assert_eq!(lacking, [&CodeClass::DoubleReturn, &CodeClass::Barrier], "it has nothing atomic");
    }

    #[test]
    fn a_mistake_depends_on_its_own_seed_only() {
        let wasm = module();
        let sites = Sites::of(&wasm).unwrap();
        let (_, together) = sites.plant(&[5, 6, 7]).unwrap();
        let (_, alone) = sites.plant(&[6]).unwrap();
        assert_eq!(together[1], alone[0]);
        assert_ne!(together[0], together[1]);
    }

    #[test]
    fn what_is_no_module_is_refused() {
        assert!(Sites::of(b"no module").is_err());
        assert!(Sites::of(b"\0asm\x01\0\0\0").unwrap().plant(&[1]).is_err());
    }
}
