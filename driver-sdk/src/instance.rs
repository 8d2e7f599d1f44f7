//! [`Instance`]: from the raw calls of the entry table to what a class makes of them, [`Entries`].

use nook_abi::{Addr, ProbeReason, Status};

use crate::kernel::Calls;
use crate::raw::{self, Page};
use crate::{Kernel, Nook};

/// One driver and where its entries arrive, with the names, arguments and results of the entry table. The wasm exports
/// and the native backends call it. Before a `probe` that succeeded, and after `remove`, entries answer `Busy` or 0.
pub struct Instance<K: Kernel, E> {
    kernel: K,
    running: Option<E>,
}

impl<K: Kernel, E: Entries<K>> Instance<K, E> {
    /// Creates an instance whose driver was not probed yet.
    pub const fn new(kernel: K) -> Self {
        Instance { kernel, running: None }
    }

    /// Serves the entry `probe`. `Busy` if the driver is already there.
    ///
    /// # Safety
    /// `host_page` is the address of a [`HostPage`](nook_abi::HostPage) whose addresses (window, mailbox, and what its
    /// class has there) are valid for reads and writes, and stay so until `remove` has returned and the instance is
    /// dropped; the host writes to what they name only between calls (the device writes to the window at any time).
    /// The kernel keeps the promises of the hostcall table, and all calls to this instance are made on one thread.
    pub unsafe fn probe(&mut self, reason: u32, host_page: Addr) -> i32 {
        raw::begin_call();
        if self.running.is_some() {
            return Status::Busy.code();
        }
        let reason = ProbeReason::from_u32(reason);
        // SAFETY: the caller vouches for the page and what it names, until after the instance has dropped all that is
        // made of it here, and for one thread.
        let page = unsafe { Page::new(host_page) };
        // SAFETY: the caller vouches for the kernel and for one thread.
        let calls = unsafe { Calls::new(self.kernel) };
        let probed = page.and_then(|page| E::probe(Nook::new(calls, page), reason));
        match probed {
            Ok(running) => {
                self.running = Some(running);
                0
            }
            Err(status) => status.code(),
        }
    }

    /// Serves the entry `remove`.
    pub fn remove(&mut self) {
        if let Some(running) = self.running.take() {
            running.remove();
        }
    }
}

/// What an entry answers that a class does not have.
macro_rules! absent {
    (i32) => {
        Status::Unsupported.code()
    };
    (u32) => {
        0
    };
    (()) => {
        ()
    };
}

/// What an entry answers while there is no driver.
macro_rules! nobody {
    (i32) => {
        Status::Busy.code()
    };
    ($ty:tt) => {
        absent!($ty)
    };
}

/// A method of [`Entries`]. What every driver exports, every class has.
macro_rules! method {
    (Probe $($rest:tt)*) => {};
    (Remove $($rest:tt)*) => {};
    ($variant:ident Core required fn $name:ident($($arg:ident: $ty:tt),*) -> $result:tt) => {
        /// See the entry table.
        fn $name(&mut self, $($arg: $ty),*) -> $result;
    };
    ($variant:ident $class:ident $required:ident fn $name:ident($($arg:ident: $ty:tt),*) -> $result:tt) => {
        /// See the entry table.
        fn $name(&mut self, $($arg: $ty),*) -> $result {
            $(let _ = $arg;)*
            absent!($result)
        }
    };
}

/// A method of [`Instance`].
macro_rules! forward {
    (Probe $($rest:tt)*) => {};
    (Remove $($rest:tt)*) => {};
    ($variant:ident fn $name:ident($($arg:ident: $ty:tt),*) -> $result:tt) => {
        /// See the entry table.
        #[inline]
        pub fn $name(&mut self, $($arg: $ty),*) -> $result {
            raw::begin_call();
            match &mut self.running {
                Some(running) => running.$name($($arg),*),
                None => nobody!($result),
            }
        }
    };
}

macro_rules! define_entries {
    ($({ $doc:literal } $class:ident $context:ident $required:ident $kind:ident $since:tt $variant:ident
       fn $name:ident($($arg:ident: $ty:tt),*) -> $result:tt;)*) => {
        /// What a class makes of the entries of a driver that was probed. Classes have a type for it, around the
        /// author's; nobody else implements it.
        pub trait Entries<K: Kernel>: Sized {
            /// Probes the driver.
            ///
            /// # Errors
            /// What the driver says.
            fn probe(nook: Nook<K>, reason: ProbeReason) -> Result<Self, Status>;

            /// Ends it.
            fn remove(self);

            $(method! { $variant $class $required fn $name($($arg: $ty),*) -> $result })*
        }

        impl<K: Kernel, E: Entries<K>> Instance<K, E> {
            $(forward! { $variant fn $name($($arg: $ty),*) -> $result })*
        }
    };
}

nook_abi::entries!(define_entries);
