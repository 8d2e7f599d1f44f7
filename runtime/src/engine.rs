//! The wasm engine, set up for drivers.

use std::num::NonZeroUsize;
use std::sync::Arc;
use std::time::Duration;

use wasmtime::{Config, OptLevel};

use crate::ModuleCache;
use crate::budget::TICK_NS;
use crate::memory::Creator;

/// Functions of a faulty driver's call stack that are kept.
const FRAMES: usize = 8;

/// Why a checked module could not be made to run.
#[derive(Debug, thiserror::Error)]
pub enum EngineError {
    /// The engine cannot be set up on this machine.
    #[error("cannot set up the wasm engine: {0}")]
    Setup(String),
    /// Calls of this driver cannot be taken back.
    #[error("calls of this driver cannot be taken back (--isolation sfi runs it without that): {0}")]
    NotUndoable(String),
    /// A filter was named for a driver that calls none.
    #[error(
        "the driver `{driver}` asks no filter (it does not import `{import}`): build it with this host's SDK, or run \
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
}

/// An engine with its clock. Cloning shares it.
#[derive(Clone)]
pub struct Engine {
    engine: wasmtime::Engine,
}

impl Engine {
    /// Sets up an engine and starts its clock; the clock ends with the last clone.
    pub fn new() -> Result<Self, EngineError> {
        let mut config = Config::new();
        config
            .cranelift_opt_level(OptLevel::Speed)
            .concurrency_support(false)
            .epoch_interruption(true)
            // A few frames cost a microsecond or so at a trap of 3 to 8; with RUST_BACKTRACE set it is 20 more.
            .wasm_backtrace_max_frames(NonZeroUsize::new(FRAMES))
            .wasm_relaxed_simd(false)
            .with_host_memory(Arc::new(Creator))
            // Copy-on-write images do not go together with memories of our own making.
            .memory_init_cow(false);
        let engine = wasmtime::Engine::new(&config).map_err(|error| EngineError::Setup(format!("{error:#}")))?;
        let weak = engine.weak();
        let clock = move || {
            while let Some(engine) = weak.upgrade() {
                engine.increment_epoch();
                drop(engine);
                std::thread::sleep(Duration::from_nanos(TICK_NS));
            }
        };
        let spawned = std::thread::Builder::new().name("nook-epoch".into()).spawn(clock);
        spawned.map_err(|error| EngineError::Setup(format!("cannot start the epoch clock: {error}")))?;
        Ok(Engine { engine })
    }

    /// Compiles a module that was checked and laid out, or takes it from the cache.
    pub(crate) fn compile(&self, wasm: &[u8], cache: &ModuleCache) -> Result<wasmtime::Module, EngineError> {
        cache.get_or_compile(&self.engine, wasm)
    }

    pub(crate) fn wasmtime(&self) -> &wasmtime::Engine {
        &self.engine
    }
}
