//! [`Supervisor`]: a nook that comes back.

use nook_abi::Fault;
use nook_runtime::{Class, CrashState, NoRollback, Nook, NookError, Snapshot, Turn};
use serde::Serialize;

use crate::bundle::{BundleContext, Bundles, SoFar};
use crate::escalation::{Action, Escalation, Progress, Resolution};
use crate::log_limit::LogLimit;
use crate::policy::{History, Verdict};
use crate::repeats::Repeats;
use crate::search::Search;
use crate::snapshots::Snapshots;
use crate::{BundleConfig, Downtime, NoRollbackReport, Policy};

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

/// What came of a fault. In reports: its name in `outcome`, and `after_ns` if the driver went on.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(tag = "outcome", rename_all = "snake_case")]
pub enum RecoveryOutcome {
    /// The call was rolled back, and the same instance went on.
    RolledBack {
        /// Nanoseconds from the end of the call until everything was as before it.
        after_ns: u64,
    },
    /// The same instance went on from a snapshot.
    SnapshotRestored {
        /// Nanoseconds from the end of the call until driver and device were as in the snapshot.
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
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Recovery {
    /// The fault, in words.
    pub fault: String,
    /// When it came, in nanoseconds of the nook's clock; in the report of a run, from its start.
    pub at_ns: u64,
    /// Why the call that it ended could not be rolled back; `None` if it could have been (also when it was then not,
    /// for the retries had run out or the undo log was damaged: the log says that), or if the policy has no rollback.
    pub no_rollback: Option<NoRollbackReport>,
    /// What came of it.
    #[serde(flatten)]
    pub outcome: RecoveryOutcome,
}

/// For how long after the last call that used up its CPU time, and while the reason is sought, calls are short.
const SHORT_NS: u64 = 1_000_000_000;

/// Faults that are kept for the report; later ones are only counted.
const KEPT: usize = 256;

/// Drives a nook and restarts its driver after faults, as the policy allows.
pub struct Supervisor<C: Class> {
    nook: Nook<C>,
    policy: Policy,
    history: History,
    recoveries: Vec<Recovery>,
    faults: u64,
    restarts: u64,
    pending: Option<Pending>,
    bundles: Option<Bundles>,
    escalation: Escalation,
    search: Search,
    /// Calls are short since one that is being dealt with used up its CPU time: when the last such was.
    short_since_ns: Option<u64>,
    /// Why the call of the last fault could not be rolled back, if that is so.
    no_rollback: Option<NoRollbackReport>,
    snapshots: Snapshots<Snapshot<C::Image>>,
    rollbacks: Downtime,
    snapshot_restores: Downtime,
    restart_times: Downtime,
    /// Of rollbacks.
    log_limit: LogLimit,
    /// Of faults that ended instances.
    repeats: Repeats,
}

/// A fault that is being dealt with.
#[derive(Clone, Copy)]
struct Case {
    /// When it came, in nanoseconds of the nook's clock.
    at_ns: u64,
    /// Which of the recoveries is this one's, if it was kept.
    kept: Option<usize>,
}

/// A fault that is waited out: the instance is gone, the device quiet.
struct Pending {
    case: Case,
    /// When to restart.
    due_ns: u64,
}

impl<C: Class> Supervisor<C> {
    /// Creates a supervisor for a nook that was not started yet.
    pub fn new(mut nook: Nook<C>, policy: Policy) -> Self {
        nook.class_mut().resubmit(policy.resubmit);
        Supervisor {
            nook,
            policy,
            history: History::default(),
            recoveries: Vec::new(),
            faults: 0,
            restarts: 0,
            pending: None,
            bundles: None,
            escalation: Escalation::new(C::MOVES),
            search: Search::default(),
            short_since_ns: None,
            no_rollback: None,
            snapshots: Snapshots::default(),
            rollbacks: Downtime::default(),
            snapshot_restores: Downtime::default(),
            restart_times: Downtime::default(),
            log_limit: LogLimit::default(),
            repeats: Repeats::default(),
        }
    }

    /// Makes faults leave crash bundles from here on.
    pub fn leave_bundles(&mut self, config: BundleConfig) {
        self.nook.dump_memory_on_fault(config.memory);
        self.bundles = Some(Bundles::new(config));
    }

    /// Waits until bundles that are being written are there.
    pub fn finish_bundles(&mut self) {
        self.bundles.iter_mut().for_each(Bundles::finish);
    }

    /// Returns the nook.
    pub fn nook(&self) -> &Nook<C> {
        &self.nook
    }

    /// Mutable access to it.
    pub fn nook_mut(&mut self) -> &mut Nook<C> {
        &mut self.nook
    }

    /// Returns the first recoveries, oldest first. If a driver faults very often, not every fault is kept.
    pub fn recoveries(&self) -> &[Recovery] {
        &self.recoveries
    }

    /// Returns how many faults there were.
    pub fn faults(&self) -> u64 {
        self.faults
    }

    /// Returns how often the driver was restarted.
    pub fn restarts(&self) -> u64 {
        self.restarts
    }

    /// Returns how many snapshots of the instance that runs there are.
    pub fn snapshots(&self) -> usize {
        self.snapshots.count()
    }

    /// Returns how long it took, from the end of a call that faulted, until everything was as before it.
    pub fn rollbacks(&self) -> &Downtime {
        &self.rollbacks
    }

    /// Returns how long it took, from the end of a call that faulted, until driver and device were as in a snapshot.
    pub fn snapshot_restores(&self) -> &Downtime {
        &self.snapshot_restores
    }

    /// Returns how long it took, from the end of a call that faulted, until a fresh instance had opened the interface.
    pub fn restart_times(&self) -> &Downtime {
        &self.restart_times
    }

    /// Starts the driver for the first time. A fault on the way is recovered from like any later one.
    ///
    /// # Errors
    /// If the driver refuses, or what it needs is not there; or if the policy allows no restart.
    pub fn start(&mut self) -> Result<(), NookError> {
        match self.nook.start().and_then(|()| self.snapshots.after_start(&mut self.nook, &self.policy)) {
            Err(error @ NookError::Fault { .. }) => self.judge(error).map(|_| ()).map_err(|quarantine| quarantine.last),
            outcome => outcome,
        }
    }

    /// Runs one round of [`Nook::turn`]. A fault is not an error here: it is recovered from, now or in a later round.
    ///
    /// # Errors
    /// When the policy allows no further restart, or the interface's other side failed, which no restart mends.
    pub fn turn(&mut self, until_ns: u64) -> Result<Turn, Quarantine> {
        let outcome = match self.pending.take() {
            None => self.supervised_turn(until_ns),
            Some(pending) => {
                let now = self.nook.clock().now_ns();
                if now < pending.due_ns {
                    let until = pending.due_ns.min(until_ns);
                    self.pending = Some(pending);
                    self.nook.clock().sleep_until(until);
                    return Ok(Turn::Waited);
                }
                self.restart(pending.case)
            }
        };
        outcome.or_else(|error| self.judge(error))
    }

    fn supervised_turn(&mut self, until_ns: u64) -> Result<Turn, NookError> {
        let turn = self.watched_turn(self.snapshots.until_ns(until_ns))?;
        if let Some(since_ns) = self.short_since_ns
            && self.escalation.is_idle()
            && self.since(since_ns) >= SHORT_NS
        {
            self.shorten_calls(None);
        }
        if self.policy.snapshots > 0 {
            let now_ns = self.nook.clock().now_ns();
            self.snapshots.after_turn(&mut self.nook, &self.policy, now_ns)?;
        }
        Ok(turn)
    }

    fn watched_turn(&mut self, until_ns: u64) -> Result<Turn, NookError> {
        if self.escalation.is_idle() {
            return self.nook.turn(until_ns);
        }
        let (before, discarded) = (*self.nook.counters(), self.nook.class().discarded());
        let turn = self.nook.turn(until_ns)?;
        let after = self.nook.counters();
        if after.entries != before.entries {
            let progress = Progress {
                moved: after.polls != before.polls,
                single: self.nook.class().is_single(),
                discarded: self.nook.class().discarded() != discarded,
            };
            if self.escalation.succeeded(progress) == Resolution::DropWithheld {
                self.nook.class_mut().give_up();
            }
        }
        Ok(turn)
    }

    /// Makes calls short after one that used up its CPU time: each further one that does not come to an end would
    /// cost as much again, and a search takes five. Without a time they are as long as before.
    fn shorten_calls(&mut self, since_ns: Option<u64>) {
        self.short_since_ns = since_ns;
        self.nook.shorten_calls(since_ns.is_some());
    }

    /// Goes on with the driver whose call was rolled back. Says whether that can be done.
    fn go_on(&mut self, action: Action) -> bool {
        match action {
            Action::Retry => true,
            Action::Single => {
                // Until a batch is believed again.
                self.nook.class_mut().single(2 * C::BATCH);
                true
            }
            Action::Withhold => self.withhold(),
            Action::Discard => self.withhold() && self.nook.class_mut().discard_next(),
            Action::Restart => false,
        }
    }

    fn withhold(&mut self) -> bool {
        self.nook.class_mut().withhold().unwrap_or(false)
    }

    /// Restores a snapshot, if there is one for this. Says whether the driver goes on.
    fn restore_snapshot(&mut self, error: &NookError, crash_state: &mut Option<CrashState>, at_ns: u64) -> bool {
        let about_driver = |fault: &Fault| !fault.is_device() && self.nook.class().snapshot_helps(fault);
        if !matches!(error, NookError::Fault { fault, .. } if about_driver(fault)) {
            return false;
        }
        let so_far = self.so_far();
        let Supervisor { nook, policy, snapshots, bundles, no_rollback, .. } = self;
        let no_rollback = no_rollback.as_ref();
        let Some(snapshot) = snapshots.choose(policy, at_ns, |snapshot| nook.fits(snapshot)) else { return false };
        if let Some(bundles) = bundles {
            let about = BundleContext {
                error,
                policy,
                so_far,
                now_ns: at_ns,
                rolled_back: false,
                no_rollback,
                repeated: false,
            };
            bundles.leave(nook, crash_state.take(), &about);
        }
        let age_ms = at_ns.saturating_sub(snapshot.at_ns()) / 1_000_000;
        match nook.restore(snapshot) {
            Ok(()) => {
                tracing::warn!(
                    "{error}{}; the driver was restored from a snapshot of {age_ms} ms before",
                    said_of(no_rollback)
                );
                true
            }
            Err(error) => {
                tracing::error!("the driver cannot be restored from a snapshot: {error}");
                false
            }
        }
    }

    fn restart(&mut self, case: Case) -> Result<Turn, NookError> {
        self.restarts += 1;
        self.shorten_calls(None);
        self.nook.restart()?;
        self.escalation.forget();
        self.search.restarted();
        self.snapshots.forget();
        let after_ns = self.since(case.at_ns);
        self.restart_times.note(after_ns);
        self.note_outcome(case, RecoveryOutcome::Restarted { after_ns });
        match self.repeats.more() {
            0 => tracing::info!("the driver was restarted"),
            more => tracing::info!("the driver was restarted: the same fault as before, {} in a row", more + 1),
        }
        self.snapshots.after_start(&mut self.nook, &self.policy)?;
        Ok(Turn::Worked)
    }

    fn leave_bundle(&mut self, crash_state: Option<CrashState>, error: &NookError, rolled_back: bool, now_ns: u64) {
        let so_far = self.so_far();
        let Supervisor { nook, policy, bundles, no_rollback, repeats, .. } = self;
        let no_rollback = no_rollback.as_ref();
        let Some(bundles) = bundles else { return };
        let repeated = !rolled_back && repeats.more() > 0;
        let about = BundleContext { error, policy, so_far, now_ns, rolled_back, no_rollback, repeated };
        bundles.leave(nook, crash_state, &about);
    }

    fn so_far(&self) -> SoFar {
        SoFar {
            faults: self.faults,
            rollbacks: self.rollbacks.count(),
            snapshot_restores: self.snapshot_restores.count(),
            restarts: self.restarts,
        }
    }

    /// Decides what is done about a fault, and does it; a restart may have to wait.
    fn judge(&mut self, error: NookError) -> Result<Turn, Quarantine> {
        let at_ns = self.nook.clock().now_ns();
        self.faults += 1;
        let no_rollback = if self.policy.rollback { self.nook.no_rollback(&error) } else { None };
        self.no_rollback = no_rollback.as_ref().map(NoRollbackReport::from);
        if matches!(&error, NookError::Fault { fault: Fault::CpuBudget { .. }, .. }) {
            self.shorten_calls(Some(at_ns));
        }
        let mut crash_state = None;
        if self.roll_back(at_ns, &error, &mut crash_state) {
            return Ok(Turn::Worked);
        }
        let case = self.note_fault(at_ns, &error);
        if self.restore(case, &error, &mut crash_state) {
            return Ok(Turn::Worked);
        }
        self.end_instance(case, error, crash_state)
    }

    /// Puts a fault into words for the report, which takes longer than to roll its call back: so that comes first.
    fn note_fault(&mut self, at_ns: u64, error: &NookError) -> Case {
        let kept = (self.recoveries.len() < KEPT).then_some(self.recoveries.len());
        if kept.is_some() {
            let (fault, no_rollback) = (error.to_string(), self.no_rollback.clone());
            self.recoveries.push(Recovery { fault, at_ns, no_rollback, outcome: RecoveryOutcome::Ended });
        }
        Case { at_ns, kept }
    }

    /// Notes what came of a fault after which the driver goes on.
    fn note_outcome(&mut self, case: Case, outcome: RecoveryOutcome) {
        if let Some(recovery) = case.kept.and_then(|at| self.recoveries.get_mut(at)) {
            recovery.outcome = outcome;
        }
    }

    fn since(&self, at_ns: u64) -> u64 {
        self.nook.clock().now_ns().saturating_sub(at_ns)
    }

    /// Rolls the call back that faulted, if that is what is to be tried next. Returns whether the driver goes on.
    fn roll_back(&mut self, at_ns: u64, error: &NookError, crash_state: &mut Option<CrashState>) -> bool {
        let entry = if self.policy.rollback { self.nook.can_roll_back(error) } else { None };
        let retries = self.policy.retries;
        let first = self.escalation.is_idle();
        let mut action = entry.map_or(Action::Restart, |entry| self.escalation.faulted(entry, retries));
        if action != Action::Restart && self.search.is_vain(first, self.short_since_ns.is_some(), &self.policy, at_ns) {
            tracing::warn!("no single thing explains the faults: calls are not rolled back any more");
            action = Action::Restart;
        }
        if action == Action::Restart {
            return false;
        }
        let callers = self.bundles.is_some().then(|| self.nook.callers_of_fault().to_vec());
        *crash_state = self.bundles.as_mut().and_then(|bundles| bundles.look(&mut self.nook, error, at_ns));
        let rolled_back = self.nook.roll_back(error);
        let after_ns = self.since(at_ns);
        let Some(rolled_back) = rolled_back.filter(|_| self.go_on(action)) else {
            // The instance ends after all, and a call that was rolled back has no stack any more.
            if let Some(callers) = callers {
                crash_state.get_or_insert_with(|| self.nook.take_crash_state()).callers = callers;
            }
            return false;
        };
        let case = self.note_fault(at_ns, error);
        if let Some(left_out) = self.log_limit.admit(at_ns) {
            let more = if left_out > 0 { format!(" ({left_out} others were not logged)") } else { String::new() };
            let bytes = rolled_back.memory.bytes;
            let (entry, number) = (rolled_back.entry, self.rollbacks.count() + 1);
            tracing::warn!(
                "{error}; the call was rolled back, with {bytes} bytes in memory: rollback {number}, of {entry}{more}"
            );
        }
        self.rollbacks.note(after_ns);
        self.note_outcome(case, RecoveryOutcome::RolledBack { after_ns });
        if crash_state.is_some() {
            self.leave_bundle(crash_state.take(), error, true, at_ns);
        }
        true
    }

    /// Restores a snapshot, if there is one for this. Returns whether the driver goes on.
    fn restore(&mut self, case: Case, error: &NookError, crash_state: &mut Option<CrashState>) -> bool {
        if !self.restore_snapshot(error, crash_state, case.at_ns) {
            return false;
        }
        self.escalation.forget();
        let after_ns = self.since(case.at_ns);
        self.snapshot_restores.note(after_ns);
        self.note_outcome(case, RecoveryOutcome::SnapshotRestored { after_ns });
        true
    }

    /// Ends the instance, for a restart or for good.
    fn end_instance(
        &mut self,
        case: Case,
        error: NookError,
        crash_state: Option<CrashState>,
    ) -> Result<Turn, Quarantine> {
        self.repeats.tell(format!("{error}{}", said_of(self.no_rollback.as_ref())), case.at_ns);
        // At once, not when a wait is over: a driver that is not believed any more would reach memory through its
        // device meanwhile. If that fails, the restart tries again and fails too.
        if let Err(error) = self.nook.end() {
            tracing::error!("the device did not become quiet: {error}");
        }
        self.leave_bundle(crash_state, &error, false, case.at_ns);
        let verdict = match error {
            // No restart mends what is above, nor restores a device that was pulled out or taken away.
            NookError::Above { .. } | NookError::Fault { fault: Fault::DeviceGone | Fault::Revoked, .. } => {
                Verdict::Quarantine
            }
            _ => self.history.judge(&self.policy, case.at_ns),
        };
        match verdict {
            Verdict::RestartAt(due_ns) => {
                self.pending = Some(Pending { case, due_ns });
                Ok(Turn::Worked)
            }
            Verdict::Quarantine => {
                self.repeats.end();
                if let Err(error) = self.nook.shut() {
                    tracing::error!("the device did not become quiet: {error}");
                }
                Err(Quarantine { restarts: self.restarts, last: error })
            }
        }
    }
}

/// What the log says of a call that could not be rolled back, though calls of this driver can be.
fn said_of(no_rollback: Option<&NoRollbackReport>) -> String {
    match no_rollback {
        None | Some(NoRollbackReport { reason: NoRollback::Level, .. }) => String::new(),
        Some(why) => format!("; the call could not be rolled back: {}", why.text),
    }
}
