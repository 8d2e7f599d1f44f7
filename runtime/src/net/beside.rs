//! What the host has beside the entries of `tx_provide`.

use nook_abi::net::{Side, SideWords};

use crate::Space;
use crate::ring::HostSides;

/// The ring's side array.
pub(crate) struct Beside(HostSides<{ size_of::<SideWords>() / size_of::<u64>() }>);

impl Beside {
    /// Creates it for a ring whose side array is at this address.
    pub(super) fn new(space: &Space, addr: u64) -> Self {
        Beside(space.sides(addr))
    }

    /// Says what is to be done to the frame that begins with the `at`th entry ever put in.
    #[inline]
    pub(super) fn set(&mut self, at: u32, side: &Side) {
        self.0.set(at, side.to_words());
    }
}
