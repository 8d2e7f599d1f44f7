//! From a file's text to a map.

mod guard;
mod transfer;

use nook_regs::{
    Bar, Bits, FieldInfo, LinkBits, Needs, PciClass, PciId, Ready, RegisterInfo, RegisterMap, Restore, Width,
    WriteEffect,
};

use crate::Wrong;
use crate::spell::{self, ACCESS, CLEAR, LINK, OPEN, QUIET, READ, RESET, RESET_BY, RESTORE, SET, SPACE, WIDTH, WRITE};
use crate::table::{self, Table, Value};

type Result<T> = std::result::Result<T, Wrong>;

/// The only version of the schema that there is.
pub const FORMAT: u64 = 1;

const MAP_KEYS: &[&str] = &["format", "name", "pci", "bar", "register"];
const BAR_KEYS: &[&str] = &["index", "space", "bytes"];
const REGISTER_KEYS: &[&str] = &[
    "name",
    "bar",
    "offset",
    "width",
    "count",
    "stride",
    "access",
    "section",
    "read",
    "write",
    "posts_only",
    "ready",
    "held_up",
    "needs",
    "link",
    "restore",
    "fields",
    "guard",
    "transfer",
];
const FIELD_KEYS: &[&str] = &["name", "bit", "bits"];
const READY_KEYS: &[&str] = &["register", "bits"];
const BITS_KEYS: &[&str] = &["mask", "is"];

/// What besides letters, digits and `_` is in names of maps.
const IN_MAPS: &str = "-.";

/// Where something in the file begins, which a rule of the checker may be about.
struct Named {
    name: &'static str,
    at: usize,
}

/// Returns the map, and at which byte each of its registers begins.
pub fn map(text: &str) -> Result<(RegisterMap, Vec<usize>)> {
    let document = table::document(text)?;
    let file = Table::outermost(document.get_ref(), "a register map", MAP_KEYS)?;
    table::number(file.need("format")?, "`format`, the version of the schema,", FORMAT..=FORMAT)?;
    let name = table::name(file.need("name")?, "a map's `name`", IN_MAPS)?;
    let (devices, classes) = devices(file.need("pci")?)?;
    let bars = table::items(file.need("bar")?, "`bar`")?.iter().map(bar).collect::<Result<Vec<_>>>()?;
    let (mut registers, mut names) = (Vec::new(), Vec::new());
    for value in table::items_of(&file, "register", "`register`")? {
        let (info, named) = register(value)?;
        registers.push(info);
        names.push(named);
    }
    let name: &'static str = keep(name);
    let map = RegisterMap::new(name, bars.leak(), registers.leak()).map_err(|error| {
        // A name that stands twice is wrong where it does so again.
        let mut named = names.iter().filter(|named| named.name == error.register);
        let at = match error.rule {
            nook_regs::Rule::NamedTwice => named.nth(1),
            _ => named.next(),
        };
        Wrong { at: at.map_or(0, |named| named.at), why: error.to_string() }
    })?;
    Ok((map.for_devices(devices.leak()).for_classes(classes.leak()), names.iter().map(|named| named.at).collect()))
}

/// Keeps text of the file, for the map: see [`MapFile::map`](crate::MapFile::map).
fn keep(text: &str) -> &'static str {
    String::leak(text.to_owned())
}

fn devices(value: &Value<'_>) -> Result<(Vec<PciId>, Vec<PciClass>)> {
    const WHAT: &str = "`pci`, the devices that the map describes,";
    let is_hex = |text: &str, digits| text.len() == digits && text.bytes().all(|byte| byte.is_ascii_hexdigit());
    let word = |text: &str| if is_hex(text, 4) { u16::from_str_radix(text, 16).ok() } else { None };
    let class = |text: &str| if is_hex(text, 6) { u32::from_str_radix(text, 16).ok().map(PciClass) } else { None };
    let (mut devices, mut classes) = (Vec::new(), Vec::new());
    for item in table::items(value, WHAT)? {
        let parts = item.get_ref().as_str().and_then(|text| text.split_once(':'));
        let twice = |what: String| Wrong::new(item.span(), format!("`pci` has {what} twice"));
        match parts.map(|(left, right)| (word(left).zip(word(right)), class(right).filter(|_| left == "class"))) {
            Some((Some((vendor, device)), _)) => {
                let id = PciId { vendor, device };
                if devices.contains(&id) {
                    return Err(twice(id.to_string()));
                }
                devices.push(id);
            }
            Some((None, Some(class))) => {
                if classes.contains(&class) {
                    return Err(twice(class.to_string()));
                }
                classes.push(class);
            }
            _ => {
                let why = "an item of `pci` is \"vendor:device\", each four hexadecimal digits, such as \"8086:100e\", \
                           or \"class:\" and six, such as \"class:010802\"";
                return Err(Wrong::new(item.span(), why));
            }
        }
    }
    if devices.is_empty() && classes.is_empty() {
        return Err(Wrong::new(value.span(), "`pci` names no device: a map is for devices that it names"));
    }
    Ok((devices, classes))
}

