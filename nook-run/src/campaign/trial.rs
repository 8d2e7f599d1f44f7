//! One trial: a fault, the traffic meanwhile, and the judgement.

use std::sync::Arc;

use anyhow::{Context, Result, bail};
use nook_campaign::{Begin, Flow, Injection, Kind, Level, Outcome, Run, Tally, Traffic, Trial, with_injection};

use super::harm::Before;
use super::settling::{RECOVERED_NS, Seen, Settling};
use super::stage::{Card, Compiled, Disk, Stage, Subject, Testbed, Tested};

const MS: u64 = 1_000_000;
const SECOND: u64 = 1_000 * MS;

/// Between two frames of one way: while the fault begins, and afterwards; and those of the neighbour.
const PACE_NS: u64 = 100_000;
const LATER_PACE_NS: u64 = 4 * MS;
const NEIGHBOUR_PACE_NS: u64 = 4 * MS;
/// How long the driver may take until frames go both ways.
const UP_NS: u64 = 10 * SECOND;
/// For how long traffic is watched once the fault may be there.
const WATCHED_NS: u64 = 40 * MS;
/// The longest turn.
const TURN_NS: u64 = 5 * MS;

/// How a trial ended, before what was harmed is looked at.
struct Ending {
    outcome: Outcome,
    downtime_ns: Option<u64>,
    /// What ended it, if that is in no report of the supervisor's.
    said: Option<String>,
}

/// Runs a trial. `transient`: a restart loads the driver without the fault.
///
/// # Errors
/// If the two nooks could not be made, or the neighbour did not come up: nothing was tried then.
pub fn run(stage: &Stage, compiled: &Compiled, trial: &Trial, transient: bool) -> Result<Run> {
    let flip = (trial.kind == Kind::Memory).then_some(trial.seed);
    let injection = Injection::new(transient, trial.slot, flip);
    if trial.begin == Begin::Start {
        injection.begin_at(0);
    }
    let before = Before::now()?;
    let mut run = with_injection(&injection, || both(stage, compiled, trial, &injection))?;
    if run.outcome != Outcome::HostHarmed
        && let Some(harm) = before.harm()?
    {
        run.harm = Some(harm);
        run.outcome = Outcome::HostHarmed;
    }
    Ok(run)
}

fn both(stage: &Stage, compiled: &Compiled, trial: &Trial, injection: &Arc<Injection>) -> Result<Run> {
    match stage.tested {
        Tested::Card => both_of::<Card>(stage, compiled, trial, injection),
        Tested::Disk => both_of::<Disk>(stage, compiled, trial, injection),
    }
}

fn both_of<S: Testbed>(stage: &Stage, compiled: &Compiled, trial: &Trial, injection: &Arc<Injection>) -> Result<Run> {
    let mut neighbour = stage.subject::<S>(stage.pristine(), trial.seed ^ 1, None)?;
    neighbour.supervisor.start().context("the neighbour")?;
    let end_ns = neighbour.now_ns() + UP_NS;
    while !neighbour.supervisor.nook().is_ready() {
        neighbour.turn(end_ns).context("the neighbour")?;
        if neighbour.now_ns() >= end_ns {
            bail!("the neighbour does not become ready");
        }
    }
    neighbour.oracle.pace(NEIGHBOUR_PACE_NS);
    let mut subject = stage.subject::<S>(compiled, trial.seed, Some((trial, injection)))?;
    let mut pair = Pair { subject: &mut subject, neighbour: &mut neighbour };
    let ending = pair.judge(trial, injection);
    let harm = pair.neighbour_goes_on();
    subject.oracle.finish();
    let tally = subject.oracle.tally();
    let twice = S::ANSWERS_ONCE && tally.duplicates > 0;
    let harm = if twice { harm.and(Err(format!("{} requests were answered twice", tally.duplicates))) } else { harm };
    Ok(told(&subject, injection, ending, tally, harm.err()))
}

