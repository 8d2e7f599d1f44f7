//! DPDK's driver of the e1000 beside our own, on the model: TCP between two hosts in the process and, by iperf3,
//! between two namespaces; what transactions cost either, and what a stream is worth while the driver crashes.

use std::fs;
use std::path::Path;
use std::process::Command;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};
use nook_tests::namespaces::run;
use serde_json::Value;

use super::Programs;
use super::session::Session;
use crate::goals::{self, short};
use crate::levels::{Level, SFI, SFI_TXN};
use crate::sample::{Estimate, orders};
use crate::tables::Table;
use crate::{Report, tables};

/// What names of figures call the two drivers, and what people do.
const DRIVERS: [(&str, &str); 2] = [("ours", "our driver"), ("dpdk", "DPDK's driver")];
const LEVELS: [Level; 2] = [SFI, SFI_TXN];
const WAYS: [&str; 2] = ["out", "back"];
/// What is measured of each driver at each level: its name, its unit, whether more is better, and what people call it.
const MEASURES: [(&str, &str, bool, &str); 4] = [
    ("exercise", "Mbit/s", true, "TCP between two hosts in the process (`--exercise tcp`)"),
    ("out", "Mbit/s", true, "iperf3 through TAP, out"),
    ("back", "Mbit/s", true, "iperf3 through TAP, back"),
    ("cpu", "s/Gbit", false, "CPU time of nook-run for iperf3's data"),
];
/// How a driver that crashes comes back.
struct Way {
    name: &'static str,
    /// What people call it.
    about: &'static str,
    level: Level,
    /// The time between two crashes: a driver that reads its card's EEPROM bit by bit takes most of a second to start.
    every: &'static str,
    policy: &'static str,
    /// The report's keys for how often it did, and for how long that took.
    count: &'static str,
    times: &'static str,
}

/// No crash bundles in any of them, and no end of any.
const RECOVERED: [Way; 3] = [
    Way {
        name: "rollback",
        about: "calls rolled back",
        level: SFI_TXN,
        every: "1s",
        policy: "[bundles]\nkeep = 0\n",
        count: "rollbacks",
        times: "rollback_ns",
    },
    Way {
        name: "snapshot",
        about: "restored from a snapshot",
        level: SFI_TXN,
        every: "1s",
        policy: "[bundles]\nkeep = 0\n[rollback]\nenabled = false\n[restart]\nwindow = \"1ms\"\n\
                 [snapshots]\nevery = \"100ms\"\n",
        count: "snapshot_restores",
        times: "snapshot_restore_ns",
    },
    Way {
        name: "restart",
        about: "restarted",
        level: SFI,
        every: "3s",
        policy: "[bundles]\nkeep = 0\n[restart]\nbudget = 1000000\nbackoff_most = \"10ms\"\n",
        count: "restarts",
        times: "restart_ns",
    },
];
/// Rounds, each of which takes everything once, and how long streams are in them: of those with crashes, long enough
/// for several.
const ROUNDS: usize = 5;
const STREAM: Duration = Duration::from_secs(2);
const CRASH_ROUNDS: usize = 4;
const CRASH_STREAM: Duration = Duration::from_secs(4);

/// Measures all of it: notes `existing_...`.
///
/// # Errors
/// If a program fails.
pub fn measure(report: &mut Report, ours: &Programs, dpdk: &Path, mut tell: impl FnMut(&str)) -> Result<()> {
    ensure!(dpdk.is_file(), "{} is missing; `cargo xtask drivers --with dpdk` makes it", dpdk.display());
    let drivers = [ours.clone(), Programs { driver: dpdk.into(), ..ours.clone() }];
    undisturbed(report, &drivers, &mut tell)?;
    // What was measured until then stays.
    if let Err(error) = crashing(report, &drivers, &mut tell) {
        report.left_out.push(format!("streams while the driver crashes: {error:#}"));
    }
    Ok(())
}

/// Values of each round: `[measure][driver * levels + level]`.
type Values = [Vec<Vec<f64>>; MEASURES.len()];

