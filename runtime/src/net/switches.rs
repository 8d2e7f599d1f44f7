//! Receivers, transmitters and links that a driver never turned on, or turned off, or knows nothing of: no frame comes
//! and none goes, the device counts nothing, and all looks as on a quiet link, or as without a cable.
//!
//! The register map says what [must be set](nook_regs::Needs) while the driver has its device open, and [what
//! says](nook_regs::LinkBits) that there is a link, and the host asks the device, past the driver. It counts looks and
//! not time, as [`super::stall`] does. A driver may turn things off for a while, to reset its device, and looks at its
//! link when it likes, so what is odd at one look is looked at again.

use nook_abi::net::NetFault;
use nook_bus::Lack;
use nook_net_api::NetBackend;

use super::Net;
use crate::{Driver, NookError};

/// Looks in the time that something may stand still; as far apart as those of [`super::stall`].
const LOOKS: u32 = 10;
/// Looks in a row at which something was off, after which it stays off.
const OFF: u32 = 5;
/// Looks in a row at which the driver reported another link than the device had. Drivers that ask for it in intervals
/// do so every two seconds (Linux's).
pub(super) const DISAGREES: u32 = 60;
/// While nothing is odd, looks are this many times as far apart.
const REST: u64 = 4;

/// What is watched about one driver instance while it has its device open.
#[derive(Debug, Default)]
pub(super) struct SwitchMonitor {
    /// When to look next.
    next_ns: u64,
    /// Looks in a row at which something was off.
    off: u32,
    /// Looks in a row at which the driver reported another link than the device had.
    disagrees: u32,
}

/// What is seen at a look.
#[derive(Clone, Copy, Debug, Default)]
struct Sight {
    /// What is off.
    lack: Option<Lack>,
    /// The device's link, if it is not what the driver reports, and the register that says so.
    other_link: Option<(bool, &'static str)>,
}

impl SwitchMonitor {
    /// Judges a look.
    fn judge(&mut self, sight: Sight, now_ns: u64, look_ns: u64) -> Result<(), NetFault> {
        let after = |looks: u32, odd: bool| if odd { looks + 1 } else { 0 };
        self.off = after(self.off, sight.lack.is_some());
        self.disagrees = after(self.disagrees, sight.other_link.is_some());
        let rest = if self.off + self.disagrees == 0 { REST } else { 1 };
        self.next_ns = now_ns + look_ns * rest;
        if let Some(lack) = sight.lack.filter(|_| self.off >= OFF) {
            let (register, field) = (lack.register.name, lack.field().unwrap_or_default());
            let limit_ns = look_ns * u64::from(OFF - 1);
            return Err(NetFault::SwitchedOff { register, field, bits: lack.bits, limit_ns });
        }
        if let Some((device_up, register)) = sight.other_link.filter(|_| self.disagrees >= DISAGREES) {
            let limit_ns = look_ns * u64::from(DISAGREES - 1);
            return Err(NetFault::LinkDisagrees { register, device_up, limit_ns });
        }
        Ok(())
    }
}

impl<U: NetBackend> Net<U> {
    /// Looks whether what must be set in the device's registers is, and whether its link is what the driver reports, if
    /// it is time. Returns when it looks next; never, if the map says nothing of that.
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
        let look_ns = host.call.budget.limits().stall_ns / u64::from(LOOKS);
        let seen = host.device.lacks(link_is_up).and_then(|lack| Ok((lack, host.device.has_link()?)));
        let (lack, link) = seen.map_err(|error| host.device.failed(error)).map_err(|fault| host.error(fault))?;
        if !host.device.has_needs() && link.is_none() {
            return Ok(None);
        }
        let other_link = link.filter(|&(up, _)| up != link_is_up).map(|(up, register)| (up, register.name));
        self.switches.judge(Sight { lack, other_link }, now_ns, look_ns).map_err(|fault| host.error(fault.into()))?;
        Ok(Some(self.switches.next_ns))
    }
}

#[cfg(test)]
mod tests {
    use nook_regs::{Access, RegisterInfo, Width};

    use super::*;

    const LOOK_NS: u64 = 50_000_000;
    static CONTROL: RegisterInfo = RegisterInfo::declared("CONTROL", 0, Width::B4, 1, 0, Access::Rw, "1");
    const FINE: Sight = Sight { lack: None, other_link: None };
    const LACK: Sight = Sight { lack: Some(Lack { register: &CONTROL, bits: 2 }), ..FINE };
    const OTHER: Sight = Sight { other_link: Some((true, "STATUS")), ..FINE };

    /// Looks as often as there are answers. Says what came of the last look, and how long all of them took.
    fn looks(answers: &[Sight]) -> (Result<(), NetFault>, u64) {
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
        assert_eq!(looks(&[FINE, LACK, LACK, LACK, LACK, LACK]), (Err(off), (4 + REST) * LOOK_NS));
        let again = [LACK, LACK, LACK, LACK, FINE, LACK, LACK, LACK, LACK];
        assert_eq!(looks(&again).0, Ok(()));
    }

    #[test]
    fn another_link_than_the_devices_is_found_after_three_seconds_whatever_is_off_meanwhile() {
        let limit_ns = 59 * LOOK_NS;
        let disagrees = NetFault::LinkDisagrees { register: "STATUS", device_up: true, limit_ns };
        assert_eq!(looks(&[OTHER; 59]).0, Ok(()));
        assert_eq!(looks(&[OTHER; 60]), (Err(disagrees), limit_ns));
        let both = Sight { other_link: OTHER.other_link, ..LACK };
        assert_eq!(looks(&[&[OTHER; 30][..], &[both; 4], &[OTHER; 26]].concat()), (Err(disagrees), limit_ns));
        assert_eq!(looks(&[&[OTHER; 59][..], &[LACK], &[OTHER; 59]].concat()).0, Ok(()));
    }
}
