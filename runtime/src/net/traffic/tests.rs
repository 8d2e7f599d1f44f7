#![expect(unsafe_code, reason = "rings that the test writes as a driver would, once from another thread")]

use std::sync::atomic::{AtomicBool, Ordering};

use super::*;
use crate::RegionAddrs;
use nook_abi::ClassFault;
use nook_abi::net::{NetFault, RING_BYTES, SIDES_BYTES, Side, entry_flags, side_flags};
use nook_abi::{HOST_PAGE_BYTES, QUEUE_CAPACITY};
use nook_net_api::Outgoing;

/// An interface that looks at what it is given.
#[derive(Default)]
struct Looks(usize);

impl NetBackend for Looks {
    fn deliver(&mut self, frame: Incoming<'_>) -> std::io::Result<bool> {
        assert!((14..=2048).contains(&frame.len_bytes()), "a frame of {} bytes", frame.len_bytes());
        self.0 += 1;
        Ok(true)
    }
    fn fetch(&mut self, _: &Room<'_>) -> std::io::Result<Option<Outgoing>> {
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

/// Memory with a host page and four rings, which nothing else is in.
struct DriverMemory(Vec<u64>);

const RING: usize = (RING_BYTES + SIDES_BYTES).next_multiple_of(64);
const LEN: usize = HOST_PAGE_BYTES + 4 * RING;

impl DriverMemory {
    fn new() -> Self {
        DriverMemory(vec![0; LEN / 8 + 8])
    }

    fn base(&mut self) -> *mut u8 {
        let at = self.0.as_mut_ptr().cast::<u8>();
        at.wrapping_add(at.align_offset(64))
    }

    fn space(&mut self) -> Space {
        let rings = [0, 1, 2, 3].map(place);
        let places = RegionAddrs { heap: 0, host_page: 0, rings, window: 0 };
        // SAFETY: the memory is as long, aligned by `base`, and lives as long as the test, whose last local it is.
        unsafe { Space::new(self.base(), LEN as u64, places) }
    }
}

fn place(index: usize) -> u64 {
    (HOST_PAGE_BYTES + index * RING) as u64
}

const POOL: PoolLayout =
    PoolLayout { offset: 4096, count: 1024, stride_bytes: 2112, headroom_bytes: 64, room_bytes: 2048, reserved: 0 };

/// An interface with this many frames to send, of this length.
struct Sends(u32, usize);

impl NetBackend for Sends {
    fn deliver(&mut self, _: Incoming<'_>) -> std::io::Result<bool> {
        Ok(true)
    }
    fn fetch(&mut self, _: &Room<'_>) -> std::io::Result<Option<Outgoing>> {
        let left = self.0.checked_sub(1);
        self.0 = left.unwrap_or(0);
        Ok(left.map(|_| Outgoing { len_bytes: self.1, side: None }))
    }
    fn link(&mut self, _: bool) -> std::io::Result<()> {
        Ok(())
    }
    fn set_mac(&mut self, _: [u8; 6]) -> std::io::Result<()> {
        Ok(())
    }
}

#[test]
fn a_frame_that_was_returned_and_never_taken_is_not_given_again() {
    let mut memory = DriverMemory::new();
    let (base, space) = (memory.base(), memory.space());
    let mut net = Traffic::new(DmaWindow::new(4 << 20).unwrap(), POOL, 512);
    net.begin(Some(&space));
    let mut counters = NetCounters::default();
    assert_eq!(net.provide_tx(&mut Sends(4, 60), &mut counters, 1).unwrap().unwrap(), 4);
    let [provide, back] = [2, 3].map(|ring| base.wrapping_add(place(ring) as usize).cast::<u64>());
    // The driver returns the third entry of `tx_provide` as it is, and does not say that it took any.
    // SAFETY: two words of an entry, and a header, of rings in the memory.
    unsafe {
        back.add(8).write_volatile(provide.add(8 + 4).read_volatile());
        back.add(9).write_volatile(0);
        back.cast::<u32>().write_volatile(1);
    }
    net.check().unwrap();
    net.accept(&mut Sends(0, 60), &mut counters).unwrap();
    assert_eq!(counters.tx_done, 1);
    net.withhold_tx().unwrap();
    let free = net.packets.free_tx_ids().to_vec();
    assert_eq!(net.kept.len(), 3);
    assert!(net.kept.iter().all(|id| !free.contains(id)), "{:?} are kept, {free:?} free", net.kept);
    while net.drop_withheld_tx() {}
    let mut free = net.packets.free_tx_ids().to_vec();
    free.sort_unstable();
    assert_eq!(free, (512..1024).collect::<Vec<_>>(), "each buffer once");
}

#[test]
fn what_changes_between_check_and_use_is_used_as_it_was_checked() {
    let mut rings = DriverMemory::new();
    let (base, space) = (rings.base(), rings.space());
    let window = DmaWindow::new(4 << 20).unwrap();
    let pool = POOL;
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
                Err(Fault::Class(ClassFault::Net(NetFault::PacketMalformed { field: "len_bytes", .. }))) => faults += 1,
                Err(other) => panic!("{other}"),
            }
        }
        done.store(true, Ordering::Relaxed);
        assert!(taken + faults == 2000 && faults > 0);
    });
}

