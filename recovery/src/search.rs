//! A search for the one thing that ends a driver, that goes on and on: what it finds and gives up was not it.

use nook_runtime::SHORT_CALLS;

use crate::Policy;

/// A search that has gone on for this time, with this many faults, is in vain. One that finds something has some five.
const VAIN_NS: u64 = 1_000_000_000;
const VAIN_FAULTS: u32 = 6;
/// The time in which as many calls that do not come to an end are ended while calls are short.
const SHORT_VAIN_NS: u64 = VAIN_NS / SHORT_CALLS;

/// The search that goes on, and how often one was ended because it was in vain.
#[derive(Debug, Default)]
pub(crate) struct Search {
    since_ns: u64,
    last_ns: u64,
    faults: u32,
    /// In this window of time, and so often.
    window_from_ns: u64,
    ended: u32,
    /// When the last one was, and nothing but a snapshot has been restored since.
    vain_ns: Option<u64>,
}

impl Search {
    /// Notes a fault; `first` says that nothing was sought before, so that it may be over with a retry; `short` that
    /// [calls are short](nook_runtime::Nook::shorten_calls). Returns whether
    /// the search is in vain, and the driver is to be restored or restarted. Not more often than that helps: things
    /// that end a driver may come all the time, and then it is better to give each of them up than to be in
    /// quarantine.
    ///
    /// A fault soon after a search was in vain needs no other: the snapshot that was restored is no better.
    pub(crate) fn is_vain(&mut self, first: bool, short: bool, policy: &Policy, at_ns: u64) -> bool {
        let soon = self.vain_ns.is_some_and(|vain_ns| at_ns < vain_ns + VAIN_NS);
        if !soon && !self.goes_on_for_long(first, short, at_ns) {
            return false;
        }
        (self.since_ns, self.faults) = (at_ns, 0);
        if at_ns >= self.window_from_ns + policy.window_ns {
            (self.window_from_ns, self.ended) = (at_ns, 0);
        }
        // Each snapshot may be younger than the reason; then a fresh instance is tried, once.
        let vain = self.ended <= policy.snapshots.into();
        self.ended += u32::from(vain);
        self.vain_ns = vain.then_some(at_ns);
        vain
    }

    fn goes_on_for_long(&mut self, first: bool, short: bool, at_ns: u64) -> bool {
        if first {
            return false;
        }
        if at_ns >= self.last_ns + VAIN_NS {
            (self.since_ns, self.faults) = (at_ns, 0);
        }
        self.last_ns = at_ns;
        self.faults += 1;
        self.faults >= VAIN_FAULTS && at_ns >= self.since_ns + if short { SHORT_VAIN_NS } else { VAIN_NS }
    }

    /// Notes that a fresh instance runs: its faults may be others.
    pub(crate) fn restarted(&mut self) {
        self.vain_ns = None;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_search_is_in_vain_after_a_second_of_faults_and_so_often_in_a_window() {
        let policy = Policy { snapshots: 1, window_ns: 60 * VAIN_NS, ..Policy::DEFAULT };
        let mut search = Search::default();
        // A hundred a second, of which some are the first again.
        let mut vain = |fault: u64| search.is_vain(fault.is_multiple_of(7), false, &policy, fault * VAIN_NS / 100);
        let vains: Vec<_> = (100..7000).filter(|fault| vain(*fault)).collect();
        let seconds: Vec<_> = vains.iter().map(|fault| fault / 100).collect();
        assert_eq!(seconds, [2, 2, 60, 60], "two in a window");
    }

    #[test]
    fn a_fault_soon_after_a_restored_snapshot_needs_no_search_and_one_of_a_fresh_instance_does() {
        let policy = Policy { snapshots: 2, window_ns: 60 * VAIN_NS, ..Policy::DEFAULT };
        // A loop in each call, of a fifth of a second.
        let looping =
            |search: &mut Search, fault: u64, first: bool| search.is_vain(first, false, &policy, fault * VAIN_NS / 5);
        let mut search = Search::default();
        let vains: Vec<_> = (10..20).filter(|fault| looping(&mut search, *fault, *fault == 10)).collect();
        assert_eq!(vains, [16, 17, 18], "both snapshots, and a restart");
        let mut search = Search::default();
        assert_eq!((10..17).filter(|fault| looping(&mut search, *fault, *fault == 10)).count(), 1);
        assert!(!looping(&mut search, 22, true), "later it may be another");
        let mut search = Search::default();
        assert_eq!((10..17).filter(|fault| looping(&mut search, *fault, *fault == 10)).count(), 1);
        search.restarted();
        assert!(!looping(&mut search, 17, true));
    }

    #[test]
    fn while_calls_are_short_a_search_is_in_vain_as_much_sooner() {
        // A loop in each call: a fifth of a second the first time, then a quarter of that.
        let since_ns = 10 * VAIN_NS + VAIN_NS / 5;
        for (short, faults) in [(false, 21), (true, 6)] {
            let mut search = Search::default();
            let at = |fault: u64| since_ns + fault * VAIN_NS / 20;
            let vain = |fault: &u64| search.is_vain(*fault == 0, short, &Policy::DEFAULT, at(*fault));
            assert_eq!((0..100).find(vain), Some(faults), "short: {short}");
        }
    }

    #[test]
    fn a_search_that_finds_something_and_faults_that_one_retry_mends_are_not_in_vain() {
        let mut search = Search::default();
        for found in 0..1000 {
            for fault in 0..VAIN_FAULTS {
                let at_ns = found * 10 * VAIN_NS + u64::from(fault) * 1000;
                assert!(!search.is_vain(fault == 0, true, &Policy::DEFAULT, at_ns));
            }
        }
        assert!((0..100_000).all(|fault| !search.is_vain(true, true, &Policy::DEFAULT, fault * VAIN_NS / 1000)));
    }
}
