//! Who has which packet buffer.

use nook_abi::Fault;
use nook_abi::net::{
    EntryWords, NetFault, Owner, PacketStatus, PoolLayout, Queue, QueueEntry, Side, entry_flags, offload,
};
use nook_net_api::Outgoing;

use super::HostProducer;
use super::beside::Beside;

/// Set in a buffer's [key](Packets::keys) while the host has it. A generation has 16 bits, so that no entry's equals
/// it.
const HOSTS: u32 = 1 << 16;

/// Ethernet header: two addresses and a type. No frame is shorter.
pub(super) const LEAST_BYTES: u64 = 14;

/// The flags of an entry that is a frame by itself.
const WHOLE: u16 = entry_flags::FIRST | entry_flags::LAST;

/// The flags that an entry of a frame to be sent may have.
const TO_SEND: u16 = entry_flags::FIRST | entry_flags::LAST | entry_flags::SIDE;

/// A buffer of a frame that the driver was given to be sent, and what became of it before.
#[derive(Clone, Copy, Default)]
struct Given {
    /// When the driver got it.
    at_ns: u64,
    /// Its place in the order of giving.
    order: u64,
    /// Bytes of the frame that are in it.
    len_bytes: u32,
    /// The entry's flags.
    flags: u16,
    /// An earlier instance ended with it.
    again: bool,
}

/// What the driver was given.
#[derive(Default)]
pub(crate) struct GivenOut {
    pub(crate) frames: u32,
    pub(crate) bytes: u64,
    pub(crate) checksums: u32,
    pub(crate) segmented: u32,
}

impl GivenOut {
    #[inline]
    fn note(&mut self, side: &Side) {
        self.checksums += 1;
        self.segmented += u32::from(side.is_segmented());
    }
}

/// The ownership map of a pool.
pub(crate) struct Packets {
    layout: PoolLayout,
    /// For each buffer its generation, and [`HOSTS`] while the host has it. A driver has a receive buffer through
    /// `rx_provide` and one for sending through `tx_provide`, and through nothing else.
    keys: Box<[u32]>,
    /// For each buffer what it was last given with, if it is one for sending.
    given: Box<[Given]>,
    /// For each of them what stands beside its entry, if its flags say so.
    sides: Box<[Side]>,
    /// Flags that a received frame may have besides being whole.
    received_flags: u16,
    /// A received frame may come in several buffers.
    several_received: bool,
    /// Buffers that the host has, receive and transmit apart so that neither can starve the other.
    free_rx: Vec<u32>,
    free_tx: Vec<u32>,
    rx_count: u32,
    /// Frames ever given to be sent.
    order: u64,
}

impl Packets {
    /// Creates the map. The first `rx_count` buffers are for receiving, the others for sending.
    pub(crate) fn new(layout: PoolLayout, rx_count: u32) -> Self {
        let mut packets = Packets {
            layout,
            keys: vec![HOSTS; layout.count as usize].into(),
            given: vec![Given::default(); layout.count as usize].into(),
            sides: vec![Side::default(); layout.count as usize].into(),
            received_flags: 0,
            several_received: false,
            free_rx: Vec::with_capacity(rx_count as usize),
            free_tx: Vec::with_capacity((layout.count - rx_count) as usize),
            rx_count,
            order: 0,
        };
        packets.reclaim(&[]);
        packets
    }

    /// Reclaims everything from a driver that is gone, under new generations. The buffers in `kept` hold frames
    /// that will be given again, and are not free.
    pub(crate) fn reclaim(&mut self, kept: &[u32]) {
        self.keys.iter_mut().filter(|key| **key & HOSTS == 0).for_each(|key| *key = came_back(*key));
        self.free_rx.clear();
        self.free_tx.clear();
        // Taken from the end: low ids first, which keeps the working set small.
        self.free_rx.extend((0..self.rx_count).rev());
        self.free_tx.extend((self.rx_count..self.layout.count).rev().filter(|id| !kept.contains(id)));
    }

    /// Returns the buffers of frames to be sent that the driver has, in the order in which it got them.
    pub(crate) fn sending(&self) -> Vec<u32> {
        let mut ids: Vec<u32> = (self.rx_count..self.layout.count).filter(|&id| self.is_drivers(id)).collect();
        ids.sort_unstable_by_key(|&id| self.given[id as usize].order);
        ids
    }

