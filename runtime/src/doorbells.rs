//! Doorbells that a driver leaves in its host page, in place of a hostcall for each. They are register writes like any
//! other, and pass the same checks; the host makes them when the call has returned, or before a hostcall that could
//! tell the difference.
//!
//! Only wasm drivers are given room for them. A native one reaches its host by a call of a function, which costs no
//! more than this; and one in another process posts its writes, which have to stay in order with these.

use nook_abi::{DOORBELLS, Doorbell, Fault, Hostcall, Topic};

use crate::Host;

/// Returns whether what was left is rung before this hostcall: it reaches the device, or the driver waits, or looks how
/// long it has waited.
pub(crate) const fn come_before(topic: Topic, call: Hostcall) -> bool {
    matches!(topic, Topic::Register | Topic::Dma | Topic::Interrupt)
        || matches!(call, Hostcall::DelayNs | Hostcall::SleepNs | Hostcall::ClockNs)
}

impl Host {
    /// Lets the driver leave doorbells, unless it has its registers as memory: then the host makes no writes.
    pub(crate) fn take_doorbells(&mut self) {
        if let Some(space) = self.space.as_ref().filter(|_| self.device.bar.is_none()) {
            space.write_doorbell_room(DOORBELLS as u32);
        }
    }

    /// Makes the writes that the driver has left, in order. In a transaction they are held back as others are.
    ///
    /// # Errors
    /// If one of them is not allowed, or the device does not answer; it and those behind it are dropped.
    #[inline]
    pub(crate) fn ring_doorbells(&mut self) -> Result<(), Fault> {
        let Some(space) = &self.space else { return Ok(()) };
        // Read once: what is done below is done with this number.
        let count = space.doorbell_count();
        if count == 0 || self.replays() { Ok(()) } else { self.ring(count) }
    }

    fn ring(&mut self, count: u32) -> Result<(), Fault> {
        let Some(space) = &self.space else { return Ok(()) };
        space.clear_doorbells();
        if count > DOORBELLS as u32 {
            let rule = "more were left than there is room for";
            return Err(Fault::QueueCorrupt { queue: "doorbells", value: count, rule });
        }
        for at in 0..count as usize {
            let Some(space) = &self.space else { break };
            let word = space.doorbell(at);
            let Doorbell { bar, offset, value } = Doorbell::from_word(word);
            let outcome = self.bars().ring(bar, offset, value);
            let args = [bar.into(), offset.into(), value.into()];
            self.call.trace.hostcall(Hostcall::MmioWrite32, args, &outcome);
            outcome?;
        }
        Ok(())
    }

    /// Drops what the driver has left, because its call ended in a fault.
    pub(crate) fn drop_doorbells(&mut self) {
        if !self.replays() {
            self.space.iter().for_each(|space| space.clear_doorbells());
        }
    }
}

#[cfg(test)]
mod tests {
    use nook_abi::HOSTCALLS;

    use super::*;

    #[test]
    fn what_reaches_the_device_or_waits_comes_after_doorbells_and_nothing_else() {
        let later = HOSTCALLS.iter().filter(|row| !come_before(row.topic, row.call)).map(|row| row.name);
        let mut later: Vec<&str> = later.collect();
        later.sort_unstable();
        let expected = [
            "block_attach",
            "log",
            "misc_attach",
            "misc_complete",
            "net_attach",
            "net_counters",
            "net_counts",
            "net_filter",
            "net_link",
            "net_offloads",
            "poll_schedule",
            "serial_attach",
            "serial_modem",
            "serial_next",
            "serial_received",
            "timer_set",
            "work_schedule",
        ];
        assert_eq!(later, expected);
    }
}
