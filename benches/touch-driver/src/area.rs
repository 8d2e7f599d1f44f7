//! The bytes that are touched: too many for a driver's stack, so they are static. Each instance has a copy of what is
//! static, in wasm and natively; it claims it.

use core::cell::UnsafeCell;
use core::sync::atomic::{AtomicBool, Ordering};

/// Bytes to read, and as many to write.
pub const AREA_BYTES: usize = 1 << 20;

#[repr(align(64))]
struct Bytes(UnsafeCell<[u8; AREA_BYTES]>);

// SAFETY: the bytes are reached only through an `Area`, and `TAKEN` lets one of them exist.
unsafe impl Sync for Bytes {}

static TAKEN: AtomicBool = AtomicBool::new(false);
// Two of them, for a compiler knows that they do not overlap: within one, each store could be of what is read next.
static SOURCE: Bytes = Bytes(UnsafeCell::new([0; AREA_BYTES]));
static SINK: Bytes = Bytes(UnsafeCell::new([0; AREA_BYTES]));

/// The instance's bytes; given back when it is dropped.
pub(crate) struct Area(());

impl Area {
    /// If they are free; filled with a pattern.
    pub(crate) fn claim() -> Option<Area> {
        if TAKEN.swap(true, Ordering::Acquire) {
            return None;
        }
        // SAFETY: `TAKEN` was false, so there is no other `Area`.
        let source = unsafe { &mut *SOURCE.0.get() };
        for (at, byte) in source.iter_mut().enumerate() {
            *byte = (at * 31 + (at >> 8)) as u8;
        }
        Some(Area(()))
    }

    #[inline(always)]
    pub(crate) fn source(&self) -> &[u8; AREA_BYTES] {
        // SAFETY: this is the only `Area`, and it is borrowed.
        unsafe { &*SOURCE.0.get() }
    }

    /// Returns what is read and what is written.
    #[inline(always)]
    pub(crate) fn both(&mut self) -> (&[u8; AREA_BYTES], &mut [u8; AREA_BYTES]) {
        // SAFETY: this is the only `Area`, and it is borrowed for writing.
        unsafe { (&*SOURCE.0.get(), &mut *SINK.0.get()) }
    }
}

/// Stores at an address of somebody else's.
pub(crate) fn stray(address: u64) {
    // SAFETY: there is no reason. That it is caught is what is measured, and nobody asks for it at a level where it is
    // not.
    unsafe { core::ptr::without_provenance_mut::<u8>(address as usize).write_volatile(1) };
}

impl Drop for Area {
    fn drop(&mut self) {
        TAKEN.store(false, Ordering::Release);
    }
}
