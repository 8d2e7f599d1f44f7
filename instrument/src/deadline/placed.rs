//! Functions whose place in the finished module is not known yet.

use wasm_encoder::Encode;
use wasmparser::{Parser, Payload};

use super::code::Check;
use crate::OffsetMap;

/// A function's new body.
pub(crate) struct Placed {
    /// Its locals and code.
    pub(crate) body: Vec<u8>,
    /// Where in the body a deadline check goes, if there is to be one.
    pub(crate) check_at: usize,
    /// Byte offset in the body, and in the original module.
    pub(crate) offsets: Vec<(usize, Option<usize>)>,
}

impl Placed {
    /// Puts a deadline check at the beginning of the function.
    pub(crate) fn insert(&mut self, check: Check) {
        let mut code = Vec::new();
        check.code().iter().for_each(|instruction| instruction.encode(&mut code));
        let moved = self.offsets.iter_mut().filter(|(at, _)| *at > self.check_at);
        moved.for_each(|(at, _)| *at += code.len());
        self.body.splice(self.check_at..self.check_at, code);
    }
}

/// Returns where the code of a finished module comes from, whose first functions are these; the others were added.
pub(crate) fn offset_map(wasm: &[u8], placed: &[Placed]) -> wasmparser::Result<OffsetMap> {
    let mut map = OffsetMap::default();
    let mut placed = placed.iter();
    for payload in Parser::new(0).parse_all(wasm) {
        let Payload::CodeSectionEntry(body) = payload? else { continue };
        let start = body.range().start;
        match placed.next() {
            Some(places) => {
                for (at, original) in &places.offsets {
                    map.push(start + at, *original);
                }
            }
            None => map.push(start, None),
        }
    }
    Ok(map)
}
