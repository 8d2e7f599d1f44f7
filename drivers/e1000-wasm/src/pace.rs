//! How far apart interrupts are (ITR, section 13.4.18): chosen from what has passed since the last look.
//!
//! Intel's application note on interrupt moderation (AP-450) and its drivers know classes of traffic. Here are two: a
//! frame that may be alone interrupts at once, and a stream does so 10,000 times a second at most. Requests and answers
//! are known by their number, as many one way as the other and one for each interrupt: those do not wait.

use e1000_regs::{ITR, ITR_STEP_NS};

/// The shortest time between two looks.
const LOOK_NS: u64 = 1_000_000;
/// Of a stream, at least this many frames pass in [`LOOK_NS`].
const STREAM: u64 = 20;
/// And one way for each two of the other, at most; or for each interrupt this many.
const TOGETHER: u32 = 4;
/// The time between two interrupts of a stream. With the delay of those for sent frames (`setup::moderate`) it is
/// shorter than what a full ring of the shortest frames takes to be sent, 172 µs.
const STREAM_NS: u64 = 100_000;
const STREAM_ITR: u32 = ITR::INTERVAL.put((STREAM_NS / ITR_STEP_NS) as u32);

/// What was seen until the last look, and what is set.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Pace {
    looked_ns: u64,
    /// Frames that had been received and sent.
    received: u32,
    sent: u32,
    /// Interrupts since.
    interrupts: u32,
    /// ITR's value.
    itr: u32,
}

impl Pace {
    /// Notes an interrupt, and looks what has passed if it is time to. Returns what ITR is to be, if that is another
    /// value.
    #[inline]
    pub(crate) fn interrupted(&mut self, now_ns: u64, received: u32, sent: u32) -> Option<u32> {
        self.interrupts += 1;
        let passed_ns = now_ns.saturating_sub(self.looked_ns);
        if passed_ns < LOOK_NS { None } else { self.look(now_ns, passed_ns, received, sent) }
    }

    #[inline(never)]
    fn look(&mut self, now_ns: u64, passed_ns: u64, received: u32, sent: u32) -> Option<u32> {
        let ways = [received.wrapping_sub(self.received), sent.wrapping_sub(self.sent)];
        let (most, least) = (ways[0].max(ways[1]), ways[0].min(ways[1]));
        let is_fast = u64::from(most) * LOOK_NS >= STREAM * passed_ns;
        let is_stream = is_fast && (most >= least.saturating_mul(2) || most / TOGETHER >= self.interrupts);
        let itr = if is_stream { STREAM_ITR } else { 0 };
        let changed = itr != self.itr;
        *self = Pace { looked_ns: now_ns, received, sent, interrupts: 0, itr };
        changed.then_some(itr)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Has a number of interrupts come in each of some milliseconds, each with frames received and sent. Returns what
    /// ITR is at last.
    fn set(pace: &mut Pace, ms: u64, interrupts: u32, received: u32, sent: u32) -> u32 {
        let begin_ns = pace.looked_ns;
        let (mut in_all, mut out) = (pace.received, pace.sent);
        for at in 1..=ms * u64::from(interrupts) {
            (in_all, out) = (in_all.wrapping_add(received), out.wrapping_add(sent));
            pace.interrupted(begin_ns + at * LOOK_NS / u64::from(interrupts), in_all, out);
        }
        pace.itr
    }

    #[test]
    fn a_stream_is_throttled_and_what_comes_after_it_is_not() {
        for (interrupts, received, sent) in [(80, 1, 0), (40, 2, 1), (10, 8, 4), (10, 8, 8), (20, 0, 20)] {
            let mut pace = Pace::default();
            assert_eq!(set(&mut pace, 3, interrupts, received, sent), STREAM_ITR, "{interrupts} {received} {sent}");
            // One frame later.
            assert_eq!(set(&mut pace, 100, 1, 1, 1), 0);
        }
    }

    #[test]
    fn requests_and_answers_are_not_throttled_however_many() {
        for interrupts in [1, 5, 30, 200] {
            let mut pace = Pace::default();
            assert_eq!(set(&mut pace, 5, interrupts, 1, 1), 0, "{interrupts} in a millisecond");
        }
        let mut pace = Pace::default();
        assert_eq!(set(&mut pace, 5, 15, 1, 0), 0, "few frames, as of a stream of speech");
    }

    #[test]
    fn counts_that_wrap_are_counts_all_the_same() {
        let mut pace = Pace { received: u32::MAX - 10, sent: u32::MAX - 3, ..Pace::default() };
        assert_eq!(set(&mut pace, 2, 40, 2, 1), STREAM_ITR);
        assert!(STREAM_ITR != 0 && STREAM_ITR & !ITR::INTERVAL.mask() == 0);
    }
}
