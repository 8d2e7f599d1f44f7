//! [`Supervisor`]: a nook that comes back.

use nook_abi::Fault;
use nook_runtime::{Nook, NookError, Turn, Undone, Uplink, now_ns};

use crate::bundle::{Bundles, Circumstances};
use crate::policy::{History, Verdict};
use crate::trouble::{Progress, Relief, SINGLE_POLLS, Step, Trouble};
use crate::{BundleConfig, Downtime, Policy};

/// A nook that was ended for good. Its device is quiet and its interface down.
#[derive(Debug, thiserror::Error)]
#[error("the driver is in quarantine after {restarts} restarts: {last}")]
pub struct Quarantine {
    /// How often it had been restarted.
    pub restarts: u64,
    /// What it did last.
    #[source]
    pub last: NookError,
}

/// What came of a fault.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// The call was taken back, and the same instance went on.
    TakenBack {
        /// Nanoseconds from the end of the call until everything was as before it.
        after_ns: u64,
    },
    /// A fresh instance took over.
    Restarted {
        /// Nanoseconds from the end of the call until it had opened the interface.
        after_ns: u64,
    },
    /// No instance runs, or none yet.
    Ended,
}

/// One fault, and what was done about it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Recovery {
    /// The fault, in words.
    pub fault: String,
    /// When it came, in nanoseconds of CLOCK_MONOTONIC.
    pub at_ns: u64,
    /// What came of it.
    pub outcome: Outcome,
}

/// Faults that are kept for the report; later ones are only counted.
const KEPT: usize = 256;

/// Drives a nook and restarts its driver after faults, as the policy allows.
pub struct Supervisor<U> {
    nook: Nook<U>,
    policy: Policy,
    history: History,
    recoveries: Vec<Recovery>,
    faults: u64,
    restarts: u64,
    pending: Option<Pending>,
    bundles: Option<Bundles>,
    trouble: Trouble,
    rollbacks: Downtime,
    restart_times: Downtime,
}

/// A fault that is waited out: the instance is gone, the device quiet.
struct Pending {
    /// When it came.
    at_ns: u64,
    /// When to restart.
    due_ns: u64,
    /// Which of the recoveries is this one's, if it was kept.
    kept: Option<usize>,
}

impl<U: Uplink> Supervisor<U> {
    /// A supervisor for a nook that was not started yet.
    pub fn new(nook: Nook<U>, policy: Policy) -> Self {
        Supervisor {
            nook,
            policy,
            history: History::default(),
            recoveries: Vec::new(),
            faults: 0,
            restarts: 0,
            pending: None,
            bundles: None,
            trouble: Trouble::default(),
            rollbacks: Downtime::default(),
            restart_times: Downtime::default(),
        }
    }

    /// From here on faults leave crash bundles.
    pub fn leave_bundles(&mut self, config: BundleConfig) {
        self.nook.keep_memory(config.memory);
        self.bundles = Some(Bundles::new(config));
    }

    /// Waits until bundles that are being written are there.
    pub fn finish_bundles(&mut self) {
        self.bundles.iter_mut().for_each(Bundles::finish);
    }

    /// The nook.
    pub fn nook(&self) -> &Nook<U> {
        &self.nook
    }

    /// The same, to be changed.
    pub fn nook_mut(&mut self) -> &mut Nook<U> {
        &mut self.nook
    }

    /// What happened first, oldest first: of a driver that faults very often not every fault is kept.
    pub fn recoveries(&self) -> &[Recovery] {
        &self.recoveries
    }

    /// How many faults there were.
    pub fn faults(&self) -> u64 {
        self.faults
    }

    /// How often the driver was restarted.
    pub fn restarts(&self) -> u64 {
        self.restarts
    }

    /// How long it took, from the end of a call that faulted, until everything was as before it.
    pub fn rollbacks(&self) -> &Downtime {
        &self.rollbacks
    }

    /// How long it took, from the end of a call that faulted, until a fresh instance had opened the interface.
    pub fn restart_times(&self) -> &Downtime {
        &self.restart_times
    }

    /// Starts the driver for the first time. A fault on the way is recovered from like any later one.
    ///
    /// # Errors
    /// If the driver refuses, or what it needs is not there; or if the policy allows no restart.
    pub fn start(&mut self) -> Result<(), NookError> {
        match self.nook.start() {
            Err(error @ NookError::Fault { .. }) => self.judge(error).map(|_| ()).map_err(|quarantine| quarantine.last),
            outcome => outcome,
        }
    }

