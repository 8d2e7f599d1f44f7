//! How many stores a driver's calls make, and how many records its undo log then holds: counted, not timed.

use std::sync::Arc;

use nook_runtime::{
    DriverModule, Host, InstanceRollback, ModuleCache, OffsetMap, Prepared, Rollback, RollbackMethod, RolledBack,
    UndoLog, WasmLauncher,
};
use wasm_encoder::reencode::{Error, Reencode, utils};
use wasm_encoder::{
    CodeSection, ConstExpr, ExportKind, ExportSection, GlobalSection, GlobalType, Instruction, ValType,
};
use wasmparser::{ExportSectionReader, FunctionBody, GlobalSectionReader};
use wasmtime::{Func, Global, Instance, Store, Val};

use crate::levels::{Program, Shared};

/// What is counted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Count {
    /// Instructions that store, each time they run.
    Stores,
    /// Records in the undo log.
    Records,
}

/// Returns a launcher whose drivers' `roll_back` undoes nothing: it says in `entries` what the last call did.
pub(crate) fn launcher(program: Program, count: Count) -> Shared {
    let launcher = WasmLauncher::with_rollback(&program.module(), &ModuleCache::none(), Arc::new(count));
    Arc::new(launcher.expect("the driver compiles"))
}

/// The global in which stores are counted.
const EXPORT: &str = "bench_stores";

impl Rollback for Count {
    fn isolation(&self) -> &'static str {
        "counted"
    }

    fn prepare(&self, module: &DriverModule) -> Result<Prepared, String> {
        match self {
            Count::Records => RollbackMethod::Log.prepare(module),
            Count::Stores => {
                let wasm = counting(module.wasm()).map_err(|error| error.to_string())?;
                // Nobody asks where its traps come from.
                Ok(Prepared { wasm, offsets: OffsetMap::default(), wrappers_from: u32::MAX })
            }
        }
    }

    fn keeps_time(&self) -> bool {
        *self == Count::Records && RollbackMethod::Log.keeps_time()
    }

    fn attach(
        &self,
        store: &mut Store<Host>,
        instance: &Instance,
        ask: Func,
    ) -> wasmtime::Result<Box<dyn InstanceRollback>> {
        match self {
            Count::Records => {
                let kept = RollbackMethod::Log.attach(store, instance, ask)?;
                Ok(Box::new(Records { kept, log: UndoLog::of(store, instance)? }))
            }
            Count::Stores => {
                let global = instance.get_global(&mut *store, EXPORT);
                Ok(Box::new(Stores(global.ok_or_else(|| wasmtime::format_err!("the counter is missing"))?)))
            }
        }
    }
}

struct Records {
    kept: Box<dyn InstanceRollback>,
    log: UndoLog,
}

impl InstanceRollback for Records {
    fn roll_back(&mut self, store: &mut Store<Host>, _returned: bool) -> wasmtime::Result<RolledBack> {
        let found = self.log.entries(store).map_err(wasmtime::Error::new)?;
        Ok(RolledBack { entries: found.entries as u64, bytes: found.bytes as u64 })
    }

    fn globals(&mut self, store: &mut Store<Host>) -> Vec<Val> {
        self.kept.globals(store)
    }

    fn restore_globals(&mut self, store: &mut Store<Host>, globals: &[Val]) -> wasmtime::Result<()> {
        self.kept.restore_globals(store, globals)
    }

    fn time_cell(&self) -> Option<(wasmtime::Memory, u32)> {
        self.kept.time_cell()
    }
}

struct Stores(Global);

impl InstanceRollback for Stores {
    fn roll_back(&mut self, store: &mut Store<Host>, _returned: bool) -> wasmtime::Result<RolledBack> {
        let entries = self.0.get(&mut *store).i64().unwrap_or(0).cast_unsigned();
        self.0.set(&mut *store, Val::I64(0))?;
        Ok(RolledBack { entries, bytes: 0 })
    }

    fn globals(&mut self, _: &mut Store<Host>) -> Vec<Val> {
        Vec::new()
    }

    fn restore_globals(&mut self, _: &mut Store<Host>, _: &[Val]) -> wasmtime::Result<()> {
        wasmtime::bail!("stores that were counted cannot be rolled back")
    }
}

/// Returns the module with a counter in front of each instruction that stores.
fn counting(wasm: &[u8]) -> Result<Vec<u8>, Error> {
    let mut module = wasm_encoder::Module::new();
    Counting::default().parse_core_module(&mut module, wasmparser::Parser::new(0), wasm)?;
    Ok(module.finish())
}

#[derive(Default)]
struct Counting {
    /// The counter's index: it follows the module's own globals.
    counter: u32,
}

impl Reencode for Counting {
    type Error = std::convert::Infallible;

    fn parse_global_section(
        &mut self,
        globals: &mut GlobalSection,
        section: GlobalSectionReader<'_>,
    ) -> Result<(), Error> {
        utils::parse_global_section(self, globals, section)?;
        self.counter = globals.len();
        globals.global(GlobalType { val_type: ValType::I64, mutable: true, shared: false }, &ConstExpr::i64_const(0));
        Ok(())
    }

    fn parse_export_section(
        &mut self,
        exports: &mut ExportSection,
        section: ExportSectionReader<'_>,
    ) -> Result<(), Error> {
        utils::parse_export_section(self, exports, section)?;
        exports.export(EXPORT, ExportKind::Global, self.counter);
        Ok(())
    }

    fn parse_function_body(&mut self, code: &mut CodeSection, body: FunctionBody<'_>) -> Result<(), Error> {
        let mut function = self.new_function_with_parsed_locals(&body)?;
        let mut reader = body.get_operators_reader()?;
        while !reader.eof() {
            if stores(&format!("{:?}", reader.clone().read()?)) {
                function.instruction(&Instruction::GlobalGet(self.counter));
                function.instruction(&Instruction::I64Const(1));
                function.instruction(&Instruction::I64Add);
                function.instruction(&Instruction::GlobalSet(self.counter));
            }
            function.instruction(&self.parse_instruction(&mut reader)?);
        }
        code.function(&function);
        Ok(())
    }
}

/// Returns whether an instruction of this name writes to memory.
fn stores(operator: &str) -> bool {
    let name = operator.split([' ', '{']).next().unwrap_or_default();
    name.contains("Store") || name.contains("Rmw") || matches!(name, "MemoryCopy" | "MemoryFill" | "MemoryInit")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn instructions_that_store_are_known_by_their_names() {
        for name in ["I32Store { memarg: x }", "V128Store32Lane {", "I64AtomicRmw8AddU {", "MemoryFill { mem: 0 }"] {
            assert!(stores(name), "{name}");
        }
        for name in ["I32Load { memarg: x }", "MemorySize { mem: 0 }", "GlobalSet { global_index: 0 }"] {
            assert!(!stores(name), "{name}");
        }
    }
}
