//! Who has which packet buffer.

use nook_abi::Fault;
use nook_abi::net::{NetFault, Owner, PacketStatus, PoolLayout, Queue, QueueEntry, entry_flags};

/// One buffer.
#[derive(Clone, Copy)]
struct Slot {
    owner: Owner,
    generation: u16,
    /// For frames to be sent: when the driver got it, what it is, and its place in the order of giving.
    given_ns: u64,
    frame: FrameInfo,
    order: u64,
    /// An earlier instance ended with it.
    again: bool,
}

/// A frame to be sent, in the buffer that it lies in.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct FrameInfo {
    /// Its length.
    pub(crate) len_bytes: u32,
}

impl Slot {
    /// Gives it back to the host under a new generation, so that returning it another time is found.
    fn come_back(&mut self) {
        self.owner = Owner::Host;
        self.generation = self.generation.wrapping_add(1);
    }
}

/// The ownership map of a pool.
pub(crate) struct Packets {
    layout: PoolLayout,
    slots: Vec<Slot>,
    /// Buffers that the host has, receive and transmit apart so that neither can starve the other.
    free_rx: Vec<u32>,
    free_tx: Vec<u32>,
    rx_count: u32,
    /// Frames ever given to be sent.
    given: u64,
}

impl Packets {
    /// Creates the map. The first `rx_count` buffers are for receiving, the others for sending.
    pub(crate) fn new(layout: PoolLayout, rx_count: u32) -> Self {
        let free = Slot {
            owner: Owner::Host,
            generation: 0,
            given_ns: 0,
            frame: FrameInfo::default(),
            order: 0,
            again: false,
        };
        let mut packets = Packets {
            layout,
            slots: vec![free; layout.count as usize],
            free_rx: Vec::with_capacity(rx_count as usize),
            free_tx: Vec::with_capacity((layout.count - rx_count) as usize),
            rx_count,
            given: 0,
        };
        packets.reclaim(&[]);
        packets
    }

    /// Reclaims everything from a driver that is gone, under new generations. The buffers in `kept` hold frames
    /// that will be given again, and are not free.
    pub(crate) fn reclaim(&mut self, kept: &[u32]) {
        for slot in &mut self.slots {
            if slot.owner != Owner::Host {
                slot.come_back();
            }
        }
        self.free_rx.clear();
        self.free_tx.clear();
        // Taken from the end: low ids first, which keeps the working set small.
        self.free_rx.extend((0..self.rx_count).rev());
        self.free_tx.extend((self.rx_count..self.layout.count).rev().filter(|id| !kept.contains(id)));
    }

    /// Returns the buffers of frames to be sent that the driver has, in the order in which it got them.
    pub(crate) fn sending(&self) -> Vec<u32> {
        let mut ids: Vec<u32> = (self.rx_count..self.layout.count)
            .filter(|&id| self.slots[id as usize].owner == Owner::Driver(Queue::TxProvide))
            .collect();
        ids.sort_unstable_by_key(|&id| self.slots[id as usize].order);
        ids
    }

    /// Returns the receive buffers that the driver has, with their generations.
    pub(crate) fn receiving(&self) -> Vec<(u32, u16)> {
        let slots = self.slots[..self.rx_count as usize].iter().zip(0..);
        slots.filter(|(slot, _)| slot.owner != Owner::Host).map(|(slot, id)| (id, slot.generation)).collect()
    }

    /// Restores, after [`reclaim`](Self::reclaim), the receive buffers that the driver had when
    /// [`receiving`](Self::receiving) said so.
    pub(crate) fn restore(&mut self, receiving: &[(u32, u16)]) {
        for &(id, generation) in receiving {
            let slot = &mut self.slots[id as usize];
            (slot.owner, slot.generation) = (Owner::Driver(Queue::RxProvide), generation);
        }
        let Packets { slots, free_rx, .. } = self;
        free_rx.retain(|&id| slots[id as usize].owner == Owner::Host);
    }

    /// Returns the frame that buffer `id` was last given with.
    pub(crate) fn frame_in(&self, id: u32) -> FrameInfo {
        self.slots[id as usize].frame
    }

    /// Returns where a buffer's frame begins in the window.
    #[inline]
    pub(crate) fn frame_offset(&self, id: u32) -> u64 {
        u64::from(self.layout.offset)
            + u64::from(id) * u64::from(self.layout.stride_bytes)
            + u64::from(self.layout.headroom_bytes)
    }

    /// Returns the room for a frame in each buffer, in bytes.
    pub(crate) fn room_bytes(&self) -> u32 {
        self.layout.room_bytes
    }

    /// Returns the number of transmit buffers that the host has.
    pub(crate) fn free_tx(&self) -> usize {
        self.free_tx.len()
    }

    /// Returns whether the driver has less than a quarter of the receive buffers.
    pub(crate) fn rx_is_nearly_all_free(&self) -> bool {
        (self.rx_count as usize - self.free_rx.len()) * 4 < self.rx_count as usize
    }

