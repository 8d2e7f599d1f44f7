//! Several nooks in one process (`--nook`): each on its own thread, with its own device, driver and interface.

use std::cell::Cell;
use std::io;
use std::thread::ScopedJoinHandle;

use anyhow::{Context, Error, Result, bail};
use serde::Serialize;

use crate::cli::{NookArg, RunArgs};
use crate::output;
use crate::report::{Report, write_json};
use crate::run::{RunOutcome, run_one};
use crate::signals::Signals;

thread_local! {
    static NUMBER: Cell<Option<usize>> = const { Cell::new(None) };
}

/// Returns which of several nooks this thread is, counted from 1.
pub(crate) fn current() -> Option<usize> {
    NUMBER.get()
}

/// The report of all of them.
#[derive(Debug, Serialize)]
struct All {
    nooks: Vec<One>,
}

/// What came of one.
#[derive(Debug, Serialize)]
struct One {
    /// Counted from 1, as in the log.
    number: usize,
    /// The argument that it was made from.
    nook: String,
    /// As `nook-run` would have ended with it alone.
    status: u8,
    /// Why it could not be run, or not to its end.
    error: Option<String>,
    /// If it ran.
    report: Option<Report>,
}

/// Returns how bad an exit status is: a driver in quarantine is worse than an exercise that failed, and that is worse
/// than what could not be run.
fn badness(status: u8) -> u8 {
    match status {
        0 => 0,
        1 => 1,
        3 => 2,
        _ => 3,
    }
}

/// Runs them all, to the end of the last. What happens to one is nothing to the others.
pub(crate) fn run(args: &RunArgs, signals: &Signals) -> Result<RunOutcome> {
    let nooks = std::thread::scope(|scope| {
        let threads = (1..).zip(&args.nook).map(|(number, nook)| {
            let one = RunArgs {
                duration: nook.args.duration.or(args.duration),
                no_cache: nook.args.no_cache || args.no_cache,
                verbose: args.verbose,
                ..nook.args.clone()
            };
            let thread = std::thread::Builder::new().name(format!("nook {number}"));
            (nook, thread.spawn_scoped(scope, move || live(number, &one, signals)))
        });
        // All of them run before one is waited for.
        let threads = threads.collect::<Vec<_>>();
        let ended = |(number, (nook, thread))| One::new(number, nook, thread);
        (1..).zip(threads).map(ended).collect::<Vec<_>>()
    });
    let worst = nooks.iter().map(|nook| nook.status).max_by_key(|&status| badness(status)).unwrap_or(0);
    let not_run = nooks.iter().filter(|nook| nook.error.is_some()).map(|nook| nook.number.to_string());
    let not_run = not_run.collect::<Vec<_>>().join(", ");
    let text = nooks.iter().map(One::text).collect::<String>();
    let all = All { nooks };
    let written = args.json.as_deref().map_or(Ok(()), |path| write_json(&all, path));
    written.and(output::print(&text))?;
    match worst {
        0 => Ok(RunOutcome::Done),
        3 => Ok(RunOutcome::ExerciseFailed),
        4 => Ok(RunOutcome::Quarantined),
        _ => bail!("not run to the end: nook {not_run}; the reasons are above"),
    }
}

/// Returns what a nook's thread does.
fn live(number: usize, args: &RunArgs, signals: &Signals) -> Ran {
    NUMBER.set(Some(number));
    // For lines in JSON.
    let span = tracing::error_span!("nook", number);
    let _in = span.enter();
    let ran = run_one(args, signals);
    if let Err(error) | Ok((_, Err(error))) = &ran {
        tracing::error!("{error:#}");
    }
    ran
}

type Ran = Result<(Report, Result<RunOutcome>)>;

impl One {
    /// Waits for the thread's end.
    fn new(number: usize, nook: &NookArg, thread: io::Result<ScopedJoinHandle<'_, Ran>>) -> One {
        let ran = thread.context("cannot start a thread").and_then(|thread| {
            let panicked = |_| Err(Error::msg("a defect of nook-run: its thread panicked"));
            thread.join().unwrap_or_else(panicked)
        });
        let (report, outcome) = match ran {
            Ok((report, outcome)) => (Some(report), outcome),
            Err(error) => (None, Err(error)),
        };
        let (status, error) = match outcome {
            Ok(outcome) => (outcome.status(), None),
            Err(error) => (1, Some(format!("{error:#}"))),
        };
        One { number, nook: nook.text.clone(), status, error, report }
    }

    fn text(&self) -> String {
        let One { number, nook, status, error, report } = self;
        let found = report.as_ref().map(Report::text).unwrap_or_default();
        let why = error.as_ref().or(report.as_ref().map(|report| &report.ended)).filter(|_| *status != 0);
        let why = why.map(|why| format!("ended with status {status}: {why}\n")).unwrap_or_default();
        format!("nook {number}: {nook}\n{found}{why}")
    }
}
