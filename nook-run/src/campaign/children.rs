//! The processes that try faults, one fault at a time each. One that dies, or does not come to an end, is accounted to
//! the fault that it was trying, and replaced.

use std::io::{BufRead, BufReader, Write};
use std::os::unix::process::ExitStatusExt;
use std::process::{Child, ChildStdin, ChildStdout, Command, ExitStatus, Stdio};
use std::time::Duration;

use anyhow::{Context, Result, bail};
use nook_campaign::{Death, Record};
use rustix::event::{PollFd, PollFlags, Timespec, poll};

use super::object::HANGS_CPU_S;
use super::worker::{NOT_MADE, READY, TRAPPED};

/// A trial hangs whose process uses more of a processor than this, or waits for so long without using any. The slowest,
/// of drivers whose every call is rolled back, take half a minute of a processor; how long that is in real time depends
/// on what else the machine has to do.
const HANGS: Timespec = Timespec { tv_sec: 300, tv_nsec: 0 };
/// Ticks of the processor in that time, as /proc counts them, and those that are next to none.
const HANGS_TICKS: u64 = 300 * TICKS_PER_SECOND;
const NEXT_TO_NONE_TICKS: u64 = TICKS_PER_SECOND / 10;
/// After as many times as long a trial is given up in any case.
const MOST_LOOKS: u32 = 12;
/// USER_HZ, which all of Linux's machines have in common that nook runs on (proc(5), sysconf(3)).
const TICKS_PER_SECOND: u64 = 100;

/// How long a process that has closed its pipe may take to end: so often that long.
const ENDS_LOOKS: u32 = 1000;
const ENDS_LOOK: Duration = Duration::from_millis(10);

/// What a process made of a trial.
pub enum Tried {
    /// It told.
    Record(Box<Record>),
    /// It came to an end, or was ended.
    Died(Death, String),
    /// It came to a trap.
    Trapped,
}

/// Numbers of signals.
const SIGTRAP: i32 = 5;
const SIGXCPU: i32 = 24;
const SIGKILL: i32 = 9;

/// A process that tries faults.
pub struct Worker {
    child: Child,
    input: ChildStdin,
    output: BufReader<ChildStdout>,
    /// Whether it serves for one trial only, whose driver runs in it.
    is_sacrificed: bool,
}

impl Worker {
    /// Starts one with these arguments, and returns when it is ready. What drivers in it say when they end is not heard
    /// if it `is_sacrificed`.
    ///
    /// # Errors
    /// If it cannot be started, or the driver does not work in it.
    pub fn start(args: &[String], is_sacrificed: bool) -> Result<Self> {
        let mut command = Command::new("/proc/self/exe");
        command.args(args).stdin(Stdio::piped()).stdout(Stdio::piped());
        if is_sacrificed {
            command.stderr(Stdio::null());
        }
        let mut child = command.spawn().context("cannot start a process that tries faults")?;
        let (input, output) = (child.stdin.take(), child.stdout.take());
        let (input, output) = input.zip(output).context("a process without its pipes")?;
        let mut worker = Worker { child, input, output: BufReader::new(output), is_sacrificed };
        match worker.line()? {
            Some(line) if line == READY => Ok(worker),
            // It has said why, on standard error.
            _ => bail!("the process that was to try faults did not begin"),
        }
    }

    /// Reads a line; nothing, if the process has ended or hangs.
    fn line(&mut self) -> Result<Option<String>> {
        let mut line = Vec::new();
        if self.output.buffer().is_empty() {
            let pipe = self.output.get_ref();
            let mut fds = [PollFd::new(pipe, PollFlags::IN)];
            let begin = ticks_of(self.child.id());
            let (mut before, mut looks) = (begin, 0);
            loop {
                match poll(&mut fds, Some(&HANGS)) {
                    Err(rustix::io::Errno::INTR) => {}
                    Ok(0) => {
                        let now = ticks_of(self.child.id());
                        looks += 1;
                        if hangs(begin, before, now) || looks == MOST_LOOKS {
                            return Ok(None);
                        }
                        before = now;
                    }
                    outcome => break outcome.map(drop).context("cannot wait for a process that tries faults")?,
                }
            }
        }
        self.output.read_until(b'\n', &mut line).context("cannot read from a process that tries faults")?;
        Ok(line.strip_suffix(b"\n").map(|line| String::from_utf8_lossy(line).into_owned()))
    }

    /// Looks with a trap whether the place of a trial's mistake is reached. It is of no more use afterwards.
    ///
    /// # Errors
    /// If that could not be tried.
    pub fn look_for(mut self, number: u64) -> Result<Tried> {
        self.ask(number, TRAPPED)
    }

    /// Tries a fault. Unless it told, the worker is of no more use.
    ///
    /// # Errors
    /// If the trial could not be made at all.
    pub fn try_fault(&mut self, number: u64) -> Result<Tried> {
        self.ask(number, "")
    }

