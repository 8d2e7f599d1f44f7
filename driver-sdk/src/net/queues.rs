//! The four packet queues between host and driver.
//!
//! Host and driver use a ring on the same thread, never at the same time, so its counters and entries need no
//! atomics: an entry call is a barrier. A batch loads the counters once and writes its own back once, when it ends.

use nook_abi::net::{
    EntryWords, NetPage, PacketStatus, PoolLayout, Queue, QueueEntry, RING_BYTES, Side, SideWords, entry_flags,
};
use nook_abi::{Addr, QUEUE_CAPACITY, RingHeader};

use crate::DmaBytes;
use crate::raw::{Page, QueueMemory, SideMemory, Span, Words};

/// A queue of entries as memory.
pub(crate) type Ring = QueueMemory<{ size_of::<EntryWords>() / size_of::<u64>() }>;

const _: () = assert!(Ring::LEN_BYTES == RING_BYTES);

/// Returns the memory of a queue.
pub(crate) fn ring(page: Page, queue: Queue) -> Ring {
    let addr = NetPage::from_words(&page.get().class).rings[queue as usize];
    // SAFETY: the code that made the `Page` vouched that its host keeps it filled in as documented, and a network
    // driver's has the addresses of its queues there.
    unsafe { Ring::new(addr as Addr) }
}

/// What stands beside the entries of a queue, as memory.
pub(crate) type Sides = SideMemory<{ size_of::<SideWords>() / size_of::<u64>() }>;

/// Returns the side array of `tx_provide`, if the host has one.
pub(crate) fn tx_sides(page: Page) -> Option<Sides> {
    let addr = NetPage::from_words(&page.get().class).sides[Queue::TxProvide as usize];
    // SAFETY: the code that made the `Page` vouched that its host keeps it filled in as documented, and a network
    // driver's has the address of the side array there, or 0.
    (addr != 0).then(|| unsafe { Sides::new(addr as Addr) })
}

/// The driver's ends of the four queues, and where the packets are.
pub struct NetQueues {
    /// Empty receive buffers come from here.
    pub rx_provide: ProvideQueue,
    /// Received frames, and buffers that were not used, go here.
    pub rx_return: ReturnQueue,
    /// Frames to send come from here.
    pub tx_provide: ProvideQueue,
    /// Frames that were sent, or not, go here.
    pub tx_return: ReturnQueue,
    /// Where the packets are.
    pub pool: Pool,
}

impl NetQueues {
    pub(crate) fn new(page: Page) -> Self {
        NetQueues {
            rx_provide: ProvideQueue { ring: ring(page, Queue::RxProvide), sides: None },
            rx_return: ReturnQueue(ring(page, Queue::RxReturn)),
            tx_provide: ProvideQueue { ring: ring(page, Queue::TxProvide), sides: tx_sides(page) },
            tx_return: ReturnQueue(ring(page, Queue::TxReturn)),
            pool: Pool::new(page),
        }
    }
}

/// The end of a queue from which the driver takes.
pub struct ProvideQueue {
    pub(super) ring: Ring,
    sides: Option<Sides>,
}

impl ProvideQueue {
    /// Begins a batch of taking.
    #[inline(always)]
    pub fn begin(&mut self) -> Provided<'_> {
        let RingHeader { produced, consumed } = self.ring.header();
        Provided { queue: self, at: consumed, end: produced }
    }
}

/// A batch of taking. What was not taken stays in the queue.
pub struct Provided<'a> {
    pub(super) queue: &'a mut ProvideQueue,
    pub(super) at: u32,
    end: u32,
}

impl Provided<'_> {
    /// Returns how many entries are left.
    #[inline(always)]
    pub fn left(&self) -> u32 {
        self.end.wrapping_sub(self.at)
    }

    /// Returns the packet that comes next, and leaves it there.
    #[inline(always)]
    pub(super) fn peek(&self) -> Option<Packet> {
        (self.at != self.end).then(|| Packet::from_words(self.queue.ring.get(self.at)))
    }

    /// Takes the packet that comes next, which is there.
    #[inline(always)]
    pub(super) fn skip_one(&mut self) {
        self.at = self.at.wrapping_add(1);
    }

    /// Returns how many entries the frame has that comes next, if there is one.
    pub fn frame_count(&self) -> Option<u32> {
        let is_last = |ahead: &u32| {
            let [first, _] = self.queue.ring.get(self.at.wrapping_add(*ahead));
            (first >> QueueEntry::FLAGS_SHIFT) as u16 & entry_flags::LAST != 0
        };
        (0..self.left()).find(is_last).map(|ahead| ahead + 1)
    }

    /// Returns what is to be done to the frame that comes next, if something is.
    pub fn side(&self) -> Option<Side> {
        if self.at == self.end {
            return None;
        }
        let [first, _] = self.queue.ring.get(self.at);
        let says = (first >> QueueEntry::FLAGS_SHIFT) as u16 & entry_flags::SIDE != 0;
        self.queue.sides.as_ref().filter(|_| says).map(|sides| Side::from_words(sides.get(self.at)))
    }
}

