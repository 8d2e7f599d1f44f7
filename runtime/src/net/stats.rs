//! The counters that a driver reports of its device.

use nook_abi::HostPage;
use nook_abi::net::{NetKeys, NetPage, NetStats};
use nook_net_api::NetBackend;

use super::Net;
use crate::{Driver, Host, Nook, NookError};

impl<U: NetBackend> Net<U> {
    /// Asks the driver for fresh ones, and compares them with what it moved; `None` if it has none.
    pub(super) fn fresh_stats(&mut self, driver: &mut dyn Driver) -> Result<Option<NetStats>, NookError> {
        let page = |host: &Host| host.space.as_ref().map(|space| space.read_host_page()).unwrap_or_default();
        let before = page(driver.host()).stats_written;
        let noted = driver.host().call.trace.count();
        driver.stats().map_err(|fault| driver.host().error(fault))?;
        // Some sixty reads, many times a second, would be all that is known of a driver's end.
        driver.host_mut().call.trace.forget_since(noted);
        let host = driver.host();
        let HostPage { stats_written, class, .. } = page(host);
        if stats_written == before {
            return Ok(None);
        }
        let stats = NetPage::from_words(&class).stats;
        let NetKeys { rx_buffers, tx_buffers, .. } = NetKeys::of(&host.manifest).unwrap_or_default();
        let compared = self.monitor.compare(&stats, &self.counters, rx_buffers, tx_buffers);
        compared.map(|()| Some(stats)).map_err(|fault| host.error(fault))
    }
}

impl<U: NetBackend> Nook<Net<U>> {
    /// Reads fresh counters from the driver and its device; all zero if it has none.
    ///
    /// # Errors
    /// What the driver did wrong.
    pub fn stats(&mut self) -> Result<NetStats, NookError> {
        let (class, driver) = self.class_and_driver()?;
        Ok(class.fresh_stats(driver)?.unwrap_or_default())
    }

    /// Returns what the counters that the driver names have counted since the nook was made, as it reported
    /// when it was last asked for counters; they survive its restarts. What an instance counted and never reported is
    /// missing.
    pub fn named_counters(&self) -> Vec<(String, u64)> {
        self.host().port.net().map(|port| port.counters.totals()).unwrap_or_default()
    }
}
