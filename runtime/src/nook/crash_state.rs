//! What is left of a driver that faulted, to find out why.

use super::Nook;
use crate::{Caller, Class, CrashState, MemoryDump};

impl<C: Class> Nook<C> {
    /// Says what is kept of an instance's memory when it ends.
    pub fn dump_memory_on_fault(&mut self, keep: MemoryDump) {
        self.host_mut().call.trace.keep = keep;
    }

    /// Returns the driver's call stack at the last fault, innermost first, if its own code was running.
    pub fn callers_of_fault(&self) -> &[Caller] {
        &self.host().call.trace.callers
    }

    /// Returns where the driver's code was at the last fault: bytes from the start of the module as the loader made it,
    /// if it was running.
    pub fn place_of_fault(&self) -> Option<u64> {
        self.callers_of_fault().iter().find(|caller| caller.in_driver)?.module_offset
    }

    /// Takes what is known of the last fault. An instance that is still there is captured as it is now; of one that was
    /// ended the memory is what it was at its end. What was taken once is not there again.
    pub fn take_crash_state(&mut self) -> CrashState {
        let host = self.host_mut();
        host.dump_memory();
        let registers = host.device.device.device().last_values();
        CrashState { registers, ..host.call.trace.take() }
    }

    /// Returns the file of what is kept of a recording, up to now, if what [records](crate::Host::record) this nook
    /// keeps anything. It can have several MiB.
    pub fn kept_recording(&mut self) -> Option<Vec<u8>> {
        self.host_mut().recorder()?.kept()
    }
}
