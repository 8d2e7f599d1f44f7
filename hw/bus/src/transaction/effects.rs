//! A register map's effects as a table that is quick to ask.

use nook_regs::{ReadEffect, RegisterInfo, RegisterMap, Width, WriteEffect};

use crate::{PerRegister, RegisterAddr};

/// What reading a register means for undoing it. A slot is a place for what it clears.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Read {
    /// Nothing.
    Keeps,
    /// It cannot be undone.
    CannotBeGivenBack,
    /// It clears the register.
    Clears(u16),
    /// The lower half of a counter: nothing yet.
    PairLower(u16),
    /// The upper half: it clears both.
    PairUpper(u16),
    /// It takes an entry out of this queue.
    Pops(u16),
}

/// What writing a register means, above all for what was read.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Written {
    /// Nothing.
    Plain,
    /// It must have been carried out when the write is over.
    Command,
    /// With any of these bits, nothing that was read is owed any more.
    Reset(u64),
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

    /// Returns whether it holds interrupt causes.
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
    /// Its bits that say that there is something in a queue, and in which.
    pub(super) says: Option<(u16, u64)>,
}

/// Indices into [`Effects::effects`] of what the map does not know, and of a register without effects. The others come
/// after them: one for each register at most, and one more for each pair. A map has at most half as many registers as
/// an index has values.
const UNKNOWN: u16 = 0;
const PLAIN: u16 = 1;

pub(super) struct Effects {
    indices: PerRegister<u16>,
    effects: Vec<Effect>,
    slots: Vec<Merge>,
    queues: u16,
    /// Whether there are commands.
    commands: bool,
}

impl Effects {
    pub(super) fn of(map: &'static RegisterMap) -> Self {
        let unknown = Effect { read: Read::CannotBeGivenBack, written: Written::Plain, posts_only: false, says: None };
        let mut this = Effects {
            indices: PerRegister::of(map, UNKNOWN),
            effects: vec![unknown, Effect { read: Read::Keeps, ..unknown }],
            slots: Vec::new(),
            queues: 0,
            commands: map.registers().iter().any(|info| info.write == WriteEffect::Command),
        };
        for (place, info) in RegisterAddr::all_of(map) {
            let effect = this.effect(info);
            this.put(place, effect);
        }
        // A register is asked before the one that it is about is known to be popped.
        for (popped, info) in RegisterAddr::all_of(map) {
            let Read::Pops(queue) = this.of_place(popped).read else { continue };
            let Some((ready, status)) = info.ready.and_then(|ready| Some((ready, map.named(ready.register)?))) else {
                continue;
            };
            let status = RegisterAddr { bar: status.bar, offset: status.offset, width: status.width };
            let effect = Effect { says: Some((queue, ready.bits)), ..this.of_place(status) };
            this.put(status, effect);
        }
        // The lower halves are declared like any register: only now is it known which they are.
        for (upper, _) in RegisterAddr::all_of(map).filter(|(_, info)| info.read == ReadEffect::ClearsPair) {
            let Read::PairUpper(slot) = this.of_place(upper).read else { continue };
            let Some(offset) = upper.offset.checked_sub(upper.width.bytes()) else { continue };
            let lower = RegisterAddr { offset, ..upper };
            let read = Read::PairLower(slot);
            let effect = Effect { read, ..this.of_place(lower) };
            this.put(lower, effect);
        }
        this
    }

    /// Returns what the accesses of one element of `info` do.
    fn effect(&mut self, info: &RegisterInfo) -> Effect {
        let highest = |width: Width| Merge::Add(width.all_ones());
        let read = match info.read {
            ReadEffect::None => Read::Keeps,
            ReadEffect::ClearsOr => Read::Clears(self.add_slot(Merge::Or)),
            ReadEffect::ClearsAdd => Read::Clears(self.add_slot(highest(info.width))),
            ReadEffect::ClearsPair => Read::PairUpper(self.add_slot(highest(match info.width {
                Width::B1 => Width::B2,
                Width::B2 => Width::B4,
                Width::B4 | Width::B8 => Width::B8,
            }))),
            ReadEffect::Pops if info.ready.is_some() => {
                self.queues += 1;
                Read::Pops(self.queues - 1)
            }
            ReadEffect::Pops | ReadEffect::Other => Read::CannotBeGivenBack,
        };
        let written = match (info.write, read) {
            (WriteEffect::Reset(bits), _) => Written::Reset(bits),
            (WriteEffect::Command, _) => Written::Command,
            (WriteEffect::OneClears, Read::Clears(slot)) => Written::OneClears(slot),
            _ => Written::Plain,
        };
        Effect { read, written, posts_only: info.posts_only, says: None }
    }

    fn add_slot(&mut self, merge: Merge) -> u16 {
        self.slots.push(merge);
        (self.slots.len() - 1) as u16
    }

    fn put(&mut self, at: RegisterAddr, effect: Effect) {
        let quiet = effect.read == Read::Keeps && effect.says.is_none();
        let plain = quiet && effect.written == Written::Plain && !effect.posts_only;
        let index = if plain {
            PLAIN
        } else {
            self.effects.push(effect);
            (self.effects.len() - 1) as u16
        };
        self.indices.set(at, index);
    }

    #[inline]
    pub(super) fn of_register(&self, bar: u8, offset: u32, width: Width) -> Effect {
        self.effects[usize::from(self.indices.get(bar.into(), offset, width))]
    }

    fn of_place(&self, at: RegisterAddr) -> Effect {
        self.of_register(at.bar, at.offset, at.width)
    }

    /// Returns whether writing a register is a command.
    #[inline]
    pub(super) fn is_command(&self, bar: u8, offset: u32, width: Width) -> bool {
        self.commands && self.of_register(bar, offset, width).written == Written::Command
    }

    /// Returns how many registers clear themselves.
    pub(super) fn slots(&self) -> usize {
        self.slots.len()
    }

    /// Returns how many queues are popped by reads that can be undone.
    pub(super) fn queues(&self) -> usize {
        self.queues.into()
    }

    #[inline]
    pub(super) fn slot(&self, slot: u16) -> Merge {
        self.slots[usize::from(slot)]
    }

    pub(super) fn all_slots(&self) -> impl Iterator<Item = Merge> {
        self.slots.iter().copied()
    }
}
