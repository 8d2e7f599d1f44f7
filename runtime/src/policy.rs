//! The register policy: what of a device a driver may touch. Default deny: what the register map does not name is
//! forbidden.

mod transfers;

use nook_bus::{IovaRange, PerRegister, RegisterAddr};
use nook_regs::{Access, Guard, GuardPosition, RegisterInfo, RegisterMap, Width, WriteEffect};

use self::transfers::Watched;

/// Bits of a rule.
const READ: u8 = 1 << 0;
const WRITE: u8 = 1 << 1;
/// It may be written whatever the value, and is a doorbell.
const RING: u8 = 1 << 2;

/// What is to be done with what was read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reading {
    /// Nothing but to give it to the driver.
    Given,
    /// The policy wants to see it first: [`RegisterPolicy::saw`].
    Seen,
}

/// Why a write is not simply passed on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Refusal {
    /// A rule forbids it.
    Rule(&'static str),
    /// It depends on the value: [`RegisterPolicy::look`].
    Value,
}

/// A register map as a table that is quick to ask.
#[derive(Clone, Debug)]
pub struct RegisterPolicy {
    rules: PerRegister<u8>,
    map: &'static RegisterMap,
    /// In the order of their places.
    guards: Vec<Guarded>,
    transfers: Vec<Watched>,
}

/// A register with a guard, and what its guard knows.
#[derive(Clone, Debug)]
struct Guarded {
    place: RegisterAddr,
    guard: Guard,
    position: GuardPosition,
}

impl RegisterPolicy {
    /// Returns the policy that a map stands for.
    pub fn from_map(map: &'static RegisterMap) -> Self {
        let position = GuardPosition::default();
        let guarded =
            |(place, info): (RegisterAddr, &RegisterInfo)| info.guard.map(|guard| Guarded { place, guard, position });
        let mut guards: Vec<_> = RegisterAddr::all_of(map).filter_map(guarded).collect();
        guards.sort_unstable_by_key(|guarded| guarded.place);
        let rules = PerRegister::of(map, 0);
        let mut policy = RegisterPolicy { rules, map, guards, transfers: Watched::all_of(map) };
        for (place, info) in RegisterAddr::all_of(map) {
            let mut rule = rule(info, policy.remembers());
            for watched in &policy.transfers {
                rule &= !watched.asks(place);
            }
            policy.rules.set(place, rule);
        }
        policy
    }

    /// Returns whether anything is remembered of the device, which a reset makes untrue.
    fn remembers(&self) -> bool {
        !self.guards.is_empty() || !self.transfers.is_empty()
    }

