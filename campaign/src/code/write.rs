//! Writing the module with its mistakes.

use std::convert::Infallible;

use wasm_encoder::reencode::{self, Reencode, RoundtripReencoder};
use wasm_encoder::{
    BlockType, CodeSection, ConstExpr, EntityType, Function, GlobalSection, GlobalType, ImportSection, Instruction,
    SectionId, TypeSection, ValType,
};
use wasmparser::{CustomSectionReader, FuncType, FunctionBody, Parser};

use super::mutation::{Callees, Shifted, val_type};
use super::{Chosen, Module, PlantError};
use crate::world::{HIT, MODULE, SELECT};

type Result<T> = std::result::Result<T, reencode::Error<Infallible>>;

struct Writer<'m, 'a> {
    module: &'m Module<'a>,
    callees: Callees<'m>,
    /// For each function: the mistakes in it, by the number of the instruction.
    functions: Vec<Vec<(u32, Chosen)>>,
    entries: Vec<u32>,
    /// Types that blocks of mistakes have, and that are added to the module's.
    types: Vec<FuncType>,
    /// The function that is written next.
    next: usize,
    has_globals: bool,
}

/// Writes the module again, with these mistakes.
pub(super) fn write(
    module: &Module<'_>,
    functions: Vec<Vec<(u32, Chosen)>>,
) -> std::result::Result<Vec<u8>, PlantError> {
    let mut types = Vec::new();
    for (_, chosen) in functions.iter().flatten() {
        if !types.contains(&chosen.mutation.ty) {
            types.push(chosen.mutation.ty.clone());
        }
    }
    let (callees, entries) = (module.callees(), module.entries());
    let has_globals = !module.globals.is_empty();
    let mut writer = Writer { module, callees, functions, entries, types, next: 0, has_globals };
    let mut written = wasm_encoder::Module::new();
    writer.parse_core_module(&mut written, Parser::new(0), module.wasm).map_err(PlantError::new)?;
    Ok(written.finish())
}

impl Writer<'_, '_> {
    fn imported(&self) -> u32 {
        self.callees.imports.len() as u32
    }

    /// The global in which it is kept which mistake is made in the call that runs.
    fn selected(&self) -> u32 {
        self.module.globals.len() as u32
    }

    /// The types of `select` and `hit`, behind the module's.
    fn own_types(&self) -> (u32, u32) {
        let first = self.module.types.len() as u32;
        (first, first + 1)
    }

    fn block_type_of(&self, ty: &FuncType) -> BlockType {
        let at = self.types.iter().position(|other| other == ty).unwrap_or_default() as u32;
        BlockType::FunctionType(self.own_types().1 + 1 + at)
    }

    fn add_global(&self, section: &mut GlobalSection) {
        let ty = GlobalType { val_type: ValType::I32, mutable: true, shared: false };
        section.global(ty, &ConstExpr::i32_const(0));
    }

    /// Begins what runs if this mistake is selected.
    fn begin(&self, function: &mut Function, chosen: &Chosen) {
        function.instruction(&Instruction::GlobalGet(self.selected()));
        function.instruction(&Instruction::I32Const(chosen.slot as i32));
        function.instruction(&Instruction::I32Eq);
        function.instruction(&Instruction::If(self.block_type_of(&chosen.mutation.ty)));
        function.instruction(&Instruction::Call(self.imported() + 1));
        for instruction in &chosen.mutation.code {
            function.instruction(instruction);
        }
        function.instruction(&Instruction::Else);
    }
}

impl Reencode for Writer<'_, '_> {
    type Error = Infallible;

    fn function_index(&mut self, function: u32) -> Result<u32> {
        Ok(self.callees.shifted(function))
    }

    fn parse_type_section(
        &mut self,
        section: &mut TypeSection,
        types: wasmparser::TypeSectionReader<'_>,
    ) -> Result<()> {
        reencode::utils::parse_type_section(self, section, types)?;
        section.ty().function([], [ValType::I32]);
        section.ty().function([], []);
        for ty in &self.types {
            let all = |types: &[wasmparser::ValType]| types.iter().filter_map(|ty| val_type(*ty)).collect::<Vec<_>>();
            section.ty().function(all(ty.params()), all(ty.results()));
        }
        Ok(())
    }

    fn parse_import_section(
        &mut self,
        section: &mut ImportSection,
        imports: wasmparser::ImportSectionReader<'_>,
    ) -> Result<()> {
        reencode::utils::parse_import_section(self, section, imports)?;
        let (select, hit) = self.own_types();
        section.import(MODULE, SELECT, EntityType::Function(select));
        section.import(MODULE, HIT, EntityType::Function(hit));
        Ok(())
    }

    fn parse_global_section(
        &mut self,
        section: &mut GlobalSection,
        globals: wasmparser::GlobalSectionReader<'_>,
    ) -> Result<()> {
        reencode::utils::parse_global_section(self, section, globals)?;
        self.add_global(section);
        Ok(())
    }

    fn intersperse_section_hook(
        &mut self,
        module: &mut wasm_encoder::Module,
        _: Option<SectionId>,
        before: Option<SectionId>,
    ) -> Result<()> {
        let behind_globals = matches!(
            before,
            None | Some(
                SectionId::Export | SectionId::Start | SectionId::Element | SectionId::DataCount | SectionId::Code
            )
        );
        if !self.has_globals && behind_globals {
            self.has_globals = true;
            let mut section = GlobalSection::new();
            self.add_global(&mut section);
            module.section(&section);
        }
        Ok(())
    }

    /// Leaves debug information out: it says nothing of the new code.
    fn parse_custom_section(
        &mut self,
        module: &mut wasm_encoder::Module,
        section: CustomSectionReader<'_>,
    ) -> Result<()> {
        if section.name().starts_with(".debug") {
            return Ok(());
        }
        reencode::utils::parse_custom_section(self, module, section)
    }

    fn parse_function_body(&mut self, code: &mut CodeSection, body: FunctionBody<'_>) -> Result<()> {
        let number = self.next;
        self.next += 1;
        let mut function = RoundtripReencoder.new_function_with_parsed_locals(&body)?;
        if self.entries.contains(&(number as u32)) {
            function.instruction(&Instruction::Call(self.imported()));
            function.instruction(&Instruction::GlobalSet(self.selected()));
        }
        let mistakes = std::mem::take(&mut self.functions[number]);
        for (at, operator) in body.get_operators_reader()?.into_iter().enumerate() {
            let here = || mistakes.iter().filter(|(number, _)| *number == at as u32).map(|(_, chosen)| chosen);
            for chosen in here().filter(|chosen| chosen.mutation.before) {
                self.begin(&mut function, chosen);
                function.instruction(&Instruction::End);
            }
            let instead: Vec<_> = here().filter(|chosen| !chosen.mutation.before).collect();
            instead.iter().for_each(|chosen| self.begin(&mut function, chosen));
            function.instruction(&Shifted(&self.callees).instruction(operator?)?);
            for _ in instead {
                function.instruction(&Instruction::End);
            }
        }
        code.function(&function);
        Ok(())
    }
}
