//! How a driver that is a shared object meets its host: a table of functions each way, made from the one table.
//!
//! The object exports one [`NativeDriver`], under [`NATIVE_SYMBOL_PREFIX`] and the driver's name, and has its manifest
//! as text in the section [`NATIVE_MANIFEST_SECTION`]. Section and [`NativeHead`] are read in the file, before anything
//! of it runs. Each instance has a copy of the object to itself, so what is static in a driver belongs to one instance.

use core::ffi::c_void;

use crate::{ABI_VERSION, Addr, ENTRIES, HOSTCALLS};

/// The ELF section with the manifest, in objects and programs.
pub const NATIVE_MANIFEST_SECTION: &str = ".nook.manifest";

/// The driver's name in its manifest follows.
pub const NATIVE_SYMBOL_PREFIX: &str = "nook_driver_";

/// What the tables that follow it were made from. Both sides must have been made from the same.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(C)]
pub struct NativeHead {
    /// The version of the ABI.
    pub abi_major: u16,
    /// The same.
    pub abi_minor: u16,
    /// Rows of the hostcall table.
    pub hostcalls: u16,
    /// Rows of the entry table.
    pub entries: u16,
}

impl NativeHead {
    /// Of this crate's tables.
    pub const OURS: NativeHead = NativeHead {
        abi_major: ABI_VERSION.0,
        abi_minor: ABI_VERSION.1,
        hostcalls: HOSTCALLS.len() as u16,
        entries: ENTRIES.len() as u16,
    };

    /// Reads the head as it lies in the file of an object for this machine.
    pub fn from_bytes(bytes: [u8; size_of::<NativeHead>()]) -> Self {
        let word = |at: usize| u16::from_ne_bytes([bytes[at], bytes[at + 1]]);
        NativeHead { abi_major: word(0), abi_minor: word(2), hostcalls: word(4), entries: word(6) }
    }
}

/// What a shared object exports.
#[derive(Debug)]
#[repr(C)]
pub struct NativeDriver {
    /// What the functions look like.
    pub head: NativeHead,
    /// The manifest's first byte: keeping this keeps that in the file.
    pub manifest: &'static u8,
    /// The driver's functions.
    pub entries: NativeEntries,
}

macro_rules! define_services {
    ($({ $doc:literal } $class:ident $topic:ident $contexts:ident $since:tt $variant:ident
       fn $name:ident($($arg:ident: $ty:tt),*) -> $result:tt;)*) => {
        /// The host's functions: each hostcall, with the host's own pointer first. None of them unwinds.
        #[derive(Clone, Copy, Debug)]
        #[repr(C)]
        pub struct NativeServices {
            /// The call into the driver that runs ended in a panic, which the driver's side has caught and logged. Its
            /// result is not to be looked at.
            pub panicked: unsafe extern "C" fn(host: *mut c_void),
            $(
                #[doc = $doc]
                pub $name: unsafe extern "C" fn(host: *mut c_void, $($arg: $ty),*) -> $result,
            )*
        }
    };
}

macro_rules! define_entries {
    ($({ $doc:literal } $class:ident $context:ident $required:ident $kind:ident $since:tt $variant:ident
       fn $name:ident($($arg:ident: $ty:tt),*) -> $result:tt;)*) => {
        /// The driver's functions: each entry, with the instance first. None of them unwinds.
        #[derive(Clone, Copy, Debug)]
        #[repr(C)]
        pub struct NativeEntries {
            /// Makes the instance whose hostcalls `services` answers, which stays where it is for as long as the
            /// instance. Called once for each copy of the object that is loaded.
            pub create: unsafe extern "C" fn(host: *mut c_void, services: *const NativeServices) -> *mut c_void,
            /// Ends it: what it holds is returned through hostcalls.
            pub destroy: unsafe extern "C" fn(instance: *mut c_void),
            $(
                #[doc = $doc]
                pub $name: unsafe extern "C" fn(instance: *mut c_void, $($arg: $ty),*) -> $result,
            )*
        }
    };
}

crate::hostcalls!(define_services);
crate::entries!(define_entries);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_tables_have_a_function_for_each_row_and_nothing_between() {
        let word = size_of::<usize>();
        assert_eq!(size_of::<NativeServices>(), (HOSTCALLS.len() + 1) * word);
        assert_eq!(size_of::<NativeEntries>(), (ENTRIES.len() + 2) * word);
    }

    #[test]
    fn the_head_is_read_as_it_was_written() {
        let NativeHead { abi_major, abi_minor, hostcalls, entries } = NativeHead::OURS;
        let bytes: std::vec::Vec<u8> =
            [abi_major, abi_minor, hostcalls, entries].into_iter().flat_map(u16::to_ne_bytes).collect();
        assert_eq!(NativeHead::from_bytes(bytes.try_into().unwrap()), NativeHead::OURS);
    }
}