    /// Checks whether a register may be read; if not, returns by which rule.
    #[inline]
    pub fn check_read(&self, bar: u32, offset: u32, width: Width) -> Result<Reading, &'static str> {
        if self.rules.get(bar, offset, width) & READ != 0 {
            return Ok(Reading::Given);
        }
        let info = self.find(bar, offset, width)?;
        if info.access.reads() { Ok(Reading::Seen) } else { Err(refused(info, "the register is write-only")) }
    }

    /// Takes note of what was read from a register of which [`check_read`](Self::check_read) said so.
    #[cold]
    pub fn saw(&mut self, bar: u8, offset: u32, width: Width, value: u64) {
        let place = RegisterAddr { bar, offset, width };
        self.transfers.iter_mut().for_each(|watched| watched.saw(place, value));
    }

    /// Checks whether a register may be written; if not, or not without more checks, returns why.
    #[inline]
    pub fn check_write(&self, bar: u32, offset: u32, width: Width) -> Result<(), Refusal> {
        if self.rules.get(bar, offset, width) & WRITE != 0 {
            return Ok(());
        }
        let info = self.find(bar, offset, width).map_err(Refusal::Rule)?;
        if !info.access.writes() {
            return Err(Refusal::Rule(refused(info, "the register is read-only")));
        }
        let place = RegisterAddr { bar: info.bar, offset, width };
        let is_watched = self.transfers.iter().any(|watched| watched.asks(place) & WRITE != 0);
        if is_watched || depends_on_value(info, self.remembers()) { Err(Refusal::Value) } else { Ok(()) }
    }

    /// Checks whether a register of 32 bits is a doorbell and may be written; if not, or not without more checks,
    /// returns why.
    #[inline]
    pub fn check_doorbell(&self, bar: u32, offset: u32) -> Result<(), Refusal> {
        if self.rules.get(bar, offset, Width::B4) & RING != 0 {
            return Ok(());
        }
        match self.check_write(bar, offset, Width::B4) {
            Err(Refusal::Rule(rule)) => Err(Refusal::Rule(rule)),
            Ok(()) | Err(Refusal::Value) => match self.find(bar, offset, Width::B4).map_err(Refusal::Rule)?.write {
                WriteEffect::Doorbell => Err(Refusal::Value),
                _ => Err(Refusal::Rule("only a doorbell can be left to the host to write")),
            },
        }
    }

    /// Looks at a value for which [`check_write`](Self::check_write) said that it depends on it. Refuses it with a
    /// rule, or takes note that it is written. `window` is where the device sees the driver's window, if it does.
    #[cold]
    pub fn look(
        &mut self,
        bar: u32,
        offset: u32,
        width: Width,
        value: u64,
        window: Option<IovaRange>,
    ) -> Result<(), &'static str> {
        let info = self.find(bar, offset, width)?;
        if !is_allowed_address(info, value, window) {
            return Err("the device would use an address outside the driver's window");
        }
        let place = RegisterAddr { bar: info.bar, offset, width };
        if let Ok(at) = self.guards.binary_search_by_key(&place, |guarded| guarded.place) {
            let guarded = &mut self.guards[at];
            guarded.position = guarded.guard.step(guarded.position, value)?;
        }
        self.transfers.iter_mut().try_for_each(|watched| watched.look(place, value, window))?;
        if matches!(info.write, WriteEffect::Reset(bits) if value & bits != 0) {
            self.forget();
        }
        Ok(())
    }

    /// Returns whether a value that [`look`](Self::look) permitted starts a transfer between device and memory.
    pub(crate) fn starts_transfer(&self, bar: u32, offset: u32, width: Width, value: u64) -> bool {
        u8::try_from(bar).is_ok_and(|bar| {
            let place = RegisterAddr { bar, offset, width };
            self.transfers.iter().any(|watched| watched.starts(place, value))
        })
    }

    /// Resets what guards and transfers know of the device: it was reset, or what was written did not reach it.
    #[inline]
    pub fn forget(&mut self) {
        self.transfers.iter_mut().for_each(Watched::forget);
        for guarded in &mut self.guards {
            guarded.position = GuardPosition::default();
        }
    }

    /// Returns the guarded registers that have bits which are zero between sequences, and those bits.
    pub fn guarded(&self) -> impl Iterator<Item = (RegisterAddr, u64)> {
        let sequences = self.guards.iter().filter(|guarded| guarded.guard.busy != 0);
        sequences.map(|guarded| (guarded.place, guarded.guard.busy))
    }

    /// Finds the register of the map that an access names, or why there is none.
    #[cold]
    fn find(&self, bar: u32, offset: u32, width: Width) -> Result<&'static RegisterInfo, &'static str> {
        let known = u8::try_from(bar).ok().and_then(|bar| Some((bar, self.map.len_bytes(bar)?)));
        let (bar, len_bytes) = known.ok_or("this BAR is not one that the register map describes")?;
        if !offset.is_multiple_of(width.bytes()) {
            return Err("the offset is not a multiple of the width");
        }
        if u64::from(offset) + u64::from(width.bytes()) > u64::from(len_bytes) {
            return Err("the offset is outside the BAR");
        }
        let (info, _) = self.map.find(bar, offset).ok_or("no register of the map begins there")?;
        if info.width != width {
            return Err(other_width(info.width, width));
        }
        Ok(info)
    }

    /// Returns the map.
    pub fn map(&self) -> &'static RegisterMap {
        self.map
    }

    /// Returns the map's name.
    pub fn name(&self) -> &'static str {
        self.map.name()
    }
}

