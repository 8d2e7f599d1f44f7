//! Bad news that is returned: the device or the world had a bad day, and the caller may carry on.

use core::fmt;

macro_rules! status {
    ($($(#[doc = $doc:literal])* $name:ident = $code:literal, $text:literal;)*) => {
        /// Why something could not be done. Negative on the wire; zero is success.
        #[derive(Clone, Copy, Debug, PartialEq, Eq)]
        #[repr(i32)]
        pub enum Status { $($(#[doc = $doc])* $name = $code,)* }

        impl Status {
            /// Every status.
            pub const ALL: &'static [Status] = &[$(Status::$name),*];

            /// Returns the status with this code.
            pub const fn from_code(code: i32) -> Option<Status> {
                match code { $($code => Some(Status::$name),)* _ => None }
            }
        }

        impl fmt::Display for Status {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(match self { $(Status::$name => $text),* })
            }
        }
    };
}

status! {
    /// The window, the heap or a table is full.
    NoMemory = -1, "out of memory";
    /// The device is not one that the driver can drive.
    NoDevice = -2, "no such device";
    /// The device did not do in time what it should have done.
    Timeout = -3, "the device did not answer in time";
    /// The device did something wrong.
    DeviceFailed = -4, "the device failed";
    /// The driver or the device cannot do this.
    Unsupported = -5, "not supported";
    /// The value is outside what the driver or the device takes.
    Invalid = -6, "invalid value";
    /// Not in this state.
    Busy = -7, "busy";
    /// What is stored in the device (a checksum, a MAC address) is wrong.
    Corrupt = -8, "stored data is corrupt";
}

impl Status {
    /// Returns the negative number that crosses the boundary.
    pub const fn code(self) -> i32 {
        self as i32
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_status_survives_the_boundary() {
        for &status in Status::ALL {
            assert!(status.code() < 0);
            assert_eq!(Status::from_code(status.code()), Some(status));
        }
        assert_eq!(Status::from_code(0), None);
    }
}
