//! The settings of the interface, and how they reach the driver.

use nook_abi::net::{MOST_MULTICAST, loopback_mode, rx_mode};
use nook_abi::{Entry, Fault, Status};

use nook_net_api::NetBackend;

use super::{Net, above};
use crate::{Driver, Host, Nook, NookError, class};

/// What the interface was set to. It holds across restarts.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Settings {
    /// Another address than the device's own.
    pub mac: Option<[u8; 6]>,
    /// The largest payload in bytes, without the Ethernet header.
    pub mtu_bytes: Option<u32>,
    /// Receives everything on the wire.
    pub promiscuous: bool,
    /// Receives all multicast frames.
    pub all_multicast: bool,
    /// Multicast addresses to receive. If they are more than [`MOST_MULTICAST`], all multicast frames are received.
    pub multicast: Vec<[u8; 6]>,
    /// Frames turn round inside the device instead of passing the cable.
    pub loopback: bool,
}

impl Default for Settings {
    /// Returns the settings of a new interface. All multicast frames are received: the interface's other side does not
    /// say which groups it joined.
    fn default() -> Self {
        Settings {
            mac: None,
            mtu_bytes: None,
            promiscuous: false,
            all_multicast: true,
            multicast: Vec::new(),
            loopback: false,
        }
    }
}

impl<U: NetBackend> Nook<Net<U>> {
    /// Returns what the interface is set to.
    pub fn settings(&self) -> &Settings {
        &self.class().settings
    }

    /// Changes what the interface is set to, now if the driver runs, and for every later start.
    ///
    /// # Errors
    /// If the driver refuses one of them; then the settings are as before, as far as the driver lets them be. If it
    /// does not have some of them, [`Lacks`](NookError::Lacks): those are as before, and the others as wanted.
    pub fn set(&mut self, mut settings: Settings) -> Result<(), NookError> {
        if !self.runs() {
            self.class_mut().settings = settings;
            return Ok(());
        }
        let (net, driver) = self.class_and_driver()?;
        match net.apply(driver, &settings) {
            Ok(lacking) if lacking.is_empty() => {
                net.settings = settings;
                Ok(())
            }
            Ok(entries) => {
                let before = &net.settings;
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
                net.settings = settings;
                Err(NookError::Lacks { entries })
            }
            Err(error) => {
                if let NookError::Refused { .. } = error {
                    let before = net.settings.clone();
                    // What it took before it takes again; if not, the first refusal is the one to report.
                    let _ = net.apply(driver, &before);
                }
                Err(error)
            }
        }
    }

    /// Turns loopback inside the device on or off: one of the settings.
    ///
    /// # Errors
    /// As [`set`](Self::set).
    pub fn set_loopback(&mut self, on: bool) -> Result<(), NookError> {
        self.set(Settings { loopback: on, ..self.settings().clone() })
    }
}

impl<U: NetBackend> Net<U> {
    /// Tells the driver all of them. Returns the entries that it does not have, of those for what was asked.
    pub(super) fn apply(&mut self, driver: &mut dyn Driver, settings: &Settings) -> Result<Vec<Entry>, NookError> {
        let interface = driver.host().port.net().and_then(|port| port.interface);
        let own = interface.ok_or(NookError::AttachedNothing)?.mac;
        let mut lacking = Vec::new();
        let mut mac = settings.mac.unwrap_or(own);
        // A driver whose address was changed does not return to its first one by itself.
        if settings.mac.is_some() || self.mac_was_set {
            let [a, b, c, d, e, f] = mac;
            let bytes = u64::from_le_bytes([a, b, c, d, e, f, 0, 0]);
            setting(driver, &mut lacking, Entry::SetMac, |driver| driver.set_mac(bytes))?;
            if lacking.is_empty() {
                self.mac_was_set = true;
            } else {
                mac = own;
            }
        }
        self.backend.set_mac(mac).map_err(above)?;
        if let Some(mtu_bytes) = settings.mtu_bytes {
            setting(driver, &mut lacking, Entry::SetMtu, |driver| driver.set_mtu(mtu_bytes))?;
        }
        let promiscuous = if settings.promiscuous { rx_mode::PROMISCUOUS } else { 0 };
        let listed = &settings.multicast[..];
        // A driver gets at most this many.
        let (listed, every) = if listed.len() <= MOST_MULTICAST { (listed, false) } else { (&[][..], true) };
        let all_multicast = if settings.all_multicast || every { rx_mode::ALL_MULTICAST } else { 0 };
        let count = mail(driver.host(), listed);
        let mode = promiscuous | all_multicast;
        // A driver without that entry receives what it receives; a message is due only if more was wanted.
        let mut unasked = Vec::new();
        let asked = settings.promiscuous || every || count > 0;
        let told = if asked { &mut lacking } else { &mut unasked };
        setting(driver, told, Entry::SetRxMode, |driver| driver.set_rx_mode(mode, count))?;
        // A driver that was never asked for loopback need not have it.
        if settings.loopback || self.settings.loopback {
            let mode = if settings.loopback { loopback_mode::ON } else { loopback_mode::OFF };
            setting(driver, &mut lacking, Entry::SetLoopback, |driver| driver.set_loopback(mode))?;
        }
        Ok(lacking)
    }
}

/// Calls an entry for a setting; notes it in `lacking` if the driver does not have it.
fn setting(
    driver: &mut dyn Driver,
    lacking: &mut Vec<Entry>,
    entry: Entry,
    call: impl FnOnce(&mut dyn Driver) -> Result<i32, Fault>,
) -> Result<(), NookError> {
    match class::call(driver, entry, call) {
        Err(NookError::Refused { status: Status::Unsupported, .. }) => {
            lacking.push(entry);
            Ok(())
        }
        outcome => outcome,
    }
}

/// Puts multicast addresses into the mailbox. Says how many.
fn mail(host: &Host, addresses: &[[u8; 6]]) -> u32 {
    if host.mail(addresses.as_flattened()) { addresses.len() as u32 } else { 0 }
}
