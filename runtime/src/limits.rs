//! Limits of a module's structure: a module within them is compiled in little time and memory, as far as its shape
//! decides that. They are far above what drivers have, those made from C among them, and are checked in one pass over
//! the module, before anything else is made of it. What a compiler makes of the worst module within them is not known:
//! that is why [compiling has limits too](crate::Compiler).

use wasmparser::{
    BinaryReaderError, FuncToValidate, FuncValidatorAllocations, FunctionBody, Operator, Parser, Payload, ValidPayload,
    Validator, ValidatorResources,
};

use crate::LoadError;

/// Types, functions, globals and segments, each.
const MAX_ITEMS: u32 = 16_384;
/// A function type's parameters.
const MAX_PARAMETERS: usize = 128;
/// A function type's results. Each branch passes as many.
const MAX_RESULTS: usize = 16;
/// A function's locals and code, in bytes.
const MAX_BODY_BYTES: usize = 256 << 10;
/// A function's local variables, parameters included.
const MAX_LOCALS: u32 = 8_192;
/// Blocks that one instruction is in. A `switch` has one for each case.
const MAX_NESTING: usize = 2_048;
/// Targets of one `br_table`.
const MAX_TARGETS: u32 = 4_096;
/// Targets of all that are in one function.
const MAX_TARGETS_OF_FUNCTION: u32 = 16_384;

/// The limits, for the document.
#[cfg(test)]
pub(crate) const MOST: &[(&str, usize)] = &[
    ("types, functions, globals, exports and segments, each", MAX_ITEMS as usize),
    ("a function's parameters", MAX_PARAMETERS),
    ("a function's results", MAX_RESULTS),
    ("bytes of a function's code", MAX_BODY_BYTES),
    ("a function's local variables", MAX_LOCALS as usize),
    ("blocks within one another", MAX_NESTING),
    ("targets of one `br_table`", MAX_TARGETS as usize),
    ("targets of all in a function", MAX_TARGETS_OF_FUNCTION as usize),
];

/// Checks that a module is valid, and within the limits.
pub(crate) fn check(wasm: &[u8]) -> Result<(), LoadError> {
    let mut validator = Validator::new_with_features(nook_instrument::features());
    let mut scratch = FuncValidatorAllocations::default();
    for payload in Parser::new(0).parse_all(wasm) {
        let payload = payload.map_err(invalid)?;
        section(&payload)?;
        if let ValidPayload::Func(function, body) = validator.payload(&payload).map_err(invalid)? {
            scratch = code(function, &body, scratch)?;
        }
    }
    Ok(())
}

fn invalid(error: BinaryReaderError) -> LoadError {
    LoadError::Invalid(error.to_string())
}

fn within(of: impl FnOnce() -> String, what: &'static str, found: usize, most: usize) -> Result<(), LoadError> {
    if found <= most {
        return Ok(());
    }
    Err(LoadError::BeyondLimit { of: of(), what, found, most })
}

fn section(payload: &Payload<'_>) -> Result<(), LoadError> {
    let (count, what) = match payload {
        Payload::TypeSection(types) => (types.count(), "types"),
        Payload::FunctionSection(functions) => (functions.count(), "functions"),
        Payload::GlobalSection(globals) => (globals.count(), "globals"),
        Payload::ExportSection(exports) => (exports.count(), "exports"),
        Payload::ElementSection(elements) => (elements.count(), "segments of elements"),
        Payload::DataSection(data) => (data.count(), "segments of data"),
        _ => return Ok(()),
    };
    within(|| "the module".to_owned(), what, count as usize, MAX_ITEMS as usize)?;
    let Payload::TypeSection(types) = payload else { return Ok(()) };
    for (number, ty) in types.clone().into_iter_err_on_gc_types().enumerate() {
        let ty = ty.map_err(invalid)?;
        let of = || format!("type {number}");
        within(of, "parameters", ty.params().len(), MAX_PARAMETERS)?;
        within(of, "results", ty.results().len(), MAX_RESULTS)?;
    }
    Ok(())
}

fn code(
    function: FuncToValidate<ValidatorResources>,
    body: &FunctionBody<'_>,
    scratch: FuncValidatorAllocations,
) -> Result<FuncValidatorAllocations, LoadError> {
    let index = function.index;
    let of = || format!("function {index}");
    within(of, "bytes of code", body.range().len(), MAX_BODY_BYTES)?;
    let mut validator = function.into_validator(scratch);
    let mut reader = body.get_binary_reader();
    validator.read_locals(&mut reader).map_err(invalid)?;
    within(of, "local variables", validator.len_locals() as usize, MAX_LOCALS as usize)?;
    let mut operators = wasmparser::OperatorsReader::new(reader);
    let mut targets_of_function = 0;
    while !operators.eof() {
        let (operator, offset) = operators.read_with_offset().map_err(invalid)?;
        if let Operator::BrTable { targets } = &operator {
            within(of, "targets of one `br_table`", targets.len() as usize, MAX_TARGETS as usize)?;
            targets_of_function += targets.len();
            let most = MAX_TARGETS_OF_FUNCTION as usize;
            within(of, "targets of all `br_table`", targets_of_function as usize, most)?;
        }
        validator.op(offset, &operator).map_err(invalid)?;
        within(of, "blocks within one another", validator.control_stack_height() as usize, MAX_NESTING)?;
    }
    operators.finish().map_err(invalid)?;
    Ok(validator.into_allocations())
}

