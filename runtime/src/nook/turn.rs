//! One round of a nook, and what of it can be taken back.

use nook_abi::net::poll_flags;
use nook_abi::{Entry, Fault, TxCompletion, irq_result, poll_result};

use super::undo::Care;
use super::{Nook, State};
use crate::{NookError, Turn, Uplink};
use nook_bus::PciDevice;

/// Packets that one `poll` may move each way.
const BUDGET: u32 = nook_abi::QUEUE_CAPACITY;

/// The longest rest that a driver is made to take between two turns.
const MAX_REST_NS: u64 = 1_000_000_000;

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
        self.charge();
        let due = [device_due, uplink_due, quiet_due].into_iter().flatten().fold(until_ns, u64::min);
        let host = self.host_mut();
        let asks = std::mem::take(&mut host.asks);
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
        let due = self.host().timer_due_ns.map_or(due, |timer_due| due.min(timer_due));
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
            self.vector = vector;
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
            host.poll_wanted |= answer & irq_result::POLL != 0;
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
        if self.host().timer_due_ns.is_some_and(|due| due <= now) {
            any = true;
            self.host_mut().timer_due_ns = None;
            self.host_mut().asks = true;
            let outcome = self.driver()?.timer();
            outcome.map_err(|fault| self.fault(fault))?;
            self.commit()?;
        }
        if std::mem::take(&mut self.host_mut().work_wanted) {
            any = true;
            self.host_mut().asks = true;
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

    /// Moves packets both ways, with one call of the driver, if there is a reason to.
    pub(super) fn poll(&mut self, now: u64) -> Result<bool, NookError> {
        if !self.opened {
            return Ok(false);
        }
        let link_is_up = self.link_is_up();
        let Nook { state, uplink, .. } = self;
        let State::Running(driver) = state else { return Ok(false) };
        let host = driver.host_mut();
        let takes = link_is_up && !self.care.withhold_tx;
        let provided = if takes { host.net.provide_tx(uplink, &mut host.counters, now) } else { Ok(Ok(0)) };
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
        let care = self.care;
        let (budget, flags) = match care {
            Care { discard_rx: true, .. } => (1, poll_flags::DISCARD_NEXT_RX),
            Care { single: 1.., .. } => (1, 0),
            Care { .. } => (BUDGET, 0),
        };
        let failed = host.counters.rx_failed;
        // Whatever becomes of this call, the next one is an ordinary one unless somebody says otherwise again.
        self.care = Care { single: care.single.saturating_sub(1), ..Care::default() };
        let answer = match host.net.provide_rx() {
            Ok(()) => driver.poll(0, budget, flags),
            Err(fault) => Err(fault),
        };
        let answer = match answer {
            Ok(answer) => answer,
            Err(fault) => return Err(self.fault(fault)),
        };
        if answer > poll_result::AGAIN {
            let rule = "neither idle nor again";
            return Err(self.fault(Fault::BadReturn { entry: Entry::Poll, value: answer.into(), rule }));
        }
        self.hand_over()?;
        let host = self.host_mut();
        if care.discard_rx {
            host.counters.rx_poison += host.counters.rx_failed - failed;
        }
        let received = host.counters.rx_packets - received;
        if looks {
            host.watch.looked(received, &host.counters).map_err(|fault| self.fault(fault))?;
        }
        let dry = self.host_mut().net.rx_runs_dry().map_err(|fault| self.fault(fault))?;
        let again = dry || answer == poll_result::AGAIN;
        let host = self.host_mut();
        host.asks |= again;
        host.poll_wanted |= again || budget < BUDGET;
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
            self.rest_until_ns = self.clock.now_ns() + rest_ns;
            self.host_mut().counters.throttled_ns += rest_ns;
        }
    }

    /// The call was right so far: what the driver returned is checked, then the call is final, and what was returned
    /// goes where it belongs.
    pub(super) fn hand_over(&mut self) -> Result<(), NookError> {
        let Nook { state, uplink, .. } = self;
        let State::Running(driver) = state else { return Ok(()) };
        match driver.host_mut().net.check().and_then(|()| driver.commit()) {
            Ok(()) => {
                let host = driver.host_mut();
                host.net.accept(uplink, &mut host.counters).map_err(NookError::Uplink)
            }
            Err(fault) => Err(self.fault(fault)),
        }
    }
}
