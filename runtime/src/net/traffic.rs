//! The queues of an interface, and the packets in them.

#[cfg(test)]
mod tests;

use nook_abi::net::{PacketStatus, PoolLayout, Queue, QueueEntry, entry_flags, offload};
use nook_abi::{Fault, QUEUE_CAPACITY};
use nook_bus::{DmaWindow, VolatileSlice};
use nook_net_api::{Incoming, NetBackend, Room};

use super::beside::Beside;
use super::chain::{Chain, Place};
use super::layout::sides_addr;
use super::packets::{GivenOut, Packets};
use super::returned::{Others, PART, Returned};
use super::{HostConsumer, HostProducer, NetCounters};
use crate::Space;

/// The host's ends of the four queues.
pub(super) struct Rings {
    pub(super) rx_provide: HostProducer,
    pub(super) rx_return: HostConsumer,
    pub(super) tx_provide: HostProducer,
    pub(super) tx_return: HostConsumer,
    /// Beside `tx_provide`.
    pub(super) beside: Beside,
}

/// What a driver's frames may be like.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Frames {
    /// The longest that it hands up, in bytes.
    pub(crate) longest_bytes: usize,
    /// The longest that it is given: as long as the MTU in effect lets one be.
    pub(crate) sent_bytes: usize,
    /// What its device does in the host's place: bits of [`offload`].
    pub(crate) offloads: u32,
}

/// What passes between host and driver in one nook.
pub(crate) struct Traffic {
    window: DmaWindow,
    pub(super) packets: Packets,
    pub(super) rings: Option<Rings>,
    /// What came back through each of the two queues and was checked, and is not accepted yet.
    pub(super) received: Vec<Returned>,
    pub(super) sent: Vec<u32>,
    received_others: Others,
    sent_others: Others,
    /// Buffers whose frames the next instance is given first, oldest first.
    kept: Vec<u32>,
    /// Whether frames that an instance had when it ended, perhaps sent already, are among them.
    pub(crate) resubmits: bool,
    /// Whether a device's word counts that a received checksum is right.
    pub(crate) believes: bool,
    /// The instance has kept receive buffers: its device fills them, and needs some all the time. One whose device has
    /// a ring of bytes takes a buffer when a frame has come, and never keeps any.
    keeps_rx: bool,
    /// Batches of packets that changed hands.
    pub(super) moves: u64,
    frames: Frames,
    /// How many buffers the driver's longest frame takes, and the longest packet that it may be given.
    parts: (usize, usize),
}

/// Receive buffers that are next to none: no device works with a ring of that length.
const NEXT_TO_NONE: u32 = 4;

/// The longest packet that may be left to a device to be cut up: what IP can say of itself, an Ethernet header and
/// two VLAN tags.
const LONGEST_PACKET_BYTES: usize = 65535 + 14 + 8;

impl Traffic {
    pub(crate) fn new(window: DmaWindow, pool: PoolLayout, rx_count: u32) -> Self {
        Traffic {
            window,
            packets: Packets::new(pool, rx_count),
            rings: None,
            received: Vec::with_capacity(QUEUE_CAPACITY as usize),
            sent: Vec::with_capacity(QUEUE_CAPACITY as usize),
            received_others: Others::default(),
            sent_others: Others::default(),
            kept: Vec::new(),
            resubmits: true,
            believes: true,
            keeps_rx: false,
            moves: 0,
            frames: Frames::default(),
            parts: (1, 1),
        }
    }

