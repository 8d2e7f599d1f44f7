//! The network class: the interface that a driver attached, its queues, and the packets in them.

use nook_abi::{Fault, Item, LinkState, NetMeta, PacketStatus, PoolLayout, Queue, QueueEntry, item_flags};
use nook_bus::{DmaWindow, VolatileSlice};

use crate::packets::Packets;
use crate::ring::{HostConsumer, HostProducer};
use crate::{Counters, Space, Uplink};

/// Ethernet header: two addresses and a type.
const ETHERNET_HEADER_BYTES: u32 = 14;

/// The network interface as the driver described it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Interface {
    /// Its address, first byte on the wire first.
    pub mac: [u8; 6],
    /// The largest payload that the device can carry, without the Ethernet header.
    pub max_mtu_bytes: u32,
    /// The link, as last reported.
    pub link: LinkState,
}

/// The host's ends of the four queues.
struct Rings {
    rx_provide: HostProducer,
    rx_return: HostConsumer,
    tx_provide: HostProducer,
    tx_return: HostConsumer,
}

/// A received frame that was checked and is to be handed to the interface.
struct Received {
    id: u32,
    len_bytes: u32,
    meta: NetMeta,
}

/// Everything of the network class in one nook.
pub(crate) struct NetClass {
    window: DmaWindow,
    packets: Packets,
    rings: Option<Rings>,
    pub(crate) interface: Option<Interface>,
    received: Vec<Received>,
}

impl NetClass {
    pub(crate) fn new(window: DmaWindow, pool: PoolLayout, rx_count: u32) -> Self {
        NetClass {
            window,
            packets: Packets::new(pool, rx_count),
            rings: None,
            interface: None,
            received: Vec::with_capacity(nook_abi::QUEUE_CAPACITY as usize),
        }
    }

    /// A new driver instance begins with empty queues, no interface, and no packet.
    pub(crate) fn begin(&mut self, space: &Space) {
        self.packets.reclaim();
        self.interface = None;
        self.received.clear();
        self.rings = Some(Rings {
            rx_provide: space.producer(Queue::RxProvide),
            rx_return: space.consumer(Queue::RxReturn),
            tx_provide: space.producer(Queue::TxProvide),
            tx_return: space.consumer(Queue::TxReturn),
        });
    }

    /// The driver instance is gone: its queues must not be touched any more, its packets are the host's.
    pub(crate) fn end(&mut self) {
        self.rings = None;
        self.packets.reclaim();
        self.received.clear();
        if let Some(interface) = &mut self.interface {
            interface.link = LinkState::default();
        }
    }

    pub(crate) fn set_link(&mut self, link: LinkState) {
        if let Some(interface) = &mut self.interface {
            interface.link = link;
        }
    }

    /// How many buffers the driver has; what still waits in a queue to it does not count.
    ///
    /// # Errors
    /// If a queue's counter makes no sense.
    pub(crate) fn packets_with_driver(&mut self) -> Result<usize, Fault> {
        let Some(rings) = &mut self.rings else { return Ok(self.packets.with_driver()) };
        rings.rx_provide.sync(Queue::RxProvide)?;
        rings.tx_provide.sync(Queue::TxProvide)?;
        let waiting = rings.rx_provide.waiting() + rings.tx_provide.waiting();
        Ok(self.packets.with_driver().saturating_sub(waiting as usize))
    }

    /// How many frames that were given to be sent before `given_before_ns` the driver still has.
    pub(crate) fn overdue_tx(&self, given_before_ns: u64) -> u32 {
        self.packets.overdue_tx(given_before_ns) as u32
    }

    /// Whether another frame could be taken from the interface.
    #[inline]
    pub(crate) fn has_tx_room(&self) -> bool {
        self.packets.free_tx() > 0 && self.rings.as_ref().is_some_and(|rings| rings.tx_provide.room() > 0)
    }

    /// Whether the driver has next to nothing to receive into while the host could give it more: it took all that was
    /// provided and gave nearly all of it back, and its device, without a buffer, may never interrupt again.
    pub(crate) fn rx_runs_dry(&mut self) -> Result<bool, Fault> {
        let Some(rings) = &mut self.rings else { return Ok(false) };
        rings.rx_provide.sync(Queue::RxProvide)?;
        Ok(rings.rx_provide.waiting() == 0 && self.packets.rx_is_nearly_all_free())
    }

    /// Gives the driver every receive buffer that the host has and the queue has room for.
    pub(crate) fn provide_rx(&mut self) -> Result<(), Fault> {
        let Some(rings) = &mut self.rings else { return Ok(()) };
        rings.rx_provide.sync(Queue::RxProvide)?;
        let room_bytes = self.packets.room_bytes();
        let mut provided = false;
        while rings.rx_provide.room() > 0 {
            let Some((id, generation)) = self.packets.give(Queue::RxProvide, 0) else { break };
            let item = Item { id, generation, len_bytes: room_bytes, ..Item::default() };
            rings.rx_provide.push(&QueueEntry { item, net: NetMeta::default() });
            provided = true;
        }
        if provided {
            rings.rx_provide.publish();
        }
        Ok(())
    }