/// Returns what a driver may do with a register whatever the value.
fn rule(info: &RegisterInfo, remembers: bool) -> u8 {
    let read = if info.access.reads() { READ } else { 0 };
    let write = if info.access.writes() && !depends_on_value(info, remembers) { WRITE } else { 0 };
    let ring = if write != 0 && info.write == WriteEffect::Doorbell { RING } else { 0 };
    read | write | ring
}

/// Returns whether a write must be checked: it may be an address, a guard wants to see it, or what guards and transfers
/// remember is forgotten after a reset.
fn depends_on_value(info: &RegisterInfo, remembers: bool) -> bool {
    match info.write {
        WriteEffect::DmaBase | WriteEffect::DmaBaseOrZero | WriteEffect::DmaBaseHigh => true,
        WriteEffect::Reset(_) => remembers,
        WriteEffect::Plain | WriteEffect::OneClears | WriteEffect::Doorbell | WriteEffect::Command => {
            info.guard.is_some()
        }
    }
}

/// Returns whether what a register is written with is no address, or one that the device may use.
fn is_allowed_address(info: &RegisterInfo, value: u64, window: Option<IovaRange>) -> bool {
    let low = |address: u64| address & Width::B4.all_ones();
    // A window never crosses a multiple of 4 GiB.
    let inside = window.is_some_and(|IovaRange { first, last }| match info.width {
        Width::B8 => (first..=last).contains(&value),
        _ => (low(first)..=low(last)).contains(&value),
    });
    match info.write {
        WriteEffect::DmaBase => inside,
        WriteEffect::DmaBaseOrZero => inside || value == 0,
        WriteEffect::DmaBaseHigh => value == 0 || window.is_some_and(|window| value == window.first >> 32),
        _ => true,
    }
}

/// Says that a register has other bits than an access. The texts are static, because a fault has no room for others.
fn other_width(has: Width, access: Width) -> &'static str {
    use Width::{B1, B2, B4, B8};
    match (has, access) {
        (B1, B2) => "the register has 8 bits, and the access 16",
        (B1, B4) => "the register has 8 bits, and the access 32",
        (B1, B8) => "the register has 8 bits, and the access 64",
        (B2, B1) => "the register has 16 bits, and the access 8",
        (B2, B4) => "the register has 16 bits, and the access 32",
        (B2, B8) => "the register has 16 bits, and the access 64",
        (B4, B1) => "the register has 32 bits, and the access 8",
        (B4, B2) => "the register has 32 bits, and the access 16",
        (B4, B8) => "the register has 32 bits, and the access 64",
        (B8, B1) => "the register has 64 bits, and the access 8",
        (B8, B2) => "the register has 64 bits, and the access 16",
        (B8, B4) => "the register has 64 bits, and the access 32",
        (B1, B1) | (B2, B2) | (B4, B4) | (B8, B8) => "the register has this width",
    }
}