    /// Returns whether the driver has a buffer with something to be sent. All are looked at, without a branch.
    pub(crate) fn is_sending(&self) -> bool {
        self.keys[self.rx_count as usize..].iter().fold(HOSTS, |all, key| all & key) == 0
    }

    /// Returns the receive buffers that the driver has, with their generations.
    pub(crate) fn receiving(&self) -> Vec<(u32, u16)> {
        let ids = (0..self.rx_count).filter(|&id| self.is_drivers(id));
        ids.map(|id| (id, self.keys[id as usize] as u16)).collect()
    }

    /// Restores, after [`reclaim`](Self::reclaim), the receive buffers that the driver had when
    /// [`receiving`](Self::receiving) said so.
    pub(crate) fn restore(&mut self, receiving: &[(u32, u16)]) {
        for &(id, generation) in receiving {
            self.keys[id as usize] = generation.into();
        }
        let Packets { keys, free_rx, .. } = self;
        free_rx.retain(|&id| keys[id as usize] & HOSTS != 0);
    }

    /// Sets what received frames may be like, by what the driver's device does (bits of [`offload`]).
    pub(crate) fn set_received(&mut self, offloads: u32) {
        self.received_flags = if offloads & offload::RX_CHECKSUM != 0 { entry_flags::CHECKED } else { 0 };
        self.several_received = offloads & offload::RX_SEVERAL_BUFFERS != 0;
    }

    /// Returns how many of these buffers are the frame that begins with the first: the driver was given them one after
    /// the other, and they are all there. `None` if parts of it came back.
    pub(crate) fn frame_count(&self, ids: &[u32]) -> Option<usize> {
        let given = |at: usize| self.given[ids[at] as usize];
        let first = given(0);
        if first.flags & entry_flags::FIRST == 0 {
            return None;
        }
        let follows = |&at: &usize| given(at).order == first.order + at as u64;
        let last = (0..ids.len()).take_while(follows).find(|&at| given(at).flags & entry_flags::LAST != 0)?;
        Some(last + 1)
    }

    /// Returns how many frames end in these buffers.
    pub(crate) fn frames_in(&self, ids: &[u32]) -> u64 {
        ids.iter().filter(|&&id| self.ends(id)).count() as u64
    }

    /// Returns whether a frame ends in a buffer for sending, as it was given.
    #[inline]
    pub(crate) fn ends(&self, id: u32) -> bool {
        self.given[id as usize].flags & entry_flags::LAST != 0
    }

    /// Returns whether a frame to be sent begins in the buffer of an entry that the driver was given; what the entry
    /// says may be anything.
    pub(crate) fn begins(&self, entry: &QueueEntry) -> bool {
        self.given.get(entry.id as usize).is_some_and(|given| given.flags & entry_flags::FIRST != 0)
    }

    /// Returns whether a driver takes the frame in these buffers that does this to frames (bits of [`offload`]), and
    /// takes them of up to `longest_bytes`.
    pub(crate) fn is_taken_by(&self, ids: &[u32], offloads: u32, longest_bytes: usize) -> bool {
        let given = |id: &u32| self.given[*id as usize];
        let mut needed = if ids.len() > 1 { offload::SEVERAL_BUFFERS } else { 0 };
        let mut bytes = ids.iter().map(|id| given(id).len_bytes as usize).sum();
        let has_side = |id: &&u32| given(id).flags & entry_flags::SIDE != 0;
        if let Some(side) = ids.first().filter(has_side).map(|id| &self.sides[*id as usize]) {
            needed |= offload::TX_CHECKSUM;
            if side.is_segmented() {
                needed |= if side.is_ipv6() { offload::SEGMENT_V6 } else { offload::SEGMENT_V4 };
                bytes = usize::from(side.header_bytes) + usize::from(side.segment_bytes);
            }
        }
        needed & !offloads == 0 && bytes <= longest_bytes
    }

    fn is_drivers(&self, id: u32) -> bool {
        self.keys[id as usize] & HOSTS == 0
    }

    fn owner(&self, id: u32) -> Owner {
        let queue = if id < self.rx_count { Queue::RxProvide } else { Queue::TxProvide };
        if self.is_drivers(id) { Owner::Driver(queue) } else { Owner::Host }
    }

    /// Returns where a buffer's frame begins in the window.
    #[inline]
    pub(crate) fn frame_offset(&self, id: u32) -> u64 {
        frame_offset(&self.layout, id)
    }

