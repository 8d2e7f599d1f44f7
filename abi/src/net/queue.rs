//! What stands in the four queues.
//!
//! Packets live in the DMA window. Who may touch one is decided by which queue it went through last:
//! the host gives empty buffers (`rx_provide`) and frames to send (`tx_provide`), the driver gives back received
//! frames (`rx_return`) and sent ones (`tx_return`).

use crate::{QUEUE_CAPACITY, RingHeader};

/// The four queues between host and driver.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(usize)]
pub enum Queue {
    /// Host to driver: empty receive buffers.
    RxProvide = 0,
    /// Driver to host: received frames, and buffers that were not used.
    RxReturn = 1,
    /// Host to driver: frames to send.
    TxProvide = 2,
    /// Driver to host: frames that were sent, or not.
    TxReturn = 3,
}

impl Queue {
    /// In the order of [`HostPage::rings`](crate::HostPage::rings).
    pub const ALL: [Queue; 4] = [Queue::RxProvide, Queue::RxReturn, Queue::TxProvide, Queue::TxReturn];

    /// The queue's name, as in the documentation.
    pub const fn name(self) -> &'static str {
        match self {
            Queue::RxProvide => "rx_provide",
            Queue::RxReturn => "rx_return",
            Queue::TxProvide => "tx_provide",
            Queue::TxReturn => "tx_return",
        }
    }
}

impl core::fmt::Display for Queue {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        f.write_str(self.name())
    }
}

/// Bytes of one ring with its header.
pub const RING_BYTES: usize = size_of::<RingHeader>() + QUEUE_CAPACITY as usize * size_of::<QueueEntry>();

/// The part of an entry that every device class has: 16 bytes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[repr(C)]
pub struct Item {
    /// Which packet buffer: below [`PoolLayout::count`](super::PoolLayout::count).
    pub id: u32,
    /// How often the buffer had been given out before: returned as it was given.
    pub generation: u16,
    /// Which queue pair of the device: 0 in this version.
    pub queue: u8,
    /// [`item_flags`].
    pub flags: u8,
    /// Bytes of payload in this buffer (for `rx_provide`: bytes of room).
    pub len_bytes: u32,
    /// When the host gives up waiting for it, in milliseconds from now; 0 is never. Zero when returned.
    pub deadline_ms: u16,
    /// A [`PacketStatus`] when returned; zero when given.
    pub status: u16,
}

/// Bits of [`Item::flags`].
pub mod item_flags {
    /// The first buffer of a frame.
    pub const FIRST: u8 = 1 << 0;
    /// The last buffer of a frame.
    pub const LAST: u8 = 1 << 1;
    /// Every bit that may be set.
    pub const ALL: u8 = FIRST | LAST;
}

/// What became of a packet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u16)]
pub enum PacketStatus {
    /// Received or sent.
    Done = 0,
    /// The device reported an error.
    Failed = 1,
    /// Not used: the interface went down first.
    Unused = 2,
    /// The nook's filter does not let it pass.
    Dropped = 3,
}

impl PacketStatus {
    /// The status with this number.
    pub const fn from_u16(value: u16) -> Option<Self> {
        Some(match value {
            0 => PacketStatus::Done,
            1 => PacketStatus::Failed,
            2 => PacketStatus::Unused,
            3 => PacketStatus::Dropped,
            _ => return None,
        })
    }
}

/// What is to be done to a frame, or was found out about it: 16 bytes. All zero is a plain frame.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[repr(C)]
pub struct NetMeta {
    /// Transmit: where checksumming starts, bytes from the start of the frame.
    pub csum_start: u16,
    /// Transmit: where the checksum goes, bytes from `csum_start`.
    pub csum_offset: u16,
    /// Transmit: payload bytes of each segment.
    pub gso_size: u16,
    /// Transmit: bytes of headers that each segment repeats.
    pub gso_header_len: u16,
    /// The VLAN tag that is not in the frame: priority and id.
    pub vlan_tci: u16,
    /// Transmit: [`gso`].
    pub gso_type: u8,
    /// Receive: [`rx_checksum`].
    pub rx_checksum: u8,
    /// [`meta_flags`].
    pub flags: u16,
    /// Zero.
    pub reserved: u16,
}

/// Bits of [`NetMeta::flags`].
pub mod meta_flags {
    /// Transmit: fill in the checksum that `csum_start` and `csum_offset` describe.
    pub const CHECKSUM: u16 = 1 << 0;
    /// `vlan_tci` counts.
    pub const VLAN: u16 = 1 << 1;
    /// Every bit that may be set.
    pub const ALL: u16 = CHECKSUM | VLAN;
}

/// Values of [`NetMeta::gso_type`].
pub mod gso {
    /// One frame.
    pub const NONE: u8 = 0;
    /// TCP over IPv4.
    pub const TCP4: u8 = 1;
    /// TCP over IPv6.
    pub const TCP6: u8 = 2;
}

/// Values of [`NetMeta::rx_checksum`].
pub mod rx_checksum {
    /// The device did not look.
    pub const UNKNOWN: u8 = 0;
    /// The device found the transport checksum right.
    pub const GOOD: u8 = 1;
    /// The device found it wrong.
    pub const BAD: u8 = 2;
}

/// One entry of a ring: 32 bytes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[repr(C)]
pub struct QueueEntry {
    /// Class-neutral.
    pub item: Item,
    /// Network.
    pub net: NetMeta,
}
