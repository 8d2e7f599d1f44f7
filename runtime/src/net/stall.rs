//! What stands still without a wrong act, and is to be seen soon: a device that counts frames which never come out of
//! its driver, frames to be sent that nothing becomes of, buffers that nobody takes.
//!
//! The monitor looks ten times in the time that such a thing may last
//! ([`Budgets::stall_ns`](crate::Budgets::stall_ns)), and counts looks, not time: a nook that could not run for a while
//! has looked once when it goes on. After each look at which something is odd the driver is called, so that a lost
//! interrupt is not taken for more. It asks the device twice over: through the driver, whose counters it compares with
//! what came out of it, and past it, whether something outside [holds it up](nook_regs::RegisterInfo::held_up). So
//! these are no faults: a link that is down, or quiet; a link partner that asks for a pause, of which the log says once
//! if it does not end; an interface whose other side takes nothing; a machine that has other things to do.

use std::collections::VecDeque;

use nook_abi::net::{NetFault, NetStats};
use nook_bus::PciDevice;
use nook_net_api::NetBackend;

use super::{Net, NetCounters};
use crate::{Driver, Host, NookError};

/// Looks in the time that something may stand still.
pub(super) const LOOKS: u32 = 10;
/// Looks at which frames are missing that the device has counted, and none has come out of the driver meanwhile, after
/// which they never will: if they are this many more than at one of the last looks, or if they became more at this many
/// looks. One alone may be a frame that the driver was right to drop.
const SILENT: u32 = 4;
const MISSING: u64 = 8;
const COUNTED: u32 = 3;
/// How many looks are the last ones.
const LAST: usize = 20;
/// Looks in a row at which the driver had next to no buffer to receive into, and took none.
const STARVED: u32 = 4;
/// Looks at which frames had come back as not sent, and none as sent.
const FAILED: u32 = 5;
/// Looks from one comparison of what was sent to the next, and comparisons in a row that found nothing sent.
const WINDOW: u32 = 4;
const UNSENT: u32 = 3;
/// While nothing happens at all, looks are this many times as far apart, at most.
const REST: u64 = 4;

/// What is seen at a look.
#[derive(Clone, Copy, Debug, Default)]
struct Sight {
    /// What came out of the driver until now.
    counters: NetCounters,
    /// Frames to be sent that the driver had at the last look already.
    waiting: u32,
    /// Buffers to receive into that wait for the driver, which has next to none.
    untaken: u32,
    /// What the device counts, if the driver says.
    device: Option<NetStats>,
    /// Something outside holds the device up; `None` if that is not known.
    held_up: Option<bool>,
}

/// What came of the frames that the device counted.
#[derive(Clone, Debug, Default)]
struct Received {
    /// At each of the last looks, how many more the device had counted than had come out of the driver.
    missing: VecDeque<i128>,
    /// What the device had counted at the last look.
    counted: Option<u64>,
    /// Looks in a row at which frames were missing and none had come out, and those of them at which the device had
    /// counted more.
    silent: u32,
    more: u32,
    /// How often the driver had reset its device at the last look. Frames that were in it then never come.
    resets: u64,
}

impl Received {
    /// Notes a look. Returns how many frames are missing that should have come out by now.
    fn missing(&mut self, came: bool, handed_up: u64, device: &NetStats) -> Option<u64> {
        let counted = device.rx_packets.saturating_add(device.rx_missed);
        if device.tx_timeouts != self.resets {
            *self = Received { resets: device.tx_timeouts, ..Received::default() };
        }
        let more = self.counted.replace(counted).is_some_and(|before| counted > before);
        let now = i128::from(counted) - i128::from(handed_up);
        self.missing.truncate(LAST - 1);
        self.missing.push_front(now);
        let least = self.missing.iter().copied().min().unwrap_or(now);
        let missing = u64::try_from(now - least).unwrap_or(u64::MAX);
        if came || missing == 0 && self.more == 0 {
            (self.silent, self.more) = (0, 0);
        } else {
            self.silent += 1;
            self.more += u32::from(more);
        }
        (self.silent >= SILENT && (missing >= MISSING || self.more >= COUNTED)).then_some(missing)
    }
}