/// Puts together what there is to tell.
fn told<S: Testbed>(
    subject: &Subject<S>,
    injection: &Injection,
    ending: Ending,
    tally: Tally,
    harm: Option<String>,
) -> Run {
    let supervisor = &subject.supervisor;
    let level = match (supervisor.restarts(), supervisor.snapshot_restores().count(), supervisor.rollbacks().count()) {
        (0, 0, 0) => None,
        (0, 0, _) => Some(Level::Rollback),
        (0, ..) => Some(Level::SnapshotRestore),
        _ => Some(Level::Restart),
    };
    let first = supervisor.recoveries().first();
    let hits = injection.hits();
    let outcome = match ending.outcome {
        _ if harm.is_some() => Outcome::HostHarmed,
        _ if tally.corrupted > 0 || (tally.damaged > 0 && first.is_none()) => Outcome::SilentCorruption,
        _ if tally.damaged > 0 => Outcome::Damaged,
        Outcome::NoEffect if hits == 0 => Outcome::NotActivated,
        outcome => outcome,
    };
    let reported_ns = first.map(|recovery| recovery.at_ns);
    let detection_ns = reported_ns
        .and_then(|reported_ns| detection_ns(reported_ns, subject.oracle.first_failure_ns(), injection.first_hit_ns()));
    Run {
        outcome,
        level,
        hits,
        report: first.map(|recovery| recovery.fault.clone()).or(ending.said),
        reports: supervisor.faults(),
        detection_ns,
        downtime_ns: ending.downtime_ns,
        lost: tally.lost,
        duplicates: tally.duplicates,
        corrupted: tally.corrupted,
        damaged: tally.damaged,
        harm,
        death: None,
    }
}

/// Returns how long a report took: from the first frame that failed, or, if none had by then, from the fault, which may
/// have taken a while to have an effect.
fn detection_ns(reported_ns: u64, failed_ns: Option<u64>, hit_ns: Option<u64>) -> Option<u64> {
    let before = |ns: &u64| *ns <= reported_ns;
    let began_ns = failed_ns.filter(before).or(hit_ns.filter(before))?;
    Some(reported_ns - began_ns)
}

struct Pair<'a, S: Testbed> {
    subject: &'a mut Subject<S>,
    neighbour: &'a mut Subject<S>,
}

impl<S: Testbed> Pair<'_, S> {
    /// Lets both work until then, or until `done`. Says what ended the driver, if something did.
    fn until(&mut self, end_ns: u64, mut done: impl FnMut(&Subject<S>) -> bool) -> Result<(), Ending> {
        while self.subject.now_ns() < end_ns && !done(self.subject) {
            let until_ns = end_ns.min(self.subject.now_ns() + TURN_NS);
            if let Err(quarantine) = self.subject.turn(until_ns) {
                let said = Some(quarantine.last.to_string());
                return Err(Ending { outcome: Outcome::Quarantined, downtime_ns: None, said });
            }
            let now_ns = self.subject.now_ns();
            while self.neighbour.now_ns() < now_ns {
                // What becomes of it is looked at in the end.
                if self.neighbour.turn(now_ns).is_err() {
                    break;
                }
            }
        }
        Ok(())
    }

    fn judge(&mut self, trial: &Trial, injection: &Injection) -> Ending {
        self.try_judge(trial, injection).unwrap_or_else(|ending| ending)
    }

    fn try_judge(&mut self, trial: &Trial, injection: &Injection) -> Result<Ending, Ending> {
        if let Err(error) = self.subject.supervisor.start() {
            let said = Some(error.to_string());
            return Ok(Ending { outcome: Outcome::Refused, downtime_ns: None, said });
        }
        let begun_ns = self.subject.now_ns();
        self.until(begun_ns + UP_NS, |subject| subject.supervisor.nook().is_ready())?;
        self.subject.oracle.pace(PACE_NS);
        let first = self.subject.oracle.flow();
        let from_ns = self.subject.now_ns();
        if trial.begin == Begin::Start {
            // A link that does not come up is a failure like any other.
            self.until(from_ns + WATCHED_NS, |_| false)?;
        } else {
            self.until(from_ns + UP_NS, |subject| subject.oracle.is_complete(first))?;
            self.subject.begin(trial, injection);
            let end_ns = injection.begins_at() + WATCHED_NS;
            self.until(end_ns, |_| false)?;
        }
        self.subject.oracle.pace(LATER_PACE_NS);
        self.settle()
    }

    /// Waits for a flow that begins now, or after the last report, and completes.
    fn settle(&mut self) -> Result<Ending, Ending> {
        loop {
            let flow = self.subject.oracle.flow();
            let settling = Settling::new(self.seen(flow));
            let reports = settling.reports();
            self.until(settling.end_ns(), |subject| {
                subject.supervisor.faults() != reports || subject.oracle.is_complete(flow)
            })?;
            let seen = self.seen(flow);
            if let Some(outcome) = settling.judge(seen) {
                return Ok(self.settled(outcome, seen));
            }
        }
    }

    fn seen(&self, flow: Flow) -> Seen {
        Seen {
            now_ns: self.subject.now_ns(),
            reports: self.subject.supervisor.faults(),
            first_report_ns: self.subject.supervisor.recoveries().first().map(|recovery| recovery.at_ns),
            is_complete: self.subject.oracle.is_complete(flow),
        }
    }

    fn settled(&self, outcome: Outcome, seen: Seen) -> Ending {
        let failed_ns = self.subject.oracle.first_failure_ns();
        let since_ns = [seen.first_report_ns, failed_ns].into_iter().flatten().min();
        let downtime_ns = since_ns.filter(|_| seen.is_complete).map(|since_ns| seen.now_ns - since_ns);
        let said = (outcome == Outcome::Undetected).then(|| self.standing()).flatten();
        Ending { outcome, downtime_ns, said }
    }

    /// Says what stands still.
    fn standing(&self) -> Option<String> {
        let standing = match &self.subject.oracle.standing()[..] {
            [] => "nothing, for nothing was asked of it".into(),
            ways => ways.join(" and "),
        };
        let ready = if self.subject.supervisor.nook().is_ready() { "ready" } else { "not ready" };
        Some(format!("no report; stands still: {standing}; the driver is {ready}"))
    }

    /// Looks whether the neighbour's traffic went on, and still does.
    fn neighbour_goes_on(&mut self) -> Result<(), String> {
        let neighbour = &mut *self.neighbour;
        let flow = neighbour.oracle.flow();
        let end_ns = neighbour.now_ns() + RECOVERED_NS;
        while !neighbour.oracle.is_complete(flow) {
            let outcome = neighbour.turn(neighbour.now_ns() + TURN_NS);
            outcome.map_err(|quarantine| format!("the neighbour: {quarantine}"))?;
            if neighbour.now_ns() > end_ns {
                return Err("the neighbour's traffic stands still".into());
            }
        }
        neighbour.oracle.finish();
        let (tally, faults) = (neighbour.oracle.tally(), neighbour.supervisor.faults());
        let twice = S::ANSWERS_ONCE && tally.duplicates > 0;
        if faults > 0 || tally.lost > 0 || tally.corrupted > 0 || tally.damaged > 0 || twice {
            return Err(format!("the neighbour had {faults} faults, and of its traffic: {tally:?}"));
        }
        Ok(())
    }
}

