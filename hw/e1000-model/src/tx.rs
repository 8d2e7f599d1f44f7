//! Transmit (sections 3.3 and 3.4).

use e1000_regs::tx::{self, command, status};
use e1000_regs::{BPTC, GOTCL, GPTC, ICR, MPTC, TCTL, TOTL, TPT};

use crate::NEVER;
use crate::crc::frame_check;
use crate::model::Model;
use crate::ring::{Ring, WriteBacks};
use crate::rx_filter::BROADCAST;

/// Room for the longest packet (section 3.3.3), what hardware adds, and what loopback needs.
const FRAME_ROOM: usize = 16384 + 64;
/// The shortest frame on a cable, without the frame check sequence.
pub(crate) const MIN_FRAME: usize = 60;
/// Bytes of an Ethernet header.
pub(crate) const HEADER: usize = 14;
/// Bytes of the frame check sequence.
pub(crate) const FCS: usize = 4;

#[derive(Debug)]
pub(crate) struct Transmitter {
    pub(crate) ring: Ring,
    pub(crate) tctl: u32,
    /// The packet that is being gathered, and how much of it is there.
    frame: Box<[u8]>,
    len: usize,
    /// A part of it is missing: it does not leave.
    damaged: bool,
    pub(crate) due_ns: u64,
    pub(crate) done: WriteBacks,
    told: bool,
}

impl Transmitter {
    pub(crate) fn new() -> Self {
        Transmitter {
            ring: Ring::default(),
            tctl: 0,
            frame: vec![0; FRAME_ROOM].into(),
            len: 0,
            damaged: false,
            due_ns: NEVER,
            done: WriteBacks::new(),
            told: false,
        }
    }

    pub(crate) fn reset(&mut self, base: u64) {
        self.ring = Ring::with_base(base);
        self.tctl = 0;
        (self.len, self.damaged) = (0, false);
        self.due_ns = NEVER;
        self.done.forget();
    }
}

impl Model {
    /// Sends what is to be sent. Without a link nothing leaves, and descriptors wait.
    pub(crate) fn transmit(&mut self, now_ns: u64) {
        let waiting = self.tx.ring.owned();
        if waiting == 0 || self.tx.tctl & TCTL::EN == 0 || !(self.link_up || self.loopback()) {
            self.tx.due_ns = NEVER;
            return;
        }
        let mut batch = waiting;
        if self.behaviour.late_ns != 0 {
            if self.tx.due_ns == NEVER {
                self.tx.due_ns = now_ns.saturating_add(self.late_ns());
            }
            if now_ns < self.tx.due_ns {
                return;
            }
            // At least half, so that the end comes soon.
            batch -= self.rng.up_to(u64::from(waiting / 2)) as u32;
        }
        let low = self.low_transmit_threshold();
        for left in (waiting - batch..waiting).rev() {
            let descriptor = self.tx.ring.address();
            let Some([address, rest]) = self.dma.descriptor(descriptor) else {
                self.tx.ring.stall();
                self.master_abort();
                break;
            };
            self.take(descriptor, address, rest);
            self.tx.ring.advance();
            if left == low {
                self.tx.done.causes |= ICR::TXD_LOW;
            }
            if left == 0 {
                self.tx.done.causes |= ICR::TXQE;
            }
        }
        self.tx.due_ns = NEVER;
        if self.tx.ring.owned() != 0 {
            self.tx.due_ns = now_ns.saturating_add(self.late_ns());
        }
    }

    /// Takes one descriptor.
    #[inline]
    fn take(&mut self, descriptor: u64, address: u64, rest: u64) {
        let (word2, word3) = (rest as u32, (rest >> 32) as u32);
        let legacy = word2 & command::DEXT == 0;
        if legacy {
            self.gather(address, tx::legacy_length_bytes(word2) as usize);
        } else {
            match command::DTYP.get(word2) {
                // Without offloads a context changes nothing.
                command::DTYP_CONTEXT => {}
                command::DTYP_DATA => {
                    self.gather(address, tx::data_length_bytes(word2) as usize);
                    if word2 & command::TSE != 0 || word3 & (status::IXSM | status::TXSM) != 0 {
                        self.tell("a packet that asks for an offload of data descriptors is sent without it");
                    }
                }
                _ => self.tell("a descriptor of a reserved type is skipped"),
            }
        }
        // EOP has another meaning in a context.
        let packet = legacy || command::DTYP.get(word2) == command::DTYP_DATA;
        if packet && word2 & command::EOP != 0 {
            self.finish(word2, word3, legacy);
        }
        if word2 & command::RS != 0 {
            self.tx.done.push(&mut self.dma, descriptor, rest | u64::from(status::DD) << 32);
            if word2 & command::IDE != 0 {
                self.tx.done.delayed = true;
            } else {
                self.tx.done.causes |= ICR::TXDW;
            }
        }
    }

