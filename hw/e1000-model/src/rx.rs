//! Receive (section 3.2).

use e1000_regs::rx::{error, status, written_length};
use e1000_regs::{
    BPRC, CRCERRS, GORCL, GPRC, ICR, MPC, MPRC, RCTL, RLEC, RNBC, ROC, RSRPD, RXCSUM, TORL, TPR, rctl_buffer_bytes,
};

use crate::NEVER;
use crate::checksum;
use crate::crc::frame_check;
use crate::fifo::{Fifo, Verdict};
use crate::model::Model;
use crate::pause::Control;
use crate::ring::{Ring, WriteBacks};
use crate::rx_filter::BROADCAST;
use crate::tx::{FCS, HEADER, MIN_FRAME};

/// The longest frame that RCTL.LPE lets through, with its check sequence (section 13.4.22).
const LONGEST: usize = 16384;
/// The longest without RCTL.LPE.
const LONGEST_NORMAL: usize = 1522;
/// How many frames are taken from the cable in one call of `service`: a fast sender must not keep it.
const BURST: u32 = 256;

#[derive(Debug)]
pub(crate) struct Receiver {
    pub(crate) ring: Ring,
    rctl: u32,
    /// From RCTL, because it is needed for each frame.
    buffer_bytes: usize,
    /// Where a frame is put together as it comes from the cable, and as it comes from the FIFO.
    arriving: Box<[u8]>,
    leaving: Box<[u8]>,
    pub(crate) fifo: Fifo,
    /// A frame found no descriptors, and none has since.
    starved: bool,
    pub(crate) due_ns: u64,
    pub(crate) done: WriteBacks,
}

impl Receiver {
    pub(crate) fn new() -> Self {
        Receiver {
            ring: Ring::default(),
            rctl: 0,
            buffer_bytes: 2048,
            arriving: vec![0; LONGEST + FCS].into(),
            leaving: vec![0; LONGEST + FCS].into(),
            fifo: Fifo::new(),
            starved: false,
            due_ns: NEVER,
            done: WriteBacks::new(),
        }
    }

    pub(crate) fn reset(&mut self, base: u64) {
        self.ring = Ring::with_base(base);
        self.set_rctl(0);
        self.done.forget();
    }

    #[inline]
    pub(crate) fn rctl(&self) -> u32 {
        self.rctl
    }

    pub(crate) fn set_rctl(&mut self, value: u32) {
        self.rctl = value;
        self.buffer_bytes = rctl_buffer_bytes(value) as usize;
        if value & RCTL::EN == 0 {
            self.fifo.clear();
            self.starved = false;
            self.due_ns = NEVER;
        }
    }
}

impl Model {
    /// Takes frames from the cable and hands frames to memory.
    pub(crate) fn receive(&mut self, now_ns: u64) {
        let late = self.behaviour.late_ns != 0;
        if self.rx.due_ns == NEVER || now_ns >= self.rx.due_ns {
            self.rx.due_ns = NEVER;
            self.drain();
        }
        let mut frame = std::mem::take(&mut self.rx.arriving);
        let mut taken = 0;
        while taken < BURST && !self.wire_rests() && !self.cable_waits() {
            let len = match self.wire.recv(&mut frame[..LONGEST - FCS]) {
                Ok(Some(len)) => len.min(LONGEST - FCS),
                Ok(None) => break,
                Err(error) => {
                    self.wire_failed("receiving from", &error);
                    break;
                }
            };
            taken += 1;
            // What arrives while nobody listens is lost.
            if !self.link_up || self.loopback() {
                continue;
            }
            let Some(verdict) = self.judge(&mut frame, len) else { continue };
            if late || !self.rx.fifo.is_empty() || !self.deliver(&frame[..verdict.len], verdict) {
                self.keep(&frame, verdict);
            } else {
                self.count_good(&frame, verdict);
            }
        }
        self.rx.arriving = frame;
        if taken == BURST {
            self.rx.due_ns = now_ns;
        }
        if late && self.rx.due_ns == NEVER && !self.rx.fifo.is_empty() && !self.rx.starved {
            self.rx.due_ns = now_ns.saturating_add(self.late_ns());
        }
    }

    /// Returns whether frames stay on the cable until there is room for one.
    pub(crate) fn cable_waits(&self) -> bool {
        let listens = self.link_up && self.rx.rctl & RCTL::EN != 0;
        let full = self.behaviour.full_fifo_waits && !self.rx.fifo.has_room(LONGEST_NORMAL);
        listens && (full || self.partner_rests())
    }

    /// Receives a frame that this device sent to itself. `frame` has room for what a receiver adds.
    pub(crate) fn arrive(&mut self, frame: &mut [u8], len: usize) {
        if let Some(verdict) = self.judge(frame, len) {
            self.keep(frame, verdict);
        }
    }

    /// Puts a frame into the FIFO; if it is full, it is lost.
    fn keep(&mut self, frame: &[u8], verdict: Verdict) {
        if !self.rx.fifo.has_room(verdict.len) {
            self.drain();
        }
        if self.rx.fifo.has_room(verdict.len) {
            self.rx.fifo.push(&frame[..verdict.len], verdict);
            self.count_good(frame, verdict);
        } else {
            self.stats.count(MPC);
            self.rx.done.causes |= ICR::RXO;
            self.fifo_overflowed();
        }
        self.watch_fifo();
    }

