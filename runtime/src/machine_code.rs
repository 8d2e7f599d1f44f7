//! What the compiler makes of a driver for one machine that never changes: to count instructions in, not to run.

use nook_instrument::deadline::with_deadline_checks;
use wasmtime::Engine;

use crate::engine;
use crate::{CodeGen, DriverModule, EngineError, Rollback};

/// The machine that [`machine_code`] compiles for: target, and the instructions beyond its baseline. These are those of
/// the x86-64 psABI's level 3, which the machines of this decade have.
pub const FIXED_TARGET: (&str, &[&str]) = (
    "x86_64-unknown-linux-gnu",
    &[
        "has_cmpxchg16b",
        "has_sse3",
        "has_ssse3",
        "has_sse41",
        "has_sse42",
        "has_popcnt",
        "has_avx",
        "has_avx2",
        "has_fma",
        "has_bmi1",
        "has_bmi2",
        "has_lzcnt",
    ],
);

/// A driver, compiled for [`FIXED_TARGET`].
pub struct MachineCode {
    /// An ELF file, whose symbols are wasmtime's.
    pub image: Vec<u8>,
    /// The module that was compiled: the driver's own with what was added to it.
    pub wasm: Vec<u8>,
}

/// Compiles a driver as it is compiled to run, but for [`FIXED_TARGET`] whatever machine this is; with `rollback` so
/// that its calls can be rolled back.
///
/// # Errors
/// If the module cannot be prepared or the compiler refuses; on other architectures than x86-64 it always does.
pub fn machine_code(module: &DriverModule, rollback: Option<&dyn Rollback>) -> Result<MachineCode, EngineError> {
    let (prepared, keeps_time) = match rollback {
        None => (module.wasm().to_vec(), false),
        Some(way) => (way.prepare(module).map_err(EngineError::NoRollback)?.wasm, way.keeps_time()),
    };
    let compile = |error: &dyn std::fmt::Display| EngineError::Compile(format!("{error:#}"));
    let timed = (!keeps_time).then(|| with_deadline_checks(&prepared)).transpose().map_err(|error| compile(&error))?;
    let wasm = timed.map_or(prepared, |timed| timed.wasm);
    let mut config = engine::config(&CodeGen::default())?;
    let (target, instructions) = FIXED_TARGET;
    let setup = |error: wasmtime::Error| EngineError::Setup(format!("{error:#}"));
    config.target(target).map_err(setup)?;
    for flag in instructions {
        #[expect(unsafe_code, reason = "settings of the compiler that wasmtime does not know")]
        // SAFETY: what is compiled here is never run, so it does not matter which instructions this machine has.
        unsafe {
            config.cranelift_flag_enable(flag)
        };
    }
    let engine = Engine::new(&config).map_err(setup)?;
    let image = engine.precompile_module(&wasm).map_err(|error| compile(&error))?;
    Ok(MachineCode { image, wasm })
}
