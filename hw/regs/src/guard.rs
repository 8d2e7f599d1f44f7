//! Guards: small state machines that look at each value before it is written. They are data, so that a map can be
//! written down in a file, read by its operator, and checked before it is used.

use crate::check::{Rule, same};
use crate::{ReadEffect, RegisterInfo, WriteEffect};

/// How many states a guard may have, without their repetitions.
pub const MAX_GUARD_STATES: usize = 256;

/// A look at each value before it is written, for a register through which only some values or sequences of values are
/// allowed (commands; pins that a serial protocol is played on). Each element of an array has a position to itself.
///
/// A value is refused if one of [`never`](Guard::never) matches it. Else the rules of the present state are asked in
/// their order, and the first that matches decides. A value that no rule matches is refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Guard {
    /// What is refused in every state.
    pub never: &'static [Never],
    /// The states. The first is the beginning, when nothing is known of what came before: at the start, and again
    /// after a reset, with a new driver, or after writes that were rolled back.
    pub states: &'static [GuardState],
    /// Bits that are zero while the protocol rests. They are made so before a driver begins: the one before may have
    /// ended in the middle of a sequence, which the next one cannot know of and could not go on with.
    pub busy: u64,
}

/// Some bits of a value, and what they may be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Bits {
    /// Which bits are compared; 0 with the value 0 is "whatever the value".
    pub mask: u64,
    /// What they may be, in place.
    pub values: &'static [u64],
}

/// Values that are refused in every state.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Never {
    /// Which values.
    pub now: Bits,
    /// Why, for the report.
    pub why: &'static str,
}

/// One state of a guard.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct GuardState {
    /// What it is called in files; no other state of the guard has this name.
    pub name: &'static str,
    /// How often it is repeated: it stands for that many equal states, one after the other.
    pub count: u32,
    /// What may be written, and what follows.
    pub rules: &'static [GuardRule],
}

/// One rule of a state.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct GuardRule {
    /// What the value must be.
    pub now: Bits,
    /// What the value that was written before it must have been.
    pub before: Bits,
    /// What follows.
    pub then: Then,
}

/// What follows from a rule that matches.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Then {
    /// The value is written, and the state remains.
    Stay,
    /// The value is written, and the next state follows: the next repetition, or after the last one the next of
    /// [`Guard::states`].
    Next,
    /// The value is written, and the state with this index follows, in its first repetition.
    To(u16),
    /// The value is refused, for this reason.
    Refuse(&'static str),
}

/// Where a guard is. The default is the beginning.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct GuardPosition {
    state: u16,
    repetition: u32,
    before: u64,
}

impl Bits {
    /// Whatever the value.
    pub const ANY: Bits = Bits { mask: 0, values: &[0] };

    /// Matches these bits, when they have one of these values.
    pub const fn new(mask: u64, values: &'static [u64]) -> Self {
        Bits { mask, values }
    }

    /// Returns whether `value` is as described.
    pub const fn hold(&self, value: u64) -> bool {
        let mut at = 0;
        while at < self.values.len() {
            if value & self.mask == self.values[at] {
                return true;
            }
            at += 1;
        }
        false
    }

    /// Returns whether the bits are among those of `all`, and each value can occur.
    pub(crate) const fn can_hold(&self, all: u64) -> bool {
        let mut at = 0;
        while at < self.values.len() {
            if self.values[at] & !self.mask != 0 {
                return false;
            }
            at += 1;
        }
        self.mask & !all == 0 && !self.values.is_empty()
    }

    /// Returns whether every value is as described.
    const fn is_any(&self) -> bool {
        self.mask == 0
    }
}

impl GuardRule {
    /// Returns a rule that looks at the value only.
    pub const fn when(now: Bits, then: Then) -> Self {
        GuardRule { now, before: Bits::ANY, then }
    }

    /// Returns the same, if the value before was as described.
    pub const fn after(mut self, before: Bits) -> Self {
        self.before = before;
        self
    }

    /// Returns a rule for every value.
    pub const fn otherwise(then: Then) -> Self {
        Self::when(Bits::ANY, then)
    }
}

