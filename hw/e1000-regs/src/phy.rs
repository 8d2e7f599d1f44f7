//! Registers of the PHY inside the chip, reached through [`MDIC`](const@crate::MDIC) (section 13.4.7.1).
//!
//! Registers 0 to 15 are IEEE 802.3's (clause 22 and 28); 16 and up are the PHY's own (a Marvell 88E1011 design).

/// Control.
pub const BMCR: u32 = 0;
/// Status.
pub const BMSR: u32 = 1;
/// Identifier, first half.
pub const PHYID1: u32 = 2;
/// Identifier, second half.
pub const PHYID2: u32 = 3;
/// What we advertise.
pub const ANAR: u32 = 4;
/// What the link partner advertises.
pub const ANLPAR: u32 = 5;
/// Auto-negotiation expansion.
pub const ANER: u32 = 6;
/// 1000BASE-T control.
pub const GTCR: u32 = 9;
/// 1000BASE-T status.
pub const GTSR: u32 = 10;
/// Extended status.
pub const ESTATUS: u32 = 15;
/// PHY specific control.
pub const PSCR: u32 = 16;
/// PHY specific status.
pub const PSSR: u32 = 17;
/// PHY interrupt enable.
pub const PIER: u32 = 18;
/// PHY interrupt status: clears when read.
pub const PISR: u32 = 19;

/// Which page registers 0 to 31 are of (82574): the standard's are on page 0.
pub const PAGE: u32 = 22;

/// Bits of [`BMCR`].
pub mod bmcr {
    /// Resets the PHY; clears itself.
    pub const RESET: u16 = 1 << 15;
    /// Sends what is transmitted back.
    pub const LOOPBACK: u16 = 1 << 14;
    /// 100 Mbit/s, if not negotiated.
    pub const SPEED_100: u16 = 1 << 13;
    /// Auto-negotiation is on.
    pub const AN_ENABLE: u16 = 1 << 12;
    /// Powers down.
    pub const POWER_DOWN: u16 = 1 << 11;
    /// Cuts the PHY off from the MAC.
    pub const ISOLATE: u16 = 1 << 10;
    /// Negotiates again; clears itself.
    pub const AN_RESTART: u16 = 1 << 9;
    /// Full duplex, if not negotiated.
    pub const FULL_DUPLEX: u16 = 1 << 8;
    /// 1000 Mbit/s, if not negotiated.
    pub const SPEED_1000: u16 = 1 << 6;
}

/// Bits of [`BMSR`].
pub mod bmsr {
    /// Link is up; once down, it reads 0 once even if the link is up again.
    pub const LINK: u16 = 1 << 2;
    /// Can negotiate.
    pub const AN_ABLE: u16 = 1 << 3;
    /// Negotiation is complete.
    pub const AN_COMPLETE: u16 = 1 << 5;
    /// Needs no preamble, has [`ESTATUS`](super::ESTATUS), can do 10 and 100 Mbit/s: what never changes.
    pub const ABILITIES: u16 = 0x7949;
}

/// Bits of [`ANAR`] and [`ANLPAR`].
pub mod an {
    /// IEEE 802.3.
    pub const SELECTOR: u16 = 1;
    /// 10 Mbit/s half duplex.
    pub const T10_HALF: u16 = 1 << 5;
    /// 10 Mbit/s full duplex.
    pub const T10_FULL: u16 = 1 << 6;
    /// 100 Mbit/s half duplex.
    pub const T100_HALF: u16 = 1 << 7;
    /// 100 Mbit/s full duplex.
    pub const T100_FULL: u16 = 1 << 8;
    /// Symmetric PAUSE.
    pub const PAUSE: u16 = 1 << 10;
    /// Asymmetric PAUSE.
    pub const ASYM_PAUSE: u16 = 1 << 11;
    /// Received the partner's page.
    pub const ACKNOWLEDGE: u16 = 1 << 14;
}

/// Bits of [`GTCR`] (what we advertise) and [`GTSR`] (what the partner does).
pub mod gigabit {
    /// Control: half duplex.
    pub const HALF: u16 = 1 << 8;
    /// Control: full duplex.
    pub const FULL: u16 = 1 << 9;
    /// Status: the partner can do half duplex.
    pub const PARTNER_HALF: u16 = 1 << 10;
    /// Status: the partner can do full duplex.
    pub const PARTNER_FULL: u16 = 1 << 11;
    /// Status: the remote receiver is fine.
    pub const REMOTE_OK: u16 = 1 << 12;
    /// Status: the local receiver is fine.
    pub const LOCAL_OK: u16 = 1 << 13;
}

/// Bits of [`PSSR`].
pub mod pssr {
    /// Link, without the memory of [`BMSR`](super::BMSR).
    pub const LINK: u16 = 1 << 10;
    /// Speed and duplex are resolved.
    pub const RESOLVED: u16 = 1 << 11;
    /// Full duplex.
    pub const FULL_DUPLEX: u16 = 1 << 13;
    /// Where the speed starts: 0 is 10, 1 is 100, 2 is 1000 Mbit/s; two bits.
    pub const SPEED_SHIFT: u32 = 14;
}

/// [`PHYID1`] and [`PHYID2`] of the PHY in an 82540EM, as one word.
pub const ID_82540: u32 = 0x0141_0c20;

/// Returns the [`MDIC`](const@crate::MDIC) value that reads PHY register `register`.
pub const fn read_command(register: u32) -> u32 {
    command(register, crate::MDIC_OP_READ)
}

/// Returns the [`MDIC`](const@crate::MDIC) value that writes `value` to PHY register `register`.
pub const fn write_command(register: u32, value: u16) -> u32 {
    command(register, crate::MDIC_OP_WRITE) | value as u32
}

const fn command(register: u32, op: u32) -> u32 {
    use crate::MDIC;
    MDIC::REGADD.put(register) | MDIC::PHYADD.put(crate::MDIC_PHY) | MDIC::OP.put(op)
}
