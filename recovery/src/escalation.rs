//! What to try next with a driver whose call was rolled back.

use nook_abi::Entry;

/// What to do about a fault whose call was rolled back.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Action {
    /// Call again: the fault may be transient.
    Retry,
    /// Call again with one thing each way, to find the one.
    Single,
    /// Call again and give nothing, to find out which way it goes.
    Withhold,
    /// It is something that came: complete it unseen.
    Discard,
    /// It is not this call alone.
    Restart,
}

/// What to do about a call that went well.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Resolution {
    /// Nothing.
    None,
    /// The oldest of what was withheld from the call is the one.
    DropWithheld,
}

/// How far the search has come.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum Stage {
    #[default]
    Idle,
    /// Of which entry, and how often.
    Retried(Entry, u16),
    Single,
    /// One thing each way was in a call that faulted: transient, unless it comes again with them.
    Suspected,
    Withheld,
    Discarding,
    /// Nothing had come that could be discarded: it is no single thing.
    Stuck,
}

/// What a turn did in which the driver was called and which went well.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Progress {
    /// The entry was called that moves things.
    pub(crate) moved: bool,
    /// Batches are not believed yet.
    pub(crate) single: bool,
    /// Something that came was completed unseen.
    pub(crate) discarded: bool,
}

/// One driver's present escalation.
#[derive(Debug)]
pub(crate) struct Escalation {
    stage: Stage,
    /// The entry in whose calls things are moved: of the others, nothing can be left out.
    moves: Entry,
}

impl Escalation {
    /// Creates it for a driver that moves things in calls of this entry.
    pub(crate) fn new(moves: Entry) -> Self {
        Escalation { stage: Stage::Idle, moves }
    }

    /// Returns whether no fault is being isolated.
    pub(crate) fn is_idle(&self) -> bool {
        self.stage == Stage::Idle
    }

    /// Resets it: a fresh instance runs.
    pub(crate) fn forget(&mut self) {
        self.stage = Stage::Idle;
    }

    /// Decides what to do about a call of `entry` that faulted and can be rolled back. It is retried up to `retries`
    /// times before escalating.
    pub(crate) fn faulted(&mut self, entry: Entry, retries: u16) -> Action {
        let tried = match self.stage {
            Stage::Retried(before, tried) if before == entry => tried,
            // Another entry's transient fault in between is counted apart.
            Stage::Idle | Stage::Retried(..) => 0,
            _ => retries,
        };
        let moves = self.moves;
        let (stage, action) = match (self.stage, entry) {
            _ if tried < retries => (Stage::Retried(entry, tried + 1), Action::Retry),
            (Stage::Idle | Stage::Retried(..), entry) if entry == moves => (Stage::Single, Action::Single),
            (Stage::Single, entry) if entry == moves && retries > 0 => (Stage::Suspected, Action::Retry),
            (Stage::Single | Stage::Suspected, entry) if entry == moves => (Stage::Withheld, Action::Withhold),
            (Stage::Withheld, entry) if entry == moves => (Stage::Discarding, Action::Discard),
            _ => (Stage::Idle, Action::Restart),
        };
        self.stage = stage;
        action
    }

