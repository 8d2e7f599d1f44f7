//! In an object that the C library loads: with the standard library, and panics that are caught.

extern crate std;

use core::ffi::c_void;
use core::panic::AssertUnwindSafe;
use core::ptr;
use core::sync::atomic::{AtomicPtr, Ordering};
use std::boxed::Box;
use std::panic::{PanicHookInfo, catch_unwind, set_hook};

use nook_abi::NativeServices;

use super::{Held, TableKernel};
use crate::kernel::Calls;
use crate::{Entries, Instance};

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
    crate::nook::say_panic(calls, panic.location(), message);
}

/// Runs a part of the driver. If it panics, the host learns of it, and what is returned means nothing.
#[inline(always)]
pub(super) fn guarded<R: Default>(kernel: TableKernel, run: impl FnOnce() -> R) -> R {
    catch_unwind(AssertUnwindSafe(run)).unwrap_or_else(|payload| {
        // Dropping it could panic once more.
        core::mem::forget(payload);
        // SAFETY: the code that made the kernel vouched for its functions.
        unsafe { ((*kernel.services).panicked)(kernel.host) };
        R::default()
    })
}

pub(super) unsafe extern "C" fn create<E: Entries<TableKernel>>(
    host: *mut c_void,
    services: *const NativeServices,
) -> *mut c_void {
    HOST.store(host, Ordering::Relaxed);
    SERVICES.store(services.cast_mut(), Ordering::Relaxed);
    set_hook(Box::new(last_words));
    let kernel = TableKernel { host, services };
    Box::into_raw(Box::new(Held::<E> { kernel, instance: Instance::new(kernel) })).cast()
}

pub(super) unsafe extern "C" fn destroy<E: Entries<TableKernel>>(instance: *mut c_void) {
    // SAFETY: the host passes what `create` gave it, for the last time.
    let Held { kernel, instance } = *unsafe { Box::from_raw(instance.cast::<Held<E>>()) };
    guarded(kernel, || drop(instance));
}
