//! Two receive queues, over which the 82574 spreads what it receives by a hash (RSS), with an interrupt vector each.
//! Sections are those of Intel's *82574 GbE Controller Family Datasheet*, revision 3.4 (317694).
//!
//! All frames of a flow have one hash, and so one queue, and keep their order. Queue 0 has vector 0, on which what was
//! sent and changes of the link are reported too; queue 1 has vector 1. A chip with one queue has the other layout
//! of descriptors, and passes nothing of this file.

use e1000_regs::rx::{self, extended};
use e1000_regs::{
    CTRL_EXT, EIAC, EITR, ICR, IMC, IMS, IVAR, MRQC, RDBAH, RDBAH1, RDBAL, RDBAL1, RDH1, RDLEN, RDLEN1, RDT, RDT1,
    RETA, RFCTL, RSS_KEY, RSSRK, RXCSUM, RXDCTL1,
};
use nook_sdk::abi::QUEUE_CAPACITY;
use nook_sdk::{
    DescriptorRing, DoneBit, Finished, Kernel, NetQueues, Nook, Packet, PacketStatus, QueueEntry, Register, Regs,
    Status,
};

use crate::offloads;
use crate::verbs::{DD, HEADER_BYTES, LONGEST_BYTES, halves, refuse};

/// How many there are.
pub(crate) const QUEUES: usize = 2;

/// Buffers that a queue keeps at most: one call gives back all that the chip has, and `rx_return` takes no more.
const SHARE: u32 = QUEUE_CAPACITY / QUEUES as u32;
/// A queue with fewer asks for more: no interrupt tells it that the host has some again.
const FEW: u32 = SHARE / 2;

/// Causes of each queue's vector that its `poll` deals with (section 10.2.4.1).
const CAUSES: [u32; QUEUES] = [ICR::RXQ0 | ICR::TXQ0, ICR::RXQ1];
/// Those that are never masked.
const OTHERS: u32 = ICR::LSC | ICR::OTHER;

/// Which vector each cause has (section 10.2.4.9).
const VECTORS: u32 = IVAR::RXQ0_VALID
    | IVAR::TXQ0_VALID
    | IVAR::OTHER_VALID
    | IVAR::RXQ1_VALID
    | IVAR::RXQ0.put(0)
    | IVAR::TXQ0.put(0)
    | IVAR::OTHER.put(0)
    | IVAR::RXQ1.put(1);

/// RETA: a byte is of queue 1 with bit 7; here each second one is.
const EACH_SECOND: u32 = 0x8000_8000;

/// Descriptors of a queue's ring: a power of two that has room for its buffers. The driver is one struct, which an
/// unoptimised build copies over its stack of 128 KiB, more than once.
const RING: usize = 256;
const _: () = assert!((SHARE as usize) < RING);

/// A receive ring with extended descriptors, which have DD elsewhere (section 7.1.4).
type Ring<K> = DescriptorRing<K, Packet, RING, 16, DoneBit<{ extended::STATUS_WORD }, DD>>;
/// One of them that is done.
type Done<'a> = Finished<'a, Packet, 16, RING>;

/// Both queues.
pub(crate) struct Spread<K: Kernel> {
    rings: [Ring<K>; QUEUES],
    /// The causes of its vector are masked.
    masked: [bool; QUEUES],
    /// The last descriptor of the queue did not end its frame.
    in_frame: [bool; QUEUES],
}

impl<K: Kernel> Spread<K> {
    pub(crate) fn new(nook: Nook<K>) -> Result<Self, Status> {
        Ok(Spread { rings: [Ring::new(nook)?, Ring::new(nook)?], masked: [true; QUEUES], in_frame: [false; QUEUES] })
    }

    /// Has a chip that was started with one queue, and whose receiver is off, use two.
    pub(crate) fn start(&mut self, regs: &Regs<K>) {
        self.masked = [true; QUEUES];
        // The hash takes the place of the packet checksum, and has one in extended descriptors only (section 7.1.11).
        regs.write(RXCSUM, offloads::CHECKS | RXCSUM::PCSD);
        regs.write(RFCTL, RFCTL::EXSTEN);
        let [first, second] = &self.rings;
        for (low, high, length, ring) in [(RDBAL, RDBAH, RDLEN, first), (RDBAL1, RDBAH1, RDLEN1, second)] {
            regs.write(low, ring.iova() as u32);
            regs.write(high, (ring.iova() >> 32) as u32);
            regs.write(length, ring.len_bytes());
        }
        for register in [RDH1, RDT1, RXDCTL1] {
            regs.write(register, 0);
        }
        let (words, _) = RSS_KEY.as_chunks();
        words.iter().zip(0..).for_each(|(word, at)| regs.write(RSSRK.get(at), u32::from_le_bytes(*word)));
        (0..RETA.count()).for_each(|at| regs.write(RETA.get(at), EACH_SECOND));
        let hashed = MRQC::TCP_IPV4 | MRQC::IPV4 | MRQC::TCP_IPV6 | MRQC::IPV6;
        regs.write(MRQC, MRQC::ENABLE.put(1) | hashed);
        (0..QUEUES as u32).for_each(|vector| regs.write(EITR.get(vector), 0));
        regs.write(IVAR, VECTORS);
        // Queue 1's cause is gone with its message. Those of vector 0 are read, because the link's are among them.
        regs.write(EIAC, ICR::RXQ1);
        regs.modify(CTRL_EXT, |value| value | CTRL_EXT::PBA_SUPPORT);
    }

