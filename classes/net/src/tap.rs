//! A TAP interface of the kernel: the network interface that the operating system sees, or the far end of a cable.

use std::io;
use std::os::fd::{AsFd, AsRawFd, RawFd};
use std::sync::Arc;

use nook_abi::Hex;
use nook_bus::VolatileSlice;
use nook_net_api::{Incoming, KernelSettings, NetBackend, Outgoing, Room, Wire};

use crate::offload::{Collector, Next, Splitter, Unfit, VnetHeader, Written};

mod device;
mod error;
mod far_end;
mod features;
mod rtnetlink;
mod watch;

use device::{Device, Part, PartMut};
pub use error::TapError;
use error::{check_name, explain};
pub use far_end::FarEnd;
use watch::Watch;

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
    watch: Watch,
    /// What it is set to was not told yet.
    changed: bool,
    /// The address that the driver gave it.
    mac: Option<[u8; 6]>,
    /// Of a cable's far end.
    far_end: Arc<FarEnd>,
}

struct Offload {
    collector: Collector,
    splitter: Splitter,
    /// Packets from the kernel of which no frame could be made, not told yet.
    unfit: u32,
    /// For which reasons, each said once.
    said: Vec<Unfit>,
    /// The last packet from the kernel was longer than one buffer: the next is likely to be, too, and is read straight
    /// into as many as it needs.
    is_long: bool,
}

impl Tap {
    /// Opens the interface that a driver serves. It has no carrier before the driver reports a link.
    ///
    /// # Errors
    /// See [`TapError`].
    pub fn interface(name: &str) -> Result<Tap, TapError> {
        Tap::open(name, None)
    }

    /// Opens the far end of a device's cable. It has a carrier, and the device has one while it is up. What becomes of
    /// it is written to `far_end`.
    ///
    /// # Errors
    /// See [`TapError`].
    pub fn cable(name: &str, far_end: Arc<FarEnd>) -> Result<Tap, TapError> {
        Tap::open(name, Some(far_end))
    }

