//! What of the process may be harmed by a trial: descriptors and memory that stay, and memory that is not its own.

use std::fs;

use anyhow::{Context, Result};
use nook_seed::Rng;

/// Address space that may stay without being a leak: the C library keeps some for later. One instance's memory takes
/// 4 GiB.
const SPACE_BYTES: u64 = 512 << 20;
/// Memory that may stay, likewise. One DMA window has some MiB.
const RESIDENT_BYTES: u64 = 128 << 20;
const CANARY_WORDS: usize = 1 << 15;

/// What there was before a trial, and a canary.
pub struct Before {
    descriptors: usize,
    windows: usize,
    space_bytes: u64,
    resident_bytes: u64,
    pub(crate) canary: Vec<u64>,
}

impl Before {
    /// Looks.
    ///
    /// # Errors
    /// If the system does not tell.
    pub fn now() -> Result<Self> {
        let (space_bytes, resident_bytes) = memory()?;
        let mut rng = Rng::new(CANARY_WORDS as u64);
        let canary = (0..CANARY_WORDS).map(|_| rng.word()).collect();
        Ok(Before { descriptors: descriptors()?, windows: windows()?, space_bytes, resident_bytes, canary })
    }

    /// Returns what has changed that should not have, in words.
    ///
    /// # Errors
    /// If the system does not tell.
    pub fn harm(&self) -> Result<Option<String>> {
        let mut rng = Rng::new(CANARY_WORDS as u64);
        if self.canary.iter().any(|word| *word != rng.word()) {
            return Ok(Some("memory of the process was written to".into()));
        }
        let (descriptors, windows) = (descriptors()?, windows()?);
        if descriptors != self.descriptors {
            return Ok(Some(format!("{} descriptors were open before, {descriptors} are", self.descriptors)));
        }
        if windows != self.windows {
            return Ok(Some(format!("{} DMA windows were mapped before, {windows} are", self.windows)));
        }
        let (space_bytes, resident_bytes) = memory()?;
        if space_bytes > self.space_bytes + SPACE_BYTES || resident_bytes > self.resident_bytes + RESIDENT_BYTES {
            let more =
                (space_bytes.saturating_sub(self.space_bytes), resident_bytes.saturating_sub(self.resident_bytes));
            return Ok(Some(format!("{} MiB of addresses and {} MiB of memory stay", more.0 >> 20, more.1 >> 20)));
        }
        Ok(None)
    }
}

fn descriptors() -> Result<usize> {
    Ok(fs::read_dir("/proc/self/fd").context("cannot list this process's descriptors")?.count())
}

fn windows() -> Result<usize> {
    let maps = fs::read_to_string("/proc/self/maps").context("cannot list this process's mappings")?;
    Ok(maps.lines().filter(|line| line.contains("memfd:")).count())
}

/// Returns how much address space the process has, and how much memory, in bytes.
fn memory() -> Result<(u64, u64)> {
    let text = fs::read_to_string("/proc/self/statm").context("cannot read how much memory this process has")?;
    let mut pages = text.split_whitespace().map(|word| word.parse::<u64>().unwrap_or_default());
    let page_bytes = rustix::param::page_size() as u64;
    Ok((pages.next().unwrap_or_default() * page_bytes, pages.next().unwrap_or_default() * page_bytes))
}
