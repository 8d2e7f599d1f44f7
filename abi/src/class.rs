//! The classes of devices: one line for each, and what hangs on it.

use core::fmt;

use crate::manifest::{Find, ManifestError};
use crate::{Fault, block, misc, net, serial};

/// Expands `$crate::$then! { $state lines }` with every class. A line is
/// `{ doc } Variant "name" Keys [hostcalls entries Fault];`: what the class adds to the manifest, the two macros that
/// expand its rows of the tables, and its faults. A class of modules that drive no device has only keys.
#[doc(hidden)]
#[macro_export]
macro_rules! __classes {
    ($then:ident $state:tt) => {
        $crate::$then! { $state
            { "A network interface." }
            Net "net" net::NetKeys [net_hostcalls net_entries net::NetFault];
            { "No device: a module beside a driver of class `net`, which sees what passes the driver and may drop it." }
            Filter "filter" net::filter::FilterKeys [];
            { "Named operations with bytes in and out." }
            Misc "misc" misc::MiscKeys [misc_hostcalls misc_entries misc::MiscFault];
            { "A disk." }
            Block "block" block::BlockKeys [block_hostcalls block_entries block::BlockFault];
            { "A serial line." }
            Serial "serial" serial::SerialKeys [serial_hostcalls serial_entries serial::SerialFault];
        }
    };
}

#[doc(hidden)]
#[macro_export]
macro_rules! __define_classes {
    (() $({ $doc:literal } $class:ident $name:literal $keys:path
        [$($hostcalls:ident $entries:ident $fault:path)?];)*) => {
        /// The kind of device that a driver drives.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
        pub enum Class { $(#[doc = $doc] $class,)* }

        impl Class {
            /// Every class.
            pub const ALL: &'static [Class] = &[$(Class::$class),*];

            /// Returns the name as the manifest has it.
            pub const fn name(self) -> &'static str {
                match self { $(Class::$class => $name,)* }
            }

            /// Returns whether its modules drive a device, and so have the keys that say which and how.
            pub const fn has_device(self) -> bool {
                match self { $(Class::$class => <$keys>::HAS_DEVICE,)* }
            }

            /// Returns the keys that it adds to the manifest.
            pub const fn key_names(self) -> &'static [&'static str] {
                match self { $(Class::$class => <$keys>::NAMES,)* }
            }

            pub(crate) fn keys<'a>(self, find: Find<'_, 'a>) -> Result<ClassKeys, ManifestError<'a>> {
                Ok(match self { $(Class::$class => ClassKeys::$class(<$keys>::parse(find)?),)* })
            }
        }

        /// What a class adds to the manifest.
        #[derive(Clone, Copy, Debug, PartialEq, Eq)]
        pub enum ClassKeys { $(#[doc = $doc] $class($keys),)* }

        impl ClassKeys {
            /// Returns the class that the keys belong to.
            pub const fn class(&self) -> Class {
                match self { $(ClassKeys::$class(_) => Class::$class,)* }
            }
        }

        /// A fault that only drivers of one class can be guilty of.
        #[derive(Clone, Copy, Debug, PartialEq, Eq)]
        pub enum ClassFault { $($(#[doc = $doc] $class($fault),)?)* }

        impl ClassFault {
            /// Returns the class that the fault belongs to.
            pub const fn class(&self) -> Class {
                match self { $($(ClassFault::$class(_) => { let _: fn(&$fault); Class::$class })?)* }
            }
        }

        impl ClassFault {
            /// Returns the variant's name.
            pub fn kind(&self) -> &'static str {
                match self { $($(ClassFault::$class(fault) => <$fault>::kind(fault),)?)* }
            }

            /// Tells each of its parts, for a program to read.
            pub fn parts(&self, tell: Tell<'_>) {
                match self { $($(ClassFault::$class(fault) => <$fault>::parts(fault, tell),)?)* }
            }
        }

        impl fmt::Display for ClassFault {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                match self { $($(ClassFault::$class(fault) => <$fault as fmt::Display>::fmt(fault, f),)?)* }
            }
        }

        $($(impl From<$fault> for Fault {
            fn from(fault: $fault) -> Fault {
                Fault::Class(ClassFault::$class(fault))
            }
        })?)*
    };
}

__classes!(__define_classes());

/// A part of a class's fault.
#[derive(Clone, Copy)]
pub enum Part<'a> {
    /// A number.
    Number(u64),
    /// A word or a sentence.
    Text(&'a dyn fmt::Display),
}

/// Receives a part's name and the part.
pub type Tell<'a> = &'a mut dyn FnMut(&'static str, Part<'_>);

impl Class {
    /// Returns the class with this name.
    pub fn named(name: &str) -> Option<Class> {
        Class::ALL.iter().copied().find(|class| class.name() == name)
    }
}

impl fmt::Display for Class {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}
