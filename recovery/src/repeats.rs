//! [`Repeats`]: what is said once of faults that a driver has again and again before it comes up.

/// Tells faults that ended an instance, each once as long as the next is the same.
#[derive(Debug, Default)]
pub(crate) struct Repeats {
    told: Option<String>,
    more: u64,
}

impl Repeats {
    /// Logs a fault, unless it is the same as the last one: then it is counted.
    pub(crate) fn tell(&mut self, fault: String) {
        if self.told.as_ref() == Some(&fault) {
            self.more += 1;
            return;
        }
        self.end();
        tracing::error!("{fault}");
        self.told = Some(fault);
    }

    /// Logs how often it came besides: the driver came up, or is given up.
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
    fn a_fault_that_comes_again_is_counted_until_another_comes_or_the_driver_is_up() {
        let mut repeats = Repeats::default();
        for _ in 0..10 {
            repeats.tell("probe: trap".into());
        }
        assert_eq!((repeats.told.as_deref(), repeats.more), (Some("probe: trap"), 9));
        repeats.tell("open: trap".into());
        assert_eq!((repeats.told.as_deref(), repeats.more), (Some("open: trap"), 0));
        repeats.end();
        assert_eq!((repeats.told.as_deref(), repeats.more), (None, 0));
    }
}
