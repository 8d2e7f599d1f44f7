//! The file of a trace: [frames] of events. A frame begins with the time of its first, in nanoseconds of
//! the nook's clock; before each event stands how much later it came than the one before.

use std::io;
use std::path::Path;

use anyhow::Result;
use serde::{Deserialize, Serialize};

use super::event::Event;
use crate::frames::numbers::{number, put};
use crate::frames::{self, FRAME_BYTES, FrameReader, FrameWriter, Kind};

const KIND: Kind = Kind { magic: b"nooktrc1", name: "trace", option: "--trace" };
/// A frame is written when it is long enough, or an event comes this long after its first. Of a driver that rests, the
/// last ones are written when it goes on or the run ends.
const FRAME_NS: u64 = 1_000_000_000;

/// What a trace is of.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Head {
    /// The contract's version, whose numbers of entries and hostcalls the events have.
    pub abi: (u16, u16),
    /// The driver's name and version.
    pub driver: String,
    /// The device, in words.
    pub device: String,
    /// Where the driver ran.
    pub isolation: String,
    /// The text of its register map's file.
    pub registers: String,
}

/// A trace that is being written.
pub struct Writer {
    file: FrameWriter,
    frame: Vec<u8>,
    begun_ns: u64,
    last_ns: u64,
    events: u64,
}

impl Writer {
    /// Creates the file, or empties it.
    ///
    /// # Errors
    /// If it cannot be created, or another trace is being written to it.
    pub fn create(path: &Path) -> Result<Self> {
        let file = FrameWriter::create(KIND, path)?;
        Ok(Writer { file, frame: Vec::new(), begun_ns: 0, last_ns: 0, events: 0 })
    }

    /// Writes what it is of; to be called first.
    ///
    /// # Errors
    /// If the file cannot be written.
    pub fn head(&mut self, head: &Head) -> Result<()> {
        self.file.begin(head)
    }

    /// Adds an event.
    ///
    /// # Errors
    /// If the file cannot be written, as when the disk is full.
    pub fn add(&mut self, at_ns: u64, event: &Event) -> io::Result<()> {
        if self.frame.is_empty() {
            (self.begun_ns, self.last_ns) = (at_ns, at_ns);
            put(&mut self.frame, at_ns);
        }
        put(&mut self.frame, at_ns.saturating_sub(self.last_ns));
        self.last_ns = self.last_ns.max(at_ns);
        event.write(&mut self.frame);
        self.events += 1;
        if self.frame.len() >= FRAME_BYTES || at_ns.saturating_sub(self.begun_ns) >= FRAME_NS {
            self.flush()?;
        }
        Ok(())
    }

    /// Ends it.
    ///
    /// # Errors
    /// If the file cannot be written.
    pub fn finish(&mut self) -> io::Result<()> {
        self.flush()?;
        self.file.end(self.events)
    }

    /// Says that it cannot be written.
    pub fn cannot(&self) -> String {
        self.file.cannot()
    }

    fn flush(&mut self) -> io::Result<()> {
        let frame = std::mem::take(&mut self.frame);
        self.file.frame(&frame)
    }
}

impl frames::Head for Head {
    fn abi(&self) -> (u16, u16) {
        self.abi
    }
}

/// A trace that is read.
pub struct Reader {
    file: FrameReader,
    /// What it is of.
    pub head: Head,
    /// The time of the last event.
    at_ns: u64,
}

impl Reader {
    /// Opens a trace.
    ///
    /// # Errors
    /// If it cannot be read, or is no trace of this version.
    pub fn open(path: &Path) -> Result<Self> {
        let (file, head) = FrameReader::open(KIND, path)?;
        Ok(Reader { file, head, at_ns: 0 })
    }

    /// Returns the next event and its time; nothing at the end.
    ///
    /// # Errors
    /// Where the file is damaged, or ends before its end; everything before was returned.
    pub fn event(&mut self) -> Result<Option<(u64, Event)>> {
        let Some(is_new) = self.file.advance()? else { return Ok(None) };
        if is_new {
            let at_ns = self.file.take(number)?;
            if at_ns < self.at_ns {
                return Err(self.file.out_of_order());
            }
            self.at_ns = at_ns;
        }
        let before_ns = self.at_ns;
        let (at_ns, event) = self.file.event(|rest| {
            let at_ns = before_ns.checked_add(number(rest)?)?;
            Some((at_ns, Event::read(rest)?))
        })?;
        self.at_ns = at_ns;
        Ok(Some((at_ns, event)))
    }
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::path::PathBuf;

