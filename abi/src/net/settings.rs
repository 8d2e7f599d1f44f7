//! What the host sets of an interface, and what the driver reports of it.

/// Bits of the flags of [`Entry::Poll`](crate::Entry::Poll).
pub mod poll_flags {
    /// If a received frame is there, return one as failed without looking at what is in it: the driver faulted at it
    /// before. Nothing else is received in this call.
    pub const DISCARD_NEXT_RX: u32 = 1 << 0;
}

/// What [`Entry::SetLoopback`](crate::Entry::SetLoopback) is given.
pub mod loopback_mode {
    /// Frames pass the cable.
    pub const OFF: u32 = 0;
    /// Frames turn round inside the device.
    pub const ON: u32 = 1;
}

/// Bits of `set_rx_mode`.
pub mod rx_mode {
    /// Everything on the wire.
    pub const PROMISCUOUS: u32 = 1 << 0;
    /// All multicast frames, whatever the list says.
    pub const ALL_MULTICAST: u32 = 1 << 1;
    /// Every bit that may be set.
    pub const ALL: u32 = PROMISCUOUS | ALL_MULTICAST;
}

/// The link, as the driver reports it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct LinkState {
    /// Whether frames can pass.
    pub up: bool,
    /// Megabits per second; 0 if it is down, or if the device does not know.
    pub speed_mbps: u32,
    /// Both ways at once.
    pub full_duplex: bool,
}

/// The most multicast addresses that `set_rx_mode` is given.
pub const MOST_MULTICAST: usize = 256;

const _: () = assert!(MOST_MULTICAST * 6 <= crate::MAILBOX_BYTES);