impl Iterator for Provided<'_> {
    type Item = QueueEntry;

    #[inline(always)]
    fn next(&mut self) -> Option<QueueEntry> {
        if self.at == self.end {
            return None;
        }
        let words = self.queue.ring.get(self.at);
        self.at = self.at.wrapping_add(1);
        Some(QueueEntry::from_words(words))
    }
}

impl Drop for Provided<'_> {
    #[inline(always)]
    fn drop(&mut self) {
        self.queue.ring.set_consumed(self.at);
    }
}

/// The end of a queue into which the driver puts.
pub struct ReturnQueue(pub(super) Ring);

impl ReturnQueue {
    /// Begins a batch of putting.
    #[inline(always)]
    pub fn begin(&mut self) -> Returning<'_> {
        let RingHeader { produced, consumed } = self.0.header();
        Returning { queue: self, at: produced, end: consumed.wrapping_add(QUEUE_CAPACITY) }
    }
}

/// A batch of putting.
pub struct Returning<'a> {
    pub(super) queue: &'a mut ReturnQueue,
    pub(super) at: u32,
    end: u32,
}

impl<'a> Returning<'a> {
    /// Returns the next place, if the queue has one.
    #[inline(always)]
    pub fn vacant(&mut self) -> Option<ReturnPlace<'_, 'a>> {
        (self.at != self.end).then_some(ReturnPlace(self))
    }

    /// Returns how many places the queue has.
    #[inline(always)]
    pub fn room(&self) -> u32 {
        self.end.wrapping_sub(self.at)
    }
}

impl Drop for Returning<'_> {
    #[inline(always)]
    fn drop(&mut self) {
        self.queue.0.set_produced(self.at);
    }
}

/// A place in a queue to the host; nothing happens if it is not used.
pub struct ReturnPlace<'r, 'a>(&'r mut Returning<'a>);

impl ReturnPlace<'_, '_> {
    /// Puts an entry there.
    #[inline(always)]
    pub fn put(self, entry: QueueEntry) {
        let ReturnPlace(batch) = self;
        // Not before the counter is written is there an entry, and a rollback puts the counter back.
        batch.queue.0.set_free(batch.at, entry.to_words());
        batch.at = batch.at.wrapping_add(1);
    }
}

/// What a driver keeps of a packet while the device has it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[repr(C)]
pub struct Packet {
    /// The entry's first word: which buffer, its generation and the flags, to be returned as they were given.
    first: u64,
    /// Payload in it, or room in it.
    pub len_bytes: u32,
    /// So that it is two words.
    zero: u32,
}

// SAFETY: a word and the halves of another one, in this order (`repr(C)`), aligned to the first.
unsafe impl Words<2> for Packet {
    #[inline(always)]
    fn words(self) -> [u64; 2] {
        [self.first, u64::from(self.len_bytes) | u64::from(self.zero) << 32]
    }
}

impl From<&QueueEntry> for Packet {
    #[inline(always)]
    fn from(entry: &QueueEntry) -> Self {
        Packet::from_words(entry.to_words())
    }
}

impl Packet {
    #[inline(always)]
    pub(super) fn from_words([first, second]: EntryWords) -> Self {
        Packet { first, len_bytes: second as u32, zero: 0 }
    }

    /// What is kept beside a descriptor that stands for no packet.
    pub const NONE: Packet = Packet { first: u64::MAX, len_bytes: 0, zero: 0 };

    /// Returns whether it is [`NONE`](Self::NONE).
    #[inline(always)]
    pub fn is_none(&self) -> bool {
        self.first == u64::MAX
    }

    /// Returns which packet buffer it is.
    #[inline(always)]
    pub fn id(&self) -> u32 {
        self.first as u32
    }

    /// Returns whether it is the last buffer of its frame.
    #[inline(always)]
    pub fn is_last(&self) -> bool {
        (self.first >> QueueEntry::FLAGS_SHIFT) as u16 & entry_flags::LAST != 0
    }

    /// Returns whether it is a frame by itself to which nothing is to be done.
    #[inline(always)]
    pub fn is_plain(&self) -> bool {
        (self.first >> QueueEntry::FLAGS_SHIFT) as u16 == entry_flags::FIRST | entry_flags::LAST
    }

    /// Returns the entry that gives it back, with the flags that it was given with.
    #[inline(always)]
    pub fn returned(self, len_bytes: u32, status: PacketStatus) -> QueueEntry {
        QueueEntry::from_words([self.first, u64::from(len_bytes) | (status as u64) << QueueEntry::STATUS_SHIFT])
    }

