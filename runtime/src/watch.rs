//! What goes wrong without any single wrong act: frames that are never sent, interrupts that never end or never come,
//! counters that tell another story than the driver. Each rule leaves a good driver on a busy machine alone, and says
//! why.

use nook_abi::net::NetStats;
use nook_abi::{Fault, QUEUE_CAPACITY};

use crate::Counters;

/// Interrupts in consecutive turns, without a frame moved, that are a storm. A turn takes microseconds, and after an
/// interrupt that is dealt with the next turn has none, so that a good driver never comes near; what else is on a
/// shared line would have to interrupt without pause.
const STORM: u32 = 10_000;
/// How often in a row the host may find frames that no interrupt announced. Once or twice can be chance: a frame comes
/// just before the host looks, and its interrupt just afterwards.
const UNANNOUNCED: u32 = 5;
/// Turns in a row that a driver may ask for though nothing moves: it may be waiting for its device, which is nearly
/// done.
const VAIN_TURNS: u32 = 64;
/// The longest rest after a turn that was asked for in vain. A driver that polls its device, as some do instead of
/// having interrupts, finds a frame at most so much later.
const MAX_VAIN_REST_NS: u64 = 1 << 20;

/// What is watched about one driver instance.
#[derive(Debug, Default)]
pub(crate) struct Watch {
    /// Frames that had come out of the driver, received and sent, when the instance began.
    base: (u64, u64),
    /// Interrupts in consecutive turns, and the frames that had moved when they began.
    irqs_in_row: u32,
    moved: u64,
    /// When transmission is looked at next, and whether the last look found frames that were overdue.
    next_transmit_ns: u64,
    transmit_suspect: bool,
    link_up_since_ns: Option<u64>,
    /// When the host looks for itself next whether something was received.
    next_quiet_ns: u64,
    unannounced: u32,
    /// Interrupts when the host last looked for itself.
    irqs_at_look: u64,
    /// When the device's counters are looked at next.
    next_counters_ns: u64,
    moved_at_counters: u64,
    /// Turns in a row that the driver asked for in vain, and what had happened when they began.
    vain: u32,
    happened: u64,
}

impl Watch {
    /// For a new instance.
    pub(crate) fn new(now: Counters) -> Self {
        Self::moved_before((0, 0), &now)
    }

    /// For one that has moved this many frames, received and sent, when `now` is what was counted.
    pub(crate) fn moved_before(moved: (u64, u64), now: &Counters) -> Self {
        let base = (handed_up(now).saturating_sub(moved.0), now.tx_done.saturating_sub(moved.1));
        Watch { base, ..Watch::default() }
    }

    /// Frames that the instance has moved, received and sent.
    pub(crate) fn moved(&self, now: &Counters) -> (u64, u64) {
        (handed_up(now) - self.base.0, now.tx_done - self.base.1)
    }

    /// A turn has ended. If the driver asks for the next one, and nothing has come of those that it asked for before
    /// (no frame, no interrupt), then the next one waits: longer each time, and at least as long as this one took. So a
    /// driver that always asks gets half of its thread at most, and one whose device needs a while waits not much
    /// longer for it.
    #[inline]
    pub(crate) fn rest_ns(&mut self, asks: bool, counters: &Counters, took_ns: impl FnOnce() -> u64) -> Option<u64> {
        let happened = returned(counters) + counters.irqs;
        if !asks || happened != self.happened {
            self.happened = happened;
            self.vain = 0;
            return None;
        }
        self.vain += 1;
        let beyond = self.vain.checked_sub(VAIN_TURNS)?;
        Some(took_ns().max(MAX_VAIN_REST_NS.min(1024 << beyond.min(32))))
    }

    /// One turn's interrupts.
    #[inline]
    pub(crate) fn irqs(&mut self, vectors: u32, counters: &Counters) -> Result<(), Fault> {
        let moved = returned(counters);
        if vectors == 0 || moved != self.moved {
            self.moved = moved;
            self.irqs_in_row = 0;
            return Ok(());
        }
        self.irqs_in_row += 1;
        if self.irqs_in_row < STORM {
            return Ok(());
        }
        Err(Fault::InterruptStorm { vector: vectors.trailing_zeros(), interrupts: self.irqs_in_row })
    }

