//! [`FilterHook`]: asks the nook's filter about each frame that passes the driver.
//!
//! It works on the queues themselves, before and after each call into the driver, so a driver need not know of it: what
//! is dropped on the way to the device never comes out of `tx_provide`, and what is dropped on the way to the host is
//! marked so in `rx_return`.

use nook_abi::net::{
    EntryWords, NetPage, PacketStatus, PoolLayout, Queue, QueueEntry, entry_flags, filter_direction, filter_verdict,
};
use nook_abi::{QUEUE_CAPACITY, RingHeader};

use super::queues::{Ring, Sides, ring, tx_sides};
use crate::raw::Page;
use crate::{Kernel, Nook, Packet};

/// The queues that frames come out of, and how far they were looked at.
pub(crate) struct FilterHook {
    tx_provide: Ring,
    /// What stands beside `tx_provide`.
    tx_sides: Option<Sides>,
    tx_return: Ring,
    rx_return: Ring,
    pool: PoolLayout,
    tx_seen: u32,
    /// The entry before that place, as the last call left it.
    tx_last: EntryWords,
    rx_seen: u32,
    /// What became of the frame whose last entry was not seen yet, or of the last one: it is dropped.
    tx_drops: bool,
    rx_drops: bool,
}

impl FilterHook {
    /// Creates it; `None` if the nook has no filter.
    pub(crate) fn new(page: Page) -> Option<Self> {
        let NetPage { filters, pool, .. } = NetPage::from_words(&page.get().class);
        (filters != 0).then(|| FilterHook {
            tx_provide: ring(page, Queue::TxProvide),
            tx_sides: tx_sides(page),
            tx_return: ring(page, Queue::TxReturn),
            rx_return: ring(page, Queue::RxReturn),
            pool,
            tx_seen: 0,
            tx_last: EntryWords::default(),
            rx_seen: 0,
            tx_drops: false,
            rx_drops: false,
        })
    }

    fn drops<K: Kernel>(&self, nook: &Nook<K>, direction: u32, entry: &QueueEntry) -> bool {
        let PoolLayout { offset, stride_bytes, headroom_bytes, .. } = self.pool;
        let at = entry.id.wrapping_mul(stride_bytes).wrapping_add(offset + headroom_bytes);
        nook.net_filter(direction, at, entry.len_bytes) != filter_verdict::PASS
    }

    /// Filters, before a call, the frames that the host has given and the driver is to send.
    #[inline(never)]
    pub(crate) fn before<K: Kernel>(&mut self, nook: &Nook<K>) {
        let RingHeader { produced, consumed } = self.tx_provide.header();
        let returned = self.tx_return.header();
        let mut put = returned.produced;
        let (waiting, seen) = (produced.wrapping_sub(consumed), self.tx_seen.wrapping_sub(consumed));
        // The host may have withdrawn what the driver had not taken, and given some of it again, or other frames.
        let is_as_left = seen <= waiting && self.tx_provide.get(self.tx_seen.wrapping_sub(1)) == self.tx_last;
        if seen != 0 && !is_as_left {
            self.tx_seen = consumed;
        }
        if self.tx_seen == produced {
            return;
        }
        while self.tx_seen != produced {
            let given = QueueEntry::from_words(self.tx_provide.get(self.tx_seen));
            // A frame's first buffer has its headers; the others go where it goes.
            if begins(&given) {
                self.tx_drops = self.drops(nook, filter_direction::SENDING, &given);
            }
            if self.tx_drops {
                // The host reclaims everything after each call that moves frames, so this has room.
                assert!(put.wrapping_sub(returned.consumed) < QUEUE_CAPACITY, "tx_return is full");
                let dropped = Packet::from(&given).returned(given.len_bytes, PacketStatus::Dropped);
                self.tx_return.set(put, dropped.to_words());
                put = put.wrapping_add(1);
                let marked = QueueEntry { status: PacketStatus::Dropped as u16, ..given };
                self.tx_provide.set(self.tx_seen, marked.to_words());
            }
            self.tx_seen = self.tx_seen.wrapping_add(1);
        }
        if put != returned.produced {
            self.tx_return.set_produced(put);
            self.move_up(consumed, produced);
        }
        self.tx_last = self.tx_provide.get(produced.wrapping_sub(1));
    }