    /// Returns the entry that gives it back as a whole received frame; `checked` says that the device found its
    /// checksum of TCP or UDP right ([`offload::RX_CHECKSUM`](nook_abi::net::offload::RX_CHECKSUM)).
    #[inline(always)]
    pub fn received(self, len_bytes: u32, checked: bool) -> QueueEntry {
        self.received_part(
            len_bytes,
            entry_flags::FIRST | entry_flags::LAST | if checked { entry_flags::CHECKED } else { 0 },
        )
    }

    /// Returns the entry that gives it back as a part of a received frame, of `len_bytes`; `flags` are
    /// [`entry_flags`]: `FIRST` of the frame's first part, with `CHECKED` as it may be, and `LAST` of its last. Only if
    /// the driver said so ([`offload::RX_SEVERAL_BUFFERS`](nook_abi::net::offload::RX_SEVERAL_BUFFERS)); all parts are
    /// returned by one call, one after the other.
    #[inline(always)]
    pub fn received_part(self, len_bytes: u32, flags: u16) -> QueueEntry {
        let others = self.first & !(0xffff << QueueEntry::FLAGS_SHIFT);
        let first = others | u64::from(flags) << QueueEntry::FLAGS_SHIFT;
        Packet { first, ..self }.returned(len_bytes, PacketStatus::Done)
    }
}

/// Where the packet buffers are, for the device and for the driver.
#[derive(Clone, Copy, Debug)]
pub struct Pool {
    frames_iova: u64,
    stride_bytes: u32,
    count: u32,
    room_bytes: u32,
    /// From the first buffer's frame to the end of the last one's room.
    frames: Span,
}

impl Pool {
    /// Creates it; without a buffer if the host's does not lie in the window.
    fn new(page: Page) -> Self {
        let PoolLayout { offset, count, stride_bytes, headroom_bytes, room_bytes, .. } =
            NetPage::from_words(&page.get().class).pool;
        let begin = offset.saturating_add(headroom_bytes);
        let len_bytes = count.saturating_sub(1).saturating_mul(stride_bytes).saturating_add(room_bytes);
        match page.window(begin, len_bytes) {
            Ok((frames, frames_iova)) => Pool { frames_iova, stride_bytes, count, room_bytes, frames },
            Err(_) => Pool { frames_iova: 0, stride_bytes, count: 0, room_bytes, frames: Span::EMPTY },
        }
    }

    /// Returns where the frame in the packet's buffer begins, for the device. `None` if there is no such buffer or the
    /// length is larger than its room: the driver cannot point the device outside the pool.
    #[inline(always)]
    pub fn frame_iova(&self, packet: &Packet) -> Option<u64> {
        let inside = packet.id() < self.count && packet.len_bytes <= self.room_bytes;
        inside.then(|| self.frames_iova + u64::from(packet.id()) * u64::from(self.stride_bytes))
    }

