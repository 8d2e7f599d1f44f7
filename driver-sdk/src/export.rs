//! [`nook_driver!`](crate::nook_driver): manifest, exports and panic handler.

use nook_abi::ABI_VERSION;

#[cfg(target_arch = "wasm32")]
pub use wasm::{Global, panic};

/// The manifest's first line.
pub const ABI_LINE: &str = {
    assert!(ABI_VERSION.0 < 10 && ABI_VERSION.1 < 10, "one digit each is written below");
    const LINE: [u8; 10] = {
        let mut line = *b"abi = ?.?\n";
        line[6] = b'0' + ABI_VERSION.0 as u8;
        line[8] = b'0' + ABI_VERSION.1 as u8;
        line
    };
    match core::str::from_utf8(&LINE) {
        Ok(line) => line,
        Err(_) => unreachable!(),
    }
};

/// Joins two texts, `N` bytes in all.
pub const fn join<const N: usize>(first: &str, second: &str) -> [u8; N] {
    let (first, second) = (first.as_bytes(), second.as_bytes());
    assert!(first.len() + second.len() == N);
    let mut joined = [0; N];
    let mut i = 0;
    while i < N {
        joined[i] = if i < first.len() { first[i] } else { second[i - first.len()] };
        i += 1;
    }
    joined
}

