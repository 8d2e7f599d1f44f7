//! Flow control: PAUSE frames both ways (section 8.7, IEEE 802.3 annex 31B).
//!
//! The chip obeys those that it receives (CTRL.RFCE): its transmitter rests. Those that it sends (CTRL.TFCE), when its
//! receive FIFO gets full, are for the link partner that the model plays. It obeys them, if
//! [`full_fifo_waits`](crate::Behaviour::full_fifo_waits) says so, and then the cable waits; what is at its far end
//! sees them only if [`takes_pauses`](crate::Behaviour::takes_pauses) says that they pass.

use e1000_regs::{
    CRCERRS, CTRL, FCAH, FCAL, FCRTH, FCRTL, FCRUC, FCT, FCTTV, RCTL, SPEED_10, SPEED_100, STATUS, TCTL, TOTL, TPT,
    XOFFRXC, XOFFTXC, XONRXC, XONTXC,
};

use crate::NEVER;
use crate::model::Model;
use crate::tx::{FCS, HEADER, MIN_FRAME};

/// The one operation of MAC control frames that is defined.
const OPCODE_PAUSE: u16 = 1;
/// Bits in which a pause is counted.
const QUANTUM_BITS: u64 = 512;
/// A partner that pauses of itself asks for this many quanta at most.
const LONGEST_WHIM: u64 = 80;

/// Who has asked whom for a pause.
#[derive(Debug, Default)]
pub(crate) struct Pause {
    /// The transmitter rests until then.
    until_ns: u64,
    /// The partner rests until then.
    partner_until_ns: u64,
    /// The FIFO has reached the high mark, and not the low one since.
    above: bool,
    /// It has overflowed since, and the partner was asked a second time.
    asked_again: bool,
}

/// What becomes of a frame.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Control {
    /// It is no control frame, or one that is received as any other.
    Pass,
    /// The same, but it is a PAUSE frame.
    PassPause,
    /// It ends here.
    Drop,
}

fn word(frame: &[u8], at: usize) -> u16 {
    u16::from_be_bytes([frame[at], frame[at + 1]])
}

impl Model {
    fn plain_at(&self, register: nook_regs::Register<u32>) -> u32 {
        self.plain.get(register.offset())
    }

    /// Returns whether flow control of this kind, a bit of CTRL, is on: only a link with full duplex has any.
    fn flows(&self, kind: u32) -> bool {
        self.link_up && self.plain_at(CTRL) & kind != 0 && self.status() & STATUS::FD != 0
    }

    /// Returns how long this many quanta take.
    fn quanta_ns(&self, quanta: u64) -> u64 {
        let mbps = match STATUS::SPEED.get(self.status()) {
            SPEED_10 => 10,
            SPEED_100 => 100,
            _ => 1000,
        };
        quanta * QUANTUM_BITS * 1000 / mbps
    }

    /// Returns whether the transmitter rests because the partner asked for it (STATUS.TXOFF).
    #[inline]
    pub(crate) fn paused(&self) -> bool {
        self.now_ns < self.pause.until_ns && self.flows(CTRL::RFCE)
    }

    /// Returns whether the partner rests because it was asked to.
    #[inline]
    pub(crate) fn partner_rests(&self) -> bool {
        self.behaviour.full_fifo_waits && self.now_ns < self.pause.partner_until_ns
    }

    /// Returns when a pause is over that keeps something from being done.
    pub(crate) fn pause_due_ns(&self) -> u64 {
        let sends = if self.paused() && self.tx.ring.owned() != 0 { self.pause.until_ns } else { NEVER };
        let receives = if self.partner_rests() { self.pause.partner_until_ns } else { NEVER };
        sends.min(receives)
    }

    /// Without a link nobody asks for anything.
    pub(crate) fn end_pauses(&mut self) {
        self.pause = Pause::default();
    }

    /// A partner that pauses of itself does so now and then, for a moment. No frame passes the cable for it.
    pub(crate) fn whim(&mut self) {
        let one_in = self.behaviour.pauses_one_in;
        if one_in != 0 && self.flows(CTRL::RFCE) && self.rng.one_in(one_in) {
            let quanta = 1 + self.rng.up_to(LONGEST_WHIM - 1);
            self.stats.count(XOFFRXC);
            self.pause.until_ns = self.pause.until_ns.max(self.now_ns.saturating_add(self.quanta_ns(quanta)));
        }
    }

