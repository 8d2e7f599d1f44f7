//! What the driver said of its interface.

use nook_abi::net::LinkState;

use super::named::NamedCounters;

/// The network interface as the driver described it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Interface {
    /// Its address, first byte on the wire first.
    pub mac: [u8; 6],
    /// The largest payload that the device can carry, without the Ethernet header.
    pub max_mtu_bytes: u32,
    /// The link, as last reported.
    pub link: LinkState,
    /// What the device does to frames in the host's place: bits of [`offload`](nook_abi::net::offload).
    pub offloads: u32,
}

/// The host's part of the class.
#[derive(Debug, Default)]
pub(crate) struct Port {
    pub(crate) interface: Option<Interface>,
    /// The driver has said which offloads its device has.
    pub(super) told_offloads: bool,
    pub(super) counters: NamedCounters,
    /// How many queues the operator wants the driver to use, at most; of every instance.
    pub(super) queues: u32,
    /// The link when the call began that may be rolled back.
    before: LinkState,
}

impl Port {
    pub(crate) fn begin(&mut self) {
        (self.interface, self.told_offloads) = (None, false);
        self.counters.begin();
    }

    pub(crate) fn end(&mut self) {
        self.set_link(LinkState::default());
    }

    #[inline]
    pub(crate) fn begin_call(&mut self) {
        self.before = self.interface.as_ref().map(|interface| interface.link).unwrap_or_default();
    }

    #[inline]
    pub(crate) fn commit(&mut self) {}

    pub(crate) fn abort(&mut self) {
        self.set_link(self.before);
    }

    pub(crate) fn set_link(&mut self, link: LinkState) {
        if let Some(interface) = &mut self.interface {
            interface.link = link;
        }
    }
}