/// What is watched about one driver instance while it has a link.
#[derive(Debug, Default)]
pub(super) struct StallMonitor {
    /// When to look next, and when that was done last; 0 before the first look.
    next_ns: u64,
    last_ns: u64,
    looks: u32,
    quiet: u32,
    /// What came out of the driver until the last look.
    before: NetCounters,
    received: Received,
    starved: u32,
    stuck: u32,
    /// Looks in a row at which frames stood still and something outside held the device up, and whether that was said.
    held_up: u32,
    told: bool,
    failed: u32,
    /// Frames that had come back as sent, and those that the device had sent, when they were last compared.
    compared: Option<(u64, u64)>,
    unsent: u32,
}

impl StallMonitor {
    /// Creates one for an instance that was restored from a snapshot, at which the device had counted this. What it
    /// counts from then on is compared with that: frames that come at once, and are all that it has room for, are seen
    /// at no look but the first.
    pub(super) fn restored(device: &NetStats, counters: &NetCounters) -> Self {
        let mut received = Received { resets: device.tx_timeouts, ..Received::default() };
        received.missing(true, counters.good(), device);
        StallMonitor { received, compared: Some((counters.tx_done, device.tx_packets)), ..Self::default() }
    }

    /// Returns whether it is time for a look. The first is at once: what was seen before anything moved is what later
    /// looks compare with.
    #[inline]
    fn is_due(&mut self, now_ns: u64, counters: &NetCounters) -> bool {
        if self.last_ns == 0 {
            (self.last_ns, self.next_ns, self.before) = (now_ns, now_ns, *counters);
        }
        now_ns >= self.next_ns
    }

    /// Returns when the next look is due.
    pub(super) fn due_ns(&self) -> u64 {
        self.next_ns
    }

    /// Judges a look. Says whether the driver is to be called.
    fn judge(&mut self, sight: &Sight, now_ns: u64, look_ns: u64) -> Result<bool, NetFault> {
        let before = std::mem::replace(&mut self.before, sight.counters);
        let over_ns = |looks: u32| look_ns * u64::from(looks);
        let odd = [
            self.receives(sight, &before, over_ns(SILENT))?,
            self.takes_buffers(sight, over_ns(STARVED))?,
            self.sends(sight, &before, over_ns(LOOKS))?,
            self.succeeds(sight, &before, over_ns(FAILED))?,
        ];
        if self.looks.is_multiple_of(WINDOW) {
            self.is_sent(sight)?;
        }
        let odd = odd.contains(&true);
        let rests = !odd && sight.waiting == 0 && sight.counters.returned() == before.returned();
        self.quiet = if rests { self.quiet + 1 } else { 0 };
        self.looks = self.looks.wrapping_add(1);
        self.last_ns = now_ns;
        self.next_ns = now_ns + look_ns * REST.min(1 + u64::from(self.quiet));
        Ok(odd)
    }

    fn receives(&mut self, sight: &Sight, before: &NetCounters, limit_ns: u64) -> Result<bool, NetFault> {
        let Some(device) = &sight.device else { return Ok(false) };
        let [good, before] = [&sight.counters, before].map(NetCounters::good);
        match self.received.missing(good != before, good, device) {
            None => Ok(self.received.silent > 0),
            Some(packets) => Err(NetFault::ReceiveStuck { packets, limit_ns }),
        }
    }

    fn takes_buffers(&mut self, sight: &Sight, limit_ns: u64) -> Result<bool, NetFault> {
        self.starved = if sight.untaken > 0 { self.starved + 1 } else { 0 };
        if self.starved < STARVED {
            return Ok(self.starved > 0);
        }
        Err(NetFault::BuffersNotTaken { waiting: sight.untaken, limit_ns })
    }

