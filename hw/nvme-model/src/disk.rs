//! The medium: blocks in memory or in a file, and a cache in front of it that loses what it holds with its power.

use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use nook_seed::Rng;

use crate::cache::Cache;

/// How many blocks of one write are never torn when power is lost: `AWUPF`, not less one.
pub const ATOMIC_BLOCKS: u32 = 8;

/// What is zeroed at a time.
static ZEROS: [u8; 64 << 10] = [0; 64 << 10];

/// Why a file is no disk.
#[derive(Debug, thiserror::Error)]
pub enum DiskError {
    /// It cannot be opened for reading and writing, or asked how long it is.
    #[error("cannot use {} as a disk: {source}", path.display())]
    Open {
        /// Which file.
        path: PathBuf,
        /// What the operating system says.
        source: io::Error,
    },
    /// It is a directory, a pipe or the like.
    #[error("cannot use {} as a disk: it is neither a file nor a block device", .0.display())]
    Kind(PathBuf),
    /// Its length is no multiple of the block, or 0.
    #[error(
        "cannot use {} as a disk: its {len_bytes} bytes are no multiple of the block of {block_bytes}, or none; \
         `truncate -s SIZE` changes that",
        path.display()
    )]
    Length {
        /// Which file.
        path: PathBuf,
        /// Its length.
        len_bytes: u64,
        /// The block.
        block_bytes: u32,
    },
    /// Blocks have no length that the model offers.
    #[error("a disk has blocks of 512, 1024, 2048 or 4096 bytes, and not of {0}")]
    Block(u32),
}

enum Backing {
    Memory(Vec<u8>),
    File(File),
}

struct Medium {
    backing: Backing,
    blocks: u64,
    block_bytes: u32,
    cache: Cache,
    /// How often power was lost, and how often the size changed.
    power_cuts: u64,
    resizes: u64,
}

/// A disk's medium. Clones are the same one: it outlives the [`Model`](crate::Model) that it is in.
#[derive(Clone)]
pub struct Disk(Arc<Mutex<Medium>>);

fn checked_block(block_bytes: u32) -> Result<u32, DiskError> {
    match block_bytes {
        512 | 1024 | 2048 | 4096 => Ok(block_bytes),
        _ => Err(DiskError::Block(block_bytes)),
    }
}

impl Disk {
    /// Creates a disk of zeros in memory, which is used as far as blocks are written.
    ///
    /// # Errors
    /// [`DiskError::Block`].
    pub fn in_memory(blocks: u64, block_bytes: u32) -> Result<Self, DiskError> {
        let len = blocks * u64::from(checked_block(block_bytes)?);
        Ok(Self::new(Backing::Memory(vec![0; len as usize]), blocks, block_bytes))
    }

    /// Makes a disk of a file, byte by byte.
    ///
    /// # Errors
    /// If it is not there, may not be written, or has another length than blocks have.
    pub fn in_file(path: &Path, block_bytes: u32) -> Result<Self, DiskError> {
        use std::os::unix::fs::FileTypeExt;
        checked_block(block_bytes)?;
        let cannot = |source| DiskError::Open { path: path.into(), source };
        let file = File::options().read(true).write(true).open(path).map_err(cannot)?;
        let kind = file.metadata().map_err(cannot)?.file_type();
        if !kind.is_file() && !kind.is_block_device() {
            return Err(DiskError::Kind(path.into()));
        }
        let len_bytes = io::Seek::seek(&mut &file, io::SeekFrom::End(0)).map_err(cannot)?;
        if len_bytes == 0 || !len_bytes.is_multiple_of(u64::from(block_bytes)) {
            return Err(DiskError::Length { path: path.into(), len_bytes, block_bytes });
        }
        Ok(Self::new(Backing::File(file), len_bytes / u64::from(block_bytes), block_bytes))
    }

    fn new(backing: Backing, blocks: u64, block_bytes: u32) -> Self {
        let cache = Cache::new(0);
        Disk(Arc::new(Mutex::new(Medium { backing, blocks, block_bytes, cache, power_cuts: 0, resizes: 0 })))
    }

    /// Puts a volatile cache in front of it, in which up to this many bytes are not durable.
    pub fn with_cache(self, bytes: usize) -> Self {
        self.medium().cache.capacity_bytes = bytes;
        self
    }

