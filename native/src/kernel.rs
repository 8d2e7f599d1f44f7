//! The kernel interface over a [`Host`] in the same process.

use std::marker::PhantomData;

use nook_abi::{Addr, Fault, Hostcall, Status};
use nook_bus::Width;
use nook_runtime::{Host, Services};
use nook_sdk::Kernel;

/// A host, and the first fault of the call that runs: native code cannot be ended in the middle.
pub(crate) struct Served {
    pub(crate) host: Host,
    pub(crate) fault: Option<Fault>,
}

/// What answers a native driver's hostcalls, at level `L`.
pub struct NativeKernel<L> {
    served: *mut Served,
    level: PhantomData<fn() -> L>,
}

impl<L> Clone for NativeKernel<L> {
    fn clone(&self) -> Self {
        *self
    }
}

impl<L> Copy for NativeKernel<L> {}

impl<L> NativeKernel<L> {
    /// # Safety
    /// `served` stays valid while the result or a copy is used, and nobody else uses it during a call into the
    /// driver.
    pub(crate) unsafe fn new(served: *mut Served) -> Self {
        NativeKernel { served, level: PhantomData }
    }
}

/// What a hostcall answers when it has faulted: the call goes on with a value that no device gives on a good day, and
/// the fault is reported when it returns.
macro_rules! value_after_fault {
    (u32) => {
        u32::MAX
    };
    (u64) => {
        u64::MAX
    };
    (i32) => {
        Status::DeviceFailed.code()
    };
    (i64) => {
        i64::from(Status::DeviceFailed.code())
    };
    (()) => {
        ()
    };
}

macro_rules! define_native_kernel {
    ($({ $doc:literal } $class:ident $contexts:ident $since:tt $variant:ident
       fn $name:ident($($arg:ident: $ty:tt),*) -> $result:tt;)*) => {
        /// How much is checked.
        pub trait Level: 'static {
            /// As `--isolation` calls it.
            const NAME: &'static str;
            /// Whether the context in which a call is made is checked.
            const CHECKS_CONTEXT: bool;

            $(
                #[doc = $doc]
                ///
                /// # Errors
                /// The fault that the call is.
                #[inline(always)]
                fn $name(host: &mut Host, $($arg: $ty),*) -> Result<$result, Fault> {
                    host.$name($($arg),*)
                }
            )*
        }

        impl<L: Level> Kernel for NativeKernel<L> {
            $(
                #[inline(always)]
                unsafe fn $name(self, $($arg: $ty),*) -> $result {
                    // SAFETY: `new` was promised that it is valid and that nobody else uses it during a call into
                    // the driver, which is where hostcalls are made.
                    let served = unsafe { &mut *self.served };
                    let admitted = match L::CHECKS_CONTEXT {
                        true => served.host.admit(Hostcall::$variant),
                        false => {
                            served.host.count_hostcall();
                            Ok(())
                        }
                    };
                    match admitted.and_then(|()| L::$name(&mut served.host, $($arg),*)) {
                        Ok(value) => value,
                        Err(fault) => {
                            served.fault.get_or_insert(fault);
                            value_after_fault!($result)
                        }
                    }
                }
            )*
        }
    };
}

nook_abi::hostcalls!(define_native_kernel);

/// Every check that a wasm driver meets.
pub struct Checked;

impl Level for Checked {
    const NAME: &'static str = "wrapped";
    const CHECKS_CONTEXT: bool = true;
}

/// No check on what a driver does all the time.
pub struct Unchecked;

macro_rules! straight_to_the_device {
    ($($read:ident $write:ident $width:ident $value:ty;)*) => { $(
        #[inline(always)]
        fn $read(host: &mut Host, bar: u32, offset: u32) -> Result<$value, Fault> {
            host.bar_read(bar as u8, offset, Width::$width).map(|value| value as $value)
        }
        #[inline(always)]
        fn $write(host: &mut Host, bar: u32, offset: u32, value: $value) -> Result<(), Fault> {
            host.bar_write(bar as u8, offset, Width::$width, value.into())
        }
    )* };
}

impl Level for Unchecked {
    const NAME: &'static str = "native";
    const CHECKS_CONTEXT: bool = false;

    straight_to_the_device! {
        mmio_read8 mmio_write8 B1 u32;
        mmio_read16 mmio_write16 B2 u32;
        mmio_read32 mmio_write32 B4 u32;
        mmio_read64 mmio_write64 B8 u64;
    }
}
