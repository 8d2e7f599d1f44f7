//! The one walk over a module's sections: [`Sections`] is what they hold, and [`rewrite`] writes them again, each with
//! what a [`Rewriting`] adds behind it, so that no index changes.

use std::convert::Infallible;

use wasm_encoder::reencode::{self, Reencode, RoundtripReencoder};
use wasm_encoder::{
    CodeSection, ElementSection, ExportSection, FunctionSection, GlobalSection, MemorySection, RawSection,
    TableSection, TypeSection,
};
use wasmparser::{
    BinaryReaderError, CustomSectionReader, Data, Element, Export, ExternalKind, FuncToValidate, FuncType,
    FunctionBody, Global, Import, MemoryType, Parser, Payload, Table, TypeRef, ValidPayload, Validator,
    ValidatorResources, WasmFeatures,
};

use crate::Invalid;

/// What goes wrong when a module is written again.
pub(crate) type Error = reencode::Error<Infallible>;

impl From<Error> for Invalid {
    fn from(error: Error) -> Self {
        Invalid(error.to_string())
    }
}

/// One function's body.
pub struct Body<'a> {
    /// What validates it.
    pub validator: FuncToValidate<ValidatorResources>,
    /// Its locals and code.
    pub code: FunctionBody<'a>,
}

/// What is in a module. It is valid, but for the bodies, which each reader validates as it reads them.
#[derive(Default)]
pub struct Sections<'a> {
    /// The module.
    pub wasm: &'a [u8],
    /// Types of functions.
    pub types: Vec<FuncType>,
    /// Imports of every kind.
    pub imports: Vec<Import<'a>>,
    /// The type of each function, imported ones first.
    pub functions: Vec<u32>,
    /// Tables that are not imported.
    pub tables: Vec<Table<'a>>,
    /// Memories that are not imported.
    pub memories: Vec<MemoryType>,
    /// Globals that are not imported.
    pub globals: Vec<Global<'a>>,
    /// Exports of every kind.
    pub exports: Vec<Export<'a>>,
    /// The start function.
    pub start: Option<u32>,
    /// Segments of elements.
    pub elements: Vec<Element<'a>>,
    /// Functions that are not imported.
    pub bodies: Vec<Body<'a>>,
    /// Segments of data.
    pub data: Vec<Data<'a>>,
    /// Custom sections.
    pub customs: Vec<CustomSectionReader<'a>>,
}

impl<'a> Sections<'a> {
    /// Reads a module.
    ///
    /// # Errors
    /// If it cannot be read, or is not valid with these features. Bodies are not looked at.
    pub fn of(wasm: &'a [u8], features: WasmFeatures) -> Result<Self, Invalid> {
        Self::read(wasm, features).map_err(|error| Invalid(error.to_string()))
    }

    fn read(wasm: &'a [u8], features: WasmFeatures) -> Result<Self, BinaryReaderError> {
        let mut validator = Validator::new_with_features(features);
        let mut sections = Sections { wasm, ..Sections::default() };
        for payload in Parser::new(0).parse_all(wasm) {
            let payload = payload?;
            if let ValidPayload::Func(validator, code) = validator.payload(&payload)? {
                sections.bodies.push(Body { validator, code });
            }
            sections.take(payload)?;
        }
        Ok(sections)
    }

    fn take(&mut self, payload: Payload<'a>) -> Result<(), BinaryReaderError> {
        match payload {
            Payload::TypeSection(types) => {
                self.types = types.into_iter_err_on_gc_types().collect::<Result<_, _>>()?;
            }
            Payload::ImportSection(imports) => {
                self.imports = imports.into_imports().collect::<Result<_, _>>()?;
                let functions = self.imports.iter().filter_map(|import| match import.ty {
                    TypeRef::Func(ty) | TypeRef::FuncExact(ty) => Some(ty),
                    _ => None,
                });
                self.functions.extend(functions);
            }
            Payload::FunctionSection(functions) => {
                for function in functions {
                    self.functions.push(function?);
                }
            }
            Payload::TableSection(tables) => self.tables = tables.into_iter().collect::<Result<_, _>>()?,
            Payload::MemorySection(memories) => self.memories = memories.into_iter().collect::<Result<_, _>>()?,
            Payload::GlobalSection(globals) => self.globals = globals.into_iter().collect::<Result<_, _>>()?,
            Payload::ExportSection(exports) => self.exports = exports.into_iter().collect::<Result<_, _>>()?,
            Payload::StartSection { func, .. } => self.start = Some(func),
            Payload::ElementSection(elements) => self.elements = elements.into_iter().collect::<Result<_, _>>()?,
            Payload::DataSection(data) => self.data = data.into_iter().collect::<Result<_, _>>()?,
            Payload::CustomSection(custom) => self.customs.push(custom),
            _ => {}
        }
        Ok(())
    }

    /// Returns how many imports are of this kind: those come first in its index space.
    pub(crate) fn imported(&self, kind: ExternalKind) -> u32 {
        let is = |import: &&Import<'_>| match import.ty {
            TypeRef::Func(_) | TypeRef::FuncExact(_) => kind == ExternalKind::Func,
            TypeRef::Table(_) => kind == ExternalKind::Table,
            TypeRef::Memory(_) => kind == ExternalKind::Memory,
            TypeRef::Global(_) => kind == ExternalKind::Global,
            TypeRef::Tag(_) => kind == ExternalKind::Tag,
        };
        self.imports.iter().filter(is).count() as u32
    }

    /// Returns the type of a function.
    pub(crate) fn function_type(&self, function: u32) -> &FuncType {
        &self.types[self.functions[function as usize] as usize]
    }

    /// Returns the length of all code.
    pub(crate) fn code_bytes(&self) -> usize {
        let (first, last) = (self.bodies.first(), self.bodies.last());
        first.zip(last).map_or(0, |(first, last)| last.code.range().end - first.code.range().start)
    }
}

