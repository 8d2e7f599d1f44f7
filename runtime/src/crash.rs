//! Traps on request: what comes of a driver's end can only be seen if drivers end.
//!
//! A trap may come before any instruction of a call but its first; a seed picks which. How long the calls of an entry
//! are is measured on calls just before, so that a call's end is as likely to be hit as its beginning. The code that
//! counts is a copy ([`Counting`](nook_instrument::Counting)), which runs only in calls that are to be ended or
//! measured.

use nook_abi::{ENTRIES, Entry};
use nook_seed::Rng;

use crate::Host;

/// Which calls are to end in a trap.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CrashWhen {
    /// One call of a running interface (`poll`, `irq`, `timer`, `work`) in each such time, in nanoseconds, as long as
    /// there are calls: after a longer rest the time begins again. Were the first call after a rest always the one,
    /// nothing that is sent seldom would ever get through a driver that is restarted.
    Every(u64),
    /// The call of this entry with this number; the first is 1.
    At(Entry, u64),
}

/// Number of recent calls from which an entry's length is estimated.
const MEASURED: usize = 8;
/// Number of instructions that a call is assumed to have until one was measured: the fewest that can be cut off,
/// because the first call may be the only one.
const FIRST_GUESS: u64 = 2;
/// What is shorter is no rest.
const REST_NS: u64 = 10_000_000;
/// No call is so long.
const ENDLESS: u64 = u64::MAX >> 1;

/// How long calls of one entry were last.
#[derive(Clone, Copy, Debug, Default)]
struct Lengths {
    last: [u64; MEASURED],
    count: usize,
    /// One was measured since the last trap.
    fresh: bool,
}

impl Lengths {
    fn note(&mut self, instructions: u64) {
        self.last[self.count % MEASURED] = instructions;
        self.count += 1;
        self.fresh = true;
    }

    fn longest(&self) -> u64 {
        match self.last.iter().max() {
            Some(&longest) if self.count > 0 => longest,
            _ => FIRST_GUESS,
        }
    }
}

/// What is due.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Due {
    Nothing,
    /// A trap, in a call of which it is known how long such are.
    Trap,
    /// A trap before the instruction with this number from the beginning of the next call. It outlasts a call that is
    /// too short for it.
    TrapAt(u64),
}

/// Traps that are to be made.
#[derive(Debug)]
pub(crate) struct Crash {
    when: CrashWhen,
    rng: Rng,
    next_ns: u64,
    /// When a call began last that could have been the one.
    last_ns: u64,
    calls: u64,
    due: Due,
    /// Traps that were made.
    made: u64,
    /// Of each entry, in the table's order.
    lengths: Vec<Lengths>,
    /// The call that is counted, and from where.
    counted: (Entry, u64),
}

impl Crash {
    pub(crate) fn new(when: CrashWhen, seed: u64) -> Self {
        Crash {
            when,
            rng: Rng::new(seed),
            next_ns: 0,
            last_ns: 0,
            calls: 0,
            due: Due::Nothing,
            made: 0,
            lengths: vec![Lengths::default(); ENTRIES.len()],
            counted: (Entry::Probe, 0),
        }
    }

    fn lengths(&mut self, entry: Entry) -> &mut Lengths {
        &mut self.lengths[entry as usize]
    }

