//! What is measured, suite by suite. Each notes its figures, ratios and sweeps in the report.

mod crossings;
mod disks;
mod nooks;
mod polls;
mod settings;
mod snapshots;
mod touches;
mod undo;

use crate::levels::{LEVELS, Level};
use crate::sample::{Effort, Estimate, Samples};
use crate::{Curve, Machine, Report, Sweep, crossover, ticks};

pub(crate) use settings::WORK as SETTINGS_WORK;

/// How thorough a run is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Extent {
    /// A few rounds, for a test that only wants to see the report whole.
    Tiny,
    /// Minutes.
    Quick,
    /// Longer.
    Full,
}

impl Extent {
    /// As reports call it.
    pub fn name(self) -> &'static str {
        match self {
            Extent::Tiny => "tiny",
            Extent::Quick => "quick",
            Extent::Full => "full",
        }
    }

    /// For suites with many subjects.
    fn effort(self) -> Effort {
        match self {
            Extent::Tiny => Effort { rounds: 3, sample_ns: 10_000 },
            Extent::Quick => Effort { rounds: 150, sample_ns: 150_000 },
            Extent::Full => Effort { rounds: 300, sample_ns: 200_000 },
        }
    }
}

/// A suite: what it is called while it runs, and what runs.
type Suite = (&'static str, fn(&mut Report, Extent));

/// Everything that needs no root.
const SUITES: &[Suite] = &[
    ("crossings", crossings::measure),
    ("poll", polls::measure),
    ("disk-requests", disks::measure),
    ("touch", touches::measure),
    ("settings", settings::measure),
    ("undo-log", undo::measure),
    ("snapshots", snapshots::measure),
    ("nooks", nooks::measure),
];

/// What is measured of disks without NBD, and what their drivers log.
pub const OF_DISKS: &[&str] = &["disk-requests", "undo-log"];

/// Returns the suites' names.
pub fn names() -> impl Iterator<Item = &'static str> {
    SUITES.iter().map(|(name, _)| *name)
}

/// Measures everything that needs no root; `tell` hears what is being measured.
pub fn measure(extent: Extent, tell: impl FnMut(&str)) -> Report {
    let mut report = Report { extent: extent.name().into(), machine: Machine::this(), ..Report::default() };
    measure_suites(&mut report, extent, &names().collect::<Vec<_>>(), tell);
    report
}

/// Measures the suites of these names, in place of what the report had of them.
pub fn measure_suites(report: &mut Report, extent: Extent, wanted: &[&str], mut tell: impl FnMut(&str)) {
    let obstacles = LEVELS.iter().filter_map(|level| Some((level.name, level.obstacle()?)));
    for (level, why) in obstacles {
        let what = format!("level {level}: {why}");
        if !report.left_out.contains(&what) {
            report.left_out.push(what);
        }
    }
    for (name, measure) in SUITES.iter().filter(|(name, _)| wanted.contains(name)) {
        tell(name);
        measure(report, extent);
    }
}

/// From ticks to nanoseconds.
fn ns(samples: &[f64]) -> Estimate {
    Estimate::of(samples).scaled(1.0 / ticks::per_ns())
}

/// Notes a figure for each level, in nanoseconds, and the ratio of every two: `name_sfi_native`.
fn note_levels(report: &mut Report, name: &str, levels: &[Level], samples: &[Vec<f64>]) {
    for (level, samples) in levels.iter().zip(samples) {
        report.figure(&format!("{name}_{}", level.key()), ns(samples), "ns");
    }
    for (at, level) in levels.iter().enumerate() {
        for (base, of_base) in levels.iter().zip(samples).take(at) {
            report.ratio(&format!("{name}_{}_{}", level.key(), base.key()), &samples[at], of_base);
        }
    }
}

/// What a sweep is about.
struct Axis<'a> {
    name: &'a str,
    title: &'a str,
    x_label: &'a str,
    each: Option<&'a str>,
    sizes: &'a [u32],
}

/// Notes a sweep over levels and the cross-over of every two: `samples[level * sizes + size]`.
fn note_sweep(report: &mut Report, axis: &Axis<'_>, levels: &[Level], samples: &[Vec<f64>]) {
    let Axis { name, title, x_label, each, sizes } = *axis;
    let xs: Vec<f64> = sizes.iter().map(|&size| size.into()).collect();
    let costs: Vec<&[Vec<f64>]> = samples.chunks(sizes.len()).collect();
    let curve = |(level, costs): (&Level, &&[Vec<f64>])| Curve {
        level: level.name.into(),
        ns: costs.iter().map(|samples| ns(samples)).collect(),
        ratio: costs.iter().zip(&samples[..sizes.len()]).map(|(of, to)| Estimate::ratio(of, to)).collect(),
    };
    let curves = levels.iter().zip(&costs).map(curve).collect();
    report.sweeps.retain(|sweep| sweep.name != name);
    report.crossovers.retain(|found| found.sweep != name);
    report.sweeps.push(Sweep {
        name: name.into(),
        title: title.into(),
        x_label: x_label.into(),
        each: each.map(Into::into),
        xs: xs.clone(),
        curves,
    });
    for (at, a) in levels.iter().enumerate() {
        for (b, of_b) in levels.iter().zip(&costs).skip(at + 1) {
            report.crossovers.push(crossover::find(name, &xs, (a.name, costs[at]), (b.name, of_b)));
        }
    }
}

/// Returns what lies between: the difference of two subjects in each round, divided by `count`.
fn beyond(samples: &Samples, of: usize, base: usize, among: u32) -> Vec<f64> {
    let pairs = samples.whole[of].iter().zip(&samples.whole[base]);
    pairs.map(|(of, base)| (of - base) / f64::from(among)).collect()
}
