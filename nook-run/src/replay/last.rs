//! The last seconds of a run, kept in memory for crash bundles.

use std::collections::VecDeque;

use anyhow::Result;
use nook_runtime::{RecordSink, Recorded};

use super::event::{self, Since};
use super::file::{Head, KIND};
use crate::frames;

/// A part that has this many bytes is followed by another, however short its time is.
const PART_BYTES: usize = 16 << 20;
/// What has this many bytes, and no state of the driver comes, is dropped.
const MOST_BYTES: usize = 64 << 20;

/// A part of a run, which can be run again without what was before it: it begins with an instance's beginning, or with
/// a state of it.
struct Part {
    /// Snapshots up to this one were taken before it.
    after: u64,
    /// The time in the host page in its first call.
    begun_ns: Option<u64>,
    bytes: Vec<u8>,
    events: u64,
}

/// Keeps the events of at least the last `keep_ns`, and of at most twice as much, as far as there were any.
pub struct LastSeconds {
    keep_ns: u64,
    /// How the file begins.
    beginning: Vec<u8>,
    /// The one that grows, and the one before it; none at first, or if what there was cannot be run again.
    parts: VecDeque<Part>,
    since: Since,
    /// The last snapshot that was taken.
    captured: u64,
}

impl LastSeconds {
    /// Creates it, with nothing kept yet.
    ///
    /// # Errors
    /// If the head cannot be written down.
    pub fn new(keep_ns: u64, head: &Head) -> Result<Self> {
        let beginning = frames::beginning(KIND, head)?;
        let (parts, since) = (VecDeque::new(), Since::default());
        Ok(LastSeconds { keep_ns, beginning, parts, since, captured: 0 })
    }

    /// Returns whether the part that grows is long enough.
    fn is_full(&self, told_ns: u64) -> bool {
        let Some(part) = self.parts.back() else { return true };
        let lasted_ns = part.begun_ns.map_or(0, |begun_ns| told_ns.saturating_sub(begun_ns));
        lasted_ns >= self.keep_ns || part.bytes.len() >= PART_BYTES
    }

    /// Begins a part with the event that comes now.
    fn begin(&mut self) {
        if self.parts.len() == 2 {
            self.parts.pop_front();
        }
        self.since = Since::default();
        self.parts.push_back(Part { after: self.captured, begun_ns: None, bytes: Vec::new(), events: 0 });
    }

    /// Returns whether this snapshot was taken in what is kept.
    fn has(&self, snapshot: u64) -> bool {
        self.parts.front().is_some_and(|part| snapshot > part.after)
    }
}

impl RecordSink for LastSeconds {
    fn add(&mut self, event: &Recorded<'_>) {
        match event {
            Recorded::State { .. } => self.begin(),
            Recorded::Begun if self.parts.is_empty() => self.begin(),
            Recorded::Captured(snapshot) => self.captured = *snapshot,
            // What it goes on from is not there.
            Recorded::Restored { snapshot, .. } if !self.has(*snapshot) => self.parts.clear(),
            _ => {}
        }
        let Some(part) = self.parts.back_mut() else { return };
        if let Recorded::Entered { told_ns, .. } = event {
            part.begun_ns.get_or_insert(*told_ns);
        }
        event::write(event, &mut self.since, &mut part.bytes);
        part.events += 1;
        if part.bytes.len() >= MOST_BYTES {
            self.parts.clear();
        }
    }

    fn wants_state(&self, told_ns: u64) -> bool {
        self.is_full(told_ns)
    }

    fn kept(&self) -> Option<Vec<u8>> {
        if self.parts.is_empty() {
            return None;
        }
        let mut file = self.beginning.clone();
        self.parts.iter().for_each(|part| file.extend(frames::framed(&part.bytes)));
        file.extend(frames::end(self.parts.iter().map(|part| part.events).sum()));
        Some(file)
    }
}

#[cfg(test)]
mod tests {
    use nook_abi::Entry;

