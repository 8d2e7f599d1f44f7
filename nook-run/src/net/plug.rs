//! What the driver's interface is plugged into.

use std::io;
use std::os::fd::RawFd;

use nook_bus::VolatileSlice;
use nook_net::{Host, Tap};

use nook_net_api::Uplink;

/// The kernel through a TAP interface, or a host in this process. Static dispatch: this is asked for every frame.
#[allow(clippy::large_enum_variant)] // There is one of them.
pub enum Plug {
    /// The kernel.
    Tap(Tap),
    /// This process.
    Host(Host),
}

impl Plug {
    /// The host in this process, if that is what it is.
    pub fn host(&self) -> Option<&Host> {
        match self {
            Plug::Host(host) => Some(host),
            Plug::Tap(_) => None,
        }
    }
}

macro_rules! each {
    ($self:ident, $plug:ident => $call:expr) => {
        match $self {
            Plug::Tap($plug) => $call,
            Plug::Host($plug) => $call,
        }
    };
}

impl Uplink for Plug {
    #[inline]
    fn up(&mut self, frame: VolatileSlice<'_>) -> io::Result<bool> {
        each!(self, plug => plug.up(frame))
    }

    #[inline]
    fn down(&mut self, buffer: VolatileSlice<'_>) -> io::Result<Option<usize>> {
        each!(self, plug => plug.down(buffer))
    }

    fn flush(&mut self) -> io::Result<u32> {
        each!(self, plug => plug.flush())
    }

    fn link(&mut self, up: bool) -> io::Result<()> {
        each!(self, plug => plug.link(up))
    }

    fn set_mac(&mut self, mac: [u8; 6]) -> io::Result<()> {
        each!(self, plug => plug.set_mac(mac))
    }

    fn service(&mut self, now_ns: u64) -> io::Result<Option<u64>> {
        each!(self, plug => plug.service(now_ns))
    }

    fn event_fds(&self, fds: &mut Vec<RawFd>) {
        each!(self, plug => plug.event_fds(fds))
    }
}
