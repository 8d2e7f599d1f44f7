//! Where the stack lies that a module keeps in its memory, besides the engine's.

use wasmparser::{ConstExpr, DataKind, Operator, Parser, Payload};

/// Returns the length of the stack of a module that has it lowest in memory, as linkers lay it out for Rust: its first
/// global is the pointer, begins where the data begins, and moves down. What overflows such a stack leaves the memory
/// at address 0. Nothing, if the module has its stack elsewhere.
pub(crate) fn lowest_stack_bytes(wasm: &[u8]) -> Option<u32> {
    let mut top = None;
    for payload in Parser::new(0).parse_all(wasm) {
        match payload.ok()? {
            Payload::GlobalSection(globals) => {
                let first = globals.into_iter().next()?.ok()?;
                top = constant(&first.init_expr).filter(|_| first.ty.mutable);
            }
            Payload::DataSection(segments) => {
                let mut lowest = u32::MAX;
                for segment in segments {
                    if let DataKind::Active { offset_expr, .. } = segment.ok()?.kind {
                        lowest = lowest.min(constant(&offset_expr)?);
                    }
                }
                return top.filter(|&top| top > 0 && top <= lowest);
            }
            _ => {}
        }
    }
    None
}

fn constant(expression: &ConstExpr<'_>) -> Option<u32> {
    match expression.get_operators_reader().read().ok()? {
        Operator::I32Const { value } => Some(value as u32),
        _ => None,
    }
}
