//! The bytes that are touched: too many for a driver's stack, so they are static. Each instance has a copy of what is
//! static, in wasm and natively; it claims it.

use core::cell::UnsafeCell;
use core::sync::atomic::{AtomicBool, Ordering};

/// Bytes to read, and as many to write.
pub const AREA_BYTES: usize = 64 << 10;

#[repr(align(64))]
struct Place {
    taken: AtomicBool,
    source: UnsafeCell<[u8; AREA_BYTES]>,
    sink: UnsafeCell<[u8; AREA_BYTES]>,
}

// SAFETY: the bytes are reached only through an `Area`, and `taken` lets one of them exist.
unsafe impl Sync for Place {}

static PLACE: Place = Place {
    taken: AtomicBool::new(false),
    source: UnsafeCell::new([0; AREA_BYTES]),
    sink: UnsafeCell::new([0; AREA_BYTES]),
};

/// One instance's bytes; given back when it is dropped.
pub(crate) struct Area(&'static Place);

impl Area {
    /// If it is free, filled with a pattern.
    pub(crate) fn claim() -> Option<Area> {
        if PLACE.taken.swap(true, Ordering::Acquire) {
            return None;
        }
        // SAFETY: `taken` was false, so there is no other `Area`.
        let source = unsafe { &mut *PLACE.source.get() };
        for (at, byte) in source.iter_mut().enumerate() {
            *byte = (at * 31 + (at >> 8)) as u8;
        }
        Some(Area(&PLACE))
    }

    #[inline(always)]
    pub(crate) fn source(&self) -> &[u8; AREA_BYTES] {
        // SAFETY: this is the only `Area`, and it is borrowed.
        unsafe { &*self.0.source.get() }
    }

    /// What is read and what is written.
    #[inline(always)]
    pub(crate) fn both(&mut self) -> (&[u8; AREA_BYTES], &mut [u8; AREA_BYTES]) {
        // SAFETY: this is the only `Area`, it is borrowed for writing, and the two do not overlap.
        unsafe { (&*self.0.source.get(), &mut *self.0.sink.get()) }
    }
}

impl Drop for Area {
    fn drop(&mut self) {
        self.0.taken.store(false, Ordering::Release);
    }
}
