//! [`Nook`]: the loop that ties device, driver and interface together.

use std::io;
use std::os::fd::RawFd;

use crate::wait::Waiter;
use crate::{Counters, Driver, Host, Interface, Launcher, NookError, Settings, Uplink};
use nook_abi::net::NetStats;
use nook_abi::{Entry, Fault, ProbeReason, Status};
use nook_bus::{Clock, PciDevice};

/// How long a restarted driver may take to find the link before the interface's other side is told that it is down.
/// Copper gigabit negotiation takes up to about 3 s.
const KEEP_CARRIER_NS: u64 = 6_000_000_000;

mod life;
mod scene;
mod settings;
mod still;
mod turn;
mod undo;

use life::Life;
pub use still::Look;
use still::Still;
use undo::Care;
pub use undo::Undone;

/// One nook: a driver, its device, and the network interface that it serves. All of it lives on one thread.
pub struct Nook<U> {
    life: Life,
    launcher: Box<dyn Launcher>,
    clock: Clock,
    uplink: U,
    opened: bool,
    waiter: Waiter,
    settings: Settings,
    /// The driver, or an earlier one, was told another address than its own.
    told_mac: bool,
    /// What the interface's other side believes of the link.
    told_up: bool,
    keep_carrier_until_ns: u64,
    /// The driver is not called before: it used long calls.
    rest_until_ns: u64,
    care: Care,
    still: Option<Still>,
    /// A snapshot was taken before the link came up: the turn in which it does gives no frame to send, so that there is
    /// a moment between the link and the first frame for another one.
    awaits_link: bool,
}

impl<U: Uplink> Nook<U> {
    /// Puts the pieces together; nothing runs yet.
    pub fn new(host: Host, launcher: Box<dyn Launcher>, uplink: U) -> Self {
        let clock = host.clock().clone();
        Nook {
            waiter: Waiter::new(clock.clone()),
            clock,
            life: Life::new(host),
            launcher,
            uplink,
            opened: false,
            settings: Settings::default(),
            told_mac: false,
            told_up: false,
            keep_carrier_until_ns: 0,
            rest_until_ns: 0,
            care: Care::default(),
            still: None,
            awaits_link: false,
        }
    }

    /// A descriptor that ends a wait when it becomes readable: for signals.
    pub fn watch(&mut self, fd: RawFd) {
        self.waiter.always(fd);
    }

    /// The host.
    pub fn host(&self) -> &Host {
        self.life.host()
    }

    fn host_mut(&mut self) -> &mut Host {
        self.life.host_mut()
    }

    /// What tells it, its driver and its device the time.
    #[inline]
    pub fn clock(&self) -> &Clock {
        &self.clock
    }

    /// What is counted.
    pub fn counters(&self) -> &Counters {
        self.host().counters()
    }

    /// The network interface, once the driver has attached it.
    pub fn interface(&self) -> Option<&Interface> {
        self.host().interface()
    }

    /// What the interface is plugged into.
    pub fn uplink(&self) -> &U {
        &self.uplink
    }

    /// The same, to be changed.
    pub fn uplink_mut(&mut self) -> &mut U {
        &mut self.uplink
    }

