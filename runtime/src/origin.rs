//! Where a driver's code comes from, after all that was done to its module: call stacks are expressed in terms of the
//! module that its author built.

use nook_abi::Printable;
use nook_instrument::Counting;
use wasmtime::{FrameInfo, Module, WasmBacktrace};

use crate::OffsetMap;
use crate::call_trace::Caller;

/// Where the code of a module comes from that was prepared, and perhaps made to count.
pub(crate) struct Origin {
    /// Without them, code is where it was in the loader's module.
    offsets: Option<OffsetMap>,
    counting: Option<Counting>,
    /// Where a filter's code comes from.
    filter: Option<OffsetMap>,
}

impl Origin {
    /// Creates the origin of a module in which the loader changed code as `loaded` says, which then was prepared with
    /// `prepared`, got deadline checks with `timed`, and then counted with `counting`; each where that was done. The
    /// code of a filter beside it comes from where `filter` says.
    pub(crate) fn new(
        loaded: Option<&OffsetMap>,
        prepared: Option<OffsetMap>,
        timed: Option<OffsetMap>,
        counting: Option<Counting>,
        filter: Option<OffsetMap>,
    ) -> Self {
        let counted = counting.as_ref().map(|counting| &counting.offsets);
        let steps = [loaded, prepared.as_ref(), timed.as_ref(), counted].into_iter().flatten();
        let offsets = steps.fold(None, |before: Option<OffsetMap>, step| {
            Some(before.map_or_else(|| step.clone(), |before| step.through(&before)))
        });
        Origin { offsets, counting, filter }
    }

    /// Returns a place's function and offset in the module as the loader made it; none if it is of no instruction of
    /// the driver's.
    fn of(&self, function: u32, offset: Option<usize>) -> Option<(u32, Option<u64>)> {
        let function = self.counting.as_ref().map_or(function, |counting| counting.original(function));
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
