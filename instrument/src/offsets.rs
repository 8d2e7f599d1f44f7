//! Where an instruction of a rewritten module comes from.

/// For each place in the rewritten module's code: the instruction of the original that it is, or that it was added
/// for. Both are byte offsets from the beginning of their module, as in a trap's backtrace and in DWARF's line tables
/// (plus the offset of the code section).
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct OffsetMap {
    /// Sorted by the first, which is new; the second is `NONE` for code that the original does not have.
    pairs: Vec<(u32, u32)>,
}

const NONE: u32 = u32::MAX;

impl OffsetMap {
    /// Returns the original's offset of the instruction to which `offset` of the rewritten module belongs; none for
    /// code that belongs to no instruction (the wrappers of entries).
    pub fn original(&self, offset: u32) -> Option<u32> {
        let after = self.pairs.partition_point(|(new, _)| *new <= offset);
        let (_, old) = self.pairs[..after].last()?;
        (*old != NONE).then_some(*old)
    }

    /// Notes that from `new` on, up to what is noted next, code belongs to the original's `old`. Places come in their
    /// order; of several at one place the first counts.
    pub fn push(&mut self, new: usize, old: Option<usize>) {
        let old = old.map_or(NONE, |old| old as u32);
        if self.pairs.last().is_none_or(|(last, _)| *last < new as u32) {
            self.pairs.push((new as u32, old));
        }
    }

    /// Returns the places: where each begins, and the original's offset of the instruction that it belongs to, or
    /// `u32::MAX`.
    pub fn places(&self) -> &[(u32, u32)] {
        &self.pairs
    }

    /// Returns the map with these [places](Self::places). They are sorted, so that nothing is found twice.
    pub fn of(places: impl IntoIterator<Item = (u32, u32)>) -> Self {
        let mut pairs: Vec<_> = places.into_iter().collect();
        pairs.sort_unstable();
        OffsetMap { pairs }
    }

    /// Returns the map to where the original itself comes from, whose map is `earlier`.
    pub fn through(&self, earlier: &OffsetMap) -> OffsetMap {
        let old = |old: u32| if old == NONE { NONE } else { earlier.original(old).unwrap_or(NONE) };
        OffsetMap { pairs: self.pairs.iter().map(|&(new, between)| (new, old(between))).collect() }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn of_two_rewritings_in_a_row_each_place_leads_to_the_first_original() {
        let (mut first, mut second) = (OffsetMap::default(), OffsetMap::default());
        [(100, Some(40)), (110, None), (120, Some(50))].into_iter().for_each(|(new, old)| first.push(new, old));
        [(200, Some(105)), (210, Some(112)), (220, None), (230, Some(120))]
            .into_iter()
            .for_each(|(new, old)| second.push(new, old));
        let both = second.through(&first);
        assert_eq!([199, 200, 215, 225, 240].map(|at| both.original(at)), [None, Some(40), None, None, Some(50)]);
    }

    #[test]
    fn code_that_was_added_belongs_to_the_instruction_that_it_was_added_for() {
        let mut map = OffsetMap::default();
        // An instruction of two bytes, then one with eight bytes of code before it, then a wrapper.
        [(100, Some(40)), (102, Some(42)), (112, None)].into_iter().for_each(|(new, old)| map.push(new, old));
        let originals = [99, 100, 101, 102, 111, 112, 500].map(|offset| map.original(offset));
        assert_eq!(originals, [None, Some(40), Some(40), Some(42), Some(42), None, None]);
    }

    #[test]
    fn of_two_beginnings_at_one_place_the_first_counts() {
        let mut map = OffsetMap::default();
        [(10, Some(1)), (10, Some(2))].into_iter().for_each(|(new, old)| map.push(new, old));
        assert_eq!(map.original(10), Some(1));
    }
}
