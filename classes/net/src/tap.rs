//! A TAP interface of the kernel: the network interface that the operating system sees, or the far end of a cable.

use std::io;
use std::os::fd::{AsRawFd, RawFd};

use nook_abi::net::NetMeta;
use nook_bus::VolatileSlice;
use nook_net_api::Wire;
use nook_runtime::Uplink;
use tun_rs::{DeviceBuilder, Layer, SyncDevice};

use crate::offload::{Merger, Next, Splitter, VnetHeader};

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
/// tun-rs makes and names the interface. Frames do not go through it, because its `send` and `recv` take references
/// to bytes, which must not point into memory that a driver or a device can write: here the kernel copies between
/// the interface and that memory itself. Address and
/// carrier are set through the TAP's own descriptor, which its owner may do without CAP_NET_ADMIN; tun-rs would do
/// the first through a socket, and the second not at all.
pub struct Tap {
    device: SyncDevice,
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

    fn open(name: &str, cable: bool) -> Result<Tap, TapError> {
        check_name(name).map_err(|rule| TapError::Name { name: name.into(), rule })?;
        let device = DeviceBuilder::new()
            .name(name)
            .layer(Layer::L2)
            .with(|builder| {
                builder.packet_information(false).offload(!cable);
            })
            // Otherwise it would be brought up, which is not ours to do and which the owner of one may not.
            .inherit_enable_state()
            .build_sync()
            .map_err(|error| explain(name, error))?;
        let other = |what| move |source| TapError::Other { name: name.into(), what, source };
        device.set_nonblocking(true).map_err(other("making it non-blocking"))?;
        let offload = (!cable).then(|| {
            let (merger, splitter) = (Merger::default(), Splitter::new());
            Box::new(Offload { merger, splitter, no_room: 0, said_too_long: false })
        });
        let tap = Tap { device, name: name.into(), offload };
        if !cable {
            tap.set_offloads().map_err(other("setting its offloads"))?;
        }
        tap.set_carrier(cable).map_err(other("setting its carrier"))?;
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

    /// Of a packet from the kernel, checksums and TCP's segmentation are ours to do.
    fn set_offloads(&self) -> io::Result<()> {
        let offloads = libc::TUN_F_CSUM | libc::TUN_F_TSO4 | libc::TUN_F_TSO6;
        // SAFETY: TUNSETOFFLOAD takes a number.
        match unsafe { libc::ioctl(self.device.as_raw_fd(), libc::TUNSETOFFLOAD, libc::c_ulong::from(offloads)) } {
            0 => Ok(()),
            _ => Err(io::Error::last_os_error()),
        }
    }

    /// # Safety
    /// What the parts name must be mapped and readable. It may change meanwhile.
    #[inline]
    unsafe fn write(&self, parts: &[libc::iovec]) -> io::Result<bool> {
        loop {
            // SAFETY: the caller vouches for the memory; the kernel copies it once, whatever it is at that moment.
            let written = unsafe { libc::writev(self.device.as_raw_fd(), parts.as_ptr(), parts.len() as libc::c_int) };
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
    /// What the parts name must be mapped and writable, and nothing may hold a reference to it.
    #[inline]
    unsafe fn read(&self, parts: &[libc::iovec]) -> io::Result<Option<usize>> {
        loop {
            // SAFETY: the caller vouches for the memory.
            let read = unsafe { libc::readv(self.device.as_raw_fd(), parts.as_ptr(), parts.len() as libc::c_int) };
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

    /// Lets the merger work, if there is one; what it writes goes to the interface.
    #[inline]
    fn with_merger<T>(
        &mut self,
        work: impl FnOnce(&mut Merger, &mut dyn FnMut(&[u8], u16) -> io::Result<()>) -> io::Result<T>,
    ) -> io::Result<Option<T>> {
        let Some(mut offload) = self.offload.take() else { return Ok(None) };
        let no_room = &mut offload.no_room;
        let outcome = work(&mut offload.merger, &mut |packet: &[u8], frames| {
            // SAFETY: a slice is mapped memory.
            if !unsafe { self.write(&[part(packet.as_ptr(), packet.len())]) }? {
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
            let memory = buffer.ptr_guard_mut();
            let rest = offload.splitter.rest(buffer.len());
            let parts = [
                part(header.as_mut_ptr(), header.len()),
                part(memory.as_ptr(), buffer.len()),
                part(rest.as_mut_ptr(), rest.len()),
            ];
            // SAFETY: two of ours; and the slice's memory, which stays mapped while its guard lives, and to which,
            // being volatile, there are no references.
            let Some(read) = (unsafe { self.read(&parts) })? else { return Ok(None) };
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

impl Uplink for Tap {
    #[inline]
    fn up(&mut self, frame: VolatileSlice<'_>, _meta: &NetMeta) -> io::Result<bool> {
        if self.with_merger(|merger, write| merger.take(&frame, write))? == Some(true) {
            return Ok(true);
        }
        let memory = frame.ptr_guard();
        let header = VnetHeader::default().to_bytes();
        let header = part(header.as_ptr(), if self.offload.is_some() { header.len() } else { 0 });
        // SAFETY: the slice's memory stays mapped while its guard lives.
        unsafe { self.write(&[header, part(memory.as_ptr(), frame.len())]) }
    }

    fn flush(&mut self) -> io::Result<u32> {
        self.with_merger(|merger, write| merger.flush(write))?;
        Ok(self.offload.as_mut().map_or(0, |offload| std::mem::take(&mut offload.no_room)))
    }

    #[inline]
    fn down(&mut self, buffer: VolatileSlice<'_>) -> io::Result<Option<(usize, NetMeta)>> {
        let Some(mut offload) = self.offload.take() else {
            let memory = buffer.ptr_guard_mut();
            // SAFETY: the slice's memory stays mapped while its guard lives, and volatile memory has no references to
            // it.
            let read = unsafe { self.read(&[part(memory.as_ptr(), buffer.len())]) }?;
            return Ok(read.map(|len| (len, NetMeta::default())));
        };
        let frame = self.next_frame(&mut offload, &buffer);
        self.offload = Some(offload);
        Ok(frame?.map(|len| (len, NetMeta::default())))
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
        unsafe { self.write(&[part(frame.as_ptr(), frame.len())]) }
    }

    fn recv(&mut self, buffer: &mut [u8]) -> io::Result<Option<usize>> {
        // SAFETY: the slice is ours alone.
        unsafe { self.read(&[part(buffer.as_mut_ptr(), buffer.len())]) }
    }

    fn event_fds(&self, fds: &mut Vec<RawFd>) {
        fds.push(self.device.as_raw_fd());
    }
}

fn part(base: *const u8, len: usize) -> libc::iovec {
    libc::iovec { iov_base: base.cast_mut().cast(), iov_len: len }
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