    /// Returns the buffers for sending that the host has.
    #[cfg(test)]
    pub(crate) fn free_tx_ids(&self) -> &[u32] {
        &self.free_tx
    }

    /// Returns where the buffers are.
    pub(crate) fn layout(&self) -> &PoolLayout {
        &self.layout
    }

    /// Returns how many buffers for sending there are.
    pub(crate) fn tx_count(&self) -> u32 {
        self.layout.count - self.rx_count
    }

    /// Returns how many of them the host has.
    pub(crate) fn free_tx_count(&self) -> usize {
        self.free_tx.len()
    }

    /// Returns how many receive buffers the host does not have, with those that wait in a queue.
    pub(crate) fn rx_with_driver(&self) -> u32 {
        self.rx_count - self.free_rx.len() as u32
    }

    /// Returns whether the driver has less than a quarter of the receive buffers.
    pub(crate) fn rx_is_nearly_all_free(&self) -> bool {
        self.rx_with_driver() * 4 < self.rx_count
    }

    /// Gives the driver as many receive buffers as the host has and `ring` has room for. Returns whether there was one.
    #[inline]
    pub(crate) fn give_rx(&mut self, ring: &mut HostProducer) -> bool {
        let Packets { keys, free_rx, layout, .. } = self;
        let rest = free_rx.len().saturating_sub(ring.room() as usize);
        let given = ring.put(free_rx[rest..].iter().rev().map(|&id| {
            let generation = given_out(&mut keys[id as usize]);
            QueueEntry { id, generation, len_bytes: layout.room_bytes, ..QueueEntry::default() }.to_words()
        }));
        free_rx.truncate(rest);
        given > 0
    }

    /// Gives the driver frames to be sent, as many as `fetch` has, the host has buffers for and `ring` has room for.
    /// `fetch` is given the ids of the buffers that a frame can go to, the first of them last: as many as the longest
    /// frame takes at `least`, and at `most` as the longest packet that is left to a device to be cut. It says how long
    /// the frame is and what is to be done to it, if there is one.
    #[inline]
    pub(crate) fn give_tx<E>(
        &mut self,
        (ring, beside): (&mut HostProducer, &mut Beside),
        now_ns: u64,
        (least, most): (usize, usize),
        mut fetch: impl FnMut(&[u32]) -> Result<Option<Outgoing>, E>,
    ) -> (GivenOut, Result<(), E>) {
        let Packets { keys, given, free_tx, layout, order, sides, .. } = self;
        let beyond = free_tx.len().saturating_sub(ring.room() as usize);
        let mut ids = &free_tx[beyond..];
        let (mut at, mut ring_at, mut outcome) = (*order, ring.produced(), Ok(()));
        let mut given_out_now = GivenOut::default();
        // What is left of a frame that is longer than its first buffer.
        let mut left = 0;
        let count = ring.put(std::iter::from_fn(|| {
            let mut flags = 0;
            if left == 0 {
                let count = ids.len().min(most);
                if count < least {
                    return None;
                }
                let Outgoing { len_bytes, side } = match fetch(&ids[ids.len() - count..]) {
                    Ok(frame) => frame?,
                    Err(error) => {
                        outcome = Err(error);
                        return None;
                    }
                };
                left = len_bytes.min(count * layout.room_bytes as usize) as u32;
                flags = entry_flags::FIRST;
                given_out_now.frames += 1;
                given_out_now.bytes += u64::from(left);
                if let Some(side) = side {
                    flags |= entry_flags::SIDE;
                    given_out_now.note(&side);
                    beside.set(ring_at, &side);
                    sides[*ids.last()? as usize] = side;
                }
            }
            let (&id, others) = ids.split_last()?;
            ids = others;
            let len_bytes = left.min(layout.room_bytes);
            left -= len_bytes;
            if left == 0 {
                flags |= entry_flags::LAST;
            }
            (at, ring_at) = (at + 1, ring_at.wrapping_add(1));
            given[id as usize] = Given { at_ns: now_ns, order: at, len_bytes, flags, again: false };
            Some(frame_entry(id, given_out(&mut keys[id as usize]), flags, len_bytes))
        }));
        *order = at;
        free_tx.truncate(free_tx.len() - count as usize);
        (given_out_now, outcome)
    }

