//! What the driver's interface is plugged into.

use std::io;
use std::os::fd::RawFd;

use nook_net::{IpHost, Tap};

use nook_net_api::{Incoming, KernelSettings, NetBackend, Outgoing, Room};

/// The kernel through a TAP interface, or a host in this process. Static dispatch: this is asked for every frame.
#[allow(clippy::large_enum_variant)] // There is one of them.
pub enum Backend {
    /// The kernel.
    Tap(Tap),
    /// This process.
    Host(IpHost),
}

impl Backend {
    /// Returns the host in this process, if that is what it is.
    pub fn host(&self) -> Option<&IpHost> {
        match self {
            Backend::Host(host) => Some(host),
            Backend::Tap(_) => None,
        }
    }
}

macro_rules! each {
    ($self:ident, $backend:ident => $call:expr) => {
        match $self {
            Backend::Tap($backend) => $call,
            Backend::Host($backend) => $call,
        }
    };
}

impl NetBackend for Backend {
    #[inline]
    fn deliver(&mut self, frame: Incoming<'_>) -> io::Result<bool> {
        each!(self, backend => backend.deliver(frame))
    }

    #[inline]
    fn fetch(&mut self, room: &Room<'_>) -> io::Result<Option<Outgoing>> {
        each!(self, backend => backend.fetch(room))
    }

    fn unfit(&mut self) -> u32 {
        each!(self, backend => backend.unfit())
    }

    fn flush(&mut self) -> io::Result<u32> {
        each!(self, backend => backend.flush())
    }

    fn link(&mut self, up: bool) -> io::Result<()> {
        each!(self, backend => backend.link(up))
    }

    fn set_mac(&mut self, mac: [u8; 6]) -> io::Result<()> {
        each!(self, backend => backend.set_mac(mac))
    }

    fn set_mtu(&mut self, mtu_bytes: u32) -> io::Result<()> {
        each!(self, backend => backend.set_mtu(mtu_bytes))
    }

    fn wanted(&mut self) -> Option<KernelSettings> {
        each!(self, backend => backend.wanted())
    }

    fn service(&mut self, now_ns: u64) -> io::Result<Option<u64>> {
        each!(self, backend => backend.service(now_ns))
    }

    fn event_fds(&self, fds: &mut Vec<RawFd>) {
        each!(self, backend => backend.event_fds(fds))
    }
}
