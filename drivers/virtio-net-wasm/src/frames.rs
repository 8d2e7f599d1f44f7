//! Packets between the host's queues and the card's.

use nook_sdk::{
    DmaBytes, Kernel, NetStats, Packet, PacketStatus, Pool, ProvideQueue, QueueEntry, ReturnQueue, Returning, Status,
};
use nook_virtio::{Device, Queue, Used};
use virtio_regs::net::HEADER_BYTES;

/// Frames that the card has of each direction at most. Each takes two descriptors: its header, and itself.
pub(crate) const FRAMES: usize = 64;
const ENTRIES: usize = 2 * FRAMES;
/// Room for a header.
pub(crate) const HEADER_ROOM_BYTES: u32 = 16;
/// Bytes of the shortest frame, an Ethernet header, and of the longest, with a VLAN tag.
const SHORTEST_BYTES: u32 = 14;
pub(crate) const LONGEST_BYTES: u32 = 1518;

const STRAY: &str = "the card is done with what it was not given";

/// One direction: a queue of the card's, and the packets whose buffers it has.
pub(crate) struct Way {
    pub(crate) queue: Queue<ENTRIES>,
    held: [Packet; FRAMES],
    /// A bit for each place in `held` that is free.
    free: u64,
}

impl Way {
    pub(crate) fn new<K: Kernel>(device: &mut Device<K>, index: u16) -> Result<Self, Status> {
        Ok(Way { queue: device.queue(index)?, held: [Packet::NONE; FRAMES], free: u64::MAX })
    }

    /// Gives the card at most `budget` packets, each as `chain` adds it under its place's number. One that cannot be
    /// added is returned as failed. Returns whether it stopped before there was nothing left.
    #[inline]
    fn provide(
        &mut self,
        provide: &mut ProvideQueue,
        refused: &mut ReturnQueue,
        budget: u32,
        chain: impl Fn(&mut Queue<ENTRIES>, u32, &Packet) -> Result<(), Status>,
    ) -> bool {
        let mut provided = provide.begin();
        for _ in 0..budget {
            // With a free place there are two descriptors. A full queue is no reason to be called again.
            if self.free == 0 {
                return false;
            }
            let Some(entry) = provided.next() else { return false };
            let (packet, place) = (Packet::from(&entry), self.free.trailing_zeros());
            if chain(&mut self.queue, place, &packet).is_ok() {
                self.held[place as usize] = packet;
                self.free &= self.free - 1;
            } else if let Some(vacant) = refused.begin().vacant() {
                vacant.put(packet.returned(packet.len_bytes, PacketStatus::Failed));
            }
        }
        true
    }

    /// Gives the host at most `budget` packets that the card is done with, as `entry` has them. Returns whether it
    /// stopped before there was nothing left.
    ///
    /// # Panics
    /// If the card makes no sense any more: that ends the driver, and the next one resets it.
    #[inline]
    fn give(
        &mut self,
        returning: &mut Returning<'_>,
        budget: u32,
        mut entry: impl FnMut(u32, Packet, u32) -> QueueEntry,
    ) -> bool {
        for _ in 0..budget {
            let Some(vacant) = returning.vacant() else { return true };
            let Some(Used { cookie, written }) = self.queue.take().expect(STRAY) else { return false };
            let packet = core::mem::replace(self.held.get_mut(cookie as usize).expect(STRAY), Packet::NONE);
            self.free |= 1 << cookie;
            vacant.put(entry(cookie, packet, written));
        }
        true
    }

    /// Gives everything back, as it is, that a card which was reset has not done.
    pub(crate) fn clear(&mut self, queue: &mut ReturnQueue, entry: impl Fn(Packet) -> QueueEntry) {
        let mut returning = queue.begin();
        for packet in self.held.iter_mut().filter(|packet| !packet.is_none()) {
            if let Some(vacant) = returning.vacant() {
                vacant.put(entry(core::mem::replace(packet, Packet::NONE)));
            }
        }
    }
}

/// Both, and the headers of frames: one for each that is received, and one for all that are sent.
pub(crate) struct Ways {
    pub(crate) receive: Way,
    pub(crate) transmit: Way,
}

impl Ways {
    /// Gives the card empty buffers.
    #[inline]
    pub(crate) fn rx_provide(
        &mut self,
        headers: DmaBytes<'_>,
        pool: &Pool,
        provide: &mut ProvideQueue,
        refused: &mut ReturnQueue,
        budget: u32,
    ) -> bool {
        self.receive.provide(provide, refused, budget, |queue, place, packet| {
            let header = headers.part(place * HEADER_ROOM_BYTES, HEADER_BYTES)?;
            queue.add(place, &[], &[header, pool.bytes(packet).ok_or(Status::Invalid)?])
        })
    }

    /// Gives the card frames to send, behind a header of zeros.
    #[inline]
    pub(crate) fn tx_provide(
        &mut self,
        header: DmaBytes<'_>,
        pool: &Pool,
        provide: &mut ProvideQueue,
        refused: &mut ReturnQueue,
        budget: u32,
    ) -> bool {
        self.transmit.provide(provide, refused, budget, |queue, place, packet| {
            if !packet.is_plain() {
                return Err(Status::Unsupported);
            }
            let frame = pool.bytes(packet).ok_or(Status::Invalid)?.part(0, packet.len_bytes)?;
            queue.add(place, &[header, frame], &[])
        })
    }

    /// Gives the host received frames.
    #[inline]
    pub(crate) fn rx_return(
        &mut self,
        queue: &mut ReturnQueue,
        pool: &Pool,
        budget: u32,
        stats: &mut NetStats,
    ) -> bool {
        self.receive.give(&mut queue.begin(), budget, |_, packet, written| {
            let len_bytes = written.saturating_sub(HEADER_BYTES);
            if !(SHORTEST_BYTES..=LONGEST_BYTES).contains(&len_bytes) {
                stats.rx_errors += 1;
                stats.rx_length_errors += 1;
                return packet.returned(0, PacketStatus::Failed);
            }
            stats.rx_packets += 1;
            stats.rx_bytes += u64::from(len_bytes);
            let mut to = [0; 6];
            let known = pool.bytes(&packet).is_some_and(|frame| frame.read_bytes(0, &mut to).is_ok());
            stats.multicast += u64::from(known && to[0] & 1 != 0 && to != [0xff; 6]);
            packet.received(len_bytes, false)
        })
    }

    /// Gives the host the next received frame back as failed, whatever is in it.
    pub(crate) fn rx_discard(&mut self, queue: &mut ReturnQueue) {
        self.receive.give(&mut queue.begin(), 1, |_, packet, _| packet.returned(0, PacketStatus::Failed));
    }

    /// Gives the host's frames back that were sent.
    #[inline]
    pub(crate) fn tx_return(&mut self, queue: &mut ReturnQueue, budget: u32, stats: &mut NetStats) -> bool {
        self.transmit.give(&mut queue.begin(), budget, |_, packet, _| {
            stats.tx_packets += 1;
            stats.tx_bytes += u64::from(packet.len_bytes);
            packet.returned(packet.len_bytes, PacketStatus::Done)
        })
    }
}