impl Guard {
    /// Returns where the guard is once `value` was written at `position`.
    ///
    /// # Errors
    /// Why `value` is refused; then it is not written, and the guard is where it was.
    pub fn step(&self, position: GuardPosition, value: u64) -> Result<GuardPosition, &'static str> {
        if let Some(never) = self.never.iter().find(|never| never.now.hold(value)) {
            return Err(never.why);
        }
        let GuardPosition { state, repetition, before } = position;
        let current = self.states.get(usize::from(state)).ok_or("the register's guard has no such state")?;
        let rule = current.rules.iter().find(|rule| rule.now.hold(value) && rule.before.hold(before));
        let (state, repetition) = match rule.ok_or("no rule of the register's guard allows this value now")?.then {
            Then::Stay => (state, repetition),
            Then::Next if repetition + 1 < current.count => (state, repetition + 1),
            Then::Next => (state + 1, 0),
            Then::To(state) => (state, 0),
            Then::Refuse(why) => return Err(why),
        };
        Ok(GuardPosition { state, repetition, before: value })
    }

    /// Returns the rule that the guard of `info` breaks, and by which state.
    pub(crate) const fn broken(&self, info: &RegisterInfo) -> Option<(Rule, &'static str)> {
        let all = info.width.all_ones();
        if self.busy & !all != 0 {
            return Some((Rule::Bits, ""));
        }
        let is_plain = matches!(info.write, WriteEffect::Plain);
        let reads_quietly = info.access.reads() && matches!(info.read, ReadEffect::None);
        if self.busy != 0 && !(reads_quietly && is_plain) {
            return Some((Rule::GuardBusy, ""));
        }
        if self.states.is_empty() || self.states.len() > MAX_GUARD_STATES {
            return Some((Rule::GuardStates, ""));
        }
        let mut at = 0;
        while at < self.never.len() {
            if !self.never[at].now.can_hold(all) {
                return Some((Rule::GuardBits, ""));
            }
            at += 1;
        }
        let mut at = 0;
        while at < self.states.len() {
            if let Some(rule) = self.broken_by(at, all) {
                return Some((rule, self.states[at].name));
            }
            at += 1;
        }
        None
    }

    const fn broken_by(&self, at: usize, all: u64) -> Option<Rule> {
        let state = &self.states[at];
        if state.name.is_empty() || state.count == 0 {
            return Some(Rule::GuardStates);
        }
        let mut other = 0;
        while other < at {
            if same(state.name, self.states[other].name) {
                return Some(Rule::GuardStates);
            }
            other += 1;
        }
        let mut rule = 0;
        while rule < state.rules.len() {
            let GuardRule { now, before, then } = &state.rules[rule];
            if !now.can_hold(all) || !before.can_hold(all) {
                return Some(Rule::GuardBits);
            }
            if at == 0 && !before.is_any() {
                return Some(Rule::GuardBeginning);
            }
            let leads_nowhere = match then {
                Then::Next => at + 1 == self.states.len(),
                Then::To(state) => *state as usize >= self.states.len(),
                Then::Stay | Then::Refuse(_) => false,
            };
            if leads_nowhere {
                return Some(Rule::GuardNext);
            }
            rule += 1;
        }
        None
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// 1, then three times 2, then 3 as long as 3 comes, and 4 ends it.
    const GUARD: Guard = Guard {
        never: &[Never { now: Bits::new(0x80, &[0x80]), why: "too large" }],
        states: &[
            GuardState { name: "one", count: 1, rules: &[GuardRule::when(Bits::new(0xff, &[1]), Then::Next)] },
            GuardState {
                name: "two",
                count: 3,
                rules: &[
                    GuardRule::when(Bits::new(0x0f, &[2]), Then::Next).after(Bits::new(0x0f, &[1, 2])),
                    GuardRule::when(Bits::new(0xff, &[9]), Then::To(0)),
                    GuardRule::otherwise(Then::Refuse("not two")),
                ],
            },
            GuardState {
                name: "three",
                count: 1,
                rules: &[
                    GuardRule::when(Bits::new(0xff, &[3]), Then::Stay),
                    GuardRule::when(Bits::new(0xff, &[4, 5]), Then::To(0)),
                ],
            },
        ],
        busy: 0,
    };

    fn played(values: &[u64]) -> Result<GuardPosition, &'static str> {
        values.iter().try_fold(GuardPosition::default(), |position, &value| GUARD.step(position, value))
    }

    #[test]
    fn a_sequence_is_allowed_step_by_step() {
        assert!(played(&[1, 2, 0x12, 2, 3, 3, 4, 1, 2]).is_ok());
        assert!(played(&[1, 2, 2, 2, 5, 1]).is_ok());
        assert_eq!(played(&[2]), Err("no rule of the register's guard allows this value now"));
        assert_eq!(played(&[1, 2, 3]), Err("not two"), "three times");
        assert_eq!(played(&[1, 2, 2, 2, 2]), Err("no rule of the register's guard allows this value now"));
        assert_eq!(played(&[1, 2, 9, 2]), Err("no rule of the register's guard allows this value now"));
        assert!(played(&[1, 2, 9, 1, 2, 2, 2, 3]).is_ok(), "repetitions are counted from the first again");
    }

    #[test]
    fn what_is_never_allowed_is_asked_first() {
        assert_eq!(played(&[0x81]), Err("too large"));
        assert_eq!(played(&[1, 0x82]), Err("too large"));
    }

    #[test]
    fn a_refused_value_moves_nothing() {
        let position = played(&[1, 2]).unwrap();
        assert!(GUARD.step(position, 7).is_err());
        assert!(GUARD.step(position, 2).is_ok());
    }
}
