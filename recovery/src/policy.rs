//! How often a driver may come back, and how soon.

use std::collections::VecDeque;

use serde::Serialize;

/// Limits of coming back. Times are nanoseconds. Crash bundles have it as it is declared here.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub struct Policy {
    /// Whether calls that faulted are rolled back at all, where they can be.
    pub rollback: bool,
    /// How often a call that was rolled back is called again as it was, before the one thing is looked for that ends
    /// it, or the driver is restarted.
    pub retries: u16,
    /// Restarts that are allowed within [`window_ns`](Self::window_ns); one more is quarantine.
    pub restarts: u32,
    /// The time in which restarts are counted, and in which another fault says that a snapshot was of no use.
    pub window_ns: u64,
    /// The wait before the second restart in a row; the first one is at once. It doubles each time.
    pub backoff_first_ns: u64,
    /// The longest wait.
    pub backoff_most_ns: u64,
    /// Whether work that the driver had when it ended is given to its successor, though some may have been done
    /// already; or is given up, though some may not have been.
    pub resubmit: bool,
    /// Maximum number of snapshots to keep. One is restored before a restart is tried.
    pub snapshots: u16,
    /// The time between two of them.
    pub snapshot_every_ns: u64,
}

impl Policy {
    /// One retry; ten restarts a minute, at once, then after 10 ms, 20 ms and so on up to 1 s, with work given again;
    /// three snapshots, of every ten seconds.
    pub const DEFAULT: Policy = Policy {
        rollback: true,
        retries: 1,
        restarts: 10,
        window_ns: 60_000_000_000,
        backoff_first_ns: 10_000_000,
        backoff_most_ns: 1_000_000_000,
        resubmit: true,
        snapshots: 3,
        snapshot_every_ns: 10_000_000_000,
    };
}

impl Default for Policy {
    fn default() -> Self {
        Self::DEFAULT
    }
}

/// What to do after a fault.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Verdict {
    /// Restart when it is this time.
    RestartAt(u64),
    /// The budget is used up.
    Quarantine,
}

/// The restarts that still count.
#[derive(Debug, Default)]
pub(crate) struct History {
    restarts: VecDeque<u64>,
}

impl History {
    /// Decides about a fault that came at `now_ns`.
    pub(crate) fn judge(&mut self, policy: &Policy, now_ns: u64) -> Verdict {
        while self.restarts.front().is_some_and(|&at| at + policy.window_ns <= now_ns) {
            self.restarts.pop_front();
        }
        let count = self.restarts.len() as u32;
        if count >= policy.restarts {
            return Verdict::Quarantine;
        }
        let wait = match count {
            0 => 0,
            _ => policy.backoff_first_ns.saturating_mul(1 << (count - 1).min(32)).min(policy.backoff_most_ns),
        };
        self.restarts.push_back(now_ns);
        Verdict::RestartAt(now_ns + wait)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const POLICY: Policy =
        Policy { restarts: 3, window_ns: 1000, backoff_first_ns: 10, backoff_most_ns: 15, ..Policy::DEFAULT };

    #[test]
    fn the_first_restart_is_at_once_and_later_ones_wait_longer_up_to_a_limit() {
        let mut history = History::default();
        assert_eq!(history.judge(&POLICY, 100), Verdict::RestartAt(100));
        assert_eq!(history.judge(&POLICY, 200), Verdict::RestartAt(210));
        assert_eq!(history.judge(&POLICY, 300), Verdict::RestartAt(315));
    }

    #[test]
    fn one_restart_too_many_is_quarantine() {
        let mut history = History::default();
        (0..3).for_each(|i| assert!(matches!(history.judge(&POLICY, i), Verdict::RestartAt(_))));
        assert_eq!(history.judge(&POLICY, 4), Verdict::Quarantine);
    }

    #[test]
    fn old_restarts_do_not_count() {
        let mut history = History::default();
        (0..3).for_each(|i| assert!(matches!(history.judge(&POLICY, i), Verdict::RestartAt(_))));
        assert_eq!(history.judge(&POLICY, 1002), Verdict::RestartAt(1002));
    }
}