    use super::super::file::{Reader, tests::head};
    use super::*;

    const KEEP_NS: u64 = 1_000;

    fn state() -> Recorded<'static> {
        Recorded::State { globals: vec![], memory: vec![(64, vec![1; 8].into())] }
    }

    fn entered(told_ns: u64) -> Recorded<'static> {
        Recorded::Entered { entry: Entry::Poll, args: [0; 3], told_ns }
    }

    /// Does what a recorder does before a call.
    fn call(last: &mut LastSeconds, told_ns: u64) {
        if last.wants_state(told_ns) {
            last.add(&state());
        }
        last.add(&entered(told_ns));
    }

    fn kept(last: &LastSeconds) -> Vec<Recorded<'static>> {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("run.rec");
        std::fs::write(&path, last.kept().expect("something is kept")).unwrap();
        let (mut reader, mut events) = (Reader::open(&path).unwrap(), Vec::new());
        while let Some(event) = reader.event().unwrap() {
            events.push(event);
        }
        events
    }

    #[test]
    fn a_run_that_is_short_is_kept_from_its_beginning() {
        let mut last = LastSeconds::new(KEEP_NS, &head()).unwrap();
        assert!(last.kept().is_none());
        last.add(&Recorded::Begun);
        (0..9).for_each(|n| call(&mut last, n * 100));
        let events = kept(&last);
        assert_eq!((events.len(), &events[0], &events[9]), (10, &Recorded::Begun, &entered(800)));
    }

    #[test]
    fn of_a_long_one_the_end_is_kept_and_begins_with_a_state() {
        let mut last = LastSeconds::new(KEEP_NS, &head()).unwrap();
        last.add(&Recorded::Begun);
        for n in 0..1_000 {
            call(&mut last, 5_000 + n * 100);
            let events = kept(&last);
            let first = events.iter().find_map(|event| match event {
                Recorded::Entered { told_ns, .. } => Some(*told_ns),
                _ => None,
            });
            let kept_ns = 5_000 + n * 100 - first.unwrap();
            assert!(kept_ns < 2 * KEEP_NS && (kept_ns >= KEEP_NS || n < 10), "{kept_ns} ns after {n} calls");
            assert!(matches!(events[0], Recorded::Begun | Recorded::State { .. }));
        }
        assert_eq!(kept(&last)[0], state());
    }

    #[test]
    fn what_goes_on_from_a_snapshot_that_is_not_there_is_not_kept() {
        let mut last = LastSeconds::new(KEEP_NS, &head()).unwrap();
        last.add(&Recorded::Begun);
        last.add(&Recorded::Captured(1));
        let restored = |snapshot| Recorded::Restored { snapshot, memory: vec![] };
        call(&mut last, 0);
        last.add(&restored(1));
        assert_eq!(kept(&last).last(), Some(&restored(1)), "it was taken in what is kept");
        (0..40).for_each(|n| call(&mut last, n * 100));
        last.add(&Recorded::Captured(2));
        last.add(&restored(2));
        assert_eq!(kept(&last).last(), Some(&restored(2)));
        last.add(&restored(1));
        assert!(last.kept().is_none() && last.wants_state(4_000));
        call(&mut last, 4_000);
        assert_eq!(kept(&last), [state(), entered(4_000)]);
    }

    #[test]
    fn where_no_state_comes_memory_stays_bounded() {
        let mut last = LastSeconds::new(KEEP_NS, &head()).unwrap();
        last.add(&Recorded::Begun);
        let big = || Recorded::RolledBack(vec![(0, vec![1; 1 << 20].into())]);
        (0..63).for_each(|_| last.add(&big()));
        assert!(last.kept().is_some_and(|file| file.len() < MOST_BYTES) && last.wants_state(0));
        (0..9).for_each(|_| last.add(&big()));
        assert!(last.kept().is_none());
        last.add(&Recorded::Begun);
        assert_eq!(kept(&last), [Recorded::Begun]);
    }
}
