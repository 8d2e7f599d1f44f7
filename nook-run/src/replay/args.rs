//! Options about recordings.

use std::path::PathBuf;

/// Of a run.
#[derive(Clone, Debug, clap::Args)]
pub struct RunRecord {
    /// Records to this file all that enters the driver, so that `nook-run replay FILE DRIVER` can run it again without
    /// the device. At sfi and sfi+txn; see docs/replay.md.
    #[arg(long, value_name = "FILE")]
    pub record: Option<PathBuf>,
}

/// `nook-run replay`.
#[derive(Debug, clap::Args)]
pub struct ReplayArgs {
    /// What --record wrote, or the folder of a crash bundle that has a recording.
    pub file: PathBuf,
    /// The driver's file: the one that was recorded, or one that was changed since. A bundle's is found without this
    /// while it is where it was.
    pub driver: Option<PathBuf>,
}