    /// Begins a call. Returns after how many instructions it is to be ended, if it is to be counted.
    pub(crate) fn begin(&mut self, entry: Entry, now_ns: u64) -> Option<u64> {
        let measured = match self.when {
            CrashWhen::Every(_) if !entry.is_transaction() => return None,
            CrashWhen::Every(period_ns) => {
                let rested = now_ns.saturating_sub(self.last_ns) >= period_ns.max(REST_NS);
                self.last_ns = now_ns;
                if self.next_ns == 0 {
                    self.next_ns = now_ns + period_ns;
                } else if rested {
                    self.next_ns = now_ns + 1 + self.rng.below(period_ns.max(1));
                }
                if now_ns >= self.next_ns {
                    self.next_ns = now_ns + period_ns;
                    if self.due == Due::Nothing {
                        self.due = Due::Trap;
                    }
                }
                self.due == Due::Trap && !self.lengths(entry).fresh
            }
            CrashWhen::At(wanted, _) if entry != wanted => return None,
            CrashWhen::At(_, number) => {
                self.calls += 1;
                if self.calls == number {
                    self.due = Due::Trap;
                }
                self.calls < number && number - self.calls <= MEASURED as u64
            }
        };
        let number = match self.due {
            _ if measured => ENDLESS,
            Due::Nothing => return None,
            Due::TrapAt(number) => number,
            Due::Trap => {
                // Not at its beginning.
                let others = self.lengths(entry).longest().saturating_sub(1).max(1);
                let number = 2 + self.rng.below(others);
                self.due = Due::TrapAt(number);
                number
            }
        };
        self.counted = (entry, number);
        Some(number)
    }

    /// Ends the call that was counted, with `left` instructions left.
    pub(crate) fn end(&mut self, left: u64, returned: bool) {
        let (entry, number) = self.counted;
        if returned {
            self.lengths(entry).note(number.saturating_sub(left));
        }
        if number == ENDLESS {
            return;
        }
        self.due = match left {
            0 => {
                self.lengths.iter_mut().for_each(|lengths| lengths.fresh = false);
                self.made += 1;
                Due::Nothing
            }
            left => Due::TrapAt(left.max(2)),
        };
    }
}

impl Host {
    /// Ends calls of a wasm driver in traps, at places that `seed` picks.
    pub(crate) fn crash(&mut self, when: CrashWhen, seed: u64) {
        self.call.crash = Some(Crash::new(when, seed));
    }

    /// Returns after how many instructions the call that begins is to be ended, if it is to be counted.
    #[inline]
    pub(crate) fn crash_begins(&mut self, entry: Entry) -> Option<u64> {
        if let Some(player) = self.player() {
            return player.counted();
        }
        let crash = self.call.crash.as_mut()?;
        let number = crash.begin(entry, self.clock.now_ns())?;
        self.recorder().into_iter().for_each(|recorder| recorder.counted(number));
        Some(number)
    }

    /// Returns how many calls were ended on request.
    pub(crate) fn crashes_made(&self) -> u64 {
        self.call.crash.as_ref().map_or(0, |crash| crash.made)
    }

