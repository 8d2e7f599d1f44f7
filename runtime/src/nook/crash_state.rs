//! What is left of a driver that faulted, to find out why.

use super::Nook;
use crate::{Class, CrashState, MemoryDump};

impl<C: Class> Nook<C> {
    /// Says what is kept of an instance's memory when it ends.
    pub fn dump_memory_on_fault(&mut self, keep: MemoryDump) {
        self.host_mut().call.trace.keep = keep;
    }

    /// Returns where the driver's code was at the last fault: bytes from the start of the module as the loader made it,
    /// if it was running.
    pub fn place_of_fault(&self) -> Option<u64> {
        self.host().call.trace.callers.iter().find(|caller| caller.in_driver)?.module_offset
    }

    /// Takes what is known of the last fault. An instance that is still there is captured as it is now; of one that was
    /// ended the memory is what it was at its end. What was taken once is not there again.
    pub fn take_crash_state(&mut self) -> CrashState {
        let host = self.host_mut();
        host.dump_memory();
        host.call.trace.take()
    }
}
