//! Where things are in a driver's linear memory: `[data, stack | heap | host page, rings | DMA window]`.

use nook_abi::HOST_PAGE_BYTES;

use crate::{OwnedManifest, class};

const WASM_PAGE: u64 = 65536;
/// As in `hw/bus`: the window is aligned to this in address, offset and IOVA.
const WINDOW_ALIGN: u64 = nook_bus::WINDOW_ALIGN;
/// Byte offsets in linear memory (and, for a native driver, sizes only).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Layout {
    /// Data and stack: what the module itself asked for.
    pub own_bytes: u64,
    /// The heap that the manifest asked for; it follows.
    pub heap_bytes: u64,
    /// Where the host page is.
    pub host_page: u64,
    /// Where the rings are. What the class does not have is empty.
    pub rings: [u64; 4],
    /// Where they end.
    pub rings_end: u64,
    /// Where the window is.
    pub window: u64,
    /// How long it is.
    pub window_bytes: u64,
    /// What of it is for DMA regions; what the class has in it follows.
    pub dma_bytes: u32,
}

impl Layout {
    /// Lays out a memory for a module that asks for `own_bytes` itself.
    pub fn new(own_bytes: u64, manifest: &OwnedManifest) -> Layout {
        let heap_bytes = u64::from(manifest.heap_bytes);
        let host_page = (own_bytes + heap_bytes).next_multiple_of(HOST_PAGE_BYTES as u64);
        let mut end = host_page + HOST_PAGE_BYTES as u64;
        let rings = class::ring_bytes(manifest).map(|len_bytes| {
            let ring = end;
            end += (len_bytes as u64).next_multiple_of(64);
            ring
        });
        let dma_bytes = manifest.dma_bytes.next_multiple_of(4096);
        let used = u64::from(dma_bytes) + class::window_bytes(manifest);
        Layout {
            own_bytes,
            heap_bytes,
            host_page,
            rings,
            rings_end: end,
            window: end.next_multiple_of(WINDOW_ALIGN),
            window_bytes: used.next_multiple_of(WINDOW_ALIGN),
            dma_bytes,
        }
    }

    /// Returns the whole memory, in wasm pages of 64 KiB.
    pub fn total_pages(&self) -> u64 {
        (self.window + self.window_bytes) / WASM_PAGE
    }
}