    /// Hands over what is in the FIFO, as far as there are descriptors.
    fn drain(&mut self) {
        if self.rx.fifo.is_empty() {
            return;
        }
        let mut frame = std::mem::take(&mut self.rx.leaving);
        while let Some(verdict) = self.rx.fifo.peek(&mut frame) {
            if !self.deliver(&frame[..verdict.len], verdict) {
                break;
            }
            self.rx.fifo.pop();
        }
        self.rx.leaving = frame;
        self.watch_fifo();
    }

    /// Decides whether the MAC takes a frame of `len` bytes, and as what. Makes the frame in `frame` whole.
    #[inline]
    fn judge(&mut self, frame: &mut [u8], len: usize) -> Option<Verdict> {
        let rctl = self.rx.rctl;
        if rctl & RCTL::EN == 0 || len < HEADER {
            return None;
        }
        // Senders pad; what comes from a cable without bits may not have been.
        let end = len.max(MIN_FRAME);
        frame[len..end].fill(0);
        self.stats.count(TPR);
        self.stats.add_bytes(TORL, end + FCS);
        let control = self.control(&frame[..end]);
        if control == Control::Drop {
            return None;
        }
        let mut bits = self.filter.passes(std::array::from_fn(|i| frame[i]), rctl)?;
        let longest = if rctl & RCTL::LPE != 0 { LONGEST } else { LONGEST_NORMAL };
        if end + FCS > longest {
            self.stats.count(ROC);
            self.stats.count(RLEC);
            return None;
        }
        let damaged = self.rng.in_a_million(self.behaviour.receive_errors_ppm);
        if damaged {
            self.stats.count(CRCERRS);
            if rctl & RCTL::SBP == 0 {
                return None;
            }
            bits |= error::CE;
        }
        let mut stored = end;
        if rctl & RCTL::SECRC == 0 {
            let mut check = frame_check(&frame[..end]);
            check[0] ^= u8::from(damaged);
            stored = end + FCS;
            frame[end..stored].copy_from_slice(&check);
        }
        let room = self.rx.ring.count().saturating_sub(1) as usize * self.rx.buffer_bytes;
        if stored > room && room != 0 {
            // It would block the FIFO for ever.
            self.stats.count(MPC);
            return None;
        }
        bits |= self.checksum_bits(&frame[..end]);
        let pause = control == Control::PassPause;
        Some(Verdict { bits: bits | status::DD | status::EOP, len: stored, pause })
    }

    /// Returns what the descriptor says of the frame's checksums. A device that is not calm leaves it open now and
    /// then, which the manual allows (section 3.2.3.1, IXSM): the bits that say something mean nothing then.
    #[inline]
    fn checksum_bits(&mut self, frame: &[u8]) -> u32 {
        let bits = checksum::received(frame, self.plain.get(RXCSUM.offset()));
        if self.behaviour.open_checksums_one_in != 0
            && bits & status::IXSM == 0
            && self.rng.one_in(self.behaviour.open_checksums_one_in)
        {
            return status::IXSM | bits ^ status::TCPCS;
        }
        bits
    }

    #[inline]
    fn count_good(&mut self, frame: &[u8], verdict: Verdict) {
        if verdict.bits & error::FRAME != 0 || verdict.pause {
            return;
        }
        let len = if self.rx.rctl & RCTL::SECRC == 0 { verdict.len } else { verdict.len + FCS };
        self.stats.count(GPRC);
        self.stats.add_bytes(GORCL, len);
        self.stats.count_size(len, true);
        if frame[0] & 1 != 0 {
            self.stats.count(if frame[..6] == BROADCAST { BPRC } else { MPRC });
        }
    }

    /// Hands a frame to memory; false if there are not enough descriptors.
    #[inline]
    fn deliver(&mut self, frame: &[u8], verdict: Verdict) -> bool {
        let before = self.rx.ring.owned();
        let size = self.rx.buffer_bytes;
        let needed = if frame.len() <= size { 1 } else { frame.len().div_ceil(size) as u32 };
        if before < needed {
            if !std::mem::replace(&mut self.rx.starved, true) {
                self.stats.count(RNBC);
            }
            return false;
        }
        self.rx.starved = false;
        for (at, part) in frame.chunks(size).enumerate() {
            let descriptor = self.rx.ring.address();
            let Some(buffer) = self.dma.load(descriptor) else {
                self.rx.ring.stall();
                self.master_abort();
                return false;
            };
            self.dma.write(buffer, part);
            let last = at + 1 == needed as usize;
            let word3 = if last { verdict.bits } else { status::DD };
            let word2 = written_length(part.len() as u16, 0);
            self.rx.done.push(&mut self.dma, descriptor, u64::from(word2) | u64::from(word3) << 32);
            self.rx.ring.advance();
        }
        self.rx.done.delayed = true;
        let threshold = self.rx.ring.count() >> (1 + RCTL::RDMTS.get(self.rx.rctl));
        if before > threshold && before - needed <= threshold {
            self.rx.done.causes |= ICR::RXDMT0;
        }
        let small = RSRPD::SIZE.get(self.plain.get(RSRPD.offset())) as usize;
        if small != 0 && frame.len() <= small {
            self.rx.done.causes |= ICR::SRPD;
        }
        true
    }
}
