//! A TAP interface of the kernel: the network interface that the operating system sees, or the far end of a cable.

use std::io;
use std::os::fd::{AsRawFd, RawFd};

use nook_abi::NetMeta;
use nook_bus::{VolatileSlice, Wire};
use nook_runtime::Uplink;
use tun_rs::{DeviceBuilder, Layer, SyncDevice};

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
        "no right to use the TAP interface `{name}`: run with CAP_NET_ADMIN (as root), or let root make it for you \
         once: ip tuntap add dev {name} mode tap user $USER"
    )]
    NotAllowed {
        /// What was asked for.
        name: String,
    },
    /// This user may not even ask the kernel.
    #[error(
        "no right to open /dev/net/tun, so none to use the TAP interface `{name}`: run as root, or let root open it \
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
    #[error("/dev/net/tun does not open: load the kernel's TUN/TAP driver (modprobe tun), or pass it to the container")]
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

/// A TAP interface: plain frames, no packet information, no offloads, never waiting.
///
/// It is created if there is none of that name, and is gone when this value is dropped. One that root made for this
/// user (`ip tuntap add ... user`) is used as it is, and stays. Either way its addresses and whether it is up are the
/// operator's business; while it is down, frames for it are dropped.
///
/// tun-rs makes and names the interface. Frames do not go through it, because its `send` and `recv` take references
/// to bytes, which must not point into memory that a driver or a device can write: here the kernel copies between
/// the interface and that memory itself, with `read` and `write`, and there is no copy in user space. Address and
/// carrier are set through the TAP's own descriptor, which its owner may do without CAP_NET_ADMIN; tun-rs would do
/// the first through a socket, and the second not at all.
pub struct Tap {
    device: SyncDevice,
    name: String,
}

impl Tap {
    /// The interface that a driver serves. It has no carrier before the driver reports a link.
    ///
    /// # Errors
    /// See [`TapError`].
    pub fn interface(name: &str) -> Result<Tap, TapError> {
        Tap::open(name, false)
    }

    /// The far end of a device's cable. It has a carrier.
    ///
    /// # Errors
    /// See [`TapError`].
    pub fn cable(name: &str) -> Result<Tap, TapError> {
        Tap::open(name, true)
    }

    fn open(name: &str, carrier: bool) -> Result<Tap, TapError> {
        check_name(name).map_err(|rule| TapError::Name { name: name.into(), rule })?;
        let device = DeviceBuilder::new()
            .name(name)
            .layer(Layer::L2)
            .with(|builder| {
                builder.packet_information(false).offload(false);
            })
            // Otherwise it would be brought up, which is not ours to do and which the owner of one may not.
            .inherit_enable_state()
            .build_sync()
            .map_err(|error| explain(name, error))?;
        let other = |what| move |source| TapError::Other { name: name.into(), what, source };
        device.set_nonblocking(true).map_err(other("making it non-blocking"))?;
        let tap = Tap { device, name: name.into() };
        tap.set_carrier(carrier).map_err(other("setting its carrier"))?;
        Ok(tap)
    }

    /// The interface's name.
    pub fn name(&self) -> &str {
        &self.name
    }

    fn set_carrier(&self, on: bool) -> io::Result<()> {
        let on = libc::c_int::from(on);
        // SAFETY: TUNSETCARRIER reads one int, which lives through the call.
        match unsafe { libc::ioctl(self.device.as_raw_fd(), libc::TUNSETCARRIER, &on) } {
            0 => Ok(()),
            _ => Err(io::Error::last_os_error()),
        }
    }

    /// # Safety
    /// `len` bytes from `frame` on must be mapped and readable. They may change meanwhile.
    #[inline]
    unsafe fn write(&self, frame: *const u8, len: usize) -> io::Result<bool> {
        loop {
            // SAFETY: the caller vouches for the memory; the kernel copies it once, whatever it is at that moment.
            let written = unsafe { libc::write(self.device.as_raw_fd(), frame.cast(), len) };
            if written >= 0 {
                return Ok(true);
            }
            let error = io::Error::last_os_error();
            match error.raw_os_error() {
                Some(libc::EINTR) => {}
                // No room now.
                Some(libc::EAGAIN | libc::ENOBUFS | libc::ENOMEM) => return Ok(false),
                // The interface is down; shorter than an Ethernet header, or longer than what the kernel takes.
                Some(libc::EIO | libc::EINVAL | libc::EMSGSIZE) => return Ok(false),
                _ => return Err(self.failed("write", error)),
            }
        }
    }

