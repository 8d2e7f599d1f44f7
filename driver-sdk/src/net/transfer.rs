//! The loops of a network driver: from a provide queue to a ring, and from a ring to a return queue.
//!
//! Each packet is either *plain*, and done with in a loop that was made for it, or it is not, and that loop is left
//! for it: so what is rare costs nothing where it does not happen.

use core::hint::cold_path;

use nook_abi::QUEUE_CAPACITY;
use nook_abi::net::QueueEntry;

use super::queues::{Provided, Returning};
use crate::{Done, Fill, Finished, Packet, Reap};

impl<const N: usize, const SLOT: usize> Fill<'_, Packet, N, SLOT> {
    /// Fills slots with what comes out of a provide queue.
    ///
    /// ```
    /// # use nook_sdk::{DescriptorRing, DoneBit, Kernel, NetQueues, Packet, PacketStatus, Register, Regs};
    /// /// Gives frames to a device whose descriptors are an address and a length.
    /// fn send<K: Kernel>(
    ///     ring: &mut DescriptorRing<K, Packet, 256, 16, DoneBit<3, 1>>,
    ///     queues: &mut NetQueues,
    ///     regs: &Regs<K>,
    ///     tail: Register<u32>,
    ///     budget: u32,
    /// ) -> bool {
    ///     let NetQueues { tx_provide, tx_return, pool, .. } = queues;
    ///     let taken = ring.fill().fill_from(
    ///         &mut tx_provide.begin(),
    ///         budget,
    ///         |packet| Some([pool.frame_iova(packet)?, packet.len_bytes.into()]),
    ///         |_, provided| {
    ///             // A packet of which no descriptor can be made comes back.
    ///             let Some(entry) = provided.next() else { return 0 };
    ///             if let Some(place) = tx_return.begin().vacant() {
    ///                 place.put(Packet::from(&entry).returned(0, PacketStatus::Failed));
    ///             }
    ///             1
    ///         },
    ///     );
    ///     if let Some(at) = ring.publish() {
    ///         regs.write(tail, at);
    ///     }
    ///     taken == budget
    /// }
    /// ```
    ///
    /// Takes up to `most` packets from a provide queue, as long as there is one and the driver owns a slot, and fills a
    /// slot with what `plain` makes of each. What it makes nothing of is `other`'s, which takes it and what belongs to
    /// it out of the queue, and fills as many slots as that takes; it says how many it took, and 0 if there is no room
    /// now. Returns how many were taken, which may be more than `most` by what `other` took last. At most 256 packets
    /// are in the ring then, however large it is ([`packets_room`](Self::packets_room)): as many as the return queue
    /// has places, so that all can be returned by one call.
    #[inline(always)]
    pub fn fill_from<const WORDS: usize>(
        &mut self,
        provided: &mut Provided<'_>,
        most: u32,
        plain: impl Fn(&Packet) -> Option<[u64; WORDS]>,
        mut other: impl FnMut(&mut Self, &mut Provided<'_>) -> u32,
    ) -> u32 {
        let mut taken = 0;
        loop {
            let wanted = most.saturating_sub(taken).min(self.packets_room()).min(provided.left());
            let filled = self.transfer(&provided.queue.ring, provided.at, wanted, |entry| {
                let packet = Packet::from_words(entry);
                Some((plain(&packet)?, packet))
            });
            provided.at = provided.at.wrapping_add(filled);
            taken += filled;
            if filled == wanted {
                return taken;
            }
            cold_path();
            // Not plain, or no slot is left that was free when the call began.
            let Some(packet) = provided.peek() else { return taken };
            let more = match plain(&packet) {
                Some(words) => {
                    let Some(slot) = self.vacant() else { return taken };
                    slot.put(words, packet);
                    provided.skip_one();
                    1
                }
                None => other(self, provided),
            };
            if more == 0 {
                return taken;
            }
            taken += more;
        }
    }

    /// Returns how many packets may be put into the ring.
    #[inline(always)]
    pub fn packets_room(&self) -> u32 {
        let in_ring = N as u32 - 1 - self.room();
        self.room().min(QUEUE_CAPACITY.saturating_sub(in_ring))
    }
}