    /// Sets what the driver said of its frames. It gets none before. Frames that were kept for it and that it does not
    /// take are given up; says how many.
    pub(crate) fn set_frames(&mut self, frames: Frames) -> u64 {
        let Frames { longest_bytes, sent_bytes, mut offloads } = frames;
        let room_bytes = self.packets.layout().room_bytes as usize;
        let most = (self.packets.tx_count() as usize).min(QUEUE_CAPACITY as usize);
        let segments = offload::SEGMENT_V4 | offload::SEGMENT_V6;
        if LONGEST_PACKET_BYTES.div_ceil(room_bytes) > most {
            offloads &= !segments;
        }
        let packet_bytes = if offloads & segments != 0 { LONGEST_PACKET_BYTES } else { sent_bytes };
        let several = offloads & offload::SEVERAL_BUFFERS != 0;
        let parts = |bytes: usize| if several { bytes.div_ceil(room_bytes).clamp(1, most.max(1)) } else { 1 };
        self.parts = (parts(sent_bytes), parts(packet_bytes));
        let sent_bytes = sent_bytes.min(self.parts.0 * room_bytes);
        self.packets.set_received(offloads);
        self.frames = Frames { longest_bytes, sent_bytes, offloads };
        let (mut kept, mut given_up) = (std::mem::take(&mut self.kept), 0);
        while !kept.is_empty() {
            let others = kept.split_off(self.packets.frame_count(&kept).unwrap_or(1));
            if self.packets.is_taken_by(&kept, offloads, sent_bytes) {
                self.kept.append(&mut kept);
            } else {
                kept.iter().for_each(|&id| self.packets.give_up(id));
                given_up += 1;
            }
            kept = others;
        }
        given_up
    }

    /// Begins a new driver instance with empty queues and no packet.
    pub(crate) fn begin(&mut self, space: Option<&Space>) {
        self.rings = space.map(|space| Rings {
            rx_provide: space.producer(Queue::RxProvide as usize),
            rx_return: space.consumer(Queue::RxReturn as usize),
            tx_provide: space.producer(Queue::TxProvide as usize),
            tx_return: space.consumer(Queue::TxReturn as usize),
            beside: Beside::new(space, sides_addr(space.ring_addrs())),
        });
        (self.frames, self.parts) = (Frames::default(), (1, 1));
        self.keeps_rx = false;
        self.packets.set_received(0);
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
        let count = self.packets.frames_in(&given);
        if self.resubmits {
            let waiting = given.split_off(given.len().saturating_sub(waiting));
            given.retain(|&id| !at_its_end || self.packets.ended_with(id));
            given.extend(waiting);
        } else {
            // The call that ended may have sent what it had not said to have taken.
            given.clear();
        }
        self.keep_whole(&mut given);
        let given_up = count - self.packets.frames_in(&given);
        // What this instance was not given is younger.
        given.append(&mut self.kept);
        self.kept = given;
        self.packets.reclaim(&self.kept);
        given_up
    }

    /// Leaves only those of these buffers that are whole frames. Returns the others.
    fn keep_whole(&self, ids: &mut Vec<u32>) -> Vec<u32> {
        let (mut at, mut whole, mut others) = (0, Vec::with_capacity(ids.len()), Vec::new());
        while at < ids.len() {
            let count = self.packets.frame_count(&ids[at..]);
            let to = if count.is_some() { &mut whole } else { &mut others };
            to.extend_from_slice(&ids[at..at + count.unwrap_or(1)]);
            at += count.unwrap_or(1);
        }
        *ids = whole;
        others
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
        let (_, most) = self.parts;
        self.packets.free_tx_count() >= most
            && self.rings.as_ref().is_some_and(|rings| rings.tx_provide.room() as usize >= most)
    }

    /// Returns whether the driver has next to nothing to receive into while the host could give it more: it took all
    /// that was provided and gave nearly all of it back, and its device, without a buffer, may never interrupt again.
    pub(crate) fn rx_runs_dry(&mut self) -> Result<bool, Fault> {
        let Some(rings) = &mut self.rings else { return Ok(false) };
        rings.rx_provide.sync(Queue::RxProvide.name())?;
        Ok(rings.rx_provide.waiting() == 0 && self.packets.rx_is_nearly_all_free())
    }

