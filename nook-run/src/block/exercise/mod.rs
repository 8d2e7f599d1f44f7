//! The exercise: reads and writes a disk from within the process, and knows what has to be there.
//!
//! The disk is cut up into units of one length. What a unit holds says which one it is and how often it was written,
//! so that an old one, one from elsewhere and one in two parts are different things. What was acknowledged has to be
//! read.

mod pattern;
#[cfg(test)]
mod tests;

use std::collections::HashMap;
use std::io;
use std::os::fd::RawFd;

use nook_block_api::{BlockBackend, Geometry, Op, Outcome, Request};
use nook_bus::{Clock, VolatileSlice};
use nook_seed::Rng;
use serde::Serialize;

use self::pattern::Wrong;

/// The most bytes that are used, from the disk's beginning.
const REGION_BYTES: u64 = 64 << 20;
/// Mistakes that are logged one by one.
const LOGGED: u64 = 10;

/// A part of the exercise.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Step {
    /// Reads units anywhere.
    Read,
    /// Writes units anywhere.
    Write,
    /// Reads each unit that was written, and compares.
    Verify,
    /// Writes a unit and makes it durable, one after the other.
    Fsync,
}

/// What is to be done.
#[derive(Clone, Debug)]
pub struct Plan {
    /// In this order.
    pub steps: Vec<Step>,
    /// Requests at a time; a step `Fsync` has one.
    pub depth: u32,
    /// Bytes of a unit: at least 512, a power of two.
    pub unit_bytes: u32,
    /// How many requests a step has, if it is not `Verify`,
    pub requests: u64,
    /// and for how long it goes on at least, in nanoseconds.
    pub at_least_ns: u64,
    /// Of places and content.
    pub seed: u64,
}

/// What came of a step.
#[derive(Clone, Debug, Serialize)]
pub struct StepReport {
    /// Which.
    pub step: Step,
    /// Requests that were done; of `fsync`, pairs of a write and a flush.
    pub requests: u64,
    /// Bytes in them.
    pub bytes: u64,
    /// How long it took.
    pub duration_ns: u64,
    /// How long half of the requests took at most, and so on.
    pub p50_ns: u64,
    /// As above.
    pub p99_ns: u64,
    /// As above.
    pub p999_ns: u64,
    /// As above, all of them.
    pub most_ns: u64,
    /// Requests that were answered with an error.
    pub errors: u64,
    /// Units that did not hold what had been written.
    pub wrong: u64,
}

/// A request that was asked.
struct Asked {
    op: Op,
    unit: u64,
    generation: u32,
    at_ns: u64,
}

/// The step that runs.
struct Running {
    begun_ns: u64,
    asked: u64,
    done: u64,
    errors: u64,
    wrong: u64,
    latencies: Vec<u64>,
}

/// The exercise of one disk.
pub struct Exercise {
    plan: Plan,
    clock: Clock,
    rng: Rng,
    units: u64,
    unit_blocks: u32,
    running: Option<Running>,
    reports: Vec<StepReport>,
    in_flight: HashMap<u64, Asked>,
    next_id: u64,
    /// How often each unit was written: what it has to hold. 0 is never.
    generations: Vec<u32>,
    /// Units that are being written.
    busy: Vec<bool>,
    /// Units of which it is not known what they hold: a write of them was answered with an error.
    unknown: Vec<bool>,
    /// Of `Fsync`: a write is done, and the flush is to follow: when it was asked.
    unflushed: Option<u64>,
    /// Why it cannot go on.
    error: Option<String>,
    buffer: Vec<u8>,
}

impl Exercise {
    /// Creates one that has not begun.
    pub fn new(plan: Plan, clock: Clock) -> Self {
        Exercise {
            rng: Rng::new(plan.seed),
            buffer: vec![0; plan.unit_bytes as usize],
            plan,
            clock,
            units: 0,
            unit_blocks: 0,
            running: None,
            reports: Vec::new(),
            in_flight: HashMap::new(),
            next_id: 0,
            generations: Vec::new(),
            busy: Vec::new(),
            unknown: Vec::new(),
            unflushed: None,
            error: None,
        }
    }

    /// Returns whether nothing is left to be done.
    pub fn is_over(&self) -> bool {
        (self.error.is_some() || self.reports.len() == self.plan.steps.len()) && self.in_flight.is_empty()
    }

