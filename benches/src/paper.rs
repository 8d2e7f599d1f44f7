//! The experiment of the Nooks paper, for every level: a TCP stream of 32 KiB messages, and UDP requests of 100 bytes
//! with answers of 200, between two network namespaces: TAP, driver, model, TAP. And, in [`crashes()`], what a stream
//! is worth while the driver crashes.
//!
//! It needs root, for the namespaces, and `nook-run` and iperf3.

mod crashes;
pub mod existing;
mod flow;
pub mod overload;
mod requests;
mod session;

use std::path::PathBuf;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use nook_tests::namespaces::Namespaces;

use crate::cpus::Awake;
use crate::levels::{Level, PROCESS_POLLED, levels};
use crate::sample::{Estimate, orders};
use crate::{Report, processes, stats, ticks};
pub use crashes::crashes;
use flow::Flow;
pub use overload::overload;
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

/// What it is called where something was left out.
pub const NAME: &str = "the paper's experiment";

/// As many slices may fail.
const FAILURES: usize = 10;
/// Streams at a rate count as equal if what arrived is so close to it.
const RATE_TOLERANCE: f64 = 0.03;

/// Where the programs and the driver are.
#[derive(Clone, Debug)]
pub struct Programs {
    /// `nook-run`.
    pub nook_run: PathBuf,
    /// The driver.
    pub driver: PathBuf,
}

/// How much of the experiment is made.
#[derive(Clone, Copy, Debug)]
pub struct Plan {
    /// Rounds at least, each of which takes every level once. There are more until the intervals are narrow enough.
    pub rounds: usize,
    /// Every interval reaches at most so far from its median.
    pub precision: f64,
    /// No more rounds are begun after this time: of streams as fast as they go, and of what comes then.
    pub time: [Duration; 2],
    /// How long each slice of a stream is.
    pub stream: Duration,
    /// How long requests are sent in each slice.
    pub requests: Duration,
    /// Rounds with a driver that crashes.
    pub crash_rounds: usize,
    /// How long each slice of a stream is in those.
    pub crash_stream: Duration,
    /// Rounds in which each rate is offered.
    pub overload_rounds: usize,
}

impl Default for Plan {
    fn default() -> Self {
        Plan {
            rounds: 15,
            precision: 0.045,
            time: [Duration::from_secs(180), Duration::from_secs(330)],
            stream: Duration::from_millis(250),
            requests: Duration::from_millis(150),
            crash_rounds: 12,
            crash_stream: Duration::from_secs(1),
            overload_rounds: 12,
        }
    }
}

impl Plan {
    /// Returns a plan that only shows whether everything works.
    pub fn short() -> Self {
        let time = [Duration::from_secs(12); 2];
        Plan {
            rounds: 3,
            time,
            crash_rounds: 2,
            crash_stream: Duration::from_millis(300),
            overload_rounds: 2,
            ..Plan::default()
        }
    }
}

/// Returns why it cannot be made here, if it cannot.
pub fn obstacle(programs: &Programs) -> Option<String> {
    if !rustix::process::geteuid().is_root() {
        return Some(format!("{NAME}: it makes network namespaces, and needs root for that"));
    }
    if let Err(error) = Namespaces::possible() {
        return Some(format!("{NAME}: network namespaces cannot be made here: {error:#}"));
    }
    if !processes::has("iperf3") {
        return Some(format!("{NAME}: iperf3 is not installed (`cargo xtask setup` installs it)"));
    }
    let missing = [&programs.nook_run, &programs.driver].into_iter().find(|path| !path.exists());
    missing.map(|path| format!("{NAME}: {} is missing", path.display()))
}

/// What is measured of a level in each round, its unit, and whether more is better.
const MEASURES: [(&str, &str, bool); 4] =
    [("stream", "Mbit/s", true), ("latency", "µs", false), ("latency_p99", "µs", false), ("cpu", "% of a core", false)];
/// Their places.
const STREAM: usize = 0;
const LATENCY: usize = 1;
const LATENCY_P99: usize = 2;
const CPU: usize = 3;

/// Values of each round: `[measure][level]`.
type Values = [Vec<Vec<f64>>; MEASURES.len()];

