//! A run of a misc driver, from options to report: each operation's example, or each call that was asked for, is done
//! once, or again and again for the time that was given; or clients are served.

use anyhow::{Result, bail};
use nook_recovery::{PolicyFile, Supervisor};
use nook_runtime::{Answer, Failure, Misc, Nook, OperationInfo};

use super::args::CallArg;
use super::report::{MiscReport, NoRates, Tried};
use super::server::{ServedReport, Server};
use crate::cli::RunArgs;
use crate::device::DeviceOptions;
use crate::report::{ClassReport, CountersReport, RecoveryReport, Report};
use crate::run::{Ended, Finish, Loaded, RunOutcome, begin, drive, parts, report_end};
use crate::signals::Signals;

/// How long an example may take.
const PATIENCE_NS: u64 = 30_000_000_000;
/// How often in a row an operation may be lost with its driver. What is lost once or twice may have met a crash that
/// was not its doing; without a limit, a driver that never completes it would be asked again for ever.
const MOST_LOST: u32 = 3;

/// The examples, and the one that was asked for last.
struct Examples {
    all: Vec<(Tried, Vec<u8>)>,
    at: usize,
    /// Its ticket, and when it is late.
    asked: Option<(u32, u64)>,
    /// How often in a row it was lost.
    lost: u32,
}

/// Runs one nook, from options to its report, and returns how it ended.
pub(crate) fn run(
    args: &RunArgs,
    modules: &Loaded,
    policy: &PolicyFile,
    signals: &Signals,
) -> Result<(Report, Result<RunOutcome>)> {
    // Before the device is touched.
    let server = args.misc.serve.as_deref().map(Server::listen).transpose()?;
    let (host, launcher) = parts(args, modules, policy, signals, &DeviceOptions::from(args))?;
    let (mut supervisor, start_ns) = begin(args, modules, policy, Nook::misc(host, launcher), signals)?;
    let end_ns = args.duration.map(|duration| start_ns + duration.as_nanos() as u64);
    if let Some(server) = server {
        let (ended, served) = serve(&mut supervisor, server, signals, end_ns);
        return Ok(finish(args, supervisor, modules, Finish::new(ended, start_ns), Vec::new(), Some(served)));
    }
    // What the driver can do is known when it is up, which need not be the first time that it is started.
    let (mut examples, mut refused) = (None, None);
    let ended = drive(&mut supervisor, signals, end_ns, |supervisor, now_ns| {
        let nook = supervisor.nook();
        if examples.is_none() && nook.is_open() {
            let made = Examples::of(nook, &args.misc.call);
            examples = made.map_err(|error| refused = Some(error)).ok();
        }
        if refused.is_some() {
            return Some(Ended::Exercise);
        }
        examples.as_mut()?.go_on(supervisor, now_ns, args.duration.is_some())
    });
    if let Some(error) = refused {
        // Nothing is left behind.
        supervisor.nook_mut().stop()?;
        return Err(error);
    }
    let tried = examples.into_iter().flat_map(|examples| examples.all).map(|(tried, _)| tried).collect();
    Ok(finish(args, supervisor, modules, Finish::new(ended, start_ns), tried, None))
}

/// Answers clients until the run ends.
fn serve(
    supervisor: &mut Supervisor<Misc>,
    mut server: Server,
    signals: &Signals,
    end_ns: Option<u64>,
) -> (Ended, ServedReport) {
    let ended = drive(supervisor, signals, end_ns, |supervisor, _| {
        server.go_on(supervisor.nook_mut());
        None
    });
    let why = match &ended {
        Ended::Quarantine(why) => format!("the driver is in quarantine ({why})"),
        ended => format!("the run has ended ({ended})"),
    };
    server.end(supervisor.nook_mut(), &why);
    (ended, server.report())
}

/// Stops the driver, if there is one left, and tells what came of the run.
fn finish(
    args: &RunArgs,
    mut supervisor: Supervisor<Misc>,
    modules: &Loaded,
    finish: Finish,
    tried: Vec<Tried>,
    served: Option<ServedReport>,
) -> (Report, Result<RunOutcome>) {
    let went_well = tried.iter().all(Tried::went_well);
    let outcome = match finish.ended {
        Ended::Quarantine(_) => RunOutcome::Quarantined,
        _ if went_well => RunOutcome::Done,
        _ => RunOutcome::ExerciseFailed,
    };
    let report = finish.report(&mut supervisor, modules, |supervisor, finish| {
        finish.stop(supervisor);
        let nook = supervisor.nook();
        ClassReport::Misc(Box::new(MiscReport {
            operations: tried,
            served,
            counters: CountersReport::new(nook.counters(), *nook.misc_counters(), NoRates {}),
            recovery: RecoveryReport::new(supervisor),
        }))
    });
    report_end(args, &supervisor, &report);
    (report, Ok(outcome))
}

impl Examples {
    /// Returns the calls that were asked for, or the driver's examples.
    fn of(nook: &Nook<Misc>, calls: &[CallArg]) -> Result<Self> {
        let operations = nook.operations();
        let asked = calls.iter().map(|CallArg { operation: name, input }| {
            let Some(operation) = operations.iter().find(|operation| operation.name == *name) else {
                let have = operations.iter().map(|operation| operation.name.as_str()).collect::<Vec<_>>().join(", ");
                bail!("--call: the driver has no operation `{name}`; it has {have}");
            };
            // What comes of another input than the example's is not known.
            let output = operation.output.clone().filter(|_| operation.input.as_ref() == Some(input));
            Ok((Tried::of(&OperationInfo { output, ..operation.clone() }, input), input.clone()))
        });
        let asked = asked.collect::<Result<Vec<_>>>()?;
        if !asked.is_empty() {
            return Ok(Examples { all: asked, at: 0, asked: None, lost: 0 });
        }
        let with_input = nook.operations().iter().filter_map(|operation| Some((operation, operation.input.clone()?)));
        let all = with_input.map(|(operation, input)| (Tried::of(operation, &input), input)).collect();
        Ok(Examples { all, at: 0, asked: None, lost: 0 })
    }

    /// Takes the answer to what was asked for, and asks for the next, from the first on again if `repeats`.
    fn go_on(&mut self, supervisor: &mut Supervisor<Misc>, now_ns: u64, repeats: bool) -> Option<Ended> {
        let nook = supervisor.nook_mut();
        for Answer { ticket, outcome } in nook.answers() {
            if self.asked.take_if(|(asked, _)| *asked == ticket).is_none() {
                continue;
            }
            // What was lost with its driver is asked for again.
            self.lost = if outcome == Err(Failure::Lost) { self.lost + 1 } else { 0 };
            let tried = &mut self.all[self.at].0;
            tried.answered(outcome);
            if self.lost == MOST_LOST {
                tried.given_up(MOST_LOST);
                self.lost = 0;
            }
            self.at += usize::from(self.lost == 0);
        }
        if let Some((_, late_ns)) = self.asked {
            let name = &self.all[self.at].0.name;
            return (now_ns >= late_ns).then(|| Ended::Unable(format!("{name} was not done within 30 s")));
        }
        if self.at == self.all.len() {
            if !repeats || self.all.is_empty() {
                return Some(Ended::Exercise);
            }
            self.at = 0;
        }
        if nook.is_open() {
            let (tried, input) = &self.all[self.at];
            match nook.ask(&tried.name, input.clone()) {
                Ok(ticket) => self.asked = Some((ticket, now_ns + PATIENCE_NS)),
                Err(error) => return Some(Ended::Unable(error.to_string())),
            }
        }
        None
    }
}
