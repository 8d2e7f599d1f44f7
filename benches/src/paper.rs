//! The experiment of the Nooks paper, for every level: a TCP stream of 32 KiB messages, and UDP requests of 100 bytes
//! with answers of 200, between two network namespaces: TAP, driver, model, TAP. And, in [`crashes()`], what a stream
//! is worth while the driver crashes.
//!
//! It needs root, for the namespaces, and `nook-run` and iperf3.

mod crashes;
pub mod existing;
mod requests;
mod session;

use std::path::PathBuf;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use nook_tests::namespaces::Namespaces;

use crate::levels::{LEVELS, Level};
use crate::sample::{Estimate, orders};
use crate::{Report, stats, ticks};
pub use crashes::crashes;
use session::Session;

/// What the paper has (Swift, Bershad, Levy: Improving the reliability of commodity operating systems, 2003 and 2005):
/// native, and the ratios of wrapping alone and of Nooks to it.
pub(crate) const PAPER: &[(&str, f64, Option<f64>, f64)] = &[
    ("stream", 611.0, None, 630.0 / 611.0),
    ("latency", 236.0, None, 241.0 / 236.0),
    ("cpu", 17.6, None, 20.7 / 17.6),
    ("cycles_per_irq", 20_800.0, Some(37_200.0 / 20_800.0), 47_800.0 / 20_800.0),
    ("packets_per_irq", 7.1, None, 8.6 / 7.1),
];

/// Streams at a rate count as equal if what arrived is so close to it.
const RATE_TOLERANCE: f64 = 0.03;

/// Where the programs and the driver are.
#[derive(Clone, Debug)]
pub struct Programs {
    /// `nook-run`.
    pub nook_run: PathBuf,
    /// The e1000 driver.
    pub driver: PathBuf,
}

/// How much of the experiment is made.
#[derive(Clone, Copy, Debug)]
pub struct Plan {
    /// Rounds, each of which takes every level once.
    pub rounds: usize,
    /// How long each stream is; whole seconds.
    pub stream: Duration,
    /// How long requests are sent in each round.
    pub requests: Duration,
    /// The same with a driver that crashes: enough for a crash each second to come several times.
    pub crash_rounds: usize,
    /// How long each of those streams is.
    pub crash_stream: Duration,
}

impl Default for Plan {
    fn default() -> Self {
        Plan {
            rounds: 8,
            stream: Duration::from_secs(1),
            requests: Duration::from_millis(700),
            crash_rounds: 5,
            crash_stream: Duration::from_secs(3),
        }
    }
}

/// Returns why it cannot be made here, if it cannot.
pub fn obstacle(programs: &Programs) -> Option<String> {
    if !rustix::process::geteuid().is_root() {
        return Some("the paper's experiment: it makes network namespaces, and needs root for that".into());
    }
    if let Err(error) = Namespaces::possible() {
        return Some(format!("the paper's experiment: network namespaces cannot be made here: {error:#}"));
    }
    if !session::has("iperf3") {
        return Some("the paper's experiment: iperf3 is not installed (`cargo xtask setup` installs it)".into());
    }
    let missing = [&programs.nook_run, &programs.driver].into_iter().find(|path| !path.exists());
    missing.map(|path| format!("the paper's experiment: {} is missing", path.display()))
}

/// What is measured of a level in each round, its unit, and whether more is better.
const MEASURES: [(&str, &str, bool); 4] =
    [("stream", "Mbit/s", true), ("latency", "µs", false), ("latency_p99", "µs", false), ("cpu", "% of a core", false)];
/// Their places.
const STREAM: usize = 0;
const LATENCY: usize = 1;
const LATENCY_P99: usize = 2;
const CPU: usize = 3;

