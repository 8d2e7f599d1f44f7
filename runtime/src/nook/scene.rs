//! What is left of a driver that faulted, for those who want to know why.

use super::Nook;
use crate::{Class, KeepMemory, Scene};

impl<C: Class> Nook<C> {
    /// Says what is kept of an instance's memory when it ends.
    pub fn keep_memory(&mut self, keep: KeepMemory) {
        self.host_mut().call.trail.keep = keep;
    }

    /// Where the driver's code was at the last fault: bytes from the start of the module as the loader made it, if it
    /// was running.
    pub fn place_of_fault(&self) -> Option<u64> {
        self.host().call.trail.callers.iter().find(|caller| caller.in_driver)?.module_offset
    }

    /// The scene of the last fault. An instance that still is there is looked at as it is now; of one that was ended
    /// the memory is what it was at its end. What was taken once is not there again.
    pub fn take_scene(&mut self) -> Scene {
        let host = self.host_mut();
        host.look_at_memory();
        host.call.trail.take()
    }
}
