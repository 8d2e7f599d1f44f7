//! TOML values, read strictly: each key is known, each value has its type and its range, and an error says where.

use std::borrow::Cow;
use std::ops::{Range, RangeInclusive};

use toml::Spanned;
use toml::de::{DeTable, DeValue};

use crate::Wrong;
use crate::spell::{self, Words};

pub type Value<'a> = Spanned<DeValue<'a>>;
type Result<T> = std::result::Result<T, Wrong>;

/// The longest name of a map, a register, a field or a state.
const MAX_NAME_BYTES: usize = 64;
/// The longest text: a section of a manual, the reason of a refusal.
const MAX_TEXT_BYTES: usize = 300;

/// A table of which every key is known.
pub struct Table<'a> {
    what: &'static str,
    span: Range<usize>,
    entries: &'a DeTable<'a>,
}

impl<'a> Table<'a> {
    /// Returns the text's outermost table.
    pub fn outermost(entries: &'a DeTable<'a>, what: &'static str, keys: &[&str]) -> Result<Self> {
        Self { what, span: 0..0, entries }.known(keys)
    }

    /// Returns the table in `value`, which is `what` and has at most these keys.
    pub fn of(value: &'a Value<'a>, what: &'static str, keys: &[&str]) -> Result<Self> {
        match value.get_ref().as_table() {
            Some(entries) => Self { what, span: value.span(), entries }.known(keys),
            None => Err(Wrong::new(value.span(), format!("{what} is a table with {}", named(keys)))),
        }
    }

    fn known(self, keys: &[&str]) -> Result<Self> {
        // The first in the text; the table has them in the order of their names.
        let unknown = self.entries.keys().filter(|key| !keys.contains(&key.get_ref().as_ref()));
        match unknown.min_by_key(|key| key.span().start) {
            None => Ok(self),
            Some(key) => {
                let why = format!("{} has no {}; it can have {}", self.what, shown(key.get_ref()), named(keys));
                Err(Wrong::new(key.span(), why))
            }
        }
    }

    /// Returns where the table begins.
    pub fn start(&self) -> usize {
        self.span.start
    }

    /// Returns the value of a key that may be missing.
    pub fn get(&self, key: &str) -> Option<&'a Value<'a>> {
        self.entries.iter().find(|(name, _)| name.get_ref() == key).map(|(_, value)| value)
    }

    /// Returns the value of a key that may not.
    pub fn need(&self, key: &str) -> Result<&'a Value<'a>> {
        self.get(key).ok_or_else(|| Wrong::new(self.span.clone(), format!("{} lacks `{key}`", self.what)))
    }
}

/// Lists `name`, `bar` and so on, for an error.
fn named(keys: &[&str]) -> String {
    keys.iter().map(|key| format!("`{key}`")).collect::<Vec<_>>().join(", ")
}

/// Returns what stands in a text, for an error: short, and without what would move a terminal's cursor.
pub fn shown(text: &str) -> String {
    let plain: String = text.chars().take(40).map(|c| if is_plain(c) { c } else { '\u{fffd}' }).collect();
    format!("`{plain}{}`", if text.chars().nth(40).is_some() { "…" } else { "" })
}

fn is_plain(c: char) -> bool {
    c == ' ' || c.is_ascii_graphic()
}

/// Returns a value, for an error.
fn shown_value(value: &Value<'_>) -> String {
    match value.get_ref() {
        DeValue::String(text) => shown(text),
        DeValue::Integer(number) => shown(&number.to_string()),
        other => format!("a value of type {}", other.type_str()),
    }
}

fn expected<T>(value: &Value<'_>, what: &str, allowed: &str) -> Result<T> {
    Err(Wrong::new(value.span(), format!("{what} is {allowed}, and not {}", shown_value(value))))
}

/// Returns a number in a range.
pub fn number(value: &Value<'_>, what: &str, range: RangeInclusive<u64>) -> Result<u64> {
    let number = value.get_ref().as_integer();
    // TOML's numbers have a sign; 64 bits without one are read too.
    let found = number.and_then(|number| u64::from_str_radix(number.as_str(), number.radix()).ok());
    match found.filter(|found| range.contains(found)) {
        Some(found) => Ok(found),
        None => {
            let (least, most) = range.into_inner();
            let most = if most > 0xffff { format!("{most:#x}") } else { most.to_string() };
            expected(value, what, &format!("a number from {least} to {most}"))
        }
    }
}

/// Reads `true` or `false`.
pub fn truth(value: &Value<'_>, what: &str) -> Result<bool> {
    value.get_ref().as_bool().map_or_else(|| expected(value, what, "true or false"), Ok)
}

/// Reads one of some words.
pub fn word<T: Copy>(value: &Value<'_>, what: &str, words: Words<T>) -> Result<T> {
    match value.get_ref().as_str().and_then(|text| words.iter().find(|(word, _)| *word == text)) {
        Some((_, meaning)) => Ok(*meaning),
        None => expected(value, what, &spell::quoted(words)),
    }
}

/// Reads text for people.
pub fn text<'a>(value: &'a Value<'a>, what: &str) -> Result<&'a str> {
    match value.get_ref().as_str() {
        Some(text) if text.len() <= MAX_TEXT_BYTES && text.chars().all(is_plain) => Ok(text),
        _ => expected(value, what, &format!("printable ASCII text of at most {MAX_TEXT_BYTES} bytes")),
    }
}

/// Returns a name of letters, digits and `_`, and whatever else is in `besides`.
pub fn name<'a>(value: &'a Value<'a>, what: &str, besides: &str) -> Result<&'a str> {
    let is_part = |c: char| c == '_' || c.is_ascii_alphanumeric() || besides.contains(c);
    match value.get_ref().as_str() {
        Some(text) if (1..=MAX_NAME_BYTES).contains(&text.len()) && text.chars().all(is_part) => Ok(text),
        _ => {
            let more: String = besides.chars().map(|c| format!(" `{c}`")).collect();
            let allowed = format!("1 to {MAX_NAME_BYTES} letters, digits and `_`{more}");
            expected(value, what, &allowed)
        }
    }
}

/// Returns the items of an array.
pub fn items<'a>(value: &'a Value<'a>, what: &str) -> Result<&'a [Value<'a>]> {
    match value.get_ref().as_array() {
        Some(items) => Ok(items),
        None => expected(value, what, "an array"),
    }
}

/// Returns the items of an array that may be missing.
pub fn items_of<'a>(table: &Table<'a>, key: &str, what: &str) -> Result<&'a [Value<'a>]> {
    table.get(key).map_or(Ok(&[]), |value| items(value, what))
}

/// Parses the text as TOML.
pub fn document(text: &str) -> Result<Spanned<DeTable<'_>>> {
    DeTable::parse(text).map_err(|error| Wrong {
        at: error.span().map_or(0, |span| span.start),
        why: error.message().lines().map(|line| shown_line(line)).collect::<Vec<_>>().join(", "),
    })
}

fn shown_line(line: &str) -> Cow<'_, str> {
    if line.chars().all(is_plain) {
        return line.into();
    }
    line.chars().map(|c| if is_plain(c) { c } else { '\u{fffd}' }).collect::<String>().into()
}
