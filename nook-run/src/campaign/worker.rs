//! What tries faults: a process that reads numbers of trials and writes a line for each. Alone in its process, so that
//! a death, or what stays behind, has one cause.

use std::io::{self, BufRead, Write};

use anyhow::{Context, Result};
use nook_campaign::{BATCH, Begin, Campaign, Failure, Kind, Level, Planted, Record, Run, Trial};

use super::stage::{Compiled, Stage};
use super::trial;

/// What a worker says once it can begin.
pub const READY: &str = "ready";

/// The module of one batch, and the mistakes in it.
struct Batch {
    number: u64,
    compiled: Compiled,
    planted: Vec<Planted>,
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
        let batch = self.batch(number / BATCH)?;
        let compiled = match trial.kind {
            Kind::Code | Kind::Memory => batch.compiled.clone(),
            Kind::Device | Kind::Kernel => self.stage.pristine().clone(),
        };
        let planted = trial.slot.checked_sub(1).and_then(|at| self.batch.as_ref()?.planted.get(at as usize)).cloned();
        let transient = trial::run(&self.stage, &compiled, &trial, true)?;
        // In virtual time, and without a restart, it would be the same again.
        let restarted = matches!(trial.kind, Kind::Code)
            && (transient.level == Some(Level::Restart) || transient.outcome.is_detected());
        let persistent = if restarted { trial::run(&self.stage, &compiled, &trial, false)? } else { transient.clone() };
        Ok(record(&trial, planted.as_ref(), transient, persistent))
    }

    fn batch(&mut self, number: u64) -> Result<&Batch> {
        if self.batch.as_ref().is_none_or(|batch| batch.number != number) {
            let (compiled, planted) = self.stage.with_mistakes(&self.campaign.mistake_seeds(number))?;
            self.batch = Some(Batch { number, compiled, planted });
        }
        self.batch.as_ref().context("there is no batch")
    }
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
