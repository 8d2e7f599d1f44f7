//! The classes of devices: one line for each, and what hangs on it.

use core::fmt;

/// Expands `$crate::$then! { $state lines }` with every class. A line is
/// `{ doc } Variant "name" module [hostcalls entries];`: the module is where the class's part of the contract is, and
/// the two macros expand its rows of the tables. A class of modules that drive no device brings no rows.
#[doc(hidden)]
#[macro_export]
macro_rules! __classes {
    ($then:ident $state:tt) => {
        $crate::$then! { $state
            { "A network interface." }
            Net "net" net [net_hostcalls net_entries];
            { "No device: a module beside a driver of class `net`, which sees what passes the driver and may drop it." }
            Filter "filter" net::filter [];
        }
    };
}

#[doc(hidden)]
#[macro_export]
macro_rules! __define_classes {
    (() $({ $doc:literal } $class:ident $name:literal $($module:ident)::+ [$($tables:ident)*];)*) => {
        /// The kind of device that a driver drives.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
        pub enum Class { $(#[doc = $doc] $class,)* }

        impl Class {
            /// Every class.
            pub const ALL: &'static [Class] = &[$(Class::$class),*];

            /// As the manifest has it.
            pub const fn name(self) -> &'static str {
                match self { $(Class::$class => $name,)* }
            }
        }
    };
}

__classes!(__define_classes());

impl Class {
    /// The class with this name.
    pub fn named(name: &str) -> Option<Class> {
        Class::ALL.iter().copied().find(|class| class.name() == name)
    }
}

impl fmt::Display for Class {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}
