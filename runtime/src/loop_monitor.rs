//! What goes wrong without any single wrong act, whatever a driver drives: interrupts that never end or never come,
//! calls that nothing comes of. Each rule leaves a good driver on a busy machine alone, and says why.

use nook_abi::{Fault, MOST_QUEUES};

/// Interrupts in consecutive turns, without anything moved, that are a storm. A turn takes microseconds, and after an
/// interrupt that is dealt with the next turn has none, so that a good driver never comes near; what else is on a
/// shared line would have to interrupt without pause.
pub(crate) const STORM: u32 = 10_000;
/// How often in a row the host may find things that no interrupt announced. Once or twice can be chance: one comes
/// just before the host looks, and its interrupt just afterwards.
pub(crate) const UNANNOUNCED: u32 = 5;
/// Once it has found such things, it looks again after this, in nanoseconds: longer than any sensible device holds an
/// interrupt back.
const LOOK_AGAIN_NS: u64 = 50_000_000;
/// Turns in a row that a driver may ask for though nothing moves: it may be waiting for its device, which is nearly
/// done.
pub(crate) const VAIN_TURNS: u32 = 64;
/// The longest rest after a turn that was asked for in vain. A driver that polls its device, as some do instead of
/// having interrupts, finds what came at most this much later.
pub(crate) const MAX_VAIN_REST_NS: u64 = 1 << 20;

/// What is watched about one driver instance.
#[derive(Debug, Default)]
pub(crate) struct LoopMonitor {
    /// Interrupts in consecutive turns, and what had come out of the driver when they began.
    irqs_in_row: u32,
    /// How many of these the driver said were not its own.
    not_mine_in_row: u32,
    moved: u64,
    /// Of each queue.
    queues: [QueueWatch; MOST_QUEUES as usize],
    /// The queues that an interrupt has announced something of since the host last looked for itself: a bit each.
    announced: u32,
    /// Turns in a row that the driver asked for in vain, and what had happened when they began.
    vain: u32,
    happened: u64,
}

/// What is watched about one queue.
#[derive(Clone, Copy, Debug, Default)]
struct QueueWatch {
    /// When the host looks for itself next whether something came.
    next_quiet_ns: u64,
    unannounced: u32,
}

impl LoopMonitor {
    /// Ends a turn. If the driver asks for the next one, and nothing has come of those that it asked for before
    /// (nothing moved, no interrupt), then the next one waits: longer each time, and at least as long as this one took.
    /// So a driver that always asks gets half of its thread at most, and one whose device needs a while waits not much
    /// longer for it.
    #[inline]
    pub(crate) fn rest_ns(&mut self, asks: bool, happened: u64, took_ns: impl FnOnce() -> u64) -> Option<u64> {
        if !asks || happened != self.happened {
            self.happened = happened;
            self.vain = 0;
            return None;
        }
        self.vain += 1;
        let beyond = self.vain.checked_sub(VAIN_TURNS)?;
        Some(took_ns().max(MAX_VAIN_REST_NS.min(1024 << beyond.min(32))))
    }

    /// Checks one turn's interrupts; `moved` is how much ever came out of the driver.
    #[inline]
    pub(crate) fn irqs(&mut self, vectors: u32, moved: u64) -> Result<(), Fault> {
        if vectors == 0 || moved != self.moved {
            self.moved = moved;
            (self.irqs_in_row, self.not_mine_in_row) = (0, 0);
            return Ok(());
        }
        self.irqs_in_row += 1;
        if self.irqs_in_row < STORM {
            return Ok(());
        }
        Err(Fault::InterruptStorm { vector: vectors.trailing_zeros(), interrupts: self.irqs_in_row })
    }

    /// Notes that the driver said of an interrupt that it was not its own.
    #[inline]
    pub(crate) fn not_mine(&mut self) {
        self.not_mine_in_row = self.not_mine_in_row.saturating_add(1);
    }

