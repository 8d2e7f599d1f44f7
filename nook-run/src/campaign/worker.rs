//! What tries faults: a process that reads numbers of trials and writes a line for each. Alone in its process, so that
//! a death, or what stays behind, has one cause.

use std::io::{self, BufRead, Write};

use anyhow::{Context, Result};
use nook_campaign::{BATCH, Begin, Campaign, Failure, Kind, Level, Outcome, Planted, Record, Run, Trial};

use super::stage::{Compiled, Stage};
use super::trial;

/// What a worker says once it can begin.
pub const READY: &str = "ready";

/// The module of one batch and the mistakes in it, or why there is none.
struct Batch {
    number: u64,
    made: Result<(Compiled, Vec<Planted>), String>,
}

/// Tries faults of one campaign with one driver.
pub struct Worker {
    stage: Stage,
    campaign: Campaign,
    batch: Option<Batch>,
}

impl Worker {
    /// Creates one, once the driver was seen to work.
    ///
    /// # Errors
    /// If it does not.
    pub fn new(stage: Stage, campaign: Campaign) -> Result<Self> {
        trial::without_fault(&stage)?;
        Ok(Worker { stage, campaign, batch: None })
    }

    /// Tries one fault.
    ///
    /// # Errors
    /// If it could not be tried.
    pub fn record(&mut self, number: u64) -> Result<Record> {
        let trial = self.campaign.trial(number);
        let (compiled, planted) = match trial.kind {
            Kind::Code | Kind::Memory => match self.batch(number / BATCH)? {
                Ok((compiled, all)) => {
                    (compiled.clone(), trial.slot.checked_sub(1).and_then(|at| all.get(at as usize)).cloned())
                }
                Err(why) => return Ok(not_made(&trial, why)),
            },
            Kind::Device | Kind::Kernel => (self.stage.pristine().clone(), None),
        };
        let transient = trial::run(&self.stage, &compiled, &trial, true)?;
        // In virtual time, and without a restart, it would be the same again.
        let restarted = matches!(trial.kind, Kind::Code)
            && (transient.level == Some(Level::Restart) || transient.outcome.is_detected());
        let persistent = if restarted { trial::run(&self.stage, &compiled, &trial, false)? } else { transient.clone() };
        Ok(record(&trial, planted.as_ref(), transient, persistent))
    }

    fn batch(&mut self, number: u64) -> Result<&Result<(Compiled, Vec<Planted>), String>> {
        if self.batch.as_ref().is_none_or(|batch| batch.number != number) {
            let made = self.stage.with_mistakes(&self.campaign.mistake_seeds(number));
            self.batch = Some(Batch { number, made: made.map_err(|error| format!("{error:#}")) });
        }
        Ok(&self.batch.as_ref().context("there is no batch")?.made)
    }
}

/// Returns the record of a trial whose fault cannot be put into the driver: it counts as not activated.
fn not_made(trial: &Trial, why: &str) -> Record {
    let run = Run {
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
    };
    let what = format!("not made, for its batch's mistakes cannot be put into the driver: {why}");
    Record { class: "not_made".into(), what, ..record(trial, None, run.clone(), run) }
}

pub fn record(trial: &Trial, planted: Option<&Planted>, transient: Run, persistent: Run) -> Record {
    let (class, what) = match (planted, trial.failure) {
        (Some(planted), _) => (planted.class.name().to_owned(), planted.what.clone()),
        (None, Some((failure, extent))) => {
            let class = match failure {
                Failure::Device(class) => class.name(),
                Failure::Kernel(class) => class.name(),
            };
            (class.to_owned(), extent.text())
        }
        (None, None) => ("bit_flip".into(), "one bit of the driver's memory".into()),
    };
    Record {
        trial: trial.number,
        kind: trial.kind,
        class,
        what,
        offset: planted.map(|planted| planted.offset),
        from_start: trial.begin == Begin::Start,
        transient,
        persistent,
    }
}

/// Serves a campaign in another process: numbers in, lines out, until there is no more input.
///
/// # Errors
/// If the driver does not work, or a trial could not be made.
pub fn serve(mut worker: Worker) -> Result<()> {
    let mut out = io::stdout().lock();
    writeln!(out, "{READY}").and_then(|()| out.flush()).context("standard output")?;
    for line in io::stdin().lock().lines() {
        let number = line.context("standard input")?.parse().context("standard input is no number of a trial")?;
        let record = worker.record(number).with_context(|| format!("trial {number}"))?;
        let text = serde_json::to_string(&record).context("the record of a trial")?;
        writeln!(out, "{text}").and_then(|()| out.flush()).context("standard output")?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_trial_that_cannot_be_made_counts_as_not_activated_and_says_why() {
        let campaign = Campaign { seed: 1, kinds: vec![Kind::Code] };
        let record = not_made(&campaign.trial(5), "the module is too large");
        assert_eq!((record.trial, record.kind, &record.class[..]), (5, Kind::Code, "not_made"));
        assert_eq!((record.transient.outcome, record.persistent.hits), (Outcome::NotActivated, 0));
        assert!(record.what.ends_with("the module is too large"), "{}", record.what);
    }
}
