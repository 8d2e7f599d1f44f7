//! `-vv`: what crosses the bus, by the registers' names.

use nook_bus::{BusAccess, TraceSink};
use nook_regs::RegisterMap;

/// Writes what crosses the bus to the log.
pub struct RegisterLog {
    map: &'static RegisterMap,
}

impl RegisterLog {
    /// Creates a log with the names of `map`.
    pub fn new(map: &'static RegisterMap) -> Self {
        RegisterLog { map }
    }
}

impl TraceSink for RegisterLog {
    fn access(&mut self, access: BusAccess) {
        tracing::trace!(target: "registers", "{}", access.describe(self.map));
    }
}
