//! The queues of an interface, and the packets in them.

use nook_abi::net::{NetFault, PacketStatus, PoolLayout, Queue, QueueEntry, entry_flags};
use nook_abi::{Fault, QUEUE_CAPACITY};
use nook_bus::{DmaWindow, VolatileSlice};
use nook_net_api::NetBackend;

use super::NetCounters;
use super::packets::{FrameInfo, Packets};
use super::ring::{HostConsumer, HostProducer};
use crate::Space;

/// Ethernet header: two addresses and a type.
const ETHERNET_HEADER_BYTES: u32 = 14;

/// The host's ends of the four queues.
pub(super) struct Rings {
    pub(super) rx_provide: HostProducer,
    pub(super) rx_return: HostConsumer,
    pub(super) tx_provide: HostProducer,
    pub(super) tx_return: HostConsumer,
}

/// What the driver returned, checked: `len_bytes` is that of a received frame.
pub(super) struct Returned {
    queue: Queue,
    id: u32,
    status: PacketStatus,
    len_bytes: u32,
}

/// What passes between host and driver in one nook.
pub(crate) struct Traffic {
    window: DmaWindow,
    pub(super) packets: Packets,
    pub(super) rings: Option<Rings>,
    /// What was rolled back and checked, and is not accepted yet.
    pub(super) returned: Vec<Returned>,
    /// Which buffer the driver got at which place of `tx_provide`.
    tx_ids: [u32; QUEUE_CAPACITY as usize],
    /// Buffers whose frames the next instance is given first, oldest first.
    kept: Vec<u32>,
    /// Whether frames that an instance had when it ended, perhaps sent already, are among them.
    pub(crate) resubmits: bool,
    /// Batches of packets that changed hands.
    pub(super) moves: u64,
}

impl Traffic {
    pub(crate) fn new(window: DmaWindow, pool: PoolLayout, rx_count: u32) -> Self {
        Traffic {
            window,
            packets: Packets::new(pool, rx_count),
            rings: None,
            returned: Vec::with_capacity(2 * QUEUE_CAPACITY as usize),
            tx_ids: [0; QUEUE_CAPACITY as usize],
            kept: Vec::new(),
            resubmits: true,
            moves: 0,
        }
    }

    /// Begins a new driver instance with empty queues and no packet.
    pub(crate) fn begin(&mut self, space: Option<&Space>) {
        self.rings = space.map(|space| Rings {
            rx_provide: space.producer(Queue::RxProvide),
            rx_return: space.consumer(Queue::RxReturn),
            tx_provide: space.producer(Queue::TxProvide),
            tx_return: space.consumer(Queue::TxReturn),
        });
    }

    /// Ends the driver instance: its queues must not be touched any more, its packets are the host's. Frames that
    /// were to be sent are kept for the next instance, but one that a second instance took in vain is given up: it may
    /// be what ends them. Says how many were given up.
    pub(crate) fn end(&mut self) -> u64 {
        let given_up = self.reclaim(true);
        self.rings = None;
        given_up
    }

    /// Returns every packet to the host. Frames that were to be sent are kept to be given again, those that the
    /// driver had taken at its end only once; unless they are given up because they may have been sent. Says how many
    /// were.
    pub(super) fn reclaim(&mut self, at_its_end: bool) -> u64 {
        self.disregard();
        let waiting = self.rings.as_ref().map_or(0, |rings| rings.tx_provide.waiting() as usize);
        let mut given = self.packets.sending();
        let count = given.len();
        if self.resubmits {
            let waiting = given.split_off(count.saturating_sub(waiting));
            given.retain(|&id| !at_its_end || self.packets.ended_with(id));
            given.extend(waiting);
        } else {
            // The call that ended may have sent what it had not said to have taken.
            given.clear();
        }
        let given_up = count - given.len();
        // What this instance was not given is younger.
        given.append(&mut self.kept);
        self.kept = given;
        self.packets.reclaim(&self.kept);
        given_up as u64
    }

    /// Returns how many buffers the driver has; what still waits in a queue to it does not count.
    ///
    /// # Errors
    /// If a queue's counter makes no sense.
    pub(crate) fn packets_with_driver(&mut self) -> Result<usize, Fault> {
        let Some(rings) = &mut self.rings else { return Ok(self.packets.with_driver()) };
        rings.rx_provide.sync(Queue::RxProvide.name())?;
        rings.tx_provide.sync(Queue::TxProvide.name())?;
        let waiting = rings.rx_provide.waiting() + rings.tx_provide.waiting();
        Ok(self.packets.with_driver().saturating_sub(waiting as usize))
    }

