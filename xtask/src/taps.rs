//! `cargo xtask taps`: TCP between two TAP interfaces through driver and model, beside a small forwarder, and beside
//! another build.

use std::process::Command;

use anyhow::Result;

use crate::against::Other;
use crate::{cargo, drivers, util};

/// What is measured, and how often.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Taps {
    /// For how long each stream runs, in seconds.
    pub seconds: Option<u32>,
    /// How many rounds there are.
    pub rounds: Option<u32>,
    /// A revision, or a folder with a checkout, whose build is measured too.
    pub against: Option<String>,
}

/// For how long each stream runs, in seconds, and how many rounds there are.
const USUAL: (u32, u32) = (5, 5);

/// Builds what is measured, and measures it.
pub fn run(taps: &Taps) -> Result<()> {
    let other = taps.against.as_deref().map(Other::find).transpose()?;
    let other_run = other.as_ref().map(|other| other.build("nook-run")).transpose()?;
    drivers::build_all()?;
    let nook_run = cargo::binary("nook-run")?;
    let (seconds, rounds) = (taps.seconds.unwrap_or(USUAL.0), taps.rounds.unwrap_or(USUAL.1));
    let mut measure = Command::new(cargo::binary("nook-taps")?);
    measure.args([seconds, rounds].map(|number| number.to_string()));
    measure.arg(nook_run).arg(util::root().join("target/drivers/e1000.wasm"));
    if let (Some(other), Some(nook_run)) = (other, other_run) {
        measure.arg(&other.name).arg(nook_run).arg(other.tree.join("target/drivers/e1000.wasm"));
    }
    util::run(&mut measure)
}