    /// Whether it is time to look for frames that were never sent: the time before which a frame must have been given
    /// to be overdue. Time without link does not count.
    #[inline]
    pub(crate) fn transmit_due(&mut self, now_ns: u64, link_is_up: bool, limit_ns: u64) -> Option<u64> {
        if !link_is_up {
            self.link_up_since_ns = None;
            self.transmit_suspect = false;
            return None;
        }
        let up_since_ns = *self.link_up_since_ns.get_or_insert(now_ns);
        if now_ns < self.next_transmit_ns {
            return None;
        }
        self.next_transmit_ns = now_ns + limit_ns / 4;
        let given_before_ns = now_ns.saturating_sub(limit_ns);
        (up_since_ns <= given_before_ns).then_some(given_before_ns)
    }

    /// How many frames were overdue at a look. The first time, the driver is polled once more: if it was the nook that
    /// stood still (a debugger, a machine that slept), the driver could not help it. Says whether to poll.
    pub(crate) fn overdue(&mut self, packets: u32, limit_ns: u64) -> Result<bool, Fault> {
        let suspect = std::mem::replace(&mut self.transmit_suspect, packets > 0);
        if suspect && packets > 0 {
            return Err(Fault::TransmitStuck { packets, limit_ns });
        }
        Ok(packets > 0)
    }

    /// The driver is polled now, for a reason of its own: the host need not look for itself for a while.
    #[inline]
    pub(crate) fn polled(&mut self, now_ns: u64, quiet_ns: u64) {
        self.next_quiet_ns = now_ns + quiet_ns;
    }

    /// Whether the host should look for itself.
    #[inline]
    pub(crate) fn is_quiet(&self, now_ns: u64) -> bool {
        now_ns >= self.next_quiet_ns
    }

    /// When [`is_quiet`](Self::is_quiet) comes true.
    pub(crate) fn quiet_due_ns(&self) -> u64 {
        self.next_quiet_ns
    }

    /// The host looked for itself, and found so many received frames. Sent ones do not count: some drivers do without
    /// interrupts for those.
    pub(crate) fn looked(&mut self, received: u64, counters: &Counters) -> Result<(), Fault> {
        let announced = counters.irqs != self.irqs_at_look;
        self.irqs_at_look = counters.irqs;
        self.unannounced = match (received > 0, announced) {
            (false, _) => 0,
            (true, true) => 1,
            (true, false) => self.unannounced + 1,
        };
        if self.unannounced < UNANNOUNCED {
            return Ok(());
        }
        Err(Fault::InterruptsMasked { polls: self.unannounced })
    }

    /// Whether it is time to compare the device's counters with what was moved.
    #[inline]
    pub(crate) fn counters_due(&mut self, now_ns: u64, counters: &Counters, every_ns: u64) -> bool {
        if now_ns < self.next_counters_ns {
            return false;
        }
        let first = self.next_counters_ns == 0;
        self.next_counters_ns = now_ns + every_ns;
        let moved = returned(counters);
        !first && std::mem::replace(&mut self.moved_at_counters, moved) != moved
    }

    /// Compares what the driver reports of its device with what it moved. Frames under way are nobody's mistake, nor
    /// are those that were in the rings when a driver reset its device.
    pub(crate) fn compare(
        &self,
        stats: &NetStats,
        now: &Counters,
        rx_buffers: u32,
        tx_buffers: u32,
    ) -> Result<(), Fault> {
        let lost = stats.tx_timeouts.saturating_add(1);
        let under_way = |buffers: u32| lost.saturating_mul(u64::from(buffers + 2 * QUEUE_CAPACITY));
        let (received, sent) = self.moved(now);
        if stats.rx_packets > received.saturating_add(under_way(rx_buffers)) {
            let rule = "received frames are missing";
            let (counter, device) = ("rx_packets", stats.rx_packets);
            return Err(Fault::CountersDisagree { counter, device, driver: received, rule });
        }
        if sent > stats.tx_packets.saturating_add(under_way(tx_buffers)) {
            let rule = "frames that were returned as sent were not";
            let (counter, device) = ("tx_packets", stats.tx_packets);
            return Err(Fault::CountersDisagree { counter, device, driver: sent, rule });
        }
        Ok(())
    }
}

/// Received frames that came out of the driver.
fn handed_up(counters: &Counters) -> u64 {
    counters.rx_packets + counters.rx_no_room + counters.rx_failed + counters.rx_dropped
}

