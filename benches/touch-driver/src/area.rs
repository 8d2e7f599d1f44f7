//! The bytes that are touched: too many for a driver's stack, so they are static, and an instance claims them.

use core::cell::UnsafeCell;
use core::sync::atomic::{AtomicBool, Ordering};

/// Bytes to read, and as many to write.
pub const AREA_BYTES: usize = 64 << 10;

/// Instances that there can be at a time: a wasm module has a memory of its own for each, a process has one for all.
const AREAS: usize = if cfg!(target_arch = "wasm32") { 1 } else { 16 };

#[repr(align(64))]
struct Place {
    taken: AtomicBool,
    source: UnsafeCell<[u8; AREA_BYTES]>,
    sink: UnsafeCell<[u8; AREA_BYTES]>,
}

// SAFETY: the bytes are reached only through an `Area`, and `taken` lets one of them exist for each place.
unsafe impl Sync for Place {}

static PLACES: [Place; AREAS] = [const {
    Place {
        taken: AtomicBool::new(false),
        source: UnsafeCell::new([0; AREA_BYTES]),
        sink: UnsafeCell::new([0; AREA_BYTES]),
    }
}; AREAS];

/// One instance's bytes; given back when it is dropped.
pub(crate) struct Area(&'static Place);

impl Area {
    /// The first that is free, filled with a pattern.
    pub(crate) fn claim() -> Option<Area> {
        let place = PLACES.iter().find(|place| !place.taken.swap(true, Ordering::Acquire))?;
        // SAFETY: `taken` was false, so there is no other `Area` of this place.
        let source = unsafe { &mut *place.source.get() };
        for (at, byte) in source.iter_mut().enumerate() {
            *byte = (at * 31 + (at >> 8)) as u8;
        }
        Some(Area(place))
    }

    #[inline(always)]
    pub(crate) fn source(&self) -> &[u8; AREA_BYTES] {
        // SAFETY: this is the place's only `Area`, and it is borrowed.
        unsafe { &*self.0.source.get() }
    }

    /// What is read and what is written.
    #[inline(always)]
    pub(crate) fn both(&mut self) -> (&[u8; AREA_BYTES], &mut [u8; AREA_BYTES]) {
        // SAFETY: this is the place's only `Area`, it is borrowed for writing, and the two do not overlap.
        unsafe { (&*self.0.source.get(), &mut *self.0.sink.get()) }
    }
}

impl Drop for Area {
    fn drop(&mut self) {
        self.0.taken.store(false, Ordering::Release);
    }
}
