//! The file of a recording: [frames] of events.

use std::collections::HashSet;
use std::io;
use std::path::Path;

use anyhow::Result;
use nook_bus::{BarInfo, BarSpace, PciDevice, PciIdentity};
use nook_runtime::{DriverModule, Layout, RecordSink, Recorded};
use serde::{Deserialize, Serialize};

use super::event::{self, Since};
use crate::frames::{self, FRAME_BYTES, FrameReader, FrameWriter, Kind};

pub const KIND: Kind = Kind { magic: b"nookrec2", name: "recording", option: "--record" };
/// A frame is written when it is long enough, or a call begins this long after the first in it.
const FRAME_NS: u64 = 1_000_000_000;

/// What a recording is of.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Head {
    /// The contract's version, whose numbers of entries and hostcalls the events have.
    pub abi: (u16, u16),
    /// The driver's name and version.
    pub driver: String,
    /// The SHA-256 of its file, in hexadecimal digits.
    pub sha256: String,
    /// The device.
    pub device: Device,
    /// How the driver was made to run.
    pub how: How,
    /// Where in its memory that begins which it shares, where its DMA window is, and where it ends, in bytes.
    pub memory: [u64; 3],
    /// The text of its register map's file.
    pub registers: String,
}

/// How a driver was made to run: again it is made in the same way.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct How {
    /// Where it ran, or began.
    pub isolation: String,
    /// It ran at `sfi` until its first fault, and at `sfi+txn` from then on.
    pub begins_with_sfi: bool,
    /// Its private memory was kept by pages.
    pub keeps_pages: bool,
    /// Its calls could be ended on request.
    pub counts: bool,
}

/// What is known of a device.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Device {
    /// In words.
    pub name: String,
    /// Vendor and device id, those of the subsystem, class and revision.
    pub ids: [u32; 6],
    /// The number of each BAR, whether it is in I/O space, and its length in bytes.
    pub bars: Vec<(u8, bool, u64)>,
}

impl Device {
    /// Describes a device.
    pub fn of(device: &dyn PciDevice) -> Self {
        let PciIdentity { vendor, device: id, subsystem_vendor, subsystem, class, revision } = device.identity();
        let ids = [vendor.into(), id.into(), subsystem_vendor.into(), subsystem.into(), class, revision.into()];
        let bars = device.bars().iter().map(|bar| (bar.index, bar.space == BarSpace::Io, bar.len_bytes)).collect();
        Device { name: device.describe(), ids, bars }
    }

    /// Returns its identity.
    pub fn identity(&self) -> PciIdentity {
        let [vendor, device, subsystem_vendor, subsystem, class, revision] = self.ids;
        PciIdentity {
            vendor: vendor as u16,
            device: device as u16,
            subsystem_vendor: subsystem_vendor as u16,
            subsystem: subsystem as u16,
            class,
            revision: revision as u8,
        }
    }

    /// Returns its BARs.
    pub fn bars(&self) -> Vec<BarInfo> {
        let space = |io: bool| if io { BarSpace::Io } else { BarSpace::Memory };
        self.bars.iter().map(|&(index, io, len_bytes)| BarInfo { index, space: space(io), len_bytes }).collect()
    }
}

/// Returns what [`Head::memory`] has of a driver.
pub fn memory(module: &DriverModule) -> [u64; 3] {
    let Layout { host_page, window, window_bytes, .. } = *module.layout();
    [host_page, window, window + window_bytes]
}

/// A recording that is being written, until it is dropped.
///
/// One that cannot be written any more, as on a full disk, is said once in the log and ends; the run goes on.
pub struct Writer {
    file: Option<FrameWriter>,
    frame: Vec<u8>,
    begun_ns: u64,
    since: Since,
    events: u64,
}

impl Writer {
    /// Creates the file, or empties it.
    ///
    /// # Errors
    /// If it cannot be created, or another recording is being written to it.
    pub fn create(path: &Path) -> Result<Self> {
        let file = Some(FrameWriter::create(KIND, path)?);
        Ok(Writer { file, frame: Vec::new(), begun_ns: 0, since: Since::default(), events: 0 })
    }

    /// Writes what it is of; to be called first.
    ///
    /// # Errors
    /// If the file cannot be written.
    pub fn head(&mut self, head: &Head) -> Result<()> {
        self.file.as_mut().map_or(Ok(()), |file| file.begin(head))
    }

    fn flush(&mut self) {
        let outcome = self.file.as_mut().map_or(Ok(()), |file| file.frame(&self.frame));
        self.frame.clear();
        self.check(outcome);
    }

    fn check(&mut self, outcome: io::Result<()>) {
        if let (Err(error), Some(file)) = (outcome, &self.file) {
            tracing::error!("{}: {error}; the recording ends here, the run goes on", file.cannot());
            self.file = None;
        }
    }
}