/// Frames that came out of the driver, of either direction.
fn returned(counters: &Counters) -> u64 {
    handed_up(counters) + counters.tx_done + counters.tx_failed + counters.tx_dropped
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: u64 = 1_000_000_000;

    #[test]
    fn interrupts_are_a_storm_only_in_a_row_and_without_a_frame() {
        let mut watch = Watch::default();
        let mut counters = Counters::default();
        for turn in 0..4 * STORM {
            // Every other turn has none, and later each moves a frame.
            let quiet = turn < 2 * STORM && turn % 2 == 0;
            counters.rx_packets += u64::from(turn >= 2 * STORM);
            watch.irqs(u32::from(!quiet), &counters).unwrap();
        }
        let storm = (0..2 * STORM).find_map(|_| watch.irqs(4, &counters).err());
        assert_eq!(storm, Some(Fault::InterruptStorm { vector: 2, interrupts: STORM }));
    }

    #[test]
    fn who_asks_in_vain_rests_longer_each_time_until_something_happens() {
        let mut watch = Watch::default();
        let mut counters = Counters { polls: 1, ..Counters::default() };
        let mut rests = |asks, happens: bool, took_ns, turns: u32| -> Vec<u64> {
            counters.tx_done += u64::from(happens);
            let mut rest = |_| watch.rest_ns(asks, &counters, || took_ns);
            (0..turns).filter_map(&mut rest).collect()
        };
        let vain = rests(true, false, 10, 2 * VAIN_TURNS);
        assert!(vain.is_sorted() && vain[0] < 2048 && vain[vain.len() - 1] == MAX_VAIN_REST_NS, "{vain:?}");
        assert_eq!(rests(true, true, 10, VAIN_TURNS), [0; 0]);
        assert_eq!(rests(true, false, 50_000_000, 1), [50_000_000]);
        assert_eq!(rests(false, false, 10, 1), [0; 0]);
        assert_eq!(rests(true, false, 10, VAIN_TURNS - 1), [0; 0]);
    }

    #[test]
    fn a_frame_is_overdue_at_two_looks_with_the_link_up_all_the_time() {
        let mut watch = Watch::default();
        assert_eq!(watch.transmit_due(5 * SECOND, true, 4 * SECOND), None);
        assert_eq!(watch.transmit_due(9 * SECOND, true, 4 * SECOND), Some(5 * SECOND));
        assert_eq!(watch.overdue(3, 4 * SECOND), Ok(true));
        assert_eq!(watch.transmit_due(9 * SECOND + 1, true, 4 * SECOND), None);
        assert_eq!(watch.transmit_due(10 * SECOND, true, 4 * SECOND), Some(6 * SECOND));
        assert_eq!(watch.overdue(2, 4 * SECOND), Err(Fault::TransmitStuck { packets: 2, limit_ns: 4 * SECOND }));
        assert_eq!(watch.transmit_due(11 * SECOND, false, 4 * SECOND), None);
        assert_eq!(watch.transmit_due(12 * SECOND, true, 4 * SECOND), None);
    }

    #[test]
    fn frames_without_interrupts_are_a_fault_only_in_a_row() {
        let mut watch = Watch::default();
        let mut counters = Counters::default();
        for _ in 0..3 * UNANNOUNCED {
            counters.irqs += 1;
            watch.looked(1, &counters).unwrap();
        }
        for _ in 0..3 {
            for _ in 0..UNANNOUNCED - 2 {
                watch.looked(9, &counters).unwrap();
            }
            watch.looked(0, &counters).unwrap();
        }
        let fault = (0..UNANNOUNCED).find_map(|_| watch.looked(1, &counters).err());
        assert_eq!(fault, Some(Fault::InterruptsMasked { polls: UNANNOUNCED }));
    }

    #[test]
    fn counters_may_differ_by_what_is_under_way() {
        let base = Counters { rx_packets: 70, tx_done: 90, ..Counters::default() };
        let watch = Watch::new(base);
        let now = Counters { rx_packets: 170, tx_done: 190, ..base };
        let under_way = u64::from(512 + 2 * QUEUE_CAPACITY);
        let agree = |rx_packets, tx_packets, tx_timeouts| {
            let stats = NetStats { rx_packets, tx_packets, tx_timeouts, ..NetStats::default() };
            watch.compare(&stats, &now, 512, 512).is_ok()
        };
        assert!(agree(100, 100, 0) && agree(0, 5000, 0) && agree(100 + under_way, 100, 0));
        assert!(!agree(101 + under_way, 100, 0) && agree(101 + under_way, 100, 1));
        let now = Counters { tx_done: 91 + under_way + 1, ..base };
        assert!(watch.compare(&NetStats::default(), &now, 512, 512).is_err());
    }
}
