//! [`Nook`]: the loop that ties device, driver and interface together.

use std::io;
use std::os::fd::RawFd;

use crate::wait::Waiter;
use crate::{Counters, Driver, Host, Interface, Launcher, NookError, Settings, Turn, Uplink, now_ns};
use nook_abi::{Fault, NetStats, ProbeReason, Status, TxCompletion, irq_result, poll_result};

/// Packets that one `poll` may move each way.
const BUDGET: u32 = nook_abi::QUEUE_CAPACITY;

/// How long a restarted driver may take to find the link before the interface's other side is told that it is down.
/// Copper gigabit negotiation takes up to about 3 s.
const KEEP_CARRIER_NS: u64 = 6_000_000_000;

/// The longest rest that a driver is made to take between two turns.
const MAX_REST_NS: u64 = 1_000_000_000;

mod settings;

/// Who serves, while there is no instance or while there is one.
enum State {
    Running(Box<dyn Driver>),
    Idle(Box<Host>),
    /// Only while one of the others is being made of the other.
    Between,
}

/// One nook: a driver, its device, and the network interface that it serves. All of it lives on one thread.
pub struct Nook<U> {
    state: State,
    launcher: Box<dyn Launcher>,
    uplink: U,
    opened: bool,
    waiter: Waiter,
    settings: Settings,
    /// What the interface's other side believes of the link.
    told_up: bool,
    keep_carrier_until_ns: u64,
    /// The driver is not called before: it used long calls.
    rest_until_ns: u64,
}

impl<U: Uplink> Nook<U> {
    /// Puts the pieces together; nothing runs yet.
    pub fn new(host: Host, launcher: Box<dyn Launcher>, uplink: U) -> Self {
        Nook {
            state: State::Idle(Box::new(host)),
            launcher,
            uplink,
            opened: false,
            waiter: Waiter::default(),
            settings: Settings::default(),
            told_up: false,
            keep_carrier_until_ns: 0,
            rest_until_ns: 0,
        }
    }

    /// A descriptor that ends a wait when it becomes readable: for signals.
    pub fn watch(&mut self, fd: RawFd) {
        self.waiter.always(fd);
    }

    /// The host.
    pub fn host(&self) -> &Host {
        match &self.state {
            State::Running(driver) => driver.host(),
            State::Idle(host) => host,
            State::Between => unreachable!("a nook is left between two states only inside `exchange`"),
        }
    }

    fn host_mut(&mut self) -> &mut Host {
        match &mut self.state {
            State::Running(driver) => driver.host_mut(),
            State::Idle(host) => host,
            State::Between => unreachable!("a nook is left between two states only inside `exchange`"),
        }
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
        self.keep_carrier_until_ns = now_ns() + KEEP_CARRIER_NS;
        self.come_up(ProbeReason::Restart)
    }

    fn come_up(&mut self, reason: ProbeReason) -> Result<(), NookError> {
        let outcome = self.launch().and_then(|()| self.probe_and_open(reason));
        if outcome.is_err()
            && let Err(error) = self.end_instance()
        {
            tracing::warn!("the device did not become quiet: {error}");
        }
        outcome
    }

    fn launch(&mut self) -> Result<(), NookError> {
        let host = match std::mem::replace(&mut self.state, State::Between) {
            State::Idle(host) => *host,
            State::Running(driver) => driver.into_host(),
            State::Between => unreachable!("a nook is left between two states only inside `launch` and `shut`"),
        };
        match self.launcher.launch(host) {
            Ok(driver) => {
                self.state = State::Running(driver);
                Ok(())
            }
            Err(error) => {
                self.state = State::Idle(Box::new(error.host));
                Err(NookError::Launch(error.why))
            }
        }
    }

    fn probe_and_open(&mut self, reason: ProbeReason) -> Result<(), NookError> {
        let page = self.driver()?.host_page();
        self.call("probe", |driver| driver.probe(reason as u32, page))?;
        self.interface().ok_or(NookError::NoInterface)?;
        // Before `open`, so that a device whose receiver is slow to change is set up once.
        let settings = self.settings.clone();
        self.apply(&settings).or_else(|error| match error {
            NookError::Refused { entry, status: Status::Unsupported } => {
                tracing::debug!("{entry}: the driver does not have it");
                Ok(())
            }
            error => Err(error),
        })?;
        // The receiver finds buffers as soon as it is on.
        self.host_mut().net.provide_rx().map_err(|fault| self.fault(fault))?;
        self.call("open", |driver| driver.open())?;
        self.opened = true;
        self.host_mut().poll_wanted = true;
        Ok(())
    }

    fn driver(&mut self) -> Result<&mut Box<dyn Driver>, NookError> {
        match &mut self.state {
            State::Running(driver) => Ok(driver),
            _ => Err(NookError::Launch("it was ended and not started again".into())),
        }
    }

    #[cold]
    fn fault(&self, fault: Fault) -> NookError {
        let about_device = matches!(fault, Fault::DeviceGone | Fault::DeviceFailed);
        let detail = self.host().last_device_error().filter(|_| about_device).map(str::to_owned);
        NookError::Fault { fault, detail }
    }

