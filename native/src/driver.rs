//! A native driver instance behind the same interface as a wasm one.

use std::marker::PhantomData;
use std::ptr::NonNull;

use nook_abi::{Addr, Entry, Fault};
use nook_runtime::{Driver, Host, LaunchError, Launcher, Layout};
use nook_sdk::{Instance, NetDriver};

use crate::kernel::Served;
use crate::memory::SharedMemory;
use crate::{Level, NativeKernel};

/// A [`Served`] that the driver's kernel points to as well. It is not a `Box`: who moves a box says that nobody else has
/// a pointer to what is in it.
struct Shared(NonNull<Served>);

impl Shared {
    fn new(served: Served) -> Self {
        Shared(NonNull::from(Box::leak(Box::new(served))))
    }

    fn get(&self) -> &Served {
        // SAFETY: it is there until `self` is dropped, and the driver is not being called.
        unsafe { self.0.as_ref() }
    }

    fn get_mut(&mut self) -> &mut Served {
        // SAFETY: as above.
        unsafe { self.0.as_mut() }
    }

    /// Takes it back. Nobody else may have a pointer to it any more.
    fn into_inner(self) -> Served {
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

/// Makes instances of the driver `D` at level `L`.
pub struct NativeLauncher<L, D> {
    layout: Layout,
    driver: PhantomData<fn() -> (L, D)>,
}

impl<L: Level, D: NetDriver<NativeKernel<L>> + 'static> NativeLauncher<L, D> {
    /// `layout` is that of the driver's manifest: `Layout::new(0, manifest)`.
    pub fn new(layout: Layout) -> Self {
        NativeLauncher { layout, driver: PhantomData }
    }
}

struct NativeDriver<L: Level, D: NetDriver<NativeKernel<L>>> {
    // Dropped before what it points to.
    instance: Instance<NativeKernel<L>, D>,
    served: Shared,
    memory: SharedMemory,
    host_page: Addr,
    fault: Option<Fault>,
}

// SAFETY: the instance points to `served`, `memory` and the host's window, which move between threads together with
// it, and a driver runs on one thread at a time.
unsafe impl<L: Level, D: NetDriver<NativeKernel<L>>> Send for NativeDriver<L, D> {}

impl<L: Level, D: NetDriver<NativeKernel<L>> + 'static> Launcher for NativeLauncher<L, D> {
    fn launch(&self, host: Host) -> Result<Box<dyn Driver>, Box<LaunchError>> {
        let memory = SharedMemory::new(&self.layout);
        let mut served = Shared::new(Served { host, fault: None });
        // SAFETY: the memory is kept beside the host, which forgets the space before the memory goes.
        let space = unsafe { memory.space(&served.get().host) };
        let host_page = match served.get_mut().host.begin_instance(space) {
            Ok(host_page) => host_page,
            Err(error) => {
                return Err(Box::new(LaunchError { host: served.into_inner().host, why: error.to_string() }));
            }
        };
        // SAFETY: it is kept beside the instance and lives longer; its content is not touched by others while the
        // driver is called.
        let kernel: NativeKernel<L> = unsafe { NativeKernel::new(served.0.as_ptr()) };
        let instance: Instance<_, D> = Instance::new(kernel);
        Ok(Box::new(NativeDriver::<L, D> { instance, served, memory, host_page, fault: None }))
    }

    fn isolation(&self) -> &'static str {
        L::NAME
    }
}

macro_rules! define_native_driver {
    ($({ $doc:literal } $context:ident $required:ident $since:tt $variant:ident
       fn $name:ident($($arg:ident: $ty:tt),*) -> $result:tt;)*) => {
        impl<L: Level, D: NetDriver<NativeKernel<L>> + 'static> Driver for NativeDriver<L, D> {
            $(
                #[inline]
                fn $name(&mut self, $($arg: $ty),*) -> Result<$result, Fault> {
                    let served = self.served.get_mut();
                    self.fault = self.fault.or(served.host.device_is_taken());
                    if let Some(fault) = self.fault {
                        return Err(fault);
                    }
                    served.host.begin_call(Entry::$variant);
                    // SAFETY: the host page is that of this instance; its places stay valid until it is dropped.
                    #[allow(unused_unsafe)]
                    let result = unsafe { self.instance.$name($($arg),*) };
                    let served = self.served.get();
                    self.fault = served.host.device_is_taken().or(served.fault);
                    match self.fault {
                        None => Ok(result),
                        Some(fault) => Err(fault),
                    }
                }
            )*

            fn host(&self) -> &Host {
                &self.served.get().host
            }

            fn host_mut(&mut self) -> &mut Host {
                &mut self.served.get_mut().host
            }

            fn host_page(&self) -> Addr {
                self.host_page
            }

            fn into_host(self: Box<Self>) -> Host {
                let NativeDriver { instance, served, memory, .. } = *self;
                // What a driver holds frees itself through hostcalls; they go to a host whose instance has ended.
                drop(instance);
                let mut host = served.into_inner().host;
                host.leave_memory();
                drop(memory);
                host
            }
        }
    };
}

nook_abi::entries!(define_native_driver);
