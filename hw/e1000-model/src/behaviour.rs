//! How difficult the device is.

use e1000_regs::phy::an;

/// What the device makes of the freedom that the manual leaves it. Numbers are limits: what happens below them is
/// drawn from the seed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Behaviour {
    /// How long it leaves work lying before it does the next part of it: taking descriptors, writing them back,
    /// handing frames to memory. 0 is none: work is done, in order, in the next call of `service`.
    pub late_ns: u64,
    /// How often a register access that takes time (EEPROM, PHY, reset) is still busy when it is read.
    pub busy_reads: u32,
    /// How long negotiating a link takes.
    pub negotiation_ns: u64,
    /// Another device on the interrupt line fires in one of this many calls of `service`; 0 is never.
    pub spurious_one_in: u32,
    /// Frames of a million that arrive with a bad frame check sequence. The only way in which this device loses
    /// frames that it could take, so it is never on by default.
    pub receive_errors_ppm: u32,
    /// In one of this many received frames whose checksums were to be looked at it is left open whether they are right;
    /// 0 is never.
    pub open_checksums_one_in: u32,
    /// Whether the cable waits while the receive FIFO is full, and while the link partner was asked for a pause. If
    /// not, frames are lost then.
    pub full_fifo_waits: bool,
    /// What the link partner offers of flow control: bits of `e1000_regs::phy::an`.
    pub partner_offers: u16,
    /// The link partner asks for a pause of some microseconds, without a reason, in one of this many calls of
    /// `service`; 0 is never.
    pub pauses_one_in: u32,
    /// Whether FCRTL.XONE ends the partner's pause. The manual has that bit for other chips of the family only (section
    /// 13.4.23), and public drivers set it on all.
    pub sends_xon: bool,
    /// Whether the link partner takes the PAUSE frames that it is sent, as a MAC does (IEEE 802.3, annex 31B), and
    /// hands none on. If not, they pass the cable as any frame.
    pub takes_pauses: bool,
    /// Whether registers that power-up leaves undefined hold garbage instead of zero.
    pub garbage: bool,
}

impl Behaviour {
    /// Returns the behaviour of a device that does everything at once and in order, for measurements.
    pub const fn calm() -> Self {
        Behaviour {
            late_ns: 0,
            busy_reads: 0,
            negotiation_ns: 0,
            spurious_one_in: 0,
            receive_errors_ppm: 0,
            open_checksums_one_in: 0,
            full_fifo_waits: true,
            partner_offers: an::PAUSE | an::ASYM_PAUSE,
            pauses_one_in: 0,
            sends_xon: true,
            takes_pauses: true,
            garbage: false,
        }
    }

    /// Returns the behaviour of a device that uses what the manual allows it, without losing a frame.
    pub const fn adversarial() -> Self {
        Behaviour {
            late_ns: 40_000,
            busy_reads: 4,
            negotiation_ns: 20_000_000,
            spurious_one_in: 200,
            receive_errors_ppm: 0,
            open_checksums_one_in: 8,
            full_fifo_waits: true,
            partner_offers: an::PAUSE | an::ASYM_PAUSE,
            pauses_one_in: 500,
            // This cable is faster than any, so each burst fills the FIFO; without XON, each would cost a whole pause.
            sends_xon: true,
            takes_pauses: true,
            garbage: true,
        }
    }
}