    /// Looks whether a frame is a MAC control frame, and obeys it if it came undamaged (section 8.7.3). Such frames
    /// have the address in FCAL and FCAH, or the station's, and the type in FCT.
    #[inline]
    pub(crate) fn control(&mut self, frame: &[u8]) -> Control {
        if u32::from(word(frame, HEADER - 2)) != self.plain_at(FCT) || !self.flows(CTRL::RFCE) {
            return Control::Pass;
        }
        self.obey(frame)
    }

    #[cold]
    fn obey(&mut self, frame: &[u8]) -> Control {
        let destination: [u8; 6] = std::array::from_fn(|at| frame[at]);
        if destination != self.control_address() && destination != self.filter.station() {
            return Control::Pass;
        }
        if self.rng.in_a_million(self.behaviour.receive_errors_ppm) {
            self.stats.count(CRCERRS);
            return Control::Drop;
        }
        let rctl = self.rx.rctl();
        if word(frame, HEADER) != OPCODE_PAUSE {
            self.stats.count(FCRUC);
            return if rctl & RCTL::PMCF != 0 { Control::Pass } else { Control::Drop };
        }
        let quanta = word(frame, HEADER + 2);
        self.stats.count(if quanta == 0 { XONRXC } else { XOFFRXC });
        // Each counts from when it came, whatever the one before asked for.
        self.pause.until_ns = self.now_ns.saturating_add(self.quanta_ns(quanta.into()));
        if rctl & RCTL::DPF != 0 { Control::Drop } else { Control::PassPause }
    }

    fn control_address(&self) -> [u8; 6] {
        let [a, b, c, d] = self.plain_at(FCAL).to_le_bytes();
        let [e, f, ..] = self.plain_at(FCAH).to_le_bytes();
        [a, b, c, d, e, f]
    }

    /// Compares the FIFO with the marks (section 8.7.5).
    #[inline]
    pub(crate) fn watch_fifo(&mut self) {
        let level = self.rx.fifo.len_bytes() as u32;
        let high = self.plain_at(FCRTH) & FCRTH::RTH.mask();
        if !self.pause.above {
            if high != 0 && level >= high && self.flows(CTRL::TFCE) {
                self.pause.above = true;
                self.send_xoff();
            }
        } else if level <= self.plain_at(FCRTL) & FCRTL::RTL.mask() {
            (self.pause.above, self.pause.asked_again) = (false, false);
            if self.behaviour.sends_xon && self.plain_at(FCRTL) & FCRTL::XONE != 0 && self.flows(CTRL::TFCE) {
                self.send_pause(0);
            }
        }
    }

    /// A frame was lost although the partner was asked for a pause: it is asked once more.
    pub(crate) fn fifo_overflowed(&mut self) {
        if self.pause.above && !std::mem::replace(&mut self.pause.asked_again, true) && self.flows(CTRL::TFCE) {
            self.send_xoff();
        }
    }

    /// Sends a PAUSE frame with the time in FCTTV. Nothing holds it back, not even a pause.
    fn send_xoff(&mut self) {
        self.send_pause(FCTTV::TTV.get(self.plain_at(FCTTV)) as u16);
    }

    /// Writes TCTL, of which one bit sends a PAUSE frame and clears itself (section 8.7.6).
    pub(crate) fn write_tctl(&mut self, value: u32) {
        self.tx.tctl = value & !TCTL::SWXOFF;
        if value & TCTL::SWXOFF != 0 && self.link_up {
            self.send_xoff();
        }
    }

    fn send_pause(&mut self, quanta: u16) {
        let mut frame = [0; MIN_FRAME];
        frame[..6].copy_from_slice(&self.control_address());
        frame[6..12].copy_from_slice(&self.filter.station());
        frame[HEADER - 2..HEADER].copy_from_slice(&(self.plain_at(FCT) as u16).to_be_bytes());
        frame[HEADER..HEADER + 2].copy_from_slice(&OPCODE_PAUSE.to_be_bytes());
        frame[HEADER + 2..HEADER + 4].copy_from_slice(&quanta.to_be_bytes());
        self.stats.count(if quanta == 0 { XONTXC } else { XOFFTXC });
        self.stats.count(TPT);
        self.stats.add_bytes(TOTL, MIN_FRAME + FCS);
        self.pause.partner_until_ns = self.now_ns.saturating_add(self.quanta_ns(quanta.into()));
        if !self.behaviour.takes_pauses {
            self.send(&frame);
        }
    }
}
