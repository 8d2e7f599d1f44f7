//! What to try next with a driver whose call was taken back.

use nook_abi::Entry;

/// What to do about a fault whose call was taken back.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Step {
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
pub(crate) enum Relief {
    /// Nothing.
    None,
    /// The oldest of what was withheld from the call is the one.
    GiveUp,
}

/// How far the search has come.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum Stage {
    #[default]
    Well,
    /// Of which entry, and how often.
    Retried(Entry, u16),
    Single,
    /// One thing each way was in a call that faulted: a whim, unless it comes again with them.
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

/// One driver's present trouble.
#[derive(Debug)]
pub(crate) struct Trouble {
    stage: Stage,
    /// The entry in whose calls things are moved: of the others, nothing can be left out.
    moves: Entry,
}

impl Trouble {
    /// Of a driver that moves things in calls of this entry.
    pub(crate) fn new(moves: Entry) -> Self {
        Trouble { stage: Stage::Well, moves }
    }

    /// Whether nothing is the matter.
    pub(crate) fn is_over(&self) -> bool {
        self.stage == Stage::Well
    }

    /// A fresh instance runs.
    pub(crate) fn forget(&mut self) {
        self.stage = Stage::Well;
    }

    /// A call of `entry` faulted and can be taken back; it is called again so often before more is done.
    pub(crate) fn faulted(&mut self, entry: Entry, retries: u16) -> Step {
        let tried = match self.stage {
            Stage::Retried(before, tried) if before == entry => tried,
            // Another entry's whim in between is its own.
            Stage::Well | Stage::Retried(..) => 0,
            _ => retries,
        };
        let moves = self.moves;
        let (stage, step) = match (self.stage, entry) {
            _ if tried < retries => (Stage::Retried(entry, tried + 1), Step::Retry),
            (Stage::Well | Stage::Retried(..), entry) if entry == moves => (Stage::Single, Step::Single),
            (Stage::Single, entry) if entry == moves && retries > 0 => (Stage::Suspected, Step::Retry),
            (Stage::Single | Stage::Suspected, entry) if entry == moves => (Stage::Withheld, Step::Withhold),
            (Stage::Withheld, entry) if entry == moves => (Stage::Discarding, Step::Discard),
            _ => (Stage::Well, Step::Restart),
        };
        self.stage = stage;
        step
    }

    /// A turn went well.
    pub(crate) fn went_well(&mut self, progress: Progress) -> Relief {
        let Progress { moved, single, discarded } = progress;
        let (stage, relief) = match self.stage {
            Stage::Retried(entry, _) if entry == self.moves && !moved => (self.stage, Relief::None),
            Stage::Retried(..) => (Stage::Well, Relief::None),
            _ if !moved => (self.stage, Relief::None),
            Stage::Withheld => (Stage::Single, Relief::GiveUp),
            Stage::Discarding if !discarded => (Stage::Stuck, Relief::None),
            Stage::Discarding | Stage::Stuck => (Stage::Single, Relief::None),
            Stage::Single | Stage::Suspected if !single => (Stage::Well, Relief::None),
            Stage::Suspected => (Stage::Single, Relief::None),
            stage => (stage, Relief::None),
        };
        self.stage = stage;
        relief
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn afresh() -> Trouble {
        Trouble::new(Entry::Poll)
    }

    const SINGLE: Progress = Progress { moved: true, single: true, discarded: false };

    #[test]
    fn a_whim_is_retried_and_forgotten() {
        let mut trouble = afresh();
        for _ in 0..3 {
            assert_eq!(trouble.faulted(Entry::Irq, 1), Step::Retry);
            assert_eq!(trouble.went_well(Progress::default()), Relief::None);
            assert!(trouble.is_over());
        }
    }

    #[test]
    fn the_policy_says_how_often_a_call_is_tried_again() {
        let mut trouble = afresh();
        let steps = [(); 4].map(|()| trouble.faulted(Entry::Poll, 3));
        assert_eq!(steps, [Step::Retry, Step::Retry, Step::Retry, Step::Single]);
        assert_eq!(afresh().faulted(Entry::Poll, 0), Step::Single);
        assert_eq!(afresh().faulted(Entry::Irq, 0), Step::Restart);
    }

    #[test]
    fn an_interrupt_handler_that_faults_twice_is_restarted() {
        let mut trouble = afresh();
        assert_eq!(trouble.faulted(Entry::Irq, 1), Step::Retry);
        assert_eq!(trouble.faulted(Entry::Irq, 1), Step::Restart);
        assert!(trouble.is_over());
    }

    #[test]
    fn a_frame_to_send_that_ends_the_driver_is_given_up() {
        let mut trouble = afresh();
        assert_eq!(trouble.faulted(Entry::Poll, 1), Step::Retry);
        assert_eq!(trouble.faulted(Entry::Poll, 1), Step::Single);
        // What came before it.
        assert_eq!(trouble.went_well(SINGLE), Relief::None);
        assert_eq!(trouble.faulted(Entry::Poll, 1), Step::Retry);
        assert_eq!(trouble.faulted(Entry::Poll, 1), Step::Withhold);
        assert_eq!(trouble.went_well(SINGLE), Relief::GiveUp);
        assert_eq!(trouble.went_well(SINGLE), Relief::None);
        assert_eq!(trouble.went_well(Progress { moved: true, ..Progress::default() }), Relief::None);
        assert!(trouble.is_over());
    }

    #[test]
    fn a_whim_while_a_frame_is_sought_is_no_frames_fault() {
        let mut trouble = afresh();
        let steps = [(); 3].map(|()| trouble.faulted(Entry::Poll, 1));
        assert_eq!(steps, [Step::Retry, Step::Single, Step::Retry]);
        for _ in 0..3 {
            assert_eq!(trouble.went_well(SINGLE), Relief::None);
            assert_eq!(trouble.faulted(Entry::Poll, 1), Step::Retry);
        }
        assert_eq!(trouble.went_well(Progress { moved: true, ..Progress::default() }), Relief::None);
        assert!(trouble.is_over());
    }

    #[test]
    fn a_received_frame_that_ends_the_driver_is_discarded() {
        let mut trouble = afresh();
        let steps = [(); 5].map(|()| trouble.faulted(Entry::Poll, 1));
        assert_eq!(steps, [Step::Retry, Step::Single, Step::Retry, Step::Withhold, Step::Discard]);
        assert_eq!(trouble.went_well(Progress { discarded: true, ..SINGLE }), Relief::None);
        // The next one is sought from there.
        assert_eq!([(); 2].map(|()| trouble.faulted(Entry::Poll, 1)), [Step::Retry, Step::Withhold]);
    }

    #[test]
    fn what_no_single_frame_explains_is_a_restart() {
        let mut trouble = afresh();
        let steps = [(); 6].map(|()| trouble.faulted(Entry::Poll, 1));
        assert_eq!(steps[5], Step::Restart);
        assert!(trouble.is_over());
    }

    #[test]
    fn with_no_received_frame_to_discard_it_is_a_restart() {
        let mut trouble = afresh();
        (0..5).for_each(|_| assert_ne!(trouble.faulted(Entry::Poll, 1), Step::Restart));
        assert_eq!(trouble.went_well(SINGLE), Relief::None);
        assert_eq!(trouble.faulted(Entry::Poll, 1), Step::Restart);
    }

    #[test]
    fn a_turn_without_a_poll_proves_nothing_about_polls() {
        let mut trouble = afresh();
        trouble.faulted(Entry::Poll, 1);
        trouble.went_well(Progress::default());
        assert!(!trouble.is_over());
    }
}
