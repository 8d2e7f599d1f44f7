//! [`Nook`]: the loop that ties device, driver and what the driver serves together.

use std::io;
use std::os::fd::RawFd;

use crate::wait::Waiter;
use crate::{Class, Counters, Driver, Host, Launcher, NookError, class};
use nook_abi::{Entry, Fault, ProbeReason};
use nook_bus::{Clock, PciDevice};

mod crash_state;
mod lifecycle;
mod quiescence;
mod rollback;
mod turn;

use lifecycle::Lifecycle;
use quiescence::Quiescence;
pub use quiescence::SnapshotAttempt;
pub use rollback::{NoRollback, RolledBackCall};

/// One nook: a driver, its device, and what the driver serves, by its class. All of it lives on one thread.
pub struct Nook<C> {
    lifecycle: Lifecycle,
    launcher: Box<dyn Launcher>,
    clock: Clock,
    /// Of the things that came out of the driver, those that virtual time was charged for.
    charged: u64,
    class: C,
    opened: bool,
    waiter: Waiter,
    /// Throttled until this time because earlier calls ran long.
    rest_until_ns: u64,
    quiescence: Option<Quiescence>,
    /// A snapshot was taken before the driver could work: the turn in which that changes gives it nothing, so that
    /// there is a moment for another one before it has work.
    awaits_ready: bool,
}

impl<C: Class> Nook<C> {
    /// Puts the pieces together; nothing runs yet.
    pub fn new(host: Host, launcher: Box<dyn Launcher>, class: C) -> Self {
        let clock = host.clock().clone();
        Nook {
            waiter: Waiter::new(clock.clone()),
            clock,
            charged: 0,
            lifecycle: Lifecycle::new(host),
            launcher,
            class,
            opened: false,
            rest_until_ns: 0,
            quiescence: None,
            awaits_ready: false,
        }
    }

    /// Watches a descriptor, which ends a wait when it becomes readable: for signals.
    pub fn watch(&mut self, fd: RawFd) {
        self.waiter.always(fd);
    }

    /// Watches a descriptor no more: it was seen to be readable, and stays so.
    pub fn unwatch(&mut self, fd: RawFd) {
        self.waiter.never(fd);
    }

    /// Returns the host.
    pub fn host(&self) -> &Host {
        self.lifecycle.host()
    }

    fn host_mut(&mut self) -> &mut Host {
        self.lifecycle.host_mut()
    }

    /// Returns the clock of the nook, its driver and its device.
    #[inline]
    pub fn clock(&self) -> &Clock {
        &self.clock
    }

    /// Returns what is counted.
    pub fn counters(&self) -> &Counters {
        self.host().counters()
    }

    /// Returns what the driver serves, by its class.
    pub fn class(&self) -> &C {
        &self.class
    }

    /// Mutable access to it.
    pub fn class_mut(&mut self) -> &mut C {
        &mut self.class
    }

    /// Returns both ends of what passes between host and driver.
    pub(crate) fn class_and_driver(&mut self) -> Result<(&mut C, &mut dyn Driver), NookError> {
        let driver = self.lifecycle.driver().ok_or(NookError::NotRunning)?;
        Ok((&mut self.class, driver))
    }

    /// Returns whether the driver can work: that of an interface, while there is a link.
    pub fn is_ready(&self) -> bool {
        self.class.is_ready(self.lifecycle.host())
    }

    /// Returns whether an instance runs.
    pub(crate) fn runs(&self) -> bool {
        self.lifecycle.runs()
    }

