//! Device registers.

use nook_abi::Doorbell;
use nook_regs::{Register, Value, Width};

use crate::{Kernel, Nook};

/// The registers in one BAR. Every access reaches the device as it is: exact in width, in program order, never merged.
/// Each is one hostcall, but for [doorbells](Regs::write).
///
/// ```
/// # use nook_sdk::{Kernel, Nook, Status};
/// nook_regs::registers! {
///     /// A chip.
///     static MAP = "chip", bar 0, 0x10 bytes;
///     /// What it does.
///     CTRL: u32 at 0x00, Rw, "2.1", write(Reset(CTRL::RESET)) {
///         /// How fast.
///         SPEED = 8..=9,
///         /// Begins again; clears itself.
///         RESET = 31,
///     }
/// }
///
/// fn reset<K: Kernel>(nook: Nook<K>) -> Result<(), Status> {
///     let regs = nook.regs(0);
///     regs.write(CTRL, CTRL::RESET);
///     nook.poll_until(10_000_000, 100_000, || regs.read(CTRL) & CTRL::RESET == 0)?;
///     regs.modify(CTRL, |ctrl| ctrl & !CTRL::SPEED.mask() | CTRL::SPEED.put(2));
///     Ok(())
/// }
/// ```
#[derive(Clone, Copy)]
pub struct Regs<K> {
    nook: Nook<K>,
    bar: u32,
}

impl<K: Kernel> Regs<K> {
    pub(crate) fn new(nook: Nook<K>, bar: u32) -> Self {
        Regs { nook, bar }
    }

    /// Reads the register.
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

    /// Writes the register. The device has seen it once a later read or [`Regs::flush`] has returned. What the map
    /// calls a doorbell is left with the host, if it takes that: it makes the write when this call into the driver
    /// returns, or before the next access.
    #[inline(always)]
    pub fn write<V: Value>(&self, register: Register<V>, value: V) {
        let (bar, offset, value) = (self.bar, register.offset(), value.to_u64());
        // Both are constants: of this either nothing is left, or only this and a call for when there is no room.
        if register.is_doorbell()
            && V::WIDTH == Width::B4
            && let Some(word) = Doorbell::word(bar, offset, value as u32)
            && self.nook.page().leave_doorbell(word)
        {
            return;
        }
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
    use crate::{Packet, QueueEntry, testing};
    use nook_abi::DOORBELLS;
    use nook_regs::WriteEffect;
    use std::cell::RefCell;
    use std::rc::Rc;
    use std::vec::Vec;

    #[test]
    fn an_access_has_the_width_of_its_register() {
        let host = testing::TestHost::new();
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

    #[test]
    fn a_doorbell_is_left_while_the_host_has_room_for_it() {
        let host = testing::TestHost::new();
        let (regs, tail) = (host.nook().regs(1), Register::<u32>::at(0x18).with_effect(WriteEffect::Doorbell));
        regs.write(tail, 1);
        assert_eq!(host.calls(), ["mmio_write32 [1, 24, 1]"], "nobody takes it");
        host.take_doorbells();
        let room = DOORBELLS as u32;
        for value in 2..4 + room {
            regs.write(tail, value);
        }
        regs.write(Register::<u32>::at(0x1c), 10);
        let page = host.page_now();
        assert_eq!(page.doorbell_count as usize, DOORBELLS);
        let left = page.doorbells.map(Doorbell::from_word);
        assert!(left.iter().map(|doorbell| doorbell.value).eq(2..2 + room));
        assert!(left.iter().all(|doorbell| (doorbell.bar, doorbell.offset) == (1, 0x18)));
        let expected = [
            "mmio_write32 [1, 24, 1]",
            "mmio_write32 [1, 24, 16]",
            "mmio_write32 [1, 24, 17]",
            "mmio_write32 [1, 28, 10]",
        ];
        assert_eq!(host.calls(), expected);
    }

    /// A device of 16 bytes of registers. A write of 32 bits at 8 has it fetch the word there.
    struct Chip {
        window: testing::Window,
        bytes: [u8; 16],
        accesses: Vec<(u32, u32)>,
    }

    impl testing::Device for Chip {
        fn config_read(&mut self, offset: u32, width_bytes: u32) -> u32 {
            offset << 8 | width_bytes
        }

        fn read(&mut self, _bar: u32, offset: u32, width_bytes: u32) -> u64 {
            self.accesses.push((offset, width_bytes));
            let mut value = [0; 8];
            value[..width_bytes as usize].copy_from_slice(&self.bytes[offset as usize..][..width_bytes as usize]);
            u64::from_le_bytes(value)
        }

        fn write(&mut self, _bar: u32, offset: u32, width_bytes: u32, value: u64) {
            self.accesses.push((offset, width_bytes));
            self.bytes[offset as usize..][..width_bytes as usize]
                .copy_from_slice(&value.to_le_bytes()[..width_bytes as usize]);
            if (offset, width_bytes) == (8, 4) {
                self.bytes[12..].copy_from_slice(&self.window.read(value).to_le_bytes());
            }
        }
    }

    fn plugged(host: &testing::TestHost) -> Rc<RefCell<Chip>> {
        let chip = Chip { window: host.window(), bytes: [0; 16], accesses: Vec::new() };
        let chip = Rc::new(RefCell::new(chip));
        host.plug(&chip);
        chip
    }

    #[test]
    fn a_device_sees_each_width_as_it_is() {
        let host = testing::TestHost::new();
        let chip = plugged(&host);
        let regs = host.nook().regs(0);
        regs.write(Register::<u64>::at(0), 0x8877_6655_4433_2211);
        assert_eq!(regs.read(Register::<u8>::at(1)), 0x22);
        assert_eq!(regs.read(Register::<u16>::at(2)), 0x4433);
        assert_eq!(regs.read(Register::<u32>::at(4)), 0x8877_6655);
        regs.write(Register::<u8>::at(7), 0xff);
        regs.write(Register::<u16>::at(4), 0);
        assert_eq!(regs.read(Register::<u64>::at(0)), 0xff77_0000_4433_2211);
        assert_eq!(chip.borrow().accesses, [(0, 8), (1, 1), (2, 2), (4, 4), (7, 1), (4, 2), (0, 8)]);
        let nook = host.nook();
        assert_eq!((nook.config_read8(9), nook.config_read16(2), nook.config_read32(4)), (0x901, 0x202, 0x404));
    }

    #[test]
    fn a_device_that_names_32_bits_finds_memory_below_4_gib() {
        let host = testing::TestHost::below_4_gib();
        let _chip = plugged(&host);
        let (nook, regs) = (host.nook(), host.nook().regs(0));
        let region = nook.dma_alloc(4096, 4096).unwrap();
        region.bytes().write(4092, 0x0bad_cafeu32).unwrap();
        let base = u32::try_from(region.iova() + 4092).expect("all of it lies below 4 GiB");
        regs.write(Register::<u32>::at(8), base);
        assert_eq!(regs.read(Register::<u32>::at(12)), 0x0bad_cafe);
        let pool = nook.queues().pool;
        let last = Packet::from(&QueueEntry::default());
        assert!(pool.frame_iova(&last).is_some_and(|iova| iova + u64::from(pool.room_bytes()) <= 1 << 32));
        // And past it, where the whole address is needed.
        let region = testing::TestHost::new().nook().dma_alloc(4096, 4096).unwrap();
        assert!(u32::try_from(region.iova()).is_err());
    }
}
