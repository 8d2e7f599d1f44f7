//! What tries faults: a process that reads numbers of trials and writes a line for each. Alone in its process, so that
//! a death, or what stays behind, has one cause.

use std::io::{self, BufRead, Write};

use anyhow::{Context, Result, bail};
use nook_campaign::{
    BATCH, Begin, Campaign, Failure, Kind, Level, MachineMistake, Outcome, Planted, Record, Run, Trial,
};
use nook_mpk::MpkError;
use rustix::process::{Resource, Rlimit, setrlimit};

use super::object::{HANGS_CPU_S, ObjectFile};
use super::stage::{Compiled, Stage};
use super::trial;

/// What a worker says once it can begin.
pub const READY: &str = "ready";

/// After a trial's number: only a trap is put in the place of its mistake.
pub const TRAPPED: &str = " trapped";

/// Before why a trial could not be made, in the place of its record.
pub const NOT_MADE: &str = "not made: ";

/// Address space of a process in which a native driver runs.
const SPACE_BYTES: u64 = 8 << 30;

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
    /// Creates one, once the driver was seen to work, if that is asked for.
    ///
    /// # Errors
    /// If it does not.
    pub fn new(stage: Stage, campaign: Campaign, seen_to_work: bool) -> Result<Self> {
        if seen_to_work {
            trial::without_fault(&stage)?;
        }
        Ok(Worker { stage, campaign, batch: None })
    }

    /// Tries one fault.
    ///
    /// # Errors
    /// If it could not be tried.
    pub fn record(&mut self, number: u64) -> Result<Record> {
        let trial = self.campaign.trial(number);
        if trial.kind == Kind::Code && self.stage.object.is_some() {
            return self.in_machine_code(Trial { begin: Begin::Start, slot: 0, ..trial });
        }
        let (compiled, planted) = match trial.kind {
            Kind::Code | Kind::Memory => match self.batch(number / BATCH)? {
                Ok((compiled, all)) => {
                    (compiled.clone(), trial.slot.checked_sub(1).and_then(|at| all.get(at as usize)).cloned())
                }
                Err(why) => return Ok(not_made(&trial, why)),
            },
            Kind::Device | Kind::Kernel => (self.stage.pristine().clone(), None),
        };
        let (transient, persistent) = self.both_ways(&compiled, &trial)?;
        Ok(record(&trial, planted.as_ref(), transient, persistent))
    }

    fn both_ways(&self, compiled: &Compiled, trial: &Trial) -> Result<(Run, Run)> {
        let transient = trial::run(&self.stage, compiled, trial, true)?;
        // In virtual time, and without a restart, it would be the same again. Where the driver runs in this process, a
        // second trial would have two causes.
        let is_sacrificed = self.stage.object.as_ref().is_some_and(ObjectFile::is_unprotected);
        let restarted = matches!(trial.kind, Kind::Code)
            && !is_sacrificed
            && (transient.level == Some(Level::Restart) || transient.outcome.is_detected());
        let persistent = if restarted { trial::run(&self.stage, compiled, trial, false)? } else { transient.clone() };
        Ok((transient, persistent))
    }

    /// Tries a mistake in machine code. Where the driver runs in this process, its place is known to be reached.
    fn in_machine_code(&self, trial: Trial) -> Result<Record> {
        let object = self.stage.object.as_ref().context("it is a module")?;
        let mistake = object.mistake(trial.seed)?;
        if !object.is_unprotected() && !self.is_reached(&trial, &mistake)? {
            let run = Run::not_activated();
            return Ok(machine_record(&trial, &mistake, run.clone(), run));
        }
        let mistaken = match self.stage.with_object(|file| mistake.make(file)) {
            Ok(mistaken) => mistaken,
            // What could leave a protection key's domain is not loaded.
            Err(error) if error.is::<MpkError>() => {
                let run = Run { outcome: Outcome::Refused, report: Some(error.to_string()), ..Run::not_activated() };
                return Ok(machine_record(&trial, &mistake, run.clone(), run));
            }
            Err(error) => return Err(error),
        };
        let (transient, persistent) = self.both_ways(&mistaken, &trial)?;
        Ok(machine_record(&trial, &mistake, transient, persistent))
    }

    fn is_reached(&self, trial: &Trial, mistake: &MachineMistake) -> Result<bool> {
        trial::is_reached(&self.stage, &self.stage.with_object(|file| mistake.trap(file))?, trial)
    }

    /// Puts a trap in the place of a trial's mistake; returns if it was not reached, with the trial's record.
    fn trapped(&self, number: u64) -> Result<Record> {
        let trial = Trial { begin: Begin::Start, slot: 0, ..self.campaign.trial(number) };
        let mistake = self.stage.object.as_ref().context("it is a module")?.mistake(trial.seed)?;
        if self.is_reached(&trial, &mistake)? {
            bail!("a trap was reached and did not end this process");
        }
        let run = Run::not_activated();
        Ok(machine_record(&trial, &mistake, run.clone(), run))
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
    let run = Run::not_activated();
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

/// Returns the record of a trial with a mistake in machine code.
pub fn machine_record(trial: &Trial, mistake: &MachineMistake, transient: Run, persistent: Run) -> Record {
    let (class, what) = (mistake.class.name().to_owned(), mistake.what.clone());
    Record { class, what, ..record(trial, None, transient, persistent) }
}

/// Bounds what a driver that runs in this process can take from the system.
fn be_sacrificed() -> Result<()> {
    let limits = [(Resource::Cpu, HANGS_CPU_S), (Resource::As, SPACE_BYTES), (Resource::Core, 0)];
    for (resource, most) in limits {
        let limit = Rlimit { current: Some(most), maximum: Some(most) };
        setrlimit(resource, limit).context("cannot limit what this process takes")?;
    }
    Ok(())
}

/// Serves a campaign in another process: numbers in, lines out, until there is no more input.
///
/// # Errors
/// If the driver does not work, or nobody is there who asks.
pub fn serve(mut worker: Worker) -> Result<()> {
    if worker.stage.object.as_ref().is_some_and(ObjectFile::is_unprotected) {
        be_sacrificed()?;
    }
    let mut out = io::stdout().lock();
    writeln!(out, "{READY}").and_then(|()| out.flush()).context("standard output")?;
    for line in io::stdin().lock().lines() {
        let line = line.context("standard input")?;
        let (number, trapped) = match line.strip_suffix(TRAPPED) {
            Some(number) => (number, true),
            None => (&line[..], false),
        };
        let number = number.parse().context("standard input is no number of a trial")?;
        let record = if trapped { worker.trapped(number) } else { worker.record(number) };
        let text = match record {
            Ok(record) => serde_json::to_string(&record).context("the record of a trial")?,
            Err(error) => format!("{NOT_MADE}{error:#}").replace('\n', " "),
        };
        writeln!(out, "{text}").and_then(|()| out.flush()).context("standard output")?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use nook_campaign::Outcome;

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
