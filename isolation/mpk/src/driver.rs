//! A driver instance behind a protection key, with the same interface as a wasm one.

use std::mem::offset_of;
use std::path::Path;
use std::sync::Arc;

use nook_abi::{Addr, Entry, Fault, NativeEntries, from_word, padded};
use nook_compiled::{CompiledDriver, CompiledError};
use nook_runtime::{Driver, Ended, Host, LaunchError, Launcher, OwnedManifest};

use crate::call::Shared;
use crate::keys::{Key, supported};
use crate::memory::{DomainMemory, Places};
use crate::object::{Image, MpkError};
use crate::{faults, thread};

/// Makes instances of one object.
pub struct MpkLauncher {
    image: Arc<Image>,
    places: Places,
    /// Whether the nook's clock may be virtual.
    virtual_time: bool,
}

impl MpkLauncher {
    /// Loads the object in the file at `path`, which must be the driver that `manifest` describes. Nothing of it runs.
    ///
    /// # Errors
    /// If it is not, if it has what the loader refuses, or if this machine has no protection keys that serve.
    pub fn new(path: &Path, manifest: &OwnedManifest) -> Result<Self, MpkError> {
        let image = match Image::read(path, manifest) {
            // What this machine lacks comes first: it cannot be built.
            Err(MpkError::Object(error @ CompiledError::Unreadable { .. })) => {
                supported()?;
                return Err(error.into());
            }
            // What would run nowhere is refused everywhere.
            image => image?,
        };
        MpkLauncher::made_of(image, manifest)
    }

    /// The same with these bytes, as if they were in the file at `path`.
    ///
    /// # Errors
    /// As [`new`](Self::new).
    pub fn of(path: &Path, bytes: Vec<u8>, manifest: &OwnedManifest) -> Result<Self, MpkError> {
        let file = CompiledDriver::of(path.to_owned(), bytes, manifest)?;
        MpkLauncher::made_of(Image::of(path, file, manifest)?, manifest)
    }

    fn made_of(image: Image, manifest: &OwnedManifest) -> Result<Self, MpkError> {
        supported()?;
        let places = Places::new(&image, manifest);
        Ok(MpkLauncher { image: Arc::new(image), places, virtual_time: false })
    }

    /// Permits nooks on virtual time. A call ends that uses more CPU time than it may, and cannot sleep by itself; one
    /// that is not ended takes the same virtual time as at other levels.
    #[must_use]
    pub fn on_virtual_time(mut self) -> Self {
        self.virtual_time = true;
        self
    }

    fn load(&self, shared: &mut Shared) -> Result<u64, String> {
        let key = Key::new().map_err(|error| error.to_string())?;
        let failed = |what: &'static str| move |error: std::io::Error| format!("{what}: {error}");
        faults::install().map_err(failed("installing handlers of signals"))?;
        thread::make_ready().map_err(failed("making the thread ready"))?;
        let address = shared.address();
        let memory = DomainMemory::new(&self.image, &self.places, &shared.side().host, key, address);
        let memory = memory.map_err(failed("the driver's memory"))?;
        let services = memory.services();
        shared.side_mut().memory = Some(memory);
        // Its pointer to the host means nothing.
        let create = offset_of!(NativeEntries, create);
        shared.call(Entry::Probe, create, 0, [services, 0, 0]).map_err(|fault| {
            let place = shared.side_mut().take_place().map(|place| format!(" in {place}")).unwrap_or_default();
            format!("making the instance: {fault}{place}")
        })
    }
}

struct MpkInstance {
    shared: Shared,
    instance: u64,
    host_page: Addr,
    fault: Option<Fault>,
}

impl Launcher for MpkLauncher {
    fn launch(&self, host: Host) -> Result<Box<dyn Driver>, Box<LaunchError>> {
        let mut shared = Shared::new(host, self.image.clone());
        if shared.side().host.clock().is_virtual() && !self.virtual_time {
            let why = "a driver behind a protection key works in real time: give its host the monotonic clock".into();
            return Err(Box::new(LaunchError { host: shared.into_host(), why }));
        }
        let instance = match self.load(&mut shared) {
            Ok(instance) => instance,
            Err(why) => return Err(Box::new(LaunchError { host: shared.into_host(), why })),
        };
        let side = shared.side_mut();
        let memory = side.memory.as_ref().expect("loaded above");
        #[expect(unsafe_code, reason = "the driver's memory is lent to the host that is kept beside it")]
        // SAFETY: memory and host are dropped together, and `end` ends the host's instance first.
        let space = unsafe { memory.space() };
        match side.host.begin_instance(space) {
            Ok(host_page) => Ok(Box::new(MpkInstance { shared, instance, host_page, fault: None })),
            Err(error) => {
                let why = error.to_string();
                Err(Box::new(LaunchError { host: shared.into_host(), why }))
            }
        }
    }

    fn isolation(&self) -> &'static str {
        "mpk"
    }
}

impl MpkInstance {
    #[inline]
    fn call(&mut self, entry: Entry, function: usize, args: [u64; 3]) -> Result<u64, Fault> {
        self.fault = self.fault.or(self.shared.side().host.device_is_taken());
        if let Some(fault) = self.fault {
            return Err(fault);
        }
        self.shared.call(entry, function, self.instance, args).map_err(|fault| self.failed(fault))
    }

    #[cold]
    fn failed(&mut self, fault: Fault) -> Fault {
        self.fault = Some(fault);
        let side = self.shared.side_mut();
        if let Some(late) = side.late.take() {
            tracing::error!(
                "{late} came while a driver ran, to a handler without SA_ONSTACK that was installed after the driver was \
                 launched: that ended the driver's call, which has done nothing wrong"
            );
        }
        if let Some(place) = side.take_place() {
            tracing::error!("the driver's call was ended in {place}: {fault}");
            side.host.note_place(place);
        }
        fault
    }
}

macro_rules! define_mpk_driver {
    ($({ $doc:literal } $class:ident $context:ident $required:ident $kind:ident $since:tt $variant:ident
       fn $name:ident($($arg:ident: $ty:tt),*) -> $result:tt;)*) => {
        impl Driver for MpkInstance {
            $(
                #[inline]
                fn $name(&mut self, $($arg: $ty),*) -> Result<$result, Fault> {
                    let function = offset_of!(NativeEntries, $name);
                    let answer = self.call(Entry::$variant, function, padded([$($arg as u64),*]))?;
                    Ok(from_word!(answer, $result))
                }
            )*

            fn host(&self) -> &Host {
                &self.shared.side().host
            }

            fn host_mut(&mut self) -> &mut Host {
                &mut self.shared.side_mut().host
            }

            fn host_page(&self) -> Addr {
                self.host_page
            }

            fn end(self: Box<Self>) -> Ended {
                let MpkInstance { mut shared, .. } = *self;
                let side = shared.side_mut();
                let quiet = side.host.end_instance();
                // What it held goes with its memory.
                side.memory = None;
                Ended { host: shared.into_host(), quiet }
            }
        }
    };
}

nook_abi::entries!(define_mpk_driver);
