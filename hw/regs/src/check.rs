//! Which maps make sense. Everything that works with a map relies on these rules and has no other check: a
//! map that keeps them makes no host panic, whatever a driver does with its registers.

#[cfg(test)]
mod tests;

use core::fmt;

use crate::{
    Bar, BarSpace, FieldInfo, LinkBits, Needs, ReadEffect, RegisterInfo, RegisterMap, Restore, Width, WriteEffect,
};

/// How many registers a map may have, counting each element of an array.
pub const MAX_REGISTERS: u32 = 32_768;

/// How far from the start of a BAR a register may end.
pub const MAX_REACH_BYTES: u64 = 16 << 20;

/// Why a map is refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct MapError {
    /// The map.
    pub map: &'static str,
    /// The register that is not as it must be; empty if it is the map as a whole.
    pub register: &'static str,
    /// The rule that it breaks.
    pub rule: Rule,
    /// The field or the other register with which it does, if the rule is about one.
    pub with: &'static str,
}

macro_rules! rules {
    ($($(#[$doc:meta])* $rule:ident $text:literal,)*) => {
        /// A rule that every map keeps.
        #[derive(Clone, Copy, Debug, PartialEq, Eq)]
        pub enum Rule {
            $($(#[$doc])* $rule,)*
        }

        impl Rule {
            /// Every rule.
            #[cfg(test)]
            pub(crate) const ALL: &[Rule] = &[$(Rule::$rule),*];

            /// Returns what is wrong, after the register's name and before the field's or the other register's.
            const fn text(self) -> &'static str {
                match self {
                    $(Rule::$rule => $text,)*
                }
            }
        }
    };
}

rules! {
    /// BARs are numbered 0 to 5, and stand in that order.
    Bars "its BARs are not numbered 0 to 5, in order and each once",
    /// [`MAX_REGISTERS`].
    Count "it has more than 32768 registers, counting each element of an array",
    /// A register can be named in reports.
    Name "it has a register without a name",
    /// A name means one register.
    NamedTwice "has the name of another register",
    /// The map describes the BAR.
    Bar "is in a BAR that the map does not describe",
    /// An array has elements, and they do not overlap.
    Array "is an array without elements, or whose elements overlap",
    /// Each element is at a multiple of its width.
    Alignment "is not aligned to its width",
    /// It lies in its BAR.
    End "ends after its BAR",
    /// [`MAX_REACH_BYTES`].
    Reach "ends more than 16 MiB after the start of its BAR",
    /// No two registers share a byte.
    Overlap "shares a byte with",
    /// A field lies in its register.
    FieldOutside "is too narrow for its field",
    /// No two fields share a bit.
    FieldOverlap "shares a bit among its fields, by",
    /// What cannot be read has no effect when it is.
    Unreadable "cannot be read, and yet reading it has an effect",
    /// What cannot be written has no effect when it is, no guard and no transfer, and is not restored.
    Unwritable "cannot be written, and yet writing it has an effect",
    /// Bits and values of effects are the register's.
    Bits "has an effect with bits that it does not have, or with none",
    /// The bits that reset all are among those that reset.
    ResetNotNamed "is restored by a reset that is no write effect of it",
    /// It can be looked at without effect, and is one register.
    HeldUp "says that the device is held up, and is an array, lacks those bits, or cannot be read without effect",
    /// What must be set can be looked at without effect, and is one register's.
    Needs "needs bits that it does not have, or none, or is an array, or cannot be read without effect",
    /// What tells of a link can be looked at without effect, and is one register's.
    Link "tells of a link with bits that it does not have, or none, or is an array, or cannot be read without effect",
    /// It can be read without effect, as often as one likes.
    ReadBack "must be read to be restored, and cannot be, or not without effect",
    /// It holds what was written.
    NotHeld "is restored although it does not hold what is written to it",
    /// What the host writes to restore a register goes past the window's check and the guard: it is a value that passed
    /// them, or one that needs neither.
    RestoredUnchecked "is restored with a write that its effect or its guard would have to check",
    /// An address has 64 bits, or 32 as the low half.
    AddressWidth "holds an address that the device uses, and is not 32 or 64 bit wide",
    /// The high half of an address has 32 bits.
    HighWidth "holds the high half of an address, and is not 32 bit wide",
    /// A pair has a lower half.
    Pair "is the upper half of a counter whose lower half, as wide and without effect, does not lie before it",
    /// What says that there is something to be popped can be asked.
    Ready "is said to be ready by a register that is not there, is an array, cannot be read, has not those bits, or is \
           in another BAR; or it pops nothing:",
    /// I/O space has no accesses of 64 bits.
    PortWidth "is 64 bit wide, and its BAR is in I/O space",
    /// A counter has no bits to be acknowledged.
    CounterBits "is a counter, and yet its bits are cleared one by one",
    /// A guard's bits can be let go of.
    GuardBusy "has bits that are let go of before a driver begins, and does not read without effect what it was given",
    /// A guard has states, each with a name.
    GuardStates "has a guard without states, with more than 256, or with a state that has no name, another's, or no \
                 repetition",
    /// A guard's rules can match.
    GuardBits "has a guard that compares bits that the register does not have, or with values that they cannot have",
    /// Each state leads to another.
    GuardNext "has a guard that goes on to a state that there is not, from its state",
    /// Nothing is known in the beginning.
    GuardBeginning "has a guard that asks for the value before when none is known yet, in its first state",
    /// What starts a transfer says whether it is over, and does nothing besides.
    TransferStart "starts transfers, and is an array, or has an effect, a guard or a restore, or cannot be asked whether \
                   one is over",
    /// A transfer can be started, and leads somewhere.
    TransferBits "starts transfers with bits that it does not have, in no direction, or with a place that is none",
    /// What a transfer is made of is known when it is started.
    TransferRegister "starts transfers with what is in a register that is not there, is an array, is not written, has an \
                      effect, a guard or a restore, or is too narrow for an address:",
}

impl fmt::Display for MapError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.pieces().iter().try_for_each(|piece| f.write_str(piece))
    }
}

impl core::error::Error for MapError {}

impl MapError {
    /// Returns the message, in pieces.
    const fn pieces(&self) -> [&'static str; 10] {
        let (before, after) = if self.register.is_empty() { ("", "") } else { ("register `", "` ") };
        let (open, close) = if self.with.is_empty() { ("", "") } else { (" `", "`") };
        ["map `", self.map, "`: ", before, self.register, after, self.rule.text(), open, self.with, close]
    }

    /// Panics with the message. In the compiler, where nothing can be formatted, it must be one string.
    const fn panic(&self) -> ! {
        let (mut text, mut len, mut piece) = ([0; 400], 0, 0);
        let pieces = self.pieces();
        while piece < pieces.len() {
            let bytes = pieces[piece].as_bytes();
            let mut at = 0;
            while at < bytes.len() && len < text.len() {
                text[len] = bytes[at];
                (len, at) = (len + 1, at + 1);
            }
            piece += 1;
        }
        // A name that was cut off in the middle of a character leaves the rule at least.
        match core::str::from_utf8(text.split_at(len).0) {
            Ok(text) => panic!("{}", text),
            Err(_) => panic!("{}", self.rule.text()),
        }
    }
}

impl RegisterMap {
    /// Checks a map and returns it, if it makes sense.
    ///
    /// # Errors
    /// The first [`Rule`] that it breaks, and which register breaks it.
    pub const fn new(
        name: &'static str,
        bars: &'static [Bar],
        registers: &'static [RegisterInfo],
    ) -> Result<Self, MapError> {
        let map = RegisterMap { name, devices: &[], classes: &[], bars, registers };
        match map.broken() {
            Some((register, rule, with)) => Err(MapError { map: name, register, rule, with }),
            None => Ok(map),
        }
    }

    /// Checks a map in a static, as [`registers!`](crate::registers) uses it.
    ///
    /// # Panics
    /// With the rule that it breaks, and which register breaks it; in a static that is an error at compile time.
    pub const fn checked(name: &'static str, bars: &'static [Bar], registers: &'static [RegisterInfo]) -> Self {
        match Self::new(name, bars, registers) {
            Ok(map) => map,
            Err(error) => error.panic(),
        }
    }

    /// Returns the first rule that is broken: by which register, and with which other register or field.
    const fn broken(&self) -> Option<Broken> {
        let mut at = 0;
        while at < self.bars.len() {
            // A PCI function has six. In their order, so that none stands twice.
            if self.bars[at].index >= 6 || (at > 0 && self.bars[at].index <= self.bars[at - 1].index) {
                return Some(("", Rule::Bars, ""));
            }
            at += 1;
        }
        let (mut at, mut count) = (0, 0u64);
        while at < self.registers.len() {
            count += self.registers[at].count as u64;
            at += 1;
        }
        // First: the checks below take a time that grows with it.
        if count > MAX_REGISTERS as u64 || self.registers.len() > MAX_REGISTERS as usize {
            return Some(("", Rule::Count, ""));
        }
        let mut at = 0;
        while at < self.registers.len() {
            if let Some(broken) = self.broken_by(at) {
                return Some(broken);
            }
            at += 1;
        }
        None
    }

    const fn broken_by(&self, at: usize) -> Option<Broken> {
        let info = &self.registers[at];
        if info.name.is_empty() {
            return Some(("", Rule::Name, ""));
        }
        let mut bar = 0;
        while bar < self.bars.len() && self.bars[bar].index != info.bar {
            bar += 1;
        }
        if bar == self.bars.len() {
            return Some((info.name, Rule::Bar, ""));
        }
        if let Some(rule) = info.misplaced(self.bars[bar].len_bytes) {
            return Some((info.name, rule, ""));
        }
        if matches!(self.bars[bar].space, BarSpace::Io) && matches!(info.width, Width::B8) {
            return Some((info.name, Rule::PortWidth, ""));
        }
        if let Some((rule, field)) = info.wrong_field() {
            return Some((info.name, rule, field));
        }
        let mut other = 0;
        while other < at {
            if same(info.name, self.registers[other].name) {
                return Some((info.name, Rule::NamedTwice, ""));
            }
            if info.overlaps(&self.registers[other]) {
                return Some((info.name, Rule::Overlap, self.registers[other].name));
            }
            other += 1;
        }
        if let Some(rule) = info.wrong_effect() {
            return Some((info.name, rule, ""));
        }
        if let Some(guard) = &info.guard
            && let Some((rule, state)) = guard.broken(info)
        {
            return Some((info.name, rule, state));
        }
        if let Some(transfer) = &info.transfer
            && let Some((rule, with)) = transfer.broken(info, self)
        {
            return Some((info.name, rule, with));
        }
        if let Some(ready) = &info.ready
            && let Some((rule, with)) = ready.broken(info, self)
        {
            return Some((info.name, rule, with));
        }
        if matches!(info.read, ReadEffect::ClearsPair) && !self.has_lower_halves(info) {
            return Some((info.name, Rule::Pair, ""));
        }
        None
    }

    /// Returns whether a register without effect, as wide as `info`, lies immediately before each of its elements.
    const fn has_lower_halves(&self, info: &RegisterInfo) -> bool {
        let mut index = 0;
        while index < info.count {
            let Some(lower) = (info.offset + info.stride * index).checked_sub(info.width.bytes()) else { return false };
            let mut at = 0;
            loop {
                if at == self.registers.len() {
                    return false;
                }
                let half = &self.registers[at];
                let fits = half.bar == info.bar && half.width as u8 == info.width as u8 && half.reads_quietly();
                if fits && half.index_of(lower).is_some() {
                    break;
                }
                at += 1;
            }
            index += 1;
        }
        true
    }
}

/// A register's name, the rule, and the name of the field or the other register.
type Broken = (&'static str, Rule, &'static str);

impl RegisterInfo {
    const fn misplaced(&self, len_bytes: u32) -> Option<Rule> {
        let width = self.width.bytes();
        if self.count == 0 || (self.count > 1 && self.stride < width) {
            return Some(Rule::Array);
        }
        if !self.offset.is_multiple_of(width) || !self.stride.is_multiple_of(width) {
            return Some(Rule::Alignment);
        }
        if self.end() > len_bytes as u64 {
            return Some(Rule::End);
        }
        if self.end() > MAX_REACH_BYTES {
            return Some(Rule::Reach);
        }
        None
    }

    const fn wrong_field(&self) -> Option<(Rule, &'static str)> {
        let (mut used, mut at) = (0u64, 0);
        while at < self.fields.len() {
            let FieldInfo { name, shift, bits } = self.fields[at];
            if bits == 0 || shift as u64 + bits as u64 > self.width.bits() as u64 {
                return Some((Rule::FieldOutside, name));
            }
            let mask = (u64::MAX >> (64 - bits)) << shift;
            if used & mask != 0 {
                return Some((Rule::FieldOverlap, name));
            }
            used |= mask;
            at += 1;
        }
        None
    }

    /// Returns whether an element of the one shares a byte with an element of the other. Both are where they may be.
    const fn overlaps(&self, other: &RegisterInfo) -> bool {
        if self.bar != other.bar || self.end() <= other.offset as u64 || other.end() <= self.offset as u64 {
            return false;
        }
        let (mut i, mut j) = (0, 0);
        while i < self.count && j < other.count {
            let (mine, theirs) = (self.offset + self.stride * i, other.offset + other.stride * j);
            // The difference, as neither sum need fit.
            if mine < theirs && theirs - mine >= self.width.bytes() {
                i += 1;
            } else if theirs < mine && mine - theirs >= other.width.bytes() {
                j += 1;
            } else {
                return true;
            }
        }
        false
    }

    /// Returns whether it can be read without effect.
    const fn reads_quietly(&self) -> bool {
        self.access.reads() && matches!(self.read, ReadEffect::None)
    }

    const fn wrong_effect(&self) -> Option<Rule> {
        let (reads, writes) = (self.access.reads(), self.access.writes());
        if !reads && (!matches!(self.read, ReadEffect::None) || self.posts_only) {
            return Some(Rule::Unreadable);
        }
        if self.held_up != 0 && !(self.reads_quietly() && self.count == 1 && self.width.holds(self.held_up)) {
            return Some(Rule::HeldUp);
        }
        match self.needs {
            Needs::Open(0) | Needs::Link(0) => return Some(Rule::Needs),
            Needs::Open(bits) | Needs::Link(bits)
                if !(self.reads_quietly() && self.count == 1 && self.width.holds(bits)) =>
            {
                return Some(Rule::Needs);
            }
            _ => {}
        }
        match self.link {
            LinkBits::Set(0) | LinkBits::Clear(0) => return Some(Rule::Link),
            LinkBits::Set(bits) | LinkBits::Clear(bits)
                if !(self.reads_quietly() && self.count == 1 && self.width.holds(bits)) =>
            {
                return Some(Rule::Link);
            }
            _ => {}
        }
        let plain = matches!(self.write, WriteEffect::Plain) && matches!(self.restore, Restore::Nothing);
        let has_no_effect = plain && self.guard.is_none() && self.transfer.is_none();
        if !(writes || has_no_effect) {
            return Some(Rule::Unwritable);
        }
        if let Some(rule) = self.wrong_write() {
            return Some(rule);
        }
        if let Some(rule) = self.wrong_restore() {
            return Some(rule);
        }
        if matches!(self.read, ReadEffect::ClearsPair) && matches!(self.width, Width::B8) {
            return Some(Rule::Pair);
        }
        let counts = matches!(self.read, ReadEffect::ClearsAdd | ReadEffect::ClearsPair);
        if counts && matches!(self.write, WriteEffect::OneClears) {
            return Some(Rule::CounterBits);
        }
        None
    }

    const fn wrong_write(&self) -> Option<Rule> {
        match self.write {
            WriteEffect::Reset(bits) if bits == 0 || !self.width.holds(bits) => return Some(Rule::Bits),
            WriteEffect::DmaBase | WriteEffect::DmaBaseOrZero if !matches!(self.width, Width::B4 | Width::B8) => {
                return Some(Rule::AddressWidth);
            }
            WriteEffect::DmaBaseHigh if !matches!(self.width, Width::B4) => return Some(Rule::HighWidth),
            _ => {}
        }
        None
    }

    const fn wrong_restore(&self) -> Option<Rule> {
        let holds = !matches!(self.write, WriteEffect::OneClears | WriteEffect::Command);
        let quiets = matches!(self.restore, Restore::Quiet(_));
        let free = matches!(self.write, WriteEffect::Plain | WriteEffect::OneClears | WriteEffect::Doorbell);
        match self.restore {
            Restore::Nothing => None,
            _ if self.guard.is_some() || quiets && !free => Some(Rule::RestoredUnchecked),
            Restore::Quiet(value) if !self.width.holds(value) => Some(Rule::Bits),
            Restore::Quiet(_) => None,
            _ if !holds => Some(Rule::NotHeld),
            Restore::Held | Restore::Mask if !self.reads_quietly() => Some(Rule::ReadBack),
            Restore::Written | Restore::Held | Restore::Mask | Restore::Switch => None,
            Restore::ResetBy(bits) => match self.write {
                _ if bits == 0 || !self.width.holds(bits) => Some(Rule::Bits),
                WriteEffect::Reset(resets) if bits & !resets == 0 => {
                    if self.reads_quietly() {
                        None
                    } else {
                        Some(Rule::ReadBack)
                    }
                }
                _ => Some(Rule::ResetNotNamed),
            },
        }
    }
}

pub(crate) const fn same(a: &str, b: &str) -> bool {
    let (a, b) = (a.as_bytes(), b.as_bytes());
    if a.len() != b.len() {
        return false;
    }
    let mut at = 0;
    while at < a.len() {
        if a[at] != b[at] {
            return false;
        }
        at += 1;
    }
    true
}
