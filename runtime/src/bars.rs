//! The two ways to a register. Which of them a driver has is what tells the levels of isolation apart, so they are two
//! types: what the host serves is [`CheckedBars`], and only the native level makes itself [`UncheckedBars`] (a rule of
//! `cargo xtask tidy`).

use nook_abi::{Fault, Hostcall};
use nook_bus::PciDevice;
use nook_regs::Width;

use crate::device::DeviceState;
use crate::policy::{Reading, Refusal};
use crate::{Counters, Host};

/// The part of configuration space that a driver can read.
const CONFIG_BYTES: u32 = 256;

/// The device's registers, behind the policy.
pub(crate) struct CheckedBars<'a>(UncheckedBars<'a>);

/// The device's registers, without a policy before them: the device's own limits are the only ones. An access may lead
/// the device anywhere.
pub struct UncheckedBars<'a> {
    device: &'a mut DeviceState,
    counters: &'a mut Counters,
}

impl Host {
    /// Returns the registers, for a driver that is checked.
    #[inline]
    pub(crate) fn bars(&mut self) -> CheckedBars<'_> {
        CheckedBars(UncheckedBars::of(self))
    }
}

impl<'a> UncheckedBars<'a> {
    /// Returns the registers of this host's device.
    #[inline]
    pub fn of(host: &'a mut Host) -> Self {
        UncheckedBars { device: &mut host.device, counters: &mut host.counters }
    }

    /// Reads a register.
    ///
    /// # Errors
    /// If the device does not answer, or does not have it.
    #[inline]
    pub fn read(&mut self, bar: u8, offset: u32, width: Width) -> Result<u64, Fault> {
        self.counters.reg_reads += 1;
        self.device.device.bar_read(bar, offset, width).map_err(|error| self.device.failed(error))
    }

    /// Writes a register; in a transaction, when it is committed.
    ///
    /// # Errors
    /// As [`read`](Self::read).
    #[inline]
    pub fn write(&mut self, bar: u8, offset: u32, width: Width, value: u64) -> Result<(), Fault> {
        self.counters.reg_writes += 1;
        self.device.device.bar_write(bar, offset, width, value).map_err(|error| self.device.failed(error))
    }
}

impl CheckedBars<'_> {
    /// Returns the registers of a device that has no host around it.
    #[cfg(test)]
    pub(crate) fn of_device<'a>(device: &'a mut DeviceState, counters: &'a mut Counters) -> CheckedBars<'a> {
        CheckedBars(UncheckedBars { device, counters })
    }

    /// Reads a register, if the policy permits it.
    #[inline]
    pub(crate) fn read(&mut self, call: Hostcall, bar: u32, offset: u32, width: Width) -> Result<u64, Fault> {
        match self.0.device.policy.check_read(bar, offset, width) {
            Ok(Reading::Given) => self.0.read(bar as u8, offset, width),
            Ok(Reading::Seen) => {
                let value = self.0.read(bar as u8, offset, width)?;
                self.0.device.policy.saw(bar as u8, offset, width, value);
                Ok(value)
            }
            Err(rule) => Err(Fault::RegisterForbidden { call, bar, offset, rule }),
        }
    }

    /// Writes a register, if the policy permits it and the device would not leave the window because of it.
    #[inline]
    pub(crate) fn write(
        &mut self,
        call: Hostcall,
        bar: u32,
        offset: u32,
        width: Width,
        value: u64,
    ) -> Result<(), Fault> {
        if value > width.all_ones() {
            self.0.device.refused = Some((bar, offset));
            let rule = "bits above the register's width are set";
            return Err(Fault::BadArgument { call, argument: "value", value, rule });
        }
        let device = &mut *self.0.device;
        match device.policy.check_write(bar, offset, width) {
            Ok(()) => {}
            Err(Refusal::Rule(rule)) => return Err(Fault::RegisterForbidden { call, bar, offset, rule }),
            Err(Refusal::Value) => {
                let window = device.seen_window();
                if let Err(rule) = device.policy.look(bar, offset, width, value, window) {
                    device.refused = Some((bar, offset));
                    return Err(Fault::BadArgument { call, argument: "value", value, rule });
                }
                if !device.device.device().may_use_memory() && device.policy.starts_transfer(bar, offset, width, value)
                {
                    device.report_transfer_without_dma(bar, offset);
                }
            }
        }
        self.0.write(bar as u8, offset, width, value)
    }

    /// Writes a register whose write was left to the host: a doorbell, and 32 bits wide.
    #[inline]
    pub(crate) fn ring(&mut self, bar: u8, offset: u32, value: u32) -> Result<(), Fault> {
        const CALL: Hostcall = Hostcall::MmioWrite32;
        match self.0.device.policy.check_doorbell(bar.into(), offset) {
            Ok(()) => self.0.write(bar, offset, Width::B4, value.into()),
            Err(Refusal::Rule(rule)) => Err(Fault::RegisterForbidden { call: CALL, bar: bar.into(), offset, rule }),
            Err(Refusal::Value) => self.write(CALL, bar.into(), offset, Width::B4, value.into()),
        }
    }

    /// Reads configuration space.
    pub(crate) fn config_read(&mut self, call: Hostcall, offset: u32, width: Width) -> Result<u32, Fault> {
        let bad = |rule| Fault::BadArgument { call, argument: "offset", value: offset.into(), rule };
        if !offset.is_multiple_of(width.bytes()) {
            return Err(bad("not a multiple of the width"));
        }
        if offset >= CONFIG_BYTES {
            return Err(bad("outside configuration space (256 bytes)"));
        }
        let UncheckedBars { device, counters } = &mut self.0;
        counters.reg_reads += 1;
        device.device.config_read(offset as u16, width).map_err(|error| device.failed(error))
    }
}
