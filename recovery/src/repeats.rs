//! [`Repeats`]: what is said once of faults that end one instance of a driver after the other.

/// How soon the same fault has to come again, in nanoseconds, to be counted and not said: who looks at the log of a
/// driver that has it once a day finds each.
const SOON_NS: u64 = 60_000_000_000;

/// Tells faults that ended an instance, each once as long as the next is the same and comes soon.
#[derive(Debug, Default)]
pub(crate) struct Repeats {
    told: Option<String>,
    more: u64,
    last_ns: u64,
}

impl Repeats {
    /// Logs a fault of `now_ns`, unless it is the same as the last one: then it is counted.
    pub(crate) fn tell(&mut self, fault: String, now_ns: u64) {
        let soon = now_ns.saturating_sub(std::mem::replace(&mut self.last_ns, now_ns)) < SOON_NS;
        if soon && self.told.as_ref() == Some(&fault) {
            self.more += 1;
            return;
        }
        self.end();
        tracing::error!("{fault}");
        self.told = Some(fault);
    }

    /// Returns how often the last fault was counted and not said.
    pub(crate) fn more(&self) -> u64 {
        self.more
    }

    /// Logs how often it came besides: another fault came, or the driver is given up.
    pub(crate) fn end(&mut self) {
        if let (Some(fault), more @ 1..) = (self.told.take(), self.more) {
            tracing::error!("{fault} ({more} more times)");
        }
        self.more = 0;
    }
}

impl Drop for Repeats {
    /// A run that is stopped meanwhile says it too.
    fn drop(&mut self) {
        self.end();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_fault_that_comes_again_soon_is_counted_until_another_comes() {
        let mut repeats = Repeats::default();
        for at in 0..10 {
            repeats.tell("probe: trap".into(), at);
        }
        assert_eq!((repeats.told.as_deref(), repeats.more), (Some("probe: trap"), 9));
        repeats.tell("open: trap".into(), 10);
        assert_eq!((repeats.told.as_deref(), repeats.more), (Some("open: trap"), 0));
        repeats.tell("open: trap".into(), SOON_NS + 9);
        assert_eq!(repeats.more(), 1);
        repeats.tell("open: trap".into(), 2 * SOON_NS + 9);
        assert_eq!(repeats.more(), 0, "what comes after a while is said");
        repeats.end();
        assert_eq!((repeats.told.as_deref(), repeats.more), (None, 0));
    }
}
