//! What the driver is to be called for next.

use nook_abi::Entry;

/// The queue that every driver has.
const FIRST: u32 = 1;

/// The calls that are due. Code that wants one asks here, and the loop takes it from here just before it calls; nothing
/// else changes it but the end of an instance and a call that is rolled back.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct DueCalls {
    /// For which queues `poll` is due, and for which it ever was: a bit each.
    polls: u32,
    known: u32,
    /// The queue of the last call.
    queue: u32,
    /// It is the next one's too, if that is due: the call was rolled back, and what it did wrong it does next.
    repeats: bool,
    /// For which queues the driver itself asked since [`begin_irq`](Self::begin_irq).
    asked: u32,
    work: bool,
    timer_due_ns: Option<u64>,
    /// The driver itself asked for what comes next: it is made to rest if nothing comes of that.
    asks: bool,
}

impl DueCalls {
    /// Makes `poll` of the first queue due.
    #[inline]
    pub(crate) fn poll(&mut self) {
        self.polls |= FIRST;
        self.known |= FIRST;
    }

    /// Makes `poll` due for every queue for which it ever was.
    pub(crate) fn poll_all(&mut self) {
        self.poll();
        self.polls |= self.known;
    }

    /// Makes `poll` due again for the queue of the last call.
    #[inline]
    pub(crate) fn poll_more(&mut self) {
        self.polls |= 1 << self.queue;
    }

    /// Makes `poll` of this queue due because the driver says so.
    #[inline]
    pub(crate) fn poll_again(&mut self, queue: u32) {
        self.polls |= 1 << queue;
        self.known |= 1 << queue;
        self.asked |= 1 << queue;
        self.asks = true;
    }

    /// Returns for which queues `poll` ever was due: a bit each.
    #[inline]
    pub(crate) fn known(&self) -> u32 {
        self.known
    }

    /// Returns the queue of the last call of `poll`, which is under way or about to be.
    #[inline]
    pub(crate) fn queue(&self) -> u32 {
        self.queue
    }

    /// Begins a call of `irq`.
    #[inline]
    pub(crate) fn begin_irq(&mut self) {
        self.asked = 0;
    }

    /// Returns for which queues the driver asked in a call of `irq`, by `poll_schedule`.
    #[inline]
    pub(crate) fn asked_by_irq(&self) -> u32 {
        self.asked
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

    /// Takes the queue for which `poll` is to be called now: they take turns, unless `stays` asks for the last one
    /// again.
    #[inline]
    pub(crate) fn take_poll(&mut self, stays: bool) -> Option<u32> {
        if self.polls == 0 {
            return None;
        }
        let stays = std::mem::take(&mut self.repeats) || stays;
        let from = if stays { self.queue } else { self.queue + 1 };
        let ahead = self.polls & u32::MAX.checked_shl(from).unwrap_or(0);
        self.queue = if ahead != 0 { ahead } else { self.polls }.trailing_zeros();
        self.polls &= !(1 << self.queue);
        Some(self.queue)
    }

    /// Has the next call of `poll` be a look at this queue.
    pub(crate) fn look(&mut self, queue: u32) {
        self.queue = queue;
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
            Entry::Poll => {
                self.polls |= 1 << self.queue;
                self.repeats = true;
            }
            Entry::Work => self.work = true,
            // At once: zero has passed on every clock.
            Entry::Timer => self.timer_due_ns = Some(0),
            _ => {}
        }
        self
    }

    /// This, and `poll` is due for every queue.
    pub(crate) fn with_polls(mut self) -> DueCalls {
        self.poll_all();
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
        assert_eq!([due.take_poll(false), due.take_poll(false)], [Some(0), None]);
        assert!(due.take_work() && !due.take_work());
        assert!(!due.take_timer(6) && due.take_timer(7) && !due.take_timer(8));
    }

    #[test]
    fn a_call_that_was_rolled_back_is_due_again_and_nothing_else() {
        for entry in [Entry::Poll, Entry::Work, Entry::Timer] {
            let mut due = DueCalls::default().with_due(entry);
            let due = [due.take_poll(false).is_some(), due.take_work(), due.take_timer(1)];
            assert_eq!(due, [entry == Entry::Poll, entry == Entry::Work, entry == Entry::Timer]);
        }
        assert_eq!(DueCalls::default().with_due(Entry::Irq), DueCalls::default());
    }

    #[test]
    fn only_what_the_driver_asked_for_counts_as_asked() {
        let mut due = DueCalls::default();
        due.poll();
        assert!(!due.take_asks());
        due.poll_again(0);
        assert!(due.take_asks() && !due.take_asks());
        due.work();
        due.take_work();
        assert!(due.take_asks());
    }

    #[test]
    fn queues_take_turns_but_for_one_whose_call_was_rolled_back() {
        let mut due = DueCalls::default();
        let again = |due: &mut DueCalls| [0, 1, 7].into_iter().for_each(|queue| due.poll_again(queue));
        let mut seen = Vec::new();
        for _ in 0..6 {
            again(&mut due);
            seen.extend(due.take_poll(false));
        }
        assert_eq!(seen, [1, 7, 0, 1, 7, 0]);
        assert_eq!((due.take_poll(false), due.queue()), (Some(1), 1));
        due = due.with_due(Entry::Poll);
        again(&mut due);
        assert_eq!([due.take_poll(false), due.take_poll(false)], [Some(1), Some(7)]);
        again(&mut due);
        assert_eq!([due.take_poll(true), due.take_poll(false)], [Some(7), Some(0)]);
    }

    #[test]
    fn a_snapshot_has_every_queue_due_that_the_driver_ever_asked_for() {
        let mut due = DueCalls::default();
        due.poll_again(2);
        due.take_poll(false);
        let mut due = due.with_polls();
        assert_eq!((due.known(), due.take_poll(false), due.take_poll(false)), (0b101, Some(0), Some(2)));
    }

    #[test]
    fn what_an_interrupt_asked_for_is_known_apart() {
        let mut due = DueCalls::default();
        due.poll_again(1);
        due.begin_irq();
        assert_eq!(due.asked_by_irq(), 0);
        due.poll_again(2);
        assert_eq!(due.asked_by_irq(), 0b100);
    }
}