/// Returns traffic with a driver that takes frames of 9018 bytes in several buffers, and was given two of 5000.
fn in_several_buffers(memory: &mut DriverMemory) -> (Traffic, NetCounters) {
    let space = memory.space();
    let mut net = Traffic::new(DmaWindow::new(4 << 20).unwrap(), POOL, 512);
    net.begin(Some(&space));
    net.set_frames(Frames { longest_bytes: 9018, sent_bytes: 9018, offloads: offload::SEVERAL_BUFFERS });
    let mut counters = NetCounters::default();
    assert_eq!(net.provide_tx(&mut Sends(2, 5000), &mut counters, 1).unwrap().unwrap(), 2);
    assert_eq!((counters.tx_packets, counters.tx_bytes), (2, 10_000));
    (net, counters)
}

/// Says that the driver took this many entries of `tx_provide`, and returned those from the second number on that the
/// third says.
fn take_and_return(base: *mut u8, taken: u32, (from, count): (u32, u32)) {
    let [provide, back] = [2, 3].map(|ring| base.wrapping_add(place(ring) as usize).cast::<u64>());
    // SAFETY: headers, and two words of each entry, of rings in the memory.
    unsafe {
        provide.cast::<u32>().add(1).write_volatile(taken);
        for at in 0..count as usize {
            for word in 0..2 {
                let entry = provide.add(8 + (from as usize + at) * 2 + word).read_volatile();
                back.add(8 + at * 2 + word).write_volatile(entry);
            }
        }
        back.cast::<u32>().write_volatile(count);
    }
}

#[test]
fn a_frame_in_several_buffers_counts_once_and_is_taken_whole() {
    let mut memory = DriverMemory::new();
    let base = memory.base();
    let (mut net, mut counters) = in_several_buffers(&mut memory);
    for taken in [1, 2, 4, 5] {
        take_and_return(base, taken, (0, 0));
        let rule = "a frame was taken in part";
        assert_eq!(net.check(), Err(Fault::QueueCorrupt { queue: "tx_provide", value: taken, rule }));
    }
    take_and_return(base, 3, (0, 3));
    net.check().unwrap();
    net.accept(&mut Sends(0, 60), &mut counters).unwrap();
    assert_eq!((counters.tx_done, net.packets.free_tx_count()), (1, 509));
    // The second waits, and is withheld as a whole.
    assert_eq!(net.overdue_tx(u64::MAX), 1, "frames are counted, and not buffers");
    assert_eq!((net.withhold_tx(), net.kept.len()), (Ok(0), 3));
    assert!(net.drop_withheld_tx() && !net.drop_withheld_tx());
    assert_eq!(net.packets.free_tx_count(), 512);
}

#[test]
fn a_frame_of_which_parts_came_back_is_given_up_when_its_driver_ends() {
    let mut memory = DriverMemory::new();
    let (base, space) = (memory.base(), memory.space());
    let (mut net, mut counters) = in_several_buffers(&mut memory);
    take_and_return(base, 6, (1, 1));
    net.check().unwrap();
    net.accept(&mut Sends(0, 60), &mut counters).unwrap();
    assert_eq!(counters.tx_done, 0, "no frame ends in it");
    assert_eq!(net.end(), 1, "the first cannot be sent again");
    net.begin(Some(&space));
    assert_eq!(net.set_frames(Frames { longest_bytes: 9018, sent_bytes: 9018, offloads: offload::SEVERAL_BUFFERS }), 0);
    assert_eq!(net.provide_tx(&mut Sends(0, 60), &mut counters, 2).unwrap().unwrap(), 1, "the second is");
    let flags = |at: usize| {
        let entry = base.wrapping_add(place(2) as usize + 64 + at * 16).cast::<u64>();
        // SAFETY: an entry's first word, in the memory.
        unsafe { entry.read_volatile() >> 48 }
    };
    assert_eq!([0, 1, 2].map(flags), [1, 0, 2]);
    assert_eq!(net.packets.free_tx_count(), 509);
}

