//! What the host has and keeps beside the entries of `tx_provide`.

use nook_abi::QUEUE_CAPACITY;
use nook_abi::net::{Side, SideWords};

use crate::Space;
use crate::ring::HostSides;

/// The ring's side array, and the host's own memory of where frames end in the ring.
pub(crate) struct Beside {
    sides: HostSides<{ size_of::<SideWords>() / size_of::<u64>() }>,
    ends: [bool; QUEUE_CAPACITY as usize],
}

impl Beside {
    /// Creates it for an empty ring, whose side array is at this address.
    pub(super) fn new(space: &Space, addr: u64) -> Self {
        Beside { sides: space.sides(addr), ends: [true; QUEUE_CAPACITY as usize] }
    }

    fn index(at: u32) -> usize {
        (at % QUEUE_CAPACITY) as usize
    }

    /// Says what is to be done to the frame that begins with the `at`th entry ever put in.
    #[inline]
    pub(super) fn set(&mut self, at: u32, side: &Side) {
        self.sides.set(at, side.to_words());
    }

    /// Notes whether a frame ends in that entry.
    #[inline]
    pub(super) fn note(&mut self, at: u32, ends: bool) {
        self.ends[Self::index(at)] = ends;
    }

    /// Returns whether no frame was begun and not finished by who took this many entries.
    pub(super) fn is_between_frames(&self, taken: u32) -> bool {
        self.ends[Self::index(taken.wrapping_sub(1))]
    }
}