    /// Calls an entry that returns a status.
    fn call(
        &mut self,
        entry: &'static str,
        call: impl FnOnce(&mut Box<dyn Driver>) -> Result<i32, Fault>,
    ) -> Result<(), NookError> {
        self.host_mut().tell_time(now_ns());
        let driver = self.driver()?;
        match call(driver) {
            Ok(0) => Ok(()),
            Ok(code) => match Status::from_code(code) {
                Some(status) => Err(NookError::Refused { entry, status }),
                None => {
                    let entry = nook_abi::ENTRIES.iter().find(|row| row.name == entry).map(|row| row.entry);
                    let entry = entry.unwrap_or(nook_abi::Entry::Probe);
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
        if matches!(self.state, State::Running(_)) {
            if self.opened {
                self.opened = false;
                outcome = self.call("stop", |driver| driver.stop()).and_then(|()| self.hand_over());
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
        self.keep_carrier_until_ns = 0;
        self.tell_link(0)?;
        ended
    }

    fn end_instance(&mut self) -> Result<(), NookError> {
        self.opened = false;
        // The device first: the driver's memory must stay until nothing can reach it.
        let quiet = self.host_mut().end_instance();
        self.state = match std::mem::replace(&mut self.state, State::Between) {
            State::Running(driver) => State::Idle(Box::new(driver.into_host())),
            other => other,
        };
        quiet?;
        Ok(())
    }

    /// One round: lets the device work, calls the driver for what has happened, moves packets. If there was nothing
    /// to do, waits for something, or until `until_ns` of the monotonic clock.
    ///
    /// # Errors
    /// What went wrong; see [`NookError`].
    pub fn turn(&mut self, until_ns: u64) -> Result<Turn, NookError> {
        let now = now_ns();
        if now < self.rest_until_ns {
            self.waiter.begin();
            self.waiter.wait(self.rest_until_ns.min(until_ns)).map_err(NookError::Uplink)?;
            return Ok(Turn::Waited);
        }
        let mut worked = false;
        self.host_mut().tell_time(now);
        let device_due = self.service(now)?;
        worked |= self.deliver_irqs()?;
        worked |= self.run_deferred(now)?;
        self.tell_link(now)?;
        let uplink_due = self.uplink.service(now).map_err(NookError::Uplink)?;
        let quiet_due = self.watch_over(now)?;
        worked |= self.poll(now)?;
        self.charge();
        if worked {
            return Ok(Turn::Worked);
        }
        let timer_due = self.host().timer_due_ns;
        let due = [device_due, uplink_due, timer_due, quiet_due].into_iter().flatten().fold(until_ns, u64::min);
        if due > now {
            self.wait(due).map_err(NookError::Uplink)?;
        }
        Ok(Turn::Waited)
    }

    fn service(&mut self, now: u64) -> Result<Option<u64>, NookError> {
        let host = self.host_mut();
        let result = host.device.service(now).map_err(|error| host.device.failed(error));
        result.map_err(|fault| self.fault(fault))
    }

    fn deliver_irqs(&mut self) -> Result<bool, NookError> {
        let host = self.host_mut();
        let mut pending = host.device.take_irqs();
        host.watch.irqs(pending, &host.counters).map_err(|fault| self.fault(fault))?;
        let any = pending != 0;
        while pending != 0 {
            let vector = pending.trailing_zeros();
            pending &= pending - 1;
            let answer = match self.driver()?.irq(vector) {
                Ok(answer) => answer,
                Err(fault) => return Err(self.fault(fault)),
            };
            if answer & !irq_result::ALL != 0 {
                let rule = "unknown bits are set";
                let entry = nook_abi::Entry::Irq;
                return Err(self.fault(Fault::BadReturn { entry, value: answer.into(), rule }));
            }
            let host = self.host_mut();
            host.counters.irqs += 1;
            if answer & irq_result::HANDLED == 0 {
                host.counters.irqs_not_mine += 1;
            }
            host.poll_wanted |= answer & irq_result::POLL != 0;
            let unmasked = host.device.device.irq_unmask(vector).map_err(|error| host.device.failed(error));
            unmasked.map_err(|fault| self.fault(fault))?;
        }
        Ok(any)
    }

    /// The timer and the deferred work, if they are due.
    fn run_deferred(&mut self, now: u64) -> Result<bool, NookError> {
        let mut any = false;
        if self.host().timer_due_ns.is_some_and(|due| due <= now) {
            any = true;
            self.host_mut().timer_due_ns = None;
            let outcome = self.driver()?.timer();
            outcome.map_err(|fault| self.fault(fault))?;
        }
        if std::mem::take(&mut self.host_mut().work_wanted) {
            any = true;
            let outcome = self.driver()?.work();
            outcome.map_err(|fault| self.fault(fault))?;
            self.hand_over()?;
        }
        Ok(any)
    }

    /// Tells the interface's other side about the link, if it changed. A driver that was restarted gets a while to
    /// find the link again, so that a connection does not notice.
    fn tell_link(&mut self, now: u64) -> Result<(), NookError> {
        let link = self.interface().map(|interface| interface.link).unwrap_or_default();
        if link.up == self.told_up || (!link.up && now < self.keep_carrier_until_ns) {
            return Ok(());
        }
        if link.up {
            let duplex = if link.full_duplex { "full" } else { "half" };
            tracing::info!("link up, {} Mbit/s, {duplex} duplex", link.speed_mbps);
        } else {
            tracing::info!("link down");
        }
        self.told_up = link.up;
        self.uplink.link(link.up).map_err(NookError::Uplink)
    }

    fn link_is_up(&self) -> bool {
        self.interface().is_some_and(|interface| interface.link.up)
    }

    /// Moves packets both ways, with one call of the driver, if there is a reason to.
    fn poll(&mut self, now: u64) -> Result<bool, NookError> {
        if !self.opened {
            return Ok(false);
        }
        let link_is_up = self.link_is_up();
        let Nook { state, uplink, .. } = self;
        let State::Running(driver) = state else { return Ok(false) };
        let host = driver.host_mut();
        let provided = if link_is_up { host.net.provide_tx(uplink, &mut host.counters, now) } else { Ok(Ok(0)) };
        let provided = match provided {
            Ok(provided) => provided.map_err(NookError::Uplink)?,
            Err(fault) => return Err(self.fault(fault)),
        };
        let wanted = std::mem::take(&mut host.poll_wanted);
        let looks = !wanted && provided == 0;
        if looks && !(link_is_up && host.watches_interrupts() && host.watch.is_quiet(now)) {
            return Ok(false);
        }
        host.watch.polled(now, host.budget.limits().quiet_ns);
        let received = host.counters.rx_packets;
        host.counters.polls += 1;
        let answer = match host.net.provide_rx() {
            Ok(()) => driver.poll(0, BUDGET, 0),
            Err(fault) => Err(fault),
        };
        let answer = match answer {
            Ok(answer) => answer,
            Err(fault) => return Err(self.fault(fault)),
        };
        if answer > poll_result::AGAIN {
            let entry = nook_abi::Entry::Poll;
            let rule = "neither idle nor again";
            return Err(self.fault(Fault::BadReturn { entry, value: answer.into(), rule }));
        }
        self.hand_over()?;
        let host = self.host_mut();
        let received = host.counters.rx_packets - received;
        if looks {
            host.watch.looked(received, &host.counters).map_err(|fault| self.fault(fault))?;
        }
        let dry = self.host_mut().net.rx_runs_dry().map_err(|fault| self.fault(fault))?;
        self.host_mut().poll_wanted |= dry || answer == poll_result::AGAIN;
        // What was looked for in vain was not worth a turn of its own.
        Ok(!looks || received > 0)
    }

    /// Looks for what goes wrong without a wrong act. Says when it wants to look again.
    fn watch_over(&mut self, now: u64) -> Result<Option<u64>, NookError> {
        let link_is_up = self.opened && self.link_is_up();
        let host = self.host_mut();
        let limit_ns = host.budget.limits().transmit_ns;
        if let Some(given_before_ns) = host.watch.transmit_due(now, link_is_up, limit_ns) {
            // A lazy driver keeps what it sent until it needs the room.
            let lazy = host.manifest.tx_completion == TxCompletion::Lazy && host.net.has_tx_room();
            let overdue = if lazy { 0 } else { host.net.overdue_tx(given_before_ns) };
            let suspect = host.watch.overdue(overdue, limit_ns).map_err(|fault| self.fault(fault))?;
            self.host_mut().poll_wanted |= suspect;
        }
        let host = self.host_mut();
        if link_is_up && host.watch.counters_due(now, &host.counters, host.budget.limits().counters_ns) {
            self.stats()?;
        }
        let host = self.host();
        Ok((link_is_up && host.watches_interrupts()).then(|| host.watch.quiet_due_ns()))
    }

    /// A driver that uses long calls rests as long as they took: it gets half of its thread's time at most.
    fn charge(&mut self) {
        let long_ns = self.host_mut().budget.take_long_ns();
        if long_ns > 0 {
            let rest_ns = long_ns.min(MAX_REST_NS);
            self.rest_until_ns = now_ns() + rest_ns;
            self.host_mut().counters.throttled_ns += rest_ns;
        }
    }

    /// What the driver returned goes where it belongs.
    fn hand_over(&mut self) -> Result<(), NookError> {
        let Nook { state, uplink, .. } = self;
        let State::Running(driver) = state else { return Ok(()) };
        let host = driver.host_mut();
        match host.net.collect(&mut host.counters) {
            Ok(()) => host.net.deliver(uplink, &mut host.counters).map_err(NookError::Uplink),
            Err(fault) => Err(self.fault(fault)),
        }
    }

    fn wait(&mut self, due_ns: u64) -> io::Result<()> {
        self.waiter.begin();
        let listens = self.opened && self.link_is_up();
        let Nook { state, uplink, waiter, .. } = self;
        let State::Running(driver) = state else { return waiter.wait(due_ns) };
        let host = driver.host();
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