    /// Returns how many frames that were given to be sent before `given_before_ns` the driver still has.
    pub(crate) fn overdue_tx(&self, given_before_ns: u64) -> u32 {
        self.packets.overdue_tx(given_before_ns) as u32
    }

    /// Returns whether another frame could be taken from the interface.
    #[inline]
    pub(crate) fn has_tx_room(&self) -> bool {
        self.packets.free_tx() > 0 && self.rings.as_ref().is_some_and(|rings| rings.tx_provide.room() > 0)
    }

    /// Returns whether the driver has next to nothing to receive into while the host could give it more: it took all
    /// that was provided and gave nearly all of it back, and its device, without a buffer, may never interrupt again.
    pub(crate) fn rx_runs_dry(&mut self) -> Result<bool, Fault> {
        let Some(rings) = &mut self.rings else { return Ok(false) };
        rings.rx_provide.sync(Queue::RxProvide.name())?;
        Ok(rings.rx_provide.waiting() == 0 && self.packets.rx_is_nearly_all_free())
    }

    /// Gives the driver every receive buffer that the host has and the queue has room for.
    pub(crate) fn provide_rx(&mut self) -> Result<(), Fault> {
        let Some(rings) = &mut self.rings else { return Ok(()) };
        rings.rx_provide.sync(Queue::RxProvide.name())?;
        let room_bytes = self.packets.room_bytes();
        let mut provided = false;
        while rings.rx_provide.room() > 0 {
            let Some((id, generation)) = self.packets.give_rx() else { break };
            let entry = QueueEntry { id, generation, len_bytes: room_bytes, ..QueueEntry::default() };
            rings.rx_provide.push(&entry);
            provided = true;
        }
        if provided {
            self.moves += 1;
            rings.rx_provide.publish();
        }
        Ok(())
    }

    /// Gives the driver frames to be sent: those that were kept for it, then new ones, which go from the interface
    /// straight into transmit buffers. Says how many.
    pub(crate) fn provide_tx(
        &mut self,
        backend: &mut impl NetBackend,
        counters: &mut NetCounters,
        now_ns: u64,
    ) -> Result<std::io::Result<u32>, Fault> {
        let Some(rings) = &mut self.rings else { return Ok(Ok(0)) };
        rings.tx_provide.sync(Queue::TxProvide.name())?;
        let room_bytes = self.packets.room_bytes() as usize;
        let window = self.window.slice();
        let before = rings.tx_provide.produced();
        let again = self.kept.len().min(rings.tx_provide.room() as usize);
        for id in self.kept.drain(..again) {
            let generation = self.packets.give_tx_again(id, now_ns);
            push_tx(rings, &mut self.tx_ids, id, generation, self.packets.frame_in(id));
        }
        let mut outcome = Ok(());
        while rings.tx_provide.room() > 0 {
            let Some(id) = self.packets.peek_tx() else { break };
            let buffer = frame(&window, self.packets.frame_offset(id), room_bytes);
            let len_bytes = match backend.fetch(buffer) {
                Ok(Some(len)) => len.min(room_bytes) as u32,
                Ok(None) => break,
                Err(error) => {
                    outcome = Err(error);
                    break;
                }
            };
            let frame = FrameInfo { len_bytes };
            let generation = self.packets.give_tx(frame, now_ns);
            push_tx(rings, &mut self.tx_ids, id, generation, frame);
            counters.tx_packets += 1;
            counters.tx_bytes += u64::from(len_bytes);
        }
        let provided = rings.tx_provide.produced().wrapping_sub(before);
        if provided > 0 {
            self.moves += 1;
            rings.tx_provide.publish();
        }
        Ok(outcome.map(|()| provided))
    }

    /// Rolls back the frames to be sent that the driver has not taken yet; they will be given again, in order.
    pub(crate) fn withhold_tx(&mut self) -> Result<(), Fault> {
        let Some(rings) = &mut self.rings else { return Ok(()) };
        rings.tx_provide.sync(Queue::TxProvide.name())?;
        let (waiting, end) = (rings.tx_provide.waiting(), rings.tx_provide.produced());
        let ids = (0..waiting).map(|at| self.tx_ids[(end.wrapping_sub(waiting - at) % QUEUE_CAPACITY) as usize]);
        let ids: Vec<u32> = ids.collect();
        rings.tx_provide.retract(waiting);
        ids.iter().for_each(|&id| self.packets.hold(id));
        self.kept.splice(0..0, ids);
        Ok(())
    }