    /// Returns why it could not go on.
    pub fn error(&self) -> Option<&str> {
        self.error.as_deref()
    }

    /// Returns what came of the steps that are over.
    pub fn reports(&self) -> &[StepReport] {
        &self.reports
    }

    /// Returns whether all of it was done and everything was as it has to be.
    pub fn went_well(&self) -> bool {
        self.is_over() && self.error.is_none() && self.reports.iter().all(|it| it.errors == 0 && it.wrong == 0)
    }

    fn step(&self) -> Option<Step> {
        self.plan.steps.get(self.reports.len()).copied().filter(|_| self.error.is_none() && self.units > 0)
    }

    /// Returns what a step asks next.
    fn ask(&mut self, step: Step, now_ns: u64) -> Option<(Op, u64)> {
        let Running { asked, begun_ns, .. } = *self.running.as_ref()?;
        let Plan { depth, requests, at_least_ns, .. } = self.plan;
        let in_flight = self.in_flight.len();
        let ends = asked >= requests && now_ns >= begun_ns + at_least_ns;
        match step {
            Step::Fsync if in_flight > 0 => None,
            Step::Fsync if self.unflushed.is_some() => Some((Op::Flush, 0)),
            Step::Verify => {
                // `asked` counts what was looked at, written or not.
                let unit = (asked..self.units).find(|&unit| self.generations[unit as usize] > 0)?;
                if in_flight >= depth as usize {
                    return None;
                }
                self.running.as_mut()?.asked = unit;
                Some((Op::Read, unit))
            }
            _ if ends || in_flight >= depth as usize => None,
            Step::Read => Some((Op::Read, self.rng.index(self.units as usize) as u64)),
            Step::Write | Step::Fsync => {
                // As many units are busy as there are requests at a time, which are far fewer than units.
                let mut unit = self.rng.index(self.units as usize);
                while self.busy[unit] {
                    unit = (unit + 1) % self.units as usize;
                }
                Some((Op::Write, unit as u64))
            }
        }
    }

    fn request(&mut self, op: Op, unit: u64, now_ns: u64) -> Request {
        let id = self.next_id;
        self.next_id += 1;
        if let Some(running) = self.running.as_mut().filter(|_| op != Op::Flush) {
            running.asked += 1;
        }
        let mut generation = self.generations[unit as usize];
        let mut at_ns = now_ns;
        match op {
            Op::Write => {
                generation += 1;
                self.busy[unit as usize] = true;
            }
            Op::Flush => at_ns = self.unflushed.take().unwrap_or(now_ns),
            _ => {}
        }
        self.in_flight.insert(id, Asked { op, unit, generation, at_ns });
        let (first, blocks) =
            if op == Op::Flush { (0, 0) } else { (unit * u64::from(self.unit_blocks), self.unit_blocks) };
        Request { id, op, first, blocks, fua: false }
    }

    /// Ends a step that has nothing left to ask and to wait for.
    fn end_step(&mut self, step: Step, now_ns: u64) {
        let Some(Running { begun_ns, done, errors, wrong, mut latencies, .. }) = self.running.take() else { return };
        latencies.sort_unstable();
        let at = |per_mille: usize| {
            let index = (latencies.len() * per_mille).div_ceil(1000).saturating_sub(1);
            latencies.get(index).copied().unwrap_or(0)
        };
        self.reports.push(StepReport {
            step,
            requests: done,
            bytes: done * u64::from(self.plan.unit_bytes),
            duration_ns: now_ns.saturating_sub(begun_ns),
            p50_ns: at(500),
            p99_ns: at(990),
            p999_ns: at(999),
            most_ns: latencies.last().copied().unwrap_or(0),
            errors,
            wrong,
        });
    }

    fn check(&mut self, unit: u64, generation: u32, data: &VolatileSlice<'_>) -> bool {
        if generation == 0 || self.unknown[unit as usize] {
            return true;
        }
        data.copy_to(&mut self.buffer);
        let wrong = match pattern::check(&self.buffer, self.plan.seed, unit, generation.into()) {
            Ok(()) => return true,
            Err(wrong) => wrong,
        };
        let logged = self.running.as_ref().map_or(0, |running| running.wrong);
        if logged < LOGGED {
            let blocks = self.unit_blocks;
            let first = unit * u64::from(blocks);
            match wrong {
                Wrong::Other { unit: other, generation: found } => tracing::error!(
                    "blocks {first} to {}: they hold generation {found} of what was written at block {}, and should \
                     hold generation {generation}",
                    first + u64::from(blocks) - 1,
                    other * u64::from(blocks)
                ),
                Wrong::Content(at) => tracing::error!(
                    "blocks {first} to {}: from byte {at} on they do not hold what was written as generation {generation}",
                    first + u64::from(blocks) - 1
                ),
            }
        }
        false
    }
}

