//! Why a driver cannot run in a separate process.

use nook_compiled::CompiledError;

/// Why a driver cannot run in a separate process.
#[derive(Debug, thiserror::Error)]
pub enum ProcessError {
    /// There is no such program, or it is not this driver's.
    #[error(transparent)]
    Program(#[from] CompiledError),
    /// This machine has no such sandbox.
    #[error("no sandbox for the driver's process: {0}")]
    NoSandbox(String),
}
