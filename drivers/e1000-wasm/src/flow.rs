//! Flow control: PAUSE frames both ways (section 8.7; IEEE 802.3, annexes 28B and 31B).
//!
//! Both ends offer what they can in their negotiation; what follows from it is software's to find out and to tell the
//! MAC (CTRL.RFCE and TFCE). From then on the chip obeys and sends PAUSE frames by itself, and drops those that it
//! received (RCTL.DPF).

use e1000_regs::phy::an;
use e1000_regs::{CTRL, FCAH, FCAL, FCRTH, FCRTL, FCT, FCTTV};
use nook_sdk::{Kernel, Regs};

use crate::verbs::LONGEST_BYTES;

/// What we offer: pauses both ways, or only from the partner to us (annex 28B, table 28B-2).
pub(crate) const OFFERED: u16 = an::PAUSE | an::ASYM_PAUSE;

/// The address of MAC control frames, 01:80:c2:00:00:01, and their type (sections 13.4.8 to 13.4.10).
const ADDRESS: [u8; 6] = [0x01, 0x80, 0xc2, 0, 0, 0x01];
const TYPE: u32 = 0x8808;

/// What is asked for, in times of 512 bits: 0.85 ms at 1000 Mbit/s, in which the chip empties its buffer several times
/// over. An 82540 or 82545 may not be able to end it sooner (section 13.4.23), and while it lasts a partner that
/// is a switch keeps its frames; so it is no longer than that.
const QUANTA: u32 = 0x680;

/// Which way pauses are asked for.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Flow {
    /// The chip obeys the partner.
    pub(crate) obeys: bool,
    /// The chip asks the partner.
    pub(crate) asks: bool,
}

impl Flow {
    /// Returns what follows from what the partner offers, bits of [`an`], on a link with full duplex (annex 28B, table
    /// 28B-3).
    pub(crate) const fn with(partner: u16) -> Flow {
        match (partner & an::PAUSE != 0, partner & an::ASYM_PAUSE != 0) {
            (true, _) => Flow { obeys: true, asks: true },
            // It asks for pauses and makes none.
            (false, true) => Flow { obeys: true, asks: false },
            (false, false) => Flow { obeys: false, asks: false },
        }
    }

    /// Returns the bits of CTRL.
    pub(crate) const fn ctrl(self) -> u32 {
        (if self.obeys { CTRL::RFCE } else { 0 }) | if self.asks { CTRL::TFCE } else { 0 }
    }

    /// Text to read.
    pub(crate) const fn name(self) -> &'static str {
        match (self.obeys, self.asks) {
            (true, true) => "both ways",
            (true, false) => "from the partner only",
            (false, true) => "to the partner only",
            (false, false) => "none",
        }
    }
}

/// Returns how full the receive buffer may get before a pause is asked for, and at which mark it is over. Room is left
/// for what comes all the same: the longest frame, which the partner may have begun, or two of the usual length,
/// because one of ours may have to leave before the PAUSE frame can, and a tenth in any case. At half of that mark
/// there is work for some time left, and nobody asks twice in a row.
const fn marks(buffer_bytes: u32, longest_bytes: u32) -> (u32, u32) {
    let mut room = buffer_bytes / 10;
    if room < 2 * LONGEST_BYTES {
        room = 2 * LONGEST_BYTES;
    }
    if room < longest_bytes {
        room = longest_bytes;
    }
    let high = buffer_bytes.saturating_sub(room);
    (high & FCRTH::RTH.mask(), (high / 2) & FCRTL::RTL.mask())
}

/// Sets what PAUSE frames look like and when they are sent (sections 13.4.8 to 13.4.10, 13.4.12, 13.4.23 and 13.4.24):
/// with this much room for what is received, and frames as long as this with their check sequence.
pub(crate) fn prepare<K: Kernel>(regs: &Regs<K>, buffer_bytes: u32, longest_bytes: u32) {
    let [a, b, c, d, e, f] = ADDRESS;
    regs.write(FCAL, u32::from_le_bytes([a, b, c, d]));
    regs.write(FCAH, u32::from_le_bytes([e, f, 0, 0]));
    regs.write(FCT, TYPE);
    regs.write(FCTTV, FCTTV::TTV.put(QUANTA));
    let (high, low) = marks(buffer_bytes, longest_bytes);
    regs.write(FCRTL, low | FCRTL::XONE);
    regs.write(FCRTH, high);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_follows_from_both_offers_is_what_the_standard_says() {
        for (partner, obeys, asks) in [
            (0, false, false),
            (an::ASYM_PAUSE, true, false),
            (an::PAUSE, true, true),
            (an::PAUSE | an::ASYM_PAUSE, true, true),
        ] {
            assert_eq!(Flow::with(partner), Flow { obeys, asks }, "{partner:#x}");
        }
    }

    #[test]
    fn a_pause_is_asked_for_while_there_is_room_for_what_comes_all_the_same() {
        // The 8254x and the 82574, with frames of the usual length and long ones.
        for (kib, longest) in [(48, 1522), (40, 16_128), (20, 1522), (20, 9234)] {
            let (high, low) = marks(kib * 1024, longest);
            assert!(high + longest <= kib * 1024 && high > longest, "{kib} KiB, frames of {longest}");
            assert!(low > 0 && low < high);
            assert_eq!((high % 8, low % 8), (0, 0));
        }
    }
}
