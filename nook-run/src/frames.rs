//! Files of what happened in a run, as it happened: a trace, a recording. They are written while the run goes on, and
//! are read as far as they are whole.
//!
//! All numbers are little endian. A file begins with 8 characters that say what it is, the last of them the version of
//! its format. Then come frames: a length in bytes and their CRC-32C, 4 bytes each, and the bytes. The first one says
//! what the file is of, the others hold events. The end is a frame of length 0, and after it 8 bytes with the number of
//! events. So a file that was cut off is known as such, wherever that was, and what stands before is read all the same.

use std::fs::{File, OpenOptions, TryLockError};
use std::io::{self, BufReader, Read, Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail};
use serde::Serialize;
use serde::de::DeserializeOwned;

pub mod numbers;

/// A frame is written when it has this many bytes.
pub const FRAME_BYTES: usize = 64 << 10;
/// Longer frames are not read: a text in an event is a line, the first frame holds a register map, and one event can
/// have all that a driver shares.
const MAX_FRAME_BYTES: u32 = 256 << 20;
/// Bytes before those of a frame.
pub const FRAME_HEAD: u64 = 8;

/// A kind of such files.
#[derive(Clone, Copy, Debug)]
pub struct Kind {
    /// How a file begins.
    pub magic: &'static [u8; 8],
    /// What it is called.
    pub name: &'static str,
    /// The option that has it written.
    pub option: &'static str,
}

/// What a file is of: its first frame, as JSON.
pub trait Head: DeserializeOwned {
    /// Returns the contract's version, whose numbers of entries and hostcalls the events have.
    fn abi(&self) -> (u16, u16);
}

/// A file that is being written. It always ends with a whole frame, also after a failed write.
pub struct FrameWriter {
    kind: Kind,
    file: File,
    path: PathBuf,
    /// Bytes of the file that are known to be whole frames.
    written_bytes: u64,
}

impl FrameWriter {
    /// Creates the file, or empties it.
    ///
    /// # Errors
    /// If it cannot be created, or another run is writing to it.
    pub fn create(kind: Kind, path: &Path) -> Result<Self> {
        let file = create(kind, path).with_context(|| format!("{}: cannot create {}", kind.option, path.display()))?;
        Ok(FrameWriter { kind, file, path: path.to_owned(), written_bytes: 0 })
    }

    /// Writes how it begins, and its first frame.
    ///
    /// # Errors
    /// If the file cannot be written.
    pub fn begin(&mut self, head: &impl Serialize) -> Result<()> {
        let bytes = beginning(self.kind, head)?;
        self.write(&bytes).with_context(|| self.cannot())
    }

    /// Writes a frame, unless there is nothing in it.
    ///
    /// # Errors
    /// If the file cannot be written, as when the disk is full.
    pub fn frame(&mut self, bytes: &[u8]) -> io::Result<()> {
        if bytes.is_empty() { Ok(()) } else { self.write(&framed(bytes)) }
    }

    /// Ends it, after `events` events.
    ///
    /// # Errors
    /// If the file cannot be written.
    pub fn end(&mut self, events: u64) -> io::Result<()> {
        self.write(&end(events))
    }

    /// Says that it cannot be written.
    pub fn cannot(&self) -> String {
        format!("cannot write the {} {}", self.kind.name, self.path.display())
    }

    fn write(&mut self, bytes: &[u8]) -> io::Result<()> {
        let outcome = self.file.write_all(bytes);
        match outcome {
            Ok(()) => self.written_bytes += bytes.len() as u64,
            Err(_) => {
                // Not possible on a pipe, and then there is nothing to cut.
                let _ = self.file.set_len(self.written_bytes);
                let _ = self.file.seek(SeekFrom::End(0));
            }
        }
        outcome
    }
}