impl RecordSink for Writer {
    fn add(&mut self, event: &Recorded<'_>) {
        if self.file.is_none() {
            return;
        }
        if let Recorded::Entered { told_ns, .. } = event
            && told_ns.saturating_sub(self.begun_ns) >= FRAME_NS
        {
            self.flush();
            self.begun_ns = *told_ns;
        }
        event::write(event, &mut self.since, &mut self.frame);
        self.events += 1;
        if self.frame.len() >= FRAME_BYTES {
            self.flush();
        }
    }
}

impl Drop for Writer {
    fn drop(&mut self) {
        self.flush();
        let outcome = self.file.as_mut().map_or(Ok(()), |file| file.end(self.events));
        self.check(outcome);
    }
}

impl frames::Head for Head {
    fn abi(&self) -> (u16, u16) {
        self.abi
    }
}

/// A recording that is read.
pub struct Reader {
    file: FrameReader,
    /// What it is of.
    pub head: Head,
    since: Since,
}

impl Reader {
    /// Opens a recording.
    ///
    /// # Errors
    /// If it cannot be read, or is no recording of this version.
    pub fn open(path: &Path) -> Result<Self> {
        let (file, head) = FrameReader::open(KIND, path)?;
        Ok(Reader { file, head, since: Since::default() })
    }

    /// Returns the next event; nothing at the end.
    ///
    /// # Errors
    /// Where the file is damaged, or ends before its end; everything before was returned.
    pub fn event(&mut self) -> Result<Option<Recorded<'static>>> {
        if self.file.advance()?.is_none() {
            return Ok(None);
        }
        let since = &mut self.since;
        self.file.event(|rest| event::read(since, rest)).map(Some)
    }

    /// Returns how many were read.
    pub fn events(&self) -> u64 {
        self.file.events()
    }

    /// Reads it to its end, or to where it is damaged. Returns which snapshots it goes on from.
    pub fn restored(mut self) -> HashSet<u64> {
        let mut restored = HashSet::new();
        while let Ok(Some(event)) = self.event() {
            if let Recorded::Restored { snapshot, .. } = event {
                restored.insert(snapshot);
            }
        }
        restored
    }
}

#[cfg(test)]
pub mod tests {
    use std::fs;
    use std::path::PathBuf;

    use super::*;

    pub fn head() -> Head {
        let device =
            Device { name: "a device".into(), ids: [1, 2, 3, 4, 5, 6], bars: vec![(0, false, 4096), (2, true, 8)] };
        Head {
            abi: nook_abi::ABI_VERSION,
            driver: "sample 1".into(),
            sha256: "00".into(),
            device,
            how: How { isolation: "sfi".into(), begins_with_sfi: false, keeps_pages: true, counts: false },
            memory: [1 << 16, 1 << 17, 1 << 18],
            registers: String::new(),
        }
    }

    fn written(folder: &Path, rounds: usize) -> PathBuf {
        let path = folder.join("recording");
        let mut writer = Writer::create(&path).unwrap();
        writer.head(&head()).unwrap();
        (0..rounds).for_each(|_| event::tests::all().iter().for_each(|event| writer.add(event)));
        path
    }

    fn read(path: &Path) -> (Vec<Recorded<'static>>, Result<()>) {
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
    fn a_recording_of_many_frames_is_read_as_it_was_written() {
        let folder = tempfile::tempdir().unwrap();
        let path = written(folder.path(), 100);
        assert!(fs::metadata(&path).unwrap().len() > 4 * FRAME_BYTES as u64);
        let (events, outcome) = read(&path);
        outcome.unwrap();
        let expected: Vec<_> = (0..100).flat_map(|_| event::tests::all()).collect();
        assert!(events == expected);
        let reader = Reader::open(&path).unwrap();
        assert_eq!(reader.head, head());
        assert_eq!((reader.head.device.identity().class, reader.head.device.bars().len()), (5, 2));
        assert_eq!(reader.restored(), HashSet::from([3, 4]));
    }

    #[test]
    fn one_that_was_cut_off_or_changed_is_refused_with_the_place() {
        let folder = tempfile::tempdir().unwrap();
        let path = written(folder.path(), 1);
        let whole = fs::read(&path).unwrap();
        for at in (0..whole.len()).step_by(7) {
            fs::write(&path, &whole[..at]).unwrap();
            let why = read(&path).1.unwrap_err().to_string();
            assert!(why.contains("cut off after byte ") || at < 8 && why.contains("is no recording"), "{why}");
            let mut bytes = whole.clone();
            bytes[at] ^= 1 << (at % 8);
            fs::write(&path, &bytes).unwrap();
            assert!(read(&path).1.is_err(), "byte {at} of {}", whole.len());
        }
    }
}
