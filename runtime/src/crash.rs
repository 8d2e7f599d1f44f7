//! Traps on request: what comes of a driver's end can only be seen if drivers end.
//!
//! A trap is made where compiled code asks whether its time is up (function entries and the ends of loop rounds), at a
//! place in the call that a seed picks, never at the call's very beginning.

use nook_abi::{Entry, Fault, TrapKind};

use crate::{Host, now_ns};

/// Which calls are to end in a trap.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CrashWhen {
    /// One call of a running interface (`poll`, `irq`, `timer`, `work`) in each such time, in nanoseconds.
    Every(u64),
    /// The call of this entry with this number; the first is 1.
    At(Entry, u64),
}

/// Where in a call the trap comes, counted in looks at the time: at most.
const MOST_LOOKS: u64 = 16;

/// Traps that are to be made.
#[derive(Debug)]
pub(crate) struct Crash {
    when: CrashWhen,
    /// xorshift64, not zero.
    state: u64,
    next_ns: u64,
    calls: u64,
    /// The trap that is due: so many looks at the time from here. It outlasts a call that is too short for it.
    looks: Option<u64>,
    entry: Entry,
    begins: bool,
    /// The call that runs is one that is to be ended so. Others look at the time too, when a tick comes.
    watched: bool,
}

impl Crash {
    pub(crate) fn new(when: CrashWhen, seed: u64) -> Self {
        Crash {
            when,
            state: seed | 1 << 63,
            next_ns: 0,
            calls: 0,
            looks: None,
            entry: Entry::Probe,
            begins: false,
            watched: false,
        }
    }

    fn draw(&mut self, below: u64) -> u64 {
        self.state ^= self.state << 13;
        self.state ^= self.state >> 7;
        self.state ^= self.state << 17;
        self.state % below
    }

    /// A call begins. Says whether it is to be watched for its trap.
    pub(crate) fn begin(&mut self, entry: Entry, now_ns: u64) -> bool {
        self.watched = false;
        let due = match self.when {
            CrashWhen::Every(_) if !crate::is_transaction(entry) => return false,
            CrashWhen::Every(period_ns) => {
                if self.next_ns == 0 {
                    self.next_ns = now_ns + period_ns;
                }
                let due = now_ns >= self.next_ns;
                if due {
                    self.next_ns = now_ns + period_ns;
                }
                due
            }
            CrashWhen::At(wanted, number) => {
                if entry != wanted {
                    return false;
                }
                self.calls += 1;
                self.calls == number
            }
        };
        if due {
            self.looks = Some(1 + self.draw(MOST_LOOKS));
        }
        self.entry = entry;
        self.begins = true;
        self.watched = self.looks.is_some();
        self.watched
    }

    /// Whether a trap is due in the call that runs.
    pub(crate) fn is_armed(&self) -> bool {
        self.watched && self.looks.is_some()
    }

    /// The code of a watched call looks at the time.
    pub(crate) fn look(&mut self) -> Result<(), Fault> {
        let Some(looks) = &mut self.looks else { return Ok(()) };
        if std::mem::take(&mut self.begins) {
            return Ok(());
        }
        *looks -= 1;
        if *looks > 0 {
            return Ok(());
        }
        self.looks = None;
        Err(Fault::Trap { entry: self.entry, kind: TrapKind::Injected })
    }
}

impl Host {
    /// Ends calls of a wasm driver in traps, at places that `seed` picks.
    pub(crate) fn crash(&mut self, when: CrashWhen, seed: u64) {
        self.crash = Some(Crash::new(when, seed));
    }

    /// Whether the call that begins is to be watched for a trap on request.
    #[inline]
    pub(crate) fn crash_begins(&mut self, entry: Entry) -> bool {
        self.crash.as_mut().is_some_and(|crash| crash.begin(entry, now_ns()))
    }

    /// The code of such a call looks at the time. `None` if no trap is due.
    pub(crate) fn crash_looks(&mut self) -> Option<Result<(), Fault>> {
        self.crash.as_mut().filter(|crash| crash.is_armed()).map(Crash::look)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_trap_comes_inside_of_the_call_that_was_named() {
        let mut crash = Crash::new(CrashWhen::At(Entry::Poll, 2), 1);
        assert!(!crash.begin(Entry::Poll, 0) && !crash.begin(Entry::Irq, 0));
        assert!(crash.begin(Entry::Poll, 0));
        crash.look().expect("not at the call's beginning");
        let looks = (1..).find(|_| crash.look().is_err()).unwrap();
        assert!((1..=MOST_LOOKS).contains(&looks));
        assert!(!crash.begin(Entry::Poll, 0), "once");
    }

    #[test]
    fn a_call_that_is_too_short_leaves_its_trap_to_the_next_ones() {
        let mut crash = Crash::new(CrashWhen::Every(1000), 7);
        assert!(!crash.begin(Entry::Poll, 1));
        assert!(!crash.begin(Entry::Probe, 5000), "starting is left alone");
        let mut calls = 0;
        while crash.begin(Entry::Irq, 1001) && crash.look().and_then(|()| crash.look()).is_ok() {
            calls += 1;
            assert!(calls < 100);
        }
        assert!(!crash.begin(Entry::Irq, 1500), "the next one is not due yet");
        assert!(crash.begin(Entry::Irq, 2500));
    }

    #[test]
    fn a_trap_that_is_due_spares_calls_that_cannot_be_taken_back() {
        let mut crash = Crash::new(CrashWhen::Every(1000), 7);
        crash.begin(Entry::Poll, 1);
        assert!(crash.begin(Entry::Poll, 2000) && crash.is_armed());
        // A setting, in which the clock ticks: its look is about the time, and about no trap.
        assert!(!crash.begin(Entry::SetRxMode, 2001));
        assert!(!crash.is_armed(), "a setting would be ended, and be taken for the poll before it");
        assert!(crash.begin(Entry::Poll, 2002) && crash.is_armed());
    }

    #[test]
    fn a_seed_picks_the_places() {
        let places = |seed| {
            let mut crash = Crash::new(CrashWhen::Every(1), seed);
            crash.begin(Entry::Poll, 1);
            (0..20)
                .map(|round| {
                    crash.begin(Entry::Poll, 10 * (round + 1));
                    (0..).find(|_| crash.look().is_err()).unwrap()
                })
                .collect::<Vec<u64>>()
        };
        assert_eq!(places(3), places(3));
        assert_ne!(places(3), places(4));
    }
}
