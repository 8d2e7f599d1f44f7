//! What cuts a call off before any instruction.

use wasm_encoder::reencode::{self, Reencode};
use wasm_encoder::{BlockType, ConstExpr, ExportKind, GlobalType, Instruction, ValType};

use crate::FUNCTIONS;

/// Puts a countdown before each instruction of the driver's functions and of the range logger; at zero the call traps.
struct Fuse {
    global: u32,
    bodies: u64,
}

impl Reencode for Fuse {
    type Error = std::convert::Infallible;

    fn parse_global_section(
        &mut self,
        globals: &mut wasm_encoder::GlobalSection,
        section: wasmparser::GlobalSectionReader<'_>,
    ) -> Result<(), reencode::Error> {
        self.global = section.count();
        reencode::utils::parse_global_section(self, globals, section)?;
        let ty = GlobalType { val_type: ValType::I32, mutable: true, shared: false };
        globals.global(ty, &ConstExpr::i32_const(0));
        Ok(())
    }

    fn parse_export_section(
        &mut self,
        exports: &mut wasm_encoder::ExportSection,
        section: wasmparser::ExportSectionReader<'_>,
    ) -> Result<(), reencode::Error> {
        reencode::utils::parse_export_section(self, exports, section)?;
        exports.export("fuse", ExportKind::Global, self.global);
        Ok(())
    }

    fn parse_function_body(
        &mut self,
        code: &mut wasm_encoder::CodeSection,
        body: wasmparser::FunctionBody<'_>,
    ) -> Result<(), reencode::Error> {
        // The driver's functions, its entry and the range logger; not the wrapper, which begins and ends the call.
        let watched = self.bodies < FUNCTIONS + 2;
        self.bodies += 1;
        let mut function = self.new_function_with_parsed_locals(&body)?;
        for operator in body.get_operators_reader()? {
            if watched {
                for instruction in [
                    Instruction::GlobalGet(self.global),
                    Instruction::I32Const(1),
                    Instruction::I32Sub,
                    Instruction::GlobalSet(self.global),
                    Instruction::GlobalGet(self.global),
                    Instruction::I32Eqz,
                    Instruction::If(BlockType::Empty),
                    Instruction::Unreachable,
                    Instruction::End,
                ] {
                    function.instruction(&instruction);
                }
            }
            function.instruction(&self.instruction(operator?)?);
        }
        code.function(&function);
        Ok(())
    }
}

/// The module with a countdown, in a global that it exports as `fuse`.
pub fn with_fuse(wasm: &[u8]) -> Vec<u8> {
    let mut module = wasm_encoder::Module::new();
    Fuse { global: 0, bodies: 0 }.parse_core_module(&mut module, wasmparser::Parser::new(0), wasm).unwrap();
    module.finish()
}