#[cfg(test)]
mod tests {
    use wasm_encoder::{
        CodeSection, ConstExpr, DataSection, Function, FunctionSection, GlobalSection, GlobalType, MemorySection,
        MemoryType, Module, TypeSection, ValType,
    };

    use super::*;

    /// What is limited, the most of it, and a module with as many.
    type Case<'a> = (&'a str, usize, &'a dyn Fn(usize) -> Vec<u8>);

    /// Returns a module of functions without parameters.
    fn functions(bodies: &[Function]) -> Vec<u8> {
        let (mut types, mut functions, mut code) = (TypeSection::new(), FunctionSection::new(), CodeSection::new());
        types.ty().function([], []);
        for body in bodies {
            functions.function(0);
            code.function(body);
        }
        let mut module = Module::new();
        module.section(&types).section(&functions).section(&code);
        module.finish()
    }

    /// Returns a function that is what `write` writes.
    fn function(locals: u32, write: impl FnOnce(&mut wasm_encoder::InstructionSink<'_>)) -> Function {
        let mut body = Function::new([(locals, ValType::I32)]);
        write(&mut body.instructions());
        body.instructions().end();
        body
    }

    fn nested(blocks: usize) -> Function {
        function(0, |sink| {
            for _ in 0..blocks {
                sink.block(wasm_encoder::BlockType::Empty);
            }
            for _ in 0..blocks {
                sink.end();
            }
        })
    }

    fn tables(tables: u32, targets: u32) -> Function {
        function(0, |sink| {
            for _ in 0..tables {
                sink.block(wasm_encoder::BlockType::Empty).i32_const(0);
                sink.br_table(vec![0; targets as usize], 0).end();
            }
        })
    }

    fn types(of: &[(usize, usize)]) -> Vec<u8> {
        let mut types = TypeSection::new();
        for &(parameters, results) in of {
            types.ty().function(vec![ValType::I32; parameters], vec![ValType::I32; results]);
        }
        let mut module = Module::new();
        module.section(&types);
        module.finish()
    }

    fn globals(count: u32) -> Vec<u8> {
        let mut globals = GlobalSection::new();
        let ty = GlobalType { val_type: ValType::I32, mutable: true, shared: false };
        for _ in 0..count {
            globals.global(ty, &ConstExpr::i32_const(0));
        }
        let mut module = Module::new();
        module.section(&globals);
        module.finish()
    }

    fn segments(count: u32) -> Vec<u8> {
        let (mut memories, mut data) = (MemorySection::new(), DataSection::new());
        memories.memory(MemoryType { minimum: 1, maximum: None, memory64: false, shared: false, page_size_log2: None });
        for _ in 0..count {
            data.active(0, &ConstExpr::i32_const(0), []);
        }
        let mut module = Module::new();
        module.section(&memories).section(&data);
        module.finish()
    }

    #[test]
    fn a_module_at_a_limit_passes_and_one_beyond_it_is_refused_by_name() {
        let empty = || function(0, |_| ());
        let long = |bytes: usize| {
            function(0, |sink| {
                for _ in 0..bytes {
                    sink.nop();
                }
            })
        };
        let cases: &[Case<'_>] = &[
            ("types", MAX_ITEMS as usize, &|count| types(&vec![(0, 0); count])),
            ("parameters", MAX_PARAMETERS, &|count| types(&[(count, 0)])),
            ("results", MAX_RESULTS, &|count| types(&[(0, count)])),
            ("functions", MAX_ITEMS as usize, &|count| functions(&vec![empty(); count])),
            ("globals", MAX_ITEMS as usize, &|count| globals(count as u32)),
            ("segments of data", MAX_ITEMS as usize, &|count| segments(count as u32)),
            // The locals, of which there are none of one type, are three bytes, and the end is one.
            ("bytes of code", MAX_BODY_BYTES, &|count| functions(&[long(count - 4)])),
            ("local variables", MAX_LOCALS as usize, &|count| functions(&[function(count as u32, |_| ())])),
            // The function itself is one.
            ("blocks within one another", MAX_NESTING, &|count| functions(&[empty(), nested(count - 1)])),
            ("targets of one `br_table`", MAX_TARGETS as usize, &|count| functions(&[tables(1, count as u32)])),
            ("targets of all `br_table`", MAX_TARGETS_OF_FUNCTION as usize, &|count| {
                functions(&[tables(count as u32 / 8, 8)])
            }),
        ];
        for (what, most, module) in cases {
            assert!(check(&module(*most)).is_ok(), "{what}: {:?}", check(&module(*most)));
            let beyond = check(&module(*most + 8)).expect_err(what).to_string();
            assert!(beyond.contains(what) && beyond.contains(&most.to_string()), "{beyond}");
        }
    }

    #[test]
    fn what_is_not_valid_is_no_matter_of_limits() {
        let unbalanced = functions(&[function(0, |sink| {
            sink.i32_add();
        })]);
        assert!(matches!(check(&unbalanced), Err(LoadError::Invalid(_))));
        assert!(matches!(check(b"\0asm\x01\0\0\0\x01"), Err(LoadError::Invalid(_))));
    }
}
