//! Why a TAP interface could not be had.

use std::io;

/// The longest name of a network interface, in bytes (IFNAMSIZ without its zero).
const LONGEST_NAME: usize = libc::IFNAMSIZ - 1;

/// Why a TAP interface could not be had, and what to do about it.
#[derive(Debug, thiserror::Error)]
pub enum TapError {
    /// The name cannot be one of an interface.
    #[error("`{name}` cannot be the name of a network interface: {rule}")]
    Name {
        /// What was asked for.
        name: String,
        /// The rule that it breaks.
        rule: &'static str,
    },
    /// There is no such interface, and this process may not make one, or there is one that is somebody else's.
    #[error(
        "no permission to use the TAP interface `{name}`: run with CAP_NET_ADMIN (as root), or let root make it for you \
         once: ip tuntap add dev {name} mode tap user $USER"
    )]
    NotAllowed {
        /// What was asked for.
        name: String,
    },
    /// This user may not even ask the kernel.
    #[error(
        "no permission to open /dev/net/tun for the TAP interface `{name}`: run as root, or let root open it \
         and make the interface: chmod 666 /dev/net/tun; ip tuntap add dev {name} mode tap user $USER"
    )]
    NoAccess {
        /// What was asked for.
        name: String,
    },
    /// Another process has it.
    #[error("the TAP interface `{name}` is in use by another process: end that one or choose another name")]
    Busy {
        /// What was asked for.
        name: String,
    },
    /// The name is taken by something else.
    #[error("`{name}` exists and is not a plain TAP interface (see: ip -d link show {name}): choose another name")]
    NotATap {
        /// What was asked for.
        name: String,
    },
    /// The kernel has no TAP driver.
    #[error(
        "/dev/net/tun cannot be opened: load the kernel's TUN/TAP driver (modprobe tun), or pass it to the container"
    )]
    NoDriver,
    /// Anything else.
    #[error("cannot use the TAP interface `{name}`: {what}: {source}")]
    Other {
        /// What was asked for.
        name: String,
        /// What failed.
        what: &'static str,
        /// What the kernel said.
        source: io::Error,
    },
}

/// Checks a name: what the kernel takes (`dev_valid_name`), and what `ip` and the kernel read as something else.
pub(super) fn check_name(name: &str) -> Result<(), &'static str> {
    if name.is_empty() {
        return Err("it is empty");
    }
    if name.len() > LONGEST_NAME {
        return Err("it is longer than 15 bytes");
    }
    if name == "." || name == ".." || name.contains(['/', ':', '%']) || name.contains(char::is_whitespace) {
        return Err("it must not be . or .., nor have spaces, /, : or % in it");
    }
    if name.contains(char::is_control) {
        return Err("it has control characters in it");
    }
    Ok(())
}

/// Says what an error of opening means.
pub(super) fn explain(name: &str, error: io::Error) -> TapError {
    let name = name.to_string();
    match error.raw_os_error() {
        Some(libc::EPERM) => TapError::NotAllowed { name },
        // From /dev/net/tun itself: the kernel's answer about an interface is the other one.
        Some(libc::EACCES) => TapError::NoAccess { name },
        Some(libc::EBUSY) => TapError::Busy { name },
        Some(libc::EINVAL | libc::EEXIST) => TapError::NotATap { name },
        Some(libc::ENOENT | libc::ENODEV | libc::ENXIO) => TapError::NoDriver,
        _ => TapError::Other { name, what: "creating it", source: error },
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Tap;

    #[test]
    fn a_name_that_the_kernel_would_refuse_is_refused_with_the_rule() {
        for name in ["", "sixteen-letters-", ".", "..", "a/b", "a b", "a:0", "tap%d", "a\u{7}"] {
            assert!(matches!(Tap::interface(name), Err(TapError::Name { .. })), "{name:?}");
        }
    }

    #[test]
    fn a_missing_right_is_answered_with_what_to_do() {
        let error = explain("nook0", io::Error::from_raw_os_error(libc::EPERM));
        assert!(error.to_string().contains("CAP_NET_ADMIN"));
        assert!(error.to_string().contains("ip tuntap add dev nook0 mode tap user $USER"));
    }

    #[test]
    fn a_device_file_that_is_closed_to_this_user_is_named() {
        let error = explain("nook0", io::Error::from_raw_os_error(libc::EACCES));
        assert!(error.to_string().contains("chmod 666 /dev/net/tun"));
    }

    #[test]
    fn an_interface_that_another_process_has_is_called_busy() {
        let error = explain("nook0", io::Error::from_raw_os_error(libc::EBUSY));
        assert!(matches!(error, TapError::Busy { .. }));
    }
}