    /// Says once that the driver asks for what cannot be done.
    fn tell(&mut self, what: &str) {
        if !std::mem::replace(&mut self.tx.told, true) {
            tracing::warn!("transmit: {what}; this is said once");
        }
    }

    /// Adds a buffer to the packet.
    #[inline]
    fn gather(&mut self, address: u64, len: usize) {
        let end = self.tx.len + len;
        if end > tx::LEGACY_MAX_BYTES as usize {
            self.tx.damaged = true;
            self.tell("a packet that is longer than the packet buffer takes is not sent");
        } else if len != 0 {
            self.tx.damaged |= !self.dma.read(address, &mut self.tx.frame[self.tx.len..end]);
            self.tx.len = end;
        }
    }

    /// Sends the packet, which is whole.
    #[inline]
    fn finish(&mut self, word2: u32, word3: u32, legacy: bool) {
        let mut len = std::mem::take(&mut self.tx.len);
        if std::mem::take(&mut self.tx.damaged) || len == 0 {
            return;
        }
        let mut frame = std::mem::take(&mut self.tx.frame);
        if legacy && word2 & command::IC != 0 {
            insert_checksum(&mut frame[..len], tx::legacy_checksum_start(word3), tx::legacy_checksum_put(word2));
        }
        if self.tx.tctl & TCTL::PSP != 0 && len < MIN_FRAME {
            frame[len..MIN_FRAME].fill(0);
            len = MIN_FRAME;
        }
        let mut good = true;
        if word2 & command::IFCS == 0 {
            // The last four bytes are the check sequence. If they are wrong, nobody at the other end takes the frame.
            good = len > FCS && frame[len - FCS..len] == frame_check(&frame[..len - FCS]);
            len = len.saturating_sub(FCS);
        }
        if good && len >= MIN_FRAME {
            self.put_on_cable(&mut frame, len);
        } else {
            // TCTL.PSP pads and IFCS appends; without them such a frame leaves, and the first receiver drops it.
            self.tell("a frame that is too short or has a wrong check sequence is lost");
        }
        self.tx.frame = frame;
    }

    #[inline]
    fn put_on_cable(&mut self, frame: &mut [u8], len: usize) {
        let destination: [u8; 6] = std::array::from_fn(|i| frame[i]);
        self.stats.count(TPT);
        self.stats.count(GPTC);
        self.stats.add_bytes(TOTL, len + FCS);
        self.stats.add_bytes(GOTCL, len + FCS);
        self.stats.count_size(len + FCS, false);
        if destination[0] & 1 != 0 {
            self.stats.count(if destination == BROADCAST { BPTC } else { MPTC });
        }
        if self.loopback() {
            self.arrive(frame, len);
        } else {
            self.send(&frame[..len]);
        }
    }
}

/// Inserts the ones' complement of the sum of everything from `start` at `put` (section 3.3.3.1). Offsets past the end
/// insert nothing.
fn insert_checksum(frame: &mut [u8], start: usize, put: usize) {
    if start < frame.len() && put + 2 <= frame.len() {
        let sum = ones_sum(&frame[start..]);
        frame[put..put + 2].copy_from_slice(&(!sum).to_be_bytes());
    }
}

/// Computes the sum that the Internet's checksums are made of (RFC 1071).
fn ones_sum(bytes: &[u8]) -> u16 {
    let (pairs, odd) = bytes.as_chunks::<2>();
    let sum: u64 = pairs.iter().map(|&pair| u64::from(u16::from_be_bytes(pair))).sum();
    let mut sum = sum + odd.first().map_or(0, |&last| u64::from(last) << 8);
    while sum > 0xffff {
        sum = (sum & 0xffff) + (sum >> 16);
    }
    sum as u16
}

#[cfg(test)]
mod tests {
    #[test]
    fn the_checksum_makes_the_sum_of_what_it_covers_all_ones() {
        let mut frame: Vec<u8> = (0..61).collect();
        frame[20..22].fill(0);
        super::insert_checksum(&mut frame, 14, 20);
        assert_eq!(super::ones_sum(&frame[14..]), 0xffff);
    }

    #[test]
    fn a_checksum_past_the_end_is_not_inserted() {
        let mut frame = [7; 20];
        super::insert_checksum(&mut frame, 14, 19);
        super::insert_checksum(&mut frame, 20, 2);
        assert_eq!(frame, [7; 20]);
    }
}
