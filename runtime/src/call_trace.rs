//! What a driver did last, to investigate its end: a short ring of calls each way, which costs a few stores
//! per call, and what was on its call stack and in its memory when it died.

use std::collections::VecDeque;

use nook_abi::{Entry, Fault, Hostcall};
use nook_bus::LastValue;

use crate::{Host, NookError, Space};

/// Calls that are kept.
const STEPS: usize = 256;
/// Of the last of them that log something, how many are kept with what they say.
const TEXTS: usize = 16;
/// The grain of a memory image.
pub(crate) const PAGE_BYTES: u64 = 4096;

/// One call.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TracedCall {
    /// What was called.
    pub call: Call,
    /// Its arguments, in the table's order; the rest is zero.
    pub args: [u64; 3],
    /// What a hostcall returned; zero for an entry, which is noted before it runs.
    pub result: u64,
    /// The time in the host page, in nanoseconds of the nook's clock, when the entry that this is or is of was called:
    /// several entries that follow one event share it.
    pub told_ns: u64,
}

/// What watches the calls of a nook as they pass, at the levels that see them: `sfi`, `sfi+txn` and `process`.
pub trait CallSink: Send {
    /// The driver is about to be called.
    fn entered(&mut self, entry: Entry, args: [u64; 3]);

    /// It came back with a result, or its call was ended. Also told of a call that was refused without being made,
    /// because the instance had ended before.
    fn left(&mut self, outcome: Result<u64, Fault>);

    /// The driver called the host, which did what was asked, or refused.
    fn called(&mut self, call: Hostcall, args: [u64; 3], outcome: Result<u64, Fault>);

    /// Something happened to the instance.
    fn lived(&mut self, life: Life<'_>);
}

/// What happens to an instance.
#[derive(Clone, Copy, Debug)]
pub enum Life<'a> {
    /// It begins.
    Begun,
    /// It ended.
    Ended,
    /// Its last call, of this entry, was undone, because of this.
    RolledBack(Entry, &'a NookError),
    /// It goes on from a snapshot.
    Restored,
}

/// What was called.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Call {
    /// The driver, by the host.
    Entry(Entry),
    /// The host, by the driver.
    Hostcall(Hostcall),
    /// The host, by the driver, and it ended in a fault.
    Refused(Hostcall),
}

/// One function that had been called and had not returned.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Caller {
    /// Its number in the module that runs.
    pub function: u32,
    /// Its name, if the module has one for it.
    pub name: Option<String>,
    /// Where it was: bytes from the start of the module that runs.
    pub module_offset: Option<u64>,
    /// It is the driver's own code, not that of a filter beside it.
    pub in_driver: bool,
}

/// A page of memory that is not all zero.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Page {
    /// Its address in the driver's memory.
    pub addr: u64,
    /// What is in it.
    pub bytes: Vec<u8>,
}

/// What of a driver's memory is looked at when it dies.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum MemoryDump {
    /// Nothing.
    #[default]
    Nothing,
    /// What is its own: data, stack, heap, and what it shares with the host.
    Private,
    /// That and the DMA window.
    All,
}

/// What is known of a driver's end.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct CrashState {
    /// Its last calls, oldest first. Only what passes the sandbox's border is seen.
    pub steps: Vec<TracedCall>,
    /// What the last of them that logged something said: which of `steps`, and the line as the log had it.
    pub texts: Vec<(usize, String)>,
    /// Its call stack, innermost first, if its own code was running.
    pub callers: Vec<Caller>,
    /// Its memory, by address; pages that are not there were zero.
    pub memory: Vec<Page>,
    /// What passed last between it and each register of its device, in the order of the register map. Not of a driver
    /// that has its registers as memory.
    pub registers: Vec<LastValue>,
    /// The file of what is kept of a recording, if anything keeps one: [`Nook::kept_recording`](crate::Nook).
    pub recording: Option<Vec<u8>>,
}

/// The ring, and what was found at the last fault.
pub(crate) struct CallTrace {
    steps: Box<[TracedCall; STEPS]>,
    count: usize,
    /// What came before is no longer there, though it would have a place.
    oldest: usize,
    pub(crate) keep: MemoryDump,
    pub(crate) callers: Vec<Caller>,
    /// Which address the driver's code used that is outside its memory.
    pub(crate) outside: Option<u64>,
    /// The length of the driver's stack, if it lies lowest in its memory.
    pub(crate) stack_bytes: Option<u32>,
    /// The time in the host page.
    pub(crate) told_ns: u64,
    /// What watches besides.
    pub(crate) sink: Option<Box<dyn CallSink>>,
    memory: Vec<Page>,
    /// What was logged last, each with how many steps there were before it.
    texts: VecDeque<(usize, String)>,
}

