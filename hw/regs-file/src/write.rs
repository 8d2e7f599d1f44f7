//! From a map to a file's text.

use std::fmt::{self, Write};

use nook_regs::{
    Bits, Direction, FieldInfo, Guard, GuardRule, GuardState, LinkBits, Needs, Place, ReadEffect, Ready, Region,
    RegisterInfo, RegisterMap, Restore, Then, Transfer, WriteEffect,
};

use crate::read::FORMAT;
use crate::spell::{self, ACCESS, CLEAR, LINK, OPEN, QUIET, READ, RESET, RESET_BY, RESTORE, SET, SPACE, WINDOW, WRITE};

/// Returns the text from which [`read`](crate::read()) makes the same map, if names and texts are such as files may
/// have.
pub fn write(map: &RegisterMap) -> String {
    let mut text = String::new();
    // Writing to a string does not fail.
    let _ = whole(&mut text, map);
    text
}

fn whole(out: &mut String, map: &RegisterMap) -> fmt::Result {
    let devices: Vec<String> = map.describes().map(|id| format!("\"{id}\"")).collect();
    writeln!(out, "# A register map for nook: what a driver may do with its device. The schema is in")?;
    writeln!(out, "# docs/register-maps.md; `nook-run map check` says what this file allows.")?;
    writeln!(out, "format = {FORMAT}")?;
    writeln!(out, "name = {}", quoted(map.name()))?;
    writeln!(out, "pci = [{}]", devices.join(", "))?;
    for bar in map.bars() {
        let space = spell::word(SPACE, &bar.space).unwrap_or_default();
        writeln!(out, "\n[[bar]]\nindex = {}\nspace = \"{space}\"\nbytes = {:#x}", bar.index, bar.len_bytes)?;
    }
    map.registers().iter().try_for_each(|info| register(out, info))
}

fn quoted(text: &str) -> String {
    format!("\"{}\"", text.replace('\\', "\\\\").replace('"', "\\\""))
}

fn register(out: &mut String, info: &RegisterInfo) -> fmt::Result {
    writeln!(out, "\n[[register]]")?;
    writeln!(out, "name = {}", quoted(info.name))?;
    writeln!(out, "bar = {}", info.bar)?;
    writeln!(out, "offset = {:#06x}", info.offset)?;
    writeln!(out, "width = {}", info.width.bits())?;
    if (info.count, info.stride) != (1, 0) {
        writeln!(out, "count = {}\nstride = {}", info.count, info.stride)?;
    }
    writeln!(out, "access = \"{}\"", spell::word(ACCESS, &info.access).unwrap_or_default())?;
    writeln!(out, "section = {}", quoted(info.section))?;
    if info.read != ReadEffect::None {
        writeln!(out, "read = \"{}\"", spell::word(READ, &info.read).unwrap_or_default())?;
    }
    match info.write {
        WriteEffect::Plain => {}
        WriteEffect::Reset(bits) => writeln!(out, "write = {{ {RESET} = {bits:#x} }}")?,
        other => writeln!(out, "write = \"{}\"", spell::word(WRITE, &other).unwrap_or_default())?,
    }
    if info.posts_only {
        writeln!(out, "posts_only = true")?;
    }
    if let Some(Ready { register, bits }) = info.ready {
        writeln!(out, "ready = {{ register = {}, bits = {bits:#x} }}", quoted(register))?;
    }
    if info.held_up != 0 {
        writeln!(out, "held_up = {:#x}", info.held_up)?;
    }
    match info.needs {
        Needs::Nothing => {}
        Needs::Open(bits) => writeln!(out, "needs = {{ {OPEN} = {bits:#x} }}")?,
        Needs::Link(bits) => writeln!(out, "needs = {{ {LINK} = {bits:#x} }}")?,
    }
    match info.link {
        LinkBits::Nothing => {}
        LinkBits::Set(bits) => writeln!(out, "link = {{ {SET} = {bits:#x} }}")?,
        LinkBits::Clear(bits) => writeln!(out, "link = {{ {CLEAR} = {bits:#x} }}")?,
    }
    match info.restore {
        Restore::Nothing => {}
        Restore::Quiet(value) => writeln!(out, "restore = {{ {QUIET} = {value:#x} }}")?,
        Restore::ResetBy(bits) => writeln!(out, "restore = {{ {RESET_BY} = {bits:#x} }}")?,
        other => writeln!(out, "restore = \"{}\"", spell::word(RESTORE, &other).unwrap_or_default())?,
    }
    if !info.fields.is_empty() {
        writeln!(out, "fields = [")?;
        info.fields.iter().try_for_each(|field| writeln!(out, "    {},", one_field(field)))?;
        writeln!(out, "]")?;
    }
    info.guard.as_ref().map_or(Ok(()), |found| guard(out, found))?;
    info.transfer.as_ref().map_or(Ok(()), |found| transfer(out, found))
}

