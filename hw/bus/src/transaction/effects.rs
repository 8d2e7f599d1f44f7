//! A register map's effects as a table that is quick to ask.

use nook_regs::{ReadEffect, RegisterInfo, RegisterMap, Width, WriteEffect};

use crate::Words;

/// What reading a register means for undoing it. A slot is a place for what it clears.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Read {
    /// Nothing.
    Keeps,
    /// It cannot be undone.
    CannotBeGivenBack,
    /// It clears the register.
    Clears(u16),
    /// The lower half of a 64-bit counter: nothing yet.
    PairLower(u16),
    /// The upper half: it clears both.
    PairUpper(u16),
}

/// What writing a register means, above all for what was read.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Written {
    /// Nothing.
    Plain,
    /// It must have been carried out when the write is over.
    Command,
    /// With any of these bits, nothing that was read is owed any more.
    Reset(u32),
    /// Bits of what reading it clears are no longer owed.
    OneClears(u16),
}

/// How two lost values of one register become one.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Merge {
    Or,
    /// Up to this: counters stick at their highest value.
    Add(u64),
}

impl Merge {
    pub(super) fn merged(self, a: u64, b: u64) -> u64 {
        match self {
            Merge::Or => a | b,
            Merge::Add(highest) => a.saturating_add(b).min(highest),
        }
    }

    /// Whether it holds interrupt causes.
    pub(super) fn is_causes(self) -> bool {
        self == Merge::Or
    }
}

/// What the accesses of one register do.
#[derive(Clone, Copy)]
pub(super) struct Effect {
    pub(super) read: Read,
    pub(super) written: Written,
    /// The value that is read does not depend on writes that are held back.
    pub(super) posts_only: bool,
}

/// Of a register that the map does not know.
const UNKNOWN: Effect = Effect { read: Read::CannotBeGivenBack, written: Written::Plain, posts_only: false };
const PLAIN: Effect = Effect { read: Read::Keeps, written: Written::Plain, posts_only: false };

pub(super) struct Effects {
    /// Indices into `effects`.
    words: Words<u16>,
    /// The first is of what the map does not know, the second of a register without effects.
    effects: Vec<Effect>,
    /// Registers of another width, which are few: BAR, offset, width, index.
    others: Vec<(u8, u32, Width, u16)>,
    slots: Vec<Merge>,
    /// Whether there are commands.
    commands: bool,
}

impl Effects {
    pub(super) fn of(map: &'static RegisterMap) -> Self {
        let mut this = Effects {
            words: Words::of(map, 0),
            effects: vec![UNKNOWN, PLAIN],
            others: Vec::new(),
            slots: Vec::new(),
            commands: map.registers.iter().any(|info| info.write == WriteEffect::Command),
        };
        let each = |info: &'static RegisterInfo| (0..info.count).map(move |index| (info, index * info.stride));
        for (info, from) in map.registers.iter().flat_map(each) {
            let effect = this.effect(info);
            this.put(info.bar, info.offset + from, info.width, effect);
        }
        // The lower halves are declared like any register: only now is it known which they are.
        for (info, from) in map.registers.iter().flat_map(each).filter(|(info, _)| info.read == ReadEffect::ClearsPair)
        {
            let upper = info.offset + from;
            let Read::PairUpper(slot) = this.of_register(info.bar, upper, info.width).read else { continue };
            let Some(lower) = upper.checked_sub(4) else { continue };
            let read = Read::PairLower(slot);
            let effect = Effect { read, ..this.of_register(info.bar, lower, info.width) };
            this.put(info.bar, lower, info.width, effect);
        }
        this
    }

    /// What the accesses of one element of `info` do.
    fn effect(&mut self, info: &RegisterInfo) -> Effect {
        let read = match info.read {
            ReadEffect::None => Read::Keeps,
            ReadEffect::ClearsOr => Read::Clears(self.add_slot(Merge::Or)),
            ReadEffect::ClearsAdd => Read::Clears(self.add_slot(Merge::Add(info.width.all_ones()))),
            ReadEffect::ClearsPair => Read::PairUpper(self.add_slot(Merge::Add(u64::MAX))),
            ReadEffect::Pops | ReadEffect::Other => Read::CannotBeGivenBack,
        };
        let written = match (info.write, read) {
            (WriteEffect::Reset(bits), _) => Written::Reset(bits),
            (WriteEffect::Command, _) => Written::Command,
            (WriteEffect::OneClears, Read::Clears(slot)) => Written::OneClears(slot),
            _ => Written::Plain,
        };
        Effect { read, written, posts_only: info.posts_only }
    }

    fn add_slot(&mut self, merge: Merge) -> u16 {
        self.slots.push(merge);
        (self.slots.len() - 1) as u16
    }

    fn put(&mut self, bar: u8, offset: u32, width: Width, effect: Effect) {
        let plain = effect.read == Read::Keeps && effect.written == Written::Plain && !effect.posts_only;
        let index = if plain {
            1
        } else {
            self.effects.push(effect);
            (self.effects.len() - 1) as u16
        };
        match self.words.get_mut(bar.into(), offset, width) {
            Some(word) => *word = index,
            None => self.others.push((bar, offset, width, index)),
        }
    }

    #[inline]
    pub(super) fn of_register(&self, bar: u8, offset: u32, width: Width) -> Effect {
        let index = self.words.get(bar.into(), offset, width).or_else(|| self.other(bar, offset, width));
        self.effects[usize::from(index.unwrap_or(0))]
    }

    /// Whether writing a register is a command.
    #[inline]
    pub(super) fn is_command(&self, bar: u8, offset: u32, width: Width) -> bool {
        self.commands && self.of_register(bar, offset, width).written == Written::Command
    }

    fn other(&self, bar: u8, offset: u32, width: Width) -> Option<u16> {
        let same = |other: &&(u8, u32, Width, u16)| (other.0, other.1, other.2) == (bar, offset, width);
        self.others.iter().rev().find(same).map(|other| other.3)
    }

    /// How many registers clear themselves.
    pub(super) fn slots(&self) -> usize {
        self.slots.len()
    }

    #[inline]
    pub(super) fn slot(&self, slot: u16) -> Merge {
        self.slots[usize::from(slot)]
    }

    pub(super) fn all_slots(&self) -> impl Iterator<Item = Merge> {
        self.slots.iter().copied()
    }
}