    /// Returns a buffer that the next frame to send can go into. It stays the host's until [`give_tx`](Self::give_tx).
    #[inline]
    pub(crate) fn peek_tx(&self) -> Option<u32> {
        self.free_tx.last().copied()
    }

    /// Gives the driver a receive buffer: its id and generation.
    #[inline]
    pub(crate) fn give_rx(&mut self) -> Option<(u32, u16)> {
        let id = self.free_rx.pop()?;
        let slot = &mut self.slots[id as usize];
        slot.owner = Owner::Driver(Queue::RxProvide);
        Some((id, slot.generation))
    }

    /// Gives the driver the buffer that [`peek_tx`](Self::peek_tx) named, with a frame to be sent: its generation.
    #[inline]
    pub(crate) fn give_tx(&mut self, frame: FrameInfo, now_ns: u64) -> u16 {
        let id = self.free_tx.pop().expect("`peek_tx` has named a buffer");
        self.give_frame(id, frame, now_ns, false)
    }

    /// Gives the driver a buffer that was kept with its frame: its generation.
    #[inline]
    pub(crate) fn give_tx_again(&mut self, id: u32, now_ns: u64) -> u16 {
        let Slot { frame, again, .. } = self.slots[id as usize];
        self.give_frame(id, frame, now_ns, again)
    }

    #[inline]
    fn give_frame(&mut self, id: u32, frame: FrameInfo, given_ns: u64, again: bool) -> u16 {
        self.given += 1;
        let slot = &mut self.slots[id as usize];
        let owner = Owner::Driver(Queue::TxProvide);
        *slot = Slot { owner, generation: slot.generation, given_ns, frame, order: self.given, again };
        slot.generation
    }

    /// Notes that an instance ended with the frame in buffer `id`. Returns whether that was the first time.
    pub(crate) fn ended_with(&mut self, id: u32) -> bool {
        !std::mem::replace(&mut self.slots[id as usize].again, true)
    }

    /// Checks an entry that the driver put into `queue` (`rx_return` or `tx_return`); the buffer stays the driver's
    /// until [`take`](Self::take).
    pub(crate) fn check(&self, queue: Queue, entry: &QueueEntry) -> Result<PacketStatus, Fault> {
        let malformed = |field, value: u64, rule| {
            Fault::from(NetFault::PacketMalformed { queue, id: entry.id, field, value, rule })
        };
        let Some(slot) = self.slots.get(entry.id as usize) else {
            return Err(malformed("id", entry.id.into(), "no such packet"));
        };
        let given_through = if queue == Queue::RxReturn { Queue::RxProvide } else { Queue::TxProvide };
        if slot.owner != Owner::Driver(given_through) {
            return Err(NetFault::PacketNotOwned { queue, id: entry.id, owner: slot.owner }.into());
        }
        if slot.generation != entry.generation {
            return Err(malformed("generation", entry.generation.into(), "not the one that it was given with"));
        }
        let Some(status) = PacketStatus::from_u16(entry.status) else {
            return Err(malformed("status", entry.status.into(), "no such status"));
        };
        if entry.flags & entry_flags::SIDE != 0 {
            return Err(malformed("flags", entry.flags.into(), "the ring has no side array"));
        }
        if entry.flags & !entry_flags::ALL != 0 {
            return Err(malformed("flags", entry.flags.into(), "unknown bits are set"));
        }
        if entry.reserved != 0 {
            return Err(malformed("reserved", entry.reserved.into(), "must be zero"));
        }
        if queue == Queue::RxReturn && entry.len_bytes > self.layout.room_bytes {
            return Err(malformed("len_bytes", entry.len_bytes.into(), "longer than the buffer"));
        }
        Ok(status)
    }

    /// Holds the buffer of a checked entry: it is not the driver's any more, but the host does not use it yet: it can
    /// neither be returned again nor given out before [`take`](Self::take).
    #[inline]
    pub(crate) fn hold(&mut self, id: u32) {
        self.slots[id as usize].owner = Owner::Host;
    }

    /// Undoes [`hold`](Self::hold): the buffer is the driver's again, because the call that returned it does not count.
    pub(crate) fn unhold(&mut self, id: u32) {
        let queue = if id < self.rx_count { Queue::RxProvide } else { Queue::TxProvide };
        self.slots[id as usize].owner = Owner::Driver(queue);
    }

    /// Takes the buffer of a checked entry back to the host.
    #[inline]
    pub(crate) fn take(&mut self, id: u32) {
        self.slots[id as usize].come_back();
        if id < self.rx_count { self.free_rx.push(id) } else { self.free_tx.push(id) }
    }

    /// Returns how many frames that were given to be sent before `given_before_ns` the driver still has.
    pub(crate) fn overdue_tx(&self, given_before_ns: u64) -> usize {
        let given = |slot: &&Slot| slot.owner == Owner::Driver(Queue::TxProvide) && slot.given_ns < given_before_ns;
        self.slots[self.rx_count as usize..].iter().filter(given).count()
    }

    /// Returns how many buffers the driver has.
    pub(crate) fn with_driver(&self) -> usize {
        self.slots.iter().filter(|slot| slot.owner != Owner::Host).count()
    }
}