impl Default for CallTrace {
    fn default() -> Self {
        let never = TracedCall { call: Call::Entry(Entry::Probe), args: [0; 3], result: 0, told_ns: 0 };
        CallTrace {
            steps: Box::new([never; STEPS]),
            count: 0,
            oldest: 0,
            keep: MemoryDump::Nothing,
            callers: Vec::new(),
            outside: None,
            stack_bytes: None,
            told_ns: 0,
            sink: None,
            memory: Vec::new(),
            texts: VecDeque::new(),
        }
    }
}

impl CallTrace {
    /// Notes that the driver is about to be called.
    #[inline]
    pub(crate) fn entry(&mut self, entry: Entry, args: [u64; 3]) {
        self.push(TracedCall { call: Call::Entry(entry), args, result: 0, told_ns: self.told_ns });
        if let Some(sink) = &mut self.sink {
            sink.entered(entry, args);
        }
    }

    /// Notes that a call of the driver is over.
    #[inline]
    pub(crate) fn left<R: Word>(&mut self, outcome: &Result<R, Fault>) {
        if let Some(sink) = &mut self.sink {
            sink.left(outcome.as_ref().map(Word::word).map_err(|fault| *fault));
        }
    }

    /// Notes what happened to the instance.
    pub(crate) fn lived(&mut self, life: Life<'_>) {
        if let Some(sink) = &mut self.sink {
            sink.lived(life);
        }
    }

    /// Notes that the host was called.
    #[inline]
    pub(crate) fn hostcall<R: Word>(&mut self, call: Hostcall, args: [u64; 3], result: &Result<R, Fault>) {
        if let Some(sink) = &mut self.sink {
            sink.called(call, args, result.as_ref().map(Word::word).map_err(|fault| *fault));
        }
        let (call, result) = match result {
            Ok(result) => (Call::Hostcall(call), result.word()),
            Err(_) => (Call::Refused(call), 0),
        };
        self.push(TracedCall { call, args, result, told_ns: self.told_ns });
    }

    /// Notes what the hostcall says that is about to be noted.
    pub(crate) fn logged(&mut self, text: String) {
        if self.texts.len() == TEXTS {
            self.texts.pop_front();
        }
        self.texts.push_back((self.count, text));
    }

    #[inline]
    fn push(&mut self, step: TracedCall) {
        self.steps[self.count % STEPS] = step;
        self.count = self.count.wrapping_add(1);
    }

    /// Returns how many were noted up to now, but for those that were [forgotten](Self::forget_since).
    pub(crate) fn count(&self) -> usize {
        self.count
    }

    /// Forgets what was noted since there were `count`, but for the first of it: the call of the driver, of which the
    /// rest is what it read. What all that has displaced stays so.
    pub(crate) fn forget_since(&mut self, count: usize) {
        self.oldest = self.oldest.max(self.count.saturating_sub(STEPS));
        self.count = self.count.min(count + 1);
        self.texts.retain(|(at, _)| *at < self.count);
    }

    /// Begins a new instance: what the last one had is dropped.
    pub(crate) fn begin(&mut self) {
        self.callers.clear();
        self.memory.clear();
        self.outside = None;
    }

    fn dump_memory_on_fault(&mut self, space: &Space, used_bytes: u64) {
        let window = (space.window_addr(), space.len_bytes());
        self.memory = match self.keep {
            MemoryDump::Nothing => Vec::new(),
            MemoryDump::Private => pages(space, [(0, used_bytes)]),
            MemoryDump::All => pages(space, [(0, used_bytes), window]),
        };
    }

    /// Takes all of it; the stack and the memory are gone from here afterwards.
    pub(crate) fn take(&mut self) -> CrashState {
        let oldest = self.oldest.max(self.count.saturating_sub(STEPS));
        let texts = self.texts.iter().filter_map(|(at, text)| Some((at.checked_sub(oldest)?, text.clone())));
        CrashState {
            steps: (oldest..self.count).map(|at| self.steps[at % STEPS]).collect(),
            texts: texts.collect(),
            callers: std::mem::take(&mut self.callers),
            memory: std::mem::take(&mut self.memory),
            registers: Vec::new(),
            recording: None,
        }
    }
}

impl Host {
    /// Has calls of the driver and its hostcalls watched from now on, in this instance and in later ones.
    pub fn watch_calls(&mut self, sink: Box<dyn CallSink>) {
        self.call.trace.sink = Some(sink);
    }

    /// Copies what is to be kept of the driver's memory, if there is a driver.
    pub(crate) fn dump_memory(&mut self) {
        let layout = *self.layout();
        // A native driver's places are this process's own addresses: what is its private memory is not known.
        if let Some(space) = self.space.as_ref().filter(|space| space.window_addr() == layout.window) {
            self.call.trace.dump_memory_on_fault(space, layout.rings_end);
        }
    }
}