    /// Returns how many receive buffers wait for a driver that has next to none, and no use for the others, though it
    /// had some before.
    ///
    /// # Errors
    /// If a queue's counter makes no sense.
    pub(crate) fn untaken_rx(&mut self) -> Result<u32, Fault> {
        let Some(rings) = &mut self.rings else { return Ok(0) };
        rings.rx_provide.sync(Queue::RxProvide.name())?;
        let waiting = rings.rx_provide.waiting();
        let has_some = self.packets.rx_with_driver().saturating_sub(waiting) >= NEXT_TO_NONE;
        self.keeps_rx |= has_some;
        Ok(if self.keeps_rx && !has_some { waiting } else { 0 })
    }

    /// Gives the driver every receive buffer that the host has and the queue has room for.
    pub(crate) fn provide_rx(&mut self) -> Result<(), Fault> {
        let Some(rings) = &mut self.rings else { return Ok(()) };
        rings.rx_provide.sync(Queue::RxProvide.name())?;
        let has = self.packets.rx_with_driver().saturating_sub(rings.rx_provide.waiting());
        self.keeps_rx |= has >= NEXT_TO_NONE;
        if self.packets.give_rx(&mut rings.rx_provide) {
            self.moves += 1;
            rings.rx_provide.publish();
        }
        Ok(())
    }

    /// Gives the driver frames to be sent: those that were kept for it, and after the last of them new ones, which go
    /// from the interface straight into transmit buffers. Says how many.
    pub(crate) fn provide_tx(
        &mut self,
        backend: &mut impl NetBackend,
        counters: &mut NetCounters,
        now_ns: u64,
    ) -> Result<std::io::Result<u32>, Fault> {
        let Traffic { rings: Some(Rings { tx_provide, beside, .. }), packets, kept, parts, .. } = self else {
            return Ok(Ok(0));
        };
        tx_provide.sync(Queue::TxProvide.name())?;
        let mut again = 0;
        if !kept.is_empty() {
            let room = tx_provide.room() as usize;
            let mut whole = 0;
            while let Some(count) = packets.frame_count(&kept[whole..]).filter(|count| whole + count <= room) {
                whole += count;
                again += 1;
                if whole == kept.len() {
                    break;
                }
            }
            packets.give_tx_again((tx_provide, beside), now_ns, kept.drain(..whole));
            if !kept.is_empty() {
                // Newer ones would pass those for which there was no room.
                if again > 0 {
                    self.moves += 1;
                    tx_provide.publish();
                }
                return Ok(Ok(again));
            }
        }
        let Frames { sent_bytes, offloads, .. } = self.frames;
        let (window, layout) = (self.window.slice(), *packets.layout());
        let (given, outcome) = packets.give_tx((tx_provide, beside), now_ns, *parts, |ids| {
            backend.fetch(&Room::new(window, layout, ids, sent_bytes, offloads))
        });
        let GivenOut { frames, bytes, checksums, segmented } = given;
        counters.tx_packets += u64::from(frames);
        counters.tx_bytes += bytes;
        counters.tx_checksums += u64::from(checksums);
        counters.tx_segmented += u64::from(segmented);
        counters.tx_unfit += u64::from(backend.unfit());
        if again + frames > 0 {
            self.moves += 1;
            tx_provide.publish();
        }
        Ok(outcome.map(|()| again + frames))
    }

    /// Rolls back the frames to be sent that the driver has not taken yet; they will be given again, in order. Those of
    /// which parts came back already cannot be, and are given up: says how many.
    pub(crate) fn withhold_tx(&mut self) -> Result<u64, Fault> {
        let Some(rings) = &mut self.rings else { return Ok(0) };
        rings.tx_provide.sync(Queue::TxProvide.name())?;
        let waiting = rings.tx_provide.waiting();
        rings.tx_provide.retract(waiting);
        // What it was given last; a driver that gave something back without taking it gets as much less again.
        let mut given = self.packets.sending();
        let mut waiting = given.split_off(given.len().saturating_sub(waiting as usize));
        waiting.iter().for_each(|&id| self.packets.withdraw(id));
        // Parts of a frame of which the driver returned others without having taken them.
        let parts = self.keep_whole(&mut waiting);
        // A frame whose end came back was counted then.
        let given_up = self.packets.frames_in(&parts);
        parts.into_iter().for_each(|id| self.packets.give_up(id));
        self.kept.splice(0..0, waiting);
        Ok(given_up)
    }

