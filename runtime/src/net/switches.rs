//! Receivers, transmitters and links that a driver never turned on, or turned off: no frame comes and none goes, the
//! device counts nothing, and all looks as on a quiet link.
//!
//! The register map says what [must be set](nook_regs::Needs) while the driver has its device open, and the host asks
//! the device, past the driver. It counts looks and not time, as [`super::stall`] does. A driver may turn things off
//! for a while, to reset its device, so what is off at one look is looked at again.

use nook_abi::net::NetFault;
use nook_bus::Lack;
use nook_net_api::NetBackend;

use super::Net;
use crate::{Driver, NookError};

/// Looks in the time that something may stand still; as far apart as those of [`super::stall`].
const LOOKS: u32 = 10;
/// Looks in a row at which something was off, after which it stays off.
const OFF: u32 = 5;
/// While nothing is off, looks are this many times as far apart.
const REST: u64 = 4;

/// What is watched about one driver instance while it has its device open.
#[derive(Debug, Default)]
pub(super) struct SwitchMonitor {
    /// When to look next.
    next_ns: u64,
    /// Looks in a row at which something was off.
    off: u32,
}

impl SwitchMonitor {
    /// Judges a look, at which this was off.
    fn judge(&mut self, lack: Option<Lack>, now_ns: u64, look_ns: u64) -> Result<(), NetFault> {
        let Some(lack) = lack else {
            *self = SwitchMonitor { next_ns: now_ns + look_ns * REST, off: 0 };
            return Ok(());
        };
        *self = SwitchMonitor { next_ns: now_ns + look_ns, off: self.off + 1 };
        if self.off < OFF {
            return Ok(());
        }
        let (register, field) = (lack.register.name, lack.field().unwrap_or_default());
        let limit_ns = look_ns * u64::from(OFF - 1);
        Err(NetFault::SwitchedOff { register, field, bits: lack.bits, limit_ns })
    }
}

impl<U: NetBackend> Net<U> {
    /// Looks whether what must be set in the device's registers is, if it is time. Returns when it looks next; never,
    /// if the map says nothing of that.
    pub(super) fn look_for_switches(
        &mut self,
        driver: &mut dyn Driver,
        link_is_up: bool,
        now_ns: u64,
    ) -> Result<Option<u64>, NookError> {
        if now_ns < self.switches.next_ns {
            return Ok(Some(self.switches.next_ns));
        }
        let host = driver.host_mut();
        if !host.device.has_needs() {
            return Ok(None);
        }
        let look_ns = host.call.budget.limits().stall_ns / u64::from(LOOKS);
        let lack = host.device.lacks(link_is_up).map_err(|error| host.device.failed(error));
        let lack = lack.map_err(|fault| host.error(fault))?;
        self.switches.judge(lack, now_ns, look_ns).map_err(|fault| host.error(fault.into()))?;
        Ok(Some(self.switches.next_ns))
    }
}

#[cfg(test)]
mod tests {
    use nook_regs::{Access, RegisterInfo, Width};

    use super::*;

    const LOOK_NS: u64 = 50_000_000;
    static CONTROL: RegisterInfo = RegisterInfo::declared("CONTROL", 0, Width::B4, 1, 0, Access::Rw, "1");
    const LACK: Option<Lack> = Some(Lack { register: &CONTROL, bits: 2 });

    /// Looks as often as there are answers. Says what came of the last look, and how long all of them took.
    fn looks(answers: &[Option<Lack>]) -> (Result<(), NetFault>, u64) {
        let (mut monitor, mut now_ns, mut last) = (SwitchMonitor::default(), 0, Ok(()));
        for &answer in answers {
            now_ns = monitor.next_ns;
            assert_eq!(last, Ok(()));
            last = monitor.judge(answer, now_ns, LOOK_NS);
        }
        (last, now_ns)
    }

    #[test]
    fn what_is_off_at_five_looks_in_a_row_is_found_and_four_are_a_driver_that_resets_its_device() {
        let off = NetFault::SwitchedOff { register: "CONTROL", field: "", bits: 2, limit_ns: 4 * LOOK_NS };
        assert_eq!(looks(&[LACK; 5]), (Err(off), 4 * LOOK_NS));
        assert_eq!(looks(&[None, LACK, LACK, LACK, LACK, LACK]), (Err(off), (4 + REST) * LOOK_NS));
        let again = [LACK, LACK, LACK, LACK, None, LACK, LACK, LACK, LACK];
        assert_eq!(looks(&again).0, Ok(()));
    }
}
