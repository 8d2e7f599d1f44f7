//! Whether a driver's process had a processor while it was called: time in which it could not run counts for nobody.
//!
//! A process waits for a processor on a busy machine, now and then for seconds, and one that was stopped (by an
//! operator, a debugger) does not run at all. Neither is the driver's doing. One that sleeps could have gone on, and is
//! charged.

use std::fs::File;
use std::os::unix::fs::FileExt;

use nook_runtime::TICK_NS;

/// Room for the beginning of /proc/PID/stat: number, name and state.
const STAT_BYTES: usize = 64;

/// What a process is at, as far as that decides who is charged.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) enum State {
    /// It has a processor or waits for one.
    Runnable,
    /// It was stopped.
    Stopped,
    /// It sleeps, or is not known.
    #[default]
    Other,
}

/// A process's entry in /proc.
pub(crate) struct StatFile(Option<File>);

impl StatFile {
    /// Opens that of the process `pid`. Where it is not to be had, the process's state is not known.
    pub(crate) fn open(pid: libc::pid_t) -> Self {
        StatFile(File::open(format!("/proc/{pid}/stat")).ok())
    }

    /// Returns what the process is at now.
    pub(crate) fn state(&self) -> State {
        let mut text = [0; STAT_BYTES];
        let read = self.0.as_ref().map_or(0, |file| file.read_at(&mut text, 0).unwrap_or(0));
        state_in(&text[..read])
    }
}

/// Returns the state that a line of /proc/PID/stat tells: `pid (name) state ...`, where the name may be anything of at
/// most 15 bytes (proc_pid_stat(5)).
fn state_in(text: &[u8]) -> State {
    let after_name = text.iter().rposition(|&byte| byte == b')').map_or(&[][..], |at| &text[at + 1..]);
    match after_name {
        [b' ', b'R', ..] => State::Runnable,
        [b' ', b'T' | b't', ..] => State::Stopped,
        _ => State::Other,
    }
}

/// What became of a process's time in one call.
pub(crate) struct Progress {
    looked_ns: u64,
    cpu_ns: u64,
    state: State,
    /// Time in a row for which it has waited for a processor.
    starved_ns: u64,
    /// Time in a row for which it has slept by itself.
    asleep_ns: u64,
}

impl Progress {
    /// Begins at a call's first look.
    pub(crate) fn new(now_ns: u64, cpu_ns: u64, state: State) -> Self {
        Progress { looked_ns: now_ns, cpu_ns, state, starved_ns: 0, asleep_ns: 0 }
    }

    /// Looks at the process again; `cpu_ns` is its clock of CPU time. Returns the time since the last look in which it
    /// could not run: it was runnable or stopped at both looks, and had no processor between them.
    pub(crate) fn look(&mut self, now_ns: u64, cpu_ns: u64, state: State) -> u64 {
        let ran_ns = cpu_ns.saturating_sub(self.cpu_ns);
        let waited_ns = now_ns.saturating_sub(self.looked_ns).saturating_sub(ran_ns);
        let could_not = state != State::Other && self.state != State::Other;
        let starved = could_not && state == State::Runnable && ran_ns < TICK_NS / 2;
        self.starved_ns = if starved { self.starved_ns + waited_ns } else { 0 };
        let asleep = state == State::Other && self.state == State::Other && ran_ns == 0;
        self.asleep_ns = if asleep { self.asleep_ns + waited_ns } else { 0 };
        (self.looked_ns, self.cpu_ns, self.state) = (now_ns, cpu_ns, state);
        if could_not { waited_ns } else { 0 }
    }

    /// Takes whether it has waited for a processor for `limit_ns` in a row.
    pub(crate) fn take_starved(&mut self, limit_ns: u64) -> bool {
        let starved = self.starved_ns >= limit_ns;
        if starved {
            self.starved_ns = 0;
        }
        starved
    }

    /// Returns whether it has slept by itself for `limit_ns` in a row: it waits for what does not come.
    pub(crate) fn has_slept(&self, limit_ns: u64) -> bool {
        self.asleep_ns >= limit_ns
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MS: u64 = 1_000_000;

    #[test]
    fn the_state_stands_after_the_last_bracket() {
        assert_eq!(state_in(b"5782 (memfd:nook-driv) R 5779 5782"), State::Runnable);
        assert_eq!(state_in(b"5782 (T) S) T 5779"), State::Stopped);
        assert_eq!(state_in(b"5782 (a) R) t 5779"), State::Stopped);
        for other in [&b"5782 (R) S 5779"[..], b"5782 (R) Z 1", b"5782 (R", b"", b"5782 (R)"] {
            assert_eq!(state_in(other), State::Other, "{}", other.escape_ascii());
        }
    }

    #[test]
    fn who_looks_at_itself_runs() {
        // The state in the file is one thread's, and a test does not run on the process's first.
        let thread = std::fs::read_link("/proc/thread-self").unwrap();
        let thread = thread.file_name().and_then(|name| name.to_str()).and_then(|name| name.parse().ok());
        assert_eq!(StatFile::open(thread.unwrap()).state(), State::Runnable);
        assert_eq!(StatFile::open(-1).state(), State::Other);
    }

    #[test]
    fn only_time_in_which_a_process_could_not_run_is_nobodys() {
        use State::{Other, Runnable, Stopped};
        let mut progress = Progress::new(100 * MS, 7 * MS, Other);
        let mut looks = |now, cpu, state| progress.look(now * MS, cpu * MS, state) / MS;
        assert_eq!(looks(102, 7, Runnable), 0, "it may have slept until just now");
        assert_eq!(looks(104, 9, Runnable), 0, "it ran");
        assert_eq!(looks(114, 10, Runnable), 9);
        assert_eq!(looks(200, 10, Stopped), 86);
        assert_eq!(looks(300, 10, Stopped), 100);
        assert_eq!(looks(302, 10, Runnable), 2);
        assert_eq!(looks(400, 10, Other), 0);
        assert_eq!(looks(500, 10, Other), 0, "it sleeps");
    }

    #[test]
    fn a_process_starves_that_waits_for_a_processor_in_a_row() {
        let mut progress = Progress::new(0, 0, State::Runnable);
        progress.look(30 * MS, 0, State::Runnable);
        assert!(!progress.take_starved(50 * MS));
        progress.look(60 * MS, 0, State::Runnable);
        assert!(progress.take_starved(50 * MS) && !progress.take_starved(50 * MS), "once");
        progress.look(160 * MS, 0, State::Stopped);
        assert!(!progress.take_starved(50 * MS), "a stopped one needs no processor");
        progress.look(190 * MS, 0, State::Runnable);
        progress.look(192 * MS, 2 * MS, State::Runnable);
        progress.look(222 * MS, 2 * MS, State::Runnable);
        assert!(!progress.take_starved(50 * MS), "it ran between");
    }

    #[test]
    fn a_process_that_sleeps_in_a_row_waits_for_what_does_not_come() {
        let mut progress = Progress::new(0, 0, State::Runnable);
        progress.look(40 * MS, 0, State::Other);
        progress.look(80 * MS, 0, State::Other);
        assert!(progress.has_slept(40 * MS) && !progress.has_slept(41 * MS));
        progress.look(100 * MS, MS, State::Other);
        progress.look(130 * MS, MS, State::Other);
        assert!(!progress.has_slept(40 * MS), "it worked between");
    }
}