    use nook_abi::Entry;

    use super::*;
    use crate::frames::FRAME_HEAD;

    fn head() -> Head {
        Head {
            abi: nook_abi::ABI_VERSION,
            driver: "sample 1".into(),
            device: "a device".into(),
            isolation: "sfi".into(),
            registers: String::new(),
        }
    }

    /// Writes a trace of `calls` calls, and returns it.
    fn written(folder: &Path, calls: u64) -> PathBuf {
        let path = folder.join("trace");
        let mut writer = Writer::create(&path).unwrap();
        writer.head(&head()).unwrap();
        for call in 0..calls {
            let args = [call, 256, 0];
            writer.add(1000 * call, &Event::Entered { entry: Entry::Poll, args }).unwrap();
            writer.add(1000 * call + 7, &Event::Left(Ok(call))).unwrap();
        }
        writer.finish().unwrap();
        path
    }

    /// Reads a trace, and returns its events and how that ended.
    fn read(path: &Path) -> (Vec<(u64, Event)>, Result<()>) {
        let mut events = Vec::new();
        let outcome = Reader::open(path).and_then(|mut reader| {
            while let Some(event) = reader.event()? {
                events.push(event);
            }
            Ok(())
        });
        (events, outcome)
    }

    #[test]
    fn a_trace_of_many_blocks_is_read_as_it_was_written() {
        let folder = tempfile::tempdir().unwrap();
        let (events, outcome) = read(&written(folder.path(), 20_000));
        outcome.unwrap();
        assert_eq!(events.len(), 40_000);
        assert_eq!(events[39_999], (19_999_007, Event::Left(Ok(19_999))));
    }

    #[test]
    fn one_that_was_cut_off_is_read_to_there_and_the_error_has_the_place() {
        let folder = tempfile::tempdir().unwrap();
        let path = written(folder.path(), 200);
        let whole = fs::read(&path).unwrap();
        for len in 0..whole.len() {
            fs::write(&path, &whole[..len]).unwrap();
            let (events, outcome) = read(&path);
            let why = outcome.unwrap_err().to_string();
            assert!(
                why.contains("cut off after byte ") || len < KIND.magic.len() && why.contains("is no trace"),
                "{why}"
            );
            assert!(events.is_empty() || events.len() == 400, "{len}: by whole blocks");
        }
    }

    #[test]
    fn one_that_was_changed_anywhere_is_refused_and_never_a_panic() {
        let folder = tempfile::tempdir().unwrap();
        let path = written(folder.path(), 50);
        let whole = fs::read(&path).unwrap();
        for at in 0..whole.len() {
            let mut bytes = whole.clone();
            bytes[at] ^= 1 << (at % 8);
            fs::write(&path, &bytes).unwrap();
            assert!(read(&path).1.is_err(), "byte {at} of {}", whole.len());
        }
    }

    #[test]
    fn zeros_in_place_of_the_rest_blocks_out_of_order_and_more_than_the_end_are_damage() {
        let folder = tempfile::tempdir().unwrap();
        let path = written(folder.path(), 20_000);
        let whole = fs::read(&path).unwrap();
        let block = |at: usize| {
            let len = u32::from_le_bytes(whole[at..at + 4].try_into().unwrap()) as usize;
            at..at + FRAME_HEAD as usize + len
        };
        let head = block(KIND.magic.len());
        let (first, second) = (block(head.end), block(block(head.end).end));
        let (head, rest) = (&whole[..head.end], &whole[second.end..]);
        let zeros = [head, &[0; 64]].concat();
        let swapped = [head, &whole[second.clone()], &whole[first.clone()], rest].concat();
        let more = [&whole[..], b"more"].concat();
        let cases =
            [(zeros, "checksum of its end"), (swapped, "begins before the one before"), (more, "follows its end")];
        for (bytes, says) in cases {
            fs::write(&path, bytes).unwrap();
            let why = read(&path).1.unwrap_err().to_string();
            assert!(why.contains(says), "{why}");
        }
    }

    #[test]
    fn one_file_takes_one_trace_at_a_time() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("trace");
        let first = Writer::create(&path).unwrap();
        let why = Writer::create(&path).err().unwrap();
        assert!(format!("{why:#}").contains("another trace is being written to it"), "{why:#}");
        drop(first);
        Writer::create(&path).unwrap();
    }
}
