//! A native driver instance behind the same interface as a wasm one.
#![expect(unsafe_code, reason = "code that is not ours is called through pointers, and shares memory with its host")]

use std::ffi::{CString, c_void};
use std::path::Path;
use std::ptr::NonNull;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use nook_abi::{Addr, Entry, Fault, NATIVE_SYMBOL_PREFIX, NativeDriver, NativeEntries, NativeHead, TrapKind};
use nook_compiled::{CompiledDriver, CompiledError};
use nook_runtime::{Driver, Ended, Host, LaunchError, Launcher, Layout, OwnedManifest};

use crate::Level;
use crate::library::Library;
use crate::memory::SharedMemory;
use crate::services::HostContext;

/// Why a driver cannot run natively.
#[derive(Debug, thiserror::Error)]
pub enum NativeError {
    /// There is no such object, or it is not this driver's.
    #[error(transparent)]
    Object(#[from] CompiledError),
    /// Its tables of functions are not this host's.
    #[error(
        "{path} was built for nook ABI {}.{} with {} hostcalls and {} entries, this host has {}.{} with {} and {}: \
         rebuild the driver with this host's SDK",
        .found.abi_major, .found.abi_minor, .found.hostcalls, .found.entries, NativeHead::OURS.abi_major,
        NativeHead::OURS.abi_minor, NativeHead::OURS.hostcalls, NativeHead::OURS.entries
    )]
    OtherTables {
        /// The file.
        path: String,
        /// What it was built for.
        found: NativeHead,
    },
}

/// A [`HostContext`] that the driver's kernel points to as well. It is not a `Box`: moving a box says that nobody
/// else has a pointer to what is in it.
struct Shared(NonNull<HostContext>);

impl Shared {
    fn new(context: HostContext) -> Self {
        Shared(NonNull::from(Box::leak(Box::new(context))))
    }

    fn get(&self) -> &HostContext {
        // SAFETY: it is there until `self` is dropped, and the driver is not being called.
        unsafe { self.0.as_ref() }
    }

    fn get_mut(&mut self) -> &mut HostContext {
        // SAFETY: it is there until `self` is dropped, `self` is borrowed for writing, and the driver, which points to
        // it too, is not being called.
        unsafe { self.0.as_mut() }
    }

    /// Turns it into a box again. Nobody else may have a pointer to it any more.
    fn into_inner(self) -> HostContext {
        let this = std::mem::ManuallyDrop::new(self);
        // SAFETY: it came out of a box in `new`, and is not dropped again.
        *unsafe { Box::from_raw(this.0.as_ptr()) }
    }
}

impl Drop for Shared {
    fn drop(&mut self) {
        // SAFETY: it came out of a box in `new`.
        drop(unsafe { Box::from_raw(self.0.as_ptr()) });
    }
}

/// Makes instances of one shared object.
pub struct NativeLauncher {
    object: CompiledDriver,
    symbol: CString,
    layout: Layout,
    level: Level,
    /// Whether a copy could not be unloaded: each further one would stay as well.
    stays: Arc<AtomicBool>,
}

impl NativeLauncher {
    /// Loads the shared object in the file at `path`, which must be the driver that `manifest` describes. Nothing of it
    /// runs.
    ///
    /// # Errors
    /// If it is not, or was built for other tables of functions.
    pub fn new(path: &Path, manifest: &OwnedManifest, level: Level) -> Result<Self, NativeError> {
        NativeLauncher::of_object(CompiledDriver::read(path, manifest)?, manifest, level)
    }

    /// The same, of what was read from `path`.
    ///
    /// # Errors
    /// If it is not that driver, or was built for other tables of functions.
    pub fn of(path: &Path, bytes: Vec<u8>, manifest: &OwnedManifest, level: Level) -> Result<Self, NativeError> {
        NativeLauncher::of_object(CompiledDriver::of(path.to_owned(), bytes, manifest)?, manifest, level)
    }

    fn of_object(object: CompiledDriver, manifest: &OwnedManifest, level: Level) -> Result<Self, NativeError> {
        let name = format!("{NATIVE_SYMBOL_PREFIX}{}", manifest.name);
        let found = NativeHead::from_bytes(object.exported(&name)?);
        if found != NativeHead::OURS {
            return Err(NativeError::OtherTables { path: object.path().display().to_string(), found });
        }
        let symbol = CString::new(name).expect("a driver's name has no zero in it");
        Ok(NativeLauncher { object, symbol, layout: Layout::new(0, manifest), level, stays: Arc::default() })
    }

