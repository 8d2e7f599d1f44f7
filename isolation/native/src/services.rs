//! The host's table of functions, at each level.
#![expect(unsafe_code, reason = "functions of C for code that is not ours")]

use std::ffi::c_void;

use nook_abi::{Addr, Fault, Hostcall, NativeServices, Status};
use nook_bus::Width;
use nook_runtime::{Host, Services, UncheckedBars};

/// How much is checked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Level {
    /// What a driver does all the time is not.
    Native,
    /// Everything that is checked for a wasm driver.
    Wrapped,
}

impl Level {
    /// Returns the name that `--isolation` uses.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Level::Native => "native",
            Level::Wrapped => "wrapped",
        }
    }

    pub(crate) fn services(self) -> &'static NativeServices {
        static NATIVE: NativeServices = services::<Unchecked>();
        static WRAPPED: NativeServices = services::<Checked>();
        match self {
            Level::Native => &NATIVE,
            Level::Wrapped => &WRAPPED,
        }
    }
}

/// What the driver's pointer to its host points to.
pub(crate) struct HostContext {
    pub(crate) host: Host,
    /// The first fault of the call that runs: native code cannot be ended in the middle.
    pub(crate) fault: Option<Fault>,
    /// The call ended in a panic.
    pub(crate) panicked: bool,
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

unsafe extern "C" fn panicked(host: *mut c_void) {
    // SAFETY: the pointer is what `create` was given, which lives longer than the instance; nobody else uses it during
    // a call into the driver, which is where this is called.
    unsafe { (*host.cast::<HostContext>()).panicked = true };
}

macro_rules! define_services {
    ($({ $doc:literal } $class:ident $topic:ident $contexts:ident $since:tt $variant:ident
       fn $name:ident($($arg:ident: $ty:tt),*) -> $result:tt;)*) => {
        /// What stands before each service.
        trait Checks {
            /// Whether the context in which a call is made is checked.
            const CONTEXT: bool;

            $(
                #[inline(always)]
                fn $name(host: &mut Host, $($arg: $ty),*) -> Result<$result, Fault> {
                    host.$name($($arg),*)
                }
            )*
        }

        /// Hostcalls as C functions.
        mod functions {
            use super::*;

            $(
                pub(super) unsafe extern "C" fn $name<C: Checks>(host: *mut c_void, $($arg: $ty),*) -> $result {
                    // SAFETY: the pointer is what `create` was given, which lives longer than the instance; nobody
                    // else uses it during a call into the driver, which is where hostcalls are made.
                    let context = unsafe { &mut *host.cast::<HostContext>() };
                    let admitted = match C::CONTEXT {
                        true => context.host.admit(Hostcall::$variant),
                        false => {
                            context.host.count_hostcall();
                            Ok(())
                        }
                    };
                    match admitted.and_then(|()| C::$name(&mut context.host, $($arg),*)) {
                        Ok(value) => value,
                        Err(fault) => {
                            context.fault.get_or_insert(fault);
                            value_after_fault!($result)
                        }
                    }
                }
            )*
        }

        const fn services<C: Checks>() -> NativeServices {
            NativeServices { panicked, $($name: functions::$name::<C>,)* }
        }
    };
}

nook_abi::hostcalls!(define_services);

/// Every check that a wasm driver meets.
struct Checked;

impl Checks for Checked {
    const CONTEXT: bool = true;
}

/// No check on what a driver does all the time.
struct Unchecked;

macro_rules! straight_to_the_device {
    ($($read:ident $write:ident $width:ident $value:ty;)*) => { $(
        #[inline(always)]
        fn $read(host: &mut Host, bar: u32, offset: u32) -> Result<$value, Fault> {
            UncheckedBars::of(host).read(bar as u8, offset, Width::$width).map(|value| value as $value)
        }
        #[inline(always)]
        fn $write(host: &mut Host, bar: u32, offset: u32, value: $value) -> Result<(), Fault> {
            UncheckedBars::of(host).write(bar as u8, offset, Width::$width, value.into())
        }
    )* };
}

impl Checks for Unchecked {
    const CONTEXT: bool = false;

    straight_to_the_device! {
        mmio_read8 mmio_write8 B1 u32;
        mmio_read16 mmio_write16 B2 u32;
        mmio_read32 mmio_write32 B4 u32;
        mmio_read64 mmio_write64 B8 u64;
    }
}