    /// # Safety
    /// `len` bytes from `buffer` on must be mapped and writable, and nothing may hold a reference to them.
    #[inline]
    unsafe fn read(&self, buffer: *mut u8, len: usize) -> io::Result<Option<usize>> {
        loop {
            // SAFETY: the caller vouches for the memory.
            let read = unsafe { libc::read(self.device.as_raw_fd(), buffer.cast(), len) };
            if read > 0 {
                return Ok(Some(read as usize));
            }
            if read == 0 {
                return Ok(None);
            }
            let error = io::Error::last_os_error();
            match error.raw_os_error() {
                Some(libc::EINTR) => {}
                Some(libc::EAGAIN) => return Ok(None),
                _ => return Err(self.failed("read", error)),
            }
        }
    }

    #[cold]
    fn failed(&self, what: &str, error: io::Error) -> io::Error {
        let why = match error.raw_os_error() {
            Some(libc::EBADFD) => "the interface was removed".to_string(),
            _ => error.to_string(),
        };
        io::Error::new(error.kind(), format!("TAP interface {}: {what}: {why}", self.name))
    }
}

impl Uplink for Tap {
    #[inline]
    fn up(&mut self, frame: VolatileSlice<'_>, _meta: &NetMeta) -> io::Result<bool> {
        let memory = frame.ptr_guard();
        // SAFETY: the slice's memory stays mapped while its guard lives.
        unsafe { self.write(memory.as_ptr(), frame.len()) }
    }

    #[inline]
    fn down(&mut self, buffer: VolatileSlice<'_>) -> io::Result<Option<(usize, NetMeta)>> {
        let memory = buffer.ptr_guard_mut();
        // SAFETY: the slice's memory stays mapped while its guard lives, and volatile memory has no references to it.
        let read = unsafe { self.read(memory.as_ptr(), buffer.len()) }?;
        Ok(read.map(|len| (len, NetMeta::default())))
    }

    fn link(&mut self, up: bool) -> io::Result<()> {
        self.set_carrier(up).map_err(|error| self.failed("setting its carrier", error))
    }

    fn set_mac(&mut self, mac: [u8; 6]) -> io::Result<()> {
        // SAFETY: an ifreq is plain data, for which zeros are a value.
        let mut request: libc::ifreq = unsafe { std::mem::zeroed() };
        // SAFETY: writing the variant that the request is about; the address is bytes.
        let address = unsafe { &mut request.ifr_ifru.ifru_hwaddr };
        address.sa_family = libc::ARPHRD_ETHER;
        for (to, from) in address.sa_data.iter_mut().zip(mac) {
            *to = from as libc::c_char;
        }
        // SAFETY: on a TAP's descriptor, SIOCSIFHWADDR reads an ifreq, which lives through the call.
        match unsafe { libc::ioctl(self.device.as_raw_fd(), libc::SIOCSIFHWADDR, &request) } {
            0 => Ok(()),
            _ => Err(self.failed("setting its address", io::Error::last_os_error())),
        }
    }

    fn event_fds(&self, fds: &mut Vec<RawFd>) {
        fds.push(self.device.as_raw_fd());
    }
}

impl Wire for Tap {
    fn send(&mut self, frame: &[u8]) -> io::Result<bool> {
        // SAFETY: a slice is mapped memory.
        unsafe { self.write(frame.as_ptr(), frame.len()) }
    }

    fn recv(&mut self, buffer: &mut [u8]) -> io::Result<Option<usize>> {
        // SAFETY: the slice is ours alone.
        unsafe { self.read(buffer.as_mut_ptr(), buffer.len()) }
    }

    fn event_fds(&self, fds: &mut Vec<RawFd>) {
        fds.push(self.device.as_raw_fd());
    }
}

/// What the kernel takes as a name (`dev_valid_name`), and what `ip` and the kernel read as something else.
fn check_name(name: &str) -> Result<(), &'static str> {
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

/// What an error of opening means.
fn explain(name: &str, error: io::Error) -> TapError {
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