fn undisturbed(report: &mut Report, drivers: &[Programs; 2], tell: &mut impl FnMut(&str)) -> Result<()> {
    let count = drivers.len() * LEVELS.len();
    let of = |at: usize| (at / LEVELS.len(), &LEVELS[at % LEVELS.len()]);
    let mut values: Values = MEASURES.map(|_| vec![Vec::new(); count]);
    let start = |at: usize| {
        let (driver, level) = of(at);
        Session::start(&drivers[driver], level, &[]).with_context(|| format!("{} at {}", DRIVERS[driver].1, level.name))
    };
    let sessions = (0..count).map(start).collect::<Result<Vec<_>>>()?;
    for at in orders(count).take(ROUNDS).flatten() {
        let (driver, level) = of(at);
        let exercise = exercise(&drivers[driver], level)?;
        let (cpu, begin) = (sessions[at].cpu_seconds()?, Instant::now());
        let (out, back) = (sessions[at].stream(STREAM)?, sessions[at].stream_back(STREAM)?);
        // The rates are those of what arrived, in so long a time.
        let gbits = (out + back) * STREAM.as_secs_f64() / 1e9;
        let cpu = (sessions[at].cpu_seconds()? - cpu) / gbits;
        let (name, seconds) = (DRIVERS[driver].1, begin.elapsed().as_secs_f64());
        tell(&format!(
            "{name}, {}: {exercise:.0}, {:.0}, {:.0} Mbit/s ({seconds:.0} s)",
            level.name,
            out / 1e6,
            back / 1e6
        ));
        for (values, value) in values.iter_mut().zip([exercise, out / 1e6, back / 1e6, cpu]) {
            values[at].push(value);
        }
    }
    for (at, session) in sessions.into_iter().enumerate() {
        let (driver, level) = of(at);
        let told = session.end()?;
        let count = |name: &str| told["counters"][name].as_f64().with_context(|| format!("no {name} in {told}"));
        if *level == SFI_TXN {
            let (calls, rollback_possible) = (count("transactions")?, count("rollback_possible")?);
            for (name, value, unit) in
                [("transactions", calls, "calls"), ("no_rollback", calls - rollback_possible, "calls")]
            {
                report.figure(&format!("existing_{name}_{}", DRIVERS[driver].0), Estimate::exactly(value), unit);
            }
        }
    }
    for ((name, unit, more_is_better, _), values) in MEASURES.iter().zip(&values) {
        for (at, values) in values.iter().enumerate() {
            let (driver, level) = of(at);
            report.figure(
                &format!("existing_{name}_{}_{}", DRIVERS[driver].0, level.key()),
                Estimate::of(values),
                unit,
            );
        }
        for (at, level) in LEVELS.iter().enumerate() {
            let ratio = Estimate::ratio(&values[LEVELS.len() + at], &values[at]);
            report.note_ratio(&format!("existing_{name}_dpdk_ours_{}", level.key()), ratio, *more_is_better);
        }
        for (driver, (key, _)) in DRIVERS.iter().enumerate() {
            let at = driver * LEVELS.len();
            let ratio = Estimate::ratio(&values[at + 1], &values[at]);
            report.note_ratio(&format!("existing_{name}_txn_{key}"), ratio, *more_is_better);
        }
    }
    Ok(())
}

/// TCP between two hosts in the process; Mbit/s, both ways together.
fn exercise(programs: &Programs, level: &Level) -> Result<f64> {
    let folder = tempfile::tempdir().context("a folder for a report")?;
    let file = folder.path().join("report.json");
    let mut command = Command::new(&programs.nook_run);
    command.arg(&programs.driver).args(["--calm", "--exercise", "tcp"]).args(level.options()).arg("--json").arg(&file);
    run(&mut command)?;
    let told: Value = serde_json::from_slice(&fs::read(&file).context("nook-run left no report")?)?;
    let tcp = &told["exercise"]["tcp"];
    ensure!(tcp["hash_ok"] == true, "what arrived is not what was sent: {told}");
    Ok(tcp["bits_per_second"].as_f64().with_context(|| format!("no rate in {told}"))? / 1e6)
}

/// One way in which streams are run: a driver, how it comes back, and whether it has to.
struct Variant {
    driver: usize,
    way: &'static Way,
    crashes: bool,
}

fn crashing(report: &mut Report, drivers: &[Programs; 2], tell: &mut impl FnMut(&str)) -> Result<()> {
    let folder = tempfile::tempdir().context("a folder for policies")?;
    let mut variants = Vec::new();
    for driver in 0..drivers.len() {
        for way in &RECOVERED {
            variants.extend([false, true].map(|crashes| Variant { driver, way, crashes }));
        }
    }
    let start = |variant: &Variant| {
        let policy = folder.path().join(variant.way.name);
        fs::write(&policy, variant.way.policy).context("writing a policy")?;
        let policy = policy.to_str().context("a folder whose name is text")?;
        let crash: &[&str] = if variant.crashes { &["--crash-every", variant.way.every] } else { &[] };
        Session::start(&drivers[variant.driver], &variant.way.level, &[&["--policy", policy], crash].concat())
    };
    let sessions = variants.iter().map(start).collect::<Result<Vec<_>>>()?;
    let mut values = WAYS.map(|_| vec![Vec::new(); variants.len()]);
    for at in orders(variants.len()).take(CRASH_ROUNDS).flatten() {
        let streams = [sessions[at].stream(CRASH_STREAM), sessions[at].stream_back(CRASH_STREAM)];
        for (stream, values) in streams.into_iter().zip(&mut values) {
            let stream = stream? / 1e6;
            let what = if variants[at].crashes { "crashing" } else { "undisturbed" };
            tell(&format!("{}, {what}: {stream:.0} Mbit/s", variants[at].key()));
            values[at].push(stream);
        }
    }
    for (variant, session) in variants.iter().zip(sessions) {
        let told = session.end()?;
        if variant.crashes {
            note_recovery(report, variant, &told)?;
        }
    }
    for (at, variant) in variants.iter().enumerate().filter(|(_, variant)| variant.crashes) {
        for (way, values) in WAYS.iter().zip(&values) {
            let ratio = Estimate::ratio(&values[at], &values[at - 1]);
            report.note_ratio(&format!("existing_crash_{}_{way}", variant.key()), ratio, true);
        }
    }
    Ok(())
}