    /// How the driver is isolated, as `--isolation` calls it.
    pub fn isolation(&self) -> &'static str {
        self.launcher.isolation()
    }

    /// Whether the interface is up.
    pub fn is_open(&self) -> bool {
        self.opened
    }

    /// Starts the driver for the first time and opens the interface.
    ///
    /// # Errors
    /// If the driver does not come up. The device is quiet then.
    pub fn start(&mut self) -> Result<(), NookError> {
        self.come_up(ProbeReason::Cold)
    }

    /// Ends the instance that runs, if one does, without calling it, and starts a fresh one. The interface keeps its
    /// place; what was in the driver's hands is lost.
    ///
    /// # Errors
    /// If the driver does not come up. The device is quiet then, and the interface's other side is told by
    /// [`shut`](Self::shut).
    pub fn restart(&mut self) -> Result<(), NookError> {
        self.end_instance()?;
        self.keep_carrier();
        self.come_up(ProbeReason::Restart)
    }

    /// The link may be down for a while before anybody is told.
    fn keep_carrier(&mut self) {
        self.keep_carrier_until_ns = self.clock.now_ns() + KEEP_CARRIER_NS;
    }

    fn come_up(&mut self, reason: ProbeReason) -> Result<(), NookError> {
        let outcome = self.life.begin(&*self.launcher).and_then(|()| self.probe_and_open(reason));
        if outcome.is_err()
            && let Err(error) = self.end_instance()
        {
            tracing::warn!("the device did not become quiet: {error}");
        }
        outcome
    }

    fn probe_and_open(&mut self, reason: ProbeReason) -> Result<(), NookError> {
        let page = self.driver()?.host_page();
        self.call(Entry::Probe, |driver| driver.probe(reason as u32, page))?;
        self.interface().ok_or(NookError::NoInterface)?;
        // Before `open`, so that a device whose receiver is slow to change is set up once.
        let settings = self.settings.clone();
        let lacking = self.apply(&settings)?;
        if !lacking.is_empty() {
            tracing::warn!("{}; the other settings hold", NookError::Lacks { entries: lacking });
        }
        // The receiver finds buffers as soon as it is on.
        self.host_mut().net.provide_rx().map_err(|fault| self.fault(fault))?;
        self.call(Entry::Open, |driver| driver.open())?;
        self.opened = true;
        self.host_mut().call.wanted.poll();
        Ok(())
    }

    fn driver(&mut self) -> Result<&mut dyn Driver, NookError> {
        self.life.driver().ok_or(NookError::NotRunning)
    }

    #[cold]
    fn fault(&self, fault: Fault) -> NookError {
        NookError::Fault { fault, detail: self.life.detail(fault) }
    }

    /// Calls an entry that returns a status.
    fn call(
        &mut self,
        entry: Entry,
        call: impl FnOnce(&mut dyn Driver) -> Result<i32, Fault>,
    ) -> Result<(), NookError> {
        let now_ns = self.clock.now_ns();
        self.host_mut().tell_time(now_ns);
        let driver = self.driver()?;
        match call(driver) {
            Ok(0) => Ok(()),
            Ok(code) => match Status::from_code(code) {
                Some(status) => Err(NookError::Refused { entry, status }),
                None => {
                    let rule = "neither 0 nor a status";
                    Err(self.fault(Fault::BadReturn { entry, value: code as u32 as u64, rule }))
                }
            },
            Err(fault) => Err(self.fault(fault)),
        }
    }

    /// Closes the interface and removes the driver, in order; then the device is quiet.
    ///
    /// # Errors
    /// What the driver did wrong on its way out, or what the device refused. The device is quiet in the first case.
    pub fn stop(&mut self) -> Result<(), NookError> {
        let mut outcome = Ok(());
        if self.life.runs() {
            if self.opened {
                self.opened = false;
                outcome = self.call(Entry::Stop, |driver| driver.stop()).and_then(|()| self.hand_over());
                if outcome.is_ok()
                    && let Ok(kept @ 1..) = self.host_mut().packets_with_driver()
                {
                    tracing::warn!("stop: the driver kept {kept} packet buffers");
                }
            }
            if outcome.is_ok() {
                outcome = match self.driver()?.remove() {
                    Ok(()) => Ok(()),
                    Err(fault) => Err(self.fault(fault)),
                };
            }
        }
        let shut = self.shut();
        outcome.and(shut)
    }

    /// Ends the instance without calling it: the device is quiet, and everything that the driver had is the host's.
    /// The interface's other side is told nothing, for [`restart`](Self::restart) is to follow.
    ///
    /// # Errors
    /// If the device could not be made quiet.
    pub fn end(&mut self) -> Result<(), NookError> {
        self.end_instance()
    }

    /// The same for good: the interface goes down.
    ///
    /// # Errors
    /// If the device could not be made quiet.
    pub fn shut(&mut self) -> Result<(), NookError> {
        let ended = self.end_instance();
        // Nobody is to come who could send what was kept.
        while self.host_mut().net.drop_withheld_tx() {}
        self.keep_carrier_until_ns = 0;
        self.tell_link(0)?;
        ended
    }

    fn end_instance(&mut self) -> Result<(), NookError> {
        self.opened = false;
        // It was taken with the instance that goes.
        self.care = Care::default();
        self.still = None;
        self.awaits_link = false;
        Ok(self.life.end()?)
    }

    fn wait(&mut self, due_ns: u64) -> io::Result<()> {
        self.waiter.begin();
        let listens = self.opened && self.link_is_up();
        let Nook { life, uplink, waiter, .. } = self;
        if !life.runs() {
            return waiter.wait(due_ns);
        }
        let host = life.host();
        host.device.device.event_fds(waiter.fds());
        // A readable interface whose frames cannot be taken now would end the wait at once, again and again.
        if listens && host.net.has_tx_room() {
            uplink.event_fds(waiter.fds());
        }
        waiter.wait(due_ns)
    }

    /// Fresh counters from the driver and its device.
    ///
    /// # Errors
    /// What the driver did wrong.
    pub fn stats(&mut self) -> Result<NetStats, NookError> {
        self.host_mut().clear_stats();
        let outcome = self.driver()?.stats();
        outcome.map_err(|fault| self.fault(fault))?;
        self.host().posted_stats().map_err(|fault| self.fault(fault))
    }
}