/// Opens the file and empties it, once nobody else writes to it.
fn create(kind: Kind, path: &Path) -> io::Result<File> {
    let file = OpenOptions::new().write(true).create(true).truncate(false).open(path)?;
    if !file.metadata()?.is_file() {
        return Ok(file);
    }
    if let Err(TryLockError::WouldBlock) = file.try_lock() {
        let why = format!("another {} is being written to it; choose another file, or end that run", kind.name);
        return Err(io::Error::new(io::ErrorKind::ResourceBusy, why));
    }
    file.set_len(0)?;
    Ok(file)
}

/// Returns how a file begins, and its first frame.
///
/// # Errors
/// If the head has no JSON.
pub fn beginning(kind: Kind, head: &impl Serialize) -> Result<Vec<u8>> {
    Ok([&kind.magic[..], &framed(&serde_json::to_vec(head)?)].concat())
}

/// Returns how a file of this many events ends.
pub fn end(events: u64) -> Vec<u8> {
    let count = events.to_le_bytes();
    [&0u32.to_le_bytes()[..], &crc32c::crc32c(&count).to_le_bytes(), &count].concat()
}

/// Returns a frame.
pub fn framed(bytes: &[u8]) -> Vec<u8> {
    let len = u32::try_from(bytes.len()).expect("frames are written before they have 4 GiB");
    [&len.to_le_bytes(), &crc32c::crc32c(bytes).to_le_bytes(), bytes].concat()
}

/// A file that is read.
pub struct FrameReader {
    kind: Kind,
    file: BufReader<File>,
    path: PathBuf,
    /// Bytes that were read.
    at: u64,
    /// Events that were read.
    events: u64,
    ended: bool,
    /// The frame that is being read, where it begins in the file, and how many bytes of it were used.
    frame: Vec<u8>,
    begin: u64,
    used: usize,
}

impl FrameReader {
    /// Opens a file, and returns what it is of.
    ///
    /// # Errors
    /// If it cannot be read, is none of this kind and version, or was written by a nook-run of another ABI.
    pub fn open<H: Head>(kind: Kind, path: &Path) -> Result<(Self, H)> {
        let file = File::open(path).with_context(|| format!("cannot read {}", path.display()))?;
        let mut file = BufReader::new(file);
        let mut magic = [0; 8];
        let (start, version) = kind.magic.split_at(kind.magic.len() - 1);
        let Kind { name, option, .. } = kind;
        if file.read_exact(&mut magic).is_err() || !magic.starts_with(start) {
            bail!("{} is no {name}: `nook-run DRIVER … {option} FILE` writes one", path.display());
        }
        if !magic.ends_with(version) {
            let (found, ours) = (char::from(magic[start.len()]), char::from(version[0]));
            bail!("{} is a {name} of version {found:?}, and this nook-run reads version {ours}", path.display());
        }
        let (path, at, frame) = (path.to_owned(), magic.len() as u64, Vec::new());
        let mut reader = FrameReader { kind, file, path, at, events: 0, ended: false, frame, begin: 0, used: 0 };
        let json = reader.frame()?.unwrap_or_default();
        let head: H = serde_json::from_slice(&json).with_context(|| reader.place("what it is of"))?;
        let (abi, ours) = (head.abi(), nook_abi::ABI_VERSION);
        if abi != ours {
            bail!(
                "{} was written by a nook-run of ABI {}.{}, and this one's is {}.{}: read it with the version that wrote it",
                reader.path.display(),
                abi.0,
                abi.1,
                ours.0,
                ours.1
            );
        }
        Ok((reader, head))
    }

    /// Reads the next frame if all of the last one was used. Returns whether it did; nothing at the end.
    ///
    /// # Errors
    /// As [`frame`](Self::frame).
    pub fn advance(&mut self) -> Result<Option<bool>> {
        if self.used < self.frame.len() {
            return Ok(Some(false));
        }
        self.begin = self.at;
        let Some(frame) = self.frame()? else { return Ok(None) };
        (self.frame, self.used) = (frame, 0);
        Ok(Some(true))
    }