fn bar(value: &Value<'_>) -> Result<Bar> {
    let bar = Table::of(value, "a `bar`", BAR_KEYS)?;
    let space = table::word(bar.need("space")?, "a bar's `space`", SPACE)?;
    Ok(Bar {
        space,
        index: table::number(bar.need("index")?, "a bar's `index`", 0..=5)? as u8,
        len_bytes: table::number(bar.need("bytes")?, "a bar's length, `bytes`,", 1..=u32::MAX.into())? as u32,
    })
}

fn width(value: &Value<'_>) -> Result<Width> {
    let found = table::number(value, "a register's `width` in bits", 8..=64)?;
    WIDTH.iter().find(|(bits, _)| *bits == found).map(|(_, width)| *width).ok_or_else(|| {
        let allowed = spell::list(WIDTH.iter().map(|(bits, _)| bits.to_string()));
        Wrong::new(value.span(), format!("a register's `width` in bits is {allowed}"))
    })
}

fn register(value: &Value<'_>) -> Result<(RegisterInfo, Named)> {
    let table = Table::of(value, "a `register`", REGISTER_KEYS)?;
    let name = keep(table::name(table.need("name")?, "a register's `name`", "")?);
    let offset = table::number(table.need("offset")?, "a register's `offset`", 0..=u32::MAX.into())? as u32;
    let width = width(table.need("width")?)?;
    let access = table::word(table.need("access")?, "a register's `access`", ACCESS)?;
    let section = keep(table::text(table.need("section")?, "a register's `section` of the manual")?);
    let (count, stride) = elements(&table)?;
    let bar = table::number(table.need("bar")?, "a register's `bar`", 0..=5)? as u8;
    let mut info = RegisterInfo::declared(name, offset, width, count, stride, access, section).in_bar(bar);
    if let Some(value) = table.get("read") {
        info.read = table::word(value, "what reading does, `read`,", READ)?;
    }
    if let Some(value) = table.get("write") {
        info.write = write_effect(value, width)?;
    }
    if let Some(value) = table.get("posts_only") {
        info.posts_only = table::truth(value, "`posts_only`")?;
    }
    if let Some(value) = table.get("ready") {
        info.ready = Some(ready(value)?);
    }
    if let Some(value) = table.get("held_up") {
        info.held_up = bits(value, "the bits that say `held_up`", width)?;
    }
    if let Some(value) = table.get("needs") {
        info.needs = needs(value, width)?;
    }
    if let Some(value) = table.get("link") {
        info.link = link(value, width)?;
    }
    if let Some(value) = table.get("restore") {
        info.restore = restore(value, width)?;
    }
    if let Some(value) = table.get("guard") {
        info.guard = Some(guard::read(value, width)?);
    }
    if let Some(value) = table.get("transfer") {
        info.transfer = Some(transfer::read(value, width)?);
    }
    let fields = table::items_of(&table, "fields", "a register's `fields`")?;
    info.fields = fields.iter().map(|value| field(value, width)).collect::<Result<Vec<_>>>()?.leak();
    Ok((info, Named { name, at: table.start() }))
}

fn ready(value: &Value<'_>) -> Result<Ready> {
    let ready = Table::of(value, "`ready`", READY_KEYS)?;
    let register = keep(table::name(ready.need("register")?, "the `register` of `ready`", "")?);
    // How wide that register is is not known yet: the map's rules say whether it has them.
    Ok(Ready { register, bits: bits(ready.need("bits")?, "the `bits` of `ready`", Width::B8)? })
}

/// Returns how many, and how far apart.
fn elements(table: &Table<'_>) -> Result<(u32, u32)> {
    let most = nook_regs::MAX_REGISTERS.into();
    match (table.get("count"), table.get("stride")) {
        (None, None) => Ok((1, 0)),
        (Some(count), Some(stride)) => {
            let count = table::number(count, "an array's `count`", 1..=most)? as u32;
            Ok((count, table::number(stride, "an array's `stride` in bytes", 0..=u32::MAX.into())? as u32))
        }
        (Some(one), None) | (None, Some(one)) => {
            Err(Wrong::new(one.span(), "an array has both `count` and `stride`, and another register has neither"))
        }
    }
}

fn bits(value: &Value<'_>, what: &str, width: Width) -> Result<u64> {
    table::number(value, what, 0..=width.all_ones())
}

