//! What was found: `target/bench-report/report.json`.

mod machine;

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::crossover::Crossover;
use crate::paper::overload::Load;
use crate::sample::Estimate;

pub use machine::Machine;

/// All of a run's results.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub struct Report {
    /// "quick" or "full".
    pub extent: String,
    /// Where it was measured.
    pub machine: Machine,
    /// One number for each comparison, under a name that stays the same from run to run: the first level's cost over
    /// the second one's, unless `spreads` says that more is better.
    pub ratios: BTreeMap<String, f64>,
    /// How far each of the ratios can be trusted.
    pub spreads: BTreeMap<String, Spread>,
    /// Absolute figures of this run: on a busy machine they say little, and nothing is judged by them that a ratio
    /// could say.
    pub figures: BTreeMap<String, Figure>,
    /// Costs over sizes.
    pub sweeps: Vec<Sweep>,
    /// Where the curves of two levels cross.
    pub crossovers: Vec<Crossover>,
    /// What arrives when more is offered than can be carried.
    #[serde(default)]
    pub overload: Vec<Load>,
    /// The earlier build that this one was compared with, if it was.
    #[serde(default)]
    pub against: Option<String>,
    /// What was not measured, and why.
    pub left_out: Vec<String>,
    /// How long it took, in nanoseconds.
    pub duration_ns: u64,
}

/// A ratio's uncertainty.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct Spread {
    /// The estimate.
    #[serde(flatten)]
    pub estimate: Estimate,
    /// Whether a larger ratio is the better one.
    pub more_is_better: bool,
}

/// A figure with a unit.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Figure {
    /// The estimate.
    #[serde(flatten)]
    pub estimate: Estimate,
    /// Of the estimate.
    pub unit: String,
}

/// Costs of several levels over sizes.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Sweep {
    /// A short name: "poll".
    pub name: String,
    /// For a heading.
    pub title: String,
    /// What the sizes are.
    pub x_label: String,
    /// What a call's cost is divided among, if the sizes count such things: "packet".
    pub each: Option<String>,
    /// The sizes.
    pub xs: Vec<f64>,
    /// A curve for each level; nanoseconds a call.
    pub curves: Vec<Curve>,
}

/// One level's costs.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Curve {
    /// The level's name.
    pub level: String,
    /// Nanoseconds a call, for each size.
    pub ns: Vec<Estimate>,
    /// The ratio to the first level.
    pub ratio: Vec<Estimate>,
}

impl Report {
    /// Notes the ratio of two costs.
    pub fn ratio(&mut self, name: &str, of: &[f64], to: &[f64]) {
        self.note_ratio(name, Estimate::ratio(of, to), false);
    }

    /// Notes a ratio.
    pub fn note_ratio(&mut self, name: &str, estimate: Estimate, more_is_better: bool) {
        self.ratios.insert(name.into(), estimate.value);
        self.spreads.insert(name.into(), Spread { estimate, more_is_better });
    }

    /// Notes a figure.
    pub fn figure(&mut self, name: &str, estimate: Estimate, unit: &str) {
        self.figures.insert(name.into(), Figure { estimate, unit: unit.into() });
    }
}
