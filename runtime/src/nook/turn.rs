//! One round of a nook, and what of it can be rolled back.

use nook_abi::{Entry, Fault, irq_result};

use super::{Nook, waiting};
use crate::virtual_time::{THING_NS, TURN_NS};
use crate::{Class, NookError, Turn};
use nook_bus::PciDevice;

/// The longest rest that a driver is made to take between two turns.
const MAX_REST_NS: u64 = 1_000_000_000;

impl<C: Class> Nook<C> {
    /// Runs one round: lets the device work, calls the driver for what has happened, moves what its class moves. If
    /// there was nothing to do, or the driver asks for rounds in which nothing comes of it, waits for something, or
    /// until `until_ns` of the nook's clock.
    ///
    /// # Errors
    /// What went wrong; see [`NookError`].
    pub fn turn(&mut self, until_ns: u64) -> Result<Turn, NookError> {
        if let Some(fault) = self.host().device_is_taken() {
            return Err(self.fault(fault));
        }
        self.charge_turn();
        let now = self.clock.now_ns();
        if now < self.rest_until_ns {
            self.waiter.begin();
            self.waiter.wait(self.rest_until_ns.min(until_ns)).map_err(waiting)?;
            return Ok(Turn::Waited);
        }
        let mut worked = false;
        self.host_mut().tell_time(now);
        let device_due = self.service(now)?;
        worked |= self.deliver_irqs()?;
        worked |= self.run_deferred(now)?;
        let above_due = self.class.service(self.lifecycle.host(), now)?;
        let quiet_due = self.watch_over(now)?;
        worked |= self.poll(now)?;
        if self.awaits_ready && self.is_ready() {
            self.awaits_ready = false;
            worked = true;
        }
        self.charge();
        let due = [device_due, above_due, quiet_due].into_iter().flatten().fold(until_ns, u64::min);
        let Nook { lifecycle, class, .. } = self;
        let host = lifecycle.host_mut();
        let asks = host.call.due.take_asks();
        let happened = class.returned() + host.counters.irqs;
        if let Some(rest_ns) = host.monitor.rest_ns(asks, happened, || host.clock.now_ns() - now) {
            let begun = self.clock.now_ns();
            self.wait(due.min(begun + rest_ns))?;
            let rested_ns = self.clock.now_ns() - begun;
            self.host_mut().counters.throttled_ns += rested_ns;
            return Ok(Turn::Waited);
        }
        if worked {
            return Ok(Turn::Worked);
        }
        let due = self.host().call.due.timer_due_ns().map_or(due, |timer_due| due.min(timer_due));
        if due > now {
            self.wait(due)?;
        }
        Ok(Turn::Waited)
    }

    /// Charges virtual time for this turn, and for what came out of the driver in the last one.
    #[inline]
    fn charge_turn(&mut self) {
        if self.clock.is_virtual() {
            let returned = self.class.returned();
            let things = returned.saturating_sub(std::mem::replace(&mut self.charged, returned));
            self.clock.charge(TURN_NS + things * THING_NS);
        }
    }

    fn service(&mut self, now: u64) -> Result<Option<u64>, NookError> {
        let host = self.host_mut();
        let result = host.device.service(now).map_err(|error| host.device.failed(error));
        result.map_err(|fault| self.fault(fault))
    }

    fn deliver_irqs(&mut self) -> Result<bool, NookError> {
        let Nook { lifecycle, class, .. } = self;
        let host = lifecycle.host_mut();
        let pending = host.device.pending_irqs();
        host.monitor.irqs(pending, class.returned()).map_err(|fault| host.error(fault))?;
        while let Some(vector) = self.host_mut().device.take_irq() {
            self.host_mut().call.due.begin_irq();
            let answer = match self.driver()?.irq(vector) {
                Ok(answer) => answer,
                Err(fault) => return Err(self.fault(fault)),
            };
            if answer & !irq_result::ALL != 0 {
                let rule = "unknown bits are set";
                return Err(self.fault(Fault::BadReturn { entry: Entry::Irq, value: answer.into(), rule }));
            }
            self.commit()?;
            let host = self.host_mut();
            host.counters.irqs += 1;
            if answer & irq_result::HANDLED == 0 {
                host.counters.irqs_not_mine += 1;
                host.monitor.not_mine();
            }
            if answer & irq_result::POLL != 0 {
                host.call.due.poll();
            }
            host.monitor.announced(host.call.due.asked_by_irq() | u32::from(answer & irq_result::POLL != 0));
            let unmasked = host.device.device.irq_unmask(vector).map_err(|error| host.device.failed(error));
            unmasked.map_err(|fault| self.fault(fault))?;
        }
        Ok(pending != 0)
    }

    /// Commits the call, which was checked: what it did is final.
    fn commit(&mut self) -> Result<(), NookError> {
        let outcome = self.driver()?.commit();
        outcome.map_err(|fault| self.fault(fault))
    }

