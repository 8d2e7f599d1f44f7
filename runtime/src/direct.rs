//! Direct registers: a trusted shim instance whose memory is the BAR.
//!
//! The shim has one function for each register hostcall, which is one load or store. A driver that is linked to it
//! reaches its device without the host: an access costs a call between two instances. What is left of the checks is
//! the BAR's length. There is no register policy, no trace and no count, so this is a statement of trust in this
//! driver with this device; the operator makes it, never a manifest.

use std::sync::Arc;

use nook_abi::{HOSTCALLS, IMPORT_MODULE, Value};
use nook_bus::BarMemory;
use wasm_encoder::{
    BlockType, CodeSection, ExportKind, ExportSection, Function, FunctionSection, InstructionSink, MemArg,
    MemorySection, MemoryType, Module, TypeSection, ValType,
};
use wasmtime::{Linker, Store};

use crate::{Host, memory};

/// Address space that a BAR must have around it, so that bounds cost nothing: what the engine reserves for a memory,
/// and its guard.
pub(crate) const RESERVE_BYTES: usize = (4 << 30) + (64 << 20);

/// How a driver reaches its device's registers.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Mmio {
    /// Through the host: policy, trace, counts.
    #[default]
    Emulated,
    /// Through a shim whose memory is the BAR: the BAR's length is the only check. For a driver and a device that one
    /// trusts with each other.
    Direct,
}

