//! Hints: what a driver says of an instruction. One looks like a call of an import, so that every compiler can write
//! it, and is none: the loader puts the instruction in its place, at every level, before anything of the module runs.

use crate::table::value;
use crate::{ArgInfo, Value};

/// The wasm module name of hints.
pub const HINT_MODULE: &str = "nook_hint";

/// One row of the table of hints.
#[derive(Clone, Copy, Debug)]
pub struct HintInfo {
    /// Which one.
    pub hint: Hint,
    /// The import's name, in module [`HINT_MODULE`].
    pub name: &'static str,
    /// In order.
    pub args: &'static [ArgInfo],
    /// The result.
    pub result: Value,
    /// The ABI version that brought it.
    pub since: (u16, u16),
    /// For the reference page.
    pub doc: &'static str,
}

/// Expands `$with! { rows }` with every hint. A row is
/// `{ doc } (major, minor) Variant fn name(arg: type, ...) -> type;`.
#[macro_export]
macro_rules! hints {
    ($with:ident) => {
        $with! {
            { "Stores the 8 bytes of `value` at `addr + offset` (a sum below 2^32). A rollback leaves them as they are: \
they are for memory whose content means nothing when a call begins." }
            (1, 0) Store64 fn store64(addr: Addr, value: u64, offset: u32) -> ();
        }
    };
}

macro_rules! define_hints {
    ($({ $doc:literal } $since:tt $variant:ident fn $name:ident($($arg:ident: $ty:tt),*) -> $result:tt;)*) => {
        /// Each hint.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
        #[repr(u8)]
        pub enum Hint { $(#[doc = $doc] $variant,)* }

        /// The table of hints, in the order of [`Hint`].
        pub static HINTS: &[HintInfo] = &[$(HintInfo {
            hint: Hint::$variant,
            name: stringify!($name),
            args: &[$(ArgInfo { name: stringify!($arg), value: value!($ty) }),*],
            result: value!($result),
            since: $since,
            doc: $doc,
        }),*];
    };
}

hints!(define_hints);
