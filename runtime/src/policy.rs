//! The register policy: what of a device a driver may touch. Default deny: what the register map does not name is
//! forbidden.

use nook_regs::{RegisterMap, Width};

/// Bits of a rule.
const READ: u8 = 1 << 0;
const WRITE: u8 = 1 << 1;
/// The register is in the map (for a better message).
const NAMED: u8 = 1 << 2;

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
                if info.width == Width::B4 && offset % 4 == 0 {
                    *word |= NAMED | rule(info.access);
                }
            }
        }
        RegisterPolicy { bar: u32::from(map.bar), words, map }
    }

    /// Whether a register may be accessed; if not, by which rule.
    #[inline]
    pub fn check(&self, bar: u32, offset: u32, width: Width, write: bool) -> Result<(), &'static str> {
        let wanted = if write { WRITE } else { READ };
        if width == Width::B4 && bar == self.bar && offset % 4 == 0 {
            if let Some(&word) = self.words.get(offset as usize / 4) {
                if word & wanted != 0 {
                    return Ok(());
                }
            }
        }
        self.check_slowly(bar, offset, width, write)
    }

    /// Every other width, and the reason for a refusal.
    #[cold]
    fn check_slowly(&self, bar: u32, offset: u32, width: Width, write: bool) -> Result<(), &'static str> {
        if bar != self.bar {
            return Err("this BAR is not one that the register map describes");
        }
        if offset % width.bytes() != 0 {
            return Err("the offset is not a multiple of the width");
        }
        if u64::from(offset) + u64::from(width.bytes()) > u64::from(self.map.len_bytes) {
            return Err("the offset is outside of the BAR");
        }
        let Some((info, _)) = self.map.find(offset) else {
            return Err("no register of the map begins there");
        };
        if info.width != width {
            return Err("the register has another width");
        }
        let allowed = rule(info.access);
        match (write, allowed & READ != 0, allowed & WRITE != 0) {
            (_, false, false) => Err("the register is not a driver's to touch"),
            (true, _, false) => Err("the register is read-only"),
            (false, false, _) => Err("the register is write-only"),
            _ => Ok(()),
        }
    }

    /// The map's name.
    pub fn name(&self) -> &'static str {
        self.map.name
    }
}

fn rule(access: nook_regs::Access) -> u8 {
    (if access.reads() { READ } else { 0 }) | (if access.writes() { WRITE } else { 0 })
}