    /// Returns how the driver is isolated, as `--isolation` names it.
    pub fn isolation(&self) -> &'static str {
        self.launcher.isolation()
    }

    /// Returns whether the driver was opened.
    pub fn is_open(&self) -> bool {
        self.opened
    }

    /// Starts the driver for the first time and opens it.
    ///
    /// # Errors
    /// If the driver does not come up. The device is quiet then.
    pub fn start(&mut self) -> Result<(), NookError> {
        self.come_up(ProbeReason::Cold)
    }

    /// Ends the instance that runs, if one does, without calling it, and starts a fresh one. What is above the
    /// driver keeps its place.
    ///
    /// # Errors
    /// If the driver does not come up. The device is quiet then, and [`shut`](Self::shut) reports it to what is above.
    pub fn restart(&mut self) -> Result<(), NookError> {
        self.end_instance()?;
        self.class.expect_recovery(self.clock.now_ns());
        self.come_up(ProbeReason::Restart)
    }

    fn come_up(&mut self, reason: ProbeReason) -> Result<(), NookError> {
        let driver = self.host().manifest().class();
        if driver != C::CLASS {
            return Err(NookError::OtherClass { driver, wanted: C::CLASS });
        }
        let outcome = self.lifecycle.begin(&*self.launcher).and_then(|()| self.probe_and_open(reason));
        if outcome.is_err()
            && let Err(error) = self.end_instance()
        {
            tracing::warn!("the device did not become quiet: {error}");
        }
        outcome
    }

    fn probe_and_open(&mut self, reason: ProbeReason) -> Result<(), NookError> {
        let Nook { lifecycle, class, .. } = self;
        let driver = lifecycle.driver().ok_or(NookError::NotRunning)?;
        class.begin(driver.host());
        let page = driver.host_page();
        class::call(driver, Entry::Probe, |driver| driver.probe(reason as u32, page))?;
        class.set_up(driver)?;
        class::call(driver, Entry::Open, |driver| driver.open())?;
        driver.host_mut().call.due.poll();
        self.opened = true;
        Ok(())
    }

    fn driver(&mut self) -> Result<&mut dyn Driver, NookError> {
        self.lifecycle.driver().ok_or(NookError::NotRunning)
    }

    #[cold]
    fn fault(&self, fault: Fault) -> NookError {
        self.host().error(fault)
    }

    /// Stops the driver and removes it, in order; then the device is quiet.
    ///
    /// # Errors
    /// What the driver did wrong on its way out, or what the device refused. The device is quiet in the first case.
    pub fn stop(&mut self) -> Result<(), NookError> {
        let mut outcome = Ok(());
        if self.lifecycle.runs() {
            if self.opened {
                self.opened = false;
                let driver = self.driver()?;
                outcome = class::call(driver, Entry::Stop, |driver| driver.stop()).and_then(|()| self.hand_over());
                if outcome.is_ok() {
                    self.class.stopped();
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
    /// Does not report link-down to what is above, because [`restart`](Self::restart) follows.
    ///
    /// # Errors
    /// If the device could not be made quiet.
    pub fn end(&mut self) -> Result<(), NookError> {
        self.end_instance()
    }

    /// Ends the instance for good, and reports it to what is above.
    ///
    /// # Errors
    /// If the device could not be made quiet.
    pub fn shut(&mut self) -> Result<(), NookError> {
        let ended = self.end_instance();
        self.class.shut(self.lifecycle.host_mut())?;
        ended
    }

    fn end_instance(&mut self) -> Result<(), NookError> {
        self.opened = false;
        // It was taken with the instance that goes.
        self.quiescence = None;
        self.awaits_ready = false;
        if self.lifecycle.runs() {
            self.class.end(self.lifecycle.host());
        }
        Ok(self.lifecycle.end()?)
    }

    fn wait(&mut self, due_ns: u64) -> Result<(), NookError> {
        let Nook { lifecycle, class, waiter, opened, .. } = self;
        waiter.begin();
        if lifecycle.runs() {
            let host = lifecycle.host();
            host.device.device.event_fds(waiter.fds());
            if *opened {
                class.event_fds(host, waiter.fds());
            }
        }
        waiter.wait(due_ns).map_err(waiting)
    }
}

/// Wraps the error of a wait that failed.
#[cold]
fn waiting(error: io::Error) -> NookError {
    NookError::Above { what: "waiting for something to happen", error }
}
