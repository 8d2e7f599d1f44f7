//! What a map allows, for the operator who is to accept it.

use std::fmt::Write;

use nook_regs::{BarSpace, RegisterInfo, RegisterMap, Width, WriteEffect};

use crate::MapFile;

/// How long a line of the list is at most, where a name is not longer.
const LINE: usize = 100;
/// How far the lists are indented.
const INDENT: usize = 16;

/// Parts of a register's name that suggest an address: at its end, without the number that it may have.
const ENDINGS: &[&str] = &["BA", "BAL", "BAH", "BASE", "ADDR", "ADDRESS", "PTR", "RING", "START", "SAD", "SQ", "CQ"];
/// Words that do so anywhere in a name or in the section.
const WORDS: &[&str] = &["base", "addr", "address", "ring", "descriptor", "descriptors", "dma", "pointer"];

/// Writes a line of what is said of a map.
fn line(out: &mut String, key: &str, value: &str) {
    // Writing to a string does not fail.
    let _ = writeln!(out, "  {key:<width$}{value}", width = INDENT - 2);
}

/// Says what a driver may do with a device by this map, the [`warnings`] included.
pub fn allows(file: &MapFile) -> String {
    let devices: Vec<String> = file.map.describes().map(ToString::to_string).collect();
    let mut out = String::new();
    line(&mut out, "map", &format!("`{}` for {}", file.map.name(), devices.join(", ")));
    out += &touches(file.map);
    warnings(file).iter().for_each(|warning| line(&mut out, "WARNING", warning));
    out
}

/// Says what of a device a driver may touch by this map, and what that does.
pub fn touches(map: &RegisterMap) -> String {
    let mut out = String::new();
    let mut line = |key: &str, value: &str| line(&mut out, key, value);
    for bar in map.bars() {
        let of = map.registers().iter().filter(|info| info.bar == bar.index);
        let count: u32 = of.map(|info| info.count).sum();
        let of = match bar.space {
            BarSpace::Memory => "bytes of memory",
            BarSpace::Io => "I/O ports",
        };
        line("BAR", &format!("{}, {:#x} {of}, {count} registers", bar.index, bar.len_bytes));
    }
    let list = |wanted: &dyn Fn(&RegisterInfo) -> bool| {
        let names = map.registers().iter().filter(|info| wanted(info)).map(name);
        wrapped(names)
    };
    let is_base = |info: &RegisterInfo| is_dma_base(info) && info.access.writes();
    line("DMA bases", &format!("{} (only addresses in the driver's DMA window)", list(&is_base)));
    line("resets", &list(&|info| matches!(info.write, WriteEffect::Reset(_))));
    line("commands", &list(&|info| info.write == WriteEffect::Command));
    line("guarded", &list(&|info| info.guard.is_some()));
    if map.registers().iter().any(|info| info.transfer.is_some()) {
        line("start DMA", &format!("{} (both ends and the length are checked)", list(&|info| info.transfer.is_some())));
    }
    line("writable", &list(&|info| info.access.writes()));
    line("read only", &format!("{} registers", map.registers().iter().filter(|info| is_read_only(info)).count()));
    out
}

/// Returns the registers that look as if they held an address that the device uses, although the map does not say so:
/// each with its line and why. That there is none does not mean that no register holds an address.
pub fn warnings(file: &MapFile) -> Vec<String> {
    let transfers = file.map.registers().iter().filter_map(|info| Some((info.name, info.transfer?)));
    let checked: Vec<&str> = transfers.flat_map(|(name, transfer)| transfer.registers().chain([name])).collect();
    let registers = file.map.registers().iter().zip(&file.lines);
    let registers = registers.filter(|(info, _)| !checked.contains(&info.name));
    let of =
        |(info, line): (&RegisterInfo, &usize)| Some(format!("line {line}, `{}`: {}", info.name, suspicion(info)?));
    registers.filter_map(of).collect()
}

fn is_read_only(info: &RegisterInfo) -> bool {
    info.access.reads() && !info.access.writes()
}

fn is_dma_base(info: &RegisterInfo) -> bool {
    matches!(info.write, WriteEffect::DmaBase | WriteEffect::DmaBaseOrZero | WriteEffect::DmaBaseHigh)
}

/// Returns a register's name, with the bits that reset.
fn name(info: &RegisterInfo) -> String {
    let array = if info.count > 1 { format!("[{}]", info.count) } else { String::new() };
    match info.write {
        WriteEffect::Reset(bits) => format!("{}{array} ({bits:#x} resets)", info.name),
        _ => format!("{}{array}", info.name),
    }
}

fn wrapped(names: impl Iterator<Item = String>) -> String {
    let (mut out, mut len) = (String::new(), INDENT);
    for name in names {
        if out.is_empty() {
            len += name.len();
        } else if len + 2 + name.len() > LINE {
            let _ = write!(out, ",\n{:INDENT$}", "");
            len = INDENT + name.len();
        } else {
            out += ", ";
            len += 2 + name.len();
        }
        out += &name;
    }
    if out.is_empty() { "none".into() } else { out }
}

/// Returns why a register looks as if it held an address that the device uses, although the map does not say so.
fn suspicion(info: &RegisterInfo) -> Option<String> {
    let is_wide = matches!(info.width, Width::B4 | Width::B8);
    if !info.access.writes() || is_dma_base(info) || !is_wide {
        return None;
    }
    let (found, of) = hint(info)?;
    Some(format!(
        "its {of} has `{found}`, as registers have that hold an address which the device uses; without write = \
         \"dma_base\" (or \"dma_base_or_zero\", \"dma_base_high\") a driver could point the device at any memory that \
         the IOMMU lets it reach"
    ))
}

fn hint(info: &RegisterInfo) -> Option<(&'static str, &'static str)> {
    let bare = info.name.trim_end_matches(|c: char| c.is_ascii_digit() || c == '_').to_ascii_uppercase();
    // The low and the high half of something are called so.
    let halves = ["_LOW", "_HIGH", "_LO", "_HI", "_L", "_H"];
    let stem = halves.iter().find_map(|half| bare.strip_suffix(half)).unwrap_or(&bare);
    // "Base address" of something that takes two letters at least: a PBA is a packet buffer allocation.
    let is_address = |ending: &&&str| stem.ends_with(**ending) && (**ending != "BA" || stem.len() > 3);
    if let Some(ending) = ENDINGS.iter().find(is_address) {
        return Some((ending, "name"));
    }
    let word = |text: &str| {
        let parts = text.split(|c: char| !c.is_ascii_alphabetic()).map(str::to_ascii_lowercase);
        let mut parts = parts.collect::<Vec<_>>().into_iter();
        parts.find_map(|part| WORDS.iter().find(|word| **word == part).copied())
    };
    let of_name = word(info.name).map(|word| (word, "name"));
    of_name.or_else(|| word(info.section).map(|word| (word, "section")))
}