    /// Gives the driver frames again that were kept in these buffers; `ring` has room for them.
    pub(crate) fn give_tx_again(
        &mut self,
        (ring, beside): (&mut HostProducer, &mut Beside),
        now_ns: u64,
        ids: impl Iterator<Item = u32>,
    ) -> u32 {
        let mut at = ring.produced();
        ring.put(ids.map(|id| {
            self.order += 1;
            let given = &mut self.given[id as usize];
            *given = Given { at_ns: now_ns, order: self.order, ..*given };
            if given.flags & entry_flags::SIDE != 0 {
                beside.set(at, &self.sides[id as usize]);
            }
            at = at.wrapping_add(1);
            frame_entry(id, given_out(&mut self.keys[id as usize]), given.flags, given.len_bytes)
        }))
    }

    /// Notes that an instance ended with the frame in buffer `id`. Returns whether that was the first time.
    pub(crate) fn ended_with(&mut self, id: u32) -> bool {
        !std::mem::replace(&mut self.given[id as usize].again, true)
    }

    /// Holds the buffer of an entry that the driver put into `rx_return`, if the entry is the usual one: a whole frame
    /// that was received, in a buffer that the driver has. Says which buffer, the frame's length, and whether its
    /// checksum was found right. What is not the usual one is for [`hold`](Self::hold).
    #[inline]
    pub(crate) fn hold_received(&mut self, [first, second]: EntryWords) -> Option<(u32, u32, bool)> {
        let id = first as u32;
        let key = self.keys[..self.rx_count as usize].get_mut(id as usize)?;
        let flags = (first >> QueueEntry::FLAGS_SHIFT) as u16;
        let is_whole = flags & !self.received_flags == WHOLE;
        // Beside the length there is nothing but zeros in that word: done, and nothing reserved.
        let len_is_right = (LEAST_BYTES..=u64::from(self.layout.room_bytes)).contains(&second);
        (is_whole && has_key(first, *key) && len_is_right).then(|| {
            *key = came_back(*key);
            (id, second as u32, flags & entry_flags::CHECKED != 0)
        })
    }

    /// Holds the buffer of an entry that the driver put into `tx_return`, as [`hold_received`](Self::hold_received)
    /// does, if it was sent. Says which buffer.
    #[inline]
    pub(crate) fn hold_sent(&mut self, [first, second]: EntryWords) -> Option<u32> {
        let id = first as u32;
        let key = self.keys.get_mut(id as usize)?;
        let flags = (first >> QueueEntry::FLAGS_SHIFT) as u16;
        let is_sent = flags & !TO_SEND == 0 && second >> QueueEntry::STATUS_SHIFT == 0;
        (id >= self.rx_count && is_sent && has_key(first, *key)).then(|| {
            *key = came_back(*key);
            id
        })
    }

    /// Holds the buffer of an entry that was [checked](Self::check): it is not the driver's any more, but the host does
    /// not use it yet: it can neither be returned again nor given out before it is [freed](Self::free_rx).
    pub(crate) fn hold(&mut self, entry: &QueueEntry) {
        let key = &mut self.keys[entry.id as usize];
        *key = came_back(*key);
    }

    /// Checks any entry that the driver put into `queue` (`rx_return` or `tx_return`) by itself.
    #[cold]
    pub(crate) fn check(&self, queue: Queue, entry: &QueueEntry) -> Result<PacketStatus, Fault> {
        let malformed = |field, value: u64, rule| {
            Fault::from(NetFault::PacketMalformed { queue, id: entry.id, field, value, rule })
        };
        if entry.id >= self.layout.count {
            return Err(malformed("id", entry.id.into(), "no such packet"));
        }
        let given_through = if queue == Queue::RxReturn { Queue::RxProvide } else { Queue::TxProvide };
        let owner = self.owner(entry.id);
        if owner != Owner::Driver(given_through) {
            return Err(NetFault::PacketNotOwned { queue, id: entry.id, owner }.into());
        }
        if self.keys[entry.id as usize] != u32::from(entry.generation) {
            return Err(malformed("generation", entry.generation.into(), "not the one that it was given with"));
        }
        let Some(status) = PacketStatus::from_u16(entry.status) else {
            return Err(malformed("status", entry.status.into(), "no such status"));
        };
        if entry.flags & !entry_flags::ALL != 0 {
            return Err(malformed("flags", entry.flags.into(), "unknown bits are set"));
        }
        if queue == Queue::RxReturn && entry.flags & entry_flags::SIDE != 0 {
            return Err(malformed("flags", entry.flags.into(), "the ring has no side array"));
        }
        let may_be_checked = if queue == Queue::RxReturn { self.received_flags } else { 0 };
        if entry.flags & entry_flags::CHECKED & !may_be_checked != 0 {
            return Err(malformed("flags", entry.flags.into(), "the driver did not say that its device checks frames"));
        }
        if entry.reserved != 0 {
            return Err(malformed("reserved", entry.reserved.into(), "must be zero"));
        }
        if queue == Queue::RxReturn && entry.len_bytes > self.layout.room_bytes {
            return Err(malformed("len_bytes", entry.len_bytes.into(), "longer than the buffer"));
        }
        if queue == Queue::RxReturn && status == PacketStatus::Done {
            let is_whole = entry.flags & WHOLE == WHOLE;
            if !is_whole && !self.several_received {
                let rule = "a received frame is in one buffer: first and last";
                return Err(malformed("flags", entry.flags.into(), rule));
            }
            if entry.flags & (entry_flags::FIRST | entry_flags::CHECKED) == entry_flags::CHECKED {
                return Err(malformed("flags", entry.flags.into(), "a frame's first entry says that it was checked"));
            }
            if is_whole && u64::from(entry.len_bytes) < LEAST_BYTES {
                return Err(malformed("len_bytes", entry.len_bytes.into(), "shorter than an Ethernet header"));
            }
            if entry.len_bytes == 0 {
                return Err(malformed("len_bytes", 0, "a part of a frame is not empty"));
            }
        }
        Ok(status)
    }

