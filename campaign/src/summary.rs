//! What came of a campaign, in numbers.

use std::collections::BTreeMap;

use serde::Serialize;

use crate::{Death, Level, Outcome, Record, Run};

/// A distribution of times, in nanoseconds.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub struct Times {
    /// How many there are.
    pub count: usize,
    /// Half of them are at most this.
    pub p50: u64,
    /// Nine of ten are.
    pub p90: u64,
    /// 99 of a hundred are.
    pub p99: u64,
    /// All are.
    pub max: u64,
}

impl Times {
    /// Of these times; nothing, if there are none.
    pub fn of(times: impl Iterator<Item = u64>) -> Option<Self> {
        let mut sorted: Vec<_> = times.collect();
        sorted.sort_unstable();
        let last = sorted.len().checked_sub(1)?;
        let at = |hundredths: usize| sorted[last * hundredths / 100];
        Some(Times { count: sorted.len(), p50: at(50), p90: at(90), p99: at(99), max: sorted[last] })
    }
}

/// What came of some trials.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Counts {
    /// How many there were.
    pub trials: usize,
    /// Those whose fault was reached.
    pub activated: usize,
    /// Those in which something failed and it was reported.
    pub detected: usize,
    /// Those of them after which a flow completed within 5 s of the first report, without help.
    pub recovered: usize,
    /// Those in which traffic failed without a report.
    pub undetected: usize,
    /// Those in which something arrived that had not been sent.
    pub silent_corruption: usize,
    /// Those after which a disk held something else than was acknowledged, and something was reported.
    pub damaged: usize,
    /// Those that harmed something outside the nook.
    pub host_harmed: usize,
    /// Those of them with which the process crashed in which they were tried.
    pub crashed: usize,
    /// Those of them with which it did not come to an end.
    pub hung: usize,
    /// Every outcome, by its name.
    pub outcomes: BTreeMap<&'static str, usize>,
    /// The highest level of those that recovered.
    pub levels: BTreeMap<Level, usize>,
    /// From the first frame that failed, or the fault, to the report.
    pub detection_ns: Option<Times>,
    /// Of those that recovered: from the failure, or the report, until a flow had completed.
    pub downtime_ns: Option<Times>,
}

impl Counts {
    fn of<'a>(runs: impl Iterator<Item = &'a Run> + Clone) -> Self {
        let mut counts = Counts::default();
        for run in runs.clone() {
            counts.trials += 1;
            counts.activated += usize::from(run.hits > 0);
            counts.detected += usize::from(run.outcome.is_detected());
            counts.crashed += usize::from(run.death == Some(Death::Crashed));
            counts.hung += usize::from(run.death == Some(Death::Hung));
            *counts.outcomes.entry(run.outcome.name()).or_default() += 1;
            match run.outcome {
                Outcome::Recovered => {
                    counts.recovered += 1;
                    if let Some(level) = run.level {
                        *counts.levels.entry(level).or_default() += 1;
                    }
                }
                Outcome::Undetected => counts.undetected += 1,
                Outcome::SilentCorruption => counts.silent_corruption += 1,
                Outcome::Damaged => counts.damaged += 1,
                Outcome::HostHarmed => counts.host_harmed += 1,
                _ => {}
            }
        }
        let detected = runs.clone().filter(|run| run.outcome.is_detected());
        counts.detection_ns = Times::of(detected.filter_map(|run| run.detection_ns));
        let recovered = runs.filter(|run| run.outcome == Outcome::Recovered);
        counts.downtime_ns = Times::of(recovered.filter_map(|run| run.downtime_ns));
        counts
    }

    /// Returns how many had this outcome.
    pub fn with(&self, outcome: Outcome) -> usize {
        self.outcomes.get(outcome.name()).copied().unwrap_or_default()
    }
}

/// What came of all trials, and of those of each class.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Table {
    /// Of all.
    #[serde(flatten)]
    pub all: Counts,
    /// By kind and class, as in `code/branch`.
    pub classes: BTreeMap<String, Counts>,
}

impl Table {
    fn of(records: &[Record], run: fn(&Record) -> &Run) -> Self {
        let mut classes: BTreeMap<String, Vec<&Run>> = BTreeMap::new();
        for record in records {
            classes.entry(name(record)).or_default().push(run(record));
        }
        let classes = classes.into_iter().map(|(name, runs)| (name, Counts::of(runs.into_iter()))).collect();
        Table { all: Counts::of(records.iter().map(run)), classes }
    }
}

