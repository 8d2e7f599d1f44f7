//! What a network driver's interface is plugged into on the kernel's side: TAP, the in-process host, a capture.

use std::io;
use std::os::fd::RawFd;

use crate::{Incoming, Outgoing, Room};

/// What the operating system's side of an interface is set to, by an operator or by what is above it (a bridge, a
/// macvlan, a packet socket).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct KernelSettings {
    /// Its address, if that is another one than [`set_mac`](NetBackend::set_mac) gave it.
    pub mac: Option<[u8; 6]>,
    /// The largest payload in bytes, without the Ethernet header.
    pub mtu_bytes: u32,
    /// It wants every frame on the wire.
    pub promiscuous: bool,
    /// It wants all multicast frames, or does not say which.
    pub all_multicast: bool,
    /// Multicast addresses that it wants.
    pub multicast: Vec<[u8; 6]>,
}

/// The side of a network interface that faces the operating system.
///
/// Implemented by `classes/net/`; used by the network class, on the nook's thread. Frames are whole Ethernet frames
/// without frame check sequence; `deliver` goes from the driver to the host, `fetch` from the host to the driver. The
/// slices lie in the DMA window, which a driver or a device can write at any time: read a byte once, then use it.
pub trait NetBackend: Send {
    /// Takes a frame that the driver received. `false` means that the other side had no room: the frame is dropped
    /// and counted.
    fn deliver(&mut self, frame: Incoming<'_>) -> io::Result<bool>;

    /// Puts the next frame to send into `room` and says how long it is and what is still to be done to it, of what
    /// `room` says may be left to the driver; `None` if there is none.
    fn fetch(&mut self, room: &Room<'_>) -> io::Result<Option<Outgoing>>;

    /// Returns how many packets the other side had to send of which no frame for this driver could be made, since the
    /// last call. They were dropped.
    fn unfit(&mut self) -> u32 {
        0
    }

    /// Ends a batch. Returns for how many of the frames that were taken the other side had
    /// no room after all.
    fn flush(&mut self) -> io::Result<u32> {
        Ok(0)
    }

    /// Takes the link that the driver reported.
    fn link(&mut self, up: bool) -> io::Result<()>;

    /// Sets the interface's address, once the driver has named it.
    fn set_mac(&mut self, mac: [u8; 6]) -> io::Result<()>;

    /// Sets the interface's MTU, which is larger than the driver's.
    ///
    /// # Errors
    /// If that is not possible, or not allowed: packets that are too long are dropped then.
    fn set_mtu(&mut self, mtu_bytes: u32) -> io::Result<()> {
        let _ = mtu_bytes;
        Ok(())
    }

    /// Returns what the interface is set to, if that was not told yet.
    fn wanted(&mut self) -> Option<KernelSettings> {
        None
    }

    /// Lets an in-process host work; when it wants to be called again even if nothing happens (nanoseconds of
    /// the nook's clock).
    fn service(&mut self, now_ns: u64) -> io::Result<Option<u64>> {
        let _ = now_ns;
        Ok(None)
    }

    /// Adds descriptors that become readable when [`fetch`](NetBackend::fetch) has something.
    fn event_fds(&self, fds: &mut Vec<RawFd>) {
        let _ = fds;
    }
}
