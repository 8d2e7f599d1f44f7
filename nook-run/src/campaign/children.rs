//! The processes that try faults, one fault at a time each. One that dies, or does not come to an end, is accounted to
//! the fault that it was trying, and replaced.

use std::io::{BufRead, BufReader, Write};
use std::os::unix::process::ExitStatusExt;
use std::process::{Child, ChildStdin, ChildStdout, Command, ExitStatus, Stdio};

use anyhow::{Context, Result, bail};
use nook_campaign::{Death, Record};
use rustix::event::{PollFd, PollFlags, Timespec, poll};

use super::object::HANGS_CPU_S;
use super::worker::{READY, TRAPPED};

/// A trial that takes longer in real time hangs: the slowest, of drivers whose every call loops until it is ended, take
/// some seconds, and more on a machine that has other things to do.
const HANGS: Timespec = Timespec { tv_sec: 300, tv_nsec: 0 };

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
        let mut line = String::new();
        if self.output.buffer().is_empty() {
            let pipe = self.output.get_ref();
            let mut fds = [PollFd::new(pipe, PollFlags::IN)];
            loop {
                match poll(&mut fds, Some(&HANGS)) {
                    Err(rustix::io::Errno::INTR) => {}
                    Ok(0) => return Ok(None),
                    outcome => break outcome.map(drop).context("cannot wait for a process that tries faults")?,
                }
            }
        }
        self.output.read_line(&mut line).context("cannot read from a process that tries faults")?;
        Ok(line.strip_suffix('\n').map(str::to_owned))
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
            let record =
                serde_json::from_str(&line).with_context(|| format!("trial {number}: not a record: {line}"))?;
            return Ok(Tried::Record(record));
        }
        let ended = self.child.try_wait().context("cannot look after a process that tries faults")?;
        let hung = ended.is_none() && asked.is_ok() && !self.is_at_its_end()?;
        let status = self.end()?;
        let signal = status.signal();
        if signal == Some(SIGTRAP) && how == TRAPPED {
            return Ok(Tried::Trapped);
        }
        // It has said why; but nobody knows what a driver in it said in its name.
        if status.code() == Some(1) && !self.is_sacrificed {
            bail!("trial {number} could not be made");
        }
        let out_of_time = self.is_sacrificed && !hung && matches!(signal, Some(SIGXCPU | SIGKILL));
        Ok(match (hung, out_of_time) {
            (true, _) => Tried::Died(
                Death::Hung,
                format!("the process that tried it did not come to an end within {} s", HANGS.tv_sec),
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
        let closed = fd.revents().contains(PollFlags::HUP);
        if closed {
            self.child.wait().context("cannot look after a process that tries faults")?;
        }
        Ok(closed)
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

fn said(status: ExitStatus) -> String {
    match (status.signal(), status.code()) {
        (Some(signal), _) => format!("signal {signal}"),
        (None, code) => format!("exit status {}", code.unwrap_or_default()),
    }
}