fn name(record: &Record) -> String {
    let kind = match record.kind {
        crate::Kind::Code => "code",
        crate::Kind::Memory => "memory",
        crate::Kind::Device => "device",
        crate::Kind::Kernel => "kernel",
    };
    format!("{kind}/{}", record.class)
}

/// A trial that did not come out as it should.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Case {
    /// Its number.
    pub trial: u64,
    /// As in `code/branch`.
    pub class: String,
    /// What the fault was.
    pub what: String,
    /// Where in the author's source, if it was a mistake in code and that is known.
    pub place: Option<String>,
    /// If a restart loads the driver without it.
    pub transient: Outcome,
    /// If it stays.
    pub persistent: Outcome,
    /// What was said in the end, or reported first.
    pub said: Option<String>,
}

/// The report of a campaign: what its trials came to if the fault goes with a restart, as the campaign's own counts,
/// and if it stays.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Summary {
    /// If a restart loads the driver without the fault.
    #[serde(flatten)]
    pub transient: Table,
    /// If it stays: quarantine is its right end.
    pub persistent: Table,
    /// Trials in which the host was harmed, data were corrupted, nobody noticed, or recovery failed.
    pub cases: Vec<Case>,
}

impl Summary {
    /// Puts it together; `place` tells where in the author's source an offset of the driver's file is.
    pub fn of(records: &[Record], place: impl Fn(usize) -> Option<String>) -> Self {
        let bad = |record: &&Record| {
            let transient = record.transient.outcome;
            transient >= Outcome::Quarantined || record.persistent.outcome >= Outcome::NotRecovered
        };
        let mut cases: Vec<_> = records
            .iter()
            .filter(bad)
            .map(|record| Case {
                trial: record.trial,
                class: name(record),
                what: record.what.clone(),
                place: record.offset.and_then(&place),
                transient: record.transient.outcome,
                persistent: record.persistent.outcome,
                said: record.transient.harm.clone().or_else(|| record.transient.report.clone()),
            })
            .collect();
        cases.sort_by_key(|case| (std::cmp::Reverse(case.transient.max(case.persistent)), case.trial));
        Summary {
            transient: Table::of(records, |record| &record.transient),
            persistent: Table::of(records, |record| &record.persistent),
            cases,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Kind;

    fn record(trial: u64, outcome: Outcome, detection_ns: Option<u64>) -> Record {
        let run = Run {
            outcome,
            level: Some(Level::Restart),
            hits: u64::from(outcome != Outcome::NotActivated),
            detection_ns,
            downtime_ns: Some(5),
            ..Run::not_activated()
        };
        let (class, what) = ("branch".to_owned(), "never taken".to_owned());
        let (transient, persistent) = (run.clone(), run);
        Record { trial, kind: Kind::Code, class, what, offset: Some(9), from_start: true, transient, persistent }
    }

    #[test]
    fn each_trial_counts_once_and_bad_ones_are_listed_worst_first() {
        let outcomes = [Outcome::NotActivated, Outcome::NoEffect, Outcome::Recovered, Outcome::Undetected];
        let more = [Outcome::HostHarmed, Outcome::Refused, Outcome::SilentCorruption];
        let records: Vec<_> = outcomes.into_iter().chain(more).zip(0..).map(|(o, n)| record(n, o, Some(n))).collect();
        let summary = Summary::of(&records, |offset| Some(format!("line {offset}")));
        let all = &summary.transient.all;
        assert_eq!((all.trials, all.activated, all.detected, all.recovered), (7, 6, 2, 1));
        assert_eq!((all.undetected, all.silent_corruption, all.host_harmed), (1, 1, 1));
        let cases: Vec<_> = summary.cases.iter().map(|case| case.trial).collect();
        assert_eq!(cases, [4, 6, 3]);
        assert_eq!(summary.cases[0].place.as_deref(), Some("line 9"));
        let expected = Some(Times { count: 2, p50: 2, p90: 2, p99: 2, max: 5 });
        assert_eq!(all.detection_ns, expected);
        let json = serde_json::to_value(&summary).unwrap();
        assert_eq!((&json["trials"], &json["persistent"]["classes"]["code/branch"]["trials"]), (&7.into(), &7.into()));
    }
}
