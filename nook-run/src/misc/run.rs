//! A run of a misc driver, from options to report.

use std::collections::BTreeMap;

use anyhow::{Context, Result};
use nook_recovery::{PolicyFile, Supervisor};
use nook_runtime::{Answer, Misc, Nook, OperationInfo};

use super::report::{CallReport, Lost, MiscCounts, MiscReport};
use crate::cli::RunArgs;
use crate::report::{ClassReport, CountersReport, RecoveryReport, Report};
use crate::run::{Ended, Finish, Loaded, Outcome, drive, parts, supervise};
use crate::signals::Signals;

/// A call that is to be made.
struct Planned {
    operation: String,
    input: Vec<u8>,
    expected: Option<Vec<u8>>,
}

/// One nook, from options to its report, and how it ended: all calls are made, and it ends when they are done.
pub(crate) fn run(
    args: &RunArgs,
    modules: &Loaded,
    policy: &PolicyFile,
    signals: &Signals,
) -> Result<(Report, Result<Outcome>)> {
    let (host, launcher) = parts(args, modules, policy)?;
    let mut supervisor = supervise(args, modules, policy, Nook::misc(host, launcher), signals)?;
    let start_ns = supervisor.nook().clock().now_ns();
    supervisor.start()?;
    let operations = supervisor.nook().operations().to_vec();
    let planned = plan(args, &operations);
    let tickets = planned.iter().map(|call| supervisor.nook_mut().ask(&call.operation, call.input.clone()));
    let tickets = match tickets.collect::<Result<Vec<u32>, _>>() {
        Ok(tickets) => tickets,
        Err(error) => {
            // Nothing is left behind.
            supervisor.nook_mut().stop()?;
            return Err(error).context("--call");
        }
    };
    let mut done = BTreeMap::new();
    let end_ns = args.duration.map(|duration| start_ns + duration.as_nanos() as u64);
    let ended = drive(&mut supervisor, signals, end_ns, |supervisor, _| {
        take(supervisor, &mut done);
        (done.len() == tickets.len()).then_some(Ended::Exercise)
    });
    let report = Finish::new(ended.clone(), start_ns).report(&mut supervisor, modules, |supervisor, finish| {
        let nook = supervisor.nook();
        let counters = CountersReport::new(nook.counters(), MiscCounts::from(nook.misc_counters()));
        finish.stop(supervisor);
        take(supervisor, &mut done);
        let calls = planned.into_iter().zip(&tickets).map(|(planned, ticket)| planned.report(done.remove(ticket)));
        ClassReport::Misc(Box::new(MiscReport {
            operations: operations.into_iter().map(|operation| operation.name).collect(),
            calls: calls.collect(),
            counters,
            recovery: RecoveryReport::new(supervisor, Lost::from(supervisor.nook().misc_counters())),
        }))
    });
    tracing::info!("ended: {}", report.ended);
    let well = matches!(&report.class, ClassReport::Misc(misc) if misc.calls.iter().all(CallReport::went_well));
    let outcome = match ended {
        Ended::Quarantine(_) => Outcome::Quarantined,
        _ if well => Outcome::Done,
        _ => Outcome::ExerciseFailed,
    };
    Ok((report, Ok(outcome)))
}

/// Takes the answers that came since.
fn take(supervisor: &mut Supervisor<Misc>, done: &mut BTreeMap<u32, Answer>) {
    done.extend(supervisor.nook_mut().answers().into_iter().map(|answer| (answer.ticket, answer)));
}

/// The calls that were asked for, or every example.
fn plan(args: &RunArgs, operations: &[OperationInfo]) -> Vec<Planned> {
    if args.misc.call.is_empty() {
        let examples = operations.iter().filter_map(|operation| {
            let OperationInfo { name, input, output } = operation.clone();
            Some(Planned { operation: name, input: input?, expected: output })
        });
        return examples.collect();
    }
    let asked = args.misc.call.iter().map(|call| {
        let example = operations.iter().find(|operation| operation.name == call.operation);
        let same = example.filter(|example| example.input.as_ref() == Some(&call.input));
        Planned {
            operation: call.operation.clone(),
            input: call.input.clone(),
            expected: same.and_then(|example| example.output.clone()),
        }
    });
    asked.collect()
}

impl Planned {
    fn report(self, answer: Option<Answer>) -> CallReport {
        let hex = |bytes: Vec<u8>| bytes.iter().map(|byte| format!("{byte:02x}")).collect::<String>();
        let (output, error) = match answer.map(|answer| answer.outcome) {
            Some(Ok(output)) => (Some(hex(output)), None),
            Some(Err(error)) => (None, Some(error.to_string())),
            None => (None, None),
        };
        CallReport {
            operation: self.operation,
            input: hex(self.input),
            output,
            expected: self.expected.map(hex),
            error,
        }
    }
}