#[test]
fn a_waiting_frame_of_which_parts_came_back_is_given_up_and_counted_when_it_is_withheld() {
    for (returned, done) in [((4, 1), 0), ((5, 1), 1)] {
        let mut memory = DriverMemory::new();
        let base = memory.base();
        let (mut net, mut counters) = in_several_buffers(&mut memory);
        // The first is taken, and of the second, which waits, a part comes back: its middle, or its end.
        take_and_return(base, 3, returned);
        net.check().unwrap();
        net.accept(&mut Sends(0, 60), &mut counters).unwrap();
        assert_eq!(counters.tx_done, done, "a frame counts where it ends");
        // Who returns what it has not taken gets as much less again: the first is not whole any more, either.
        assert_eq!((net.withhold_tx(), net.kept.len()), (Ok(2 - done), 0), "each counts once");
    }
}

#[test]
fn what_a_filter_moved_up_in_the_ring_is_a_whole_frame_and_can_wait() {
    let mut memory = DriverMemory::new();
    let (base, space) = (memory.base(), memory.space());
    let mut net = Traffic::new(DmaWindow::new(4 << 20).unwrap(), POOL, 512);
    net.begin(Some(&space));
    net.set_frames(Frames { longest_bytes: 9018, sent_bytes: 9018, offloads: offload::SEVERAL_BUFFERS });
    let mut counters = NetCounters::default();
    for len in [60, 5000] {
        assert_eq!(net.provide_tx(&mut Sends(1, len), &mut counters, 1).unwrap().unwrap(), 1);
    }
    // The second, of three entries, is returned and the first stands in the place of its last.
    take_and_return(base, 3, (1, 3));
    let entries = base.wrapping_add(place(2) as usize + 64).cast::<u64>();
    // SAFETY: two words of the first and the fourth entry, in the memory.
    unsafe { (0..2).for_each(|word| entries.add(6 + word).write_volatile(entries.add(word).read_volatile())) };
    net.check().unwrap();
    net.accept(&mut Sends(0, 60), &mut counters).unwrap();
    assert_eq!((counters.tx_done, net.packets.free_tx_count()), (1, 511));
    assert_eq!((net.withhold_tx(), net.kept.len()), (Ok(0), 1));
}

#[test]
fn where_a_frame_ends_is_as_it_was_given_whatever_the_driver_says() {
    for flags in [[0; 3], [entry_flags::LAST; 3], [entry_flags::LAST, 0, 0]] {
        for (status, done_and_failed) in [(PacketStatus::Done, (1, 0)), (PacketStatus::Failed, (0, 1))] {
            let mut memory = DriverMemory::new();
            let base = memory.base();
            let (mut net, mut counters) = in_several_buffers(&mut memory);
            take_and_return(base, 3, (0, 3));
            let back = base.wrapping_add(place(3) as usize + 64).cast::<u64>();
            for (at, flags) in flags.into_iter().enumerate() {
                // SAFETY: two words of an entry, in the memory.
                unsafe {
                    let first = back.add(at * 2).read_volatile() & !(0xffff << QueueEntry::FLAGS_SHIFT);
                    back.add(at * 2).write_volatile(first | u64::from(flags) << QueueEntry::FLAGS_SHIFT);
                    back.add(at * 2 + 1).write_volatile((status as u64) << QueueEntry::STATUS_SHIFT);
                }
            }
            net.check().unwrap();
            net.accept(&mut Sends(0, 60), &mut counters).unwrap();
            assert_eq!((counters.tx_done, counters.tx_failed), done_and_failed, "{flags:?}");
        }
    }
}

/// An interface with this many packets to send, of 30 buffers, which are left to the device to be cut.
struct SendsToCut(u32);

impl NetBackend for SendsToCut {
    fn deliver(&mut self, _: Incoming<'_>) -> std::io::Result<bool> {
        Ok(true)
    }
    fn fetch(&mut self, _: &Room<'_>) -> std::io::Result<Option<Outgoing>> {
        let left = self.0.checked_sub(1);
        self.0 = left.unwrap_or(0);
        let flags = side_flags::CHECKSUM | side_flags::SEGMENT;
        let side =
            Side { flags, header_bytes: 54, segment_bytes: 1460, frame_bytes: TO_CUT as u32, ..Default::default() };
        Ok(left.map(|_| Outgoing { len_bytes: TO_CUT, side: Some(side) }))
    }
    fn link(&mut self, _: bool) -> std::io::Result<()> {
        Ok(())
    }
    fn set_mac(&mut self, _: [u8; 6]) -> std::io::Result<()> {
        Ok(())
    }
}

const TO_CUT: usize = 60_000;

