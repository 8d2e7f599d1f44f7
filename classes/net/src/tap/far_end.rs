//! What is known of a cable's far end, for the program that plugged it in.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

/// The far end of a cable, shared with the device that has it.
#[derive(Debug, Default)]
pub struct FarEnd {
    lost: AtomicU64,
    too_long: AtomicU64,
    removed: AtomicBool,
}

impl FarEnd {
    /// Returns how many frames of the device the interface did not take: it was down, gone, or had no room.
    pub fn lost(&self) -> u64 {
        self.lost.load(Ordering::Relaxed)
    }

    /// Returns how many frames of the interface were longer than any that a device takes.
    pub fn too_long(&self) -> u64 {
        self.too_long.load(Ordering::Relaxed)
    }

    /// Returns whether the interface was removed. There is no carrier then, for good.
    #[inline]
    pub fn is_removed(&self) -> bool {
        self.removed.load(Ordering::Relaxed)
    }

    pub(super) fn count_lost(&self) {
        self.lost.fetch_add(1, Ordering::Relaxed);
    }

    #[cold]
    pub(super) fn count_too_long(&self, name: &str, longest_bytes: usize) {
        if self.too_long.fetch_add(1, Ordering::Relaxed) == 0 {
            tracing::warn!(
                "{name}: a frame is longer than the {longest_bytes} bytes that the device takes; it is dropped, and \
                 later ones are only counted; is the interface's MTU too large?"
            );
        }
    }

    #[cold]
    pub(super) fn note_removed(&self, name: &str) {
        if !self.removed.swap(true, Ordering::Relaxed) {
            tracing::warn!("the cable's far end, the TAP interface {name}, was removed; the link goes down");
        }
    }
}
