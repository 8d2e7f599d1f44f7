//! A driver in C with planted bugs: its own functions trap at frames of one length.

use std::collections::BTreeMap;

use wasm_encoder::reencode::{Error, Reencode, RoundtripReencoder, utils};
use wasm_encoder::{BlockType, CodeSection, Function, FunctionSection, MemArg, Module, ValType};
use wasmparser::{KnownCustom, Name, Parser, Payload, TypeRef};

/// Bytes from the start of DPDK's `struct rte_mbuf` to `pkt_len`: its first two fields are as wide on every machine.
const LEN_BYTES: u64 = 36;

/// Which of its arguments or results a function looks at.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Looks {
    /// The mbufs that it is given.
    Before,
    /// Those that it returns.
    After,
}

struct Poisoner {
    len: i32,
    imported: u32,
    /// How many functions there are, with the imported ones.
    functions: u32,
    /// By index: the function's type and when it looks.
    targets: BTreeMap<u32, (u32, Looks)>,
}

/// `driver`, which has names, with bugs in two functions that take a queue, an array of mbufs and its length, and
/// return how many of them: `sends` traps when it is given a frame of `len` bytes, `receives` when it has received one.
///
/// # Panics
/// If it is no driver with such functions.
pub fn poisoned(driver: &[u8], sends: &str, receives: &str, len: i32) -> Vec<u8> {
    let mut poisoner = Poisoner { len, imported: 0, functions: 0, targets: BTreeMap::new() };
    poisoner.survey(driver, &[(sends, Looks::Before), (receives, Looks::After)]);
    assert_eq!(poisoner.targets.len(), 2, "{sends} and {receives} are functions of the driver");
    let mut module = Module::new();
    poisoner.parse_core_module(&mut module, Parser::new(0), driver).expect("a driver is a module");
    module.finish()
}

impl Poisoner {
    fn survey(&mut self, driver: &[u8], wanted: &[(&str, Looks)]) {
        let (mut types, mut names) = (Vec::new(), BTreeMap::new());
        for payload in Parser::new(0).parse_all(driver) {
            match payload.expect("a driver is a module") {
                Payload::ImportSection(imports) => {
                    let functions = imports.into_imports().map(|import| import.expect("an import").ty);
                    self.imported = functions.filter(|ty| matches!(ty, TypeRef::Func(_))).count() as u32;
                }
                Payload::FunctionSection(section) => types.extend(section.into_iter().map(|ty| ty.expect("a type"))),
                Payload::CustomSection(section) => {
                    let KnownCustom::Name(parts) = section.as_known() else { continue };
                    for part in parts.into_iter().flatten() {
                        let Name::Function(functions) = part else { continue };
                        names.extend(functions.into_iter().flatten().map(|naming| (naming.name, naming.index)));
                    }
                }
                _ => {}
            }
        }
        self.functions = self.imported + types.len() as u32;
        for (name, looks) in wanted {
            let index = *names.get(name).unwrap_or_else(|| panic!("the driver has no function `{name}`"));
            self.targets.insert(index, (types[(index - self.imported) as usize], *looks));
        }
    }

    /// Returns what stands in a function's place and calls it under its new index.
    fn planted(&self, original: u32, looks: Looks) -> Function {
        const MBUFS: u32 = 1;
        const COUNT: u32 = 2;
        const AT: u32 = 3;
        const RESULT: u32 = 4;
        const WORD: MemArg = MemArg { offset: 0, align: 2, memory_index: 0 };
        let mut function = Function::new([(2, ValType::I32)]);
        let mut code = function.instructions();
        let limit = if looks == Looks::After { RESULT } else { COUNT };
        if looks == Looks::After {
            code.local_get(0).local_get(MBUFS).local_get(COUNT).call(original).local_set(RESULT);
        }
        code.block(BlockType::Empty).loop_(BlockType::Empty);
        code.local_get(AT).local_get(limit).i32_ge_u().br_if(1);
        code.local_get(MBUFS).local_get(AT).i32_const(4).i32_mul().i32_add().i32_load(WORD);
        code.i32_load(MemArg { offset: LEN_BYTES, ..WORD }).i32_const(self.len).i32_eq();
        code.if_(BlockType::Empty).unreachable().end();
        code.local_get(AT).i32_const(1).i32_add().local_set(AT).br(0).end().end();
        if looks == Looks::Before {
            code.local_get(0).local_get(MBUFS).local_get(COUNT).call(original).local_set(RESULT);
        }
        code.local_get(RESULT).end();
        function
    }
}

impl Reencode for Poisoner {
    type Error = std::convert::Infallible;

    fn parse_function_section(
        &mut self,
        functions: &mut FunctionSection,
        section: wasmparser::FunctionSectionReader<'_>,
    ) -> Result<(), Error<Self::Error>> {
        utils::parse_function_section(&mut RoundtripReencoder, functions, section)?;
        self.targets.values().for_each(|(ty, _)| {
            functions.function(*ty);
        });
        Ok(())
    }

    fn parse_code_section(
        &mut self,
        code: &mut CodeSection,
        section: wasmparser::CodeSectionReader<'_>,
    ) -> Result<(), Error<Self::Error>> {
        let mut originals = Vec::new();
        for (number, body) in section.into_iter().enumerate() {
            let body = body?;
            match self.targets.get(&(self.imported + number as u32)) {
                Some((_, looks)) => {
                    code.function(&self.planted(self.functions + originals.len() as u32, *looks));
                    originals.push(body);
                }
                None => utils::parse_function_body(&mut RoundtripReencoder, code, body)?,
            }
        }
        originals.into_iter().try_for_each(|body| utils::parse_function_body(&mut RoundtripReencoder, code, body))
    }
}