    /// Takes frames from the interface, straight into transmit buffers, and gives them to the driver. Says how many.
    pub(crate) fn provide_tx(
        &mut self,
        uplink: &mut impl Uplink,
        counters: &mut Counters,
        now_ns: u64,
    ) -> Result<std::io::Result<u32>, Fault> {
        let Some(rings) = &mut self.rings else { return Ok(Ok(0)) };
        rings.tx_provide.sync(Queue::TxProvide)?;
        let room_bytes = self.packets.room_bytes() as usize;
        let window = self.window.slice();
        let mut provided = 0;
        while rings.tx_provide.room() > 0 {
            let Some(id) = self.packets.peek_tx() else { break };
            let buffer = frame(&window, self.packets.frame_offset(id), room_bytes);
            let (len, net) = match uplink.down(buffer) {
                Ok(Some((len, meta))) => (len.min(room_bytes) as u32, meta),
                Ok(None) => break,
                Err(error) => return Ok(Err(error)),
            };
            let Some((id, generation)) = self.packets.give(Queue::TxProvide, now_ns) else { break };
            let flags = item_flags::FIRST | item_flags::LAST;
            let item = Item { id, generation, flags, len_bytes: len, ..Item::default() };
            rings.tx_provide.push(&QueueEntry { item, net });
            counters.tx_packets += 1;
            counters.tx_bytes += u64::from(len);
            provided += 1;
        }
        if provided > 0 {
            rings.tx_provide.publish();
        }
        Ok(Ok(provided))
    }

    /// Takes back what the driver returned, after checking every entry. Nothing is handed on before
    /// [`deliver`](Self::deliver).
    pub(crate) fn collect(&mut self, counters: &mut Counters) -> Result<(), Fault> {
        let Some(rings) = &mut self.rings else { return Ok(()) };
        let returned = rings.rx_return.available(Queue::RxReturn)?;
        for _ in 0..returned {
            let entry = rings.rx_return.pop();
            let status = self.packets.check(Queue::RxReturn, &entry)?;
            match status {
                PacketStatus::Done => {
                    check_whole_frame(&entry)?;
                    // The buffer stays the driver's until it was delivered.
                    self.received.push(Received {
                        id: entry.item.id,
                        len_bytes: entry.item.len_bytes,
                        meta: entry.net,
                    });
                    self.packets.hold(entry.item.id);
                }
                PacketStatus::Failed => {
                    counters.rx_failed += 1;
                    self.packets.take(entry.item.id);
                }
                PacketStatus::Unused => self.packets.take(entry.item.id),
            }
        }
        if returned > 0 {
            rings.rx_return.publish();
        }
        let returned = rings.tx_return.available(Queue::TxReturn)?;
        for _ in 0..returned {
            let entry = rings.tx_return.pop();
            match self.packets.check(Queue::TxReturn, &entry)? {
                PacketStatus::Done => counters.tx_done += 1,
                PacketStatus::Failed | PacketStatus::Unused => counters.tx_failed += 1,
            }
            self.packets.take(entry.item.id);
        }
        if returned > 0 {
            rings.tx_return.publish();
        }
        Ok(())
    }

    /// Hands the received frames to the interface and gets their buffers back.
    pub(crate) fn deliver(&mut self, uplink: &mut impl Uplink, counters: &mut Counters) -> std::io::Result<()> {
        if self.received.is_empty() {
            return Ok(());
        }
        let window = self.window.slice();
        let mut outcome = Ok(());
        for Received { id, len_bytes, meta } in self.received.drain(..) {
            if outcome.is_ok() {
                match uplink.up(frame(&window, self.packets.frame_offset(id), len_bytes as usize), &meta) {
                    Ok(true) => {
                        counters.rx_packets += 1;
                        counters.rx_bytes += u64::from(len_bytes);
                    }
                    Ok(false) => counters.rx_no_room += 1,
                    Err(error) => outcome = Err(error),
                }
            }
            self.packets.take(id);
        }
        outcome.and_then(|()| uplink.flush())
    }
}

/// The part of a packet buffer that holds its frame.
#[inline]
fn frame<'a>(window: &VolatileSlice<'a>, offset: u64, len: usize) -> VolatileSlice<'a> {
    // The pool lies inside the window by the layout, and ids and lengths were checked against it.
    window.subslice(offset as usize, len).expect("packet buffers lie inside of the window")
}

