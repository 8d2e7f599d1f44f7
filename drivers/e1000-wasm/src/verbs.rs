//! What the driver does all day: four verbs that move packets between the host's queues and the chip's rings.
//!
//! Each moves at most `budget` packets, allocates nothing, reads no register and rings at most one doorbell. The
//! answer is whether it stopped before there was nothing left: then `poll` must be called again.

use core::cell::Cell;
use core::hint::cold_path;

use e1000_regs::tx::command;
use e1000_regs::{RDT, TDT, rx, tx};
use nook_sdk::{
    DescriptorRing, DoneBit, Finished, Kernel, NetQueues, Packet, PacketStatus, Provided, QueueEntry, ReturnQueue,
};

use crate::driver::E1000;
use crate::jumbo::{self, Stopped};
use crate::offloads;

/// Descriptors in each ring: twice as many as packets that are in it at most, so that a call never needs one that it
/// has just reclaimed. One of them is never used, because head = tail means empty (section 3.2.6).
pub(crate) const RING: usize = 512;
/// The longest frame that the chip receives without RCTL.LPE, with VLAN tag and frame check sequence (section 13.4.22):
/// it writes no more into a buffer, although it is set to 2048 bytes.
pub(crate) const LONGEST_BYTES: u32 = 1522;
/// Bytes of the shortest thing that can be a frame: an Ethernet header.
pub(crate) const HEADER_BYTES: u32 = 14;

/// How each frame is sent. RS: each descriptor says what became of it. IDE: the interrupt that says so is delayed,
/// so that one stands for many (see `setup::moderate`).
pub(crate) const SEND: u32 = command::IFCS | command::RS | command::IDE;

/// A ring of the chip: legacy descriptors both ways, whose last word has DD in the same place (sections 3.2.3.1 and
/// 3.3.3.2). Beside each is the packet whose buffer the chip has.
pub(crate) type Ring<K> = DescriptorRing<K, Packet, RING, 16, DoneBit<3, DD>>;
/// A descriptor that is done.
pub(crate) type Done<'a> = Finished<'a, Packet, 16, RING>;
pub(crate) const DD: u32 = rx::status::DD;
const _: () = assert!(DD == tx::status::DD);

/// Packs four words into the two halves of a slot.
#[inline(always)]
pub(crate) fn halves([a, b, c, d]: [u32; 4]) -> [u64; 2] {
    [u64::from(a) | u64::from(b) << 32, u64::from(c) | u64::from(d) << 32]
}

/// Takes a packet and gives it back, of which no descriptor can be made: a host that gives such a thing is broken.
#[cold]
pub(crate) fn refuse(queue: &mut ReturnQueue, provided: &mut Provided<'_>) -> u32 {
    let Some(entry) = provided.next() else { return 0 };
    if let Some(place) = queue.begin().vacant() {
        place.put(Packet::from(&entry).returned(entry.len_bytes, PacketStatus::Failed));
    }
    1
}

impl<K: Kernel> E1000<K> {
    /// Gives the host's empty buffers to the chip.
    #[inline(always)]
    pub(crate) fn rx_provide(&mut self, budget: u32) -> bool {
        let NetQueues { rx_provide, rx_return, pool, .. } = &mut self.queues;
        let moved = self.rx.fill().fill_from(
            &mut rx_provide.begin(),
            budget,
            |packet| Some(halves(rx::fresh(pool.frame_iova(packet)?))),
            |_, provided| refuse(rx_return, provided),
        );
        if let Some(tail) = self.rx.publish() {
            self.regs.write(RDT, tail);
        }
        moved == budget
    }

