//! What goes wrong with frames without any single wrong act: some are never sent, and counters tell another story than
//! the driver.

use nook_abi::net::{NetFault, NetStats};
use nook_abi::{Fault, QUEUE_CAPACITY};

use super::NetCounters;

/// What is watched about one driver instance.
#[derive(Debug, Default)]
pub(super) struct TrafficMonitor {
    /// Frames that had come out of the driver, received and sent, when the instance began.
    base: (u64, u64),
    /// When transmission is looked at next, and whether the last look found frames that were overdue.
    next_transmit_ns: u64,
    transmit_suspect: bool,
    link_up_since_ns: Option<u64>,
    /// When the device's counters are looked at next.
    next_counters_ns: u64,
    moved_at_counters: u64,
    /// How often the host had the driver change what its device must be reset for: frames in it are lost then.
    resets: u64,
}

impl TrafficMonitor {
    /// Creates a monitor for a new instance.
    pub(super) fn new(now: &NetCounters) -> Self {
        Self::moved_before((0, 0), 0, now)
    }

    /// Creates a monitor for an instance that has moved this many frames, received and sent, and may have reset its
    /// device this often for a setting, when `now` is what was counted.
    pub(super) fn moved_before(moved: (u64, u64), resets: u64, now: &NetCounters) -> Self {
        let base = (now.handed_up().saturating_sub(moved.0), now.tx_done.saturating_sub(moved.1));
        TrafficMonitor { base, resets, ..TrafficMonitor::default() }
    }

    /// Returns how often the device may have been reset for a setting.
    pub(super) fn resets(&self) -> u64 {
        self.resets
    }

    /// Returns the frames that the instance has moved, received and sent.
    pub(super) fn moved(&self, now: &NetCounters) -> (u64, u64) {
        (now.handed_up() - self.base.0, now.tx_done - self.base.1)
    }

    /// Returns, if it is time to look for frames that were never sent, the time before which a frame must have been
    /// given to be overdue. Time without link does not count.
    #[inline]
    pub(super) fn transmit_due(&mut self, now_ns: u64, link_is_up: bool, limit_ns: u64) -> Option<u64> {
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

    /// Notes that the driver may have reset its device because the host set something.
    pub(super) fn expect_reset(&mut self) {
        self.resets += 1;
    }

    /// Notes how many frames were overdue at a check. The first time, the driver is polled once more: if it was the
    /// nook that stood still (a debugger, a machine that slept), the driver could not help it. Says whether to poll.
    pub(super) fn overdue(&mut self, packets: u32, limit_ns: u64) -> Result<bool, Fault> {
        let suspect = std::mem::replace(&mut self.transmit_suspect, packets > 0);
        if suspect && packets > 0 {
            return Err(NetFault::TransmitStuck { packets, limit_ns }.into());
        }
        Ok(packets > 0)
    }

    /// Returns whether it is time to compare the device's counters with what was moved.
    #[inline]
    pub(super) fn counters_due(&mut self, now_ns: u64, counters: &NetCounters, every_ns: u64) -> bool {
        if now_ns < self.next_counters_ns {
            return false;
        }
        let first = self.next_counters_ns == 0;
        self.next_counters_ns = now_ns + every_ns;
        let moved = counters.returned();
        !first && std::mem::replace(&mut self.moved_at_counters, moved) != moved
    }

    /// Compares what the driver reports of its device with what it moved. Frames under way are nobody's mistake, nor
    /// are those that were in the rings when a driver reset its device.
    pub(super) fn compare(
        &self,
        stats: &NetStats,
        now: &NetCounters,
        rx_buffers: u32,
        tx_buffers: u32,
    ) -> Result<(), Fault> {
        let lost = stats.tx_timeouts.saturating_add(1 + self.resets);
        let under_way = |buffers: u32| lost.saturating_mul(u64::from(buffers + 2 * QUEUE_CAPACITY));
        let (received, sent) = self.moved(now);
        if stats.rx_packets > received.saturating_add(under_way(rx_buffers)) {
            let rule = "received frames are missing";
            let (counter, device) = ("rx_packets", stats.rx_packets);
            return Err(NetFault::CountersDisagree { counter, device, driver: received, rule }.into());
        }
        if sent > stats.tx_packets.saturating_add(under_way(tx_buffers)) {
            let rule = "frames that were returned as sent were not";
            let (counter, device) = ("tx_packets", stats.tx_packets);
            return Err(NetFault::CountersDisagree { counter, device, driver: sent, rule }.into());
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: u64 = 1_000_000_000;

    #[test]
    fn a_frame_is_overdue_at_two_looks_with_the_link_up_all_the_time() {
        let mut monitor = TrafficMonitor::default();
        assert_eq!(monitor.transmit_due(5 * SECOND, true, 4 * SECOND), None);
        assert_eq!(monitor.transmit_due(9 * SECOND, true, 4 * SECOND), Some(5 * SECOND));
        assert_eq!(monitor.overdue(3, 4 * SECOND), Ok(true));
        assert_eq!(monitor.transmit_due(9 * SECOND + 1, true, 4 * SECOND), None);
        assert_eq!(monitor.transmit_due(10 * SECOND, true, 4 * SECOND), Some(6 * SECOND));
        assert_eq!(
            monitor.overdue(2, 4 * SECOND),
            Err(NetFault::TransmitStuck { packets: 2, limit_ns: 4 * SECOND }.into())
        );
        assert_eq!(monitor.transmit_due(11 * SECOND, false, 4 * SECOND), None);
        assert_eq!(monitor.transmit_due(12 * SECOND, true, 4 * SECOND), None);
    }

    #[test]
    fn counters_may_differ_by_what_is_under_way() {
        let base = NetCounters { rx_packets: 70, tx_done: 90, ..NetCounters::default() };
        let monitor = TrafficMonitor::new(&base);
        let now = NetCounters { rx_packets: 170, tx_done: 190, ..base };
        let under_way = u64::from(512 + 2 * QUEUE_CAPACITY);
        let agree = |rx_packets, tx_packets, tx_timeouts| {
            let stats = NetStats { rx_packets, tx_packets, tx_timeouts, ..NetStats::default() };
            monitor.compare(&stats, &now, 512, 512).is_ok()
        };
        assert!(agree(100, 100, 0) && agree(0, 5000, 0) && agree(100 + under_way, 100, 0));
        assert!(!agree(101 + under_way, 100, 0) && agree(101 + under_way, 100, 1));
        let mut was_reset = TrafficMonitor::new(&base);
        was_reset.expect_reset();
        let stats = NetStats { rx_packets: 101 + under_way, ..NetStats::default() };
        assert!(was_reset.compare(&stats, &now, 512, 512).is_ok());
        let now = NetCounters { tx_done: 91 + under_way + 1, ..base };
        assert!(monitor.compare(&NetStats::default(), &now, 512, 512).is_err());
    }
}
