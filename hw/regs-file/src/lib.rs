//! Register maps as files (`*.regs.toml`): reading them, writing them, and saying what they allow.
//!
//! A map decides what a driver may do with its device, so this crate belongs to the trusted base. It is strict: what
//! the schema (docs/register-maps.md) does not name is refused, and the map must keep every [`Rule`](nook_regs::Rule)
//! that a map of [`registers!`](nook_regs::registers) keeps. It reads no file itself, knows no device, and decides
//! nothing about who trusts a map; the command `nook-run` does.
#![forbid(unsafe_code)]

mod allows;
mod read;
mod spell;
mod table;
mod write;

use std::fmt;
use std::ops::Range;

use nook_regs::RegisterMap;

pub use allows::{allows, touches, warnings};
pub use write::write;

/// The largest text that is read.
pub const MAX_BYTES: usize = 1 << 20;
/// What a file's name ends with.
pub const ENDING: &str = "regs.toml";

/// A map that was read from a file.
#[derive(Debug)]
pub struct MapFile {
    /// The map. It lives as long as the process: policy, tracer, shadow and reports refer to it from several threads,
    /// on each access, exactly as they do to a map that is compiled in. A process reads one map for each nook, when it
    /// begins, so what is never given back is bounded by the command line.
    pub map: &'static RegisterMap,
    /// For each of its registers the line on which it begins, from 1.
    pub lines: Vec<usize>,
}

/// Why a text is no register map.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FileError {
    /// The line, from 1.
    pub line: usize,
    /// The column, in characters from 1.
    pub column: usize,
    /// What is wrong, and what is allowed.
    pub why: String,
}

impl fmt::Display for FileError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "line {}, column {}: {}", self.line, self.column, self.why)
    }
}

impl std::error::Error for FileError {}

/// What is wrong, and at which byte of the text.
#[derive(Debug)]
struct Wrong {
    at: usize,
    why: String,
}

impl Wrong {
    fn new(span: Range<usize>, why: impl Into<String>) -> Self {
        Wrong { at: span.start, why: why.into() }
    }
}

/// Reads a map.
///
/// # Errors
/// The first thing that is wrong, with its place and what is allowed there.
pub fn read(text: &str) -> Result<MapFile, FileError> {
    if text.len() > MAX_BYTES {
        return Err(FileError { line: 1, column: 1, why: "the file is longer than 1 MiB, which is the limit".into() });
    }
    let (map, starts) = read::map(text).map_err(|Wrong { at, why }| {
        let (line, column) = place(text, at);
        FileError { line, column, why }
    })?;
    Ok(MapFile { map: Box::leak(Box::new(map)), lines: lines(text, &starts) })
}

/// Returns the line and the column of a byte, both from 1.
fn place(text: &str, at: usize) -> (usize, usize) {
    let before = text.get(..at).unwrap_or(text);
    let line = before.rfind('\n').map_or(0, |end| end + 1);
    (before.matches('\n').count() + 1, before[line..].chars().count() + 1)
}

/// Returns the line of each of these bytes, which are in order.
fn lines(text: &str, starts: &[usize]) -> Vec<usize> {
    let (mut line, mut last) = (1, 0);
    let mut of = |&start: &usize| {
        line += text.get(last..start).unwrap_or_default().matches('\n').count();
        last = start;
        line
    };
    starts.iter().map(&mut of).collect()
}

/// Compiles the map in the page about effects.
#[cfg(doctest)]
#[doc = include_str!("../../../docs/map-effects.md")]
struct Effects;