    /// One round of [`Nook::turn`]. A fault is not an error here: it is recovered from, now or in a later round.
    ///
    /// # Errors
    /// When the policy allows no further restart, or the interface's other side failed, which no restart mends.
    pub fn turn(&mut self, until_ns: u64) -> Result<Turn, Quarantine> {
        let outcome = match self.pending.take() {
            None => self.supervised_turn(until_ns),
            Some(pending) => {
                let now = now_ns();
                if now < pending.due_ns {
                    let wait = pending.due_ns.min(until_ns).saturating_sub(now);
                    self.pending = Some(pending);
                    std::thread::sleep(std::time::Duration::from_nanos(wait));
                    return Ok(Turn::Waited);
                }
                self.restart(pending.kept, pending.at_ns)
            }
        };
        outcome.or_else(|error| self.judge(error))
    }

    fn supervised_turn(&mut self, until_ns: u64) -> Result<Turn, NookError> {
        if self.trouble.is_over() {
            return self.nook.turn(until_ns);
        }
        let before = *self.nook.counters();
        let turn = self.nook.turn(until_ns)?;
        let after = self.nook.counters();
        if after.entries != before.entries {
            let progress = Progress {
                polled: after.polls != before.polls,
                single: self.nook.polls_singly(),
                discarded: after.rx_poison != before.rx_poison,
            };
            if self.trouble.went_well(progress) == Relief::GiveUpTx {
                self.nook.drop_withheld_tx();
            }
        }
        Ok(turn)
    }

    /// Goes on with the driver whose call was taken back. Says whether that is worth a try.
    fn go_on(&mut self, undone: &Undone) -> bool {
        match self.trouble.faulted(undone.entry) {
            Step::Retry => true,
            Step::Single => {
                self.nook.poll_singly(SINGLE_POLLS);
                true
            }
            Step::WithoutTx => self.nook.withhold_tx().is_ok(),
            Step::DiscardRx => self.nook.withhold_tx().is_ok() && self.nook.discard_next_rx(),
            Step::Restart => false,
        }
    }

    fn restart(&mut self, kept: Option<usize>, at_ns: u64) -> Result<Turn, NookError> {
        self.restarts += 1;
        self.nook.restart()?;
        self.trouble.forget();
        let after_ns = now_ns().saturating_sub(at_ns);
        self.restart_times.note(after_ns);
        if let Some(recovery) = kept.and_then(|at| self.recoveries.get_mut(at)) {
            recovery.outcome = Outcome::Restarted { after_ns };
        }
        tracing::info!("the driver was restarted");
        Ok(Turn::Worked)
    }

    fn judge(&mut self, error: NookError) -> Result<Turn, Quarantine> {
        let now = now_ns();
        let undone = self.nook.undo(&error);
        let after_ns = now_ns().saturating_sub(now);
        self.faults += 1;
        let kept = (self.recoveries.len() < KEPT).then_some(self.recoveries.len());
        if kept.is_some() {
            self.recoveries.push(Recovery { fault: error.to_string(), at_ns: now, outcome: Outcome::Ended });
        }
        if let Some(undone) = undone.filter(|undone| self.go_on(undone)) {
            tracing::warn!("{error}; the call was taken back, with {} bytes in memory", undone.memory.bytes);
            self.rollbacks.note(after_ns);
            if let Some(recovery) = kept.and_then(|at| self.recoveries.get_mut(at)) {
                recovery.outcome = Outcome::TakenBack { after_ns };
            }
            return Ok(Turn::Worked);
        }
        tracing::error!("{error}");
        // At once, not when a wait is over: a driver that is not believed any more would reach memory through its device
        // meanwhile. If that fails, the restart tries again and fails too.
        if let Err(error) = self.nook.end() {
            tracing::error!("the device did not become quiet: {error}");
        }
        if let Some(bundles) = &mut self.bundles {
            let Supervisor { policy, faults, restarts, .. } = self;
            let about = Circumstances { error: &error, policy, faults: *faults, restarts: *restarts, now_ns: now };
            bundles.leave(&mut self.nook, &about);
        }
        let verdict = match error {
            // No restart mends the interface's other side, nor brings back a device that was pulled out.
            NookError::Uplink(_) | NookError::Fault { fault: Fault::DeviceGone, .. } => Verdict::Quarantine,
            _ => self.history.judge(&self.policy, now),
        };
        match verdict {
            Verdict::RestartAt(due_ns) => {
                self.pending = Some(Pending { at_ns: now, due_ns, kept });
                Ok(Turn::Worked)
            }
            Verdict::Quarantine => {
                if let Err(error) = self.nook.shut() {
                    tracing::error!("the device did not become quiet: {error}");
                }
                Err(Quarantine { restarts: self.restarts, last: error })
            }
        }
    }
}