    fn medium(&self) -> MutexGuard<'_, Medium> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Returns how many blocks it has, and the bytes of each.
    pub fn size(&self) -> (u64, u32) {
        let medium = self.medium();
        (medium.blocks, medium.block_bytes)
    }

    /// Returns whether it has a volatile cache.
    pub fn has_cache(&self) -> bool {
        self.medium().cache.capacity_bytes != 0
    }

    /// Makes it shorter, as far as a driver is concerned; `blocks` above what it has are left out.
    pub fn shrink(&self, blocks: u64) {
        let mut medium = self.medium();
        medium.blocks = medium.blocks.min(blocks);
        medium.resizes += 1;
    }

    pub(crate) fn resizes(&self) -> u64 {
        self.medium().resizes
    }

    pub(crate) fn power_cuts(&self) -> u64 {
        self.medium().power_cuts
    }

    /// Takes its power away for a moment: the controller in front of it starts from nothing, and of what was not
    /// durable `seed` decides what is there.
    ///
    /// # Errors
    /// If the file cannot be written.
    pub fn cut_power(&self, seed: u64) -> io::Result<()> {
        let medium = &mut *self.medium();
        medium.power_cuts += 1;
        let (backing, block_bytes) = (&mut medium.backing, medium.block_bytes as usize);
        let put = |first: u64, bytes: &[u8]| backing.put(first * block_bytes as u64, bytes);
        medium.cache.lose(&mut Rng::new(seed), block_bytes, ATOMIC_BLOCKS, put)
    }

    /// Reads blocks from `first` on.
    ///
    /// # Errors
    /// If they are not all there, or the file cannot be read.
    pub fn read(&self, first: u64, into: &mut [u8]) -> io::Result<()> {
        let medium = self.medium();
        let at = medium.place(first, into.len())?;
        medium.backing.get(at, into)
    }

    /// Writes blocks from `first` on; `durable` as with FUA.
    ///
    /// # Errors
    /// If they are not all there, or the file cannot be written.
    pub fn write(&self, first: u64, bytes: &[u8], durable: bool) -> io::Result<()> {
        let medium = &mut *self.medium();
        let at = medium.place(first, bytes.len())?;
        if medium.cache.wants(durable) {
            let mut old = vec![0; bytes.len()].into_boxed_slice();
            medium.backing.get(at, &mut old)?;
            medium.cache.note(first, old, bytes.into(), durable);
        }
        medium.backing.put(at, bytes)?;
        if durable { medium.backing.sync() } else { Ok(()) }
    }

    /// Zeroes blocks from `first` on; `durable` as with FUA.
    ///
    /// # Errors
    /// If they are not all there, or the file cannot be written.
    pub fn zero(&self, first: u64, blocks: u64, durable: bool) -> io::Result<()> {
        let (_, block_bytes) = self.size();
        let step = ZEROS.len() as u64 / u64::from(block_bytes);
        let mut done = 0;
        while done < blocks {
            let now = (blocks - done).min(step);
            self.write(first + done, &ZEROS[..(now * u64::from(block_bytes)) as usize], durable)?;
            done += now;
        }
        Ok(())
    }

    /// Makes everything durable that was written.
    ///
    /// # Errors
    /// If the file cannot be.
    pub fn flush(&self) -> io::Result<()> {
        let mut medium = self.medium();
        medium.backing.sync()?;
        medium.cache.flush();
        Ok(())
    }
}

impl Medium {
    /// Returns where the blocks are, in bytes.
    fn place(&self, first: u64, len_bytes: usize) -> io::Result<u64> {
        let block = u64::from(self.block_bytes);
        let blocks = len_bytes as u64 / block;
        if first.checked_add(blocks).is_none_or(|end| end > self.blocks) || !(len_bytes as u64).is_multiple_of(block) {
            return Err(io::Error::new(io::ErrorKind::UnexpectedEof, "blocks that the disk does not have"));
        }
        Ok(first * block)
    }
}

impl Backing {
    fn get(&self, at: u64, into: &mut [u8]) -> io::Result<()> {
        match self {
            Backing::Memory(bytes) => into.copy_from_slice(&bytes[at as usize..][..into.len()]),
            Backing::File(file) => file.read_exact_at(into, at)?,
        }
        Ok(())
    }

