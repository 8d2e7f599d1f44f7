//! A network card (5.1).

use nook_regs::{Bar, PciId, RegisterInfo, RegisterMap};

use crate::{BAR, BAR_BYTES, VENDOR, common};

/// Device id of one that is of this standard alone (4.1.2).
pub const DEVICE: u16 = 0x1041;
/// Of one that can also be driven as an older one.
pub const DEVICE_TRANSITIONAL: u16 = 0x1000;
/// Bytes of the header before each frame, both ways (5.1.6): without offloads all of it is 0, but for the number of
/// buffers that a received frame is in, which is 1.
pub const HEADER_BYTES: u32 = 12;

/// Feature bits (5.1.3).
pub mod feature {
    /// MTU holds.
    pub const MTU: u64 = 1 << 3;
    /// MAC holds.
    pub const MAC: u64 = 1 << 5;
    /// STATUS holds.
    pub const STATUS: u64 = 1 << 16;
    /// It has a queue for commands.
    pub const CTRL_VQ: u64 = 1 << 17;
    /// They say what is received.
    pub const CTRL_RX: u64 = 1 << 18;
    /// They change its address.
    pub const CTRL_MAC_ADDR: u64 = 1 << 23;
    /// SPEED and DUPLEX hold.
    pub const SPEED_DUPLEX: u64 = 1 << 63;
}

/// Numbers of queues, of a card with one pair (5.1.2).
pub mod queue {
    /// Buffers to receive into.
    pub const RECEIVE: u16 = 0;
    /// Frames to send.
    pub const TRANSMIT: u16 = 1;
    /// Commands.
    pub const CONTROL: u16 = 2;
}

/// Commands: their class, and which of it (5.1.6.5).
pub mod command {
    /// Whether all frames are received: one byte, 0 or 1.
    pub const PROMISC: [u8; 2] = [0, 0];
    /// Whether those to all groups are: one byte, 0 or 1.
    pub const ALLMULTI: [u8; 2] = [0, 1];
    /// To which addresses: a table of single ones, and one of groups. Each is its length (32 bits) and the addresses.
    pub const MAC_TABLE_SET: [u8; 2] = [1, 0];
    /// The card's address: 6 bytes.
    pub const MAC_ADDR_SET: [u8; 2] = [1, 1];
    /// The answer to one that was done.
    pub const OK: u8 = 0;
}

nook_regs::registers! {
    /// What a network card has besides.
    static OWN = "virtio: net", bar 4, 0x4000 bytes;

    /// Its address, byte by byte.
    MAC: [u8; 6; 1] at 0x2000, Ro, "5.1.4, mac";
    /// Whether there is a link.
    STATUS: u16 at 0x2006, Ro, "5.1.4, status" {
        /// There is.
        LINK_UP = 0,
        /// The card should announce itself to others on the link.
        ANNOUNCE = 1,
    }
    /// How many pairs of queues it has at most.
    MAX_VIRTQUEUE_PAIRS: u16 at 0x2008, Ro, "5.1.4, max_virtqueue_pairs";
    /// The longest payload that the other end takes.
    MTU: u16 at 0x200a, Ro, "5.1.4, mtu";
    /// Mbit/s of the link.
    SPEED: u32 at 0x200c, Ro, "5.1.4, speed";
    /// 1 for full duplex.
    DUPLEX: u8 at 0x2010, Ro, "5.1.4, duplex";
}

const COUNT: usize = common::COUNT + OWN.registers().len();
static REGISTERS: [RegisterInfo; COUNT] = RegisterMap::joined([&common::COMMON, &OWN]);

/// Every register that the driver of a network card, a tracer or a report may meet.
pub static MAP: RegisterMap = RegisterMap::checked("virtio-net", &[Bar::memory(BAR, BAR_BYTES)], &REGISTERS)
    .for_devices(&[PciId { vendor: VENDOR, device: DEVICE }, PciId { vendor: VENDOR, device: DEVICE_TRANSITIONAL }]);
