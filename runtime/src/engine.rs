//! The wasm engine, set up for drivers.

use std::num::NonZeroUsize;
use std::sync::Arc;
use std::time::Duration;

use nook_instrument::check;
use wasmtime::{Config, OptLevel};

use crate::budget::TICK_NS;
use crate::isa;
use crate::memory::Creator;
use crate::time_cell::Cells;

/// Functions of a faulty driver's call stack that are kept.
const FRAMES: usize = 8;

/// Why a checked module could not be made to run.
#[derive(Debug, thiserror::Error)]
pub enum EngineError {
    /// The engine cannot be set up on this machine.
    #[error("cannot set up the wasm engine: {0}")]
    Setup(String),
    /// Calls of this driver cannot be rolled back.
    #[error("calls of this driver cannot be rolled back (--isolation sfi runs it without that): {0}")]
    NoRollback(String),
    /// What was added to the driver so that its calls check their deadline is wrong.
    #[error(
        "nook's own instrumentation of this driver is wrong: {0}; so its calls might never end, and nothing of it was \
         run. The mistake is nook's: report it together with the driver's file"
    )]
    NoDeadlineCheck(#[source] check::CheckError),
    /// What was added to the driver so that its calls can be rolled back is wrong.
    #[error(
        "nook's own instrumentation of this driver is wrong: {0}; so a call might not be rolled back as it should be, \
         and nothing of it was run (--isolation sfi runs it without that). The mistake is nook's: report it together \
         with the driver's file"
    )]
    NotLogged(#[source] check::CheckError),
    /// A filter was named for a driver that calls none.
    #[error(
        "the driver `{driver}` calls no filter (it does not import `{import}`): build it with this host's SDK, or run \
         it without one"
    )]
    AsksNoFilter {
        /// Its name.
        driver: String,
        /// What it would import.
        import: &'static str,
    },
    /// The compiler refused.
    #[error("cannot compile the driver: {0}")]
    Compile(String),
    /// The compiler came to an end before it was done.
    #[error("the driver was not compiled: {0}")]
    CompilerEnded(String),
    /// Nobody wanted the compiled driver any more.
    #[error("asked to end while the driver was being compiled; nothing was begun")]
    Interrupted,
}

/// How drivers are compiled, as far as that is a choice. The default is how all are; the others are to measure what
/// each part of it costs, and nothing of a driver that one does not trust is safe with them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct CodeGen {
    /// Guard pages stop accesses past the memory's end; otherwise compiled code compares each address.
    pub guard_pages: bool,
    /// What is out of bounds is not reached speculatively either.
    pub spectre: bool,
    /// Loops and functions check their deadline; otherwise a call may run for ever. Modules with an undo log do in any
    /// case.
    pub deadline_checks: bool,
    /// Instructions are counted, so that a call ends after a number of them: as safe as the default, and slower.
    pub metered: bool,
}

impl Default for CodeGen {
    fn default() -> Self {
        CodeGen { guard_pages: true, spectre: true, deadline_checks: true, metered: false }
    }
}

/// An engine with its clock. Cloning shares it.
#[derive(Clone)]
pub struct Engine {
    engine: wasmtime::Engine,
    how: CodeGen,
    cells: Cells,
}

impl CodeGen {
    /// Returns it as bits, for another process.
    pub fn to_bits(self) -> u8 {
        let CodeGen { guard_pages, spectre, deadline_checks, metered } = self;
        [guard_pages, spectre, deadline_checks, metered].into_iter().zip(0..).map(|(bit, at)| u8::from(bit) << at).sum()
    }

    /// Reads what [`to_bits`](Self::to_bits) wrote.
    pub fn from_bits(bits: u8) -> Self {
        let bit = |at: u8| bits >> at & 1 == 1;
        CodeGen { guard_pages: bit(0), spectre: bit(1), deadline_checks: bit(2), metered: bit(3) }
    }

    /// Compiles a finished module, and returns what an engine for the same way of compiling loads.
    ///
    /// # Errors
    /// If the engine cannot be set up or the compiler refuses.
    pub fn compile(&self, wasm: &[u8]) -> Result<Vec<u8>, EngineError> {
        compile(&self.engine()?, wasm)
    }

    fn engine(&self) -> Result<wasmtime::Engine, EngineError> {
        wasmtime::Engine::new(&config(self)?).map_err(|error| EngineError::Setup(format!("{error:#}")))
    }
}

/// Compiles a module here.
pub(crate) fn compile(engine: &wasmtime::Engine, wasm: &[u8]) -> Result<Vec<u8>, EngineError> {
    engine.precompile_module(wasm).map_err(|error| EngineError::Compile(format!("{error:#}")))
}

impl Engine {
    /// Sets up an engine and starts its clock; the clock ends with the last clone.
    pub(crate) fn new(how: &CodeGen) -> Result<Self, EngineError> {
        let engine = how.engine()?;
        let cells = Cells::default();
        let (weak, ticking) = (engine.weak(), cells.clone());
        let clock = move || {
            while let Some(engine) = weak.upgrade() {
                ticking.tick();
                drop(engine);
                std::thread::sleep(Duration::from_nanos(TICK_NS));
            }
        };
        let spawned = std::thread::Builder::new().name("nook-clock".into()).spawn(clock);
        spawned.map_err(|error| EngineError::Setup(format!("cannot start its clock: {error}")))?;
        Ok(Engine { engine, how: *how, cells })
    }

    pub(crate) fn how(&self) -> CodeGen {
        self.how
    }

    pub(crate) fn cells(&self) -> &Cells {
        &self.cells
    }

    pub(crate) fn wasmtime(&self) -> &wasmtime::Engine {
        &self.engine
    }
}

/// Returns how modules are compiled and run, for this machine.
pub(crate) fn config(how: &CodeGen) -> Result<Config, EngineError> {
    let mut config = Config::new();
    config
        .cranelift_opt_level(OptLevel::Speed)
        .concurrency_support(false)
        // A few callers cost a microsecond or so at a trap of 3 to 8; with RUST_BACKTRACE set it is 20 more.
        .wasm_backtrace_max_frames(NonZeroUsize::new(FRAMES))
        .wasm_relaxed_simd(false)
        .with_host_memory(Arc::new(Creator))
        // Copy-on-write images do not go together with memories that nook makes.
        .memory_init_cow(false)
        // The engine counts operators of WebAssembly, at the end of each block of code and in each round of a loop.
        .consume_fuel(how.metered);
    if !how.guard_pages {
        config.memory_reservation(0).memory_guard_size(0).memory_may_move(false);
    }
    for (setting, value) in isa::settings(how).map_err(EngineError::Setup)? {
        #[expect(unsafe_code, reason = "settings of the compiler that wasmtime does not know")]
        // SAFETY: Cranelift knows the setting (`isa::settings` asked it), and it changes what is computed
        // speculatively, not what is computed.
        unsafe {
            config.cranelift_flag_set(setting, value)
        };
    }
    Ok(config)
}