    fn ask(&mut self, number: u64, how: &str) -> Result<Tried> {
        // If it has ended by itself, there is no answer either.
        let asked = writeln!(self.input, "{number}{how}").and_then(|()| self.input.flush());
        let line = if asked.is_ok() { self.line()? } else { None };
        if let Some(line) = line {
            return tried(number, &line, self.is_sacrificed);
        }
        let ended = self.child.try_wait().context("cannot look after a process that tries faults")?;
        let hung = ended.is_none() && asked.is_ok() && !self.is_at_its_end()?;
        let status = self.end()?;
        let signal = status.signal();
        if signal == Some(SIGTRAP) && how == TRAPPED {
            return Ok(Tried::Trapped);
        }
        let out_of_time = self.is_sacrificed && !hung && matches!(signal, Some(SIGXCPU | SIGKILL));
        Ok(match (hung, out_of_time) {
            (true, _) => Tried::Died(
                Death::Hung,
                format!(
                    "the process that tried it did not come to an end within {} s of work or of waiting",
                    HANGS.tv_sec
                ),
            ),
            (_, true) => Tried::Died(
                Death::Hung,
                format!("the process that tried it did not come to an end within {HANGS_CPU_S} s of CPU time"),
            ),
            _ => Tried::Died(Death::Crashed, format!("the process that tried it died: {}", said(status))),
        })
    }

    /// Returns whether its pipe is closed: it ends, if it has not yet.
    fn is_at_its_end(&mut self) -> Result<bool> {
        let pipe = self.output.get_ref();
        let mut fds = [PollFd::new(pipe, PollFlags::IN)];
        let soon = Timespec { tv_sec: 0, tv_nsec: 0 };
        poll(&mut fds, Some(&soon)).context("cannot look after a process that tries faults")?;
        let [fd] = fds;
        if !fd.revents().contains(PollFlags::HUP) {
            return Ok(false);
        }
        // A driver in it may have closed the pipe and go on.
        for _ in 0..ENDS_LOOKS {
            if self.child.try_wait().context("cannot look after a process that tries faults")?.is_some() {
                return Ok(true);
            }
            std::thread::sleep(ENDS_LOOK);
        }
        Ok(false)
    }

    fn end(&mut self) -> Result<ExitStatus> {
        // It may have ended meanwhile.
        let _ = self.child.kill();
        self.child.wait().context("cannot end a process that tries faults")
    }
}

impl Drop for Worker {
    fn drop(&mut self) {
        let _ = self.end();
    }
}

/// Returns what a line says of a trial. One that `is_sacrificed` has a driver in it, which may write what it likes.
fn tried(number: u64, line: &str, is_sacrificed: bool) -> Result<Tried> {
    if let Some(why) = line.strip_prefix(NOT_MADE) {
        bail!("trial {number} could not be made: {why}");
    }
    match serde_json::from_str(line) {
        Ok(record) => Ok(Tried::Record(record)),
        Err(_) if is_sacrificed => {
            let why = "the process that tried it wrote something else than a record".into();
            Ok(Tried::Died(Death::Crashed, why))
        }
        Err(error) => Err(error).with_context(|| format!("trial {number}: not a record: {line}")),
    }
}

fn said(status: ExitStatus) -> String {
    match (status.signal(), status.code()) {
        (Some(signal), _) => format!("signal {signal}"),
        (None, code) => format!("exit status {}", code.unwrap_or_default()),
    }
}

/// Returns whether a process hangs that had used `begin` ticks when it was asked, `before` when it was last looked
/// after, and `now` now, [`HANGS`] later.
fn hangs(begin: u64, before: u64, now: u64) -> bool {
    now.saturating_sub(before) < NEXT_TO_NONE_TICKS || now.saturating_sub(begin) >= HANGS_TICKS
}

/// Returns how many ticks of a processor a process has used; 0 if it has ended.
fn ticks_of(pid: u32) -> u64 {
    std::fs::read_to_string(format!("/proc/{pid}/stat")).ok().and_then(|stat| ticks_in(&stat)).unwrap_or(0)
}

/// Reads them, fields 14 and 15 of proc(5). The second field, in parentheses, is a name that may have anything in it.
fn ticks_in(stat: &str) -> Option<u64> {
    let (_, fields) = stat.rsplit_once(')')?;
    let mut fields = fields.split_ascii_whitespace().skip(11);
    let mut next = || fields.next()?.parse::<u64>().ok();
    Some(next()? + next()?)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_process_that_works_slowly_does_not_hang_and_one_that_waits_or_works_for_too_long_does() {
        assert!(!hangs(500, 500, 3_500), "a tenth of a processor, on a busy machine");
        assert!(!hangs(500, 20_000, 23_000));
        assert!(hangs(500, 28_000, 31_000), "without an end");
        assert!(hangs(500, 9_000, 9_001), "waits for what does not come");
        assert!(hangs(500, 500, 0), "has ended");
    }

    #[test]
    fn what_could_not_be_made_is_an_error_and_what_a_wild_driver_writes_is_its_own() {
        let not_made = format!("{NOT_MADE}no second nook");
        for is_sacrificed in [false, true] {
            let error = tried(7, &not_made, is_sacrificed).err().expect("an error").to_string();
            assert_eq!(error, "trial 7 could not be made: no second nook");
        }
        assert!(matches!(tried(7, "\u{fffd}{", true), Ok(Tried::Died(Death::Crashed, _))));
        assert!(tried(7, "{", false).is_err());
    }

    #[test]
    fn ticks_are_read_whatever_the_programs_name_is() {
        assert_eq!(ticks_in("7 (a) b) R 1 7 7 0 -1 4194304 90 0 0 0 250 31 0 0 20 0 1 0 5 0 0"), Some(281));
        assert_eq!(ticks_in("7 (a) R 1"), None);
        let mut sum = 0u64;
        let worked = (0..5_000).any(|_| {
            sum = std::hint::black_box((0..1_000_000).fold(sum, u64::wrapping_add));
            ticks_of(std::process::id()) > 0
        });
        assert!(worked, "this process has used a processor for more than a tick");
    }
}
