//! A run of a serial line's driver, from options to report.

use anyhow::{Context, Result, bail};
use nook_recovery::{PolicyFile, Supervisor};
use nook_runtime::{Nook, Serial};
use nook_serial::Terminal;

use super::backend::{Backend, Loop, LoopReport};
use super::report::{NoRates, SerialReport, TerminalReport};
use crate::cli::RunArgs;
use crate::device::DeviceOptions;
use crate::report::{ClassReport, CountersReport, RecoveryReport, Report};
use crate::run::{Ended, Finish, Loaded, RunOutcome, begin, drive, parts, report_end};
use crate::signals::Signals;

/// How long the exercise waits for a byte.
const PATIENCE_NS: u64 = 30_000_000_000;

/// Runs one nook, from options to its report, and returns how it ended.
pub(crate) fn run(
    args: &RunArgs,
    modules: &Loaded,
    policy: &PolicyFile,
    signals: &Signals,
) -> Result<(Report, Result<RunOutcome>)> {
    let line = args.serial.line;
    // Before the device is touched.
    let backend = match &args.serial.pty {
        Some(path) => Backend::Terminal(Terminal::open(path, line).context("--pty")?),
        None if args.exercise.is_empty() => {
            bail!("the line leads nowhere: give it a pseudo-terminal with --pty PATH, or try it with --exercise loop")
        }
        None => Backend::Loop(Loop::new(line, args.seed)),
    };
    let (host, launcher) = parts(args, modules, policy, signals, &DeviceOptions::from(args))?;
    let (mut supervisor, start_ns) = begin(args, modules, policy, Nook::serial(host, launcher, backend), signals)?;
    let exercises = !args.exercise.is_empty();
    let end_ns = args.duration.filter(|_| !exercises).map(|duration| start_ns + duration.as_nanos() as u64);
    let mut last = (0, start_ns);
    let ended = drive(&mut supervisor, signals, end_ns, |supervisor, now_ns| {
        let found = exercise(supervisor)?;
        if found.received != last.0 {
            last = (found.received, now_ns);
        }
        match found.received >= found.bytes {
            true => Some(Ended::Exercise),
            false if now_ns >= last.1 + PATIENCE_NS => Some(Ended::Unable("nothing came back for 30 s".into())),
            false => None,
        }
    });
    Ok(finish(args, supervisor, modules, Finish::new(ended, start_ns)))
}

fn exercise(supervisor: &Supervisor<Serial<Backend>>) -> Option<&LoopReport> {
    match supervisor.nook().backend() {
        Backend::Loop(exercise) => Some(exercise.report()),
        Backend::Terminal(_) => None,
    }
}

/// Stops the driver, if there is one left, and tells what came of the run.
fn finish(
    args: &RunArgs,
    mut supervisor: Supervisor<Serial<Backend>>,
    modules: &Loaded,
    finish: Finish,
) -> (Report, Result<RunOutcome>) {
    let outcome = match finish.ended {
        Ended::Quarantine(_) => RunOutcome::Quarantined,
        _ if exercise(&supervisor).is_none_or(LoopReport::went_well) => RunOutcome::Done,
        _ => RunOutcome::ExerciseFailed,
    };
    let report = finish.report(&mut supervisor, modules, |supervisor, finish| {
        finish.stop(supervisor);
        let nook = supervisor.nook();
        let terminal = match nook.backend() {
            Backend::Terminal(terminal) => {
                Some(TerminalReport { opened: terminal.opened(), unread: terminal.unread() })
            }
            Backend::Loop(_) => None,
        };
        ClassReport::Serial(Box::new(SerialReport {
            line: nook.line_settings().to_string(),
            terminal,
            exercise: exercise(supervisor).cloned(),
            counters: CountersReport::new(nook.counters(), *nook.serial_counters(), NoRates {}),
            recovery: RecoveryReport::new(supervisor),
        }))
    });
    report_end(args, &supervisor, &report);
    (report, Ok(outcome))
}