    /// Returns what a storm looks like from here: what the driver said of the interrupts, and what that means.
    pub(crate) fn storm(&self) -> &'static str {
        if self.not_mine_in_row >= self.irqs_in_row.saturating_sub(1) {
            "`irq` said of each that it was not its own, and so left it raised: does it look at the right register?"
        } else {
            "`irq` said that it handled them, and the device raises them still: acknowledge the causes in the device"
        }
    }

    /// Notes that the driver is polled now for another reason: the host need not poll this queue by itself for a
    /// while.
    #[inline]
    pub(crate) fn polled(&mut self, queue: u32, now_ns: u64, quiet_ns: u64) {
        let watch = &mut self.queues[(queue % MOST_QUEUES) as usize];
        watch.next_quiet_ns = now_ns + if watch.unannounced > 0 { quiet_ns.min(LOOK_AGAIN_NS) } else { quiet_ns };
    }

    /// Makes the host look in this turn, or the next ones.
    pub(crate) fn look_now(&mut self) {
        self.queues.iter_mut().for_each(|watch| watch.next_quiet_ns = 0);
    }

    /// Returns which of the `known` queues the host should look at for itself.
    #[inline]
    pub(crate) fn quiet_queue(&self, known: u32, now_ns: u64) -> Option<u32> {
        let due = |queue: &u32| known >> queue & 1 != 0 && now_ns >= self.queues[*queue as usize].next_quiet_ns;
        (0..MOST_QUEUES).find(due)
    }

    /// Returns when the host should look at one of the `known` queues for itself.
    #[inline]
    pub(crate) fn quiet_due_ns(&self, known: u32) -> u64 {
        let first = self.queues[0].next_quiet_ns;
        if known <= 1 {
            return first;
        }
        let others = (1..MOST_QUEUES).filter(|queue| known >> queue & 1 != 0);
        others.map(|queue| self.queues[queue as usize].next_quiet_ns).fold(first, u64::min)
    }

    /// Notes an interrupt, and for which queues the driver asked then. One that asked for none may have dealt with
    /// what came in another way.
    #[inline]
    pub(crate) fn announced(&mut self, queues: u32) {
        self.announced |= if queues == 0 { 1 } else { queues };
    }

    /// Notes that the host polled this queue by itself, and found that this many had come.
    pub(crate) fn looked(&mut self, queue: u32, arrived: u64) -> Result<(), Fault> {
        let watch = &mut self.queues[(queue % MOST_QUEUES) as usize];
        let announced = self.announced >> queue & 1 != 0;
        self.announced &= !(1 << queue);
        watch.unannounced = match (arrived > 0, announced) {
            (false, _) => 0,
            (true, true) => 1,
            (true, false) => watch.unannounced + 1,
        };
        if watch.unannounced < UNANNOUNCED {
            return Ok(());
        }
        Err(Fault::InterruptsMasked { polls: watch.unannounced })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn interrupts_are_a_storm_only_in_a_row_and_when_nothing_moves() {
        let mut monitor = LoopMonitor::default();
        let mut moved = 0;
        for turn in 0..4 * STORM {
            // Every other turn has none, and later each moves something.
            let quiet = turn < 2 * STORM && turn % 2 == 0;
            moved += u64::from(turn >= 2 * STORM);
            monitor.irqs(u32::from(!quiet), moved).unwrap();
        }
        let storm = (0..2 * STORM).find_map(|_| monitor.irqs(4, moved).err());
        assert_eq!(storm, Some(Fault::InterruptStorm { vector: 2, interrupts: STORM }));
    }

    #[test]
    fn who_asks_in_vain_rests_longer_each_time_until_something_happens() {
        let mut monitor = LoopMonitor::default();
        let mut happened = 1;
        let mut rests = |asks, happens: bool, took_ns, turns: u32| -> Vec<u64> {
            happened += u64::from(happens);
            let mut rest = |_| monitor.rest_ns(asks, happened, || took_ns);
            (0..turns).filter_map(&mut rest).collect()
        };
        rests(false, true, 10, 1);
        let vain = rests(true, false, 10, 2 * VAIN_TURNS);
        assert!(vain.is_sorted() && vain[0] < 2048 && vain[vain.len() - 1] == MAX_VAIN_REST_NS, "{vain:?}");
        assert_eq!(rests(true, true, 10, VAIN_TURNS), [0; 0]);
        assert_eq!(rests(true, false, 50_000_000, 1), [50_000_000]);
        assert_eq!(rests(false, false, 10, 1), [0; 0]);
        assert_eq!(rests(true, false, 10, VAIN_TURNS - 1), [0; 0]);
    }

    #[test]
    fn what_comes_without_interrupts_is_a_fault_only_in_a_row() {
        let mut monitor = LoopMonitor::default();
        for _ in 0..3 * UNANNOUNCED {
            monitor.announced(0);
            monitor.looked(0, 1).unwrap();
        }
        for _ in 0..3 {
            for _ in 0..UNANNOUNCED - 2 {
                monitor.looked(0, 9).unwrap();
            }
            monitor.looked(0, 0).unwrap();
        }
        let fault = (0..UNANNOUNCED).find_map(|_| monitor.looked(0, 1).err());
        assert_eq!(fault, Some(Fault::InterruptsMasked { polls: UNANNOUNCED }));
    }

    #[test]
    fn the_interrupts_of_one_queue_announce_nothing_of_another() {
        let mut monitor = LoopMonitor::default();
        let mut both = || {
            monitor.announced(0b001);
            monitor.looked(0, 1).unwrap();
            monitor.looked(2, 1).err()
        };
        let fault = (0..UNANNOUNCED).find_map(|_| both());
        assert_eq!(fault, Some(Fault::InterruptsMasked { polls: UNANNOUNCED }));
    }

    #[test]
    fn a_busy_queue_does_not_keep_the_host_from_looking_at_another() {
        let mut monitor = LoopMonitor::default();
        [0, 1].into_iter().for_each(|queue| monitor.polled(queue, 0, 100));
        monitor.polled(0, 90, 100);
        assert_eq!((monitor.quiet_due_ns(0b01), monitor.quiet_due_ns(0b11)), (190, 100));
        assert_eq!((monitor.quiet_queue(0b01, 100), monitor.quiet_queue(0b11, 100)), (None, Some(1)));
    }
}
