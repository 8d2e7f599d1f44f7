//! The register policy: what of a device a driver may touch. Default deny: what the register map does not name is
//! forbidden.

use nook_bus::Words;
use nook_regs::{Guard, RegisterInfo, RegisterMap, Width, WriteEffect};

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
    /// The same, or 0.
    DmaBaseOrZero,
    /// It depends on the value: [`RegisterPolicy::look`].
    Value,
}

/// A register map as a table that is quick to ask.
#[derive(Clone, Debug)]
pub struct RegisterPolicy {
    /// Rules.
    words: Words<u8>,
    map: &'static RegisterMap,
    guards: Vec<Guarded>,
}

/// A register with a guard, and what its guard knows.
#[derive(Clone, Debug)]
struct Guarded {
    bar: u8,
    offset: u32,
    guard: Guard,
    state: u64,
}

impl RegisterPolicy {
    /// The policy that a map stands for.
    pub fn from_map(map: &'static RegisterMap) -> Self {
        let mut words = Words::of(map, 0);
        let guards = |info: &RegisterInfo| {
            info.guard.map(|guard| Guarded { bar: info.bar, offset: info.offset, guard, state: 0 })
        };
        let guards: Vec<_> = map.registers.iter().filter_map(guards).collect();
        for info in map.registers {
            for index in 0..info.count {
                let offset = info.offset + index * info.stride;
                if let Some(word) = words.get_mut(info.bar.into(), offset, info.width) {
                    *word |= rule(info, !guards.is_empty());
                }
            }
        }
        RegisterPolicy { words, map, guards }
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
            (true, WriteEffect::DmaBaseOrZero) => Err(Refusal::DmaBaseOrZero),
            (true, write) if depends_on_value(info, write, !self.guards.is_empty()) => Err(Refusal::Value),
            (true, _) => Ok(()),
        }
    }

    /// Looks at a value for which [`check_write`](Self::check_write) said that it depends on it. Refuses it with a
    /// rule, or takes note that it is written.
    #[cold]
    pub fn look(&mut self, bar: u32, offset: u32, value: u64) -> Result<(), &'static str> {
        let here = |guarded: &&mut Guarded| (u32::from(guarded.bar), guarded.offset) == (bar, offset);
        if let Some(guarded) = self.guards.iter_mut().find(here) {
            guarded.state = (guarded.guard.step)(guarded.state, value)?;
        }
        if let Some((RegisterInfo { write: WriteEffect::Reset(bits), .. }, _)) = self.register(bar, offset)
            && value & u64::from(*bits) != 0
        {
            self.forget();
        }
        Ok(())
    }

    /// What the guards know of the device is not so any more: it was reset, or what was written did not reach it.
    #[inline]
    pub fn forget(&mut self) {
        for guarded in &mut self.guards {
            guarded.state = 0;
        }
    }

    /// The guarded registers that have bits which are zero while they rest: each one's BAR and offset, and those bits.
    pub fn guarded(&self) -> impl Iterator<Item = (u8, u32, u64)> {
        let sequences = self.guards.iter().filter(|guarded| guarded.guard.busy != 0);
        sequences.map(|guarded| (guarded.bar, guarded.offset, guarded.guard.busy))
    }

    /// The quick rule: no bit is set where the slow way has to be asked.
    #[inline]
    fn word(&self, bar: u32, offset: u32, width: Width) -> u8 {
        self.words.get(bar, offset, width).unwrap_or(0)
    }

    fn register(&self, bar: u32, offset: u32) -> Option<(&'static RegisterInfo, u32)> {
        self.map.find(u8::try_from(bar).ok()?, offset)
    }

    /// The register of the map that an access names, or why there is none.
    #[cold]
    fn find(&self, bar: u32, offset: u32, width: Width) -> Result<&'static RegisterInfo, &'static str> {
        let len_bytes = u8::try_from(bar).ok().and_then(|bar| self.map.len_bytes(bar));
        let len_bytes = len_bytes.ok_or("this BAR is not one that the register map describes")?;
        if !offset.is_multiple_of(width.bytes()) {
            return Err("the offset is not a multiple of the width");
        }
        if u64::from(offset) + u64::from(width.bytes()) > u64::from(len_bytes) {
            return Err("the offset is outside of the BAR");
        }
        let (info, _) = self.register(bar, offset).ok_or("no register of the map begins there")?;
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
fn rule(info: &RegisterInfo, guards: bool) -> u8 {
    let read = if info.access.reads() { READ } else { 0 };
    let is_address = matches!(info.write, WriteEffect::DmaBase | WriteEffect::DmaBaseOrZero);
    let looked_at = is_address || depends_on_value(info, info.write, guards);
    let write = if info.access.writes() && !looked_at { WRITE } else { 0 };
    read | write
}

/// Whether a write must be looked at: by a guard, or because guards begin anew after a reset.
fn depends_on_value(info: &RegisterInfo, write: WriteEffect, guards: bool) -> bool {
    info.guard.is_some() || (guards && matches!(write, WriteEffect::Reset(_)))
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
        /// An address, or none.
        SHARED: u32 at 0x18, Rw, "5", write(DmaBaseOrZero);
        /// Narrow.
        NARROW: u16 at 0x16, Rw, "6";
        /// Many.
        MANY: [u32; 4; 8] at 0x40, Rw, "7";
        /// Only in steps of one.
        STEPS: u32 at 0x20, Rw, "8", guard(one_more, 0xff);
        /// Starts again.
        RESET: u32 at 0x24, Rw, "9", write(Reset(2));
    }

    fn one_more(state: u64, value: u64) -> Result<u64, &'static str> {
        if value == state + 1 { Ok(value) } else { Err("not one more") }
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
            let named = [0x00, 0x04, 0x10, 0x18, 0x20, 0x24, 0x40, 0x48, 0x50, 0x58].contains(&offset);
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
        assert_eq!(write(SHARED.offset(), Width::B4), Err(Refusal::DmaBaseOrZero));
        assert!(write(WO.offset(), Width::B4).is_ok() && !reads(WO.offset(), Width::B4));
    }

    #[test]
    fn a_guard_sees_each_value_and_begins_anew_after_a_reset() {
        let mut policy = RegisterPolicy::from_map(&MAP);
        assert_eq!(policy.check_write(1, STEPS.offset(), Width::B4), Err(Refusal::Value));
        assert_eq!(policy.look(1, STEPS.offset(), 1), Ok(()));
        assert_eq!(policy.look(1, STEPS.offset(), 1), Err("not one more"));
        assert_eq!(policy.look(1, STEPS.offset(), 2), Ok(()));
        assert_eq!(policy.check_write(1, RESET.offset(), Width::B4), Err(Refusal::Value));
        assert_eq!(policy.look(1, RESET.offset(), 1), Ok(()));
        assert_eq!(policy.look(1, STEPS.offset(), 3), Ok(()));
        assert_eq!(policy.look(1, RESET.offset(), 2), Ok(()));
        assert_eq!(policy.look(1, STEPS.offset(), 4), Err("not one more"));
        assert_eq!(policy.look(1, STEPS.offset(), 1), Ok(()));
        policy.forget();
        assert_eq!(policy.look(1, STEPS.offset(), 1), Ok(()));
    }
}
