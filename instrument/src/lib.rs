//! Every rewriting of a driver's module, and the checker of what was written.
//!
//! - [`with_memory_pages`]: its memory gets the length that the host lays out;
//! - [`hints`]: calls of hints become instructions;
//! - [`deadline`]: its calls check their deadline by themselves;
//! - [`undo`]: they do, and can be undone besides;
//! - [`Counting`]: its code is there twice, once with a countdown;
//! - [`with_recording`]: it says what it loads from memory that others write too, and what it stores there;
//! - [`check`]: whether a finished module checks its deadline wherever it may run for long, and whether all that a call
//!   stores can be undone.
//!
//! It is no engine and no policy: modules go in as bytes and come out as bytes, nothing here runs one, and what a
//! driver may import and export is the runtime's to say. The runtime calls it, and nobody else but the tests does: it
//! owns the log at run time (`runtime/src/rollback`), whose format is [`undo::layout`].
//!
//! What must stay true: no index of the original changes, so that traps and names lead back ([`OffsetMap`]); all
//! reading and writing of sections is in one file (`sections.rs`); and [`check`] shares no analysis with what it
//! checks.
#![forbid(unsafe_code)]

pub mod check;
mod countdown;
pub mod deadline;
pub mod hints;
mod offsets;
mod planted;
mod recording;
mod resize;
mod sections;
#[cfg(test)]
mod tests;
pub mod undo;

use wasmparser::WasmFeatures;

pub use countdown::{COUNTDOWN_EXPORT, Copies, Counting};
pub use offsets::OffsetMap;
pub use recording::{BORDER_EXPORT, Border, LoadKind, Recording, with_recording};
pub use resize::with_memory_pages;
pub use sections::{Body, Sections};

/// Which version of this crate this is: another one may make something else of a module, or check it otherwise. It is a
/// hash of the source and of the versions that it is built with.
pub const VERSION: &str = env!("NOOK_INSTRUMENT_VERSION");

/// What a driver exports its memory as.
pub const MEMORY_EXPORT: &str = "memory";

/// A module that cannot be read, or is not valid, and why.
#[derive(Clone, Debug, thiserror::Error)]
#[error("{0}")]
pub struct Invalid(pub String);

/// Returns what a driver's module may use: core wasm with the vector, bulk and atomic instructions. What is left out
/// has no use in a driver and would have to be covered by rollback (reference types, exceptions, a second memory),
/// takes the host's memory without end (reference types again: `table.grow`) or is not deterministic (relaxed vectors).
pub fn features() -> WasmFeatures {
    WasmFeatures::WASM1
        | WasmFeatures::BULK_MEMORY
        | WasmFeatures::CALL_INDIRECT_OVERLONG
        | WasmFeatures::MULTI_VALUE
        | WasmFeatures::MUTABLE_GLOBAL
        | WasmFeatures::SATURATING_FLOAT_TO_INT
        | WasmFeatures::SIGN_EXTENSION
        | WasmFeatures::SIMD
        | WasmFeatures::TAIL_CALL
        | WasmFeatures::THREADS
}

/// Returns the same, and what rewriting adds: the memory of the time cell and the log, and a table to itself for the
/// question about the time.
fn rewritten_features() -> WasmFeatures {
    features() | WasmFeatures::MULTI_MEMORY | WasmFeatures::REFERENCE_TYPES
}
