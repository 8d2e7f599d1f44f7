//! Running again: what answers a driver in the place of its device and its host.

use std::collections::VecDeque;
use std::sync::Arc;

use nook_abi::{Entry, Fault, Hostcall};
use nook_instrument::LoadKind;

use super::recorder::shared_bytes;
use super::{Difference, Found, HowLeft, Recorded, Stored};
use crate::Space;
use crate::watch::Watch;

/// What is left of the call that runs, and what was found of it.
pub(crate) struct Player {
    /// Its events, up to its end.
    events: VecDeque<Recorded<'static>>,
    /// It was ended from outside.
    is_cut: bool,
    /// A hostcall was refused, as in the recording, which ends it.
    is_refused: bool,
    entry: Entry,
    loads: u64,
    stored: Stored,
    difference: Option<Difference>,
    /// What makes deadline checks trap in calls that are short.
    watch: Arc<Watch>,
}

/// What ends a call that has nothing to go on with: nobody reports it.
const ENDS: Fault = Fault::Revoked;

impl Player {
    pub(crate) fn new(watch: Arc<Watch>) -> Self {
        Player {
            events: VecDeque::new(),
            is_cut: false,
            is_refused: false,
            entry: Entry::Probe,
            loads: 0,
            stored: Stored::NOTHING,
            difference: None,
            watch,
        }
    }

    /// Begins a call, whose events up to its end these are.
    pub(super) fn begin(&mut self, entry: Entry, events: VecDeque<Recorded<'static>>) {
        self.is_cut = matches!(events.back(), Some(Recorded::Left { how: HowLeft::Cut(_), .. }) | None);
        (self.events, self.entry, self.is_refused) = (events, entry, false);
        self.loads = 0;
        self.stored = Stored::NOTHING;
        self.watch.end_calls(self.is_over());
    }

    /// Ends it. Returns the first difference, if there is any.
    pub(super) fn end(&mut self, outcome: &Result<u64, Fault>) -> Option<Difference> {
        self.watch.end_calls(false);
        if self.difference.is_some() {
            return self.difference.take();
        }
        let how = HowLeft::of(outcome);
        match self.events.pop_front() {
            Some(Recorded::Left { how: HowLeft::Cut(_), .. }) | None => None,
            Some(Recorded::Left { how: HowLeft::Faulted(_), .. }) if self.is_refused => None,
            Some(Recorded::Left { how: recorded, .. }) if recorded != how => {
                Some(self.differs(Some(recorded.into()), how.into()))
            }
            Some(Recorded::Left { loads, .. }) if loads != self.loads => {
                Some(self.differs(Some(Found::Loads(loads)), Found::Loads(self.loads)))
            }
            Some(Recorded::Left { stored, .. }) if stored != self.stored.0 => {
                Some(self.differs(None, Found::StoredOtherwise))
            }
            Some(Recorded::Left { .. }) => None,
            Some(other) => Some(self.differs(Some(other.into()), how.into())),
        }
    }

    /// Returns whether the call ended where it is, and nobody can say more precisely.
    fn is_over(&self) -> bool {
        self.is_cut && self.events.len() <= 1
    }

    fn differs(&self, recorded: Option<Found>, found: Found) -> Difference {
        Difference { entry: self.entry, recorded, found }
    }

    #[cold]
    fn differ(&mut self, recorded: Option<Found>, found: Found) -> Fault {
        self.difference.get_or_insert(Difference { entry: self.entry, recorded, found });
        ENDS
    }

    /// Takes the event that is next.
    fn take(&mut self) -> Option<Recorded<'static>> {
        let event = self.events.pop_front();
        if self.is_over() {
            self.watch.end_calls(true);
        }
        event
    }

    /// Returns after how many instructions the call is to be ended, if it is counted.
    pub(crate) fn counted(&mut self) -> Option<u64> {
        let &Recorded::Counted(instructions) = self.events.front()? else { return None };
        self.take();
        Some(instructions)
    }

    /// Returns the fault of a call that ends where it looks for its deadline.
    pub(crate) fn deadline(&self) -> Option<Fault> {
        self.is_over().then_some(ENDS)
    }

    /// Returns what a load gives that found `value` in this memory.
    #[inline]
    pub(crate) fn loaded(&mut self, space: &Space, addr: u64, value: u64, kind: LoadKind) -> Result<u64, Fault> {
        self.loads += 1;
        match self.events.front() {
            Some(Recorded::Loaded { load, .. }) if *load == self.loads => {
                let Some(Recorded::Loaded { bytes: (at, bytes), .. }) = self.take() else { return Err(ENDS) };
                if at != addr || bytes.len() != kind.width_bytes as usize {
                    let recorded = Found::Load { addr: at, len_bytes: bytes.len() as u64 };
                    let found = Found::Load { addr, len_bytes: kind.width_bytes.into() };
                    return Err(self.differ(Some(recorded), found));
                }
                put(space, at, &bytes);
                Ok(kind.extended(super::low_bytes(&bytes)))
            }
            _ if self.is_over() => Err(ENDS),
            _ => Ok(value),
        }
    }

    pub(crate) fn stored(&mut self, addr: u64, value: u64, width: usize) {
        self.stored.word(addr);
        self.stored.word(super::low_bytes(&value.to_le_bytes()[..width]));
    }

    /// Puts what is about to be read into memory.
    pub(crate) fn reads(&mut self, space: &Space, addr: u64, len: u64) -> Result<(), Fault> {
        self.loads += 1;
        while let Some(Recorded::Loaded { load, .. }) = self.events.front()
            && *load == self.loads
        {
            let Some(Recorded::Loaded { bytes: (at, bytes), .. }) = self.take() else { return Err(ENDS) };
            if at < addr || at.saturating_add(bytes.len() as u64) > addr + len {
                let recorded = Found::Load { addr: at, len_bytes: bytes.len() as u64 };
                return Err(self.differ(Some(recorded), Found::Load { addr, len_bytes: len }));
            }
            put(space, at, &bytes);
        }
        Ok(())
    }

    pub(crate) fn changed(&mut self, space: &Space, addr: u64, len: u64) {
        if let Some((addr, bytes)) = shared_bytes(space, addr, len) {
            self.stored.bytes(addr, &bytes);
        }
    }

    /// Answers a hostcall.
    pub(crate) fn called(&mut self, call: Hostcall, args: [u64; 3]) -> Result<u64, Fault> {
        match self.events.front() {
            Some(Recorded::Called { call: recorded, args: with, .. }) if *recorded == call && *with == args => {
                match self.take() {
                    Some(Recorded::Called { outcome: Ok(result), .. }) => Ok(result),
                    _ => {
                        self.is_refused = true;
                        Err(ENDS)
                    }
                }
            }
            _ if self.is_over() => Err(ENDS),
            other => {
                let recorded = other.cloned().map(Found::from);
                Err(self.differ(recorded, Found::Call { call, args }))
            }
        }
    }
}

/// Puts bytes into a driver's memory.
pub(super) fn put(space: &Space, addr: u64, bytes: &[u8]) {
    space.slice(addr, bytes.len() as u64).inspect(|slice| slice.copy_from(bytes));
}