impl<const N: usize, const SLOT: usize, D: Done> Reap<'_, Packet, N, SLOT, D> {
    /// Takes up to `most` packets that the device is done with, as long as the return queue has a place, and gives the
    /// host what `plain` makes of each, or `other` where that makes nothing of it; nothing, where `other` makes nothing
    /// of it either. Returns how many were taken: less than `most` and the room that the queue had means that the
    /// device has done no more.
    #[inline(always)]
    pub fn return_to(
        &mut self,
        returning: &mut Returning<'_>,
        most: u32,
        plain: impl Fn(&Finished<'_, Packet, SLOT, N>) -> Option<QueueEntry>,
        mut other: impl FnMut(Finished<'_, Packet, SLOT, N>) -> Option<QueueEntry>,
    ) -> u32 {
        let also_plain = &plain;
        self.return_frames_to(returning, most, also_plain, |reap, returning| {
            let (Some(place), Some(done)) = (returning.vacant(), reap.next()) else { return 0 };
            if let Some(entry) = also_plain(&done).or_else(|| other(done)) {
                place.put(entry);
            }
            1
        })
    }

    /// Does the same for a ring in which a frame may be in several descriptors: where `plain` makes nothing of one,
    /// `other` takes it and what belongs to it out of the ring ([`peek`](Reap::peek) says what is there), and returns
    /// each. It says how many it took, and 0 if no more can be taken now. Returns how many were taken, which may be
    /// more than `most` by what `other` took last.
    #[inline(always)]
    pub fn return_frames_to(
        &mut self,
        returning: &mut Returning<'_>,
        most: u32,
        plain: impl Fn(&Finished<'_, Packet, SLOT, N>) -> Option<QueueEntry>,
        mut other: impl FnMut(&mut Self, &mut Returning<'_>) -> u32,
    ) -> u32 {
        let mut taken = 0;
        loop {
            let wanted = most.saturating_sub(taken).min(returning.room());
            let reaped = self.transfer(&returning.queue.0, returning.at, wanted, |done| Some(plain(done)?.to_words()));
            returning.at = returning.at.wrapping_add(reaped);
            taken += reaped;
            if reaped == wanted {
                return taken;
            }
            // Not plain, or not done.
            cold_path();
            let more = other(self, returning);
            if more == 0 {
                return taken;
            }
            taken += more;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::{TestHost, TestKernel};
    use crate::{DescriptorRing, DoneBit};
    use nook_abi::net::{PacketStatus, Queue};
    use std::vec::Vec;

    const DONE: u32 = 1;
    const FAILED: u32 = 2;
    const SLOTS: usize = 32;
    type Ring = DescriptorRing<TestKernel, Packet, SLOTS, 16, DoneBit<3, DONE>>;

    fn entry(id: u32) -> QueueEntry {
        QueueEntry { id, generation: 7, len_bytes: 60 + id % 100, ..QueueEntry::default() }
    }

    fn refused(id: u32) -> bool {
        id % 11 == 3
    }

    fn failed(id: u32) -> bool {
        id % 7 == 5
    }

    /// What stands in the slots of `ring` from the one with counter `first` on.
    fn device_finishes(host: &TestHost, ring: &Ring, first: u32, count: u32) -> Vec<u64> {
        let slots = (0..count).map(|at| ring.iova() + u64::from((first + at) % SLOTS as u32) * 16);
        slots
            .map(|slot| {
                let id = host.window().read(slot);
                assert_eq!([4, 8, 12].map(|word| host.window().read(slot + word)), [0, 0, 0]);
                host.window().write(slot + 8, 1000 + id);
                host.window().write(slot + 12, DONE | if failed(id) { FAILED } else { 0 });
                id.into()
            })
            .collect()
    }

    #[test]
    fn packets_go_through_a_ring_once_and_in_order_whatever_is_not_plain_and_wherever_it_wraps() {
        let host = TestHost::new();
        let (mut queues, mut ring) = (host.nook().queues(), Ring::new(host.nook()).unwrap());
        let (mut given, mut filled, mut reaped) = (0, 0, 0);
        let (mut turned_down, mut finished, mut returned) = (Vec::new(), Vec::new(), Vec::new());
        for round in 0..400u32 {
            let new = (round * 13 % 29).min(QUEUE_CAPACITY - (given - filled - turned_down.len() as u32));
            (given..given + new).for_each(|id| host.provide(Queue::TxProvide, entry(id)));
            given += new;
            let (before, most) = (turned_down.len() as u32, round * 5 % 23);
            let mut fill = ring.fill();
            let room = fill.room();
            let taken = fill.fill_from(
                &mut queues.tx_provide.begin(),
                most,
                |packet| (!refused(packet.id())).then_some([packet.id().into(), 0]),
                |_, provided| {
                    turned_down.push(provided.next().unwrap().id);
                    1
                },
            );
            let put = taken - (turned_down.len() as u32 - before);
            assert!(taken <= most && put == room - fill.room());
            assert!(taken == most || fill.room() == 0 || queues.tx_provide.begin().left() == 0, "round {round}");
            drop(fill);
            ring.publish();
            let done = (round * 3 % 17).min(ring.in_flight() + reaped - finished.len() as u32);
            finished.extend(device_finishes(&host, &ring, finished.len() as u32, done));
            filled += put;
            let (mut batch, most) = (queues.tx_return.begin(), round * 7 % 19);
            let back = ring.reap().return_to(
                &mut batch,
                most,
                |done| (done.done_word() & FAILED == 0).then(|| done.kept.returned(done.word(2), PacketStatus::Done)),
                |done| Some(done.kept.returned(done.word(2), PacketStatus::Failed)),
            );
            drop(batch);
            assert_eq!(back, most.min(finished.len() as u32 - reaped), "round {round}");
            reaped += back;
            returned.extend(host.returned(Queue::TxReturn));
            assert_eq!(returned.len() as u32, reaped);
        }
        assert!(reaped > 4 * QUEUE_CAPACITY && turned_down.len() > 100, "{reaped}");
        let taken = filled + turned_down.len() as u32;
        assert!(turned_down.iter().copied().eq((0..taken).filter(|id| refused(*id))));
        let passed = (0..taken).filter(|id| !refused(*id));
        for (id, entry) in passed.zip(&returned) {
            let status = if failed(id) { PacketStatus::Failed } else { PacketStatus::Done };
            assert_eq!((entry.id, entry.generation), (id, 7));
            assert_eq!((entry.len_bytes, entry.status), (1000 + id, status as u16));
        }
    }

    #[test]
    fn a_return_queue_without_room_takes_nothing_and_what_is_done_stays() {
        let host = TestHost::new();
        let (mut queues, mut ring) = (host.nook().queues(), Ring::new(host.nook()).unwrap());
        host.provide(Queue::TxProvide, entry(1));
        let fill = |_: &Packet| Some([1, 0]);
        assert_eq!(ring.fill().fill_from(&mut queues.tx_provide.begin(), 9, fill, |_, _| unreachable!()), 1);
        ring.publish();
        device_finishes(&host, &ring, 0, 1);
        let plain = |done: &Finished<'_, Packet, 16, SLOTS>| Some(done.kept.returned(0, PacketStatus::Done));
        let mut batch = queues.tx_return.begin();
        (0..QUEUE_CAPACITY).for_each(|_| batch.vacant().unwrap().put(entry(2)));
        assert_eq!(ring.reap().return_to(&mut batch, 9, plain, |_| unreachable!()), 0);
        drop(batch);
        host.returned(Queue::TxReturn);
        assert_eq!(ring.reap().return_to(&mut queues.tx_return.begin(), 9, plain, |_| unreachable!()), 1);
    }
}
