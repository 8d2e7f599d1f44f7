//! The one table. Each hostcall and each entry stands once, among the core's rows or a class's, and everything that
//! needs to know them expands from here: the SDK's imports, the runtime's linker glue and checks, call tracing,
//! `nook-run inspect`, the reference page.

use core::fmt;

use crate::Class;

/// What kind of value crosses the boundary.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Value {
    /// wasm `i32`, read as unsigned.
    U32,
    /// wasm `i64`, read as unsigned.
    U64,
    /// wasm `i32`: zero, or a negative [`Status`](crate::Status).
    I32,
    /// wasm `i64`: not negative, or a negative [`Status`](crate::Status).
    I64,
    /// wasm `i32`: an address in the driver's memory.
    Addr,
    /// Nothing.
    Unit,
}

/// Where a driver is when it makes a call.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Context {
    /// May sleep and allocate: `probe`, `open`, `stop`, `work`, settings.
    Process,
    /// In `irq`: must be short.
    Interrupt,
    /// In `poll`, `timer` and `invoke`: must not sleep.
    Atomic,
}

impl fmt::Display for Context {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Context::Process => "process",
            Context::Interrupt => "interrupt",
            Context::Atomic => "atomic",
        })
    }
}

/// A set of [`Context`]s.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Contexts(u8);

impl Contexts {
    /// Process context only.
    pub const PROCESS: Contexts = Contexts(1);
    /// Everywhere.
    pub const ANY: Contexts = Contexts(7);

    /// Returns whether `context` is in the set.
    pub const fn allows(self, context: Context) -> bool {
        let bit = match context {
            Context::Process => 1,
            Context::Interrupt => 2,
            Context::Atomic => 4,
        };
        self.0 & bit != 0
    }
}

/// What a hostcall is about.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Topic {
    /// Device registers and configuration space.
    Register,
    /// The DMA window and bus mastering.
    Dma,
    /// Interrupt delivery.
    Interrupt,
    /// Clocks, delays, timers, deferred work, the next `poll`.
    Time,
    /// Messages for people.
    Log,
    /// What a class adds: the row says which.
    Class,
}

/// One argument.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ArgInfo {
    /// As in the table.
    pub name: &'static str,
    /// What crosses.
    pub value: Value,
}

/// One row of the hostcall table.
#[derive(Clone, Copy, Debug)]
pub struct HostcallInfo {
    /// Which one.
    pub call: Hostcall,
    /// The import's name, in module [`IMPORT_MODULE`](crate::IMPORT_MODULE).
    pub name: &'static str,
    /// In order.
    pub args: &'static [ArgInfo],
    /// The result.
    pub result: Value,
    /// What it is about.
    pub topic: Topic,
    /// The class whose drivers may make it; `None` is every class.
    pub class: Option<Class>,
    /// Where it may be called.
    pub contexts: Contexts,
    /// The ABI version that brought it.
    pub since: (u16, u16),
    /// For the reference page.
    pub doc: &'static str,
}

/// One row of the entry table.
#[derive(Clone, Copy, Debug)]
pub struct EntryInfo {
    /// Which one.
    pub entry: Entry,
    /// The export's name is [`ENTRY_PREFIX`](crate::ENTRY_PREFIX) and this.
    pub name: &'static str,
    /// In order.
    pub args: &'static [ArgInfo],
    /// The result.
    pub result: Value,
    /// Where the driver is while it runs.
    pub context: Context,
    /// Whether every driver of its class must export it.
    pub required: bool,
    /// What its calls are.
    pub kind: EntryKind,
    /// The class whose drivers have it; `None` is every class.
    pub class: Option<Class>,
    /// The ABI version that brought it.
    pub since: (u16, u16),
    /// For the reference page.
    pub doc: &'static str,
}

/// What calls of an entry are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum EntryKind {
    /// A transaction, where the driver's memory can be rolled back: until it was checked, all of it can be undone.
    Transaction,
    /// A setting: the host tells the driver again after a restart.
    Setting,
    /// Neither.
    Plain,
}