/// Makes the experiment: notes `paper_<measure>_<level>`, and `paper_<measure>_<level>_native` for the ratios; how far
/// the widest interval of a measure reaches, `paper_width_<measure>`, and after how many rounds,
/// `paper_rounds_<measure>`.
///
/// # Errors
/// If a program fails.
pub fn measure(report: &mut Report, programs: &Programs, plan: &Plan, tell: impl Fn(&str)) -> Result<()> {
    let _awake = Awake::keep();
    let mut values = MEASURES.map(|_| vec![Vec::new(); levels().len()]);
    streams(report, programs, plan, &mut values, &tell)?;
    // Half of what the slowest can do: CPU time is compared at the same rate for all.
    let slowest = values[STREAM].iter().map(|rates| stats::median(&mut rates.clone())).fold(f64::INFINITY, f64::min);
    let off = at_a_rate(report, programs, plan, slowest * 1e6 / 2.0, &mut values, &tell)?;
    for (measure, ((name, unit, more_is_better), values)) in MEASURES.iter().zip(&values).enumerate() {
        if measure == CPU && !off.is_empty() {
            continue;
        }
        for (level, values) in levels().iter().zip(values) {
            report.figure(&format!("paper_{name}_{}", level.key()), Estimate::of(values), unit);
        }
        for (at, level) in levels().iter().enumerate() {
            for (base, of_base) in levels().iter().zip(values).take(at) {
                let ratio = Estimate::ratio(&values[at], of_base);
                report.note_ratio(&format!("paper_{name}_{}_{}", level.key(), base.key()), ratio, *more_is_better);
            }
        }
        let rounds = values[0].len();
        report.figure(&format!("paper_width_{name}"), Estimate::exactly(width(values)), "");
        report.figure(&format!("paper_rounds_{name}"), Estimate::exactly(rounds as f64), "rounds");
        let widest = width(values);
        if measure != LATENCY_P99 && widest > plan.precision {
            tell(&format!("{name}: after {rounds} rounds an interval still reaches ± {widest:.3}: time was up"));
        }
    }
    report.left_out.extend(off);
    Ok(())
}

/// Returns how far the widest interval of a level's ratio to native reaches from its median. A process that polls is
/// not asked: it shares its processor with those that measure.
fn width(values: &[Vec<f64>]) -> f64 {
    let settled = levels().iter().zip(values).skip(1).filter(|(level, _)| **level != PROCESS_POLLED);
    let of_level = |of: &[f64]| {
        let Estimate { value, low, high, .. } = Estimate::ratio(of, &values[0]);
        (high - value).max(value - low)
    };
    settled.map(|(_, of)| of_level(of)).fold(0.0, f64::max)
}

/// Makes rounds until the intervals of these measures are narrow enough. `slice` returns a value for each of them, and
/// besides for those that come after them. Where it fails, on a machine that has no time for the one or the other,
/// `again` starts this level again, and the round does not count.
fn settle<T>(
    plan: &Plan,
    (time, measures): (Duration, &[usize]),
    values: &mut Values,
    ends: &mut [T],
    mut slice: impl FnMut(usize, &mut T) -> Result<Vec<f64>>,
    mut again: impl FnMut(usize, anyhow::Error) -> Result<T>,
) -> Result<()> {
    let (begin, mut failures) = (Instant::now(), 0);
    for order in orders(levels().len()) {
        let mut round = vec![Vec::new(); levels().len()];
        for at in order {
            match slice(at, &mut ends[at]) {
                Ok(found) => round[at] = found,
                Err(error) if failures < FAILURES => {
                    failures += 1;
                    ends[at] = again(at, error)?;
                }
                Err(error) => return Err(error),
            }
        }
        if round.iter().all(|found| !found.is_empty()) {
            for (at, found) in round.into_iter().enumerate() {
                measures.iter().zip(found).for_each(|(&measure, value)| values[measure][at].push(value));
            }
        }
        let is_narrow = |measure: &usize| *measure == LATENCY_P99 || width(&values[*measure]) <= plan.precision;
        let rounds = values[measures[0]][0].len();
        let is_over = begin.elapsed() > time && rounds > 0;
        if is_over || rounds >= plan.rounds && measures.iter().all(is_narrow) {
            break;
        }
    }
    Ok(())
}

/// A level's nook-run, and a connection through it.
struct Ends {
    session: Session,
    flow: Flow,
    /// CPU time that it had used when it was ready.
    cpu_seconds: f64,
}

impl Ends {
    fn start(programs: &Programs, level: &Level) -> Result<Self> {
        let session = Session::start(programs, level, &[]).and_then(|session| session.settled(level));
        let session = session.with_context(|| format!("at level {}", level.name))?;
        let flow = session.connect().with_context(|| failed(level, &session))?;
        let cpu_seconds = session.cpu_seconds()?;
        Ok(Ends { session, flow, cpu_seconds })
    }

    fn start_all(programs: &Programs) -> Result<Vec<Self>> {
        levels().iter().map(|level| Self::start(programs, level)).collect()
    }
}

/// Says where something failed, and what nook-run has to say about it.
fn failed(level: &Level, session: &Session) -> String {
    format!("at level {}, where nook-run said: {}", level.name, session.log())
}

