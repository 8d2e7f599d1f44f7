//! The file of a trace: what it is of, then blocks of events, each with its length and a checksum, then its end.
//!
//! All numbers are little endian. The file begins with [`MAGIC`]; then comes a block with the [`Head`] as JSON. A block
//! is its length in bytes and their CRC-32C, 4 bytes each, and the bytes. A block of events begins with the time of its
//! first, in nanoseconds of the nook's clock; before each event stands how much later it came than the one before. The
//! end is a block of length 0, and after it 8 bytes with the number of events. So a file that was cut off is known as
//! such, wherever that was, and what stands before is read all the same.

use std::fs::{File, OpenOptions, TryLockError};
use std::io::{self, BufReader, Read, Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail};
use serde::{Deserialize, Serialize};

use super::event::{Event, number, put};

/// How a trace begins; the last character is the version of the format.
const MAGIC: &[u8; 8] = b"nooktrc1";
/// A block is written when it has this many bytes,
const BLOCK_BYTES: usize = 64 << 10;
/// or an event comes this long after its first. Of a driver that rests, the last ones are written when it goes on or
/// the run ends.
const BLOCK_NS: u64 = 1_000_000_000;
/// Longer blocks are not read: a text in an event is a line, and the head holds a register map.
const MAX_BLOCK_BYTES: u32 = 16 << 20;
/// Bytes before a block.
const BLOCK_HEAD: u64 = 8;

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

/// A trace that is being written. It always ends with a whole block, also after a failed write.
pub struct Writer {
    file: File,
    path: PathBuf,
    block: Vec<u8>,
    begun_ns: u64,
    last_ns: u64,
    events: u64,
    /// Bytes of the file that are known to be whole blocks.
    written_bytes: u64,
}

impl Writer {
    /// Creates the file, or empties it.
    ///
    /// # Errors
    /// If it cannot be created, or another trace is being written to it.
    pub fn create(path: &Path) -> Result<Self> {
        let file = create(path).with_context(|| format!("--trace: cannot create {}", path.display()))?;
        let path = path.to_owned();
        Ok(Writer { file, path, block: Vec::new(), begun_ns: 0, last_ns: 0, events: 0, written_bytes: 0 })
    }

    /// Writes what it is of; to be called first.
    ///
    /// # Errors
    /// If the file cannot be written.
    pub fn head(&mut self, head: &Head) -> Result<()> {
        let json = serde_json::to_vec(head)?;
        self.write(&[&MAGIC[..], &framed(&json)].concat()).with_context(|| self.cannot())
    }