    /// Moves what passes up in `tx_provide`, so that what does not is behind the driver.
    fn move_up(&self, consumed: u32, produced: u32) {
        let (mut at, mut to) = (produced, produced);
        while at != consumed {
            at = at.wrapping_sub(1);
            let given = self.tx_provide.get(at);
            if QueueEntry::from_words(given).status == 0 {
                to = to.wrapping_sub(1);
                self.tx_provide.set(to, given);
                if QueueEntry::from_words(given).flags & entry_flags::SIDE != 0
                    && let Some(sides) = &self.tx_sides
                {
                    sides.set(to, sides.get(at));
                }
            }
        }
        self.tx_provide.set_consumed(to);
    }

    /// Filters, after a call, the frames that the driver has received.
    #[inline(never)]
    pub(crate) fn after<K: Kernel>(&mut self, nook: &Nook<K>) {
        let produced = self.rx_return.header().produced;
        while self.rx_seen != produced {
            let returned = QueueEntry::from_words(self.rx_return.get(self.rx_seen));
            let received = returned.status == PacketStatus::Done as u16;
            if received && begins(&returned) {
                self.rx_drops = self.drops(nook, filter_direction::RECEIVED, &returned);
            }
            if received && self.rx_drops {
                let marked = QueueEntry { status: PacketStatus::Dropped as u16, ..returned };
                self.rx_return.set(self.rx_seen, marked.to_words());
            }
            self.rx_seen = self.rx_seen.wrapping_add(1);
        }
    }
}