    /// Returns the room in the packet's buffer, whose first byte is the frame's. `None` as for
    /// [`frame_iova`](Self::frame_iova).
    ///
    /// ```
    /// # use nook_sdk::{Packet, Pool};
    /// /// Fills a short frame up to what a cable wants, for a device that does not. Returns the length to be sent.
    /// fn padded(pool: &Pool, packet: &Packet) -> Option<u32> {
    ///     let missing = 60_u32.saturating_sub(packet.len_bytes);
    ///     pool.bytes(packet)?.fill(packet.len_bytes, missing, 0).ok()?;
    ///     Some(packet.len_bytes + missing)
    /// }
    /// ```
    #[inline]
    pub fn bytes(&self, packet: &Packet) -> Option<DmaBytes<'_>> {
        if packet.id() >= self.count || packet.len_bytes > self.room_bytes {
            return None;
        }
        self.frames.part(packet.id().checked_mul(self.stride_bytes)?, self.room_bytes).ok().map(DmaBytes::new)
    }

    /// Returns the room for a frame in each buffer, in bytes.
    pub fn room_bytes(&self) -> u32 {
        self.room_bytes
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::TestHost;
    use std::vec::Vec;

    fn entry(id: u32) -> QueueEntry {
        QueueEntry { id, generation: 7, len_bytes: 60, ..QueueEntry::default() }
    }

    #[test]
    fn what_the_host_provides_is_taken_once_and_in_order() {
        let host = TestHost::new();
        let mut queues = host.nook().queues();
        let mut taken = Vec::new();
        for round in 0..100u32 {
            (0..5).for_each(|i| host.provide(Queue::TxProvide, entry(round * 5 + i)));
            taken.extend(queues.tx_provide.begin().take(3).map(|entry| entry.id));
            taken.extend(queues.tx_provide.begin().map(|entry| entry.id));
            assert_eq!(queues.tx_provide.begin().next(), None);
        }
        assert_eq!(taken, (0..500).collect::<Vec<_>>());
    }

    #[test]
    fn a_full_return_queue_has_no_place() {
        let host = TestHost::new();
        let mut queues = host.nook().queues();
        let mut batch = queues.rx_return.begin();
        for id in 0..QUEUE_CAPACITY {
            batch.vacant().unwrap().put(entry(id));
        }
        assert_eq!(batch.room(), 0);
        assert!(batch.vacant().is_none());
        drop(batch);
        assert_eq!(host.returned(Queue::RxReturn).len(), 256);
        assert_eq!(queues.rx_return.begin().room(), QUEUE_CAPACITY);
    }

    #[test]
    fn a_place_that_is_not_used_returns_nothing() {
        let host = TestHost::new();
        let mut queues = host.nook().queues();
        assert!(queues.tx_return.begin().vacant().is_some());
        assert_eq!(host.returned(Queue::TxReturn), []);
    }

    #[test]
    fn a_packet_is_returned_as_it_was_given() {
        let packet = Packet::from(&entry(3));
        let returned = packet.received(1514, false);
        assert_eq!((returned.id, returned.generation, returned.len_bytes), (3, 7, 1514));
        assert_eq!(returned.flags, entry_flags::FIRST | entry_flags::LAST);
        assert_eq!(packet.received(60, true).flags, returned.flags | entry_flags::CHECKED);
        assert_eq!(packet.returned(0, PacketStatus::Unused).status, 2);
    }

    #[test]
    fn what_a_driver_keeps_of_an_entry_is_what_it_gives_back() {
        let given = QueueEntry {
            id: 0x0102_0304,
            generation: 0x0506,
            flags: entry_flags::LAST,
            len_bytes: 99,
            ..QueueEntry::default()
        };
        let packet = Packet::from(&given);
        assert_eq!((packet.id(), packet.len_bytes, packet.is_last()), (given.id, 99, true));
        let failed = QueueEntry { len_bytes: 7, status: PacketStatus::Failed as u16, ..given };
        assert_eq!(packet.returned(7, PacketStatus::Failed), failed);
        let whole = QueueEntry { len_bytes: u32::MAX, flags: entry_flags::FIRST | entry_flags::LAST, ..given };
        assert_eq!(packet.received(u32::MAX, false), whole);
    }

    #[test]
    fn a_packet_outside_the_pool_has_no_address() {
        let layout = PoolLayout {
            offset: 0x1000,
            count: 4,
            stride_bytes: 2048,
            headroom_bytes: 64,
            room_bytes: 1984,
            reserved: 0,
        };
        let host = TestHost::new();
        let class = NetPage { pool: layout, ..host.net_page() }.to_words();
        let page = host.nook().page();
        page.change(|page| (page.window_iova, page.class) = (0x10_0000, class));
        let pool = Pool::new(page);
        let packet = |id, len_bytes| Packet::from(&QueueEntry { id, len_bytes, ..QueueEntry::default() });
        assert_eq!(pool.frame_iova(&packet(0, 1984)), Some(0x10_1040));
        assert_eq!(pool.frame_iova(&packet(3, 0)), Some(0x10_1040 + 3 * 2048));
        assert_eq!(pool.frame_iova(&packet(4, 60)), None);
        assert_eq!(pool.frame_iova(&packet(u32::MAX, 60)), None);
        assert_eq!(pool.frame_iova(&packet(0, 1985)), None);
        for (id, len_bytes) in [(4, 60), (u32::MAX, 60), (0, 1985)] {
            assert!(pool.bytes(&packet(id, len_bytes)).is_none());
        }
        // One that does not lie in the window has no buffers.
        page.change(|page| page.window_len_bytes = 0x1000 + 4 * 2048 - 1);
        assert_eq!(Pool::new(page).frame_iova(&packet(0, 60)), None);
    }

    #[test]
    fn a_packets_bytes_are_those_that_the_device_reads_and_end_with_its_room() {
        let host = TestHost::new();
        let pool = host.nook().queues().pool;
        let packet = |id| Packet::from(&entry(id));
        for id in [0, 5, host.net_page().pool.count - 1] {
            let bytes = pool.bytes(&packet(id)).unwrap();
            assert_eq!((bytes.len_bytes(), bytes.write(4, id)), (pool.room_bytes(), Ok(())));
            assert_eq!(host.window().read(pool.frame_iova(&packet(id)).unwrap() + 4), id);
            assert_eq!(bytes.fill(0, pool.room_bytes(), id as u8), Ok(()));
            assert!(bytes.write(pool.room_bytes(), 0u8).is_err());
        }
    }
}
