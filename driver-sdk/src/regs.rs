//! Device registers.

use nook_regs::{Register, Value, Width};

use crate::{Kernel, Nook};

/// The registers in one BAR. Every access is one hostcall: exact in width, in program order, never merged.
#[derive(Clone, Copy)]
pub struct Regs<K> {
    nook: Nook<K>,
    bar: u32,
}

impl<K: Kernel> Regs<K> {
    pub(crate) fn new(nook: Nook<K>, bar: u32) -> Self {
        Regs { nook, bar }
    }

    /// The register's value.
    #[inline(always)]
    pub fn read<V: Value>(&self, register: Register<V>) -> V {
        let (bar, offset) = (self.bar, register.offset());
        // The width is a constant of the type: one arm is left.
        V::from_u64(match V::WIDTH {
            Width::B1 => u64::from(self.nook.mmio_read8(bar, offset)),
            Width::B2 => u64::from(self.nook.mmio_read16(bar, offset)),
            Width::B4 => u64::from(self.nook.mmio_read32(bar, offset)),
            Width::B8 => self.nook.mmio_read64(bar, offset),
        })
    }

    /// Writes the register. The device has seen it once a later read or [`Regs::flush`] has returned.
    #[inline(always)]
    pub fn write<V: Value>(&self, register: Register<V>, value: V) {
        let (bar, offset, value) = (self.bar, register.offset(), value.to_u64());
        match V::WIDTH {
            Width::B1 => self.nook.mmio_write8(bar, offset, value as u32),
            Width::B2 => self.nook.mmio_write16(bar, offset, value as u32),
            Width::B4 => self.nook.mmio_write32(bar, offset, value as u32),
            Width::B8 => self.nook.mmio_write64(bar, offset, value),
        }
    }

    /// Reads the register and writes what `change` makes of its value.
    pub fn modify<V: Value>(&self, register: Register<V>, change: impl FnOnce(V) -> V) {
        self.write(register, change(self.read(register)));
    }

    /// Returns once all earlier writes have reached the device.
    pub fn flush(&self) {
        self.nook.mmio_flush();
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing;

    #[test]
    fn an_access_has_the_width_of_its_register() {
        let host = testing::Host::new();
        let regs = host.nook().regs(0);
        regs.write(Register::<u8>::at(1), 0xab);
        regs.write(Register::<u16>::at(2), 0xabcd);
        regs.write(Register::<u32>::at(4), 7);
        regs.write(Register::<u64>::at(8), u64::MAX);
        regs.modify(Register::<u32>::at(4), |value| value | 8);
        assert_eq!(regs.read(Register::<u64>::at(8)), 0);
        let expected = [
            "mmio_write8 [0, 1, 171]",
            "mmio_write16 [0, 2, 43981]",
            "mmio_write32 [0, 4, 7]",
            "mmio_write64 [0, 8, 18446744073709551615]",
            "mmio_read32 [0, 4]",
            "mmio_write32 [0, 4, 8]",
            "mmio_read64 [0, 8]",
        ];
        assert_eq!(host.calls(), expected);
    }
}