    fn put(&mut self, at: u64, from: &[u8]) -> io::Result<()> {
        match self {
            Backing::Memory(bytes) => bytes[at as usize..][..from.len()].copy_from_slice(from),
            Backing::File(file) => file.write_all_at(from, at)?,
        }
        Ok(())
    }

    fn sync(&self) -> io::Result<()> {
        match self {
            Backing::Memory(_) => Ok(()),
            Backing::File(file) => file.sync_data(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const BLOCK: usize = 512;

    fn disk() -> Disk {
        Disk::in_memory(64, BLOCK as u32).unwrap().with_cache(1 << 20)
    }

    fn block(disk: &Disk, at: u64) -> u8 {
        let mut bytes = [0; BLOCK];
        disk.read(at, &mut bytes).unwrap();
        assert!(bytes.iter().all(|byte| *byte == bytes[0]), "block {at} is torn inside");
        bytes[0]
    }

    fn write(disk: &Disk, first: u64, blocks: usize, byte: u8, durable: bool) {
        disk.write(first, &vec![byte; blocks * BLOCK], durable).unwrap();
    }

    #[test]
    fn what_was_flushed_or_written_through_outlives_a_power_cut() {
        for seed in 0..100 {
            let disk = disk();
            write(&disk, 0, 4, 1, false);
            disk.flush().unwrap();
            write(&disk, 4, 1, 2, false);
            write(&disk, 4, 1, 3, true);
            disk.cut_power(seed).unwrap();
            assert_eq!([0, 3, 4].map(|at| block(&disk, at)), [1, 1, 3], "seed {seed}");
        }
    }

    #[test]
    fn what_was_not_is_there_or_not_and_a_short_write_is_never_torn() {
        let (mut kept, mut lost, mut torn) = (0, 0, 0);
        for seed in 0..200 {
            let disk = disk();
            write(&disk, 0, ATOMIC_BLOCKS as usize, 1, false);
            write(&disk, 16, 32, 2, false);
            disk.cut_power(seed).unwrap();
            let short: Vec<u8> = (0..u64::from(ATOMIC_BLOCKS)).map(|at| block(&disk, at)).collect();
            assert!(short.iter().all(|byte| *byte == short[0]), "seed {seed}: {short:?}");
            let long: Vec<u8> = (16..48).map(|at| block(&disk, at)).collect();
            match (long.contains(&2), long.contains(&0)) {
                (true, false) => kept += 1,
                (false, true) => lost += 1,
                _ => torn += 1,
            }
            assert!(long.iter().all(|byte| matches!(byte, 0 | 2)));
        }
        assert!(kept > 20 && lost > 20 && torn > 20, "{kept} kept, {lost} lost, {torn} torn");
    }

    #[test]
    fn what_does_not_fit_into_the_cache_is_durable() {
        let disk = Disk::in_memory(64, BLOCK as u32).unwrap().with_cache(4 * BLOCK);
        for at in 0..64 {
            write(&disk, at, 1, 1, false);
        }
        disk.cut_power(1).unwrap();
        assert!((0..60).all(|at| block(&disk, at) == 1));
    }

    #[test]
    fn a_file_that_is_no_disk_is_refused_by_name() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("disk");
        let said = |path: &Path, block: u32| Disk::in_file(path, block).err().map(|error| error.to_string());
        assert!(said(&path, 512).unwrap().contains("No such file"));
        std::fs::write(&path, [0; 700]).unwrap();
        assert!(said(&path, 512).unwrap().contains("700 bytes are no multiple of the block of 512"));
        std::fs::write(&path, []).unwrap();
        assert!(said(&path, 512).unwrap().contains("or none"));
        assert!(said(&path, 500).unwrap().contains("not of 500"));
        assert!(said(dir.path(), 512).is_some());
        std::fs::write(&path, [7; 1024]).unwrap();
        let disk = Disk::in_file(&path, 512).unwrap();
        assert_eq!((disk.size(), block(&disk, 1)), ((2, 512), 7));
        assert!(disk.read(2, &mut [0; BLOCK]).is_err());
    }
}
