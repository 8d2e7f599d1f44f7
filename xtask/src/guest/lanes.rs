//! Runs cases in several machines at a time: each has one processor, so a second one finds an idle one here.

use crate::guest::cases::{self, Case, CaseOutcome};
use crate::guest::machine::{Kind, Machine};
use crate::guest::servers::{Inbox, Iperf};
use crate::guest::{Rig, debian, shown};
use anyhow::{Context, Result};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::thread;

/// A case and where it runs.
struct Waiting<'a> {
    /// Its number.
    at: usize,
    case: &'a Case,
    kind: Kind,
}

/// What all lanes share.
struct Shared<'a> {
    waiting: Mutex<Vec<Waiting<'a>>>,
    outcomes: Mutex<Vec<Option<CaseOutcome>>>,
    /// By whether the kernel is the newer one.
    rigs: &'a [(bool, Rig)],
}

/// Runs the cases in `lanes` machines at a time and prints what comes of each. Returns that in the order of the cases.
pub fn run(
    cases: &[Case],
    kind: impl Fn(&Case) -> Result<Kind>,
    rigs: &[(bool, Rig)],
    lanes: usize,
) -> Result<Vec<CaseOutcome>> {
    let waiting = cases.iter().enumerate().map(|(at, case)| Ok(Waiting { at, case, kind: kind(case)? }));
    let waiting = Mutex::new(waiting.collect::<Result<_>>()?);
    let outcomes = Mutex::new(cases.iter().map(|_| None).collect());
    let shared = Shared { waiting, outcomes, rigs };
    thread::scope(|scope| {
        let lanes: Vec<_> = (0..lanes.min(cases.len()))
            .map(|lane| {
                scope.spawn({
                    let shared = &shared;
                    move || shared.lane(lane)
                })
            })
            .collect();
        // Each is waited for, whatever came of the one before.
        let ended: Vec<Result<()>> = lanes
            .into_iter()
            .map(|lane| lane.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic)))
            .collect();
        ended.into_iter().collect::<Result<()>>()
    })?;
    let outcomes = shared.outcomes.into_inner().unwrap_or_else(PoisonError::into_inner);
    outcomes.into_iter().map(|outcome| outcome.context("a case was not run")).collect()
}

impl Shared<'_> {
    /// Runs what waits until nothing does. One machine serves all cases of a kind, until one leaves it in an unknown
    /// state.
    fn lane(&self, lane: usize) -> Result<()> {
        let folder = debian::folder().join(format!("run-{lane}"));
        // Each serves one client at a time.
        let (iperf, inbox) = (Iperf::start()?, Inbox::start(&folder)?);
        let mut machine: Option<Machine> = None;
        while let Some(Waiting { at, case, kind }) = take(&mut held(&self.waiting), machine.as_ref().map(|it| &it.kind))
        {
            let mut running = match machine.take() {
                Some(running) if running.kind == kind => running,
                other => {
                    drop(other);
                    let rig = self.rigs.iter().find(|(newer, _)| *newer == kind.has_newer_kernel());
                    let (_, Rig { kernel, initramfs }) = rig.context("no kernel and no files for this case")?;
                    Machine::boot(kernel, initramfs, &folder, kind, [iperf.port, inbox.port])?
                }
            };
            let (outcome, usable) = cases::run(&mut running, case, &inbox.file);
            let again =
                if usable.is_err() { format!("guest: starting again after {}\n", case.name) } else { String::new() };
            println!("{again}{}", shown(case, &outcome));
            machine = usable.is_ok().then_some(running);
            held(&self.outcomes)[at] = Some(outcome);
        }
        Ok(())
    }
}

fn held<T>(of: &Mutex<T>) -> MutexGuard<'_, T> {
    of.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Takes the case that a lane runs next: the first for the machine that it has. If there is none, the first of the kind
/// of the last, which is the least likely to be some other lane's.
fn take<'a>(waiting: &mut Vec<Waiting<'a>>, has: Option<&Kind>) -> Option<Waiting<'a>> {
    let last = &waiting.last()?.kind;
    let wanted = has.filter(|has| waiting.iter().any(|it| it.kind == **has)).unwrap_or(last);
    let at = waiting.iter().position(|it| it.kind == *wanted)?;
    Some(waiting.remove(at))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;

    #[test]
    fn a_lane_stays_with_its_machine_and_begins_where_others_are_not() {
        let case = Case { name: "it".into(), sentence: "It is.".into(), limit: Duration::ZERO };
        let kinds = [Kind::Usual, Kind::Usual, Kind::WithoutIommu, Kind::Keys, Kind::Keys];
        let mut waiting: Vec<_> =
            kinds.into_iter().enumerate().map(|(at, kind)| Waiting { at, case: &case, kind }).collect();
        let mut next = |has: Option<Kind>| take(&mut waiting, has.as_ref()).map(|it| it.at);
        assert_eq!((next(None), next(Some(Kind::Keys)), next(Some(Kind::Usual))), (Some(3), Some(4), Some(0)));
        assert_eq!((next(Some(Kind::Keys)), next(Some(Kind::Usual))), (Some(2), Some(1)));
        assert_eq!(next(None), None);
    }
}
