//! Sending.

use e1000_regs::tx::{self, command, status};
use e1000_regs::{TADV, TCTL, TDBAH, TDBAL, TDH, TDLEN, TDT, TIDV, TIPG};
use nook_sdk::{DescriptorRing, Kernel, NetQueues, Nook, Packet, PacketStatus, Regs, ReturnQueue, Status};

use crate::stats::Statistics;

/// Descriptors in the ring.
const RING: usize = 256;
/// Every packet: its end, its check sequence, a report when it is sent, and no hurry with the interrupt for that.
const COMMAND: u32 = command::EOP | command::IFCS | command::RS | command::IDE;

/// How long the interrupt for sent packets may wait, in steps of 1.024 µs (sections 13.4.41 and 13.4.44): they are
/// also reaped by each `poll` that has another reason, so a stream needs few interrupts of its own for them.
const INTERRUPT_DELAY: u32 = 128;
const INTERRUPT_DELAY_AT_MOST: u32 = 384;

/// Inter-packet gaps for copper (section 13.4.34).
const GAPS: u32 = TIPG::IPGT.put(8) | TIPG::IPGR1.put(8) | TIPG::IPGR2.put(6);
/// Attempts after collisions and collision distance in byte times, as section 13.4.33 recommends.
const COLLISIONS: u32 = TCTL::CT.put(0x0f) | TCTL::COLD.put(0x40);

/// Ticks of the watchdog without progress that count as a hang: between one and two seconds.
const HANG_TICKS: u32 = 2;

/// The transmit ring and the packets in it.
pub(crate) struct TxRing<K: Kernel> {
    ring: DescriptorRing<K, Packet, RING>,
    /// How many had been taken back at the last tick.
    reaped_at_tick: u32,
    idle_ticks: u32,
}

impl<K: Kernel> TxRing<K> {
    pub(crate) fn new(nook: Nook<K>) -> Result<Self, Status> {
        Ok(TxRing { ring: DescriptorRing::new(nook)?, reaped_at_tick: 0, idle_ticks: 0 })
    }

    /// Programs an empty ring and turns the transmitter on (section 14.5).
    pub(crate) fn start(&mut self, regs: &Regs<K>) {
        let iova = self.ring.iova();
        regs.write(TDBAL, iova as u32);
        regs.write(TDBAH, (iova >> 32) as u32);
        regs.write(TDLEN, self.ring.len_bytes());
        regs.write(TDH, 0);
        regs.write(TDT, 0);
        regs.write(TIDV, INTERRUPT_DELAY);
        regs.write(TADV, INTERRUPT_DELAY_AT_MOST);
        regs.write(TIPG, GAPS);
        regs.write(TCTL, TCTL::EN | TCTL::PSP | COLLISIONS);
        self.reaped_at_tick = self.ring.reaped();
        self.idle_ticks = 0;
    }

    /// Gives the host back what was sent.
    #[inline]
    pub(crate) fn reap(&mut self, queue: &mut ReturnQueue) {
        if self.ring.in_flight() == 0 {
            return;
        }
        let mut returning = queue.begin();
        let mut reap = self.ring.reap(status::DD);
        while let Some(place) = returning.vacant() {
            let Some(done) = reap.next() else { break };
            let lost = done.last_word() & (status::EC | status::LC) != 0;
            let outcome = if lost { PacketStatus::Failed } else { PacketStatus::Done };
            place.put(done.kept.returned(done.kept.len_bytes, outcome));
        }
    }

    /// Sends at most `budget` packets. Says how many.
    #[inline]
    pub(crate) fn submit(
        &mut self,
        budget: u32,
        regs: &Regs<K>,
        queues: &mut NetQueues,
        statistics: &mut Statistics,
    ) -> u32 {
        let NetQueues { tx_provide, tx_return, pool, .. } = queues;
        let mut fill = self.ring.fill();
        let mut provided = tx_provide.begin();
        let mut count = 0;
        while count < budget {
            let Some(slot) = fill.vacant() else { break };
            let Some(entry) = provided.next() else { break };
            let packet = Packet::from(&entry);
            count += 1;
            let address = pool.frame_iova(&packet).filter(|_| (1..=tx::LEGACY_MAX_BYTES).contains(&packet.len_bytes));
            let Some(address) = address else {
                refuse(packet, tx_return, statistics);
                continue;
            };
            let [word0, word1, word2, word3] = tx::legacy(address, packet.len_bytes as u16, COMMAND);
            slot.put(join(word0, word1), join(word2, word3), packet);
        }
        drop(provided);
        drop(fill);
        if let Some(tail) = self.ring.publish() {
            regs.write(TDT, tail);
        }
        count
    }

    /// One tick of the watchdog: whether packets have been waiting for too long. Nothing leaves while the link is
    /// down, which is no hang.
    pub(crate) fn hangs(&mut self, link_is_up: bool) -> bool {
        let stuck = self.ring.in_flight() > 0 && self.ring.reaped() == self.reaped_at_tick && link_is_up;
        self.reaped_at_tick = self.ring.reaped();
        self.idle_ticks = if stuck { self.idle_ticks + 1 } else { 0 };
        self.idle_ticks >= HANG_TICKS
    }

    /// The controller is quiet: every packet in the ring goes back. Whether one had left is not known any more.
    pub(crate) fn give_back(&mut self, queue: &mut ReturnQueue) {
        give_back(&mut self.ring, queue);
    }
}

/// A packet that no descriptor can describe.
#[cold]
fn refuse(packet: Packet, queue: &mut ReturnQueue, statistics: &mut Statistics) {
    statistics.tx_refused();
    if let Some(place) = queue.begin().vacant() {
        place.put(packet.returned(packet.len_bytes, PacketStatus::Failed));
    }
}

const fn join(low: u32, high: u32) -> u64 {
    low as u64 | (high as u64) << 32
}

/// Empties a ring. The queue has room for all of it: it holds more entries than a ring, and the host empties it after
/// each call.
pub(crate) fn give_back<K: Kernel>(ring: &mut DescriptorRing<K, Packet, RING>, queue: &mut ReturnQueue) {
    let mut returning = queue.begin();
    ring.clear(|packet| {
        if let Some(place) = returning.vacant() {
            place.put(packet.returned(packet.len_bytes, PacketStatus::Unused));
        }
    });
}
