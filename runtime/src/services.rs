//! The hostcalls, as a trait of checked methods: [`Services`]. Everything here expands from the one table.

use nook_abi::{Addr, Fault};

use crate::Host;
// Each class serves its own rows.
use crate::block::Hostcalls as Block;
use crate::misc::Hostcalls as Misc;
use crate::net::Hostcalls as Net;
use crate::serial::Hostcalls as Serial;
use crate::serve::Core;

macro_rules! define_services {
    ($({ $doc:literal } $class:ident $topic:ident $contexts:ident $since:tt $variant:ident
       fn $name:ident($($arg:ident: $ty:tt),*) -> $result:tt;)*) => {
        /// What a driver can ask for: one method for each row of the hostcall table. [`Host`] checks every argument;
        /// [`Host::admit`] has been asked before.
        pub trait Services {
            $(
                #[doc = $doc]
                ///
                /// # Errors
                /// A [`Fault`] if the driver broke a rule or the device became unusable: the call is to be ended.
                fn $name(&mut self, $($arg: $ty),*) -> Result<$result, Fault>;
            )*
        }

        impl Services for Host {
            $(
                #[inline]
                fn $name(&mut self, $($arg: $ty),*) -> Result<$result, Fault> {
                    // A row that its class does not serve fails to compile here.
                    $class::$name(self, $($arg),*)
                }
            )*
        }
    };
}

nook_abi::hostcalls!(define_services);
