//! Transmit (sections 3.3 and 3.4).

use std::mem::discriminant;

use e1000_regs::tx::{self, Context, command, status};
use e1000_regs::{BPTC, GOTCL, GPTC, ICR, MPTC, TCTL, TOTL, TPT, TSCTC, TSCTFC};

use crate::NEVER;
use crate::checksum::{insert, insert_by_context};
use crate::crc::frame_check;
use crate::model::Model;
use crate::ring::{Ring, WriteBacks};
use crate::rx_filter::BROADCAST;
use crate::segment::Segments;

/// Room for the longest frame (section 3.3.3), what hardware adds, and what loopback needs.
const FRAME_ROOM: usize = 16384 + 64;
/// The longest packet that is cut: as much payload as IP can say of itself, and the header, which has 8 bits. It is a
/// limit of the model: a context could say 1 MiB of payload (section 3.3.6).
const PACKET_ROOM: usize = (1 << 16) + (1 << 8);
/// The most frames that leave before the driver's side is served again, but for the rest of a packet.
const FRAMES_AT_ONCE: u32 = 4096;
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
    /// In place of `frame`, if it is to be cut; empty before there is one.
    packet: Vec<u8>,
    /// What the packet's first descriptor says of all of it.
    how: Option<How>,
    /// Frames that left since the driver's side was served.
    left: u32,
    /// What the last contexts said: for packets that are cut, and for others (section 3.3.5).
    cutting: Context,
    plain: Context,
    /// A part of it is missing: it does not leave.
    damaged: bool,
    pub(crate) due_ns: u64,
    pub(crate) done: WriteBacks,
    told: bool,
}

/// How a packet is sent.
#[derive(Clone, Copy, Debug)]
enum How {
    /// As its last descriptor says; all are legacy descriptors.
    Legacy,
    /// As one frame of data descriptors.
    Whole(Checksums),
    /// As segments. It is gathered in [`Transmitter::packet`].
    Cut(Checksums),
}

/// Which checksums are inserted: of IP, and of TCP or UDP.
type Checksums = (bool, bool);

impl Transmitter {
    pub(crate) fn new() -> Self {
        Transmitter {
            ring: Ring::default(),
            tctl: 0,
            frame: vec![0; FRAME_ROOM].into(),
            len: 0,
            packet: Vec::new(),
            how: None,
            left: 0,
            cutting: Context::default(),
            plain: Context::default(),
            damaged: false,
            due_ns: NEVER,
            done: WriteBacks::new(),
            told: false,
        }
    }

    pub(crate) fn reset(&mut self, base: u64) {
        self.ring = Ring::with_base(base);
        self.tctl = 0;
        (self.len, self.how, self.damaged) = (0, None, false);
        // Nothing says what a context is after a reset.
        let nonsense = Context { l4_put: 17, ip_put: 19, ..Context::default() };
        (self.cutting, self.plain) = (nonsense, nonsense);
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
        if self.paused() {
            // `pause_due_ns` says when it goes on.
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
        self.tx.left = 0;
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
            if self.tx.left >= FRAMES_AT_ONCE {
                break;
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
            self.follow(How::Legacy);
            self.gather(address, tx::legacy_length_bytes(word2) as usize);
        } else {
            match command::DTYP.get(word2) {
                command::DTYP_CONTEXT => self.take_context(address, word2, word3),
                command::DTYP_DATA => {
                    let checksums = (word3 & status::IXSM != 0, word3 & status::TXSM != 0);
                    let is_cut = word2 & command::TSE != 0;
                    self.follow(if is_cut { How::Cut(checksums) } else { How::Whole(checksums) });
                    self.gather(address, tx::data_length_bytes(word2) as usize);
                }
                _ => self.tell("a descriptor of a reserved type is skipped"),
            }
        }
        // EOP has another meaning in a context.
        let packet = legacy || command::DTYP.get(word2) == command::DTYP_DATA;
        if packet && word2 & command::EOP != 0 {
            self.finish(word2, word3);
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

    /// Takes a context, which holds for the packets that end after it.
    fn take_context(&mut self, address: u64, word2: u32, word3: u32) {
        let context = Context::from_words([address as u32, (address >> 32) as u32, word2, word3]);
        if word2 & command::TSE != 0 {
            self.tx.cutting = context;
        } else {
            self.tx.plain = context;
        }
    }

    /// Looks at what a descriptor says of its packet: options count in the first only, and all are of one kind, to be
    /// cut or not.
    #[inline]
    fn follow(&mut self, how: How) {
        let first = self.tx.how.get_or_insert(how);
        if discriminant(first) != discriminant(&how) {
            self.tx.damaged = true;
            self.tell("a packet of descriptors of several kinds, or of which only some are to be cut, is not sent");
        }
    }

    /// Adds a buffer to the packet.
    #[inline]
    fn gather(&mut self, address: u64, len: usize) {
        let (from, end) = (self.tx.len, self.tx.len + len);
        let cut = matches!(self.tx.how, Some(How::Cut(_)));
        if end > if cut { PACKET_ROOM } else { tx::LEGACY_MAX_BYTES as usize } {
            self.tx.damaged = true;
            self.tell("a packet that is longer than the packet buffer takes is not sent");
        } else if len != 0 {
            let Transmitter { frame, packet, .. } = &mut self.tx;
            if cut && packet.is_empty() {
                packet.resize(PACKET_ROOM, 0);
            }
            let to = if cut { &mut packet[from..end] } else { &mut frame[from..end] };
            self.tx.damaged |= !self.dma.read(address, to);
            self.tx.len = end;
        }
    }

    /// Sends the packet, which is whole.
    #[inline]
    fn finish(&mut self, word2: u32, word3: u32) {
        let (how, len) = (self.tx.how.take(), std::mem::take(&mut self.tx.len));
        if std::mem::take(&mut self.tx.damaged) || len == 0 {
            return;
        }
        let frame = &mut self.tx.frame;
        match how {
            Some(How::Cut(checksums)) => return self.cut(len, checksums, word2),
            Some(How::Whole((ip_checksum, upper_checksum))) => {
                insert_by_context(&mut frame[..len], &self.tx.plain, ip_checksum, upper_checksum);
            }
            _ if word2 & command::IC != 0 => {
                insert(&mut frame[..len], tx::legacy_checksum_start(word3), tx::legacy_checksum_put(word2));
            }
            _ => {}
        }
        self.leave(len, word2);
    }

    /// Sends a packet of `len` bytes as segments, none longer than the context says.
    fn cut(&mut self, len: usize, checksums: Checksums, word2: u32) {
        let room = tx::LEGACY_MAX_BYTES as usize;
        let Some(mut segments) = Segments::new(self.tx.cutting, checksums, len, room) else {
            self.stats.count(TSCTFC);
            return self.tell("a packet that is to be cut, but not as its context says, is not sent");
        };
        self.stats.count(TSCTC);
        let packet = std::mem::take(&mut self.tx.packet);
        while let Some(len) = segments.next(&packet, &mut self.tx.frame) {
            self.leave(len, word2);
        }
        self.tx.packet = packet;
    }

    /// Sends the frame that is ready, of which `len` bytes are there.
    #[inline]
    fn leave(&mut self, mut len: usize, word2: u32) {
        self.tx.left += 1;
        let mut frame = std::mem::take(&mut self.tx.frame);
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
