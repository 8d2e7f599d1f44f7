//! [`Supervisor`]: a nook that comes back.

use nook_abi::Fault;
use nook_runtime::{Nook, NookError, Turn, Uplink, now_ns};

use crate::bundle::{Bundles, Circumstances};
use crate::policy::{History, Verdict};
use crate::{BundleConfig, Policy};

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

/// One fault, and what was done about it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Recovery {
    /// The fault, in words.
    pub fault: String,
    /// When it came, in nanoseconds of CLOCK_MONOTONIC.
    pub at_ns: u64,
    /// How long it took until a fresh instance ran, if one did.
    pub restarted_after_ns: Option<u64>,
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
}

/// A fault that is waited out: the instance is gone, the device quiet.
struct Pending {
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
            None => self.nook.turn(until_ns),
            Some(pending) => {
                let now = now_ns();
                if now < pending.due_ns {
                    let wait = pending.due_ns.min(until_ns).saturating_sub(now);
                    self.pending = Some(pending);
                    std::thread::sleep(std::time::Duration::from_nanos(wait));
                    return Ok(Turn::Waited);
                }
                self.restart(pending.kept)
            }
        };
        outcome.or_else(|error| self.judge(error))
    }

    fn restart(&mut self, kept: Option<usize>) -> Result<Turn, NookError> {
        self.restarts += 1;
        self.nook.restart()?;
        if let Some(recovery) = kept.and_then(|at| self.recoveries.get_mut(at)) {
            recovery.restarted_after_ns = Some(now_ns().saturating_sub(recovery.at_ns));
        }
        tracing::info!("the driver was restarted");
        Ok(Turn::Worked)
    }

    fn judge(&mut self, error: NookError) -> Result<Turn, Quarantine> {
        let now = now_ns();
        tracing::error!("{error}");
        self.faults += 1;
        let kept = (self.recoveries.len() < KEPT).then_some(self.recoveries.len());
        if kept.is_some() {
            self.recoveries.push(Recovery { fault: error.to_string(), at_ns: now, restarted_after_ns: None });
        }
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
                self.pending = Some(Pending { due_ns, kept });
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
