//! Who has which packet buffer.

use nook_abi::{Fault, Owner, PacketStatus, PoolLayout, Queue, QueueEntry, item_flags, meta_flags, rx_checksum};

/// One buffer.
#[derive(Clone, Copy)]
struct Slot {
    owner: Owner,
    generation: u16,
    /// When it was given to the driver, for frames to be sent.
    given_ns: u64,
}

impl Slot {
    /// It is the host's again, and who returns it another time has another generation.
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
}

impl Packets {
    /// The first `rx_count` buffers are for receiving, the others for sending.
    pub(crate) fn new(layout: PoolLayout, rx_count: u32) -> Self {
        let mut packets = Packets {
            layout,
            slots: vec![Slot { owner: Owner::Host, generation: 0, given_ns: 0 }; layout.count as usize],
            free_rx: Vec::with_capacity(rx_count as usize),
            free_tx: Vec::with_capacity((layout.count - rx_count) as usize),
            rx_count,
        };
        packets.reclaim();
        packets
    }

    /// The driver is gone: everything is the host's again, under new generations.
    pub(crate) fn reclaim(&mut self) {
        for slot in &mut self.slots {
            if slot.owner != Owner::Host {
                slot.come_back();
            }
        }
        self.free_rx.clear();
        self.free_tx.clear();
        // Taken from the end: low ids first, which keeps the working set small.
        self.free_rx.extend((0..self.rx_count).rev());
        self.free_tx.extend((self.rx_count..self.layout.count).rev());
    }

    /// Where a buffer's frame begins in the window.
    #[inline]
    pub(crate) fn frame_offset(&self, id: u32) -> u64 {
        u64::from(self.layout.offset)
            + u64::from(id) * u64::from(self.layout.stride_bytes)
            + u64::from(self.layout.headroom_bytes)
    }

    /// Bytes for a frame in each buffer.
    pub(crate) fn room_bytes(&self) -> u32 {
        self.layout.room_bytes
    }

    /// Transmit buffers that the host has.
    pub(crate) fn free_tx(&self) -> usize {
        self.free_tx.len()
    }

    /// Whether the driver has less than a quarter of the receive buffers.
    pub(crate) fn rx_is_nearly_all_free(&self) -> bool {
        (self.rx_count as usize - self.free_rx.len()) * 4 < self.rx_count as usize
    }

    /// A buffer that the next frame to send can go into. It stays the host's until [`give`](Self::give).
    #[inline]
    pub(crate) fn peek_tx(&self) -> Option<u32> {
        self.free_tx.last().copied()
    }

    /// Gives the driver a receive buffer or the buffer that [`peek_tx`](Self::peek_tx) named: its id and generation.
    #[inline]
    pub(crate) fn give(&mut self, queue: Queue, now_ns: u64) -> Option<(u32, u16)> {
        let free = if queue == Queue::RxProvide { &mut self.free_rx } else { &mut self.free_tx };
        let id = free.pop()?;
        let slot = &mut self.slots[id as usize];
        slot.owner = Owner::Driver(queue);
        slot.given_ns = now_ns;
        Some((id, slot.generation))
    }

    /// Checks an entry that the driver put into `queue` (`rx_return` or `tx_return`); the buffer stays the driver's
    /// until [`take`](Self::take).
    pub(crate) fn check(&self, queue: Queue, entry: &QueueEntry) -> Result<PacketStatus, Fault> {
        let item = &entry.item;
        let malformed = |field, value: u64, rule| Fault::PacketMalformed { queue, id: item.id, field, value, rule };
        let Some(slot) = self.slots.get(item.id as usize) else {
            return Err(malformed("id", item.id.into(), "no such packet"));
        };
        let given_through = if queue == Queue::RxReturn { Queue::RxProvide } else { Queue::TxProvide };
        if slot.owner != Owner::Driver(given_through) {
            return Err(Fault::PacketNotOwned { queue, id: item.id, owner: slot.owner });
        }
        if slot.generation != item.generation {
            return Err(malformed("generation", item.generation.into(), "not the one that it was given with"));
        }
        let Some(status) = PacketStatus::from_u16(item.status) else {
            return Err(malformed("status", item.status.into(), "no such status"));
        };
        if item.flags & !item_flags::ALL != 0 {
            return Err(malformed("flags", item.flags.into(), "unknown bits are set"));
        }
        if item.queue != 0 {
            return Err(malformed("queue", item.queue.into(), "the device has one queue pair"));
        }
        if item.deadline_ms != 0 {
            return Err(malformed("deadline_ms", item.deadline_ms.into(), "must be zero when returned"));
        }
        if entry.net.reserved != 0 {
            return Err(malformed("net.reserved", entry.net.reserved.into(), "must be zero"));
        }
        if queue == Queue::RxReturn {
            if item.len_bytes > self.layout.room_bytes {
                return Err(malformed("len_bytes", item.len_bytes.into(), "longer than the buffer"));
            }
            let net = &entry.net;
            if net.flags & !meta_flags::VLAN != 0 {
                return Err(malformed("net.flags", net.flags.into(), "reserved or transmit bits are set"));
            }
            if net.rx_checksum > rx_checksum::BAD {
                return Err(malformed("net.rx_checksum", net.rx_checksum.into(), "no such state"));
            }
        }
        Ok(status)
    }

    /// The buffer of a checked entry is not the driver's any more, but its frame still waits to be delivered: it can
    /// neither be returned again nor given out before [`take`](Self::take).
    #[inline]
    pub(crate) fn hold(&mut self, id: u32) {
        self.slots[id as usize].owner = Owner::Host;
    }

    /// The buffer of a checked entry becomes the host's again.
    #[inline]
    pub(crate) fn take(&mut self, id: u32) {
        self.slots[id as usize].come_back();
        if id < self.rx_count { self.free_rx.push(id) } else { self.free_tx.push(id) }
    }

    /// How many frames that were given to be sent before `given_before_ns` the driver still has.
    pub(crate) fn overdue_tx(&self, given_before_ns: u64) -> usize {
        let given = |slot: &&Slot| slot.owner == Owner::Driver(Queue::TxProvide) && slot.given_ns < given_before_ns;
        self.slots[self.rx_count as usize..].iter().filter(given).count()
    }

    /// How many buffers the driver has.
    pub(crate) fn with_driver(&self) -> usize {
        self.slots.iter().filter(|slot| slot.owner != Owner::Host).count()
    }
}