#[test]
fn new_frames_do_not_pass_those_that_were_kept() {
    let mut memory = DriverMemory::new();
    let (base, space) = (memory.base(), memory.space());
    let mut net = Traffic::new(DmaWindow::new(4 << 20).unwrap(), POOL, 512);
    let (all, mut counters) =
        (Frames { longest_bytes: 1518, sent_bytes: 1518, offloads: offload::ALL }, NetCounters::default());
    net.begin(Some(&space));
    net.set_frames(all);
    for _ in 0..2 {
        assert_eq!(net.provide_tx(&mut SendsToCut(8), &mut counters, 1).unwrap().unwrap(), 8);
        take_and_return(base, 240, (0, 0));
        net.check().unwrap();
    }
    assert_eq!(net.end(), 0);
    net.begin(Some(&space));
    assert_eq!(net.set_frames(all), 0);
    let mut new = Sends(1, 60);
    assert_eq!(net.provide_tx(&mut new, &mut counters, 2).unwrap().unwrap(), 8, "there is no room for the ninth");
    take_and_return(base, 240, (0, 0));
    net.check().unwrap();
    assert_eq!(net.provide_tx(&mut new, &mut counters, 3).unwrap().unwrap(), 9);
}

#[test]
fn frames_that_the_next_driver_does_not_take_are_given_up() {
    const TO_CUT_V4: u32 = offload::TX_CHECKSUM | offload::SEVERAL_BUFFERS | offload::SEGMENT_V4;
    for (offloads, longest_bytes, given_up) in [
        (TO_CUT_V4, 1518, 0),
        (0, 1518, 2),
        (offload::SEVERAL_BUFFERS, 9018, 2),
        (offload::ALL & !offload::SEGMENT_V4, 1518, 2),
        // A segment is longer than its frames.
        (offload::ALL, 1513, 2),
    ] {
        let mut memory = DriverMemory::new();
        let space = memory.space();
        let mut net = Traffic::new(DmaWindow::new(4 << 20).unwrap(), POOL, 512);
        let mut counters = NetCounters::default();
        net.begin(Some(&space));
        net.set_frames(Frames { longest_bytes: 1518, sent_bytes: 1518, offloads: offload::ALL });
        assert_eq!(net.provide_tx(&mut SendsToCut(2), &mut counters, 1).unwrap().unwrap(), 2);
        assert_eq!(net.provide_tx(&mut Sends(1, 60), &mut counters, 1).unwrap().unwrap(), 1);
        assert_eq!(net.end(), 0);
        net.begin(Some(&space));
        assert_eq!(
            net.set_frames(Frames { longest_bytes, sent_bytes: longest_bytes, offloads }),
            given_up,
            "{offloads:#x}"
        );
        let again = net.provide_tx(&mut Sends(0, 60), &mut counters, 2).unwrap().unwrap();
        assert_eq!(u64::from(again), 3 - given_up);
        assert_eq!(net.packets.free_tx_count() as u64, 511 - (2 - given_up) * 30);
    }
}

#[test]
fn buffers_are_untaken_only_if_the_driver_has_kept_some_before() {
    let mut memory = DriverMemory::new();
    let (base, space) = (memory.base(), memory.space());
    let mut net = Traffic::new(DmaWindow::new(4 << 20).unwrap(), POOL, 512);
    net.begin(Some(&space));
    let [provide, back] = [0, 1].map(|ring| base.wrapping_add(place(ring) as usize).cast::<u64>());
    let mut counters = NetCounters::default();
    let (mut taken, mut returned) = (0, 0);
    // Takes this many buffers, then gives back, unused, those up to this one.
    let mut driver = |net: &mut Traffic, takes: u32, gives: u32| {
        net.provide_rx().unwrap();
        taken += takes;
        // SAFETY: entries and headers of rings in the memory.
        unsafe {
            provide.cast::<u32>().add(1).write_volatile(taken);
            while returned < gives {
                let entry = 8 + 2 * (returned % QUEUE_CAPACITY) as usize;
                back.add(entry).write_volatile(provide.add(entry).read_volatile());
                back.add(entry + 1).write_volatile((PacketStatus::Unused as u64) << QueueEntry::STATUS_SHIFT);
                returned += 1;
            }
            back.cast::<u32>().write_volatile(returned);
        }
        net.check().unwrap();
        net.accept(&mut Sends(0, 60), &mut counters).unwrap();
        net.untaken_rx().unwrap()
    };
    assert_eq!(driver(&mut net, 0, 0), 0, "it has begun, and no frame has come");
    for frame in 1..100 {
        assert_eq!(driver(&mut net, 1, frame), 0, "it takes one for each frame as it comes");
    }
    assert_eq!(driver(&mut net, 50, 99), 0, "it keeps some");
    assert!(driver(&mut net, 0, 149) > 200, "and has none any more");
    net.begin(Some(&space));
    net.provide_rx().unwrap();
    assert_eq!(net.untaken_rx().unwrap(), 0, "another instance");
}
