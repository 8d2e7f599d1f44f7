//! A driver's memory gets the length that the host lays out.

use wasm_encoder::reencode::{self, Reencode};
use wasmparser::Parser;

use crate::Invalid;

/// The same module with a memory of exactly `pages`: nothing grows afterwards.
///
/// # Errors
/// If it is not valid.
pub fn with_memory_pages(wasm: &[u8], pages: u64) -> Result<Vec<u8>, Invalid> {
    struct Resize(u64);
    impl Reencode for Resize {
        type Error = std::convert::Infallible;

        fn memory_type(
            &mut self,
            ty: wasmparser::MemoryType,
        ) -> Result<wasm_encoder::MemoryType, reencode::Error<Self::Error>> {
            let ty = wasmparser::MemoryType { initial: self.0, maximum: Some(self.0), ..ty };
            Ok(reencode::utils::memory_type(self, ty))
        }
    }
    let mut module = wasm_encoder::Module::new();
    Resize(pages).parse_core_module(&mut module, Parser::new(0), wasm).map_err(|error| Invalid(error.to_string()))?;
    Ok(module.finish())
}