/// Returns the one key of a table that has one.
fn only<'a>(table: &Table<'a>, keys: &[&'static str]) -> Option<(&'static str, &'a Value<'a>)> {
    let mut found = keys.iter().filter_map(|key| Some((*key, table.get(key)?)));
    found.next().filter(|_| found.next().is_none())
}

fn write_effect(value: &Value<'_>, width: Width) -> Result<WriteEffect> {
    let wrong = || {
        let why = format!("what writing does, `write`, is {}, or {{ {RESET} = BITS }}", spell::quoted(WRITE));
        Wrong::new(value.span(), why)
    };
    if value.get_ref().is_str() {
        return table::word(value, "", WRITE).map_err(|_| wrong());
    }
    let table = Table::of(value, "", &[RESET]).map_err(|_| wrong())?;
    let (_, mask) = only(&table, &[RESET]).ok_or_else(wrong)?;
    Ok(WriteEffect::Reset(bits(mask, "what resets", width)?))
}

fn needs(value: &Value<'_>, width: Width) -> Result<Needs> {
    let wrong = || Wrong::new(value.span(), format!("`needs` is {{ {OPEN} = BITS }} or {{ {LINK} = BITS }}"));
    let table = Table::of(value, "", &[OPEN, LINK]).map_err(|_| wrong())?;
    match only(&table, &[OPEN, LINK]).ok_or_else(wrong)? {
        (OPEN, set) => Ok(Needs::Open(bits(set, "what must be set", width)?)),
        (_, set) => Ok(Needs::Link(bits(set, "what must be set", width)?)),
    }
}

fn link(value: &Value<'_>, width: Width) -> Result<LinkBits> {
    let wrong = || Wrong::new(value.span(), format!("`link` is {{ {SET} = BITS }} or {{ {CLEAR} = BITS }}"));
    let table = Table::of(value, "", &[SET, CLEAR]).map_err(|_| wrong())?;
    match only(&table, &[SET, CLEAR]).ok_or_else(wrong)? {
        (SET, told) => Ok(LinkBits::Set(bits(told, "what is set with a link", width)?)),
        (_, told) => Ok(LinkBits::Clear(bits(told, "what is clear with a link", width)?)),
    }
}

fn restore(value: &Value<'_>, width: Width) -> Result<Restore> {
    let wrong = || {
        let words = spell::quoted(RESTORE);
        let why = format!("`restore` is {words}, or {{ {QUIET} = VALUE }} or {{ {RESET_BY} = BITS }}");
        Wrong::new(value.span(), why)
    };
    if value.get_ref().is_str() {
        return table::word(value, "", RESTORE).map_err(|_| wrong());
    }
    let table = Table::of(value, "", &[QUIET, RESET_BY]).map_err(|_| wrong())?;
    match only(&table, &[QUIET, RESET_BY]).ok_or_else(wrong)? {
        (QUIET, value) => Ok(Restore::Quiet(bits(value, "what makes it quiet", width)?)),
        (_, mask) => Ok(Restore::ResetBy(bits(mask, "what resets", width)?)),
    }
}

fn field(value: &Value<'_>, width: Width) -> Result<FieldInfo> {
    let field = Table::of(value, "a field", FIELD_KEYS)?;
    let name = keep(table::name(field.need("name")?, "a field's `name`", "")?);
    let highest = u64::from(width.bits()) - 1;
    match only(&field, &["bit", "bits"]) {
        Some(("bit", bit)) => {
            let shift = table::number(bit, "a field's `bit`", 0..=highest)? as u32;
            Ok(FieldInfo { name, shift, bits: 1 })
        }
        Some((_, range)) => match table::items(range, "a field's `bits`")? {
            [low, high] => {
                let shift = table::number(low, "a field's lowest bit", 0..=highest)?;
                let high = table::number(high, "a field's highest bit", shift..=highest)?;
                Ok(FieldInfo { name, shift: shift as u32, bits: (high - shift) as u32 + 1 })
            }
            _ => Err(Wrong::new(range.span(), "a field's `bits` are its lowest and its highest bit: [0, 3]")),
        },
        None => Err(Wrong::new(value.span(), "a field has either `bit` or `bits`")),
    }
}

fn some_bits(value: &Value<'_>, width: Width) -> Result<Bits> {
    let some = Table::of(value, "what a guard compares", BITS_KEYS)?;
    let mask = bits(some.need("mask")?, "`mask`, the bits that are compared,", width)?;
    let values = table::items(some.need("is")?, "`is`, what these bits may be,")?;
    let values = values.iter().map(|value| bits(value, "an item of `is`", width)).collect::<Result<Vec<_>>>()?;
    Ok(Bits { mask, values: values.leak() })
}
