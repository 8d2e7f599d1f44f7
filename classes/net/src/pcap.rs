//! A capture file that Wireshark and tcpdump open: classic pcap with nanoseconds, or pcapng.
//!
//! Classic pcap is that of draft-ietf-opsawg-pcap: a file header of 24 bytes, then for each packet a header of 16 bytes
//! and its bytes, all in the byte order of the magic number. [`pcapng`] says which way a packet went besides, and what
//! became of it.

mod pcapng;

use std::fs::{File, OpenOptions, TryLockError};
use std::io::{self, Seek, Write};
use std::path::{Path, PathBuf};

/// Says that times are seconds and nanoseconds, and in which byte order the file is.
const MAGIC_NANOSECONDS: u32 = 0xa1b2_3c4d;

/// The version of the format: 2.4.
const VERSION: (u16, u16) = (2, 4);

/// No packet is longer than this; tcpdump's own limit.
const SNAPSHOT_BYTES: u32 = 262_144;

/// LINKTYPE_ETHERNET.
const LINK_ETHERNET: u32 = 1;

/// Written to the file when this much has been collected.
const BUFFER_BYTES: usize = 256 * 1024;

/// What a capture held at its end.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct PcapTotals {
    /// Packets recorded.
    pub packets: u64,
    /// Bytes of the file.
    pub file_bytes: u64,
}

/// Which way a packet went, and what became of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Passed {
    /// From the driver to the interface.
    In,
    /// The same, and the interface did not take it.
    Refused,
    /// From the interface to the driver.
    Out,
}

/// How the file is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Format {
    Classic,
    Pcapng,
}

/// A capture file that is being written: pcapng if its name ends so, else classic pcap.
///
/// Packets are collected and written in large pieces: when the buffer is full, on [`flush`](Self::flush), and on
/// drop. The file always ends with a whole packet, also after a failed write.
pub struct Pcap {
    file: File,
    path: PathBuf,
    format: Format,
    buffer: Vec<u8>,
    totals: PcapTotals,
    /// Bytes of the file that are known to be whole packets.
    written_bytes: u64,
}

impl Pcap {
    /// Creates the file, or empties it. It is locked against another capture (flock(2)) until this one ends.
    ///
    /// # Errors
    /// If it cannot be created, or another capture is being written to it; the error names it.
    pub fn create(path: impl AsRef<Path>) -> io::Result<Pcap> {
        let path = path.as_ref().to_path_buf();
        let file = create(&path)
            .map_err(|error| io::Error::new(error.kind(), format!("cannot create {}: {error}", path.display())))?;
        let is_pcapng = path.extension().is_some_and(|extension| extension.eq_ignore_ascii_case("pcapng"));
        let format = if is_pcapng { Format::Pcapng } else { Format::Classic };
        let mut buffer = Vec::with_capacity(BUFFER_BYTES);
        match format {
            Format::Classic => begin(&mut buffer),
            Format::Pcapng => pcapng::begin(&mut buffer),
        }
        let totals = PcapTotals { packets: 0, file_bytes: buffer.len() as u64 };
        Ok(Pcap { file, path, format, buffer, totals, written_bytes: 0 })
    }

    /// Returns where it is.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Returns what it holds up to now, written or not.
    pub fn totals(&self) -> PcapTotals {
        self.totals
    }

    /// Adds a frame that passed at `at_ns` (nanoseconds since 1970).
    ///
    /// # Errors
    /// If the file cannot be written, as when the disk is full.
    pub fn record(&mut self, at_ns: u64, frame: &[u8], passed: Passed) -> io::Result<()> {
        let kept = &frame[..frame.len().min(SNAPSHOT_BYTES as usize)];
        if self.buffer.len() + RECORD_BYTES + kept.len() > BUFFER_BYTES {
            self.flush()?;
        }
        let before = self.buffer.len();
        match self.format {
            Format::Classic => add(&mut self.buffer, at_ns, kept, frame.len()),
            Format::Pcapng => pcapng::add(&mut self.buffer, at_ns, kept, frame.len(), passed),
        }
        self.totals.packets += 1;
        self.totals.file_bytes += (self.buffer.len() - before) as u64;
        Ok(())
    }

    /// Writes to the file what has been collected.
    ///
    /// # Errors
    /// If the file cannot be written. It is cut back to the last whole packet then, and what was collected is lost.
    pub fn flush(&mut self) -> io::Result<()> {
        let outcome = self.file.write_all(&self.buffer);
        match outcome {
            Ok(()) => self.written_bytes += self.buffer.len() as u64,
            Err(_) => {
                // Not possible on a pipe, and then there is nothing to cut.
                let _ = self.file.set_len(self.written_bytes);
                let _ = self.file.seek(io::SeekFrom::End(0));
            }
        }
        self.buffer.clear();
        outcome.map_err(|error| {
            io::Error::new(error.kind(), format!("cannot write the capture {}: {error}", self.path.display()))
        })
    }

    /// Returns whether something waits to be written.
    pub(crate) fn is_dirty(&self) -> bool {
        !self.buffer.is_empty()
    }

    /// Writes the rest and says what was captured.
    ///
    /// # Errors
    /// If the file cannot be written.
    pub fn finish(mut self) -> io::Result<PcapTotals> {
        self.flush()?;
        Ok(self.totals)
    }
}

/// Opens the file and empties it, once nobody else writes a capture to it.
fn create(path: &Path) -> io::Result<File> {
    let file = OpenOptions::new().write(true).create(true).truncate(false).open(path)?;
    // A pipe or a terminal keeps nothing that could be damaged, and cannot be emptied.
    if !file.metadata()?.is_file() {
        return Ok(file);
    }
    match file.try_lock() {
        Err(TryLockError::WouldBlock) => {
            let why = "another capture is being written to it; choose another file, or end that one";
            return Err(io::Error::new(io::ErrorKind::ResourceBusy, why));
        }
        // A file system without locks.
        Ok(()) | Err(TryLockError::Error(_)) => {}
    }
    file.set_len(0)?;
    Ok(file)
}

impl Drop for Pcap {
    fn drop(&mut self) {
        if let Err(error) = self.flush() {
            tracing::error!("{error}");
        }
    }
}

/// What stands around each packet, at most.
const RECORD_BYTES: usize = 96;

/// Appends the file header of a classic file.
fn begin(buffer: &mut Vec<u8>) {
    buffer.extend_from_slice(&MAGIC_NANOSECONDS.to_ne_bytes());
    buffer.extend_from_slice(&VERSION.0.to_ne_bytes());
    buffer.extend_from_slice(&VERSION.1.to_ne_bytes());
    // Two fields that are zero in every file: the time zone and the accuracy of the stamps.
    buffer.extend_from_slice(&[0; 8]);
    buffer.extend_from_slice(&SNAPSHOT_BYTES.to_ne_bytes());
    buffer.extend_from_slice(&LINK_ETHERNET.to_ne_bytes());
}

/// Appends a packet of `len` bytes, of which these are kept.
fn add(buffer: &mut Vec<u8>, at_ns: u64, kept: &[u8], len: usize) {
    // Seconds are 32 bits, which end in 2106.
    buffer.extend_from_slice(&((at_ns / 1_000_000_000) as u32).to_ne_bytes());
    buffer.extend_from_slice(&((at_ns % 1_000_000_000) as u32).to_ne_bytes());
    buffer.extend_from_slice(&(kept.len() as u32).to_ne_bytes());
    buffer.extend_from_slice(&(len as u32).to_ne_bytes());
    buffer.extend_from_slice(kept);
}
