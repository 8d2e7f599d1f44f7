//! Statistics registers (section 13.7): they clear when they are read, stick at their largest value, and hold anything
//! after power-up ("not hardware initialized").

use e1000_regs::{
    GORCL, GOTCL, MAP, PRC64, PRC127, PRC255, PRC511, PRC1023, PRC1522, PTC64, PTC127, PTC255, PTC511, PTC1023,
    PTC1522, TORL, TOTL, TSCTFC,
};
use nook_regs::{ReadEffect, Register};
use nook_seed::Rng;

const FIRST: u32 = e1000_regs::CRCERRS.offset();
const COUNT: usize = ((TSCTFC.offset() - FIRST) / 4 + 1) as usize;

/// The pairs of registers that hold 64 bits, by their low halves.
const PAIRS: [Register<u32>; 4] = [GORCL, GOTCL, TORL, TOTL];

/// Size classes of frames, the largest length of each with its counters for receive and transmit.
const SIZES: [(usize, Register<u32>, Register<u32>); 6] = [
    (64, PRC64, PTC64),
    (127, PRC127, PTC127),
    (255, PRC255, PTC255),
    (511, PRC511, PTC511),
    (1023, PRC1023, PTC1023),
    (usize::MAX, PRC1522, PTC1522),
];

#[derive(Debug)]
pub(crate) struct Stats {
    counters: [u32; COUNT],
}

const fn index(register: Register<u32>) -> usize {
    ((register.offset() - FIRST) / 4) as usize
}

impl Stats {
    pub(crate) fn new(garbage: Option<&mut Rng>) -> Self {
        let mut counters = [0; COUNT];
        if let Some(rng) = garbage {
            let named = |at: &usize| MAP.find(0, FIRST + 4 * *at as u32).is_some();
            (0..COUNT).filter(named).for_each(|at| counters[at] = rng.word() as u32);
        }
        Stats { counters }
    }

    /// Returns whether a register at `offset` is one of these.
    pub(crate) const fn has(offset: u32) -> bool {
        offset >= FIRST && offset <= TSCTFC.offset()
    }

    pub(crate) fn read(&mut self, offset: u32) -> u32 {
        let at = ((offset - FIRST) / 4) as usize;
        let value = self.counters[at];
        match MAP.find(0, offset).map(|(info, _)| info.read) {
            Some(ReadEffect::ClearsAdd) => self.counters[at] = 0,
            Some(ReadEffect::ClearsPair) => (self.counters[at], self.counters[at - 1]) = (0, 0),
            _ => {}
        }
        value
    }

    #[inline]
    pub(crate) fn count(&mut self, counter: Register<u32>) {
        let counter = &mut self.counters[index(counter)];
        *counter = counter.saturating_add(1);
    }

    /// Adds `bytes` to the pair whose low half is `low`.
    #[inline]
    pub(crate) fn add_bytes(&mut self, low: Register<u32>, bytes: usize) {
        debug_assert!(PAIRS.contains(&low), "not a pair");
        let at = index(low);
        let sum = u64::from(self.counters[at]) | u64::from(self.counters[at + 1]) << 32;
        let sum = sum.saturating_add(bytes as u64);
        (self.counters[at], self.counters[at + 1]) = (sum as u32, (sum >> 32) as u32);
    }

    /// Counts a good frame of `len` bytes (with its check sequence) in its size class.
    #[inline]
    pub(crate) fn count_size(&mut self, len: usize, received: bool) {
        let (_, rx, tx) = SIZES[SIZES.partition_point(|&(most, ..)| most < len)];
        self.count(if received { rx } else { tx });
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use e1000_regs::{GORCH, GPRC};

    #[test]
    fn a_pair_carries_into_its_upper_half_and_reading_that_clears_both() {
        let mut stats = Stats::new(None);
        stats.add_bytes(GORCL, usize::MAX >> 28);
        stats.add_bytes(GORCL, 1);
        assert_eq!((stats.read(GORCL.offset()), stats.read(GORCL.offset())), (0, 0));
        assert_eq!(stats.read(GORCH.offset()), 1 << 4);
        stats.add_bytes(GORCL, 5);
        assert_eq!((stats.read(GORCL.offset()), stats.read(GORCH.offset())), (5, 0));
        assert_eq!(stats.read(GORCL.offset()), 0);
    }

    #[test]
    fn a_counter_sticks_at_its_largest_value() {
        let mut stats = Stats::new(None);
        stats.counters[index(GPRC)] = u32::MAX - 1;
        (0..5).for_each(|_| stats.count(GPRC));
        assert_eq!(stats.read(GPRC.offset()), u32::MAX);
        assert_eq!(stats.read(GPRC.offset()), 0);
    }

    #[test]
    fn each_length_has_its_size_class() {
        for (len, counter) in
            [(64, PRC64), (65, PRC127), (127, PRC127), (128, PRC255), (1023, PRC1023), (9000, PRC1522)]
        {
            let mut stats = Stats::new(None);
            stats.count_size(len, true);
            assert_eq!(stats.read(counter.offset()), 1, "{len}");
        }
    }
}
