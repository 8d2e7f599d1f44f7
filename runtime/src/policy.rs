//! The register policy: what of a device a driver may touch. Default deny: what the register map does not name is
//! forbidden.

use nook_regs::{RegisterInfo, RegisterMap, Width, WriteEffect};

/// Bits of a rule.
const READ: u8 = 1 << 0;
const WRITE: u8 = 1 << 1;

/// Why a write is not simply passed on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Refusal {
    /// A rule forbids it.
    Rule(&'static str),
    /// The value is the low half of an address that the device will use: it must lie in the window.
    DmaBase,
}

/// A register map as a table that is quick to ask.
#[derive(Clone, Debug)]
pub struct RegisterPolicy {
    bar: u32,
    /// One rule for each naturally aligned 32-bit register: what nearly all registers are.
    words: Vec<u8>,
    map: &'static RegisterMap,
}

impl RegisterPolicy {
    /// The policy that a map stands for.
    pub fn from_map(map: &'static RegisterMap) -> Self {
        let mut words = vec![0; map.len_bytes as usize / 4];
        for info in map.registers {
            for index in 0..info.count {
                let offset = info.offset + index * info.stride;
                let Some(word) = words.get_mut(offset as usize / 4) else { continue };
                if info.width == Width::B4 && offset.is_multiple_of(4) {
                    *word |= rule(info);
                }
            }
        }
        RegisterPolicy { bar: u32::from(map.bar), words, map }
    }

    /// Whether a register may be read; if not, by which rule.
    #[inline]
    pub fn check_read(&self, bar: u32, offset: u32, width: Width) -> Result<(), &'static str> {
        if self.word(bar, offset, width) & READ != 0 {
            return Ok(());
        }
        let info = self.find(bar, offset, width)?;
        if info.access.reads() { Ok(()) } else { Err(refused(info, "the register is write-only")) }
    }

    /// Whether a register may be written; if not simply so, why.
    #[inline]
    pub fn check_write(&self, bar: u32, offset: u32, width: Width) -> Result<(), Refusal> {
        if self.word(bar, offset, width) & WRITE != 0 {
            return Ok(());
        }
        let info = self.find(bar, offset, width).map_err(Refusal::Rule)?;
        match (info.access.writes(), info.write) {
            (false, _) => Err(Refusal::Rule(refused(info, "the register is read-only"))),
            (true, WriteEffect::DmaBase) => Err(Refusal::DmaBase),
            (true, _) => Ok(()),
        }
    }

    /// The quick rule: no bit is set where the slow way has to be asked.
    #[inline]
    fn word(&self, bar: u32, offset: u32, width: Width) -> u8 {
        if width == Width::B4 && bar == self.bar && offset.is_multiple_of(4) {
            self.words.get(offset as usize / 4).copied().unwrap_or(0)
        } else {
            0
        }
    }

    /// The register of the map that an access names, or why there is none.
    #[cold]
    fn find(&self, bar: u32, offset: u32, width: Width) -> Result<&'static RegisterInfo, &'static str> {
        if bar != self.bar {
            return Err("this BAR is not one that the register map describes");
        }
        if !offset.is_multiple_of(width.bytes()) {
            return Err("the offset is not a multiple of the width");
        }
        if u64::from(offset) + u64::from(width.bytes()) > u64::from(self.map.len_bytes) {
            return Err("the offset is outside of the BAR");
        }
        let (info, _) = self.map.find(offset).ok_or("no register of the map begins there")?;
        if info.width != width {
            return Err("the register has another width");
        }
        Ok(info)
    }

    /// The map's name.
    pub fn name(&self) -> &'static str {
        self.map.name
    }
}

/// What a driver may do with a register without a look at the value.
fn rule(info: &RegisterInfo) -> u8 {
    let read = if info.access.reads() { READ } else { 0 };
    let write = if info.access.writes() && info.write != WriteEffect::DmaBase { WRITE } else { 0 };
    read | write
}

fn refused(info: &RegisterInfo, otherwise: &'static str) -> &'static str {
    if info.access == nook_regs::Access::Forbidden { "the register is not a driver's to touch" } else { otherwise }
}

#[cfg(test)]
mod tests {
    use super::*;

    nook_regs::registers! {
        /// One of each.
        static MAP = "sample", bar 1, 0x100 bytes;
        /// Read and write.
        RW: u32 at 0x00, Rw, "1";
        /// Read only.
        RO: u32 at 0x04, Ro, "2";
        /// Write only.
        WO: u32 at 0x08, Wo, "3";
        /// Neither.
        NO: u32 at 0x0c, Forbidden, "4";
        /// An address.
        BASE: u32 at 0x10, Rw, "5", write(DmaBase);
        /// Narrow.
        NARROW: u16 at 0x16, Rw, "6";
        /// Many.
        MANY: [u32; 4; 8] at 0x40, Rw, "7";
    }

    fn reads(offset: u32, width: Width) -> bool {
        RegisterPolicy::from_map(&MAP).check_read(1, offset, width).is_ok()
    }

    fn write(offset: u32, width: Width) -> Result<(), Refusal> {
        RegisterPolicy::from_map(&MAP).check_write(1, offset, width)
    }

    #[test]
    fn what_the_map_does_not_name_is_forbidden() {
        for offset in (0..0x104).step_by(4) {
            let named = [0x00, 0x04, 0x10, 0x40, 0x48, 0x50, 0x58].contains(&offset);
            assert_eq!(reads(offset, Width::B4), named, "{offset:#x}");
        }
        assert!(RegisterPolicy::from_map(&MAP).check_read(0, 0, Width::B4).is_err());
    }

    #[test]
    fn an_access_has_the_registers_own_width_and_place() {
        assert!(reads(NARROW.offset(), Width::B2));
        for (offset, width) in [(0x16, Width::B1), (0x14, Width::B4), (0, Width::B8), (0, Width::B2), (2, Width::B4)] {
            assert!(!reads(offset, width), "{offset:#x} {width}");
        }
    }

    #[test]
    fn each_refusal_says_which_rule_it_is() {
        assert_eq!(write(RW.offset(), Width::B4), Ok(()));
        assert_eq!(write(MANY.get(3).offset(), Width::B4), Ok(()));
        assert_eq!(write(RO.offset(), Width::B4), Err(Refusal::Rule("the register is read-only")));
        assert_eq!(write(NO.offset(), Width::B4), Err(Refusal::Rule("the register is not a driver's to touch")));
        assert_eq!(write(BASE.offset(), Width::B4), Err(Refusal::DmaBase));
        assert!(write(WO.offset(), Width::B4).is_ok() && !reads(WO.offset(), Width::B4));
    }
}
