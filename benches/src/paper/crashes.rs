//! What a stream is worth while the driver crashes, and how long it is down each time.

use anyhow::{Context, Result, ensure};

use super::session::Session;
use super::{Plan, Programs};
use crate::Report;
use crate::cpus::Awake;
use crate::levels::{Level, SFI, SFI_TXN};
use crate::sample::{Estimate, orders};

/// A way of coming back from a crash.
struct Way {
    name: &'static str,
    level: Level,
    /// The policy under which every crash is come back from in this way, without end.
    policy: &'static str,
    /// The report's keys for how often it was gone, and for how long that took.
    count: &'static str,
    times: &'static str,
    /// The unit of that time here, and how many nanoseconds it has.
    unit: (&'static str, f64),
}

/// No crash bundles in any of them.
const WAYS: [Way; 3] = [
    Way {
        name: "rollback",
        level: SFI_TXN,
        policy: "[bundles]\nkeep = 0\n",
        count: "rollbacks",
        times: "rollback_ns",
        unit: ("µs", 1e3),
    },
    // A snapshot is of use if there is no crash for a millisecond: a second one would be a restart's business.
    Way {
        name: "snapshot",
        level: SFI_TXN,
        policy: "[bundles]\nkeep = 0\n[rollback]\nenabled = false\n[restart]\nwindow = \"1ms\"\n\
                 [snapshots]\nevery = \"100ms\"\n",
        count: "snapshot_restores",
        times: "snapshot_restore_ns",
        unit: ("ms", 1e6),
    },
    Way {
        name: "restart",
        level: SFI,
        policy: "[bundles]\nkeep = 0\n[restart]\nbudget = 1000000\nbackoff_first = \"1us\"\n\
                 backoff_most = \"1us\"\n",
        count: "restarts",
        times: "restart_ns",
        unit: ("ms", 1e6),
    },
];

/// The times between two crashes.
const PERIODS: [&str; 2] = ["1s", "50ms"];

/// Returns a stream while the driver crashes, against the same without: notes `crash_<way>_<every>`; and how long it
/// was down each time: `downtime_<way>_<every>_<p50, p90, p99 or max>`, in µs or ms; and the share of the crashes that
/// this way came back from, `crash_<way>_<every>_share`.
///
/// # Errors
/// If a program fails.
pub fn crashes(report: &mut Report, programs: &Programs, plan: &Plan, mut tell: impl FnMut(&str)) -> Result<()> {
    let _awake = Awake::keep();
    let folder = tempfile::tempdir().context("a folder for policies")?;
    let periods = [None, Some(PERIODS[0]), Some(PERIODS[1])];
    let variants: Vec<_> = WAYS.iter().flat_map(|way| periods.map(|period| (way, period))).collect();
    let start = |(way, period): &(&Way, Option<&str>)| {
        let policy = folder.path().join(way.name);
        std::fs::write(&policy, way.policy).context("writing a policy")?;
        let policy = policy.to_str().context("a folder whose name is text")?;
        let crash: Vec<&str> = period.iter().flat_map(|period| ["--crash-every", period]).collect();
        Session::start(programs, &way.level, &[&["--policy", policy], &crash[..]].concat())?.settled(&way.level)
    };
    let sessions = variants.iter().map(start).collect::<Result<Vec<_>>>()?;
    let mut flows = sessions.iter().map(Session::connect).collect::<Result<Vec<_>>>()?;
    let mut values = vec![Vec::new(); variants.len()];
    for at in orders(variants.len()).take(plan.crash_rounds).flatten() {
        let (way, period) = variants[at];
        let slice = flows[at].carry(plan.crash_stream, None, || Ok(()))?;
        let stream = slice.bits_per_second / 1e6;
        tell(&format!("{}, {}: {stream:.0} Mbit/s", way.name, period.unwrap_or("undisturbed")));
        values[at].push(stream);
    }
    drop(flows);
    for (session, (way, period)) in sessions.into_iter().zip(&variants) {
        let told = session.end()?;
        let Some(period) = period else { continue };
        let name = way.name;
        let count = |value: &serde_json::Value| value.as_u64().unwrap_or(0);
        let (faults, recovery) = (count(&told["fault_count"]), &told["recovery"]);
        ensure!(faults > 0, "nothing crashed each {period} with {name}: {told}");
        let came_back = count(&recovery[way.count]);
        tell(&format!("{name}, {period}: {came_back} of {faults} faults in {} ns", told["duration_ns"]));
        let (unit, ns) = way.unit;
        for share in ["p50", "p90", "p99", "max"] {
            let time = recovery[way.times][share].as_f64();
            let time = time.with_context(|| format!("no times of a {name} each {period}: {told}"))? / ns;
            report.figure(&format!("downtime_{name}_{period}_{share}"), Estimate::exactly(time), unit);
        }
        let share = Estimate::exactly(came_back as f64 / faults as f64);
        report.figure(&format!("crash_{name}_{period}_share"), share, "");
        if way.level.key() == SFI_TXN.key() {
            let counters = &told["counters"];
            let (rollback_possible, calls) = (count(&counters["rollback_possible"]), count(&counters["transactions"]));
            let share = Estimate::exactly(rollback_possible as f64 / calls.max(1) as f64);
            report.figure(&format!("rollback_possible_{name}_{period}_share"), share, "");
        }
    }
    for (at, (way, period)) in variants.iter().enumerate() {
        let Some(period) = period else { continue };
        let undisturbed = at / periods.len() * periods.len();
        let ratio = Estimate::ratio(&values[at], &values[undisturbed]);
        report.note_ratio(&format!("crash_{}_{period}", way.name), ratio, true);
    }
    // What the driver sleeps in a restart is known if restarts were measured in this run.
    if let Some(wait) = report.figures.get(&format!("restart_wait_{}", SFI.key())).map(|it| it.estimate.value) {
        for period in PERIODS {
            let name = format!("downtime_restart_{period}");
            let rest = report.figures[&format!("{name}_p50")].estimate.value - wait;
            report.figure(&format!("{name}_without_reset"), Estimate::exactly(rest), "ms");
        }
    }
    Ok(())
}
