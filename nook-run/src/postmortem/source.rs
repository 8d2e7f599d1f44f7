//! From a place in the loader's module to the author's file and line.
//!
//! The loader rewrites a module before it is compiled: the instructions stay, and what their operands take in bytes
//! may change. So a place is carried over as the n-th instruction of a function. What was added to the module after
//! that (the undo log) is not seen in a bundle: its places are those of the loader's module.

use std::collections::HashMap;
use std::fs;
use std::path::Path;

use addr2line::Context;
use addr2line::gimli::{Dwarf, EndianSlice, LittleEndian};
use anyhow::{Context as _, Result, bail};
use nook_abi::{Hex, Printable};
use nook_runtime::DriverModule;
use wasmparser::{FunctionBody, KnownCustom, Name, Parser, Payload};

use crate::drivers;

type Reader<'a> = EndianSlice<'a, LittleEndian>;

/// A driver's file, to be asked about places in it.
pub struct Source {
    file: Vec<u8>,
    module: DriverModule,
}

impl Source {
    /// Reads the file that `sha256` is of.
    ///
    /// # Errors
    /// If it is not there, or is another.
    pub fn load(path: &Path, sha256: &str) -> Result<Source> {
        let module = drivers::load(path, drivers::WASI)?;
        let found = Hex::of(&module.sha256()).to_string();
        if found != sha256 {
            bail!("{} is not the driver that ran: its SHA-256 is {found}", path.display());
        }
        let file = fs::read(path).with_context(|| format!("cannot read {}", path.display()))?;
        Ok(Source { file, module })
    }

    /// Returns the functions and lines at an offset of the loader's module, innermost first: one, or more where
    /// functions were compiled into their callers.
    pub fn lines(&self, module_offset: u64) -> Vec<String> {
        self.try_lines(module_offset).unwrap_or_default()
    }

    fn try_lines(&self, module_offset: u64) -> Option<Vec<String>> {
        let (function, instruction) = instruction_at(self.module.laid_out(), usize::try_from(module_offset).ok()?)?;
        lines_at(&self.file, address_of(&self.file, function, instruction)?)
    }
}

/// Returns the functions and lines at an offset of a driver's file, innermost first.
pub fn lines_in_file(file: &[u8], offset: usize) -> Option<Vec<String>> {
    let (start, _) = bodies(file);
    lines_at(file, offset.checked_sub(start)? as u64)
}

/// Returns the functions and lines at an address, as debug information counts.
fn lines_at(file: &[u8], address: u64) -> Option<Vec<String>> {
    let dwarf = Dwarf::load(|id| Ok::<_, ()>(Reader::new(section(file, id.name()), LittleEndian))).ok()?;
    let context = Context::from_dwarf(dwarf).ok()?;
    let mut frames = context.find_frames(address).skip_all_loads().ok()?;
    let mut lines = Vec::new();
    while let Ok(Some(frame)) = frames.next() {
        let name = frame.function.and_then(|function| function.raw_name().ok().map(|name| demangled(&name)));
        let place = frame.location.map(|at| {
            let (file, line) = (at.file.unwrap_or("?"), at.line.unwrap_or_default());
            let file = Printable(file);
            format!("{file}:{line}:{}", at.column.unwrap_or_default())
        });
        lines.push(format!("{}  {}", name.as_deref().unwrap_or("?"), place.as_deref().unwrap_or("?")));
    }
    Some(lines)
}

/// Returns a function's name as people write it.
pub(crate) fn demangled(name: &str) -> String {
    Printable(&format!("{:#}", rustc_demangle::demangle(name))).to_string()
}

/// Returns the bodies of a module's functions, and where its code section begins.
fn bodies(wasm: &[u8]) -> (usize, Vec<FunctionBody<'_>>) {
    let (mut start, mut bodies) = (0, Vec::new());
    for payload in Parser::new(0).parse_all(wasm) {
        match payload {
            Ok(Payload::CodeSectionStart { range, .. }) => start = range.start,
            Ok(Payload::CodeSectionEntry(body)) => bodies.push(body),
            Ok(_) => {}
            Err(_) => break,
        }
    }
    (start, bodies)
}

/// Returns which function of the module an offset lies in, and at which of its instructions.
fn instruction_at(wasm: &[u8], offset: usize) -> Option<(usize, usize)> {
    let (_, bodies) = bodies(wasm);
    let function = bodies.iter().position(|body| body.range().contains(&offset))?;
    let instructions = bodies[function].get_operators_reader().ok()?.into_iter_with_offsets();
    let before = instructions.map_while(|item| item.ok()).take_while(|(_, at)| *at <= offset).count();
    Some((function, before.checked_sub(1)?))
}

/// Returns where an instruction is, as debug information counts: from the start of the code section.
fn address_of(wasm: &[u8], function: usize, instruction: usize) -> Option<u64> {
    let (start, bodies) = bodies(wasm);
    let mut instructions = bodies.get(function)?.get_operators_reader().ok()?.into_iter_with_offsets();
    let (_, at) = instructions.nth(instruction)?.ok()?;
    Some((at - start) as u64)
}

/// Returns the names of a module's functions, by their numbers, as its linker has them.
pub fn function_names(wasm: &[u8]) -> HashMap<u32, &str> {
    let mut names = HashMap::new();
    for payload in Parser::new(0).parse_all(wasm).map_while(Result::ok) {
        let Payload::CustomSection(custom) = payload else { continue };
        let KnownCustom::Name(parts) = custom.as_known() else { continue };
        for part in parts.into_iter().map_while(Result::ok) {
            if let Name::Function(functions) = part {
                names.extend(functions.into_iter().map_while(Result::ok).map(|naming| (naming.index, naming.name)));
            }
        }
    }
    names
}

/// Returns a custom section's content; empty if there is none.
fn section<'a>(wasm: &'a [u8], name: &str) -> &'a [u8] {
    let mut payloads = Parser::new(0).parse_all(wasm).map_while(Result::ok);
    let found = payloads.find_map(|payload| match payload {
        Payload::CustomSection(custom) if custom.name() == name => Some(custom.data()),
        _ => None,
    });
    found.unwrap_or_default()
}