    /// Undoes what held a buffer: it is the driver's again, because the call that returned it does not count.
    pub(crate) fn unhold(&mut self, id: u32) {
        let key = &mut self.keys[id as usize];
        *key = u32::from((*key as u16).wrapping_sub(1));
    }

    /// Withdraws a frame that the driver was given and has not taken: its buffer is the host's, under the generation
    /// that it had, and not free.
    pub(crate) fn withdraw(&mut self, id: u32) {
        self.keys[id as usize] |= HOSTS;
    }

    /// Frees the buffer of a frame that was withdrawn.
    pub(crate) fn give_up(&mut self, id: u32) {
        self.keys[id as usize] = came_back(self.keys[id as usize]);
        self.free_tx.push(id);
    }

    /// Frees receive buffers that are held.
    #[inline]
    pub(crate) fn free_rx(&mut self, ids: impl Iterator<Item = u32>) {
        self.free_rx.extend(ids);
    }

    /// Frees buffers for sending that are held.
    #[inline]
    pub(crate) fn free_tx(&mut self, ids: &[u32]) {
        self.free_tx.extend_from_slice(ids);
    }

    /// Returns how many frames that were given to be sent before `given_before_ns` the driver still has.
    pub(crate) fn overdue_tx(&self, given_before_ns: u64) -> usize {
        let is_overdue =
            |&id: &u32| self.is_drivers(id) && self.ends(id) && self.given[id as usize].at_ns < given_before_ns;
        (self.rx_count..self.layout.count).filter(is_overdue).count()
    }

    /// Returns how many buffers the driver has.
    pub(crate) fn with_driver(&self) -> usize {
        self.keys.iter().filter(|&key| key & HOSTS == 0).count()
    }
}

/// Returns where a buffer's frame begins in the window.
#[inline]
fn frame_offset(layout: &PoolLayout, id: u32) -> u64 {
    u64::from(layout.offset) + u64::from(id) * u64::from(layout.stride_bytes) + u64::from(layout.headroom_bytes)
}

/// Returns the entry that gives the driver a frame to be sent, or a part of one.
#[inline]
fn frame_entry(id: u32, generation: u16, flags: u16, len_bytes: u32) -> EntryWords {
    QueueEntry { id, generation, flags, len_bytes, ..QueueEntry::default() }.to_words()
}

/// Gives the buffer with this key to the driver. Returns the generation under which it has it.
#[inline]
fn given_out(key: &mut u32) -> u16 {
    *key &= !HOSTS;
    *key as u16
}

/// Returns the key of a buffer that the driver gave back: the host has it, under a new generation, so that returning it
/// another time is found.
#[inline]
fn came_back(key: u32) -> u32 {
    u32::from((key as u16).wrapping_add(1)) | HOSTS
}

/// Returns whether an entry's generation is that of a buffer with this key, which the driver has.
#[inline]
fn has_key(first: u64, key: u32) -> bool {
    (first >> QueueEntry::GENERATION_SHIFT) as u32 & u32::from(u16::MAX) == key
}