/// Returns the pages of these ranges that are not all zero.
pub(crate) fn pages<const N: usize>(space: &Space, ranges: [(u64, u64); N]) -> Vec<Page> {
    let addrs = ranges.into_iter().flat_map(|(from, to)| (from..to).step_by(PAGE_BYTES as usize));
    let mut bytes = vec![0; PAGE_BYTES as usize];
    addrs
        .filter_map(|addr| {
            space.slice(addr, PAGE_BYTES)?.copy_to(&mut bytes);
            // Most are zero, and equality of slices is quick.
            (bytes != [0; PAGE_BYTES as usize]).then(|| Page { addr, bytes: bytes.clone() })
        })
        .collect()
}

/// What a hostcall can return, as a number.
pub(crate) trait Word {
    fn word(&self) -> u64;

    /// Returns what has this number.
    fn of_word(word: u64) -> Self;
}

impl Word for () {
    fn word(&self) -> u64 {
        0
    }

    fn of_word(_: u64) {}
}

macro_rules! words {
    ($($ty:ident)*) => { $(
        impl Word for $ty {
            #[inline]
            fn word(&self) -> u64 {
                *self as i64 as u64
            }

            #[inline]
            fn of_word(word: u64) -> Self {
                word as $ty
            }
        }
    )* };
}

words!(u32 i32 u64 i64);

#[cfg(test)]
mod tests {
    use nook_abi::padded;

    use super::*;

    #[test]
    fn the_last_calls_are_kept_oldest_first() {
        let mut trace = CallTrace::default();
        assert!(trace.take().steps.is_empty());
        for n in 0..STEPS as u64 + 3 {
            trace.entry(Entry::Poll, padded([n]));
        }
        trace.hostcall(Hostcall::ClockNs, padded([]), &Ok(7u64));
        trace.hostcall(Hostcall::DmaFree, padded([9]), &Err::<(), _>(Fault::DeviceFailed));
        let steps = trace.take().steps;
        assert_eq!(steps.len(), STEPS);
        assert_eq!(steps[0].args, [5, 0, 0]);
        let hostcall = TracedCall { call: Call::Hostcall(Hostcall::ClockNs), args: [0; 3], result: 7, told_ns: 0 };
        let refused = TracedCall { call: Call::Refused(Hostcall::DmaFree), args: [9, 0, 0], result: 0, told_ns: 0 };
        assert_eq!(steps[STEPS - 2..], [hostcall, refused]);
    }

    #[test]
    fn what_is_forgotten_leaves_its_call_and_nothing_that_it_had_displaced() {
        let mut trace = CallTrace::default();
        for n in 0..300 {
            trace.entry(Entry::Poll, padded([n]));
        }
        let noted = trace.count();
        trace.entry(Entry::Stats, padded([]));
        (0..60).for_each(|_| trace.hostcall(Hostcall::ClockNs, padded([]), &Ok(7u64)));
        trace.forget_since(noted);
        trace.entry(Entry::Poll, padded([300]));
        let steps = trace.take().steps;
        let polls: Vec<u64> =
            steps.iter().filter(|step| step.call == Call::Entry(Entry::Poll)).map(|it| it.args[0]).collect();
        // There are places for 256, of which 61 were taken for a while.
        assert_eq!((polls.first(), polls.last(), polls.len()), (Some(&105), Some(&300), 196));
        assert_eq!((steps.len(), steps[195].call), (197, Call::Entry(Entry::Stats)));
    }

    #[test]
    fn what_was_logged_stays_with_its_call_and_goes_with_it() {
        let mut trace = CallTrace::default();
        let log = |trace: &mut CallTrace, text: String| {
            trace.logged(text);
            trace.hostcall(Hostcall::Log, padded([1]), &Ok(()));
        };
        trace.entry(Entry::Poll, padded([0]));
        (0..=TEXTS).for_each(|n| log(&mut trace, n.to_string()));
        let state = trace.take();
        let kept: Vec<_> = state.texts.iter().map(|(at, text)| (*at, text.as_str())).collect();
        assert_eq!((kept.len(), kept[0], kept[TEXTS - 1]), (TEXTS, (2, "1"), (TEXTS + 1, "16")));
        let noted = trace.count();
        trace.entry(Entry::Stats, padded([]));
        log(&mut trace, "undone".into());
        trace.forget_since(noted);
        assert!(trace.take().texts.iter().all(|(_, text)| text != "undone"));
        // Steps push out older ones, and their texts with them.
        (0..STEPS as u64).for_each(|n| trace.entry(Entry::Poll, padded([n])));
        assert!(trace.take().texts.is_empty());
    }

    #[test]
    fn a_negative_result_keeps_its_sign() {
        assert_eq!((-5i32).word() as i64, -5);
        assert_eq!(u32::MAX.word(), 0xffff_ffff);
    }
}
