//! The hostcalls, as a trait: [`Kernel`], and safe to make: [`Calls`]. Everything here expands from the one table in
//! `nook-abi`.

use nook_abi::Addr;

/// The hostcalls of an instance, for code that runs inside its entries.
#[derive(Clone, Copy)]
pub(crate) struct Calls<K>(K);

impl<K: Kernel> Calls<K> {
    /// # Safety
    /// `kernel` serves the instance in whose entries the result, and what is made of it, is used, on one thread, and
    /// keeps the promises of the hostcall table.
    pub(crate) const unsafe fn new(kernel: K) -> Self {
        Calls(kernel)
    }

    /// Makes the call `log`, whose row has an address.
    pub(crate) fn log(self, level: u32, text: &[u8]) {
        // SAFETY: `new`'s caller vouched for kernel and thread. Address and length are those of a slice that lives
        // until the call has returned.
        unsafe { self.0.log(level, text.as_ptr() as Addr, text.len() as u32) }
    }
}

/// A row of the table as a method of [`Calls`], if it has no address among its arguments.
macro_rules! safe {
    ($name:ident [$($arg:ident: $ty:tt),*] -> $result:tt) => {
        safe!(@look [$($ty)*] $name [$($arg: $ty),*] $result);
    };
    (@look [Addr $($rest:tt)*] $($row:tt)*) => {};
    (@look [$first:tt $($rest:tt)*] $($row:tt)*) => {
        safe!(@look [$($rest)*] $($row)*);
    };
    (@look [] $name:ident [$($arg:ident: $ty:tt),*] $result:tt) => {
        #[inline(always)]
        pub(crate) fn $name(self, $($arg: $ty),*) -> $result {
            // SAFETY: `Calls::new`'s caller vouched for kernel and thread, and no argument is an address. The host
            // checks values and context.
            unsafe { self.0.$name($($arg),*) }
        }
    };
}

macro_rules! define_kernel {
    ($({ $doc:literal } $class:ident $topic:ident $contexts:ident $since:tt $variant:ident
       fn $name:ident($($arg:ident: $ty:tt),*) -> $result:tt;)*) => {
        /// Who answers a driver's hostcalls: one method for each row of the table, scalars only.
        ///
        /// # Safety
        /// Each method may be called only by the SDK, inside an entry of the instance that this kernel serves, in a
        /// context that the table allows; an `Addr` argument and the length beside it must lie in the driver's own
        /// memory.
        #[allow(clippy::missing_safety_doc)] // Once for all of them, above.
        pub trait Kernel: Copy + 'static {
            $(#[doc = $doc] unsafe fn $name(self, $($arg: $ty),*) -> $result;)*
        }

        impl<K: Kernel> Calls<K> {
            $(safe!($name [$($arg: $ty),*] -> $result);)*
        }

        #[cfg(target_arch = "wasm32")]
        mod imports {
            use nook_abi::Addr;

            #[link(wasm_import_module = "nook")]
            unsafe extern "C" {
                $(pub fn $name($($arg: $ty),*) -> $result;)*
            }
        }

        /// The host around a wasm instance: each method is an import of module `nook`.
        #[cfg(target_arch = "wasm32")]
        #[derive(Clone, Copy, Debug)]
        pub struct WasmKernel;

        #[cfg(target_arch = "wasm32")]
        impl Kernel for WasmKernel {
            $(
                #[inline(always)]
                unsafe fn $name(self, $($arg: $ty),*) -> $result {
                    // SAFETY: the import has this signature by the table; the caller keeps the method's contract.
                    unsafe { imports::$name($($arg),*) }
                }
            )*
        }
    };
}

nook_abi::hostcalls!(define_kernel);

#[cfg(target_arch = "wasm32")]
const _: () = {
    // `wasm_import_module` above takes only a literal.
    let (module, expected) = (nook_abi::IMPORT_MODULE.as_bytes(), b"nook");
    assert!(module.len() == expected.len());
    let mut i = 0;
    while i < expected.len() {
        assert!(module[i] == expected[i]);
        i += 1;
    }
};