impl Variant {
    /// Driver and way, as in `dpdk_rollback`.
    fn key(&self) -> String {
        key(DRIVERS[self.driver].0, self.way)
    }
}

fn key(driver: &str, way: &Way) -> String {
    format!("{driver}_{}", way.name)
}

fn note_recovery(report: &mut Report, variant: &Variant, told: &Value) -> Result<()> {
    let (key, recovery) = (variant.key(), &told["recovery"]);
    let count = |value: &Value| value.as_u64().with_context(|| format!("{key}: what is not told: {told}"));
    let (faults, came_back) = (count(&told["fault_count"])?, count(&recovery[variant.way.count])?);
    if came_back == 0 {
        bail!("{key}: not once did it come back in this way from {faults} faults: {told}");
    }
    for (name, number) in [("faults", faults), ("recovered", came_back)] {
        report.figure(&format!("existing_{name}_{key}"), Estimate::exactly(number as f64), "times");
    }
    for share in ["p50", "max"] {
        let ns = recovery[variant.way.times][share].as_f64().with_context(|| format!("no times in {told}"))?;
        report.figure(&format!("existing_downtime_{key}_{share}"), Estimate::exactly(ns / 1e3), "µs");
    }
    Ok(())
}

/// Returns the tables, if it was measured.
pub(crate) fn tables(report: &Report) -> [Table; 2] {
    [throughput(report), crashes(report)]
}

fn throughput(report: &Report) -> Table {
    let ratio = |name: String| report.spreads.get(&name).map(|spread| goals::text(&spread.estimate, ""));
    let row = |&(name, unit, _, what): &(&str, &str, bool, &str)| {
        let figure = |driver: &str| {
            let figure = report.figures.get(&format!("existing_{name}_{driver}_sfi_txn"))?;
            Some(format!("{} {unit}", short(figure.estimate.value)))
        };
        Some(vec![
            what.to_owned(),
            figure("ours")?,
            figure("dpdk")?,
            ratio(format!("existing_{name}_dpdk_ours_sfi_txn"))?,
            ratio(format!("existing_{name}_txn_ours"))?,
            ratio(format!("existing_{name}_txn_dpdk"))?,
        ])
    };
    let rollback_possible = || {
        let of =
            |name: &str, driver: &str| Some(report.figures.get(&format!("existing_{name}_{driver}"))?.estimate.value);
        let cell = |driver| {
            let (calls, not) = (of("transactions", driver)?, of("no_rollback", driver)?);
            Some(format!("{calls} calls, {not} of them not"))
        };
        let what = "calls that could have been rolled back, of iperf3's".to_owned();
        Some(vec![what, cell("ours")?, cell("dpdk")?, String::new(), String::new(), String::new()])
    };
    Table {
        title: "On the model: throughput, and what transactions cost",
        note: "Medians of rounds that take every driver and level in turn, at sfi+txn; ratios are medians of those within \
               rounds, with their 95 % intervals. Of the absolute figures nothing can be read but their size: the machine \
               is never quiet.",
        head: tables::words(&[
            "",
            "our driver",
            "DPDK's driver",
            "DPDK's / ours",
            "ours: sfi+txn / sfi",
            "DPDK's: sfi+txn / sfi",
        ]),
        rows: MEASURES.iter().filter_map(row).chain(rollback_possible()).collect(),
    }
}

fn crashes(report: &Report) -> Table {
    let row = |driver: &(&str, &str), way: &Way| {
        let key = key(driver.0, way);
        let ratio = |way: &str| report.spreads.get(&format!("existing_crash_{key}_{way}"));
        let figure = |name: &str| Some(report.figures.get(&format!("existing_{name}"))?.estimate.value);
        let [p50, max] = ["p50", "max"].map(|share| figure(&format!("downtime_{key}_{share}")).map(short));
        Some(vec![
            format!("{}, {}", driver.1, way.about),
            way.every.to_owned(),
            goals::text(&ratio("out")?.estimate, ""),
            goals::text(&ratio("back")?.estimate, ""),
            format!("{} of {}", figure(&format!("recovered_{key}"))?, figure(&format!("faults_{key}"))?),
            format!("{}, {} µs", p50?, max?),
        ])
    };
    Table {
        title: "On the model: a stream of iperf3 while the driver crashes",
        note: "Its throughput over that of the same stream undisturbed, in pairs; how many of the faults it came back \
               from in this way; and the times from the end of the call that crashed until the driver was ready again: median and \
               longest.",
        head: tables::words(&["", "a crash each", "out", "back", "came back", "downtime"]),
        rows: DRIVERS.iter().flat_map(|driver| RECOVERED.iter().filter_map(move |way| row(driver, way))).collect(),
    }
}
