//! A TAP interface of the kernel: the network interface that the operating system sees, or the far end of a cable.

use std::io;
use std::os::fd::{AsFd, AsRawFd, RawFd};

use nook_bus::VolatileSlice;
use nook_net_api::NetBackend;
use nook_net_api::Wire;

use crate::offload::{Collector, Next, Splitter, Unfit, VnetHeader, Written};

mod device;
mod error;

use device::{Device, Part, PartMut};
pub use error::TapError;
use error::{check_name, explain};

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
    collector: Collector,
    splitter: Splitter,
    /// Packets from the kernel of which no frame could be made, not told yet.
    unfit: u32,
    /// For which reasons, each said once.
    said: Vec<Unfit>,
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
            let (collector, splitter) = (Collector::new(name), Splitter::new());
            Box::new(Offload { collector, splitter, unfit: 0, said: Vec::new() })
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

    /// Writes one packet.
    #[inline]
    fn write<const N: usize>(&self, parts: [Part<'_>; N]) -> io::Result<Written> {
        loop {
            let Err(error) = self.device.write(&parts) else { return Ok(Written::Taken) };
            match error.raw_os_error() {
                Some(libc::EINTR) => {}
                // No room now, or the interface is down.
                Some(libc::EAGAIN | libc::ENOBUFS | libc::ENOMEM | libc::EIO) => return Ok(Written::NoRoom),
                // Shorter than an Ethernet header, longer than what the kernel takes, or of a kind that it does not.
                Some(libc::EINVAL | libc::EMSGSIZE) => return Ok(Written::Refused),
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

    /// Lets the collector work, if there is one; what it writes goes to the interface.
    #[inline]
    fn with_collector<T>(
        &mut self,
        work: impl FnOnce(&mut Collector, &mut dyn FnMut(&[u8]) -> io::Result<Written>) -> io::Result<T>,
    ) -> io::Result<Option<T>> {
        let Some(mut offload) = self.offload.take() else { return Ok(None) };
        let outcome = work(&mut offload.collector, &mut |packet: &[u8]| self.write([packet.into()]));
        self.offload = Some(offload);
        outcome.map(Some)
    }

    /// Puts the next frame to send into the buffer.
    fn next_frame(&self, offload: &mut Offload, buffer: &VolatileSlice<'_>) -> io::Result<Option<usize>> {
        let mut next = offload.splitter.next(buffer);
        loop {
            match next {
                Some(Next::Frame(len)) => return Ok(Some(len)),
                Some(Next::Unfit(unfit)) => self.note_unfit(offload, unfit),
                None => {}
            }
            let mut header = [0; VnetHeader::BYTES];
            let rest = offload.splitter.rest(buffer.len());
            let parts = [header[..].as_mut().into(), buffer.into(), rest.into()];
            let Some(read) = self.read(parts)? else { return Ok(None) };
            let vnet = VnetHeader::from_bytes(header);
            next = Some(offload.splitter.begin(vnet, buffer, read.saturating_sub(header.len())));
        }
    }

    /// Counts a packet of which no frame could be made, and says each reason once.
    #[cold]
    fn note_unfit(&self, offload: &mut Offload, unfit: Unfit) {
        offload.unfit = offload.unfit.saturating_add(1);
        if !offload.said.contains(&unfit) {
            offload.said.push(unfit);
            let (name, why) = (&self.name, unfit.text());
            tracing::warn!("{name}: a packet from the kernel {why}; it is dropped, and later ones are only counted");
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
        if self.with_collector(|collector, write| collector.take(&frame, write))? == Some(true) {
            return Ok(true);
        }
        let header = VnetHeader::default().to_bytes();
        let header = if self.offload.is_some() { &header[..] } else { &[] };
        Ok(self.write([header.into(), (&frame).into()])? == Written::Taken)
    }

    fn flush(&mut self) -> io::Result<u32> {
        Ok(self.with_collector(|collector, write| collector.flush(write))?.unwrap_or(0))
    }

    fn unfit(&mut self) -> u32 {
        self.offload.as_mut().map_or(0, |offload| std::mem::take(&mut offload.unfit))
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
        Ok(self.write([frame.into()])? == Written::Taken)
    }

    fn recv(&mut self, buffer: &mut [u8]) -> io::Result<Option<usize>> {
        self.read([buffer.into()])
    }

    fn event_fds(&self, fds: &mut Vec<RawFd>) {
        fds.push(self.device.as_fd().as_raw_fd());
    }
}
