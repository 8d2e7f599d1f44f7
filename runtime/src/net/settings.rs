//! The settings of the interface, and how they reach the driver.

use nook_abi::net::{MOST_MULTICAST, loopback_mode, rx_mode};
use nook_abi::{Entry, Fault, Status};

use nook_net_api::{KernelSettings, NetBackend};

use super::stall::StallMonitor;
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

/// The MTU that an interface has unless it is set: Ethernet's.
pub(super) const USUAL_MTU_BYTES: u32 = 1500;

impl Settings {
    /// Returns which frames are received.
    fn reception(&self) -> (bool, bool, &[[u8; 6]]) {
        (self.promiscuous, self.all_multicast, &self.multicast)
    }
}

/// What the interface's other side is set to, as far as it says.
#[derive(Clone, Debug, Default)]
pub(super) struct Followed {
    mac: Option<[u8; 6]>,
    mtu_bytes: Option<u32>,
    promiscuous: bool,
    /// Whether all multicast frames are received, and the groups.
    groups: Option<(bool, Vec<[u8; 6]>)>,
}

impl Followed {
    /// Returns these settings with what the other side wants besides.
    pub(super) fn over(&self, settings: &Settings) -> Settings {
        let mut settings = settings.clone();
        settings.mac = self.mac.or(settings.mac);
        settings.mtu_bytes = self.mtu_bytes.or(settings.mtu_bytes);
        settings.promiscuous |= self.promiscuous;
        if let Some((all, groups)) = &self.groups {
            settings.all_multicast = *all;
            settings.multicast.extend(groups);
            settings.multicast.sort_unstable();
            settings.multicast.dedup();
        }
        settings
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
        match net.apply(driver, &net.followed.over(&settings), None) {
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
                    let before = net.in_effect();
                    // What it took before it takes again; if not, the first refusal is the one to report.
                    let _ = net.apply(driver, &before, None);
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
    /// Returns what is in effect: what was set here, and what the interface's other side is set to.
    pub(super) fn in_effect(&self) -> Settings {
        self.followed.over(&self.settings)
    }

    /// Looks what the interface's other side is set to, and tells the driver what changed. The log says what the driver
    /// refuses or lacks: the interface gets its earlier address or MTU again, and modes stay the driver's earlier ones.
    ///
    /// # Errors
    /// What the driver did wrong.
    pub(super) fn follow(&mut self, driver: &mut dyn Driver) -> Result<(), NookError> {
        let Some(wanted) = self.backend.wanted() else { return Ok(()) };
        let before = self.in_effect();
        let earlier = self.followed.clone();
        self.take_wanted(driver.host(), wanted);
        let wanted = self.in_effect();
        if wanted == before {
            return Ok(());
        }
        match self.apply(driver, &wanted, Some(&before)) {
            Ok(lacking) if lacking.is_empty() => Ok(()),
            Ok(entries) => {
                self.set_back(&entries, &before, &earlier);
                tracing::warn!("the interface was set to what the driver cannot do: {}", NookError::Lacks { entries });
                Ok(())
            }
            Err(NookError::Refused { entry, status }) => {
                tracing::warn!(
                    "the interface was set to what the driver refuses ({entry}: {status}): it stays as it was"
                );
                self.set_back(&[entry], &before, &earlier);
                self.followed = earlier;
                // If it refuses also what it had before, that was reported when it was set.
                self.apply(driver, &before, None).map(drop).or_else(|error| match error {
                    NookError::Refused { .. } => Ok(()),
                    error => Err(error),
                })
            }
            Err(error) => Err(error),
        }
    }

    /// Gives the interface's other side the address and the MTU again that were in effect before, where the driver did
    /// not take new ones; its modes are its owner's. What is set once more later is looked at once more.
    fn set_back(&mut self, entries: &[Entry], before: &Settings, earlier: &Followed) {
        if entries.contains(&Entry::SetMac) {
            // The address in effect is written to the interface whenever settings are applied.
            self.followed.mac = earlier.mac;
        }
        if entries.contains(&Entry::SetMtu) {
            self.followed.mtu_bytes = earlier.mtu_bytes;
            if let Some(mtu_bytes) = before.mtu_bytes
                && let Err(error) = self.backend.set_mtu(mtu_bytes)
            {
                tracing::warn!("the interface's MTU could not be set back to {mtu_bytes} bytes: {error}");
            }
        }
    }

    /// Keeps what the interface's other side is set to. An MTU beyond the driver's is set back, or warned about.
    pub(super) fn take_wanted(&mut self, host: &Host, wanted: KernelSettings) {
        let most = host.port.net().and_then(|port| port.interface).map(|interface| interface.max_mtu_bytes);
        let KernelSettings { mac, mut mtu_bytes, promiscuous, all_multicast, multicast } = wanted;
        if let Some(most) = most
            && mtu_bytes > most
        {
            match self.backend.set_mtu(most) {
                Ok(()) => tracing::warn!(
                    "the interface's MTU was set to {mtu_bytes} bytes, and the driver's is {most} at most: it is set \
                     back to that"
                ),
                Err(error) => tracing::warn!(
                    "the interface's MTU is {mtu_bytes} bytes, and the driver's is {most} at most: packets that are \
                     longer are dropped and counted (tx_unfit); it could not be set back ({error})"
                ),
            }
            mtu_bytes = most;
        }
        // Once the address was changed, the interface has the driver's new one.
        let mac = mac.or(self.followed.mac);
        self.followed =
            Followed { mac, mtu_bytes: Some(mtu_bytes), promiscuous, groups: Some((all_multicast, multicast)) };
    }

    /// Tells the driver those that differ from `before`, or all of them. Returns the entries that it does not have, of
    /// those for what was asked.
    pub(super) fn apply(
        &mut self,
        driver: &mut dyn Driver,
        settings: &Settings,
        before: Option<&Settings>,
    ) -> Result<Vec<Entry>, NookError> {
        let interface = driver.host().port.net().and_then(|port| port.interface);
        let interface = interface.ok_or(NookError::AttachedNothing)?;
        let own = interface.mac;
        // What a device loses when it is set up again is no sign of anything.
        self.stalls = StallMonitor::default();
        let mut lacking = Vec::new();
        if before.is_none_or(|before| before.mac != settings.mac) {
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
        }
        // Drivers begin with the usual MTU, and need not be able to change it.
        let usual = interface.max_mtu_bytes.min(USUAL_MTU_BYTES);
        let mtu_bytes = settings.mtu_bytes.unwrap_or(usual);
        if (mtu_bytes != usual || self.mtu_was_set)
            && before.is_none_or(|before| before.mtu_bytes != settings.mtu_bytes)
        {
            setting(driver, &mut lacking, Entry::SetMtu, |driver| driver.set_mtu(mtu_bytes))?;
            self.mtu_was_set = true;
            self.monitor.expect_reset();
            if !lacking.contains(&Entry::SetMtu) {
                self.counters.tx_given_up += self.traffic.set_frames(self.frames(&interface, settings));
            }
        }
        if before.is_none_or(|before| before.reception() != settings.reception()) {
            self.set_rx_mode(driver, settings, &mut lacking)?;
        }
        // A driver that was never asked for loopback need not have it.
        if before.is_none() && (settings.loopback || self.settings.loopback) {
            let mode = if settings.loopback { loopback_mode::ON } else { loopback_mode::OFF };
            setting(driver, &mut lacking, Entry::SetLoopback, |driver| driver.set_loopback(mode))?;
        }
        Ok(lacking)
    }

    fn set_rx_mode(
        &mut self,
        driver: &mut dyn Driver,
        settings: &Settings,
        lacking: &mut Vec<Entry>,
    ) -> Result<(), NookError> {
        let promiscuous = if settings.promiscuous { rx_mode::PROMISCUOUS } else { 0 };
        let listed = &settings.multicast[..];
        // A driver gets at most this many.
        let (listed, every) = if listed.len() <= MOST_MULTICAST { (listed, false) } else { (&[][..], true) };
        let all_multicast = if settings.all_multicast || every { rx_mode::ALL_MULTICAST } else { 0 };
        let count = mail(driver.host(), listed);
        let mode = promiscuous | all_multicast;
        // A driver without that entry receives what it receives; a message is due only if more was wanted here.
        let mut unasked = Vec::new();
        let asked = settings.promiscuous || !self.settings.multicast.is_empty();
        let told = if asked { lacking } else { &mut unasked };
        setting(driver, told, Entry::SetRxMode, |driver| driver.set_rx_mode(mode, count))
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
