//! PCI configuration over I/O ports 0xcf8 and 0xcfc (PCI Local Bus Specification 3.0, section 3.2.2.3.2), and the
//! work of a firmware: finding out what BARs a function has and giving them addresses.

use std::ops::Range;

use nook_bus::config::{BAR0, CAPABILITIES, COMMAND, STATUS};
use nook_bus::{BarInfo, BarSpace, Width};

use crate::qtest::{Qtest, QtestError, Space};

type Result<T> = std::result::Result<T, QtestError>;

const CONFIG_ADDRESS: u64 = 0xcf8;
const CONFIG_DATA: u64 = 0xcfc;

/// STATUS: there is a list of capabilities.
const STATUS_CAPABILITIES: u32 = 1 << 4;

/// A BAR lies in I/O space.
const BAR_IO: u32 = 1 << 0;
/// Bits 2:1 of a memory BAR: 64 bits, so the next BAR register is its upper half.
const BAR_64: u32 = 0b10 << 1;
const BAR_TYPE: u32 = 0b11 << 1;

/// How much of configuration space the ports reach.
pub(crate) const CONFIG_BYTES: u16 = 0x100;

/// Function 0 of the device in `slot` of bus 0.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Function {
    pub(crate) slot: u32,
}

/// A BAR and where we have put it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Bar {
    pub(crate) info: BarInfo,
    pub(crate) address: u64,
}

/// Addresses that are still free, for BARs.
#[derive(Debug)]
pub(crate) struct FreeAddresses {
    /// In memory space.
    pub(crate) memory: Range<u64>,
    /// In I/O space.
    pub(crate) io: Range<u64>,
}

/// What was found of a function's BARs.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Bars {
    /// Each has an address.
    Placed(Vec<Bar>),
    /// There is no place for this one.
    TooLarge(BarInfo),
}

impl Function {
    /// Reads; `offset` is inside [`CONFIG_BYTES`] and aligned.
    pub(crate) fn read(self, q: &mut Qtest, offset: u16, width: Width) -> Result<u32> {
        self.select(q, offset)?;
        Ok(q.read(Space::Io, CONFIG_DATA + u64::from(offset & 3), width)? as u32)
    }

    /// Writes; `offset` is inside [`CONFIG_BYTES`] and aligned. Posted like every other write.
    pub(crate) fn write(self, q: &mut Qtest, offset: u16, width: Width, value: u32) -> Result<()> {
        self.select(q, offset)?;
        q.write(Space::Io, CONFIG_DATA + u64::from(offset & 3), width, u64::from(value))
    }

    fn select(self, q: &mut Qtest, offset: u16) -> Result<()> {
        let address = 1 << 31 | self.slot << 11 | u32::from(offset & !3);
        q.write(Space::Io, CONFIG_ADDRESS, Width::B4, u64::from(address))
    }

    /// Finds the function's BARs by the all-ones probe (section 6.2.5.1) and gives each an address. Decoding must
    /// be off.
    pub(crate) fn place_bars(self, q: &mut Qtest, free: &mut FreeAddresses) -> Result<Bars> {
        let mut bars = Vec::new();
        let mut index = 0;
        while index < 6 {
            let offset = BAR0 + 4 * u16::from(index);
            let low = self.probe(q, offset)?;
            let wide = low & BAR_IO == 0 && low & BAR_TYPE == BAR_64;
            let high = if wide { self.probe(q, offset + 4)? } else { u32::MAX };
            if let Some((space, len_bytes)) = size(low, high) {
                let info = BarInfo { index, space, len_bytes };
                let free = match space {
                    BarSpace::Memory => &mut free.memory,
                    BarSpace::Io => &mut free.io,
                };
                let address = free.start.checked_next_multiple_of(len_bytes);
                let end = address.and_then(|address| address.checked_add(len_bytes));
                let (Some(address), Some(end)) = (address, end.filter(|end| *end <= free.end)) else {
                    return Ok(Bars::TooLarge(info));
                };
                free.start = end;
                self.write(q, offset, Width::B4, address as u32)?;
                if wide {
                    self.write(q, offset + 4, Width::B4, (address >> 32) as u32)?;
                }
                bars.push(Bar { info, address });
            }
            index += if wide { 2 } else { 1 };
        }
        Ok(Bars::Placed(bars))
    }

    fn probe(self, q: &mut Qtest, offset: u16) -> Result<u32> {
        self.write(q, offset, Width::B4, u32::MAX)?;
        self.read(q, offset, Width::B4)
    }

    /// Sets bits `set` of the command register and clears bits `clear`; says what it holds then.
    pub(crate) fn command(self, q: &mut Qtest, set: u16, clear: u16) -> Result<u16> {
        let old = self.read(q, COMMAND, Width::B2)? as u16;
        self.write(q, COMMAND, Width::B2, u32::from(old & !clear | set))?;
        Ok(self.read(q, COMMAND, Width::B2)? as u16)
    }

    /// Returns the capabilities: id and offset of each, in the order of the list.
    pub(crate) fn capabilities(self, q: &mut Qtest) -> Result<Vec<(u8, u16)>> {
        let mut found = Vec::new();
        if self.read(q, STATUS, Width::B2)? & STATUS_CAPABILITIES == 0 {
            return Ok(found);
        }
        let mut at = self.read(q, CAPABILITIES, Width::B1)? as u16 & !3;
        // A list that bites its own tail would have no end: there is room for 48 of them.
        while at != 0 && found.len() < 48 {
            let head = self.read(q, at, Width::B2)?;
            found.push((head as u8, at));
            at = (head >> 8) as u16 & !3;
        }
        Ok(found)
    }
}

/// Returns what a BAR register (and the next one) that holds all ones says of the BAR; `None` if there is none.
fn size(low: u32, high: u32) -> Option<(BarSpace, u64)> {
    if low == 0 {
        return None;
    }
    if low & BAR_IO != 0 {
        // I/O BARs may leave the upper 16 bits out.
        return Some((BarSpace::Io, u64::from(!(low & !3) as u16) + 1));
    }
    let mask = u64::from(high) << 32 | u64::from(low & !0xf);
    Some((BarSpace::Memory, (!mask).wrapping_add(1)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_are_read_off_the_probe() {
        assert_eq!(size(0, u32::MAX), None);
        assert_eq!(size(0xfffe_0000, u32::MAX), Some((BarSpace::Memory, 0x2_0000)));
        assert_eq!(size(0xffff_ffc1, u32::MAX), Some((BarSpace::Io, 0x40)));
        assert_eq!(size(0x0000_ffe1, u32::MAX), Some((BarSpace::Io, 0x20)));
        assert_eq!(size(0x0000_000c, 0xffff_fffe), Some((BarSpace::Memory, 2 << 32)));
    }
}