/// Returns the text that [`join`] made: its parts were text.
pub const fn text(bytes: &'static [u8]) -> &'static str {
    match core::str::from_utf8(bytes) {
        Ok(text) => text,
        Err(_) => panic!("the manifest is not UTF-8"),
    }
}

#[cfg(target_arch = "wasm32")]
mod wasm {
    use core::cell::UnsafeCell;
    use core::panic::PanicInfo;

    use crate::WasmKernel;
    use crate::kernel::Calls;

    /// The module's one instance.
    pub struct Global<I>(UnsafeCell<I>);

    // SAFETY: a module's memory is not shared and it has one thread, so nothing is ever used from two.
    unsafe impl<I> Sync for Global<I> {}

    impl<I> Global<I> {
        /// Creates an empty one, for a static.
        pub const fn new(instance: I) -> Self {
            Global(UnsafeCell::new(instance))
        }

        /// Returns the instance.
        ///
        /// # Safety
        /// Called once at the start of an entry; entries never overlap.
        #[allow(clippy::mut_from_ref)]
        pub unsafe fn get(&self) -> &mut I {
            // SAFETY: by the contract above, no other reference exists.
            unsafe { &mut *self.0.get() }
        }
    }

    /// Says where and why, and ends the call with a trap.
    pub fn panic(info: &PanicInfo<'_>) -> ! {
        // SAFETY: the imports serve the module's one instance, on its one thread.
        let calls = unsafe { Calls::new(WasmKernel) };
        crate::nook::say_panic(calls, info.location(), info.message());
        core::arch::wasm32::unreachable()
    }
}

#[cfg(target_arch = "wasm32")]
const _: () = {
    // `export_name` below takes only literals.
    assert!(nook_abi::ENTRY_PREFIX.len() == 5);
    let prefix = nook_abi::ENTRY_PREFIX.as_bytes();
    assert!(prefix[0] == b'n' && prefix[1] == b'o' && prefix[2] == b'o' && prefix[3] == b'k' && prefix[4] == b'_');
};

#[cfg(not(target_arch = "wasm32"))]
const _: () = {
    // As above: both stand in the macro as literals.
    assert!(is("nook_driver_", nook_abi::NATIVE_SYMBOL_PREFIX));
    assert!(is(".nook.manifest", nook_abi::NATIVE_MANIFEST_SECTION));

    const fn is(here: &str, there: &str) -> bool {
        let (here, there) = (here.as_bytes(), there.as_bytes());
        let mut at = 0;
        while at < here.len() && at < there.len() && here[at] == there[at] {
            at += 1;
        }
        at == here.len() && at == there.len()
    }
};

/// Makes a crate a driver: `nook_driver! { Driver, class: net, name: "…", key: value, … }`.
///
/// `Driver` is a type `Driver<K>` that implements its class's trait for every kernel:
/// [`NetDriver<K>`](crate::net::NetDriver) for `net`, [`BlockDriver<K>`](crate::block::BlockDriver) for `block`,
/// [`MiscDriver<K>`](crate::misc::MiscDriver) for `misc`, [`SerialDriver<K>`](crate::serial::SerialDriver) for
/// `serial`. The other keys are those of the manifest (see [`nook_abi::Manifest`]) except `abi`, `version` and
/// `license`, which are known: the last two come from `Cargo.toml`. What comes out is `pub const MANIFEST: &str` and a
/// section with that text; besides, on wasm32, one exported function for each entry of the table, and the panic
/// handler, and elsewhere what makes a shared object of the crate a native driver ([`nook_abi::NativeDriver`]).
///
/// The crate may say `#![forbid(unsafe_code)]`: what it forbids is its own code, not what this macro writes.
///
/// It stands at the end of `lib.rs`, not in a module:
///
/// ```text
/// nook_sdk::nook_driver! {
///     MyCard,
///     class: net,
///     name: "my-card",
///     // Devices, and classes of devices, with blanks between them.
///     pci: "1234:5678 1234:5679",
///     // The name of the register map by which the host checks.
///     registers: "my-card",
///     // What `dma_alloc` gives out together, and how many bits of an address the device has.
///     dma_bytes: 65536,
///     dma_mask_bits: 64,
///     // Keys with a default; some are the class's.
///     irq_vectors: 2,
/// }
/// ```
#[macro_export]
macro_rules! nook_driver {
    ($driver:ident, class: $class:ident, name: $name:literal, $($key:ident: $value:literal),+ $(,)?) => {
        $crate::__nook_manifest! { $class, name: $name, $($key: $value),+ }

        /// The driver, for the program that is made of it (`nook_process_guest`).
        #[doc(hidden)]
        #[allow(dead_code, private_interfaces, reason = "a driver that is not public has no program")]
        pub type NookDriver<K> = $driver<K>;

        #[cfg(target_os = "linux")]
        const _: () = {
            #[unsafe(link_section = ".nook.manifest")]
            static NOOK_MANIFEST: [u8; MANIFEST.len()] = $crate::export_support::join(MANIFEST, "");

            // Named after the driver, so that several of them can be in one program, for tests.
            #[unsafe(export_name = ::core::concat!("nook_driver_", $name))]
            static NOOK_DRIVER: $crate::abi::NativeDriver =
                $crate::export_support::driver::<
                    $crate::$class::Running<$crate::TableKernel, $driver<$crate::TableKernel>>,
                >(&NOOK_MANIFEST);
        };

        $crate::__nook_domain_panic!();

        #[cfg(target_arch = "wasm32")]
        const _: () = {
            use $crate::__nook_export_entries;

            static NOOK_DRIVER: $crate::export_support::Global<
                $crate::Instance<$crate::WasmKernel, $crate::$class::Running<$crate::WasmKernel, $driver<$crate::WasmKernel>>>,
            > = $crate::export_support::Global::new($crate::Instance::new($crate::WasmKernel));

            $crate::__nook_class_entries!($class __nook_export_entries);

            #[panic_handler]
            fn panic(info: &::core::panic::PanicInfo<'_>) -> ! {
                $crate::export_support::panic(info)
            }
        };
    };
}

/// The panic handler of an object without the standard library; with it, there is one.
#[doc(hidden)]
#[macro_export]
#[cfg(all(feature = "domain", not(target_arch = "wasm32")))]
macro_rules! __nook_domain_panic {
    () => {
        #[panic_handler]
        fn panic(info: &::core::panic::PanicInfo<'_>) -> ! {
            $crate::export_support::panic(info)
        }
    };
}
#[doc(hidden)]
#[macro_export]
#[cfg(not(all(feature = "domain", not(target_arch = "wasm32"))))]
macro_rules! __nook_domain_panic {
    () => {};
}

/// The manifest, as text and, on wasm32, in its section.
#[doc(hidden)]
#[macro_export]
macro_rules! __nook_manifest {
    ($class:ident, $($key:ident: $value:literal),+) => {
        /// This module's self-description: lines of `key = value`.
        pub const MANIFEST: &str = {
            const REST: &str = ::core::concat!(
                "class = ", ::core::stringify!($class), "\nversion = ", ::core::env!("CARGO_PKG_VERSION"),
                "\nlicense = ", ::core::env!("CARGO_PKG_LICENSE"), "\n",
                $(::core::stringify!($key), " = ", $value, "\n"),+
            );
            const LEN: usize = $crate::export_support::ABI_LINE.len() + REST.len();
            const BYTES: [u8; LEN] = $crate::export_support::join($crate::export_support::ABI_LINE, REST);
            $crate::export_support::text(&BYTES)
        };

        #[cfg(target_arch = "wasm32")]
        const _: () = {
            #[used]
            #[unsafe(link_section = "nook.manifest")]
            static NOOK_MANIFEST: [u8; MANIFEST.len()] = $crate::export_support::join(MANIFEST, "");
        };
    };
}

/// The entries that drivers of a class export: one line for each class.
#[doc(hidden)]
#[macro_export]
macro_rules! __nook_class_entries {
    (net $with:ident) => {
        $crate::abi::class_entries!($with net_entries Net);
    };
    (misc $with:ident) => {
        $crate::abi::class_entries!($with misc_entries Misc);
    };
    (block $with:ident) => {
        $crate::abi::class_entries!($with block_entries Block);
    };
    (serial $with:ident) => {
        $crate::abi::class_entries!($with serial_entries Serial);
    };
}

/// One exported function for each row of the entry table.
#[doc(hidden)]
#[macro_export]
macro_rules! __nook_export_entries {
    ($({ $doc:literal } $class:ident $context:ident $required:ident $kind:ident $since:tt $variant:ident
       fn $name:ident($($arg:ident: $ty:tt),*) -> $result:tt;)*) => {
        #[allow(unused_imports)]
        use $crate::abi::Addr;
        $(
            #[unsafe(export_name = ::core::concat!("nook_", ::core::stringify!($name)))]
            extern "C" fn $name($($arg: $ty),*) -> $result {
                // SAFETY: the host calls entries one at a time, and vouches for the addresses that it passes.
                #[allow(unused_unsafe)]
                unsafe { NOOK_DRIVER.get().$name($($arg),*) }
            }
        )*
    };
}

#[cfg(test)]
mod tests {
    use core::marker::PhantomData;

    use nook_abi::{ABI_VERSION, Class, Manifest};

    use crate::{Input, Kernel, MiscDriver, Nook, ProbeReason, Status, Ticket};

    struct Unused<K>(PhantomData<K>);

    impl<K: Kernel> MiscDriver<K> for Unused<K> {
        const OPERATIONS: &'static str = "nothing";
        fn probe(_: Nook<K>, _: ProbeReason) -> Result<Self, Status> {
            Err(Status::NoDevice)
        }
        fn remove(self) {}
        fn open(&mut self) -> Result<(), Status> {
            Ok(())
        }
        fn stop(&mut self) -> Result<(), Status> {
            Ok(())
        }
        fn invoke(&mut self, _: Ticket, _: u32, _: Input<'_>) -> Result<(), Status> {
            Err(Status::Unsupported)
        }
    }

    crate::nook_driver! {
        Unused,
        class: misc,
        name: "sample",
        pci: "1234:11e8",
        registers: "edu",
        dma_bytes: 4096,
        dma_mask_bits: 28,
    }

    #[test]
    fn the_macro_writes_a_manifest_that_the_host_can_read() {
        let manifest = Manifest::parse(MANIFEST.as_bytes()).unwrap();
        assert_eq!((manifest.abi, manifest.class()), (ABI_VERSION, Class::Misc));
        assert_eq!((manifest.name, manifest.version, manifest.license), ("sample", "0.1.0", "Apache-2.0"));
        assert!(manifest.pci_ids().eq([(0x1234, 0x11e8)]));
        assert_eq!((manifest.dma_bytes, manifest.dma_mask_bits), (4096, 28));
    }
}