    /// Gives up the oldest frame that was withheld. Says whether there was one.
    pub(crate) fn drop_withheld_tx(&mut self) -> bool {
        if self.kept.is_empty() {
            return false;
        }
        let count = self.packets.frame_count(&self.kept).unwrap_or(1);
        self.kept.drain(..count).for_each(|id| self.packets.give_up(id));
        true
    }

    /// Checks every entry that the driver returned, and holds its buffer. Nothing counts before
    /// [`accept`](Self::accept); after a fault, everything is as it was.
    pub(crate) fn check(&mut self) -> Result<(), Fault> {
        let outcome = self.check_received().and_then(|()| self.check_sent()).and_then(|()| self.look_at_provided());
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
        let taken = rings.tx_provide.look(Queue::TxProvide.name())?;
        // A filter's part of the SDK moves entries up in the ring, so the place in it does not say which is next.
        let is_next_of_frame = |at| !self.packets.begins(&QueueEntry::from_words(rings.tx_provide.get(at)));
        if self.parts.1 > 1 && taken != rings.tx_provide.produced() && is_next_of_frame(taken) {
            let rule = "a frame was taken in part";
            return Err(Fault::QueueCorrupt { queue: Queue::TxProvide.name(), value: taken, rule });
        }
        Ok(())
    }

    fn check_received(&mut self) -> Result<(), Fault> {
        let Traffic { rings: Some(Rings { rx_return, .. }), packets, received, received_others, .. } = self else {
            return Ok(());
        };
        let (mut chain, longest_bytes) = (Chain::default(), self.frames.longest_bytes);
        rx_return.take(Queue::RxReturn.name(), |words| {
            let whole = if chain.is_open() { None } else { packets.hold_received(words) };
            let returned = match whole {
                Some((id, len_bytes, checked)) => Returned { id, len_bytes, checked, more: 0 },
                None => {
                    let entry = QueueEntry::from_words(words);
                    let status = packets.check(Queue::RxReturn, &entry)?;
                    let place = chain.follow(&entry, status, longest_bytes)?;
                    packets.hold(&entry);
                    let begins = entry.flags & entry_flags::FIRST != 0;
                    if let Place::Last(before) = place {
                        let first = received.len() - usize::from(before);
                        received[first].more = before;
                    }
                    // Of a frame in several buffers that a filter drops, each part says so.
                    let is_part = status == PacketStatus::Dropped && entry.flags & entry_flags::LAST == 0;
                    received_others.count(status, !is_part);
                    let len_bytes = if status == PacketStatus::Done { entry.len_bytes } else { 0 };
                    let more = if begins || place == Place::Apart { 0 } else { PART };
                    Returned { id: entry.id, len_bytes, checked: entry.flags & entry_flags::CHECKED != 0, more }
                }
            };
            received.push(returned);
            Ok(())
        })?;
        chain.end()
    }

    fn check_sent(&mut self) -> Result<(), Fault> {
        let Traffic { rings: Some(Rings { tx_return, .. }), packets, sent, sent_others, .. } = self else {
            return Ok(());
        };
        tx_return.take(Queue::TxReturn.name(), |words| {
            let (id, status) = match packets.hold_sent(words) {
                Some(id) => (id, PacketStatus::Done),
                None => {
                    let entry = QueueEntry::from_words(words);
                    let status = packets.check(Queue::TxReturn, &entry)?;
                    packets.hold(&entry);
                    (entry.id, status)
                }
            };
            // As it was given, whatever the driver says of it.
            let ends = packets.ends(id);
            if !ends || status != PacketStatus::Done {
                sent_others.count(status, ends);
            }
            sent.push(id);
            Ok(())
        })
    }

