//! Which bytes are in the log, or are kept otherwise, at the place that was reached: on every path from the function's
//! beginning.

use std::collections::HashMap;

use super::values::Value;

/// The most that one record holds.
const MOST_BYTES: u64 = 16;

/// The bytes `[base + from, base + to)`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Bytes {
    pub(super) base: Value,
    pub(super) from: u64,
    pub(super) to: u64,
}

impl Bytes {
    /// Returns the `len` bytes at `offset` from a base. Constant addresses have one base, so that neighbours are seen
    /// to be neighbours. The sum of base and offset is inside memory, or the access traps.
    pub(super) fn of(base: Value, offset: u64, len: u64) -> Bytes {
        let (base, from) = match base.is_constant() {
            true => (Value::constant(0), u64::from(base.plus) + offset),
            false => (base, offset),
        };
        Bytes { base, from, to: from + len }
    }
}

/// A condition (a root that is not zero; 0: none), and where the bytes begin.
type Key = (u32, Value, u64);

#[derive(Default)]
pub(super) struct Facts {
    /// How far the bytes reach.
    known: HashMap<Key, u64>,
    /// What was learnt, in order: its number, how far it reaches, and how far those from the same place on did before.
    learnt: Vec<(u64, Key, u64, Option<u64>)>,
    next: u64,
    /// What it took.
    pub(super) steps: u64,
}

impl Facts {
    /// Returns the number below which all is that is known now.
    pub(super) fn now(&self) -> u64 {
        self.next
    }

    pub(super) fn learn(&mut self, bytes: Bytes) {
        self.learn_if(0, bytes);
    }

    /// Notes that these bytes are in the log if this root's value is not zero.
    pub(super) fn learn_if(&mut self, condition: u32, Bytes { base, from, to }: Bytes) {
        self.steps += 1;
        let key = (condition, base, from);
        let before = self.known.get(&key).copied();
        self.known.insert(key, before.unwrap_or(0).max(to));
        self.learnt.push((self.next, key, to, before));
        self.next += 1;
    }

    /// Forgets what was learnt from `now` on, and returns what of it was under no condition.
    pub(super) fn forget(&mut self, now: u64) -> Vec<Bytes> {
        let mut forgotten = Vec::new();
        while let Some((_, key, to, before)) = self.learnt.pop_if(|(number, ..)| *number >= now) {
            self.steps += 1;
            match before {
                Some(before) => self.known.insert(key, before),
                None => self.known.remove(&key),
            };
            if let (0, base, from) = key {
                forgotten.push(Bytes { base, from, to });
            }
        }
        forgotten
    }

    /// Returns whether all of these bytes are in the log.
    pub(super) fn cover(&self, bytes: Bytes) -> bool {
        self.cover_if(0, bytes)
    }

    /// Returns whether they are if this root's value is not zero. Each record is at most [`MOST_BYTES`] long, so only
    /// those that begin as little before matter.
    pub(super) fn cover_if(&self, condition: u32, Bytes { base, from, to }: Bytes) -> bool {
        let mut at = from;
        while at < to {
            let near = (at.saturating_sub(MOST_BYTES - 1)..=at).rev();
            let reach = near.filter_map(|from| self.known.get(&(condition, base, from))).find(|reach| **reach > at);
            match reach {
                Some(reach) => at = *reach,
                None => return false,
            }
        }
        true
    }
}