    fn load(&self, host: *mut HostContext) -> Result<Loaded, String> {
        if self.stays.load(Ordering::Relaxed) {
            return Err(
                "an earlier copy of it could not be unloaded, for something in it is to run when a thread ends; \
                        each restart would leave one more: build it without thread-locals that have destructors"
                    .into(),
            );
        }
        let library = Library::load(&self.object, &self.symbol, &self.stays)?;
        let driver = library.symbol(&self.symbol)?.cast::<NativeDriver>();
        // SAFETY: the symbol was found in the file, with this layout according to its head, and the library is there.
        let entries = unsafe { (&raw const (*driver.as_ptr()).entries).read() };
        // SAFETY: the first call, on this copy of the object alone; the table is static.
        let instance = unsafe { (entries.create)(host.cast(), self.level.services()) };
        Ok(Loaded { entries, instance, _library: library })
    }
}

/// An instance in its copy of the object.
struct Loaded {
    entries: NativeEntries,
    instance: *mut c_void,
    // Dropped after the instance.
    _library: Library,
}

impl Drop for Loaded {
    fn drop(&mut self) {
        // SAFETY: `create` made it, nobody calls it any more, and its code is still there.
        unsafe { (self.entries.destroy)(self.instance) };
    }
}

struct NativeInstance {
    // Dropped before what it points to.
    loaded: Loaded,
    context: Shared,
    // Dropped after `context`, whose host's space lies in it.
    memory: SharedMemory,
    host_page: Addr,
    fault: Option<Fault>,
}

// SAFETY: the instance points to `context`, `memory` and the host's window, which move between threads together with
// it, and a driver runs on one thread at a time.
unsafe impl Send for NativeInstance {}

impl Launcher for NativeLauncher {
    fn launch(&self, host: Host) -> Result<Box<dyn Driver>, Box<LaunchError>> {
        let memory = SharedMemory::new(&self.layout);
        let mut context = Shared::new(HostContext { host, fault: None, panicked: false });
        let loaded = match self.load(context.0.as_ptr()) {
            Ok(loaded) => loaded,
            Err(why) => {
                let why = format!("loading {}: {why}", self.object.path().display());
                return Err(Box::new(LaunchError { host: context.into_inner().host, why }));
            }
        };
        // SAFETY: `NativeInstance` drops the memory after the host, which uses the space; and so does an error below.
        let space = unsafe { memory.space(&context.get().host) };
        match context.get_mut().host.begin_instance(space) {
            Ok(host_page) => Ok(Box::new(NativeInstance { loaded, context, memory, host_page, fault: None })),
            Err(error) => {
                drop(loaded);
                Err(Box::new(LaunchError { host: context.into_inner().host, why: error.to_string() }))
            }
        }
    }

    fn isolation(&self) -> &'static str {
        self.level.name()
    }
}

macro_rules! define_native_driver {
    ($({ $doc:literal } $class:ident $context:ident $required:ident $kind:ident $since:tt $variant:ident
       fn $name:ident($($arg:ident: $ty:tt),*) -> $result:tt;)*) => {
        impl Driver for NativeInstance {
            $(
                #[inline]
                fn $name(&mut self, $($arg: $ty),*) -> Result<$result, Fault> {
                    let context = self.context.get_mut();
                    self.fault = self.fault.or(context.host.device_is_taken());
                    if let Some(fault) = self.fault {
                        return Err(fault);
                    }
                    context.host.begin_call(Entry::$variant);
                    let Loaded { entries, instance, .. } = &self.loaded;
                    // SAFETY: the instance is there, and called by nobody else. The host page is that of this instance;
                    // its places stay valid until it is dropped.
                    let result = unsafe { (entries.$name)(*instance, $($arg),*) };
                    let context = self.context.get();
                    let panicked =
                        context.panicked.then_some(Fault::Trap { entry: Entry::$variant, kind: TrapKind::Unreachable });
                    self.fault = context.host.device_is_taken().or(context.fault).or(panicked);
                    match self.fault {
                        None => Ok(result),
                        Some(fault) => Err(fault),
                    }
                }
            )*

            fn host(&self) -> &Host {
                &self.context.get().host
            }

            fn host_mut(&mut self) -> &mut Host {
                &mut self.context.get_mut().host
            }

            fn host_page(&self) -> Addr {
                self.host_page
            }

            fn end(self: Box<Self>) -> Ended {
                let NativeInstance { loaded, mut context, memory, .. } = *self;
                let quiet = context.get_mut().host.end_instance();
                // What a driver holds frees itself through hostcalls; they go to a host whose instance has ended.
                drop(loaded);
                drop(memory);
                Ended { host: context.into_inner().host, quiet }
            }
        }
    };
}

nook_abi::entries!(define_native_driver);