impl BlockBackend for Exercise {
    fn attach(&mut self, geometry: &Geometry) -> io::Result<()> {
        let unit_bytes = self.plan.unit_bytes;
        let unit_blocks = unit_bytes / geometry.block_bytes;
        if unit_blocks == 0 || unit_blocks > geometry.max_blocks {
            self.error = Some(format!(
                "requests of {unit_bytes} bytes do not fit: blocks have {} bytes, and at most {} are moved at a time",
                geometry.block_bytes, geometry.max_blocks
            ));
            return Ok(());
        }
        let units = geometry.len_bytes().min(REGION_BYTES) / u64::from(unit_bytes);
        if units <= u64::from(self.plan.depth) {
            self.error = Some(format!("the disk has {} bytes, which is too small", geometry.len_bytes()));
            return Ok(());
        }
        if self.units == 0 {
            self.generations = vec![0; units as usize];
            self.busy = vec![false; units as usize];
            self.unknown = vec![false; units as usize];
        }
        (self.units, self.unit_blocks) = (units, unit_blocks);
        Ok(())
    }

    fn next(&mut self) -> io::Result<Option<Request>> {
        let now_ns = self.clock.now_ns();
        while let Some(step) = self.step() {
            self.running.get_or_insert_with(|| Running {
                begun_ns: now_ns,
                asked: 0,
                done: 0,
                errors: 0,
                wrong: 0,
                latencies: Vec::new(),
            });
            if let Some((op, unit)) = self.ask(step, now_ns) {
                return Ok(Some(self.request(op, unit, now_ns)));
            }
            if !self.in_flight.is_empty() || self.unflushed.is_some() {
                return Ok(None);
            }
            self.end_step(step, now_ns);
        }
        Ok(None)
    }

    fn fill(&mut self, id: u64, buffer: VolatileSlice<'_>) -> io::Result<()> {
        if let Some(Asked { unit, generation, .. }) = self.in_flight.get(&id) {
            pattern::fill(&mut self.buffer, self.plan.seed, *unit, (*generation).into());
            buffer.copy_from(&self.buffer);
        }
        Ok(())
    }

    fn complete(&mut self, id: u64, outcome: Outcome, data: Option<VolatileSlice<'_>>) -> io::Result<()> {
        let now_ns = self.clock.now_ns();
        let Some(Asked { op, unit, generation, at_ns }) = self.in_flight.remove(&id) else {
            return Err(io::Error::other(format!("request {id} was answered and is not open")));
        };
        let done = outcome == Outcome::Done;
        let mut right = true;
        match op {
            Op::Write => {
                self.busy[unit as usize] = false;
                self.generations[unit as usize] = generation;
                self.unknown[unit as usize] = !done;
            }
            Op::Read if done => right = data.is_some_and(|data| self.check(unit, generation, &data)),
            _ => {}
        }
        let fsync = self.step() == Some(Step::Fsync);
        let Some(running) = &mut self.running else { return Ok(()) };
        running.wrong += u64::from(!right);
        if !done {
            running.errors += 1;
        } else if fsync && op == Op::Write {
            self.unflushed = Some(at_ns);
        } else {
            running.done += 1;
            running.latencies.push(now_ns.saturating_sub(at_ns));
        }
        Ok(())
    }

    fn detach(&mut self) -> io::Result<()> {
        if !self.is_over() {
            self.error = Some("there is no disk any more".into());
        }
        Ok(())
    }

    fn service(&mut self, now_ns: u64) -> io::Result<Option<u64>> {
        // It always has something to ask, or waits for what it asked.
        let asks = self.step().is_some() && self.in_flight.len() < self.plan.depth as usize;
        Ok(asks.then_some(now_ns + 1_000_000))
    }

    fn event_fds(&self, _: &mut Vec<RawFd>) {}
}