    /// Gives up the oldest frame that was withheld. Says whether there was one.
    pub(crate) fn drop_withheld_tx(&mut self) -> bool {
        let dropped = (!self.kept.is_empty()).then(|| self.kept.remove(0));
        dropped.map(|id| self.packets.take(id)).is_some()
    }

    /// Rolls back what the driver returned, after checking every entry. Nothing counts before
    /// [`accept`](Self::accept); after a fault, everything is as it was.
    pub(crate) fn check(&mut self) -> Result<(), Fault> {
        let outcome = self.check_ring(Queue::RxReturn).and_then(|()| self.check_ring(Queue::TxReturn));
        let outcome = outcome.and_then(|()| self.look_at_provided());
        if outcome.is_err() {
            self.disregard();
        }
        outcome
    }

    /// Returns what the driver says that it took: wrong counters are found while the call that wrote them can be rolled
    /// back.
    fn look_at_provided(&self) -> Result<(), Fault> {
        let Some(rings) = &self.rings else { return Ok(()) };
        rings.rx_provide.look(Queue::RxProvide.name())?;
        rings.tx_provide.look(Queue::TxProvide.name())?;
        Ok(())
    }

    fn check_ring(&mut self, queue: Queue) -> Result<(), Fault> {
        let Some(rings) = &mut self.rings else { return Ok(()) };
        let ring = if queue == Queue::RxReturn { &mut rings.rx_return } else { &mut rings.tx_return };
        for _ in 0..ring.available(queue.name())? {
            let entry = ring.pop();
            let checked = self.packets.check(queue, &entry).and_then(|status| {
                if queue == Queue::RxReturn && status == PacketStatus::Done {
                    check_whole_frame(&entry)?;
                }
                Ok(status)
            });
            match checked {
                Ok(status) => {
                    let QueueEntry { id, len_bytes, .. } = entry;
                    self.packets.hold(id);
                    self.returned.push(Returned { queue, id, status, len_bytes });
                }
                Err(fault) => {
                    ring.rewind(1);
                    return Err(fault);
                }
            }
        }
        Ok(())
    }

    /// Drops what was checked and not accepted: it counts as not returned.
    pub(crate) fn disregard(&mut self) {
        for Returned { queue, id, .. } in self.returned.drain(..) {
            self.packets.unhold(id);
            if let Some(rings) = &mut self.rings {
                let ring = if queue == Queue::RxReturn { &mut rings.rx_return } else { &mut rings.tx_return };
                ring.rewind(1);
            }
        }
    }

    /// Accepts what was checked: received frames go to the interface, and all buffers are the host's again.
    pub(crate) fn accept(&mut self, backend: &mut impl NetBackend, counters: &mut NetCounters) -> std::io::Result<()> {
        if self.returned.is_empty() {
            return Ok(());
        }
        self.moves += 1;
        if let Some(rings) = &mut self.rings {
            rings.rx_return.publish();
            rings.tx_return.publish();
        }
        let window = self.window.slice();
        let (mut outcome, mut handed_up) = (Ok(()), 0);
        for Returned { queue, id, status, len_bytes } in self.returned.drain(..) {
            match (queue, status) {
                (Queue::RxReturn, PacketStatus::Done) if outcome.is_ok() => {
                    match backend.deliver(frame(&window, self.packets.frame_offset(id), len_bytes as usize)) {
                        Ok(true) => {
                            handed_up += 1;
                            counters.rx_bytes += u64::from(len_bytes);
                        }
                        Ok(false) => counters.rx_no_room += 1,
                        Err(error) => outcome = Err(error),
                    }
                }
                (Queue::RxReturn, PacketStatus::Failed) => counters.rx_failed += 1,
                (Queue::RxReturn, PacketStatus::Dropped) => counters.rx_dropped += 1,
                (Queue::RxReturn, _) => {}
                (_, PacketStatus::Done) => counters.tx_done += 1,
                (_, PacketStatus::Dropped) => counters.tx_dropped += 1,
                (_, PacketStatus::Failed | PacketStatus::Unused) => counters.tx_failed += 1,
            }
            self.packets.take(id);
        }
        outcome?;
        if handed_up > 0 {
            // What the other side has confirmed counts, and no sooner.
            let no_room = u64::from(backend.flush()?).min(handed_up);
            counters.rx_packets += handed_up - no_room;
            counters.rx_no_room += no_room;
        }
        Ok(())
    }
}