/// The register hostcalls, and the one instruction that each of them is.
type Emit = fn(&mut InstructionSink<'_>, MemArg);
const ACCESSES: [(&str, u32, Emit); 8] = [
    ("mmio_read8", 0, |sink, at| {
        sink.i32_load8_u(at);
    }),
    ("mmio_read16", 1, |sink, at| {
        sink.i32_load16_u(at);
    }),
    ("mmio_read32", 2, |sink, at| {
        sink.i32_load(at);
    }),
    ("mmio_read64", 3, |sink, at| {
        sink.i64_load(at);
    }),
    ("mmio_write8", 0, |sink, at| {
        sink.i32_store8(at);
    }),
    ("mmio_write16", 1, |sink, at| {
        sink.i32_store16(at);
    }),
    ("mmio_write32", 2, |sink, at| {
        sink.i32_store(at);
    }),
    ("mmio_write64", 3, |sink, at| {
        sink.i64_store(at);
    }),
];

/// Returns the shim for BAR `bar`. An access to another BAR traps, and so does one past the BAR's end.
pub(crate) fn shim(bar: u8) -> Vec<u8> {
    let (mut types, mut functions, mut exports, mut code) =
        (TypeSection::new(), FunctionSection::new(), ExportSection::new(), CodeSection::new());
    for (index, (name, align, access)) in (0..).zip(ACCESSES) {
        let row = HOSTCALLS.iter().find(|row| row.name == name).expect("a register hostcall of the table");
        let wasm = |value| match value {
            Value::U64 | Value::I64 => Some(ValType::I64),
            Value::Unit => None,
            _ => Some(ValType::I32),
        };
        let params: Vec<_> = row.args.iter().filter_map(|arg| wasm(arg.value)).collect();
        types.ty().function(params, wasm(row.result));
        functions.function(index);
        exports.export(name, ExportKind::Func, index);
        let mut body = Function::new([]);
        let mut sink = body.instructions();
        sink.local_get(0).i32_const(bar.into()).i32_ne().if_(BlockType::Empty).unreachable().end();
        sink.local_get(1);
        if row.args.len() == 3 {
            sink.local_get(2);
        }
        access(&mut sink, MemArg { offset: 0, align, memory_index: 0 });
        sink.end();
        code.function(&body);
    }
    let mut memories = MemorySection::new();
    // The size is the BAR's, whatever stands here: the memory is made from it.
    memories.memory(MemoryType { minimum: 1, maximum: Some(1), memory64: false, shared: false, page_size_log2: None });
    let mut module = Module::new();
    module.section(&types).section(&functions).section(&memories).section(&exports).section(&code);
    module.finish()
}

/// Makes an instance of the shim whose memory is `bar`, and defines the register hostcalls by it. The linker allows
/// shadowing.
pub(crate) fn link(
    linker: &mut Linker<Host>,
    store: &mut Store<Host>,
    shim: &wasmtime::Module,
    bar: Arc<dyn BarMemory>,
) -> wasmtime::Result<()> {
    let instance = memory::with_bar(bar, || wasmtime::Instance::new(&mut *store, shim, &[]))?;
    for (name, _, _) in ACCESSES {
        if let Some(function) = instance.get_func(&mut *store, name) {
            linker.define(&*store, IMPORT_MODULE, name, function)?;
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use std::os::fd::{AsFd, OwnedFd};

    use nook_bus::MappedBar;
    use rustix::fs::{MemfdFlags, ftruncate, memfd_create};

    use super::*;
    use crate::CodeGen;
    use crate::engine::Engine;

    const BAR_BYTES: usize = 64 << 10;

    /// Returns a module whose one function copies half of its memory into the other half, and fills all of it, `rounds`
    /// times.
    fn bulk() -> Vec<u8> {
        let (mut types, mut functions, mut exports) =
            (TypeSection::new(), FunctionSection::new(), ExportSection::new());
        types.ty().function([ValType::I32], []);
        functions.function(0);
        exports.export("bulk", ExportKind::Func, 0);
        let (mut memories, mut code) = (MemorySection::new(), CodeSection::new());
        let ty = MemoryType { minimum: 1, maximum: Some(1), memory64: false, shared: false, page_size_log2: None };
        memories.memory(ty);
        let mut body = Function::new([]);
        let (half, all) = (BAR_BYTES as i32 / 2, BAR_BYTES as i32);
        let mut sink = body.instructions();
        sink.loop_(BlockType::Empty);
        sink.i32_const(half).i32_const(0).i32_const(half).memory_copy(0, 0);
        sink.i32_const(0).i32_const(0x5a).i32_const(all).memory_fill(0);
        sink.local_get(0).i32_const(1).i32_sub().local_tee(0).br_if(0);
        sink.end().end();
        code.function(&body);
        let mut module = Module::new();
        module.section(&types).section(&functions).section(&memories).section(&exports).section(&code);
        module.finish()
    }

    /// Runs it on a BAR to which `act` happens meanwhile.
    fn bulk_on_a_bar(act: impl FnOnce(&OwnedFd, &MappedBar) + Send) -> Arc<MappedBar> {
        let file = memfd_create(c"bar", MemfdFlags::CLOEXEC).unwrap();
        ftruncate(&file, BAR_BYTES as u64).unwrap();
        let bar = Arc::new(MappedBar::new(file.as_fd(), 0, BAR_BYTES, RESERVE_BYTES).unwrap());
        let engine = Engine::new(&CodeGen::default()).unwrap();
        let mut store = Store::new(engine.wasmtime(), ());
        let module = wasmtime::Module::new(engine.wasmtime(), bulk()).unwrap();
        let instance = memory::with_bar(bar.clone(), || wasmtime::Instance::new(&mut store, &module, &[])).unwrap();
        let bulk = instance.get_typed_func::<u32, ()>(&mut store, "bulk").unwrap();
        std::thread::scope(|scope| {
            scope.spawn(|| {
                while bar.read(BAR_BYTES - 8, nook_bus::Width::B8) == 0 {
                    std::thread::yield_now();
                }
                act(&file, &bar);
            });
            bulk.call(&mut store, 10_000).unwrap();
        });
        bar
    }

    #[test]
    fn a_bulk_instruction_on_a_bar_that_vanishes_goes_on() {
        for _ in 0..5 {
            let bar = bulk_on_a_bar(|file, _| {
                ftruncate(file, 0).unwrap();
            });
            bar.write(0, nook_bus::Width::B1, 0);
            assert!(bar.lost());
        }
    }

    #[test]
    fn a_bulk_instruction_on_a_bar_that_is_taken_away_goes_on_and_reaches_nobody() {
        for _ in 0..5 {
            bulk_on_a_bar(|file, bar| {
                bar.revoke();
                let again = MappedBar::new(file.as_fd(), 0, BAR_BYTES, 0).unwrap();
                again.write(0, nook_bus::Width::B1, 1);
                for _ in 0..1000 {
                    assert_eq!(again.read(0, nook_bus::Width::B1), 1);
                    std::thread::yield_now();
                }
                assert!(!again.lost());
            });
        }
    }
}
