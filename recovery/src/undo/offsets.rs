//! Where an instruction of the rewritten module comes from.

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
    /// The original's offset of the instruction to which `offset` of the rewritten module belongs; none for code that
    /// belongs to no instruction (the wrappers of entries).
    pub fn original(&self, offset: u32) -> Option<u32> {
        let after = self.pairs.partition_point(|(new, _)| *new <= offset);
        let (_, old) = self.pairs[..after].last()?;
        (*old != NONE).then_some(*old)
    }

    /// How many places it knows.
    pub fn len(&self) -> usize {
        self.pairs.len()
    }

    /// Whether it knows none.
    pub fn is_empty(&self) -> bool {
        self.pairs.is_empty()
    }

    /// Pairs of little-endian `u32`: offset in the rewritten module, offset in the original (or `u32::MAX`).
    pub fn to_bytes(&self) -> Vec<u8> {
        self.pairs.iter().flat_map(|(new, old)| [new.to_le_bytes(), old.to_le_bytes()]).flatten().collect()
    }

    /// What [`to_bytes`](Self::to_bytes) wrote; none if the bytes are not that.
    pub fn from_bytes(bytes: &[u8]) -> Option<OffsetMap> {
        let (words, rest) = bytes.as_chunks::<4>();
        let (pairs, odd) = words.as_chunks::<2>();
        let pairs: Vec<_> =
            pairs.iter().map(|[new, old]| (u32::from_le_bytes(*new), u32::from_le_bytes(*old))).collect();
        (rest.is_empty() && odd.is_empty() && pairs.is_sorted_by(|a, b| a.0 < b.0)).then_some(OffsetMap { pairs })
    }

    pub(super) fn push(&mut self, new: usize, old: Option<usize>) {
        let old = old.map_or(NONE, |old| old as u32);
        if self.pairs.last().is_none_or(|(last, _)| *last < new as u32) {
            self.pairs.push((new as u32, old));
        }
    }
}