    /// Drops what was checked and not accepted: it counts as not returned.
    pub(crate) fn disregard(&mut self) {
        if let Some(rings) = &mut self.rings {
            rings.rx_return.rewind(self.received.len() as u32);
            rings.tx_return.rewind(self.sent.len() as u32);
        }
        let received = self.received.drain(..).map(|returned| returned.id);
        received.chain(self.sent.drain(..)).for_each(|id| self.packets.unhold(id));
        (self.received_others, self.sent_others) = Default::default();
    }

    /// Accepts what was checked: received frames go to the interface, and all buffers are the host's again.
    pub(crate) fn accept(&mut self, backend: &mut impl NetBackend, counters: &mut NetCounters) -> std::io::Result<()> {
        if self.received.is_empty() && self.sent.is_empty() {
            return Ok(());
        }
        self.moves += 1;
        if let Some(rings) = &mut self.rings {
            rings.rx_return.publish();
            rings.tx_return.publish();
        }
        let Others { failed, unused, dropped, parts } = std::mem::take(&mut self.sent_others);
        counters.tx_done += self.sent.len() as u64 - failed - unused - dropped - parts;
        counters.tx_failed += failed + unused;
        counters.tx_dropped += dropped;
        self.packets.free_tx(&self.sent);
        self.sent.clear();
        let handed_up = self.hand_up(backend, counters)?;
        if handed_up > 0 {
            // What the other side has confirmed counts, and no sooner.
            let no_room = u64::from(backend.flush()?).min(handed_up);
            counters.rx_packets += handed_up - no_room;
            counters.rx_no_room += no_room;
        }
        Ok(())
    }

    /// Hands received frames to the interface, up to the first that it has an error for; their buffers are all the
    /// host's again. Returns for how many it has room.
    fn hand_up(&mut self, backend: &mut impl NetBackend, counters: &mut NetCounters) -> std::io::Result<u64> {
        let Others { failed, dropped, .. } = std::mem::take(&mut self.received_others);
        counters.rx_failed += failed;
        counters.rx_dropped += dropped;
        let Traffic { window, packets, received, believes, .. } = self;
        let window = window.slice();
        let (mut handed_up, mut bytes, mut outcome) = (0, 0, Ok(()));
        let part = |returned: &Returned| frame(&window, packets.frame_offset(returned.id), returned.len_bytes as usize);
        let mut others = Vec::new();
        let frames =
            received.iter().enumerate().filter(|(_, returned)| returned.len_bytes > 0 && returned.more != PART);
        for (at, returned) in frames {
            let checked = returned.checked && *believes;
            others.clear();
            if returned.more > 0 {
                others.extend(received[at + 1..=at + usize::from(returned.more)].iter().map(part));
            }
            let incoming = Incoming::new(part(returned), &others, checked);
            let len_bytes = if returned.more > 0 { incoming.len_bytes() } else { returned.len_bytes as usize };
            match backend.deliver(incoming) {
                Ok(true) => {
                    handed_up += 1;
                    bytes += len_bytes as u64;
                    counters.rx_checked += u64::from(checked);
                }
                Ok(false) => counters.rx_no_room += 1,
                Err(error) => {
                    outcome = Err(error);
                    break;
                }
            }
        }
        counters.rx_bytes += bytes;
        packets.free_rx(received.drain(..).map(|returned| returned.id));
        outcome.map(|()| handed_up)
    }
}

/// Returns the part of a packet buffer that holds its frame.
#[inline]
fn frame<'a>(window: &VolatileSlice<'a>, offset: u64, len: usize) -> VolatileSlice<'a> {
    // The pool lies inside the window by the layout, and ids and lengths were checked against it.
    window.subslice(offset as usize, len).expect("packet buffers lie inside the window")
}