    fn open(name: &str, far_end: Option<Arc<FarEnd>>) -> Result<Tap, TapError> {
        let cable = far_end.is_some();
        check_name(name).map_err(|rule| TapError::Name { name: name.into(), rule })?;
        let device = Device::open(name, !cable).map_err(|error| explain(name, error))?;
        let offload = (!cable).then(|| {
            let (collector, splitter) = (Collector::new(name), Splitter::new());
            Box::new(Offload { collector, splitter, unfit: 0, said: Vec::new(), is_long: false })
        });
        let watch = Watch::new(&device, name);
        let far_end = far_end.unwrap_or_default();
        let tap = Tap { device, name: name.into(), offload, watch, changed: false, mac: None, far_end };
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
    fn write(&self, parts: &[Part<'_>]) -> io::Result<Written> {
        loop {
            let Err(error) = self.device.write(parts) else { return Ok(Written::Taken) };
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
    fn read(&self, parts: &mut [PartMut<'_>]) -> io::Result<Option<usize>> {
        loop {
            let error = match self.device.read(parts) {
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
        let outcome = work(&mut offload.collector, &mut |packet: &[u8]| self.write(&[packet.into()]));
        self.offload = Some(offload);
        outcome.map(Some)
    }

    /// Puts the next frame to send into the buffers.
    fn next_frame(&self, offload: &mut Offload, room: &Room<'_>) -> io::Result<Option<Outgoing>> {
        let mut next = offload.splitter.next(room);
        loop {
            match next {
                Some(Next::Frame(len_bytes)) => return Ok(Some(Outgoing { len_bytes, side: None })),
                Some(Next::Left(len_bytes, side)) => return Ok(Some(Outgoing { len_bytes, side: Some(side) })),
                Some(Next::Unfit(unfit)) => self.note_unfit(offload, unfit),
                None => {}
            }
            if offload.is_long && !offload.splitter.has_room(room) {
                // Another long one would have to be cut here, and there will be room soon.
                return Ok(None);
            }
            let mut header = [0; VnetHeader::BYTES];
            let first = room.part(0);
            let (in_room, read) = if offload.is_long && room.count() > 1 {
                let buffers: Vec<VolatileSlice<'_>> = (0..room.count()).map(|at| room.part(at)).collect();
                let mut parts = Vec::with_capacity(buffers.len() + 2);
                parts.push(header[..].as_mut().into());
                parts.extend(buffers.iter().map(PartMut::from));
                parts.push(offload.splitter.rest(room.total_bytes()).into());
                (room.total_bytes(), self.read(&mut parts)?)
            } else {
                let rest = offload.splitter.rest(first.len());
                (first.len(), self.read(&mut [header[..].as_mut().into(), (&first).into(), rest.into()])?)
            };
            let Some(read) = read else { return Ok(None) };
            let len = read.saturating_sub(header.len());
            offload.is_long = len > first.len();
            next = Some(offload.splitter.begin(VnetHeader::from_bytes(header), room, in_room, len));
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
            Some(libc::EBADFD | libc::EFAULT) if self.device.name().is_err() => "the interface was removed".to_string(),
            _ => error.to_string(),
        };
        io::Error::new(error.kind(), format!("TAP interface {}: {what}: {why}", self.name))
    }
}

impl NetBackend for Tap {
    #[inline]
    fn deliver(&mut self, frame: Incoming<'_>) -> io::Result<bool> {
        if self.with_collector(|collector, write| collector.take(&frame, write))? == Some(true) {
            return Ok(true);
        }
        let header = VnetHeader::of_frame(frame.checked).to_bytes();
        let header = if self.offload.is_some() { &header[..] } else { &[] };
        let Some(whole) = frame.whole() else {
            let parts: Vec<VolatileSlice<'_>> = frame.parts().collect();
            let parts: Vec<Part<'_>> = std::iter::once(header.into()).chain(parts.iter().map(Part::from)).collect();
            return Ok(self.write(&parts)? == Written::Taken);
        };
        Ok(self.write(&[header.into(), (&whole).into()])? == Written::Taken)
    }

    fn flush(&mut self) -> io::Result<u32> {
        Ok(self.with_collector(|collector, write| collector.flush(write))?.unwrap_or(0))
    }

    fn unfit(&mut self) -> u32 {
        self.offload.as_mut().map_or(0, |offload| std::mem::take(&mut offload.unfit))
    }

    #[inline]
    fn fetch(&mut self, room: &Room<'_>) -> io::Result<Option<Outgoing>> {
        let Some(mut offload) = self.offload.take() else {
            let first = room.part(0);
            return Ok(self.read(&mut [(&first).into()])?.map(|len_bytes| Outgoing { len_bytes, side: None }));
        };
        let frame = self.next_frame(&mut offload, room);
        self.offload = Some(offload);
        frame
    }

    fn link(&mut self, up: bool) -> io::Result<()> {
        self.device.set_carrier(up).map_err(|error| self.failed("setting its carrier", error))
    }

    fn set_mac(&mut self, mac: [u8; 6]) -> io::Result<()> {
        let before = self.watch.state().and_then(|state| state.mac);
        if before != Some(mac) {
            self.device.set_mac(mac).map_err(|error| self.failed("setting its address", error))?;
            self.watch.note_mac(mac);
        }
        let first = self.mac.replace(mac).is_none();
        if let Some(before) = before
            && before != mac
            && first
            && self.device.is_persistent().unwrap_or(false)
        {
            let (name, before, mac) = (&self.name, Hex::colons(&before), Hex::colons(&mac));
            tracing::warn!(
                "{name}: its address was {before}, and is that of the card now, {mac}; to use another one, set it \
                 while the driver runs"
            );
        }
        Ok(())
    }

    fn set_mtu(&mut self, mtu_bytes: u32) -> io::Result<()> {
        self.watch.set_mtu(mtu_bytes)
    }

    fn service(&mut self, now_ns: u64) -> io::Result<Option<u64>> {
        self.changed |= self.watch.look(&self.device, &self.name, now_ns);
        Ok(self.watch.due_ns())
    }

    fn wanted(&mut self) -> Option<KernelSettings> {
        if self.watch.state().is_none() {
            self.changed |= self.watch.ask(&self.device, &self.name);
        }
        if !std::mem::take(&mut self.changed) {
            return None;
        }
        let state = self.watch.state()?;
        Some(KernelSettings {
            mac: state.mac.filter(|&mac| self.mac.is_some_and(|given| given != mac)),
            mtu_bytes: state.mtu_bytes,
            promiscuous: state.promiscuous,
            all_multicast: state.all_multicast || state.groups.is_none(),
            multicast: state.groups.clone().unwrap_or_default(),
        })
    }

    fn event_fds(&self, fds: &mut Vec<RawFd>) {
        fds.push(self.device.as_fd().as_raw_fd());
        self.watch.event_fds(fds);
    }
}

impl Wire for Tap {
    fn send(&mut self, frame: &[u8]) -> io::Result<bool> {
        if self.far_end.is_removed() {
            self.far_end.count_lost();
            return Ok(false);
        }
        match self.write(&[frame.into()]) {
            Ok(Written::Taken) => return Ok(true),
            Ok(Written::NoRoom | Written::Refused) => {}
            Err(error) => self.cut(error)?,
        }
        self.far_end.count_lost();
        Ok(false)
    }

    fn recv(&mut self, buffer: &mut [u8]) -> io::Result<Option<usize>> {
        let mut more = [0];
        while !self.far_end.is_removed() {
            match self.read(&mut [buffer[..].as_mut().into(), more[..].as_mut().into()]) {
                Ok(Some(len)) if len > buffer.len() => self.far_end.count_too_long(&self.name, buffer.len()),
                Ok(len) => return Ok(len),
                Err(error) => self.cut(error)?,
            }
        }
        Ok(None)
    }

    fn carrier(&self) -> bool {
        // Where it is not known whether the interface is up, it is taken to be.
        !self.far_end.is_removed() && self.watch.state().is_none_or(|state| state.up)
    }

    fn due_ns(&mut self, now_ns: u64) -> Option<u64> {
        // The device is to see the change at once.
        let changed = self.watch.look(&self.device, &self.name, now_ns);
        if changed { Some(now_ns) } else { self.watch.due_ns() }
    }

    fn event_fds(&self, fds: &mut Vec<RawFd>) {
        // A descriptor of an interface that was removed is readable for ever.
        if !self.far_end.is_removed() {
            fds.push(self.device.as_fd().as_raw_fd());
            self.watch.event_fds(fds);
        }
    }
}

impl Tap {
    /// Takes the error of a cable whose interface was removed: it is as if it had been pulled out.
    #[cold]
    fn cut(&self, error: io::Error) -> io::Result<()> {
        if self.device.name().is_ok() {
            return Err(error);
        }
        self.far_end.note_removed(&self.name);
        Ok(())
    }
}