    fn sends(&mut self, sight: &Sight, before: &NetCounters, limit_ns: u64) -> Result<bool, NetFault> {
        let stands = sight.waiting > 0 && sight.counters.came_back() == before.came_back();
        self.stuck = if stands && sight.held_up == Some(false) { self.stuck + 1 } else { 0 };
        self.held_up = if stands && sight.held_up == Some(true) { self.held_up + 1 } else { 0 };
        if self.is_newly_long() {
            tracing::warn!(
                "{} frames have not been sent for {} ms, because the device is held up from outside, as by a link \
                 partner that asks for a pause and does not end it; they wait as long as it takes, and this is said once",
                sight.waiting,
                limit_ns / 1_000_000
            );
        }
        if self.stuck < LOOKS {
            return Ok(stands);
        }
        Err(NetFault::TransmitStuck { packets: sight.waiting, limit_ns })
    }

    /// Returns whether the device has been held up for so long that somebody should look after what holds it up: once
    /// while the link is up.
    fn is_newly_long(&mut self) -> bool {
        self.held_up >= LOOKS && !std::mem::replace(&mut self.told, true)
    }

    /// Looks whether frames come back as not sent, all of them, with a device that could send.
    fn succeeds(&mut self, sight: &Sight, before: &NetCounters, limit_ns: u64) -> Result<bool, NetFault> {
        let now = &sight.counters;
        if now.tx_done != before.tx_done || sight.held_up != Some(false) {
            self.failed = 0;
        } else if now.tx_failed != before.tx_failed {
            self.failed += 1;
        }
        if self.failed < FAILED {
            return Ok(false);
        }
        Err(NetFault::TransmitFails { limit_ns })
    }

    /// Compares what came back as sent with what the device sent. It need not be the same: some are under way. While
    /// none comes back there is nothing to compare, and what was found before stands.
    fn is_sent(&mut self, sight: &Sight) -> Result<(), NetFault> {
        let Some(device) = sight.device else { return Ok(()) };
        let now = (sight.counters.tx_done, device.tx_packets);
        if self.compared.is_some_and(|before| now.0 == before.0) {
            return Ok(());
        }
        let unsent = self.compared.replace(now).is_some_and(|(_, sent)| now.1 <= sent);
        self.unsent = if unsent && sight.held_up == Some(false) { self.unsent + 1 } else { 0 };
        if self.unsent < UNSENT {
            return Ok(());
        }
        let rule = "frames are returned as sent, and the device sends none";
        Err(NetFault::CountersDisagree { counter: "tx_packets", device: now.1, driver: now.0, rule })
    }
}

impl<U: NetBackend> Net<U> {
    /// Returns whether something outside holds the device up; `None` if that is not known: with half duplex, others on
    /// the cable may do so as well.
    pub(super) fn held_up(host: &mut Host) -> Result<Option<bool>, NookError> {
        if !Self::link(host).full_duplex {
            return Ok(None);
        }
        let answer = host.device.is_held_up().map_err(|error| host.device.failed(error));
        answer.map_err(|fault| host.error(fault))
    }

    /// Looks whether something stands still, if it is time. The link is up.
    pub(super) fn look_for_stalls(&mut self, driver: &mut dyn Driver, now_ns: u64) -> Result<(), NookError> {
        let look_ns = driver.host().call.budget.limits().stall_ns / u64::from(LOOKS);
        if !self.stalls.is_due(now_ns, &self.counters) {
            return Ok(());
        }
        let waiting = self.traffic.overdue_tx(self.stalls.last_ns);
        let untaken = self.traffic.untaken_rx().map_err(|fault| driver.host().error(fault))?;
        let mut device = self.fresh_stats(driver)?;
        let host = driver.host_mut();
        if host.device.device.identity().keeps_misses() {
            device.iter_mut().for_each(|device| device.rx_missed = 0);
        }
        let held_up = Self::held_up(host)?;
        let sight = Sight { counters: self.counters, waiting, untaken, device, held_up };
        if self.stalls.judge(&sight, now_ns, look_ns).map_err(|fault| host.error(fault.into()))? {
            // What is found now without an interrupt counts as such.
            if host.watches_interrupts() {
                host.monitor.look_now();
            } else {
                host.call.due.poll_all();
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests;