/// Streams as fast as they go.
fn streams(
    report: &mut Report,
    programs: &Programs,
    plan: &Plan,
    values: &mut Values,
    tell: &impl Fn(&str),
) -> Result<()> {
    let mut ends = Ends::start_all(programs)?;
    let slice = |at: usize, ends: &mut Ends| {
        let slice = ends.flow.carry(plan.stream, None, || Ok(()));
        let stream = slice.with_context(|| failed(&levels()[at], &ends.session))?.bits_per_second / 1e6;
        tell(&format!("{}: {stream:.0} Mbit/s", levels()[at].name));
        Ok(vec![stream])
    };
    let again = |at: usize, error: anyhow::Error| {
        tell(&format!("{error:#}"));
        Ends::start(programs, &levels()[at])
    };
    settle(plan, (plan.time[0], &[STREAM]), values, &mut ends, slice, again)?;
    // nook-run tells what it counted when it ends, so these are of all rounds together, and have no spread.
    for (level, Ends { session, flow, cpu_seconds }) in levels().iter().zip(ends) {
        drop(flow);
        let spent = session.cpu_seconds()? - cpu_seconds;
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
    Ok(())
}

/// Streams at this rate, and requests. Returns at which levels something else arrived.
fn at_a_rate(
    report: &mut Report,
    programs: &Programs,
    plan: &Plan,
    asked: f64,
    values: &mut Values,
    tell: &impl Fn(&str),
) -> Result<Vec<String>> {
    let mut ends = Ends::start_all(programs)?;
    let mut arrived = vec![Vec::new(); levels().len()];
    let slice = |at: usize, ends: &mut Ends| {
        let Ends { session, flow, .. } = ends;
        let slice = flow.carry(plan.stream, Some(asked), || session.cpu_seconds());
        let slice = slice.with_context(|| failed(&levels()[at], session))?;
        let (share, [before, after]) = (slice.bits_per_second / asked, slice.seen);
        let cpu = (after - before) / slice.length.as_secs_f64() * 100.0;
        let [p50, p99] = session.requests(plan.requests).with_context(|| failed(&levels()[at], session))?;
        tell(&format!("{}: {p50:.1} µs, {cpu:.1} % of a core at {share:.2} of the rate", levels()[at].name));
        arrived[at].push(share);
        Ok(vec![cpu, p50, p99])
    };
    let again = |at: usize, error: anyhow::Error| {
        tell(&format!("{error:#}"));
        Ends::start(programs, &levels()[at])
    };
    settle(plan, (plan.time[1], &[CPU, LATENCY, LATENCY_P99]), values, &mut ends, slice, again)?;
    report.figure("paper_rate", Estimate::exactly(asked / 1e6), "Mbit/s");
    for Ends { session, flow, .. } in ends {
        drop(flow);
        session.end()?;
    }
    let off = levels().iter().zip(&mut arrived).map(|(level, shares)| (level, stats::median(shares)));
    let off = off.filter(|(_, share)| (share - 1.0).abs() > RATE_TOLERANCE).map(|(level, share)| {
        format!("CPU at equal throughput: at level {} {share:.2} of the rate that was asked for arrived", level.name)
    });
    Ok(off.collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    const FOREVER: Duration = Duration::from_secs(60);

    /// Makes rounds whose ratios to native are 1, more or less this, and one slice of which may fail; returns how many
    /// count, and how often a level was started again.
    fn rounds(spread: f64, time: Duration, fails: impl Fn(usize, usize) -> bool) -> (usize, usize) {
        let mut values: Values = MEASURES.map(|_| vec![Vec::new(); levels().len()]);
        let plan = Plan { rounds: 5, precision: 0.05, ..Plan::default() };
        let (mut ends, mut started) = (vec![0; levels().len()], 0);
        let slice = |at: usize, round: &mut usize| {
            *round += 1;
            ensure!(!fails(at, *round), "it stands still");
            let off = if (*round).is_multiple_of(2) { spread } else { -spread };
            Ok(vec![1.0 + if at == 0 { 0.0 } else { off }])
        };
        let again = |_, _| {
            started += 1;
            Ok(100)
        };
        settle(&plan, (time, &[STREAM]), &mut values, &mut ends, slice, again).unwrap();
        assert!(values[STREAM].iter().all(|of_level| of_level.len() == values[STREAM][0].len()));
        (values[STREAM][0].len(), started)
    }

    #[test]
    fn there_are_rounds_until_the_intervals_are_narrow_or_time_is_up() {
        assert_eq!(rounds(0.01, FOREVER, |_, _| false), (5, 0));
        assert_eq!(rounds(0.4, Duration::ZERO, |_, _| false), (1, 0));
    }

    #[test]
    fn a_round_in_which_a_slice_fails_does_not_count_and_its_level_starts_again() {
        assert_eq!(rounds(0.01, FOREVER, |at, round| (at, round) == (2, 3)), (5, 1));
    }
}