    /// Ends a call that was counted, with `left` instructions left.
    pub(crate) fn crash_ends(&mut self, left: u64, returned: bool) {
        self.call.crash.iter_mut().for_each(|crash| crash.end(left, returned));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    impl Crash {
        /// Makes a call with `instructions` instructions. Returns before which of them it ends, if it does.
        fn call(&mut self, entry: Entry, now_ns: u64, instructions: u64) -> Option<u64> {
            let number = self.begin(entry, now_ns)?;
            let ends = number <= instructions;
            self.end(number.saturating_sub(instructions) * u64::from(!ends), !ends);
            ends.then_some(number)
        }
    }

    #[test]
    fn what_is_sent_seldom_gets_through_most_of_the_time() {
        let (mut crash, mut ended) = (Crash::new(CrashWhen::Every(50_000_000), 3), 0);
        for round in 0..100 {
            let now_ns = 1_000_000_000 * (round + 1);
            ended += (0..4).filter_map(|call| crash.call(Entry::Poll, now_ns + call * 2_000_000, 300)).count();
        }
        assert!((1..50).contains(&ended), "{ended} of 100");
        // Without a rest there is one in each such time.
        let calls = (0..1000).filter_map(|call| crash.call(Entry::Poll, 200_000_000_000 + call * 5_000_000, 300));
        assert!((80..=100).contains(&calls.count()));
    }

    #[test]
    fn a_trap_comes_inside_the_call_that_was_named() {
        for seed in 0..50 {
            let mut crash = Crash::new(CrashWhen::At(Entry::Poll, 20), seed);
            let places: Vec<_> = (1..=40)
                .filter_map(|call| {
                    assert_eq!(crash.call(Entry::Irq, 0, 500), None);
                    crash.call(Entry::Poll, 0, 300).map(|place| (call, place))
                })
                .collect();
            let [(20, 2..=300)] = places[..] else { panic!("{places:?}") };
        }
    }

    #[test]
    fn the_very_first_call_can_be_ended_too() {
        for seed in 0..50 {
            let mut crash = Crash::new(CrashWhen::At(Entry::Probe, 1), seed);
            assert_eq!(crash.made, 0);
            // Even if it is short, because there may be no other.
            assert!(matches!(crash.call(Entry::Probe, 0, FIRST_GUESS), Some(2..=FIRST_GUESS)));
            assert_eq!(crash.made, 1);
        }
    }

    #[test]
    fn the_end_of_a_call_is_as_likely_as_its_beginning() {
        const LENGTH: u64 = 50_000;
        let mut quarters = [0; 4];
        for seed in 1..=400 {
            let mut crash = Crash::new(CrashWhen::Every(10), seed);
            let place = (1..).find_map(|now| crash.call(Entry::Poll, now, LENGTH)).unwrap();
            quarters[((place - 1) * 4 / LENGTH) as usize] += 1;
        }
        assert!(quarters.iter().all(|count| (60..=140).contains(count)), "{quarters:?}");
    }

    #[test]
    fn a_call_that_is_too_short_leaves_its_trap_to_the_next_ones() {
        let mut crash = Crash::new(CrashWhen::Every(1000), 7);
        assert_eq!(crash.begin(Entry::Poll, 1), None);
        assert_eq!(crash.begin(Entry::Probe, 5000), None, "starting is left alone");
        assert_eq!(crash.call(Entry::Poll, 5001, 1_000_000), None, "it is measured");
        let calls = (1..).find(|_| crash.call(Entry::Poll, 5002, 10).is_some()).unwrap();
        assert!(calls > 1);
        assert_eq!(crash.begin(Entry::Poll, 5500), None, "the next one is not due yet");
        assert!(crash.begin(Entry::Irq, 6500).is_some());
    }

    #[test]
    fn no_trap_comes_at_the_beginning_of_a_call() {
        for seed in 0..300 {
            let mut crash = Crash::new(CrashWhen::Every(1), seed);
            let place = (1..10_000).find_map(|now| crash.call(Entry::Poll, now, 3 + now % 2)).unwrap();
            assert!(place >= 2);
        }
    }

    #[test]
    fn a_trap_that_is_due_spares_calls_that_cannot_be_rolled_back() {
        let mut crash = Crash::new(CrashWhen::Every(1000), 7);
        assert_eq!(crash.call(Entry::Poll, 1, 100), None);
        assert_eq!(crash.call(Entry::Poll, 2000, 100), None, "it is measured");
        let number = crash.begin(Entry::Poll, 2001).unwrap();
        crash.end(number - 1, true);
        assert_eq!(crash.begin(Entry::SetRxMode, 2002), None, "a setting");
        assert!(crash.begin(Entry::Poll, 2003).is_some());
    }

    #[test]
    fn a_fault_of_the_drivers_own_is_not_taken_for_the_trap() {
        let mut crash = Crash::new(CrashWhen::At(Entry::Poll, 2), 1);
        assert_eq!(crash.call(Entry::Poll, 0, 300), None, "it is measured");
        assert!(crash.begin(Entry::Poll, 0) > Some(2));
        crash.end(2, false);
        assert_eq!((crash.begin(Entry::Poll, 0), crash.made), (Some(2), 0), "it is still due");
    }

    #[test]
    fn a_seed_picks_the_places() {
        let places = |seed| {
            let mut crash = Crash::new(CrashWhen::Every(1), seed);
            (1..100).filter_map(|now| crash.call(Entry::Poll, now, 1000)).collect::<Vec<u64>>()
        };
        assert_eq!(places(3), places(3));
        assert_ne!(places(3), places(4));
        assert!(places(3).len() > 20);
    }
}