/// A received frame is whole and in one buffer in this ABI version, and long enough to be a frame.
fn check_whole_frame(entry: &QueueEntry) -> Result<(), Fault> {
    let malformed =
        |field, value, rule| Fault::PacketMalformed { queue: Queue::RxReturn, id: entry.item.id, field, value, rule };
    if entry.item.flags != item_flags::FIRST | item_flags::LAST {
        return Err(malformed("flags", entry.item.flags.into(), "a received frame is in one buffer: first and last"));
    }
    if entry.item.len_bytes < ETHERNET_HEADER_BYTES {
        return Err(malformed("len_bytes", entry.item.len_bytes.into(), "shorter than an Ethernet header"));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicBool, Ordering};

    use super::*;
    use crate::Places;
    use nook_abi::{HOST_PAGE_BYTES, QUEUE_CAPACITY, RING_BYTES};

    /// An interface that looks at what it is given.
    #[derive(Default)]
    struct Looks(usize);

    impl Uplink for Looks {
        fn up(&mut self, frame: VolatileSlice<'_>, _: &NetMeta) -> std::io::Result<bool> {
            assert!((14..=2048).contains(&frame.len()), "a frame of {} bytes", frame.len());
            self.0 += 1;
            Ok(true)
        }
        fn down(&mut self, _: VolatileSlice<'_>) -> std::io::Result<Option<(usize, NetMeta)>> {
            Ok(None)
        }
        fn link(&mut self, _: bool) -> std::io::Result<()> {
            Ok(())
        }
        fn set_mac(&mut self, _: [u8; 6]) -> std::io::Result<()> {
            Ok(())
        }
    }

    /// Memory that another thread writes to while the host reads it.
    struct Memory(*mut u64, usize);

    // SAFETY: only volatile accesses are made to it.
    unsafe impl Sync for Memory {}

    #[test]
    fn what_changes_between_check_and_use_is_used_as_it_was_checked() {
        let ring = RING_BYTES.next_multiple_of(64);
        let mut words = vec![0u64; (HOST_PAGE_BYTES + 4 * ring) / 8 + 8];
        let at = words.as_mut_ptr().cast::<u8>();
        let base = at.wrapping_add(at.align_offset(64));
        let place = |index: usize| (HOST_PAGE_BYTES + index * ring) as u64;
        let places = Places { heap: 0, host_page: 0, rings: [place(0), place(1), place(2), place(3)], window: 0 };
        let len = HOST_PAGE_BYTES + 4 * ring;
        // SAFETY: the vector lives to the end of the test, and is accessed through the space and the thread only.
        let space = unsafe { Space::new(base, len as u64, places) };
        let window = DmaWindow::new(4 << 20).unwrap();
        let pool = PoolLayout {
            offset: 4096,
            count: 1024,
            stride_bytes: 2112,
            headroom_bytes: 64,
            room_bytes: 2048,
            reserved: 0,
        };
        let done = AtomicBool::new(false);
        let entries = base.wrapping_add(place(1) as usize + 64).cast::<u64>();
        let memory = Memory(entries, QUEUE_CAPACITY as usize * 4);
        let (memory, done) = (&memory, &done);
        std::thread::scope(|scope| {
            // Lengths that are right and wrong, flags, states and reserved bits, everywhere, all the time.
            scope.spawn(move || {
                let mut value = 1u64;
                while !done.load(Ordering::Relaxed) {
                    for index in (0..memory.1).filter(|index| index % 4 == 1) {
                        value = value.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
                        let len = if value >> 62 == 0 { u64::MAX } else { 60 };
                        // SAFETY: inside of the ring.
                        unsafe { memory.0.add(index).write_volatile(len & 0xffff_ffff) };
                    }
                }
            });
            let mut looks = Looks::default();
            let (mut taken, mut faults) = (0, 0);
            for round in 0..2000u32 {
                let mut net = NetClass::new(window.clone(), pool, 512);
                net.begin(&space);
                net.provide_rx().unwrap();
                for id in 0..64u32 {
                    let flags = u64::from(item_flags::FIRST | item_flags::LAST) << 56;
                    // SAFETY: inside of the ring; id, generation 0 and flags of entry `id`.
                    unsafe { memory.0.add(id as usize * 4).write_volatile(u64::from(id) | flags) };
                }
                // SAFETY: the ring's header.
                unsafe { base.wrapping_add(place(1) as usize).cast::<u32>().write_volatile(1 + round % 64) };
                let mut counters = Counters::default();
                match net.collect(&mut counters) {
                    Ok(()) => {
                        net.deliver(&mut looks, &mut counters).unwrap();
                        taken += 1;
                    }
                    Err(Fault::PacketMalformed { field: "len_bytes", .. }) => faults += 1,
                    Err(other) => panic!("{other}"),
                }
            }
            done.store(true, Ordering::Relaxed);
            assert!(taken + faults == 2000 && faults > 0);
        });
    }
}