    /// Runs the timer and the deferred work, if they are due.
    fn run_deferred(&mut self, now: u64) -> Result<bool, NookError> {
        let mut any = false;
        if self.host_mut().call.due.take_timer(now) {
            any = true;
            let outcome = self.driver()?.timer();
            outcome.map_err(|fault| self.fault(fault))?;
            self.commit()?;
        }
        if self.host_mut().call.due.take_work() {
            any = true;
            let outcome = self.driver()?.work();
            outcome.map_err(|fault| self.fault(fault))?;
            self.hand_over()?;
        }
        Ok(any)
    }

    /// Gives the driver what there is to be done and takes what is done, with one call, if there is a reason to. Says
    /// whether that was worth a turn.
    pub(super) fn poll(&mut self, now: u64) -> Result<bool, NookError> {
        self.poll_giving(now, !self.awaits_ready)
    }

    /// Calls `poll` once for every queue for which it ever was due, without giving the driver anything unless `gives`
    /// is set.
    pub(super) fn poll_all(&mut self, now: u64, gives: bool) -> Result<(), NookError> {
        self.host_mut().call.due.poll_all();
        for _ in 0..self.host().call.due.known().count_ones() {
            self.poll_giving(now, gives)?;
        }
        Ok(())
    }

    /// Calls `poll`, without giving the driver anything unless `gives` is set.
    pub(super) fn poll_giving(&mut self, now: u64, gives: bool) -> Result<bool, NookError> {
        let Some(looks) = self.decide(now, gives)? else { return Ok(false) };
        let Nook { lifecycle, class, .. } = self;
        let driver = lifecycle.driver().ok_or(NookError::NotRunning)?;
        driver.host_mut().counters.polls += 1;
        class.call(driver)?;
        self.hand_over()?;
        self.account(looks)
    }

    /// Gives the driver what there is to be done. Says whether the call would only be a look for what came and no
    /// interrupt announced; nothing, if there is no reason for a call.
    #[inline]
    fn decide(&mut self, now: u64, gives: bool) -> Result<Option<bool>, NookError> {
        if !self.opened || !self.lifecycle.runs() {
            return Ok(None);
        }
        let Nook { lifecycle, class, .. } = self;
        let host = lifecycle.host_mut();
        if gives && class.provide(host, now)? > 0 {
            host.call.due.poll();
        }
        let (due, looks) = match host.call.due.take_poll(class.is_single()) {
            Some(queue) => (Some(queue), false),
            None if class.is_ready(host) && host.watches_interrupts() => {
                (host.monitor.quiet_queue(host.call.due.known(), now), true)
            }
            None => (None, true),
        };
        let Some(queue) = due else { return Ok(None) };
        if looks {
            host.call.due.look(queue);
        }
        host.monitor.polled(queue, now, host.call.budget.limits().quiet_ns);
        Ok(Some(looks))
    }

    /// Accounts for a call that is final. Returns whether there is more to be done.
    #[inline]
    fn account(&mut self, looks: bool) -> Result<bool, NookError> {
        let Nook { lifecycle, class, .. } = self;
        let host = lifecycle.host_mut();
        let (outcome, queue) = (class.finish_call(host)?, host.call.due.queue());
        if looks {
            host.monitor.looked(queue, outcome.arrived).map_err(|fault| host.error(fault))?;
        }
        if outcome.again {
            host.call.due.poll_again(queue);
        } else if outcome.more {
            host.call.due.poll_more();
        }
        // What was looked for in vain was not worth its own turn.
        Ok(!looks || outcome.arrived > 0)
    }

    /// Looks for what goes wrong without a wrong act. Says when it wants to look again.
    fn watch_over(&mut self, now: u64) -> Result<Option<u64>, NookError> {
        let Nook { lifecycle, class, opened, .. } = self;
        let Some(driver) = lifecycle.driver().filter(|_| *opened) else { return Ok(None) };
        let health_due = class.check_health(driver, now)?;
        let host = driver.host();
        let looks = class.is_ready(host) && host.watches_interrupts();
        let quiet_due = looks.then(|| host.monitor.quiet_due_ns(host.call.due.known()));
        Ok([health_due, quiet_due].into_iter().flatten().min())
    }

    /// Charges for long calls: a driver that uses them rests as long as they took, and gets half of its thread's time
    /// at most.
    fn charge(&mut self) {
        let long_ns = self.host_mut().call.budget.take_long_ns();
        if long_ns > 0 {
            let rest_ns = long_ns.min(MAX_REST_NS);
            self.rest_until_ns = self.clock.now_ns() + rest_ns;
            self.host_mut().counters.throttled_ns += rest_ns;
        }
    }

    /// Hands over what a call that was right so far has returned: it is checked, then the call is final, and what was
    /// returned goes where it belongs.
    pub(super) fn hand_over(&mut self) -> Result<(), NookError> {
        let Nook { lifecycle, class, .. } = self;
        let Some(driver) = lifecycle.driver() else { return Ok(()) };
        match class.check().and_then(|()| driver.commit()) {
            Ok(()) => class.accept(driver.host_mut()),
            Err(fault) => Err(driver.host().error(fault)),
        }
    }
}