    /// Gives received frames to the host. No place is left: the host takes what is there, and calls again.
    #[inline(always)]
    pub(crate) fn rx_return(&mut self, budget: u32) -> bool {
        let mut returning = self.queues.rx_return.begin();
        let most = budget.min(returning.room());
        let (mut reap, taken, stopped) = (self.rx.reap(), &self.rx_taken, Cell::new(Stopped::Dry));
        if self.rx_gives_up {
            cold_path();
            self.rx_gives_up = !jumbo::give_back_rest(&mut reap, &mut returning);
            if self.rx_gives_up {
                return returning.room() == 0;
            }
        }
        let moved = reap.return_frames_to(&mut returning, most, whole_frame, |reap, returning| {
            jumbo::take(reap, returning, taken, &stopped, false)
        });
        let stopped = stopped.get();
        if stopped == Stopped::GaveUp {
            self.rx_gives_up = true;
        }
        moved >= most || stopped != Stopped::Dry
    }

    /// Gives the host the next received frame back, if it is there, as failed, whatever is in it.
    pub(crate) fn rx_discard(&mut self) {
        let mut returning = self.queues.rx_return.begin();
        let (mut reap, stopped) = (self.rx.reap(), Cell::new(Stopped::Dry));
        if !self.rx_gives_up || jumbo::give_back_rest(&mut reap, &mut returning) {
            jumbo::take(&mut reap, &mut returning, &self.rx_taken, &stopped, true);
            self.rx_gives_up = stopped.get() == Stopped::GaveUp;
        }
    }

    /// Gives the host's frames to the chip. A frame in several buffers takes several descriptors, and one to which
    /// something is to be done one more. A full ring is no reason to be called again: the interrupt of a descriptor
    /// that is done causes the next call.
    #[inline(always)]
    pub(crate) fn tx_provide(&mut self, budget: u32) -> bool {
        let NetQueues { tx_provide, tx_return, pool, .. } = &mut self.queues;
        let moved = self.tx.fill().fill_from(
            &mut tx_provide.begin(),
            budget,
            |packet| {
                let iova = pool.frame_iova(packet)?;
                let fits = packet.is_plain() && (1..=tx::LEGACY_MAX_BYTES).contains(&packet.len_bytes);
                fits.then(|| halves(tx::legacy(iova, packet.len_bytes as u16, SEND | command::EOP)))
            },
            |fill, provided| offloads::fill(fill, provided, pool).unwrap_or_else(|| refuse(tx_return, provided)),
        );
        if let Some(tail) = self.tx.publish() {
            self.regs.write(TDT, tail);
        }
        moved >= budget
    }

    /// Gives the host's frames back that were sent.
    #[inline(always)]
    pub(crate) fn tx_return(&mut self, budget: u32) -> bool {
        let mut returning = self.queues.tx_return.begin();
        let most = budget.min(returning.room());
        // Collisions that did not end (section 3.3.3.2).
        let lost = |done: &Done| done.done_word() & (tx::status::EC | tx::status::LC) != 0;
        let sent = |done: &Done| !done.kept.is_none() && !lost(done);
        let moved = self.tx.reap().return_to(
            &mut returning,
            most,
            |done| sent(done).then(|| done.kept.returned(done.kept.len_bytes, PacketStatus::Done)),
            |done| (!done.kept.is_none()).then(|| done.kept.returned(done.kept.len_bytes, PacketStatus::Failed)),
        );
        moved == most
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
            if let Some(place) = returning.vacant()
                && !packet.is_none()
            {
                place.put(packet.returned(packet.len_bytes, unsent));
            }
        });
        self.rx_gives_up = false;
    }
}

/// Returns whether a frame ends in this receive descriptor. While RCTL.LPE is off no frame needs two buffers, because
/// the chip drops those that are longer than one; should one do so all the same, none of its parts passes.
#[inline(always)]
pub(crate) fn ends(done: &Done) -> bool {
    done.done_word() & rx::status::EOP != 0
}

/// Returns what the host gets for a receive descriptor with the end of a frame that is as it should be.
#[inline(always)]
fn whole_frame(done: &Done) -> Option<QueueEntry> {
    let len_bytes = rx::length_bytes(done.word(rx::LENGTH_WORD));
    let good = ends(done) && done.done_word() & rx::error::FRAME == 0;
    (good && (HEADER_BYTES..=LONGEST_BYTES).contains(&len_bytes))
        .then(|| done.kept.received(len_bytes, offloads::is_checked(done.done_word())))
}