/// Makes the experiment: notes `paper_<measure>_<level>`, and `paper_<measure>_<level>_native` for the ratios.
///
/// # Errors
/// If a program fails.
pub fn measure(report: &mut Report, programs: &Programs, plan: &Plan, mut tell: impl FnMut(&str)) -> Result<()> {
    let start =
        |level: &Level| Session::start(programs, level, &[]).with_context(|| format!("at level {}", level.name));
    let sessions = LEVELS.iter().map(start).collect::<Result<Vec<_>>>()?;
    let rounds = || orders(LEVELS.len()).take(plan.rounds).flatten();
    // values[measure][level]: one for each round.
    let mut values = MEASURES.map(|_| vec![Vec::new(); LEVELS.len()]);
    let mut spent = vec![0.0; LEVELS.len()];
    for at in rounds() {
        let before = sessions[at].cpu_seconds()?;
        let stream = sessions[at].stream(plan.stream, None)? / 1e6;
        spent[at] += sessions[at].cpu_seconds()? - before;
        tell(&format!("{}: {stream:.0} Mbit/s", LEVELS[at].name));
        values[STREAM][at].push(stream);
    }
    // nook-run tells what it counted when it ends, so these are of all rounds together, and have no spread.
    for ((level, session), spent) in LEVELS.iter().zip(sessions).zip(spent) {
        let told = session.end()?;
        let count = |name: &str| {
            told["counters"][name].as_f64().with_context(|| format!("nook-run does not tell its {name}: {told}"))
        };
        let irqs = count("irqs")?;
        ensure!(irqs > 0.0, "a stream without an interrupt at level {}", level.name);
        for (name, value, unit) in [
            ("packets_per_irq", count("packets")? / irqs, "packets"),
            ("cycles_per_irq", spent * ticks::per_ns() * 1e9 / irqs, "cycles"),
        ] {
            report.figure(&format!("paper_{name}_{}", level.key()), Estimate::exactly(value), unit);
        }
    }
    // Half of what the slowest can do: CPU time is compared at the same rate for all.
    let slowest = values[STREAM].iter().map(|rates| stats::median(&mut rates.clone())).fold(f64::INFINITY, f64::min);
    let asked = slowest * 1e6 / 2.0;
    let sessions = LEVELS.iter().map(start).collect::<Result<Vec<_>>>()?;
    let mut arrived = vec![Vec::new(); LEVELS.len()];
    for at in rounds() {
        let begin = (sessions[at].cpu_seconds()?, Instant::now());
        let share = sessions[at].stream(plan.stream, Some(asked))? / asked;
        let cpu = (sessions[at].cpu_seconds()? - begin.0) / begin.1.elapsed().as_secs_f64() * 100.0;
        let [p50, p99] = sessions[at].requests(plan.requests)?;
        tell(&format!("{}: {p50:.1} µs, {cpu:.1} % of a core at {share:.2} of the rate", LEVELS[at].name));
        arrived[at].push(share);
        for (measure, value) in [(CPU, cpu), (LATENCY, p50), (LATENCY_P99, p99)] {
            values[measure][at].push(value);
        }
    }
    sessions.into_iter().try_for_each(|session| session.end().map(drop))?;
    let off = LEVELS.iter().zip(&mut arrived).map(|(level, shares)| (level, stats::median(shares)));
    let off = off.filter(|(_, share)| (share - 1.0).abs() > RATE_TOLERANCE).map(|(level, share)| {
        format!("CPU at equal throughput: at level {} {share:.2} of the rate that was asked for arrived", level.name)
    });
    let off: Vec<_> = off.collect();
    for (measure, ((name, unit, more_is_better), values)) in MEASURES.iter().zip(&values).enumerate() {
        if measure == CPU && !off.is_empty() {
            continue;
        }
        for (level, values) in LEVELS.iter().zip(values) {
            report.figure(&format!("paper_{name}_{}", level.key()), Estimate::of(values), unit);
        }
        for (at, level) in LEVELS.iter().enumerate() {
            for (base, of_base) in LEVELS.iter().zip(values).take(at) {
                let ratio = Estimate::ratio(&values[at], of_base);
                report.note_ratio(&format!("paper_{name}_{}_{}", level.key(), base.key()), ratio, *more_is_better);
            }
        }
    }
    report.left_out.extend(off);
    Ok(())
}
