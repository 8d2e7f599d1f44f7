//! How files spell what a map says: one table for reading and for writing.

use nook_regs::{Access, BarSpace, ReadEffect, Restore, Width, WriteEffect};

/// Words and what they mean.
pub type Words<T> = &'static [(&'static str, T)];

pub const ACCESS: Words<Access> =
    &[("ro", Access::Ro), ("wo", Access::Wo), ("rw", Access::Rw), ("forbidden", Access::Forbidden)];

pub const SPACE: Words<BarSpace> = &[("memory", BarSpace::Memory), ("io", BarSpace::Io)];

pub const WIDTH: &[(u64, Width)] = &[(8, Width::B1), (16, Width::B2), (32, Width::B4), (64, Width::B8)];

pub const READ: Words<ReadEffect> = &[
    ("none", ReadEffect::None),
    ("clears_or", ReadEffect::ClearsOr),
    ("clears_add", ReadEffect::ClearsAdd),
    ("clears_pair", ReadEffect::ClearsPair),
    ("pops", ReadEffect::Pops),
    ("other", ReadEffect::Other),
];

/// Those without bits; the other one is [`RESET`].
pub const WRITE: Words<WriteEffect> = &[
    ("plain", WriteEffect::Plain),
    ("one_clears", WriteEffect::OneClears),
    ("dma_base", WriteEffect::DmaBase),
    ("dma_base_or_zero", WriteEffect::DmaBaseOrZero),
    ("dma_base_high", WriteEffect::DmaBaseHigh),
    ("doorbell", WriteEffect::Doorbell),
    ("command", WriteEffect::Command),
];

/// [`WriteEffect::Reset`].
pub const RESET: &str = "reset";

/// Those without bits; the others are [`QUIET`] and [`RESET_BY`].
pub const RESTORE: Words<Restore> = &[
    ("nothing", Restore::Nothing),
    ("written", Restore::Written),
    ("held", Restore::Held),
    ("mask", Restore::Mask),
    ("switch", Restore::Switch),
];

/// [`Restore::Quiet`].
pub const QUIET: &str = "quiet";
/// [`Restore::ResetBy`].
pub const RESET_BY: &str = "reset_by";

/// [`Needs::Open`](nook_regs::Needs::Open).
pub const OPEN: &str = "open";
/// [`Needs::Link`](nook_regs::Needs::Link).
pub const LINK: &str = "link";
/// [`LinkBits::Set`](nook_regs::LinkBits::Set).
pub const SET: &str = "set";
/// [`LinkBits::Clear`](nook_regs::LinkBits::Clear).
pub const CLEAR: &str = "clear";

/// [`Region::Window`](nook_regs::Region::Window).
pub const WINDOW: &str = "window";

/// Returns the word for a meaning.
pub fn word<T: PartialEq>(words: Words<T>, meaning: &T) -> Option<&'static str> {
    words.iter().find(|(_, found)| found == meaning).map(|(word, _)| *word)
}

/// Formats a list as `"a", "b" or "c"`.
pub fn list(words: impl IntoIterator<Item = String>) -> String {
    let mut words: Vec<String> = words.into_iter().collect();
    let last = words.pop().unwrap_or_default();
    if words.is_empty() { last } else { format!("{} or {last}", words.join(", ")) }
}

/// Returns the words, quoted, as a list.
pub fn quoted<T>(words: Words<T>) -> String {
    list(words.iter().map(|(word, _)| format!("\"{word}\"")))
}