fn one_field(field: &FieldInfo) -> String {
    let name = quoted(field.name);
    match field.bits {
        1 => format!("{{ name = {name}, bit = {} }}", field.shift),
        bits => format!("{{ name = {name}, bits = [{}, {}] }}", field.shift, field.shift + bits - 1),
    }
}

fn guard(out: &mut String, guard: &Guard) -> fmt::Result {
    writeln!(out, "\n[register.guard]\nbusy = {:#x}", guard.busy)?;
    if !guard.never.is_empty() {
        writeln!(out, "never = [")?;
        for never in guard.never {
            writeln!(out, "    {{ now = {}, refuse = {} }},", some_bits(&never.now), quoted(never.why))?;
        }
        writeln!(out, "]")?;
    }
    guard.states.iter().try_for_each(|found| state(out, guard, found))
}

fn state(out: &mut String, guard: &Guard, state: &GuardState) -> fmt::Result {
    writeln!(out, "\n[[register.guard.state]]\nname = {}", quoted(state.name))?;
    if state.count != 1 {
        writeln!(out, "count = {}", state.count)?;
    }
    writeln!(out, "rules = [")?;
    state.rules.iter().try_for_each(|found| writeln!(out, "    {{ {} }},", rule(guard, found)))?;
    writeln!(out, "]")
}

fn rule(guard: &Guard, rule: &GuardRule) -> String {
    let mut parts = Vec::new();
    for (key, bits) in [("now", &rule.now), ("before", &rule.before)] {
        if *bits != Bits::ANY {
            parts.push(format!("{key} = {}", some_bits(bits)));
        }
    }
    parts.push(match rule.then {
        Then::Stay => "then = \"stay\"".into(),
        Then::Next => "then = \"next\"".into(),
        // A map has only guards whose states lead to others of theirs.
        Then::To(to) => {
            format!("to = {}", quoted(guard.states.get(usize::from(to)).map_or("", |state| state.name)))
        }
        Then::Refuse(why) => format!("refuse = {}", quoted(why)),
    });
    parts.join(", ")
}

fn transfer(out: &mut String, transfer: &Transfer) -> fmt::Result {
    let Transfer { start, length, address_bits, directions } = *transfer;
    writeln!(out, "\n[register.transfer]\nstart = {start:#x}\nlength = {}", quoted(length))?;
    if address_bits != 64 {
        writeln!(out, "address_bits = {address_bits}")?;
    }
    writeln!(out, "directions = [")?;
    for Direction { now, places } in directions {
        let now = if *now == Bits::ANY { String::new() } else { format!("now = {}, ", some_bits(now)) };
        writeln!(out, "    {{ {now}places = [")?;
        for &Place { register, region } in *places {
            let region = match region {
                Region::Window => quoted(WINDOW),
                Region::Device { first, last } => format!("[{first:#x}, {last:#x}]"),
            };
            writeln!(out, "        {{ register = {}, in = {region} }},", quoted(register))?;
        }
        writeln!(out, "    ] }},")?;
    }
    writeln!(out, "]")
}

fn some_bits(bits: &Bits) -> String {
    let values: Vec<String> = bits.values.iter().map(|value| format!("{value:#x}")).collect();
    format!("{{ mask = {:#x}, is = [{}] }}", bits.mask, values.join(", "))
}
