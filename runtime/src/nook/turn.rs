//! One round of a nook, and what of it can be taken back.

use nook_abi::net::poll_flags;
use nook_abi::{Entry, Fault, TxCompletion, irq_result, poll_result};

use super::Nook;
use super::undo::Care;
use crate::outcome::ClassError;
use crate::{Counters, NookError, Turn, Uplink};
use nook_bus::PciDevice;

/// Packets that one `poll` may move each way.
const BUDGET: u32 = nook_abi::QUEUE_CAPACITY;

/// The longest rest that a driver is made to take between two turns.
const MAX_REST_NS: u64 = 1_000_000_000;

/// How one `poll` is made.
struct PollPlan {
    /// There is no reason but to look whether something came that no interrupt announced.
    looks: bool,
    budget: u32,
    flags: u32,
    /// Received frames until then, and those that the driver had given back as failed.
    received: u64,
    failed: u64,
}

impl<U: Uplink> Nook<U> {
    /// One round: lets the device work, calls the driver for what has happened, moves packets. If there was nothing
    /// to do, or the driver asks for rounds in which nothing comes of it, waits for something, or until `until_ns` of
    /// the nook's clock.
    ///
    /// # Errors
    /// What went wrong; see [`NookError`].
    pub fn turn(&mut self, until_ns: u64) -> Result<Turn, NookError> {
        if let Some(fault) = self.host().device_is_taken() {
            return Err(self.fault(fault));
        }
        let now = self.clock.now_ns();
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
        if self.awaits_link && self.link_is_up() {
            self.awaits_link = false;
            worked = true;
        }
        self.charge();
        let due = [device_due, uplink_due, quiet_due].into_iter().flatten().fold(until_ns, u64::min);
        let host = self.host_mut();
        let asks = host.call.wanted.take_asks();
        if let Some(rest_ns) = host.watch.rest_ns(asks, &host.counters, || host.clock.now_ns() - now) {
            let begun = self.clock.now_ns();
            self.wait(due.min(begun + rest_ns)).map_err(NookError::Uplink)?;
            let rested_ns = self.clock.now_ns() - begun;
            self.host_mut().counters.throttled_ns += rested_ns;
            return Ok(Turn::Waited);
        }
        if worked {
            return Ok(Turn::Worked);
        }
        let due = self.host().call.wanted.timer_due_ns().map_or(due, |timer_due| due.min(timer_due));
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
        let pending = host.device.pending_irqs();
        host.watch.irqs(pending, &host.counters).map_err(|fault| self.fault(fault))?;
        while let Some(vector) = self.host_mut().device.take_irq() {
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
            }
            if answer & irq_result::POLL != 0 {
                host.call.wanted.poll();
            }
            let unmasked = host.device.device.irq_unmask(vector).map_err(|error| host.device.failed(error));
            unmasked.map_err(|fault| self.fault(fault))?;
        }
        Ok(pending != 0)
    }

    /// The call was checked: what it did is final.
    fn commit(&mut self) -> Result<(), NookError> {
        let outcome = self.driver()?.commit();
        outcome.map_err(|fault| self.fault(fault))
    }

    /// The timer and the deferred work, if they are due.
    fn run_deferred(&mut self, now: u64) -> Result<bool, NookError> {
        let mut any = false;
        if self.host_mut().call.wanted.take_timer(now) {
            any = true;
            let outcome = self.driver()?.timer();
            outcome.map_err(|fault| self.fault(fault))?;
            self.commit()?;
        }
        if self.host_mut().call.wanted.take_work() {
            any = true;
            let outcome = self.driver()?.work();
            outcome.map_err(|fault| self.fault(fault))?;
            self.hand_over()?;
        }
        Ok(any)
    }

    /// Tells the interface's other side about the link, if it changed. A driver that was restarted gets a while to
    /// find the link again, so that a connection does not notice.
    pub(super) fn tell_link(&mut self, now: u64) -> Result<(), NookError> {
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

    pub(super) fn link_is_up(&self) -> bool {
        self.interface().is_some_and(|interface| interface.link.up)
    }

    /// Moves packets both ways, with one call of the driver, if there is a reason to. Says whether that was worth a
    /// turn.
    pub(super) fn poll(&mut self, now: u64) -> Result<bool, NookError> {
        let Some(plan) = self.decide(now)? else { return Ok(false) };
        let answer = self.call_poll(&plan)?;
        self.hand_over()?;
        self.account(&plan, answer)
    }

    /// Gives the driver frames to be sent, and says how it is to be polled; not at all if there is no reason to.
    #[inline]
    fn decide(&mut self, now: u64) -> Result<Option<PollPlan>, NookError> {
        let link_is_up = self.opened && self.link_is_up();
        if !self.opened || !self.life.runs() {
            return Ok(None);
        }
        let takes = link_is_up && !self.awaits_link && !self.care.withhold_tx;
        let provided = if takes { self.provide_tx(now)? } else { 0 };
        let host = self.life.host_mut();
        let looks = !host.call.wanted.take_poll() && provided == 0;
        if looks && !(link_is_up && host.watches_interrupts() && host.watch.is_quiet(now)) {
            return Ok(None);
        }
        host.watch.polled(now, host.call.budget.limits().quiet_ns);
        // Whatever becomes of this call, the next one is an ordinary one unless somebody says otherwise again.
        let care = self.care.take();
        let (budget, flags) = match care {
            Care { discard_rx: true, .. } => (1, poll_flags::DISCARD_NEXT_RX),
            Care { single: 1.., .. } => (1, 0),
            Care { .. } => (BUDGET, 0),
        };
        let Counters { rx_packets: received, rx_failed: failed, .. } = host.counters;
        Ok(Some(PollPlan { looks, budget, flags, received, failed }))
    }

    #[inline]
    fn provide_tx(&mut self, now: u64) -> Result<u32, NookError> {
        let host = self.life.host_mut();
        let outcome = host.net.provide_tx(&mut self.uplink, &mut host.counters, now);
        outcome.map_err(|error| match error {
            ClassError::Fault(fault) => self.fault(fault),
            ClassError::Backend(error) => NookError::Uplink(error),
        })
    }

    /// The call itself, and a look at its answer.
    #[inline]
    fn call_poll(&mut self, plan: &PollPlan) -> Result<u32, NookError> {
        let driver = self.life.driver().ok_or(NookError::NotRunning)?;
        let host = driver.host_mut();
        host.counters.polls += 1;
        let answer = host.net.provide_rx().and_then(|()| driver.poll(0, plan.budget, plan.flags));
        match answer {
            Ok(answer @ ..=poll_result::AGAIN) => Ok(answer),
            Ok(answer) => {
                let rule = "neither idle nor again";
                Err(self.fault(Fault::BadReturn { entry: Entry::Poll, value: answer.into(), rule }))
            }
            Err(fault) => Err(self.fault(fault)),
        }
    }

    /// What came of a call that is final: what it found, and whether there is more to be done.
    #[inline]
    fn account(&mut self, plan: &PollPlan, answer: u32) -> Result<bool, NookError> {
        let host = self.life.host_mut();
        if plan.flags & poll_flags::DISCARD_NEXT_RX != 0 {
            host.counters.rx_poison += host.counters.rx_failed - plan.failed;
        }
        let received = host.counters.rx_packets - plan.received;
        let looked = if plan.looks { host.watch.looked(received, &host.counters) } else { Ok(()) };
        let dry = looked.and_then(|()| host.net.rx_runs_dry());
        let dry = dry.map_err(|fault| self.fault(fault))?;
        let wanted = &mut self.life.host_mut().call.wanted;
        if dry || answer == poll_result::AGAIN {
            wanted.poll_again();
        } else if plan.budget < BUDGET {
            wanted.poll();
        }
        // What was looked for in vain was not worth a turn of its own.
        Ok(!plan.looks || received > 0)
    }

    /// Looks for what goes wrong without a wrong act. Says when it wants to look again.
    fn watch_over(&mut self, now: u64) -> Result<Option<u64>, NookError> {
        let link_is_up = self.opened && self.link_is_up();
        let host = self.host_mut();
        let limit_ns = host.call.budget.limits().transmit_ns;
        if let Some(given_before_ns) = host.watch.transmit_due(now, link_is_up, limit_ns) {
            // A lazy driver keeps what it sent until it needs the room.
            let lazy = host.manifest.tx_completion == TxCompletion::Lazy && host.net.has_tx_room();
            let overdue = if lazy { 0 } else { host.net.overdue_tx(given_before_ns) };
            let suspect = host.watch.overdue(overdue, limit_ns).map_err(|fault| self.fault(fault))?;
            if suspect {
                self.host_mut().call.wanted.poll();
            }
        }
        let host = self.host_mut();
        if link_is_up && host.watch.counters_due(now, &host.counters, host.call.budget.limits().counters_ns) {
            self.stats()?;
        }
        let host = self.host();
        Ok((link_is_up && host.watches_interrupts()).then(|| host.watch.quiet_due_ns()))
    }

    /// A driver that uses long calls rests as long as they took: it gets half of its thread's time at most.
    fn charge(&mut self) {
        let long_ns = self.host_mut().call.budget.take_long_ns();
        if long_ns > 0 {
            let rest_ns = long_ns.min(MAX_REST_NS);
            self.rest_until_ns = self.clock.now_ns() + rest_ns;
            self.host_mut().counters.throttled_ns += rest_ns;
        }
    }

    /// The call was right so far: what the driver returned is checked, then the call is final, and what was returned
    /// goes where it belongs.
    pub(super) fn hand_over(&mut self) -> Result<(), NookError> {
        let Nook { life, uplink, .. } = self;
        let Some(driver) = life.driver() else { return Ok(()) };
        match driver.host_mut().net.check().and_then(|()| driver.commit()) {
            Ok(()) => {
                let host = driver.host_mut();
                host.net.accept(uplink, &mut host.counters).map_err(NookError::Uplink)
            }
            Err(fault) => Err(self.fault(fault)),
        }
    }
}
