//! How far a campaign has come.

use std::io::{IsTerminal, Write};
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use nook_campaign::{Outcome, Record};

/// Where nobody watches, a line so often.
const LINES: Duration = Duration::from_secs(30);
/// On a terminal, the line changes so often.
const CHANGES: Duration = Duration::from_millis(500);

struct State {
    done: usize,
    bad: usize,
    told: Instant,
}

/// A line on standard error.
pub struct Progress {
    all: usize,
    begun: Instant,
    state: Mutex<State>,
    terminal: bool,
}

impl Progress {
    /// Begins, with this many trials to be made.
    pub fn new(all: usize) -> Self {
        let (begun, terminal) = (Instant::now(), std::io::stderr().is_terminal());
        Progress { all, begun, state: Mutex::new(State { done: 0, bad: 0, told: begun }), terminal }
    }

    /// Notes a trial.
    pub fn tried(&self, record: &Record) {
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        state.done += 1;
        state.bad += usize::from(record.transient.outcome >= Outcome::Undetected);
        if state.told.elapsed() >= if self.terminal { CHANGES } else { LINES } {
            state.told = Instant::now();
            self.tell(&state);
        }
    }

    /// Ends the line.
    pub fn end(&self) {
        self.tell(&self.state.lock().unwrap_or_else(PoisonError::into_inner));
        if self.terminal {
            let _ = writeln!(std::io::stderr());
        }
    }

    fn tell(&self, state: &State) {
        let took = self.begun.elapsed().as_secs_f64();
        let rate = state.done as f64 / took;
        let left_s = (self.all - state.done) as f64 / rate;
        let State { done, bad, .. } = state;
        let text = format!(
            "{done} of {} trials, {rate:.1}/s, {:.0} min left; {bad} undetected, corrupted or harmful",
            self.all,
            (left_s / 60.0).ceil()
        );
        // Nobody may be there to read it.
        let _ = match self.terminal {
            true => write!(std::io::stderr(), "\r{text}\x1b[K"),
            false => writeln!(std::io::stderr(), "{text}"),
        };
    }
}
