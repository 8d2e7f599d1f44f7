//! A TAP interface of the kernel: the network interface that the operating system sees, or the far end of a cable.

use std::io;
use std::os::fd::{AsFd, AsRawFd, RawFd};

use nook_bus::VolatileSlice;
use nook_net_api::NetBackend;
use nook_net_api::Wire;

use crate::offload::{Merger, Next, Splitter, VnetHeader};

mod device;

use device::{Device, Part, PartMut};

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

/// A TAP interface, never waiting.
///
/// The far end of a cable carries frames as they are. The interface that a driver serves passes TCP segments of one
/// connection to the kernel as one packet, and gets them as one; to the driver they are frames. Only they are copied in
/// this process.
///
/// It is created if there is none of that name, and is gone when this value is dropped. One that root made for this
/// user (`ip tuntap add ... user`) is used as it is, and stays. Either way its addresses and whether it is up are the
/// operator's business; while it is down, frames for it are dropped.
///
/// Frames are copied by the kernel between the interface and memory that a driver or a device can write: nothing here
/// has a reference to that. Address and carrier are set through the TAP's own descriptor, which its owner may do
/// without CAP_NET_ADMIN.
pub struct Tap {
    device: Device,
    name: String,
    /// Of an interface that a driver serves.
    offload: Option<Box<Offload>>,
}

struct Offload {
    merger: Merger,
    splitter: Splitter,
    /// Frames that were taken, and for which there was no room then.
    no_room: u32,
    /// Whether it was said that a packet was too long.
    said_too_long: bool,
}

impl Tap {
    /// Opens the interface that a driver serves. It has no carrier before the driver reports a link.
    ///
    /// # Errors
    /// See [`TapError`].
    pub fn interface(name: &str) -> Result<Tap, TapError> {
        Tap::open(name, false)
    }

    /// Opens the far end of a device's cable. It has a carrier.
    ///
    /// # Errors
    /// See [`TapError`].
    pub fn cable(name: &str) -> Result<Tap, TapError> {
        Tap::open(name, true)
    }

    fn open(name: &str, cable: bool) -> Result<Tap, TapError> {
        check_name(name).map_err(|rule| TapError::Name { name: name.into(), rule })?;
        let device = Device::open(name, !cable).map_err(|error| explain(name, error))?;
        let offload = (!cable).then(|| {
            let (merger, splitter) = (Merger::default(), Splitter::new());
            Box::new(Offload { merger, splitter, no_room: 0, said_too_long: false })
        });
        let tap = Tap { device, name: name.into(), offload };
        let other = |source| TapError::Other { name: name.into(), what: "setting its carrier", source };
        tap.device.set_carrier(cable).map_err(other)?;
        Ok(tap)
    }

    /// Returns the interface's name.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Writes one packet; `false` if the kernel has no room for it, or takes none of this length.
    #[inline]
    fn write<const N: usize>(&self, parts: [Part<'_>; N]) -> io::Result<bool> {
        loop {
            let Err(error) = self.device.write(&parts) else { return Ok(true) };
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

    /// Reads one packet, if there is one, and says how long it is.
    #[inline]
    fn read<const N: usize>(&self, mut parts: [PartMut<'_>; N]) -> io::Result<Option<usize>> {
        loop {
            let error = match self.device.read(&mut parts) {
                Ok(len) => return Ok((len > 0).then_some(len)),
                Err(error) => error,
            };
            match error.raw_os_error() {
                Some(libc::EINTR) => {}
                Some(libc::EAGAIN) => return Ok(None),
                _ => return Err(self.failed("read", error)),
            }
        }
    }

    /// Lets the merger work, if there is one; what it writes goes to the interface.
    #[inline]
    fn with_merger<T>(
        &mut self,
        work: impl FnOnce(&mut Merger, &mut dyn FnMut(&[u8], u16) -> io::Result<()>) -> io::Result<T>,
    ) -> io::Result<Option<T>> {
        let Some(mut offload) = self.offload.take() else { return Ok(None) };
        let no_room = &mut offload.no_room;
        let outcome = work(&mut offload.merger, &mut |packet: &[u8], frames| {
            if !self.write([packet.into()])? {
                *no_room += u32::from(frames);
            }
            Ok(())
        });
        self.offload = Some(offload);
        outcome.map(Some)
    }

    /// Puts the next frame to send into the buffer.
    fn next_frame(&self, offload: &mut Offload, buffer: &VolatileSlice<'_>) -> io::Result<Option<usize>> {
        let mut next = offload.splitter.next(buffer);
        loop {
            match next {
                Some(Next::Frame(len)) => return Ok(Some(len)),
                Some(Next::Nothing) if !offload.said_too_long => {
                    offload.said_too_long = true;
                    let name = &self.name;
                    tracing::warn!(
                        "{name}: a packet that makes no frame for this driver is dropped; is its MTU too large?"
                    );
                }
                _ => {}
            }
            let mut header = [0; VnetHeader::BYTES];
            let rest = offload.splitter.rest(buffer.len());
            let parts = [header[..].as_mut().into(), buffer.into(), rest.into()];
            let Some(read) = self.read(parts)? else { return Ok(None) };
            let vnet = VnetHeader::from_bytes(header);
            next = Some(offload.splitter.begin(vnet, buffer, read.saturating_sub(header.len())));
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

impl NetBackend for Tap {
    #[inline]
    fn deliver(&mut self, frame: VolatileSlice<'_>) -> io::Result<bool> {
        if self.with_merger(|merger, write| merger.take(&frame, write))? == Some(true) {
            return Ok(true);
        }
        let header = VnetHeader::default().to_bytes();
        let header = if self.offload.is_some() { &header[..] } else { &[] };
        self.write([header.into(), (&frame).into()])
    }

    fn flush(&mut self) -> io::Result<u32> {
        self.with_merger(|merger, write| merger.flush(write))?;
        Ok(self.offload.as_mut().map_or(0, |offload| std::mem::take(&mut offload.no_room)))
    }

    #[inline]
    fn fetch(&mut self, buffer: VolatileSlice<'_>) -> io::Result<Option<usize>> {
        let Some(mut offload) = self.offload.take() else {
            return self.read([(&buffer).into()]);
        };
        let frame = self.next_frame(&mut offload, &buffer);
        self.offload = Some(offload);
        frame
    }

    fn link(&mut self, up: bool) -> io::Result<()> {
        self.device.set_carrier(up).map_err(|error| self.failed("setting its carrier", error))
    }

    fn set_mac(&mut self, mac: [u8; 6]) -> io::Result<()> {
        self.device.set_mac(mac).map_err(|error| self.failed("setting its address", error))
    }

    fn event_fds(&self, fds: &mut Vec<RawFd>) {
        fds.push(self.device.as_fd().as_raw_fd());
    }
}

impl Wire for Tap {
    fn send(&mut self, frame: &[u8]) -> io::Result<bool> {
        self.write([frame.into()])
    }

    fn recv(&mut self, buffer: &mut [u8]) -> io::Result<Option<usize>> {
        self.read([buffer.into()])
    }

    fn event_fds(&self, fds: &mut Vec<RawFd>) {
        fds.push(self.device.as_fd().as_raw_fd());
    }
}

/// Checks a name: what the kernel takes (`dev_valid_name`), and what `ip` and the kernel read as something else.
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

/// Says what an error of opening means.
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