    /// Lets what is never masked through.
    pub(crate) fn listen(&self, regs: &Regs<K>) {
        regs.write(IMS, OTHERS);
    }

    /// Masks a queue's causes or lets them through. One that came while they were masked interrupts then.
    pub(crate) fn mask(&mut self, regs: &Regs<K>, queue: usize, masked: bool) {
        if self.masked[queue] != masked {
            self.masked[queue] = masked;
            regs.write(if masked { IMC } else { IMS }, CAUSES[queue]);
        }
    }

    /// Returns the queues that these causes are of.
    pub(crate) fn queues(causes: u32) -> impl Iterator<Item = usize> {
        (0..QUEUES).filter(move |&queue| causes & CAUSES[queue] != 0)
    }

    /// Gives the host's empty buffers to a queue. Says whether it needs more than there are.
    pub(crate) fn provide(&mut self, regs: &Regs<K>, queues: &mut NetQueues, queue: usize, budget: u32) -> bool {
        const TAILS: [Register<u32>; QUEUES] = [RDT, RDT1];
        let NetQueues { rx_provide, rx_return, pool, .. } = queues;
        let ring = &mut self.rings[queue];
        let most = budget.min(SHARE.saturating_sub(ring.in_flight()));
        ring.fill().fill_from(
            &mut rx_provide.begin(),
            most,
            |packet| Some(halves(rx::fresh(pool.frame_iova(packet)?))),
            |_, provided| refuse(rx_return, provided),
        );
        if let Some(tail) = ring.publish() {
            regs.write(TAILS[queue], tail);
        }
        ring.in_flight() < FEW
    }

    /// Gives received frames to the host. Says whether there may be more.
    pub(crate) fn give(&mut self, queues: &mut NetQueues, queue: usize, budget: u32) -> bool {
        let mut returning = queues.rx_return.begin();
        let most = budget.min(returning.room());
        let in_frame = &mut self.in_frame[queue];
        let mut reap = self.rings[queue].reap();
        let mut moved = 0;
        while moved < most
            && let Some(done) = reap.next()
            && let Some(place) = returning.vacant()
        {
            place.put(entry(&done, in_frame));
            moved += 1;
        }
        moved == most
    }

    /// Gives the host a queue's next received frame back, if it is there, as failed, whatever is in it.
    pub(crate) fn discard(&mut self, queues: &mut NetQueues, queue: usize) {
        let mut returning = queues.rx_return.begin();
        let mut reap = self.rings[queue].reap();
        if let (Some(place), Some(done)) = (returning.vacant(), reap.next()) {
            self.in_frame[queue] = !ends(&done);
            place.put(done.kept.returned(0, PacketStatus::Failed));
        }
    }

    /// Gives back all that the chip has, which must be quiet.
    pub(crate) fn give_back(&mut self, queues: &mut NetQueues) {
        for queue in 0..QUEUES {
            self.give(queues, queue, u32::MAX);
            let mut returning = queues.rx_return.begin();
            self.rings[queue].clear(|packet| {
                if let Some(place) = returning.vacant() {
                    place.put(packet.returned(0, PacketStatus::Unused));
                }
            });
            self.in_frame[queue] = false;
        }
    }

    /// Returns how many descriptors of each queue were ever reclaimed since it was empty last.
    pub(crate) fn reaped(&self) -> [u32; QUEUES] {
        self.rings.each_ref().map(|ring| ring.reaped())
    }
}

fn ends(done: &Done) -> bool {
    done.done_word() & rx::status::EOP != 0
}

/// Returns what the host gets for a descriptor. Frames are in one each, because the chip drops longer ones (RCTL.LPE is
/// off); should one come in several all the same, none of its parts passes.
fn entry(done: &Done, in_frame: &mut bool) -> QueueEntry {
    let status = extended::legacy_status(done.done_word());
    let len_bytes = rx::length_bytes(done.word(extended::LENGTH_WORD));
    let whole = !core::mem::replace(in_frame, !ends(done)) && ends(done);
    let good = whole && status & rx::error::FRAME == 0 && (HEADER_BYTES..=LONGEST_BYTES).contains(&len_bytes);
    if good {
        done.kept.received(len_bytes, offloads::is_checked(status))
    } else {
        done.kept.returned(0, PacketStatus::Failed)
    }
}
