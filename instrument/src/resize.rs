//! A driver's memory gets the length that the host lays out.

use wasmparser::MemoryType;

use crate::sections::{Rewriting, Sections, rewrite};
use crate::{Invalid, features};

/// The number of pages of every memory.
struct Resize(u64);

impl Rewriting for Resize {
    fn memory(&self, memory: MemoryType) -> MemoryType {
        MemoryType { initial: self.0, maximum: Some(self.0), ..memory }
    }
}

/// Returns the module with a memory of exactly `pages`: nothing grows afterwards.
///
/// # Errors
/// If it is not valid.
pub fn with_memory_pages(wasm: &[u8], pages: u64) -> Result<Vec<u8>, Invalid> {
    let sections = Sections::of(wasm, features())?;
    Ok(rewrite(&sections, &Resize(pages))?)
}
