//! What the driver is to be called for next.

use nook_abi::Entry;

/// The calls that are due. Code that wants one asks here, and the loop takes it from here just before it calls; nothing
/// else changes it but the end of an instance and a call that is rolled back.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct DueCalls {
    poll: bool,
    work: bool,
    timer_due_ns: Option<u64>,
    /// The driver itself asked for what comes next: it is made to rest if nothing comes of that.
    asks: bool,
}

impl DueCalls {
    /// Makes `poll` due in the next turn.
    #[inline]
    pub(crate) fn poll(&mut self) {
        self.poll = true;
    }

    /// Makes `poll` due because the driver says so.
    #[inline]
    pub(crate) fn poll_again(&mut self) {
        self.poll = true;
        self.asks = true;
    }

    /// Makes `work` due in the next turn.
    pub(crate) fn work(&mut self) {
        self.work = true;
    }

    /// Makes `timer` due at `due_ns`, in nanoseconds of the nook's clock; `None` stops it.
    pub(crate) fn timer(&mut self, due_ns: Option<u64>) {
        self.timer_due_ns = due_ns;
    }

    /// Returns when `timer` is due.
    #[inline]
    pub(crate) fn timer_due_ns(&self) -> Option<u64> {
        self.timer_due_ns
    }

    /// Returns whether `poll` is to be called now.
    #[inline]
    pub(crate) fn take_poll(&mut self) -> bool {
        std::mem::take(&mut self.poll)
    }

    /// Returns whether `timer` is to be called now.
    #[inline]
    pub(crate) fn take_timer(&mut self, now_ns: u64) -> bool {
        let due = self.timer_due_ns.is_some_and(|due_ns| due_ns <= now_ns);
        if due {
            self.timer_due_ns = None;
            self.asks = true;
        }
        due
    }

    /// Returns whether `work` is to be called now.
    #[inline]
    pub(crate) fn take_work(&mut self) -> bool {
        let due = std::mem::take(&mut self.work);
        self.asks |= due;
        due
    }

    /// Returns whether the driver asked for this turn, or for the next one.
    #[inline]
    pub(crate) fn take_asks(&mut self) -> bool {
        std::mem::take(&mut self.asks)
    }

    /// This, and the call of `entry` that was just taken from here is due again.
    #[inline]
    pub(crate) fn with_due(mut self, entry: Entry) -> DueCalls {
        match entry {
            Entry::Poll => self.poll = true,
            Entry::Work => self.work = true,
            // At once: zero has passed on every clock.
            Entry::Timer => self.timer_due_ns = Some(0),
            _ => {}
        }
        self
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_taken_is_due_once() {
        let mut due = DueCalls::default();
        due.poll();
        due.work();
        due.timer(Some(7));
        assert!(due.take_poll() && !due.take_poll());
        assert!(due.take_work() && !due.take_work());
        assert!(!due.take_timer(6) && due.take_timer(7) && !due.take_timer(8));
    }

    #[test]
    fn a_call_that_was_rolled_back_is_due_again_and_nothing_else() {
        for entry in [Entry::Poll, Entry::Work, Entry::Timer] {
            let mut due = DueCalls::default().with_due(entry);
            let due = [due.take_poll(), due.take_work(), due.take_timer(1)];
            assert_eq!(due, [entry == Entry::Poll, entry == Entry::Work, entry == Entry::Timer]);
        }
        assert_eq!(DueCalls::default().with_due(Entry::Irq), DueCalls::default());
    }

    #[test]
    fn only_what_the_driver_asked_for_counts_as_asked() {
        let mut due = DueCalls::default();
        due.poll();
        assert!(!due.take_asks());
        due.poll_again();
        assert!(due.take_asks() && !due.take_asks());
        due.work();
        due.take_work();
        assert!(due.take_asks());
    }
}