    /// Adds an event.
    ///
    /// # Errors
    /// If the file cannot be written, as when the disk is full.
    pub fn add(&mut self, at_ns: u64, event: &Event) -> io::Result<()> {
        if self.block.is_empty() {
            (self.begun_ns, self.last_ns) = (at_ns, at_ns);
            put(&mut self.block, at_ns);
        }
        put(&mut self.block, at_ns.saturating_sub(self.last_ns));
        self.last_ns = self.last_ns.max(at_ns);
        event.write(&mut self.block);
        self.events += 1;
        if self.block.len() >= BLOCK_BYTES || at_ns.saturating_sub(self.begun_ns) >= BLOCK_NS {
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
        let count = self.events.to_le_bytes();
        let end = [&0u32.to_le_bytes()[..], &crc32c::crc32c(&count).to_le_bytes(), &count].concat();
        self.write(&end)
    }

    /// Says that it cannot be written.
    pub fn cannot(&self) -> String {
        format!("cannot write the trace {}", self.path.display())
    }

    fn flush(&mut self) -> io::Result<()> {
        if self.block.is_empty() {
            return Ok(());
        }
        let block = framed(&self.block);
        self.block.clear();
        self.write(&block)
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

/// Opens the file and empties it, once nobody else writes a trace to it.
fn create(path: &Path) -> io::Result<File> {
    let file = OpenOptions::new().write(true).create(true).truncate(false).open(path)?;
    if !file.metadata()?.is_file() {
        return Ok(file);
    }
    if let Err(TryLockError::WouldBlock) = file.try_lock() {
        let why = "another trace is being written to it; choose another file, or end that run";
        return Err(io::Error::new(io::ErrorKind::ResourceBusy, why));
    }
    file.set_len(0)?;
    Ok(file)
}

fn framed(bytes: &[u8]) -> Vec<u8> {
    let len = u32::try_from(bytes.len()).expect("a block is written when it has 64 KiB");
    [&len.to_le_bytes(), &crc32c::crc32c(bytes).to_le_bytes(), bytes].concat()
}

/// A trace that is read.
pub struct Reader {
    file: BufReader<File>,
    path: PathBuf,
    /// What it is of.
    pub head: Head,
    /// Bytes that were read.
    at: u64,
    /// Events that were returned.
    events: u64,
    /// The block that is being read, where it begins in the file, and how many bytes of it were used.
    events_block: Vec<u8>,
    begin: u64,
    used: usize,
    /// The time of the last event.
    at_ns: u64,
    /// The end was read; its checksum.
    ended: bool,
    end_sum: u32,
}

impl Reader {
    /// Opens a trace.
    ///
    /// # Errors
    /// If it cannot be read, or is no trace of this version.
    pub fn open(path: &Path) -> Result<Self> {
        let file = File::open(path).with_context(|| format!("cannot read {}", path.display()))?;
        let mut file = BufReader::new(file);
        let mut magic = [0; MAGIC.len()];
        let (name, version) = MAGIC.split_at(MAGIC.len() - 1);
        if file.read_exact(&mut magic).is_err() || !magic.starts_with(name) {
            bail!("{} is no trace: `nook-run DRIVER … --trace FILE` writes one", path.display());
        }
        if !magic.ends_with(version) {
            let found = char::from(magic[name.len()]);
            bail!("{} is a trace of version {found:?}, and this nook-run reads version 1", path.display());
        }
        let head = Head {
            abi: nook_abi::ABI_VERSION,
            driver: String::new(),
            device: String::new(),
            isolation: String::new(),
            registers: String::new(),
        };
        let mut reader = Reader {
            file,
            path: path.to_owned(),
            head,
            at: magic.len() as u64,
            events: 0,
            events_block: Vec::new(),
            begin: 0,
            used: 0,
            at_ns: 0,
            ended: false,
            end_sum: 0,
        };
        let json = reader.block()?.unwrap_or_default();
        reader.head = serde_json::from_slice(&json).with_context(|| reader.place("what it is of"))?;
        let (abi, ours) = (reader.head.abi, nook_abi::ABI_VERSION);
        if abi != ours {
            bail!(
                "{} was written by a nook-run of ABI {}.{}, and this one's is {}.{}: read it with the version that wrote it",
                path.display(),
                abi.0,
                abi.1,
                ours.0,
                ours.1
            );
        }
        Ok(reader)
    }

    /// Returns the next event and its time; nothing at the end.
    ///
    /// # Errors
    /// Where the file is damaged, or ends before its end; everything before was returned.
    pub fn event(&mut self) -> Result<Option<(u64, Event)>> {
        while self.used == self.events_block.len() {
            if self.ended {
                return Ok(None);
            }
            self.begin = self.at;
            let Some(block) = self.block()? else {
                self.ended = true;
                self.check_end()?;
                return Ok(None);
            };
            (self.events_block, self.used) = (block, 0);
            let mut rest = &self.events_block[..];
            let at_ns = number(&mut rest).with_context(|| self.damaged())?;
            if at_ns < self.at_ns {
                bail!(
                    "{}: it begins before the one before it ends",
                    self.place(&format!("damaged at byte {}", self.begin))
                );
            }
            self.at_ns = at_ns;
            self.used = self.events_block.len() - rest.len();
        }
        let mut rest = &self.events_block[self.used..];
        let at_ns = number(&mut rest).and_then(|later| self.at_ns.checked_add(later));
        let found = at_ns.and_then(|at_ns| Some((at_ns, Event::read(&mut rest)?)));
        let (at_ns, event) = found.with_context(|| self.damaged())?;
        self.used = self.events_block.len() - rest.len();
        self.at_ns = at_ns;
        self.events += 1;
        Ok(Some((at_ns, event)))
    }

    /// Reads a block; nothing, if it is the end.
    fn block(&mut self) -> Result<Option<Vec<u8>>> {
        let begin = self.at;
        let mut head = [0; BLOCK_HEAD as usize];
        self.fill(&mut head)?;
        let [len, sum] = [0, 4].map(|at| u32::from_le_bytes([head[at], head[at + 1], head[at + 2], head[at + 3]]));
        if len == 0 {
            self.end_sum = sum;
            return Ok(None);
        }
        if len > MAX_BLOCK_BYTES {
            bail!("{}: a block cannot have {len} bytes", self.place(&format!("damaged at byte {begin}")));
        }
        let mut block = vec![0; len as usize];
        self.fill(&mut block)?;
        if crc32c::crc32c(&block) != sum {
            bail!("{}: the checksum of that block is wrong", self.place(&format!("damaged at byte {begin}")));
        }
        Ok(Some(block))
    }

    fn fill(&mut self, bytes: &mut [u8]) -> Result<()> {
        let begin = self.at;
        self.file.read_exact(bytes).map_err(|error| match error.kind() {
            io::ErrorKind::UnexpectedEof => anyhow::anyhow!(
                "{}: the run that wrote it was killed, or goes on, or its disk was full",
                self.place(&format!("cut off after byte {begin}"))
            ),
            _ => anyhow::Error::new(error).context(self.place(&format!("cannot be read at byte {begin}"))),
        })?;
        self.at += bytes.len() as u64;
        Ok(())
    }

    fn check_end(&mut self) -> Result<()> {
        let mut count = [0; 8];
        self.fill(&mut count)?;
        if crc32c::crc32c(&count) != self.end_sum {
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

    fn damaged(&self) -> String {
        let at = self.begin + BLOCK_HEAD + self.used as u64;
        format!("{}: no event begins there", self.place(&format!("damaged at byte {at}")))
    }

    fn place(&self, what: &str) -> String {
        format!("the trace {}, {what}, after {} events", self.path.display(), self.events)
    }
}

#[cfg(test)]
mod tests {
    use std::fs;

    use nook_abi::Entry;

    use super::*;

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
            assert!(why.contains("cut off after byte ") || len < MAGIC.len() && why.contains("is no trace"), "{why}");
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
            at..at + BLOCK_HEAD as usize + len
        };
        let head = block(MAGIC.len());
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
