//! What came of a trial.

use serde::{Deserialize, Serialize};

use crate::plan::Kind;

/// What came of a trial, the best first.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Outcome {
    /// The fault's place was never reached.
    NotActivated,
    /// It was, and nobody noticed anything: all frames came, as they were sent. Some may have been sent again.
    NoEffect,
    /// It was reported, and a flow completed within 5 s of the first report, without help.
    Recovered,
    /// The driver did not come up, and said so or was found out.
    Refused,
    /// It was reported, and the driver ended in quarantine.
    Quarantined,
    /// It was reported, and no flow completed within 5 s of the first report.
    NotRecovered,
    /// Traffic failed, and there was no report within 30 s.
    Undetected,
    /// The disk holds something else than was acknowledged, and something was reported: that, or something else.
    Damaged,
    /// What arrived was not what had been sent, or a disk holds something else than was acknowledged, without a report.
    SilentCorruption,
    /// Something outside the nook was harmed.
    HostHarmed,
}

impl Outcome {
    /// All of them.
    pub const ALL: [Outcome; 10] = [
        Outcome::NotActivated,
        Outcome::NoEffect,
        Outcome::Recovered,
        Outcome::Refused,
        Outcome::Quarantined,
        Outcome::NotRecovered,
        Outcome::Undetected,
        Outcome::Damaged,
        Outcome::SilentCorruption,
        Outcome::HostHarmed,
    ];

    /// Returns its name in reports.
    pub fn name(self) -> &'static str {
        match self {
            Outcome::NotActivated => "not_activated",
            Outcome::NoEffect => "no_effect",
            Outcome::Recovered => "recovered",
            Outcome::Refused => "refused",
            Outcome::Quarantined => "quarantined",
            Outcome::NotRecovered => "not_recovered",
            Outcome::Undetected => "undetected",
            Outcome::Damaged => "damaged",
            Outcome::SilentCorruption => "silent_corruption",
            Outcome::HostHarmed => "host_harmed",
        }
    }

    /// Returns whether the fault was reported.
    pub fn is_detected(self) -> bool {
        matches!(self, Outcome::Recovered | Outcome::Refused | Outcome::Quarantined | Outcome::NotRecovered)
    }
}

/// The highest level that recovery reached.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Level {
    /// One call was undone.
    Rollback,
    /// The driver went on from a snapshot.
    SnapshotRestore,
    /// A fresh instance took over.
    Restart,
}

/// What came of a fault, once.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Run {
    /// In a word.
    pub outcome: Outcome,
    /// How far recovery went, if there was one.
    pub level: Option<Level>,
    /// How often the fault's place was reached.
    pub hits: u64,
    /// The first report, in words.
    pub report: Option<String>,
    /// How many reports there were.
    pub reports: u64,
    /// From the first frame that failed, or else from the fault, to the first report.
    pub detection_ns: Option<u64>,
    /// From the first report, or the first frame that failed if that was before, until a flow had completed.
    pub downtime_ns: Option<u64>,
    /// Times that a frame was lost, or a request was not done, and it was sent again.
    pub lost: u64,
    /// Frames that arrived more than once.
    pub duplicates: u64,
    /// Frames that arrived changed, or that nobody had sent; reads that gave something else than was written.
    pub corrupted: u64,
    /// Blocks of the disk that hold something else in the end than was acknowledged.
    pub damaged: u64,
    /// What of the host was harmed.
    pub harm: Option<String>,
    /// How the process ended in which it was tried, if it did.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub death: Option<Death>,
}

/// How a process ended in which a fault was tried.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Death {
    /// By a signal, or by itself.
    Crashed,
    /// It did not come to an end.
    Hung,
}

impl Run {
    /// Of a fault whose place was never reached.
    pub fn not_activated() -> Self {
        Run {
            outcome: Outcome::NotActivated,
            level: None,
            hits: 0,
            report: None,
            reports: 0,
            detection_ns: None,
            downtime_ns: None,
            lost: 0,
            duplicates: 0,
            corrupted: 0,
            damaged: 0,
            harm: None,
            death: None,
        }
    }

    /// Of a fault with which the process ended in which it was tried.
    pub fn died(death: Death, harm: String) -> Self {
        let harm = Some(harm);
        Run { outcome: Outcome::HostHarmed, hits: 1, harm, death: Some(death), ..Run::not_activated() }
    }
}

/// A trial with what came of it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Record {
    /// Its number in the campaign.
    pub trial: u64,
    /// Where the fault was.
    pub kind: Kind,
    /// Of which class.
    pub class: String,
    /// What it was, in words.
    pub what: String,
    /// Where in the driver's file, in bytes, if it was a mistake in code.
    pub offset: Option<usize>,
    /// Whether it was there from the start; otherwise it began amid traffic.
    pub from_start: bool,
    /// If a restart loads the driver without the fault.
    pub transient: Run,
    /// If it stays.
    pub persistent: Run,
}
