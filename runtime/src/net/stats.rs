//! The counters that a driver reports of its device.

use nook_abi::net::NetStats;
use nook_net_api::Uplink;

use super::Net;
use crate::{Driver, Nook, NookError};

/// What a driver that counts nothing leaves: no counter comes so far.
const NO_STATS: NetStats = NetStats {
    rx_packets: u64::MAX,
    rx_bytes: 0,
    rx_errors: 0,
    rx_missed: 0,
    rx_crc_errors: 0,
    rx_length_errors: 0,
    multicast: 0,
    tx_packets: u64::MAX,
    tx_bytes: 0,
    tx_errors: 0,
    collisions: 0,
    tx_timeouts: 0,
};

impl<U: Uplink> Net<U> {
    /// Asks the driver for fresh ones, and compares them with what it moved; all zero if it has none.
    pub(super) fn fresh_stats(&mut self, driver: &mut dyn Driver) -> Result<NetStats, NookError> {
        if let Some(space) = &driver.host().space {
            space.write_stats(&NO_STATS);
        }
        driver.stats().map_err(|fault| driver.host().error(fault))?;
        let host = driver.host();
        let stats = host.space.as_ref().map_or(NO_STATS, |space| space.read_host_page().stats);
        if stats.rx_packets == u64::MAX || stats.tx_packets == u64::MAX {
            return Ok(NetStats::default());
        }
        let compared = self.watch.compare(&stats, &self.counters, host.manifest.rx_buffers, host.manifest.tx_buffers);
        compared.map(|()| stats).map_err(|fault| host.error(fault))
    }
}

impl<U: Uplink> Nook<Net<U>> {
    /// Fresh counters from the driver and its device.
    ///
    /// # Errors
    /// What the driver did wrong.
    pub fn stats(&mut self) -> Result<NetStats, NookError> {
        let (class, driver) = self.class_and_driver()?;
        class.fresh_stats(driver)
    }
}
