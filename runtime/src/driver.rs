//! [`Driver`]: one running driver instance, whatever it is made of, and [`Launcher`], which makes one.

use std::sync::Arc;

use nook_abi::{Addr, Fault};
use nook_bus::DeviceError;

use crate::{Host, Image};

macro_rules! define_driver {
    ($({ $doc:literal } $class:ident $context:ident $required:ident $kind:ident $since:tt $variant:ident
       fn $name:ident($($arg:ident: $ty:tt),*) -> $result:tt;)*) => {
        /// A driver instance: one method for each row of the entry table, and the host that serves it.
        ///
        /// After a fault an instance answers every call with that fault, unless the call is rolled back: what it
        /// believes cannot be trusted.
        pub trait Driver: Send {
            $(
                #[doc = $doc]
                ///
                /// # Errors
                /// The [`Fault`] that ended the call.
                fn $name(&mut self, $($arg: $ty),*) -> Result<$result, Fault>;
            )*

            /// Makes what the last call did final.
            ///
            /// # Errors
            /// If the device or the host cannot do what the call left to be done.
            #[inline]
            fn commit(&mut self) -> Result<(), Fault> {
                self.host_mut().commit_transaction()
            }

            /// Rolls the last call back: memory, host and device are as before it, and the instance can be called
            /// again. `None` if that cannot be done; then nothing has changed.
            fn roll_back(&mut self) -> Option<RolledBack> {
                None
            }

            /// Returns whether it can be [captured](Self::capture).
            fn can_snapshot(&self) -> bool {
                false
            }

            /// Captures the instance's state, so that it can be restored; `None` if this isolation cannot. Not in a
            /// call.
            fn capture(&mut self) -> Option<Image> {
                None
            }

            /// Restores the instance, which can then be called again whatever it did since. Its device is silent.
            ///
            /// # Errors
            /// Why it cannot be; then it must not be called again.
            fn restore(&mut self, image: &Image) -> Result<(), String> {
                let _ = image;
                Err("this isolation takes no snapshots".into())
            }

            /// Returns the host that serves it.
            fn host(&self) -> &Host;

            /// Mutable access to it.
            fn host_mut(&mut self) -> &mut Host;

            /// Returns the address of its host page, for `probe`.
            fn host_page(&self) -> Addr;

            /// Ends the instance without calling it: the host's [`end_instance`](Host::end_instance), then its memory
            /// goes.
            fn end(self: Box<Self>) -> Ended;
        }
    };
}

nook_abi::entries!(define_driver);

/// What a rollback put back.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct RolledBack {
    /// Entries of the undo log.
    pub entries: u64,
    /// Bytes of memory in them.
    pub bytes: u64,
}

/// An instance that has ended.
pub struct Ended {
    /// What served it, for the next one.
    pub host: Host,
    /// Whether its device became quiet.
    pub quiet: Result<(), DeviceError>,
}

/// Makes driver instances: the first one, and one for each restart.
pub trait Launcher: Send {
    /// Launches a fresh instance that `host` serves.
    ///
    /// # Errors
    /// With the host, so that its device is not lost.
    fn launch(&self, host: Host) -> Result<Box<dyn Driver>, Box<LaunchError>>;

    /// Returns the isolation level, as `--isolation` names it.
    fn isolation(&self) -> &'static str;

    /// Returns whether calls of its instances can be rolled back, as far as its isolation goes.
    fn rolls_back(&self) -> bool {
        false
    }

    /// Returns whether calls of its instances can be [ended on request](crate::CrashWhen).
    fn crashes(&self) -> bool {
        false
    }
}

/// One launcher for many nooks: what was compiled once is shared.
impl<L: Launcher + Sync + ?Sized> Launcher for Arc<L> {
    fn launch(&self, host: Host) -> Result<Box<dyn Driver>, Box<LaunchError>> {
        L::launch(self, host)
    }

    fn isolation(&self) -> &'static str {
        L::isolation(self)
    }

    fn rolls_back(&self) -> bool {
        L::rolls_back(self)
    }

    fn crashes(&self) -> bool {
        L::crashes(self)
    }
}

/// An instance could not be made.
pub struct LaunchError {
    /// What was to serve it.
    pub host: Host,
    /// Why.
    pub why: String,
}
