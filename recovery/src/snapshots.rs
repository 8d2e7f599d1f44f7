//! The last snapshots, and which of them to restore.

use std::collections::VecDeque;

use nook_runtime::{Class, Nook, NookError, Snapshot, SnapshotAttempt};

use crate::Policy;

/// The snapshots of the instance that runs, oldest first.
pub(crate) struct Snapshots<S> {
    kept: VecDeque<S>,
    /// Not before then is another taken.
    due_ns: u64,
    /// When to look again for a moment to take one at.
    look_ns: u64,
    /// Calls of the driver when the last one was taken.
    entries: u64,
    /// The newest was restored, and until then it is not clear that this is of use.
    probation_until_ns: Option<u64>,
    /// The newest is of a driver without a link, and no traffic has begun since.
    before_ready: bool,
}

impl<S> Default for Snapshots<S> {
    fn default() -> Self {
        Snapshots {
            kept: VecDeque::new(),
            due_ns: 0,
            look_ns: 0,
            entries: 0,
            probation_until_ns: None,
            before_ready: false,
        }
    }
}

impl<S> Snapshots<S> {
    /// Drops all snapshots: another instance runs, or none.
    pub(crate) fn forget(&mut self) {
        *self = Self::default();
    }

    /// Returns how many there are.
    pub(crate) fn count(&self) -> usize {
        self.kept.len()
    }

    /// Returns whether one is to be taken. A driver on probation may have brought its fault along: what it is now is
    /// nothing to come back to.
    fn is_due(&mut self, policy: &Policy, now_ns: u64) -> bool {
        if self.probation_until_ns.is_some_and(|until| now_ns >= until) {
            self.probation_until_ns = None;
        }
        policy.snapshots > 0 && now_ns >= self.due_ns && self.probation_until_ns.is_none()
    }

    fn push(&mut self, snapshot: S, policy: &Policy) {
        self.kept.push_back(snapshot);
        let too_many = self.kept.len().saturating_sub(policy.snapshots as usize);
        self.kept.drain(..too_many);
    }

    /// Puts the next one off: one was taken, or cannot be.
    fn put_off(&mut self, policy: &Policy, now_ns: u64) {
        self.due_ns = now_ns.saturating_add(policy.snapshot_every_ns);
    }

    /// Chooses the one to restore now, of those that fit: the newest, or the one before the one that was of no use.
    pub(crate) fn choose(&mut self, policy: &Policy, now_ns: u64, fits: impl Fn(&S) -> bool) -> Option<&S> {
        if self.probation_until_ns.is_some_and(|until| now_ns < until) {
            self.kept.pop_back();
        }
        while self.kept.pop_back_if(|snapshot| !fits(snapshot)).is_some() {}
        self.probation_until_ns = Some(now_ns.saturating_add(policy.window_ns));
        self.before_ready = false;
        self.kept.back()
    }
}

impl<I> Snapshots<Snapshot<I>> {
    /// Returns the longest that a turn may wait.
    pub(crate) fn until_ns(&self, until_ns: u64) -> u64 {
        if self.look_ns == 0 { until_ns } else { until_ns.min(self.look_ns) }
    }

    /// Takes one after a start, before traffic begins, so that a driver that faults before anything has rested for long
    /// enough has one to restore. The one that is due stays due.
    pub(crate) fn after_start<C: Class<Image = I>>(
        &mut self,
        nook: &mut Nook<C>,
        policy: &Policy,
    ) -> Result<(), NookError> {
        self.before_ready = false;
        if policy.snapshots == 0 {
            return Ok(());
        }
        if let SnapshotAttempt::Taken(snapshot) = nook.snapshot_before_traffic()? {
            tracing::debug!("snapshot before traffic: {} bytes of memory", snapshot.len_bytes());
            self.before_ready = !nook.is_ready();
            self.entries = nook.counters().entries;
            self.push(*snapshot, policy);
        }
        Ok(())
    }

    /// Takes one after a turn, if it is time and nothing moves, or if the driver can work from now on.
    pub(crate) fn after_turn<C: Class<Image = I>>(
        &mut self,
        nook: &mut Nook<C>,
        policy: &Policy,
        now_ns: u64,
    ) -> Result<(), NookError> {
        if self.before_ready && nook.is_ready() {
            // Back at the earlier one, the driver would have to get ready again.
            return self.after_start(nook, policy);
        }
        // What was not called since is as it was then.
        if !self.is_due(policy, now_ns) || nook.counters().entries == self.entries {
            return Ok(());
        }
        self.look_ns = 0;
        match nook.try_snapshot()? {
            SnapshotAttempt::Busy => {}
            SnapshotAttempt::QuietUntil(look_ns) => self.look_ns = look_ns,
            SnapshotAttempt::Taken(snapshot) => {
                tracing::debug!("snapshot: {} bytes of memory", snapshot.len_bytes());
                self.entries = nook.counters().entries;
                self.before_ready = !nook.is_ready();
                self.push(*snapshot, policy);
                self.put_off(policy, now_ns);
            }
            SnapshotAttempt::Unsupported => {
                tracing::debug!(
                    "no snapshot: this driver on this device cannot be restored: that takes --isolation sfi+txn, and a \
                     register map that says how the device is reset"
                );
                self.put_off(policy, now_ns);
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const POLICY: Policy = Policy { snapshots: 3, snapshot_every_ns: 10, window_ns: 1000, ..Policy::DEFAULT };

    fn some() -> Snapshots<u32> {
        let mut snapshots = Snapshots::default();
        (1..=5).for_each(|number| snapshots.push(number, &POLICY));
        snapshots.put_off(&POLICY, 0);
        snapshots
    }

    #[test]
    fn the_newest_few_are_kept_and_the_next_one_waits() {
        let mut snapshots = some();
        assert_eq!(snapshots.kept, [3, 4, 5]);
        assert!(!snapshots.is_due(&POLICY, 9) && snapshots.is_due(&POLICY, 10));
        assert!(!snapshots.is_due(&Policy { snapshots: 0, ..POLICY }, 10));
    }

    #[test]
    fn a_relapse_restores_an_older_one_until_there_is_none() {
        let mut snapshots = some();
        let chosen = [100, 200, 1199, 1300].map(|now| snapshots.choose(&POLICY, now, |_| true).copied());
        assert_eq!(chosen, [Some(5), Some(4), Some(3), None]);
    }

    #[test]
    fn after_the_window_it_is_another_fault() {
        let mut snapshots = some();
        let chosen = [100, 1100, 2100].map(|now| snapshots.choose(&POLICY, now, |_| true).copied());
        assert_eq!(chosen, [Some(5); 3]);
    }

    #[test]
    fn on_probation_none_is_taken() {
        let mut snapshots = some();
        snapshots.choose(&POLICY, 100, |_| true);
        assert!(!snapshots.is_due(&POLICY, 1099) && snapshots.is_due(&POLICY, 1100));
    }

    #[test]
    fn what_does_not_fit_is_passed_over() {
        let mut snapshots = some();
        assert_eq!(snapshots.choose(&POLICY, 100, |&number| number < 4), Some(&3));
    }
}