fn refused(info: &RegisterInfo, otherwise: &'static str) -> &'static str {
    if info.access == Access::Forbidden { "the register is not a driver's to touch" } else { otherwise }
}

#[cfg(test)]
mod tests {
    use nook_regs::{Bits, GuardRule, GuardState, Then};

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
        NARROW: u16 at 0x1e, Rw, "6";
        /// Many.
        MANY: [u32; 4; 8] at 0x40, Rw, "7";
        /// Only in steps of one.
        STEPS: u32 at 0x20, Rw, "8", guard(steps(&WORD, 0xff));
        /// Starts again.
        RESET: u32 at 0x24, Rw, "9", write(Reset(2));
        /// Steps, three times.
        PINS: [u8; 3; 2] at 0x28, Rw, "8", guard(steps(&BYTE, 0x0f));
        /// The high half of an address.
        HIGH: u32 at 0x14, Rw, "5", write(DmaBaseHigh);
        /// A whole address.
        LONG: u64 at 0x60, Rw, "5", write(DmaBase);
        /// An address in steps of one.
        BOTH: u64 at 0x68, Rw, "5", write(DmaBase), guard(steps(&LONG_ONE, 0));
    }

    /// One state after another, in each of which one more than in the last may be written, from 1 on.
    macro_rules! one_more {
        ($mask:expr, $($value:literal)*) => {
            [$(GuardState {
                name: stringify!($value),
                count: 1,
                rules: &[
                    GuardRule::when(Bits::new($mask, &[$value]), Then::Next),
                    GuardRule::otherwise(Then::Refuse("not one more")),
                ],
            },)* GuardState { name: "the end", count: 1, rules: &[] }]
        };
    }
    static WORD: [GuardState; 5] = one_more!(0xffff_ffff, 1 2 3 4);
    static BYTE: [GuardState; 3] = one_more!(0xff, 1 2);
    static LONG_ONE: [GuardState; 2] = one_more!(u64::MAX, 1);

    const fn steps(states: &'static [GuardState], busy: u64) -> Guard {
        Guard { never: &[], states, busy }
    }

    fn reads(offset: u32, width: Width) -> bool {
        RegisterPolicy::from_map(&MAP).check_read(1, offset, width).is_ok()
    }

    fn write(offset: u32, width: Width) -> Result<(), Refusal> {
        RegisterPolicy::from_map(&MAP).check_write(1, offset, width)
    }

    #[test]
    fn an_access_of_another_width_is_refused_with_both_widths() {
        let widths = [Width::B1, Width::B2, Width::B4, Width::B8];
        for (has, access) in widths.into_iter().flat_map(|has| widths.map(|access| (has, access))) {
            let both = format!("the register has {} bits, and the access {}", has.bits(), access.bits());
            assert_eq!(other_width(has, access) == both, has != access, "{has} {access}");
        }
        let refused = RegisterPolicy::from_map(&MAP).check_read(1, 0x60, Width::B4);
        assert_eq!(refused, Err("the register has 64 bits, and the access 32"));
    }

    #[test]
    fn what_the_map_does_not_name_is_forbidden() {
        for offset in (0..0x104).step_by(4) {
            let named = [0x00, 0x04, 0x10, 0x14, 0x18, 0x20, 0x24, 0x40, 0x48, 0x50, 0x58].contains(&offset);
            assert_eq!(reads(offset, Width::B4), named, "{offset:#x}");
        }
        assert!(RegisterPolicy::from_map(&MAP).check_read(0, 0, Width::B4).is_err());
    }

    #[test]
    fn an_access_has_the_registers_own_width_and_place() {
        assert!(reads(NARROW.offset(), Width::B2));
        for (offset, width) in [(0x1e, Width::B1), (0x1c, Width::B4), (0, Width::B8), (0, Width::B2), (2, Width::B4)] {
            assert!(!reads(offset, width), "{offset:#x} {width}");
        }
    }

    #[test]
    fn each_refusal_says_which_rule_it_is() {
        assert_eq!(write(RW.offset(), Width::B4), Ok(()));
        assert_eq!(write(MANY.get(3).offset(), Width::B4), Ok(()));
        assert_eq!(write(RO.offset(), Width::B4), Err(Refusal::Rule("the register is read-only")));
        assert_eq!(write(NO.offset(), Width::B4), Err(Refusal::Rule("the register is not a driver's to touch")));
        assert_eq!(write(BASE.offset(), Width::B4), Err(Refusal::Value));
        assert!(write(WO.offset(), Width::B4).is_ok() && !reads(WO.offset(), Width::B4));
    }

    /// Writes, if the policy lets it.
    fn look(policy: &mut RegisterPolicy, offset: u32, width: Width, value: u64) -> Result<(), &'static str> {
        assert_eq!(policy.check_write(1, offset, width), Err(Refusal::Value));
        policy.look(1, offset, width, value, Some(IovaRange { first: 0x5_0020_0000, last: 0x5_003f_ffff }))
    }

    #[test]
    fn an_address_lies_in_the_window_whole_or_by_halves() {
        const OUTSIDE: Result<(), &str> = Err("the device would use an address outside the driver's window");
        let mut policy = RegisterPolicy::from_map(&MAP);
        for (offset, width, value, answer) in [
            (BASE.offset(), Width::B4, 0x20_0000, Ok(())),
            (BASE.offset(), Width::B4, 0x3f_ffff, Ok(())),
            (BASE.offset(), Width::B4, 0x40_0000, OUTSIDE),
            (BASE.offset(), Width::B4, 0, OUTSIDE),
            (SHARED.offset(), Width::B4, 0, Ok(())),
            (SHARED.offset(), Width::B4, 1, OUTSIDE),
            (HIGH.offset(), Width::B4, 5, Ok(())),
            (HIGH.offset(), Width::B4, 0, Ok(())),
            (HIGH.offset(), Width::B4, 4, OUTSIDE),
            (LONG.offset(), Width::B8, 0x5_0020_0000, Ok(())),
            (LONG.offset(), Width::B8, 0x5_0040_0000, OUTSIDE),
            (LONG.offset(), Width::B8, 0x20_0000, OUTSIDE),
            (LONG.offset(), Width::B8, 0, OUTSIDE),
        ] {
            assert_eq!(look(&mut policy, offset, width, value), answer, "{offset:#x} {value:#x}");
            let unmapped = policy.look(1, offset, width, value, None);
            assert_eq!(unmapped.is_ok(), answer.is_ok() && value == 0, "without a window only 0 is no address");
        }
    }

    #[test]
    fn a_guard_sees_each_value_and_begins_again_after_a_reset() {
        let policy = &mut RegisterPolicy::from_map(&MAP);
        let mut write = |offset, value| look(policy, offset, Width::B4, value);
        assert_eq!(write(STEPS.offset(), 1), Ok(()));
        assert_eq!(write(STEPS.offset(), 1), Err("not one more"));
        assert_eq!(write(STEPS.offset(), 2), Ok(()));
        assert_eq!(write(RESET.offset(), 1), Ok(()));
        assert_eq!(write(STEPS.offset(), 3), Ok(()));
        assert_eq!(write(RESET.offset(), 2), Ok(()));
        assert_eq!(write(STEPS.offset(), 4), Err("not one more"));
        assert_eq!(write(STEPS.offset(), 1), Ok(()));
        policy.forget();
        assert_eq!(look(policy, STEPS.offset(), Width::B4, 1), Ok(()));
    }

    #[test]
    fn each_element_of_an_array_is_guarded_for_itself() {
        let mut policy = RegisterPolicy::from_map(&MAP);
        let (first, last) = (PINS.get(0).offset(), PINS.get(2).offset());
        assert_eq!(look(&mut policy, first, Width::B1, 1), Ok(()));
        assert_eq!(look(&mut policy, last, Width::B1, 2), Err("not one more"));
        assert_eq!(look(&mut policy, last, Width::B1, 1), Ok(()));
        assert_eq!(look(&mut policy, first, Width::B1, 2), Ok(()));
        let place = |offset| (RegisterAddr { bar: 1, offset, width: Width::B1 }, 0x0f);
        let pins = [0, 1, 2].map(|index| place(PINS.get(index).offset()));
        assert_eq!(policy.guarded().filter(|(at, _)| at.width == Width::B1).collect::<Vec<_>>(), pins);
    }

    #[test]
    fn an_address_that_is_guarded_is_looked_at_twice() {
        let mut policy = RegisterPolicy::from_map(&MAP);
        let outside = look(&mut policy, BOTH.offset(), Width::B8, 1);
        assert_eq!(outside, Err("the device would use an address outside the driver's window"));
        assert_eq!(look(&mut policy, BOTH.offset(), Width::B8, 0x5_0020_0000), Err("not one more"));
    }
}