    /// Takes what `read` takes from the front of the frame that is being read.
    ///
    /// # Errors
    /// If that is nothing: the file is damaged there.
    pub fn take<T>(&mut self, read: impl FnOnce(&mut &[u8]) -> Option<T>) -> Result<T> {
        let mut rest = &self.frame[self.used..];
        let found = read(&mut rest);
        let left = rest.len();
        let found = found.with_context(|| {
            let at = self.begin + FRAME_HEAD + self.used as u64;
            format!("{}: no event begins there", self.place(&format!("damaged at byte {at}")))
        })?;
        self.used = self.frame.len() - left;
        Ok(found)
    }

    /// Takes an event: as [`take`](Self::take).
    ///
    /// # Errors
    /// As there.
    pub fn event<T>(&mut self, read: impl FnOnce(&mut &[u8]) -> Option<T>) -> Result<T> {
        let event = self.take(read)?;
        self.events += 1;
        Ok(event)
    }

    /// Returns how many events were taken.
    pub fn events(&self) -> u64 {
        self.events
    }

    /// Says that the frame that is being read cannot come after the one before it.
    pub fn out_of_order(&self) -> anyhow::Error {
        let place = self.place(&format!("damaged at byte {}", self.begin));
        anyhow::anyhow!("{place}: it begins before the one before it ends")
    }

    /// Returns the next frame; nothing at the end.
    ///
    /// # Errors
    /// Where the file is damaged, or ends before its end; everything before was returned.
    fn frame(&mut self) -> Result<Option<Vec<u8>>> {
        if self.ended {
            return Ok(None);
        }
        let begin = self.at;
        let mut head = [0; FRAME_HEAD as usize];
        self.fill(&mut head)?;
        let [len, sum] = [0, 4].map(|at| u32::from_le_bytes([head[at], head[at + 1], head[at + 2], head[at + 3]]));
        if len == 0 {
            self.check_end(sum)?;
            self.ended = true;
            return Ok(None);
        }
        if len > MAX_FRAME_BYTES {
            bail!("{}: a block cannot have {len} bytes", self.place(&format!("damaged at byte {begin}")));
        }
        // A length that is wrong takes no more memory than the file has bytes.
        let mut frame = Vec::new();
        let read = self.file.by_ref().take(len.into()).read_to_end(&mut frame);
        read.with_context(|| self.place(&format!("cannot be read at byte {}", self.at)))?;
        if frame.len() < len as usize {
            return Err(self.cut_off());
        }
        self.at += u64::from(len);
        if crc32c::crc32c(&frame) != sum {
            bail!("{}: the checksum of that block is wrong", self.place(&format!("damaged at byte {begin}")));
        }
        Ok(Some(frame))
    }

    fn fill(&mut self, bytes: &mut [u8]) -> Result<()> {
        self.file.read_exact(bytes).map_err(|error| match error.kind() {
            io::ErrorKind::UnexpectedEof => self.cut_off(),
            _ => anyhow::Error::new(error).context(self.place(&format!("cannot be read at byte {}", self.at))),
        })?;
        self.at += bytes.len() as u64;
        Ok(())
    }

    fn cut_off(&self) -> anyhow::Error {
        let place = self.place(&format!("cut off after byte {}", self.at));
        anyhow::anyhow!("{place}: the run that wrote it was killed, or goes on, or its disk was full")
    }

    fn check_end(&mut self, sum: u32) -> Result<()> {
        let mut count = [0; 8];
        self.fill(&mut count)?;
        if crc32c::crc32c(&count) != sum {
            bail!("{}: the checksum of its end is wrong", self.place("damaged"));
        }
        let count = u64::from_le_bytes(count);
        if count != self.events {
            bail!("{}: at its end it says that it has {count}", self.place("damaged"));
        }
        if self.file.read(&mut [0]).with_context(|| self.place("cannot be read"))? > 0 {
            bail!("{}: something follows its end", self.place("damaged"));
        }
        Ok(())
    }

    /// Says which file it is, what of it, and how far it was read.
    fn place(&self, what: &str) -> String {
        format!("the {} {}, {what}, after {} events", self.kind.name, self.path.display(), self.events)
    }
}
