//! What the driver does all day: four verbs that move packets between the host's queues and the chip's rings.
//!
//! Each moves at most `budget` packets, allocates nothing, reads no register and rings at most one doorbell. The
//! answer is whether it stopped before there was nothing left: then `poll` must be called again.

use e1000_regs::tx::command;
use e1000_regs::{RDT, TDT, rx, tx};
use nook_sdk::{DescriptorRing, DoneBit, Kernel, Packet, PacketStatus, QueueEntry, ReturnQueue};

use crate::driver::E1000;

/// Descriptors in each ring. One of them is never used, because head = tail means empty (section 3.2.6).
pub(crate) const RING: usize = 256;
/// The longest frame that the chip receives without RCTL.LPE, with VLAN tag and frame check sequence (section 13.4.22):
/// it writes no more into a buffer, although it is set to 2048 bytes.
pub(crate) const LONGEST_BYTES: u32 = 1522;
/// Bytes of the shortest thing that can be a frame: an Ethernet header.
const HEADER_BYTES: u32 = 14;

/// How each frame is sent. RS: each descriptor says what became of it. IDE: the interrupt that says so is delayed,
/// so that one stands for many (see `setup::moderate`).
const SEND: u32 = command::IFCS | command::RS | command::IDE;

/// A ring of the chip: legacy descriptors both ways, whose last word has DD in the same place (sections 3.2.3.1 and
/// 3.3.3.2). Beside each is the packet whose buffer the chip has.
pub(crate) type Ring<K> = DescriptorRing<K, Packet, RING, 16, DoneBit<3, DD>>;
const DD: u32 = rx::status::DD;
const _: () = assert!(DD == tx::status::DD);

/// Packs four words into the two halves of a slot.
#[inline(always)]
fn halves([a, b, c, d]: [u32; 4]) -> [u64; 2] {
    [u64::from(a) | u64::from(b) << 32, u64::from(c) | u64::from(d) << 32]
}

/// Gives back what no descriptor can say: a host that gives such a thing is broken.
#[inline(always)] // Called, it would have every packet written to the stack first.
fn refuse(queue: &mut ReturnQueue, packet: Packet) {
    if let Some(place) = queue.begin().vacant() {
        place.put(packet.returned(packet.len_bytes, PacketStatus::Failed));
    }
}

impl<K: Kernel> E1000<K> {
    /// Gives the host's empty buffers to the chip.
    #[inline(always)]
    pub(crate) fn rx_provide(&mut self, budget: u32) -> bool {
        let mut fill = self.rx.fill();
        let mut provided = self.queues.rx_provide.begin();
        let mut moved = 0;
        while moved < budget {
            let Some(slot) = fill.vacant() else { break };
            let Some(entry) = provided.next() else { break };
            moved += 1;
            let packet = Packet::from(&entry);
            match self.queues.pool.frame_iova(&packet) {
                Some(iova) => slot.put(halves(rx::fresh(iova)), packet),
                None => refuse(&mut self.queues.rx_return, packet),
            }
        }
        drop(fill);
        if let Some(tail) = self.rx.publish() {
            self.regs.write(RDT, tail);
        }
        moved == budget
    }

    /// Gives received frames to the host.
    #[inline(always)]
    pub(crate) fn rx_return(&mut self, budget: u32) -> bool {
        let mut reap = self.rx.reap();
        let mut returning = self.queues.rx_return.begin();
        for _ in 0..budget {
            // No place: the host takes what is there, and calls again.
            let Some(place) = returning.vacant() else { return true };
            let Some(done) = reap.next() else { return false };
            let len_bytes = rx::length_bytes(done.word(rx::LENGTH_WORD));
            place.put(received(done.kept, len_bytes, done.done_word(), &mut self.rx_mid_frame));
        }
        true
    }

    /// Gives the host one receive buffer back that the chip is done with, as failed, whatever is in it.
    pub(crate) fn rx_discard(&mut self) {
        let mut reap = self.rx.reap();
        let mut returning = self.queues.rx_return.begin();
        let Some(place) = returning.vacant() else { return };
        if let Some(done) = reap.next() {
            self.rx_mid_frame = done.done_word() & rx::status::EOP == 0;
            place.put(done.kept.returned(0, PacketStatus::Failed));
        }
    }

    /// Gives the host's frames to the chip. A frame in several buffers takes several descriptors.
    #[inline(always)]
    pub(crate) fn tx_provide(&mut self, budget: u32) -> bool {
        let mut fill = self.tx.fill();
        let mut provided = self.queues.tx_provide.begin();
        let mut moved = 0;
        while moved < budget {
            // A full ring: the interrupt of a descriptor that is done causes the next call.
            let Some(slot) = fill.vacant() else { break };
            let Some(entry) = provided.next() else { break };
            moved += 1;
            let packet = Packet::from(&entry);
            let fits = (1..=tx::LEGACY_MAX_BYTES).contains(&packet.len_bytes);
            match self.queues.pool.frame_iova(&packet).filter(|_| fits) {
                Some(iova) => {
                    let end = if packet.is_last() { command::EOP } else { 0 };
                    slot.put(halves(tx::legacy(iova, packet.len_bytes as u16, SEND | end)), packet);
                }
                None => refuse(&mut self.queues.tx_return, packet),
            }
        }
        drop(fill);
        if let Some(tail) = self.tx.publish() {
            self.regs.write(TDT, tail);
        }
        moved == budget
    }

    /// Gives the host's frames back that were sent.
    #[inline(always)]
    pub(crate) fn tx_return(&mut self, budget: u32) -> bool {
        let mut reap = self.tx.reap();
        let mut returning = self.queues.tx_return.begin();
        for _ in 0..budget {
            let Some(place) = returning.vacant() else { return true };
            let Some(done) = reap.next() else { return false };
            // Collisions that did not end (section 3.3.3.2).
            let lost = done.done_word() & (tx::status::EC | tx::status::LC) != 0;
            let status = if lost { PacketStatus::Failed } else { PacketStatus::Done };
            place.put(done.kept.returned(done.kept.len_bytes, status));
        }
        true
    }

    /// Gives everything back that the chip has, which must be quiet: what it is done with as what it is, empty
    /// buffers as unused, and frames that it did not send as `unsent`.
    pub(crate) fn give_back(&mut self, unsent: PacketStatus) {
        self.rx_return(u32::MAX);
        self.tx_return(u32::MAX);
        let mut returning = self.queues.rx_return.begin();
        self.rx.clear(|packet| {
            if let Some(place) = returning.vacant() {
                place.put(packet.returned(0, PacketStatus::Unused));
            }
        });
        let mut returning = self.queues.tx_return.begin();
        self.tx.clear(|packet| {
            if let Some(place) = returning.vacant() {
                place.put(packet.returned(packet.len_bytes, unsent));
            }
        });
        self.rx_mid_frame = false;
    }
}

/// Returns what the host gets for a receive descriptor that is done. No frame needs two buffers, because the chip drops
/// those that are longer than one (RCTL.LPE is off); should one do so all the same, none of its parts passes.
/// `mid_frame` remembers that the last descriptor did not end its frame.
#[inline(always)]
fn received(packet: Packet, len_bytes: u32, word3: u32, mid_frame: &mut bool) -> QueueEntry {
    let ends = word3 & rx::status::EOP != 0;
    let begins = !core::mem::replace(mid_frame, !ends);
    if begins && ends && word3 & rx::error::FRAME == 0 && (HEADER_BYTES..=LONGEST_BYTES).contains(&len_bytes) {
        packet.received(len_bytes)
    } else {
        packet.returned(0, PacketStatus::Failed)
    }
}
