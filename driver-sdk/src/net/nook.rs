//! What a network driver asks of its host.

use nook_abi::Status;
use nook_abi::net::{LinkState, NetPage, NetStats};

use crate::nook::status;
use crate::{Kernel, MacAddress, NetQueues, Nook};

impl<K: Kernel> Nook<K> {
    /// Returns the packet queues. Called once, in `probe`: two handles to one ring would each miss what the other did.
    pub fn queues(&self) -> NetQueues {
        NetQueues::new(self.page())
    }

    /// Returns how many queues the operator wants the driver to use, at most: at least 1, and no more than the `queues`
    /// of its manifest. [`NetDriver::poll`](crate::NetDriver::poll) is called for queue 0, and for each below this
    /// number once [`poll_schedule`](Self::poll_schedule) was called for it.
    pub fn wanted_queues(&self) -> u32 {
        (NetPage::from_words(&self.page().get().class).queues as u32).max(1)
    }

    /// Makes the network interface, once, in `probe`. `max_mtu_bytes` does not count the Ethernet header.
    pub fn net_attach(&self, mac: MacAddress, max_mtu_bytes: u32) -> Result<(), Status> {
        let [a, b, c, d, e, f] = mac;
        let mac = u64::from_le_bytes([a, b, c, d, e, f, 0, 0]);
        status(self.calls().net_attach(mac, max_mtu_bytes))
    }

    /// Says what the device does to frames in the host's place, once, in `probe`, after
    /// [`net_attach`](Self::net_attach): bits of [`offload`](nook_abi::net::offload).
    pub fn net_offloads(&self, offloads: u32) {
        self.calls().net_offloads(offloads);
    }

    /// Reports the link.
    pub fn net_link(&self, link: LinkState) {
        self.calls().net_link(link.up.into(), link.speed_mbps, link.full_duplex.into());
    }

    #[inline(always)]
    pub(super) fn net_filter(&self, direction: u32, offset: u32, len_bytes: u32) -> u32 {
        self.calls().net_filter(direction, offset, len_bytes)
    }

    /// Leaves counters where the host reads them after the `stats` entry.
    pub(super) fn post_stats(&self, stats: NetStats) {
        self.post(NetPage::STATS_WORD, &stats.to_words());
    }

    /// Names counters, once, in `probe`; they are [right](nook_abi::net::counter_rule).
    pub(super) fn name_counters(&self, names: &[&str]) -> Result<(), Status> {
        let (mailbox, mut at) = (self.page().mailbox(), 0);
        for name in names {
            mailbox.write_bytes(at, name.as_bytes())?;
            mailbox.write_bytes(at + name.len() as u32, b"\n")?;
            at += name.len() as u32 + 1;
        }
        self.calls().net_counters(at);
        Ok(())
    }

    /// Reports what the named counters have counted, in the `stats` entry.
    pub(super) fn report_counts(&self, counts: &[u64]) {
        let mailbox = self.page().mailbox();
        for (at, count) in (0..).step_by(size_of::<u64>()).zip(counts) {
            // Never more than have a place there: the host refuses any other number than was named.
            let _ = mailbox.write_bytes(at, &count.to_le_bytes());
        }
        self.calls().net_counts(counts.len() as u32);
    }
}
