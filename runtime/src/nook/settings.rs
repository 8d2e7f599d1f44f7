//! What the interface is set to, and how the driver is told.

use nook_abi::{loopback_mode, rx_mode};

use super::{Nook, State};
use crate::{NookError, Settings, Uplink};

impl<U: Uplink> Nook<U> {
    /// What the interface is set to.
    pub fn settings(&self) -> &Settings {
        &self.settings
    }

    /// Changes what the interface is set to, now if the driver runs, and for every later start.
    ///
    /// # Errors
    /// If the driver refuses one of them; then the settings are as before, as far as the driver lets them be.
    pub fn set(&mut self, settings: Settings) -> Result<(), NookError> {
        if matches!(self.state, State::Running(_)) {
            let outcome = self.apply(&settings);
            if let Err(NookError::Refused { .. }) = outcome {
                let before = self.settings.clone();
                // What it took before it takes again; if not, the first refusal is the one to report.
                let _ = self.apply(&before);
            }
            outcome?;
        }
        self.settings = settings;
        Ok(())
    }

    /// Turns loopback inside of the device on or off: one of the settings.
    ///
    /// # Errors
    /// As [`set`](Self::set).
    pub fn set_loopback(&mut self, on: bool) -> Result<(), NookError> {
        self.set(Settings { loopback: on, ..self.settings.clone() })
    }

    pub(super) fn apply(&mut self, settings: &Settings) -> Result<(), NookError> {
        let own = self.interface().ok_or(NookError::NoInterface)?.mac;
        let mac = settings.mac.unwrap_or(own);
        if let Some([a, b, c, d, e, f]) = settings.mac {
            let mac = u64::from_le_bytes([a, b, c, d, e, f, 0, 0]);
            self.call("set_mac", |driver| driver.set_mac(mac))?;
        }
        self.uplink.set_mac(mac).map_err(NookError::Uplink)?;
        if let Some(mtu_bytes) = settings.mtu_bytes {
            self.call("set_mtu", |driver| driver.set_mtu(mtu_bytes))?;
        }
        let promiscuous = if settings.promiscuous { rx_mode::PROMISCUOUS } else { 0 };
        let all_multicast = if settings.all_multicast { rx_mode::ALL_MULTICAST } else { 0 };
        let count = self.host_mut().mail_addresses(&settings.multicast);
        self.call("set_rx_mode", |driver| driver.set_rx_mode(promiscuous | all_multicast, count))?;
        // A driver that was never asked for loopback need not have it.
        if settings.loopback || self.settings.loopback {
            let mode = if settings.loopback { loopback_mode::ON } else { loopback_mode::OFF };
            self.call("set_loopback", |driver| driver.set_loopback(mode))?;
        }
        Ok(())
    }
}
