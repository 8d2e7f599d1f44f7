//! [`Left`]: what the device had done with a queue when the driver before this one ended.

use nook_sdk::{Kernel, Nook, Register};
use virtio_regs as map;

use crate::layout;

/// Where the used ring has its index, and its first entry (2.7.8); and bytes of an entry, of which the second half says
/// how many were written.
const INDEX_AT: u32 = 2;
const ENTRIES_AT: u32 = 4;
const ENTRY_BYTES: u32 = 8;
const WRITTEN_AT: u32 = 4;

/// What the device had done with a queue when the driver before this one ended. The window keeps its contents over a
/// restart, and the device knows where its queues are until it is reset.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Left {
    /// How many chains it had used, counted as the standard counts them: from 0 at its reset, in 16 bits.
    pub used: u16,
    /// How many bytes it says to have written for the last of them.
    pub written: u32,
}

impl Left {
    /// Looks at the queue with this number, of a driver for which the device saw the window at `iova`: another one sees
    /// it elsewhere. Nothing if the device is another than the map is of, or has no such queue in use. Before
    /// [`Device::new`](crate::Device::new), which resets it, and before memory is allocated, which is zeroed. Process
    /// context only.
    pub fn of<K: Kernel>(nook: Nook<K>, queue: u16, iova: u64) -> Option<Self> {
        layout::check(nook).ok()?;
        let regs = nook.regs(map::BAR.into());
        regs.write(map::QUEUE_SELECT, queue);
        let size = u32::from(regs.read(map::QUEUE_SIZE));
        if regs.read(map::QUEUE_ENABLE) != 1 || !size.is_power_of_two() {
            return None;
        }
        let half = |register: Register<u32>| u64::from(regs.read(register));
        let address = half(map::QUEUE_DEVICE_LOW) | half(map::QUEUE_DEVICE_HIGH) << 32;
        let (window, _) = nook.window().ok()?;
        let at = u32::try_from(address.checked_sub(iova)?).ok()?;
        let ring = window.part(at, ENTRIES_AT + ENTRY_BYTES * size).ok()?;
        let used: u16 = ring.read(INDEX_AT).ok()?;
        let last = ENTRIES_AT + ENTRY_BYTES * (u32::from(used.wrapping_sub(1)) % size);
        Some(Left { used, written: ring.read(last + WRITTEN_AT).ok()? })
    }
}
