//! What goes wrong without any single wrong act, whatever a driver drives: interrupts that never end or never come,
//! calls that nothing comes of. Each rule leaves a good driver on a busy machine alone, and says why.

use nook_abi::Fault;

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
    /// When the host looks for itself next whether something came.
    next_quiet_ns: u64,
    unannounced: u32,
    /// Interrupts when the host last looked for itself.
    irqs_at_look: u64,
    /// Turns in a row that the driver asked for in vain, and what had happened when they began.
    vain: u32,
    happened: u64,
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

    /// Notes that the driver is polled now for another reason: the host need not poll by itself for a while.
    #[inline]
    pub(crate) fn polled(&mut self, now_ns: u64, quiet_ns: u64) {
        self.next_quiet_ns = now_ns + if self.unannounced > 0 { quiet_ns.min(LOOK_AGAIN_NS) } else { quiet_ns };
    }

    /// Makes the host look in this turn.
    pub(crate) fn look_now(&mut self) {
        self.next_quiet_ns = 0;
    }

    /// Returns whether the host should look for itself.
    #[inline]
    pub(crate) fn is_quiet(&self, now_ns: u64) -> bool {
        now_ns >= self.next_quiet_ns
    }

    /// Returns when [`is_quiet`](Self::is_quiet) comes true.
    pub(crate) fn quiet_due_ns(&self) -> u64 {
        self.next_quiet_ns
    }

    /// Notes that the host polled by itself, and found that this many had come, with `irqs` interrupts until then.
    pub(crate) fn looked(&mut self, arrived: u64, irqs: u64) -> Result<(), Fault> {
        let announced = irqs != self.irqs_at_look;
        self.irqs_at_look = irqs;
        self.unannounced = match (arrived > 0, announced) {
            (false, _) => 0,
            (true, true) => 1,
            (true, false) => self.unannounced + 1,
        };
        if self.unannounced < UNANNOUNCED {
            return Ok(());
        }
        Err(Fault::InterruptsMasked { polls: self.unannounced })
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
        let mut irqs = 0;
        for _ in 0..3 * UNANNOUNCED {
            irqs += 1;
            monitor.looked(1, irqs).unwrap();
        }
        for _ in 0..3 {
            for _ in 0..UNANNOUNCED - 2 {
                monitor.looked(9, irqs).unwrap();
            }
            monitor.looked(0, irqs).unwrap();
        }
        let fault = (0..UNANNOUNCED).find_map(|_| monitor.looked(1, irqs).err());
        assert_eq!(fault, Some(Fault::InterruptsMasked { polls: UNANNOUNCED }));
    }
}