/// What becomes of a module's sections; each method gets a section with all that the module has in it.
#[expect(unused_variables, reason = "a section to which nothing is added stays as it is")]
pub(crate) trait Rewriting {
    fn types(&self, section: &mut TypeSection) {}

    fn functions(&self, section: &mut FunctionSection) {}

    fn tables(&self, section: &mut TableSection) -> Result<(), Error> {
        Ok(())
    }

    /// Returns a memory of the module's.
    fn memory(&self, memory: MemoryType) -> MemoryType {
        memory
    }

    fn memories(&self, section: &mut MemorySection) {}

    fn globals(&self, section: &mut GlobalSection) {}

    /// Returns what to export in the place of the module's export with this number.
    fn export<'e>(&self, number: usize, export: Export<'e>) -> Export<'e> {
        export
    }

    fn exports(&self, section: &mut ExportSection) {}

    fn elements(&self, section: &mut ElementSection) -> Result<(), Error> {
        Ok(())
    }

    /// Returns all code, if it is not the module's.
    fn code(&self) -> Option<&CodeSection> {
        None
    }

    /// Writes a custom section; by default, it is left out.
    fn custom(&self, custom: &CustomSectionReader<'_>, module: &mut wasm_encoder::Module, wasm: &[u8]) {
        module.section(&RawSection { id: 0, data: &wasm[custom.range()] });
    }
}

/// The places of sections that a module may lack, in the order of sections.
const TABLES: u8 = 3;
const GLOBALS: u8 = 6;

/// Returns a section's place in the order of sections, if it has one.
fn place(payload: &Payload<'_>) -> Option<u8> {
    Some(match payload {
        Payload::TypeSection(_) => 0,
        Payload::ImportSection(_) => 1,
        Payload::FunctionSection(_) => 2,
        Payload::TableSection(_) => TABLES,
        Payload::MemorySection(_) => 4,
        Payload::TagSection(_) => 5,
        Payload::GlobalSection(_) => GLOBALS,
        Payload::ExportSection(_)
        | Payload::StartSection { .. }
        | Payload::ElementSection(_)
        | Payload::DataCountSection { .. }
        | Payload::CodeSectionStart { .. }
        | Payload::DataSection(_)
        | Payload::End(_) => 7,
        _ => return None,
    })
}

/// Writes a valid module again.
pub(crate) fn rewrite(sections: &Sections<'_>, rewriting: &impl Rewriting) -> Result<Vec<u8>, Error> {
    let same = &mut RoundtripReencoder;
    let mut module = wasm_encoder::Module::new();
    let mut written = 0;
    for payload in Parser::new(0).parse_all(sections.wasm) {
        let payload = payload?;
        if let Some(place) = place(&payload) {
            // What the module has none of may be added all the same.
            if (written..place).contains(&TABLES) {
                let mut section = TableSection::new();
                rewriting.tables(&mut section)?;
                if !section.is_empty() {
                    module.section(&section);
                }
            }
            if (written..place).contains(&GLOBALS) {
                let mut section = GlobalSection::new();
                rewriting.globals(&mut section);
                if !section.is_empty() {
                    module.section(&section);
                }
            }
            written = written.max(place + 1);
        }
        match payload {
            Payload::TypeSection(types) => {
                let mut section = TypeSection::new();
                same.parse_type_section(&mut section, types)?;
                rewriting.types(&mut section);
                module.section(&section);
            }
            Payload::FunctionSection(functions) => {
                let mut section = FunctionSection::new();
                same.parse_function_section(&mut section, functions)?;
                rewriting.functions(&mut section);
                module.section(&section);
            }
            Payload::TableSection(tables) => {
                let mut section = TableSection::new();
                same.parse_table_section(&mut section, tables)?;
                rewriting.tables(&mut section)?;
                module.section(&section);
            }
            Payload::MemorySection(memories) => {
                let mut section = MemorySection::new();
                for memory in memories {
                    section.memory(same.memory_type(rewriting.memory(memory?))?);
                }
                rewriting.memories(&mut section);
                module.section(&section);
            }
            Payload::GlobalSection(globals) => {
                let mut section = GlobalSection::new();
                same.parse_global_section(&mut section, globals)?;
                rewriting.globals(&mut section);
                module.section(&section);
            }
            Payload::ExportSection(exports) => {
                let mut section = ExportSection::new();
                for (number, export) in exports.into_iter().enumerate() {
                    same.parse_export(&mut section, rewriting.export(number, export?))?;
                }
                rewriting.exports(&mut section);
                module.section(&section);
            }
            Payload::ElementSection(elements) => {
                let mut section = ElementSection::new();
                same.parse_element_section(&mut section, elements)?;
                rewriting.elements(&mut section)?;
                module.section(&section);
            }
            Payload::CodeSectionStart { .. } if rewriting.code().is_some() => {
                rewriting.code().map(|code| module.section(code));
            }
            Payload::CustomSection(custom) => rewriting.custom(&custom, &mut module, sections.wasm),
            other => {
                if let Some((id, range)) = other.as_section() {
                    module.section(&RawSection { id, data: &sections.wasm[range] });
                }
            }
        }
    }
    Ok(module.finish())
}
