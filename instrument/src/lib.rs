//! Every rewriting of a driver's module: its memory gets the length that the host lays out ([`with_memory_pages`]), its
//! calls can be undone and look at the time ([`undo`]), and its code is there twice, once with a countdown
//! ([`Counting`]).
//!
//! Modules go in as bytes and come out as bytes. Nothing here runs one, knows an engine, or decides what a driver may
//! import: that is the runtime's business, which calls this.
#![forbid(unsafe_code)]

pub mod check;
mod countdown;
mod offsets;
mod resize;
mod sections;
#[cfg(test)]
mod tests;
pub mod undo;

use wasmparser::WasmFeatures;

pub use countdown::{COUNTDOWN_EXPORT, Counting};
pub use offsets::OffsetMap;
pub use resize::with_memory_pages;

/// What a driver exports its memory as.
pub const MEMORY_EXPORT: &str = "memory";

/// A module that cannot be read, or is not valid, and why.
#[derive(Clone, Debug, thiserror::Error)]
#[error("{0}")]
pub struct Invalid(pub String);

/// What a driver's module may use: core wasm with the vector, bulk and atomic instructions. What is left out has no
/// use in a driver and would have to be covered by rollback (reference types, exceptions, a second memory), takes the
/// host's memory without end (reference types again: `table.grow`) or is not deterministic (relaxed vectors).
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

/// The same, and what rewriting adds: the log's memory, and a table to itself for the question about the time.
fn rewritten_features() -> WasmFeatures {
    features() | WasmFeatures::MULTI_MEMORY | WasmFeatures::REFERENCE_TYPES
}