/// Expands `$with! { rows }` with every hostcall: the core's, then each class's in the order of
/// [`crate::Class`]. A row is
/// `{ doc } Class Topic CONTEXTS (major, minor) Variant fn name(arg: type, ...) -> type;`
/// where `Class` is `Core` or a class, and a type is `u32`, `u64`, `i32` (status), `i64` (value or status), `Addr` or
/// `()`.
#[macro_export]
macro_rules! hostcalls {
    ($with:ident) => {
        $crate::__classes! { __hostcalls ($with) }
    };
}

/// Expands `$with! { rows }` with every entry, in the same order. A row is
/// `{ doc } Class Context required|optional transaction|setting|plain (major, minor) Variant fn name(arg: type, ...) ->
/// type;`.
#[macro_export]
macro_rules! entries {
    ($with:ident) => {
        $crate::__classes! { __entries ($with) }
    };
}

/// Expands `$with! { rows }` with the entries that a driver of one class can have, the core's and its own:
/// `class_entries!($with net_entries Net)`.
#[macro_export]
macro_rules! class_entries {
    ($with:ident $entries:ident $class:ident) => {
        $crate::core_entries! { __join_entries ($with [] Core [$entries $class]) }
    };
}

#[doc(hidden)]
#[macro_export]
macro_rules! __hostcalls {
    (($with:ident) $($doc:tt $class:ident $name:literal $keys:path
        [$($hostcalls:ident $entries:ident $fault:path)?];)*) => {
        $crate::core_hostcalls! { __join_hostcalls ($with [] Core [$($($hostcalls $class)?)*]) }
    };
}

#[doc(hidden)]
#[macro_export]
macro_rules! __entries {
    (($with:ident) $($doc:tt $class:ident $name:literal $keys:path
        [$($hostcalls:ident $entries:ident $fault:path)?];)*) => {
        $crate::core_entries! { __join_entries ($with [] Core [$($($entries $class)?)*]) }
    };
}

/// Puts the class's name into each row and the rows behind those before; goes on with the next table, or is done.
#[doc(hidden)]
#[macro_export]
macro_rules! __join_hostcalls {
    (($with:ident [$($before:tt)*] $class:ident [])
     $($doc:tt $topic:ident $contexts:ident $since:tt $variant:ident fn $name:ident $args:tt -> $result:tt;)*) => {
        $with! {
            $($before)*
            $($doc $class $topic $contexts $since $variant fn $name $args -> $result;)*
        }
    };
    (($with:ident [$($before:tt)*] $class:ident [$next:ident $next_class:ident $($rest:ident)*])
     $($doc:tt $topic:ident $contexts:ident $since:tt $variant:ident fn $name:ident $args:tt -> $result:tt;)*) => {
        $crate::$next! { __join_hostcalls ($with [
            $($before)*
            $($doc $class $topic $contexts $since $variant fn $name $args -> $result;)*
        ] $next_class [$($rest)*]) }
    };
}

/// The same for entries.
#[doc(hidden)]
#[macro_export]
macro_rules! __join_entries {
    (($with:ident [$($before:tt)*] $class:ident [])
     $($doc:tt $context:ident $required:ident $kind:ident $since:tt $variant:ident
       fn $name:ident $args:tt -> $result:tt;)*) => {
        $with! {
            $($before)*
            $($doc $class $context $required $kind $since $variant fn $name $args -> $result;)*
        }
    };
    (($with:ident [$($before:tt)*] $class:ident [$next:ident $next_class:ident $($rest:ident)*])
     $($doc:tt $context:ident $required:ident $kind:ident $since:tt $variant:ident
       fn $name:ident $args:tt -> $result:tt;)*) => {
        $crate::$next! { __join_entries ($with [
            $($before)*
            $($doc $class $context $required $kind $since $variant fn $name $args -> $result;)*
        ] $next_class [$($rest)*]) }
    };
}

macro_rules! value {
    (u32) => {
        Value::U32
    };
    (u64) => {
        Value::U64
    };
    (i32) => {
        Value::I32
    };
    (i64) => {
        Value::I64
    };
    (Addr) => {
        Value::Addr
    };
    (()) => {
        Value::Unit
    };
}

pub(crate) use value;

macro_rules! required {
    (required) => {
        true
    };
    (optional) => {
        false
    };
}

macro_rules! kind {
    (transaction) => {
        EntryKind::Transaction
    };
    (setting) => {
        EntryKind::Setting
    };
    (plain) => {
        EntryKind::Plain
    };
}

