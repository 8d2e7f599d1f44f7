//! A driver as a shared object: what [`nook_driver!`](crate::nook_driver) exports when it is not compiled for wasm.

#[cfg(feature = "domain")]
mod alone;
#[cfg(not(feature = "domain"))]
mod hosted;

use core::ffi::c_void;

use nook_abi::{Addr, NativeDriver, NativeEntries, NativeHead, NativeServices};

use crate::{Entries, Instance, Kernel};

#[cfg(feature = "domain")]
pub use alone::panic;
#[cfg(feature = "domain")]
use alone::{create, destroy, guarded};
#[cfg(not(feature = "domain"))]
use hosted::{create, destroy, guarded};

/// The host around a driver in a shared object: each method calls a function of the host's table.
#[derive(Clone, Copy, Debug)]
pub struct TableKernel {
    host: *mut c_void,
    services: *const NativeServices,
}

/// What the host's pointer to an instance points to.
struct Held<E> {
    kernel: TableKernel,
    instance: Instance<TableKernel, E>,
}

macro_rules! define_kernel {
    ($({ $doc:literal } $class:ident $topic:ident $contexts:ident $since:tt $variant:ident
       fn $name:ident($($arg:ident: $ty:tt),*) -> $result:tt;)*) => {
        impl Kernel for TableKernel {
            $(
                #[inline(always)]
                unsafe fn $name(self, $($arg: $ty),*) -> $result {
                    // SAFETY: the code that made the kernel vouched for its functions; the caller keeps the method's
                    // contract.
                    unsafe { ((*self.services).$name)(self.host, $($arg),*) }
                }
            )*
        }
    };
}

macro_rules! define_entries {
    ($({ $doc:literal } $class:ident $context:ident $required:ident $kind:ident $since:tt $variant:ident
       fn $name:ident($($arg:ident: $ty:tt),*) -> $result:tt;)*) => {
        /// Entries as C functions.
        mod entries {
            use super::*;

            $(
                pub(super) unsafe extern "C" fn $name<E: Entries<TableKernel>>(
                    instance: *mut c_void,
                    $($arg: $ty),*
                ) -> $result {
                    // SAFETY: the host passes what `create` gave it, to one entry at a time.
                    let Held { kernel, instance } = unsafe { &mut *instance.cast::<Held<E>>() };
                    // SAFETY: the host vouches for the addresses that it passes.
                    #[allow(unused_unsafe)]
                    guarded(*kernel, || unsafe { instance.$name($($arg),*) })
                }
            )*
        }

        /// Builds what the object of a driver exports, from what its class makes of it.
        pub const fn driver<E: Entries<TableKernel>>(manifest: &'static [u8]) -> NativeDriver {
            NativeDriver {
                head: NativeHead::OURS,
                manifest: &manifest[0],
                entries: NativeEntries {
                    create: create::<E>,
                    destroy: destroy::<E>,
                    $($name: entries::$name::<E>,)*
                },
            }
        }
    };
}

nook_abi::hostcalls!(define_kernel);
nook_abi::entries!(define_entries);
