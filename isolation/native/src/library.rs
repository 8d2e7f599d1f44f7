//! A copy of a shared object in this process.
#![expect(unsafe_code, reason = "loading a shared object")]

use std::ffi::{CStr, CString, c_void};
use std::fs::File;
use std::os::fd::AsRawFd;
use std::ptr::NonNull;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use nook_compiled::CompiledDriver;

use crate::handlers::Handlers;
use crate::thread_ends;

/// Code and data that nobody else in this process has: gone when it is dropped.
pub(crate) struct Library {
    handle: NonNull<c_void>,
    name: CString,
    /// Where it begins.
    base: usize,
    /// The C library takes two files for one if their names or their inodes are the same. This one keeps its number,
    /// and with it its name, for as long as it is loaded.
    file: Option<File>,
    stays: Arc<AtomicBool>,
}

// SAFETY: a handle is valid on every thread.
unsafe impl Send for Library {}

impl Library {
    /// Loads a fresh copy of `driver`. Its constructors run; one of them that handles faults makes it refused.
    /// `exported` is a name that it exports. `stays` is set if it cannot be unloaded in the end.
    pub(crate) fn load(driver: &CompiledDriver, exported: &CStr, stays: &Arc<AtomicBool>) -> Result<Self, String> {
        let file = driver.sealed_copy().map_err(|error| format!("a copy of it in memory: {error}"))?;
        // With this process's number, so that a debugger finds the file too.
        let name = format!("/proc/{}/fd/{}", std::process::id(), file.as_raw_fd());
        let name = CString::new(name).map_err(|error| error.to_string())?;
        let before = Handlers::installed();
        // SAFETY: the name ends in zero. What the constructors do is the driver's business, which is trusted.
        let handle = unsafe { libc::dlopen(name.as_ptr(), libc::RTLD_NOW | libc::RTLD_LOCAL) };
        let Some(handle) = NonNull::new(handle) else { return Err(last_error()) };
        let mut library = Library { handle, name, base: 0, file: Some(file), stays: stays.clone() };
        let changed = before.put_back();
        if !changed.is_empty() {
            drop(library);
            // What ends with it may have done the same.
            before.put_back();
            return Err(format!(
                "its constructors installed handlers for {}, with which no nook of this process could recover from a \
                 fault: build it without them",
                changed.join(", ")
            ));
        }
        let driver_at = library.symbol(exported)?;
        library.base = thread_ends::base_of(driver_at.as_ptr()).ok_or("the loader does not know where it lies")?;
        // SAFETY: of this object, which nobody calls yet.
        unsafe { thread_ends::redirect(driver, library.base) }?;
        Ok(library)
    }

    /// Returns the address of what it exports under this name. Valid until it is dropped.
    pub(crate) fn symbol(&self, name: &CStr) -> Result<NonNull<c_void>, String> {
        // SAFETY: the handle is valid, and the name ends in zero.
        let address = unsafe { libc::dlsym(self.handle.as_ptr(), name.as_ptr()) };
        NonNull::new(address).ok_or_else(last_error)
    }
}

impl Drop for Library {
    fn drop(&mut self) {
        if thread_ends::run_for(self.base) {
            // SAFETY: the handle is valid, and not used again. Who had addresses in it has seen to it that they are
            // gone.
            unsafe { libc::dlclose(self.handle.as_ptr()) };
            // SAFETY: the name ends in zero; nothing is loaded that is not there.
            let still = unsafe { libc::dlopen(self.name.as_ptr(), libc::RTLD_LAZY | libc::RTLD_NOLOAD) };
            if still.is_null() {
                return;
            }
            // SAFETY: gives back what was just counted.
            unsafe { libc::dlclose(still) };
        }
        // Something in it wants to run at a thread's end. No other may have its name until then.
        std::mem::forget(self.file.take());
        self.stays.store(true, Ordering::Relaxed);
    }
}

/// Returns what the loader says of its last failure on this thread.
fn last_error() -> String {
    // SAFETY: the answer is text, or nothing, and is copied before the next call.
    let text = unsafe { libc::dlerror() };
    if text.is_null() {
        return "the loader does not say why".into();
    }
    // SAFETY: it ends in zero.
    unsafe { CStr::from_ptr(text) }.to_string_lossy().into_owned()
}
