//! Where packet buffers are in a driver's window, and what the class has in the host page.

use nook_abi::CLASS_WORDS;
use nook_abi::net::{NetKeys, NetPage, PoolLayout, Queue, RING_BYTES, SIDES_BYTES};

use super::Port;
use crate::{OwnedManifest, Space};

/// Packet buffers begin on a cache line.
const BUFFER_ALIGN: u32 = 64;
/// What the host keeps before each frame, for the header that a TAP device may want in front of it.
const HOST_HEADROOM: u32 = 64;

/// Returns the packet buffers of a driver with this manifest: they follow its DMA regions.
pub fn pool_of(manifest: &OwnedManifest) -> PoolLayout {
    let NetKeys { rx_buffers, tx_buffers, buffer_bytes, headroom_bytes } = NetKeys::of(manifest).unwrap_or_default();
    let headroom = headroom_bytes.max(HOST_HEADROOM);
    PoolLayout {
        offset: manifest.dma_bytes.next_multiple_of(4096),
        count: rx_buffers + tx_buffers,
        stride_bytes: (headroom + buffer_bytes).next_multiple_of(BUFFER_ALIGN),
        headroom_bytes: headroom,
        room_bytes: buffer_bytes,
        reserved: 0,
    }
}

/// Returns the bytes of the window that the class needs behind the DMA regions.
pub(crate) fn window_bytes(manifest: &OwnedManifest) -> u64 {
    let pool = pool_of(manifest);
    u64::from(pool.count) * u64::from(pool.stride_bytes)
}

/// Returns the bytes of each ring, with its side array if it has one.
pub(crate) fn ring_bytes() -> [usize; 4] {
    let mut bytes = [RING_BYTES; 4];
    bytes[Queue::TxProvide as usize] += SIDES_BYTES;
    bytes
}

/// Returns where the side array of `tx_provide` is, by where the rings are.
pub(super) fn sides_addr(rings: [u64; 4]) -> u64 {
    rings[Queue::TxProvide as usize] + RING_BYTES as u64
}

/// Returns what the host page has for the driver; `beside` says that there is a filter.
pub(crate) fn page(port: &Port, manifest: &OwnedManifest, space: &Space, beside: bool) -> [u64; CLASS_WORDS] {
    let pool = pool_of(manifest);
    let rings = space.ring_addrs();
    let mut sides = [0; 4];
    sides[Queue::TxProvide as usize] = sides_addr(rings);
    NetPage { rings, sides, pool, filters: beside.into(), queues: port.queues.into(), ..NetPage::default() }.to_words()
}