macro_rules! class {
    (Core) => {
        None
    };
    ($class:ident) => {
        Some(Class::$class)
    };
}

macro_rules! define_hostcalls {
    ($({ $doc:literal } $class:ident $topic:ident $contexts:ident $since:tt $variant:ident
       fn $name:ident($($arg:ident: $ty:tt),*) -> $result:tt;)*) => {
        /// Each service that a driver can ask the host for.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
        #[repr(u8)]
        pub enum Hostcall { $(#[doc = $doc] $variant,)* }

        /// The hostcall table, in the order of [`Hostcall`].
        pub static HOSTCALLS: &[HostcallInfo] = &[$(HostcallInfo {
            call: Hostcall::$variant,
            name: stringify!($name),
            args: &[$(ArgInfo { name: stringify!($arg), value: value!($ty) }),*],
            result: value!($result),
            topic: Topic::$topic,
            class: class!($class),
            contexts: Contexts::$contexts,
            since: $since,
            doc: $doc,
        }),*];
    };
}

macro_rules! define_entries {
    ($({ $doc:literal } $class:ident $context:ident $required:ident $kind:ident $since:tt $variant:ident
       fn $name:ident($($arg:ident: $ty:tt),*) -> $result:tt;)*) => {
        /// Each way into a driver.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
        #[repr(u8)]
        pub enum Entry { $(#[doc = $doc] $variant,)* }

        impl Entry {
            /// Returns the kind of its calls.
            pub const fn kind(self) -> EntryKind {
                match self { $(Entry::$variant => kind!($kind),)* }
            }

            /// Returns where the driver is while it runs.
            #[inline(always)]
            pub const fn context(self) -> Context {
                match self { $(Entry::$variant => Context::$context,)* }
            }
        }

        /// The entry table, in the order of [`Entry`].
        pub static ENTRIES: &[EntryInfo] = &[$(EntryInfo {
            entry: Entry::$variant,
            name: stringify!($name),
            args: &[$(ArgInfo { name: stringify!($arg), value: value!($ty) }),*],
            result: value!($result),
            context: Context::$context,
            required: required!($required),
            kind: kind!($kind),
            class: class!($class),
            since: $since,
            doc: $doc,
        }),*];
    };
}

hostcalls!(define_hostcalls);
entries!(define_entries);

impl Hostcall {
    /// Returns its row.
    pub fn info(self) -> &'static HostcallInfo {
        &HOSTCALLS[self as usize]
    }
}

impl Entry {
    /// Returns its row.
    pub fn info(self) -> &'static EntryInfo {
        &ENTRIES[self as usize]
    }

    /// Returns its name, without the prefix of the export.
    pub fn name(self) -> &'static str {
        self.info().name
    }

    /// Returns the entry with this name.
    pub fn named(name: &str) -> Option<Entry> {
        ENTRIES.iter().find(|row| row.name == name).map(|row| row.entry)
    }

    /// Returns whether its calls are transactions; those of others write through.
    pub const fn is_transaction(self) -> bool {
        matches!(self.kind(), EntryKind::Transaction)
    }
}

impl fmt::Display for Hostcall {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.info().name)
    }
}

impl fmt::Display for Entry {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_row_stands_at_its_own_number() {
        for (index, row) in HOSTCALLS.iter().enumerate() {
            assert_eq!(row.call as usize, index);
        }
        for (index, row) in ENTRIES.iter().enumerate() {
            assert_eq!(row.entry as usize, index);
        }
    }

    #[test]
    fn the_core_comes_first_and_then_each_class_in_order() {
        let place = |class: Option<Class>| class.map_or(0, |class| class as usize + 1);
        assert!(HOSTCALLS.is_sorted_by_key(|row| place(row.class)));
        assert!(ENTRIES.is_sorted_by_key(|row| place(row.class)));
        assert_eq!((Entry::Poll.info().class, Entry::SetMac.info().class), (None, Some(Class::Net)));
    }

    #[test]
    fn settings_are_calls_that_can_be_refused() {
        for row in ENTRIES.iter().filter(|row| row.kind == EntryKind::Setting) {
            assert_eq!((row.result, row.context), (Value::I32, Context::Process), "{}", row.name);
        }
    }
}