    /// Notes a turn without a fault, and returns what follows from it.
    pub(crate) fn succeeded(&mut self, progress: Progress) -> Resolution {
        let Progress { moved, single, discarded } = progress;
        let (stage, resolution) = match self.stage {
            Stage::Retried(entry, _) if entry == self.moves && !moved => (self.stage, Resolution::None),
            Stage::Retried(..) => (Stage::Idle, Resolution::None),
            _ if !moved => (self.stage, Resolution::None),
            Stage::Withheld => (Stage::Single, Resolution::DropWithheld),
            Stage::Discarding if !discarded => (Stage::Stuck, Resolution::None),
            Stage::Discarding | Stage::Stuck => (Stage::Single, Resolution::None),
            Stage::Single | Stage::Suspected if !single => (Stage::Idle, Resolution::None),
            Stage::Suspected => (Stage::Single, Resolution::None),
            stage => (stage, Resolution::None),
        };
        self.stage = stage;
        resolution
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn idle() -> Escalation {
        Escalation::new(Entry::Poll)
    }

    const SINGLE: Progress = Progress { moved: true, single: true, discarded: false };

    #[test]
    fn a_whim_is_retried_and_forgotten() {
        let mut escalation = idle();
        for _ in 0..3 {
            assert_eq!(escalation.faulted(Entry::Irq, 1), Action::Retry);
            assert_eq!(escalation.succeeded(Progress::default()), Resolution::None);
            assert!(escalation.is_idle());
        }
    }

    #[test]
    fn the_policy_says_how_often_a_call_is_tried_again() {
        let mut escalation = idle();
        let steps = [(); 4].map(|()| escalation.faulted(Entry::Poll, 3));
        assert_eq!(steps, [Action::Retry, Action::Retry, Action::Retry, Action::Single]);
        assert_eq!(idle().faulted(Entry::Poll, 0), Action::Single);
        assert_eq!(idle().faulted(Entry::Irq, 0), Action::Restart);
    }

    #[test]
    fn an_interrupt_handler_that_faults_twice_is_restarted() {
        let mut escalation = idle();
        assert_eq!(escalation.faulted(Entry::Irq, 1), Action::Retry);
        assert_eq!(escalation.faulted(Entry::Irq, 1), Action::Restart);
        assert!(escalation.is_idle());
    }

    #[test]
    fn a_frame_to_send_that_ends_the_driver_is_given_up() {
        let mut escalation = idle();
        assert_eq!(escalation.faulted(Entry::Poll, 1), Action::Retry);
        assert_eq!(escalation.faulted(Entry::Poll, 1), Action::Single);
        // What came before it.
        assert_eq!(escalation.succeeded(SINGLE), Resolution::None);
        assert_eq!(escalation.faulted(Entry::Poll, 1), Action::Retry);
        assert_eq!(escalation.faulted(Entry::Poll, 1), Action::Withhold);
        assert_eq!(escalation.succeeded(SINGLE), Resolution::DropWithheld);
        assert_eq!(escalation.succeeded(SINGLE), Resolution::None);
        assert_eq!(escalation.succeeded(Progress { moved: true, ..Progress::default() }), Resolution::None);
        assert!(escalation.is_idle());
    }

    #[test]
    fn a_whim_while_a_frame_is_sought_is_no_frames_fault() {
        let mut escalation = idle();
        let steps = [(); 3].map(|()| escalation.faulted(Entry::Poll, 1));
        assert_eq!(steps, [Action::Retry, Action::Single, Action::Retry]);
        for _ in 0..3 {
            assert_eq!(escalation.succeeded(SINGLE), Resolution::None);
            assert_eq!(escalation.faulted(Entry::Poll, 1), Action::Retry);
        }
        assert_eq!(escalation.succeeded(Progress { moved: true, ..Progress::default() }), Resolution::None);
        assert!(escalation.is_idle());
    }

    #[test]
    fn a_received_frame_that_ends_the_driver_is_discarded() {
        let mut escalation = idle();
        let steps = [(); 5].map(|()| escalation.faulted(Entry::Poll, 1));
        assert_eq!(steps, [Action::Retry, Action::Single, Action::Retry, Action::Withhold, Action::Discard]);
        assert_eq!(escalation.succeeded(Progress { discarded: true, ..SINGLE }), Resolution::None);
        // The next one is sought from there.
        assert_eq!([(); 2].map(|()| escalation.faulted(Entry::Poll, 1)), [Action::Retry, Action::Withhold]);
    }

    #[test]
    fn what_no_single_frame_explains_is_a_restart() {
        let mut escalation = idle();
        let steps = [(); 6].map(|()| escalation.faulted(Entry::Poll, 1));
        assert_eq!(steps[5], Action::Restart);
        assert!(escalation.is_idle());
    }

    #[test]
    fn with_no_received_frame_to_discard_it_is_a_restart() {
        let mut escalation = idle();
        (0..5).for_each(|_| assert_ne!(escalation.faulted(Entry::Poll, 1), Action::Restart));
        assert_eq!(escalation.succeeded(SINGLE), Resolution::None);
        assert_eq!(escalation.faulted(Entry::Poll, 1), Action::Restart);
    }

    #[test]
    fn a_turn_without_a_poll_proves_nothing_about_polls() {
        let mut escalation = idle();
        escalation.faulted(Entry::Poll, 1);
        escalation.succeeded(Progress::default());
        assert!(!escalation.is_idle());
    }
}
