//! Where a driver's code comes from, after all that was done to its module: call stacks are expressed in terms of the
//! module that its author built.

use nook_abi::Printable;
use nook_instrument::{Copies, Counting};
use wasmtime::{FrameInfo, Module, WasmBacktrace};

use crate::OffsetMap;
use crate::call_trace::Caller;

/// Where the code of a module comes from that was prepared, and perhaps made to count.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Origin {
    /// Without them, code is where it was in the loader's module.
    offsets: Option<OffsetMap>,
    /// What counts, if anything does.
    copies: Option<Copies>,
    /// Where a filter's code comes from.
    filter: Option<OffsetMap>,
}

/// Words of [`Origin::to_bytes`] before the places: whether there are offsets, and the copies.
const HEAD_WORDS: usize = 4;

impl Origin {
    /// Creates the origin of a module in which the loader changed code as `loaded` says, which then was prepared with
    /// `prepared`, got deadline checks with `timed`, then counted with `counting`, and then said what it loads with
    /// `recording`; each where that was done.
    pub(crate) fn new(
        loaded: Option<&OffsetMap>,
        prepared: Option<OffsetMap>,
        timed: Option<OffsetMap>,
        counting: Option<&Counting>,
        recording: Option<OffsetMap>,
    ) -> Self {
        let counted = counting.map(|counting| &counting.offsets);
        let steps = [loaded, prepared.as_ref(), timed.as_ref(), counted, recording.as_ref()].into_iter().flatten();
        let offsets = steps.fold(None, |before: Option<OffsetMap>, step| {
            Some(before.map_or_else(|| step.clone(), |before| step.through(&before)))
        });
        Origin { offsets, copies: counting.map(|counting| counting.copies.clone()), filter: None }
    }

    /// Returns the same with a filter beside the module, whose code comes from where `filter` says.
    pub(crate) fn with_filter(self, filter: Option<&Origin>) -> Self {
        Origin { filter: filter.and_then(|filter| filter.offsets.clone()), ..self }
    }

    /// Returns it as bytes, without the filter's, to be kept beside the compiled module.
    pub(crate) fn to_bytes(&self) -> Vec<u8> {
        let copies = self
            .copies
            .as_ref()
            .map_or([0; 3], |Copies { functions, behind }| [functions.start, functions.end, *behind]);
        let head = std::iter::once(self.offsets.is_some().into()).chain(copies);
        let places = self.offsets.iter().flat_map(|offsets| offsets.places()).flat_map(|&(new, old)| [new, old]);
        head.chain(places).flat_map(u32::to_le_bytes).collect()
    }

    /// Reads what [`to_bytes`](Self::to_bytes) wrote; nothing, if it is something else.
    pub(crate) fn from_bytes(bytes: &[u8]) -> Option<Self> {
        let (words, []) = bytes.as_chunks::<4>() else { return None };
        let ([has_offsets, start, end, behind], places) = words.split_first_chunk::<HEAD_WORDS>()?;
        let [has_offsets, start, end, behind] = [has_offsets, start, end, behind].map(|word| u32::from_le_bytes(*word));
        let (places, []) = places.as_chunks::<2>() else { return None };
        let offsets = || OffsetMap::of(places.iter().map(|place| place.map(u32::from_le_bytes).into()));
        Some(Origin {
            offsets: (has_offsets != 0).then(offsets),
            copies: (start != end).then_some(Copies { functions: start..end, behind }),
            filter: None,
        })
    }

    /// Returns a place's function and offset in the module as the loader made it; none if it is of no instruction of
    /// the driver's.
    fn of(&self, function: u32, offset: Option<usize>) -> Option<(u32, Option<u64>)> {
        let function = self.copies.as_ref().map_or(function, |copies| copies.original(function));
        let Some(offsets) = &self.offsets else { return Some((function, offset.map(|offset| offset as u64))) };
        let original = offsets.original(u32::try_from(offset?).ok()?)?;
        Some((function, Some(original.into())))
    }

    /// Returns a place in the filter's module as the loader made it.
    fn in_filter(&self, offset: Option<usize>) -> Option<u64> {
        let offset = u32::try_from(offset?).ok()?;
        self.filter.as_ref().map_or(Some(offset), |filter| filter.original(offset)).map(u64::from)
    }

    /// Returns the call stack at the fault, innermost first, with offsets in the module as the loader made it.
    pub(crate) fn callers(&self, error: &wasmtime::Error) -> Vec<Caller> {
        let callers = error.downcast_ref::<WasmBacktrace>().map(WasmBacktrace::frames).unwrap_or_default();
        let caller = |at: &FrameInfo| {
            // The host calls the driver, and the driver calls its filter.
            let in_driver = callers.last().is_some_and(|outermost| Module::same(at.module(), outermost.module()));
            let (function, module_offset) = match (at.func_index(), at.module_offset()) {
                // What is of no instruction of the driver's was added to it, and is nothing to its author.
                (function, offset) if in_driver => self.of(function, offset)?,
                (function, offset) => (function, self.in_filter(offset)),
            };
            let name = at.func_name().map(|name| Printable(name).to_string());
            Some(Caller { function, name, module_offset, in_driver })
        };
        callers.iter().filter_map(caller).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_kept_is_what_it_was() {
        let offsets = OffsetMap::of([(10, 1), (20, u32::MAX), (30, 2)]);
        let copies = Copies { functions: 7..12, behind: 5 };
        for (offsets, copies) in [(None, None), (Some(offsets), Some(copies))] {
            let origin = Origin { offsets, copies, filter: None };
            assert_eq!(Origin::from_bytes(&origin.to_bytes()), Some(origin));
        }
    }

    #[test]
    fn what_is_cut_off_is_nothing() {
        let whole = Origin { offsets: Some(OffsetMap::of([(10, 1)])), ..Origin::default() }.to_bytes();
        assert!((1..8).all(|less| Origin::from_bytes(&whole[..whole.len() - less]).is_none()));
        assert_eq!(Origin::from_bytes(&[]), None);
    }
}
