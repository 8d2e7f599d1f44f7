//! A driver as a shared object: what [`nook_driver!`](crate::nook_driver) exports when it is not compiled for wasm.

extern crate std;

use core::ffi::c_void;
use core::panic::AssertUnwindSafe;
use core::ptr;
use core::sync::atomic::{AtomicPtr, Ordering};
use std::boxed::Box;
use std::panic::{PanicHookInfo, catch_unwind, set_hook};

use nook_abi::{Addr, NativeDriver, NativeEntries, NativeHead, NativeServices};

use crate::kernel::Calls;
use crate::{Entries, Instance, Kernel, LogLevel};

/// The host around a driver in a shared object: each method calls a function of the host's table.
#[derive(Clone, Copy, Debug)]
pub struct TableKernel {
    host: *mut c_void,
    services: *const NativeServices,
}

/// The kernel of this copy of the object's one instance, for the panic hook.
static HOST: AtomicPtr<c_void> = AtomicPtr::new(ptr::null_mut());
static SERVICES: AtomicPtr<NativeServices> = AtomicPtr::new(ptr::null_mut());

/// Says where and why, as in wasm.
fn last_words(panic: &PanicHookInfo<'_>) {
    let kernel = TableKernel { host: HOST.load(Ordering::Relaxed), services: SERVICES.load(Ordering::Relaxed) };
    // SAFETY: the host sets both before anything of the driver runs, and keeps them while it does; the hook runs on the
    // thread on which the driver panics.
    let calls = unsafe { Calls::new(kernel) };
    let message = panic.payload_as_str().unwrap_or("for a reason that is no text");
    match panic.location() {
        Some(at) => {
            let (file, line) = (at.file(), at.line());
            crate::nook::log(calls, LogLevel::Error, format_args!("panic at {file}:{line}: {message}"));
        }
        None => crate::nook::log(calls, LogLevel::Error, format_args!("panic: {message}")),
    }
}

/// What the host's pointer to an instance points to.
struct Held<E> {
    kernel: TableKernel,
    instance: Instance<TableKernel, E>,
}

/// Runs a part of the driver. If it panics, the host learns of it, and what is returned means nothing.
#[inline(always)]
fn guarded<R: Default>(kernel: TableKernel, run: impl FnOnce() -> R) -> R {
    catch_unwind(AssertUnwindSafe(run)).unwrap_or_else(|payload| {
        // Dropping it could panic once more.
        core::mem::forget(payload);
        // SAFETY: the code that made the kernel vouched for its functions.
        unsafe { ((*kernel.services).panicked)(kernel.host) };
        R::default()
    })
}

unsafe extern "C" fn create<E: Entries<TableKernel>>(
    host: *mut c_void,
    services: *const NativeServices,
) -> *mut c_void {
    HOST.store(host, Ordering::Relaxed);
    SERVICES.store(services.cast_mut(), Ordering::Relaxed);
    set_hook(Box::new(last_words));
    let kernel = TableKernel { host, services };
    Box::into_raw(Box::new(Held::<E> { kernel, instance: Instance::new(kernel) })).cast()
}

unsafe extern "C" fn destroy<E: Entries<TableKernel>>(instance: *mut c_void) {
    // SAFETY: the host passes what `create` gave it, for the last time.
    let Held { kernel, instance } = *unsafe { Box::from_raw(instance.cast::<Held<E>>()) };
    guarded(kernel, || drop(instance));
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