/// Returns whether an entry begins a frame.
fn begins(entry: &QueueEntry) -> bool {
    entry.flags & entry_flags::FIRST != 0
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::TestHost;
    use nook_abi::net::Side;
    use std::vec::Vec;

    const WHOLE: u16 = entry_flags::FIRST | entry_flags::LAST;

    fn given(id: u32) -> QueueEntry {
        QueueEntry { id, generation: 7, flags: WHOLE, len_bytes: 60, ..QueueEntry::default() }
    }

    fn filter_hook(host: &TestHost) -> FilterHook {
        let class = NetPage { filters: 1, ..host.net_page() }.to_words();
        host.nook().page().change(|page| page.class = class);
        FilterHook::new(host.nook().page()).unwrap()
    }

    fn ids(entries: &[QueueEntry]) -> Vec<(u32, u16)> {
        entries.iter().map(|entry| (entry.id, entry.status)).collect()
    }

    #[test]
    fn without_a_filter_there_is_no_sieve() {
        assert!(FilterHook::new(TestHost::new().nook().page()).is_none());
    }

    #[test]
    fn what_is_dropped_on_its_way_to_the_device_comes_back_and_the_rest_keeps_its_order() {
        let host = TestHost::new();
        let (mut filter_hook, mut queues) = (filter_hook(&host), host.nook().queues());
        for round in 0..200u32 {
            let base = round % 100 * 4;
            (0..3).for_each(|id| host.provide(Queue::TxProvide, given(base + id)));
            filter_hook.before(&host.nook());
            // Looked at once: the answer has changed, and these pass all the same.
            host.answer("net_filter", 1);
            filter_hook.before(&host.nook());
            host.provide(Queue::TxProvide, given(base + 3));
            filter_hook.before(&host.nook());
            let taken: Vec<_> = queues.tx_provide.begin().map(|entry| entry.id).collect();
            assert_eq!(taken, [base, base + 1, base + 2]);
            assert_eq!(ids(&host.returned(Queue::TxReturn)), [(base + 3, PacketStatus::Dropped as u16)]);
            host.answer("net_filter", 0);
        }
        assert_eq!(host.calls().iter().filter(|call| call.starts_with("net_filter [1, ")).count(), 800);
    }

    #[test]
    fn what_the_host_withdrew_and_gave_again_is_looked_at_again() {
        let host = TestHost::new();
        let mut filter_hook = filter_hook(&host);
        let provided = ring(host.nook().page(), Queue::TxProvide);
        let asked = || host.calls().iter().filter(|call| call.starts_with("net_filter [1, ")).count();
        (0..3).for_each(|id| host.provide(Queue::TxProvide, given(id)));
        filter_hook.before(&host.nook());
        assert_eq!(asked(), 3);
        // The first is given again alone.
        provided.set_produced(0);
        host.provide(Queue::TxProvide, given(0));
        filter_hook.before(&host.nook());
        assert_eq!(asked(), 4);
        // It is given up, and another stands in its place.
        provided.set_produced(0);
        host.provide(Queue::TxProvide, given(9));
        host.answer("net_filter", 1);
        filter_hook.before(&host.nook());
        assert_eq!(asked(), 5);
        assert_eq!(ids(&host.returned(Queue::TxReturn)), [(9, PacketStatus::Dropped as u16)]);
        assert_eq!(host.waiting(Queue::TxProvide), 0);
    }

    #[test]
    fn what_is_dropped_on_its_way_to_the_host_is_marked_and_what_failed_is_not_looked_at() {
        let host = TestHost::new();
        let (mut filter_hook, mut queues) = (filter_hook(&host), host.nook().queues());
        host.answer("net_filter", 1);
        let (received, failed) = (Packet::from(&given(1)), Packet::from(&given(2)));
        let mut batch = queues.rx_return.begin();
        batch.vacant().unwrap().put(received.received(60, false));
        batch.vacant().unwrap().put(failed.returned(0, PacketStatus::Failed));
        drop(batch);
        filter_hook.after(&host.nook());
        let at = host.net_page().pool.offset + host.net_page().pool.stride_bytes;
        assert_eq!(host.calls(), [std::format!("net_filter [0, {at}, 60]")]);
        assert_eq!(ids(&host.returned(Queue::RxReturn)), [(1, 3), (2, 1)]);
    }
    #[test]
    fn a_frame_in_several_buffers_goes_as_a_whole_and_what_stands_beside_it_moves_along() {
        let host = TestHost::new();
        let (mut filter_hook, mut queues) = (filter_hook(&host), host.nook().queues());
        for round in 0..200u32 {
            let side = |frame: u32| Side { frame_bytes: 1000 * round + frame, ..Side::default() };
            // Two frames that pass, of two entries and one; then one of three that does not.
            let [first, last] = [entry_flags::FIRST | entry_flags::SIDE, entry_flags::LAST];
            host.provide_beside(QueueEntry { flags: first, ..given(0) }, side(0));
            host.provide(Queue::TxProvide, QueueEntry { flags: last, ..given(1) });
            host.provide_beside(QueueEntry { flags: WHOLE | entry_flags::SIDE, ..given(2) }, side(2));
            filter_hook.before(&host.nook());
            host.answer("net_filter", 1);
            host.provide_beside(QueueEntry { flags: first, ..given(3) }, side(3));
            host.provide(Queue::TxProvide, QueueEntry { flags: 0, ..given(4) });
            host.provide(Queue::TxProvide, QueueEntry { flags: last, ..given(5) });
            filter_hook.before(&host.nook());
            host.answer("net_filter", 0);
            let mut provided = queues.tx_provide.begin();
            for (frame, entries) in [(0, 2), (2, 1)] {
                assert_eq!((provided.frame_count(), provided.side()), (Some(entries), Some(side(frame))));
                provided.by_ref().take(entries as usize).for_each(drop);
            }
            assert_eq!((provided.frame_count(), provided.side()), (None, None));
            drop(provided);
            let dropped = PacketStatus::Dropped as u16;
            assert_eq!(ids(&host.returned(Queue::TxReturn)), [(3, dropped), (4, dropped), (5, dropped)]);
        }
    }
}