/// Puts a frame to be sent into its ring.
#[inline]
fn push_tx(rings: &mut Rings, ids: &mut [u32; QUEUE_CAPACITY as usize], id: u32, generation: u16, frame: FrameInfo) {
    ids[(rings.tx_provide.produced() % QUEUE_CAPACITY) as usize] = id;
    let flags = entry_flags::FIRST | entry_flags::LAST;
    rings.tx_provide.push(&QueueEntry { id, generation, flags, len_bytes: frame.len_bytes, ..QueueEntry::default() });
}

/// Returns the part of a packet buffer that holds its frame.
#[inline]
fn frame<'a>(window: &VolatileSlice<'a>, offset: u64, len: usize) -> VolatileSlice<'a> {
    // The pool lies inside the window by the layout, and ids and lengths were checked against it.
    window.subslice(offset as usize, len).expect("packet buffers lie inside the window")
}

/// Checks that a received frame is whole, in one buffer (in this ABI version), and long enough to be a frame.
fn check_whole_frame(entry: &QueueEntry) -> Result<(), Fault> {
    let malformed = |field, value, rule| {
        Fault::from(NetFault::PacketMalformed { queue: Queue::RxReturn, id: entry.id, field, value, rule })
    };
    if entry.flags != entry_flags::FIRST | entry_flags::LAST {
        return Err(malformed("flags", entry.flags.into(), "a received frame is in one buffer: first and last"));
    }
    if entry.len_bytes < ETHERNET_HEADER_BYTES {
        return Err(malformed("len_bytes", entry.len_bytes.into(), "shorter than an Ethernet header"));
    }
    Ok(())
}

#[cfg(test)]
#[expect(unsafe_code, reason = "a ring that another thread writes at the same time")]
mod tests {
    use std::sync::atomic::{AtomicBool, Ordering};

    use super::*;
    use crate::RegionAddrs;
    use nook_abi::ClassFault;
    use nook_abi::net::RING_BYTES;
    use nook_abi::{HOST_PAGE_BYTES, QUEUE_CAPACITY};

    /// An interface that looks at what it is given.
    #[derive(Default)]
    struct Looks(usize);

    impl NetBackend for Looks {
        fn deliver(&mut self, frame: VolatileSlice<'_>) -> std::io::Result<bool> {
            assert!((14..=2048).contains(&frame.len()), "a frame of {} bytes", frame.len());
            self.0 += 1;
            Ok(true)
        }
        fn fetch(&mut self, _: VolatileSlice<'_>) -> std::io::Result<Option<usize>> {
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
        let places = RegionAddrs { heap: 0, host_page: 0, rings: [place(0), place(1), place(2), place(3)], window: 0 };
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
        let memory = Memory(entries, QUEUE_CAPACITY as usize * 2);
        let (memory, done) = (&memory, &done);
        std::thread::scope(|scope| {
            // Lengths that are right and wrong, flags, states and reserved bits, everywhere, all the time.
            scope.spawn(move || {
                let mut value = 1u64;
                while !done.load(Ordering::Relaxed) {
                    for index in (0..memory.1).filter(|index| index % 2 == 1) {
                        value = value.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
                        let len = if value >> 62 == 0 { u64::MAX } else { 60 };
                        // SAFETY: inside the ring.
                        unsafe { memory.0.add(index).write_volatile(len & 0xffff_ffff) };
                    }
                }
            });
            let mut looks = Looks::default();
            let (mut taken, mut faults) = (0, 0);
            for round in 0..2000u32 {
                let mut net = Traffic::new(window.clone(), pool, 512);
                net.begin(Some(&space));
                net.provide_rx().unwrap();
                for id in 0..64u32 {
                    let flags = u64::from(entry_flags::FIRST | entry_flags::LAST) << 48;
                    // SAFETY: inside the ring; id, generation 0 and flags of entry `id`.
                    unsafe { memory.0.add(id as usize * 2).write_volatile(u64::from(id) | flags) };
                }
                // SAFETY: the ring's header.
                unsafe { base.wrapping_add(place(1) as usize).cast::<u32>().write_volatile(1 + round % 64) };
                let mut counters = NetCounters::default();
                match net.check() {
                    Ok(()) => {
                        net.accept(&mut looks, &mut counters).unwrap();
                        taken += 1;
                    }
                    Err(Fault::Class(ClassFault::Net(NetFault::PacketMalformed { field: "len_bytes", .. }))) => {
                        faults += 1
                    }
                    Err(other) => panic!("{other}"),
                }
            }
            done.store(true, Ordering::Relaxed);
            assert!(taken + faults == 2000 && faults > 0);
        });
    }
}
