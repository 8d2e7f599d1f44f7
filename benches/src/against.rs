//! This build against another one: a process of each in turn, so that whatever the machine does meanwhile hits both.
//!
//! A round is one process of each build, the second one first in every second round. Each runs `nook-slice` for a
//! fraction of a second, and gives a median of each thing that is measured. What is reported is the median of the
//! ratios within rounds. Where code and memory lie is drawn again with each process, and so lies in the interval.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};

use crate::sample::Estimate;
use crate::tables::{Table, words};
use crate::{Report, goals};

/// The build that the goals are about.
pub const BASE: &str = "959a374";

/// Two builds.
#[derive(Clone, Debug)]
pub struct Builds {
    /// This one's `nook-slice`.
    pub own: PathBuf,
    /// The other one's.
    pub other: PathBuf,
    /// What the other build is called: a revision.
    pub name: String,
}

/// When it is enough.
#[derive(Clone, Copy, Debug)]
pub struct Limits {
    /// Rounds at least.
    pub rounds: usize,
    /// Every ratio's interval is at most so wide on either side of its median, as a share of it.
    pub precision: f64,
    /// No more rounds are begun after this time.
    pub time: Duration,
}

impl Default for Limits {
    fn default() -> Self {
        Limits { rounds: 40, precision: 0.005, time: Duration::from_secs(200) }
    }
}

impl Limits {
    /// Returns limits that only show whether everything works.
    pub fn short() -> Self {
        Limits { rounds: 4, precision: f64::INFINITY, ..Limits::default() }
    }
}

/// What one process found: nanoseconds, by name.
type Slice = BTreeMap<String, f64>;

/// Runs both in turn: notes for each thing that both measure `against_<name>_<thing>`, the ratio, and
/// `against_<name>_<thing>_then` and `_now`, the times.
///
/// # Errors
/// If a process fails, or says something else.
pub fn measure(report: &mut Report, builds: &Builds, limits: Limits, mut tell: impl FnMut(&str)) -> Result<()> {
    let begin = Instant::now();
    let mut values: BTreeMap<String, [Vec<f64>; 2]> = BTreeMap::new();
    for round in 1.. {
        let (other, own) = if round % 2 == 0 {
            let own = slice(&builds.own)?;
            (slice(&builds.other)?, own)
        } else {
            (slice(&builds.other)?, slice(&builds.own)?)
        };
        for (name, then) in other {
            let Some(&now) = own.get(&name) else { continue };
            let [thens, nows] = values.entry(name).or_default();
            thens.push(then);
            nows.push(now);
        }
        ensure!(!values.is_empty(), "the two builds measure nothing that is the same");
        let worst = values.values().map(|[then, now]| precision(&Estimate::ratio(now, then))).fold(0.0, f64::max);
        let out_of_time = begin.elapsed() > limits.time;
        if round >= limits.rounds && worst <= limits.precision || out_of_time {
            let why = if out_of_time { "time is up" } else { "that is enough" };
            tell(&format!("{round} rounds, every ratio within ± {:.1} %: {why}", worst * 100.0));
            break;
        }
        if round % 10 == 0 {
            tell(&format!("{round} rounds, every ratio within ± {:.1} %", worst * 100.0));
        }
    }
    let name = &builds.name;
    for (thing, [then, now]) in &values {
        report.ratio(&format!("against_{name}_{thing}"), now, then);
        for (when, values) in [("then", then), ("now", now)] {
            report.figure(&format!("against_{name}_{thing}_{when}"), Estimate::of(values), "ns");
        }
        if let Some(batch) = batch(thing) {
            let pair = Estimate::of(now).scaled(1.0 / batch);
            report.figure(&format!("against_{name}_{thing}_pair"), pair, "ns");
        }
    }
    report.against = Some(name.clone());
    Ok(())
}

/// Returns how far an interval reaches from its median, as a share of it.
fn precision(estimate: &Estimate) -> f64 {
    (estimate.high - estimate.value).max(estimate.value - estimate.low) / estimate.value
}

fn slice(program: &Path) -> Result<Slice> {
    let output = Command::new(program).output().with_context(|| format!("running {}", program.display()))?;
    let said = String::from_utf8_lossy(&output.stdout);
    let failed =
        || format!("{}: {}: {said}{}", program.display(), output.status, String::from_utf8_lossy(&output.stderr));
    ensure!(output.status.success(), failed());
    serde_json::from_str(&said).with_context(failed)
}