/// Returns whether the driver comes to a place, in which there is a trap. If it does so in this process, that ends.
///
/// # Errors
/// If that could not be tried.
pub fn is_reached(stage: &Stage, trapped: &Compiled, trial: &Trial) -> Result<bool> {
    let injection = Injection::new(true, 0, None);
    injection.begin_at(0);
    let run = both(stage, trapped, trial, &injection)?;
    Ok(run.reports > 0 || run.outcome != Outcome::NoEffect)
}

/// Tries the driver as it is: a campaign about one that does not work says nothing.
///
/// # Errors
/// If its traffic does not flow, or something is reported.
pub fn without_fault(stage: &Stage) -> Result<()> {
    let injection = Injection::new(false, 0, None);
    let trial = Trial { number: 0, seed: 1, kind: Kind::Device, begin: Begin::Start, slot: 0, failure: None };
    let run = with_injection(&injection, || both(stage, stage.pristine(), &trial, &injection));
    let why = match run {
        Ok(run) if run.outcome == Outcome::NotActivated => return Ok(()),
        Ok(run) => format!("{}: {}", run.outcome.name(), run.report.or(run.harm).unwrap_or_default()),
        Err(error) => format!("{error:#}"),
    };
    bail!("without any fault, the driver does not carry the campaign's traffic ({why}); `nook-run selftest` says more")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_report_is_timed_from_the_first_frame_that_failed_or_else_from_the_fault() {
        assert_eq!(detection_ns(90, Some(50), Some(20)), Some(40));
        assert_eq!(detection_ns(90, None, Some(20)), Some(70));
        // What fails after the report fails because of the recovery.
        assert_eq!(detection_ns(90, Some(95), Some(20)), Some(70));
        assert_eq!((detection_ns(90, Some(95), Some(99)), detection_ns(90, None, None)), (None, None));
    }
}
