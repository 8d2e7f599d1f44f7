//! What the interface is set to, and how the driver is told.

use nook_abi::net::{loopback_mode, rx_mode};
use nook_abi::{Entry, Fault, Status};

use super::Nook;
use crate::{Driver, NookError, Settings, Uplink};

impl<U: Uplink> Nook<U> {
    /// What the interface is set to.
    pub fn settings(&self) -> &Settings {
        &self.settings
    }

    /// Changes what the interface is set to, now if the driver runs, and for every later start.
    ///
    /// # Errors
    /// If the driver refuses one of them; then the settings are as before, as far as the driver lets them be. If it
    /// does not have some of them, [`Lacks`](NookError::Lacks): those are as before, and the others as wanted.
    pub fn set(&mut self, mut settings: Settings) -> Result<(), NookError> {
        if !self.life.runs() {
            self.settings = settings;
            return Ok(());
        }
        match self.apply(&settings) {
            Ok(lacking) if lacking.is_empty() => {
                self.settings = settings;
                Ok(())
            }
            Ok(entries) => {
                let before = &self.settings;
                for entry in &entries {
                    match *entry {
                        Entry::SetMac => settings.mac = before.mac,
                        Entry::SetMtu => settings.mtu_bytes = before.mtu_bytes,
                        Entry::SetLoopback => settings.loopback = before.loopback,
                        _ => {
                            settings.promiscuous = before.promiscuous;
                            settings.all_multicast = before.all_multicast;
                            settings.multicast.clone_from(&before.multicast);
                        }
                    }
                }
                self.settings = settings;
                Err(NookError::Lacks { entries })
            }
            Err(error) => {
                if let NookError::Refused { .. } = error {
                    let before = self.settings.clone();
                    // What it took before it takes again; if not, the first refusal is the one to report.
                    let _ = self.apply(&before);
                }
                Err(error)
            }
        }
    }

    /// Turns loopback inside of the device on or off: one of the settings.
    ///
    /// # Errors
    /// As [`set`](Self::set).
    pub fn set_loopback(&mut self, on: bool) -> Result<(), NookError> {
        self.set(Settings { loopback: on, ..self.settings.clone() })
    }

    /// Tells the driver all of them. Returns the entries that it does not have, of those for what was asked.
    pub(super) fn apply(&mut self, settings: &Settings) -> Result<Vec<Entry>, NookError> {
        let own = self.interface().ok_or(NookError::NoInterface)?.mac;
        let mut lacking = Vec::new();
        let mut mac = settings.mac.unwrap_or(own);
        // A driver that was told another address does not find back to its own by itself.
        if settings.mac.is_some() || self.told_mac {
            let [a, b, c, d, e, f] = mac;
            let bytes = u64::from_le_bytes([a, b, c, d, e, f, 0, 0]);
            self.setting(&mut lacking, Entry::SetMac, |driver| driver.set_mac(bytes))?;
            if lacking.is_empty() {
                self.told_mac = true;
            } else {
                mac = own;
            }
        }
        self.uplink.set_mac(mac).map_err(NookError::Uplink)?;
        if let Some(mtu_bytes) = settings.mtu_bytes {
            self.setting(&mut lacking, Entry::SetMtu, |driver| driver.set_mtu(mtu_bytes))?;
        }
        let promiscuous = if settings.promiscuous { rx_mode::PROMISCUOUS } else { 0 };
        let all_multicast = if settings.all_multicast { rx_mode::ALL_MULTICAST } else { 0 };
        let count = self.host_mut().mail_addresses(&settings.multicast);
        let mode = promiscuous | all_multicast;
        // A driver that cannot be told receives what it receives; that is worth a word only if more was wanted.
        let mut unasked = Vec::new();
        let asked = settings.promiscuous || count > 0;
        let told = if asked { &mut lacking } else { &mut unasked };
        self.setting(told, Entry::SetRxMode, |driver| driver.set_rx_mode(mode, count))?;
        // A driver that was never asked for loopback need not have it.
        if settings.loopback || self.settings.loopback {
            let mode = if settings.loopback { loopback_mode::ON } else { loopback_mode::OFF };
            self.setting(&mut lacking, Entry::SetLoopback, |driver| driver.set_loopback(mode))?;
        }
        Ok(lacking)
    }

    /// Calls an entry for a setting; notes it in `lacking` if the driver does not have it.
    fn setting(
        &mut self,
        lacking: &mut Vec<Entry>,
        entry: Entry,
        call: impl FnOnce(&mut dyn Driver) -> Result<i32, Fault>,
    ) -> Result<(), NookError> {
        match self.call(entry, call) {
            Err(NookError::Refused { status: Status::Unsupported, .. }) => {
                lacking.push(entry);
                Ok(())
            }
            outcome => outcome,
        }
    }
}
