//! Filters: modules beside a driver that see each frame.

use crate::manifest::{Find, ManifestError};
use crate::table::value;
use crate::{ArgInfo, Context, Value};

/// Which way a frame goes that [`Hostcall::NetFilter`](crate::Hostcall::NetFilter) asks about.
pub mod filter_direction {
    /// From the device to the host.
    pub const RECEIVED: u32 = 0;
    /// From the host to the device.
    pub const SENDING: u32 = 1;
}

/// What a filter answers.
pub mod filter_verdict {
    /// It goes on.
    pub const PASS: u32 = 0;
    /// It does not: its buffer is returned as [`PacketStatus::Dropped`](crate::net::PacketStatus::Dropped).
    pub const DROP: u32 = 1;
}

/// One row of the table of a filter's entries.
#[derive(Clone, Copy, Debug)]
pub struct FilterEntryInfo {
    /// The export's name is [`ENTRY_PREFIX`](crate::ENTRY_PREFIX) and this.
    pub name: &'static str,
    /// In order.
    pub args: &'static [ArgInfo],
    /// The result.
    pub result: Value,
    /// Where the filter is while it runs.
    pub context: Context,
    /// The ABI version that brought it.
    pub since: (u16, u16),
    /// For the reference page.
    pub doc: &'static str,
}

/// Expands `$with! { rows }` with every entry of a filter: the module beside a driver that sees each frame. A row is
/// `{ doc } Context (major, minor) Variant fn name(arg: type, ...) -> type;`. A filter has all that its `abi` has.
#[macro_export]
macro_rules! filter_entries {
    ($with:ident) => {
        $with! {
            { "Begins. `host_page` is the address of a `HostPage` in the filter's own memory, of which only the \
window, the packet buffers and the mailbox are filled in; the mailbox holds `rules_len_bytes` of UTF-8: what the \
operator asks for, a rule a line. `Invalid` refuses them." }
            Process (1, 0) Begin fn begin(host_page: Addr, rules_len_bytes: u32) -> i32;
            { "A frame passes: the driver calls it, as `net_filter`. Returns a `filter_verdict`." }
            Atomic (1, 0) Frame fn frame(direction: u32, offset: u32, len_bytes: u32) -> u32;
        }
    };
}

macro_rules! define_filter_entries {
    ($({ $doc:literal } $context:ident $since:tt $variant:ident
       fn $name:ident($($arg:ident: $ty:tt),*) -> $result:tt;)*) => {
        /// The entries of a filter. Every filter exports all of them.
        pub static FILTER_ENTRIES: &[FilterEntryInfo] = &[$(FilterEntryInfo {
            name: stringify!($name),
            args: &[$(ArgInfo { name: stringify!($arg), value: value!($ty) }),*],
            result: value!($result),
            context: Context::$context,
            since: $since,
            doc: $doc,
        }),*];
    };
}

filter_entries!(define_filter_entries);

/// A filter adds no keys.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FilterKeys;

impl FilterKeys {
    pub(crate) const HAS_DEVICE: bool = false;
    pub(crate) const NAMES: &'static [&'static str] = &[];

    pub(crate) fn parse<'a>(_: Find<'_, 'a>) -> Result<Self, ManifestError<'a>> {
        Ok(FilterKeys)
    }
}
