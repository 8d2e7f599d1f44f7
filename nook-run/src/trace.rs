//! `-vv`: every register access, by the register's name.

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

    fn name(&self, bar: u8, offset: u32) -> String {
        match self.map.find(bar, offset) {
            Some((info, _)) if info.count == 1 => info.name.to_owned(),
            Some((info, index)) => format!("{}[{index}]", info.name),
            None => format!("BAR {bar} {offset:#x}"),
        }
    }
}

impl TraceSink for RegisterLog {
    fn access(&mut self, access: BusAccess) {
        match access {
            BusAccess::Read { bar, offset, value, .. } => {
                tracing::trace!(target: "registers", "{} -> {value:#010x}", self.name(bar, offset));
            }
            BusAccess::Write { bar, offset, value, .. } => {
                tracing::trace!(target: "registers", "{} <- {value:#010x}", self.name(bar, offset));
            }
            other => tracing::trace!(target: "registers", "{other:x?}"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn registers_are_called_by_their_names() {
        let log = RegisterLog::new(&e1000_regs::MAP);
        assert_eq!(log.name(0, e1000_regs::CTRL.offset()), "CTRL");
        assert_eq!(log.name(0, e1000_regs::MTA.get(5).offset()), "MTA[5]");
        assert_eq!(log.name(0, 0x4), "BAR 0 0x4");
        assert_eq!(log.name(1, 0), "BAR 1 0x0");
    }
}