/// Returns how many packets each way the thing moves, if it is a `poll` or a turn.
fn batch(thing: &str) -> Option<f64> {
    let rest = thing.strip_prefix("poll_").or_else(|| thing.strip_prefix("turn_"))?;
    rest.split('_').next()?.parse().ok()
}

/// What is compared, and what people call it.
const ROWS: [(&str, &str); 7] = [
    ("poll_32", "the driver's call, batch 32: for a packet each way"),
    ("poll_255", "the same, batch 255"),
    ("turn_32", "the whole turn of the loop, batch 32: for a packet each way"),
    ("turn_255", "the same, batch 255"),
    ("interrupt", "interrupt and poll of 8, the driver's calls alone"),
    ("interrupt_turn", "the same with the host's work"),
    ("null_call", "null call"),
];
const LEVELS: [&str; 3] = ["native", "sfi", "sfi_txn"];

/// Returns the table.
pub(crate) fn table(report: &Report) -> Table {
    let name = report.against.as_deref().unwrap_or(BASE);
    let cell = |thing: &str, level: &str| {
        let key = format!("against_{name}_{thing}_{level}");
        let time = |when: &str| report.figures.get(&format!("{key}_{when}")).map(|figure| figure.estimate.value);
        let (then, now) = (time("then")?, time("now")?);
        let each = batch(thing).unwrap_or(1.0);
        let ratio = goals::text(&report.spreads.get(&key)?.estimate, "");
        Some(format!("{} → {} ns: {ratio}", goals::short(then / each), goals::short(now / each)))
    };
    let row = |(thing, what): &(&str, &str)| {
        let cells: Option<Vec<String>> = LEVELS.iter().map(|level| cell(thing, level)).collect();
        Some([words(&[what]), cells?].concat())
    };
    Table {
        title: "Against an earlier build",
        note: "Both builds in turn, a process of each in a round: the earlier build's time, this build's, and the ratio of \
               the two at the same level.",
        head: words(&[&format!("against {name}"), "native", "sfi", "sfi+txn"]),
        rows: ROWS.iter().filter_map(row).collect(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::PermissionsExt;

    /// A program that says this.
    fn program(folder: &Path, name: &str, script: &str) -> PathBuf {
        let path = folder.join(name);
        std::fs::write(&path, format!("#!/bin/sh\n{script}\n")).unwrap();
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o755)).unwrap();
        path
    }

    fn limits() -> Limits {
        Limits { rounds: 4, precision: 0.01, time: Duration::from_secs(60) }
    }

    #[test]
    fn what_both_builds_measure_is_compared_round_by_round_and_the_first_one_changes() {
        let folder = tempfile::tempdir().unwrap();
        let log = folder.path().join("log");
        let says = |name: &str, json: &str| {
            program(folder.path(), name, &format!("echo {name} >> {}; echo '{json}'", log.display()))
        };
        let builds = Builds {
            own: says("own", r#"{"poll_32_sfi": 320, "of_this_alone": 1}"#),
            other: says("other", r#"{"poll_32_sfi": 640, "of_that_alone": 1}"#),
            name: "abc".into(),
        };
        let mut report = Report::default();
        measure(&mut report, &builds, limits(), |_| ()).unwrap();
        assert_eq!(report.ratios["against_abc_poll_32_sfi"], 0.5);
        assert_eq!(report.figures["against_abc_poll_32_sfi_pair"].estimate.value, 10.0);
        assert!(!report.figures.keys().any(|name| name.contains("alone")));
        let order = std::fs::read_to_string(log).unwrap();
        assert_eq!(order.split_whitespace().take(4).collect::<Vec<_>>(), ["other", "own", "own", "other"]);
    }

    #[test]
    fn a_build_that_fails_is_named_with_what_it_said() {
        let folder = tempfile::tempdir().unwrap();
        let own = program(folder.path(), "own", "echo no such driver >&2; exit 3");
        let builds = Builds { other: own.clone(), own, name: "abc".into() };
        let error = measure(&mut Report::default(), &builds, limits(), |_| ()).unwrap_err();
        assert!(format!("{error:#}").contains("no such driver"), "{error:#}");
    }

    #[test]
    fn the_time_for_a_pair_is_that_of_the_batch() {
        assert_eq!(
            [batch("poll_255_sfi_txn"), batch("turn_32_native"), batch("interrupt_sfi")],
            [Some(255.0), Some(32.0), None]
        );
    }
}
