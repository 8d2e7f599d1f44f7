//! Where the data of requests is in a driver's window, and what the class has in the host page.

use nook_abi::block::{BlockKeys, BlockPage, BlockQueue};
use nook_abi::{CLASS_WORDS, ring_bytes as bytes_of_ring};

use super::{DiskChoice, Port};
use crate::{OwnedManifest, Space};

/// Where the data of requests lies: that of request `id` is at `offset + id * transfer_bytes` in the window, behind the
/// DMA regions.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Buffers {
    /// Bytes from the start of the window to the first: whole pages.
    pub(super) offset: u32,
    /// How many.
    pub(super) count: u32,
    /// Room in each, in bytes: whole pages.
    pub(super) transfer_bytes: u32,
}

impl Buffers {
    pub(super) fn of(manifest: &OwnedManifest) -> Self {
        let BlockKeys { requests, transfer_bytes } = BlockKeys::of(manifest).unwrap_or_default();
        Buffers { offset: manifest.dma_bytes.next_multiple_of(4096), count: requests, transfer_bytes }
    }

    /// Returns where the data of a request is in the window.
    pub(super) fn offset_of(&self, id: u32) -> u32 {
        self.offset + id * self.transfer_bytes
    }
}

/// Returns the bytes of the window that the class needs behind the DMA regions.
pub(crate) fn window_bytes(manifest: &OwnedManifest) -> u64 {
    let Buffers { count, transfer_bytes, .. } = Buffers::of(manifest);
    u64::from(count) * u64::from(transfer_bytes)
}

/// Returns the bytes of each ring.
pub(crate) fn ring_bytes() -> [usize; 4] {
    let [requests, completions] = BlockQueue::ALL.map(|queue| bytes_of_ring(queue.entry_bytes()));
    [requests, completions, 0, 0]
}

/// Returns what the host page has for the driver.
pub(crate) fn page(port: &Port, manifest: &OwnedManifest, space: &Space, _beside: bool) -> [u64; CLASS_WORDS] {
    let [requests, completions, ..] = space.ring_addrs();
    let Buffers { count: most_requests, transfer_bytes, .. } = Buffers::of(manifest);
    let DiskChoice { number: disk_number, queue_pairs } = port.choice;
    BlockPage { requests, completions, most_requests, transfer_bytes, disk_number, queue_pairs }.to_words()
}
