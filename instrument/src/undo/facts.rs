//! Which bytes are certainly in the log already, at each place of a function.
//!
//! Facts hold from where they are learnt to the end of the transaction, on every path that passes there. They are kept
//! in a list that grows along the code and is cut back to what all paths share wherever paths join. A loop's body keeps
//! what was known before the loop, and learns the rest again in each round.

use super::planted::{Planted, flawed};
use super::values::Value;

/// `[base + from, base + to)` is logged, if `flag` (a local) is not zero.
#[derive(Clone, Copy, Debug)]
struct Fact {
    base: Value,
    from: u64,
    to: u64,
    flag: Option<u32>,
}

/// How an open block begins and ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    Block,
    Loop,
    If,
}

struct Open {
    kind: Kind,
    /// Facts that were known when it began.
    entry: usize,
    /// Facts that all branches to its end share.
    least: usize,
}

/// Whether bytes are in the log.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Cover {
    Yes,
    /// If this local is not zero.
    If(u32),
    No,
}

pub(super) struct Facts {
    known: Vec<Fact>,
    open: Vec<Open>,
    planted: Planted,
}

impl Facts {
    pub(super) fn new(planted: Planted) -> Facts {
        // The function's own block, to whose end one can branch too.
        Facts { known: Vec::new(), open: vec![Open { kind: Kind::Block, entry: 0, least: usize::MAX }], planted }
    }

    pub(super) fn cover(&self, base: Value, offset: u64, width: u32) -> Cover {
        let end = offset + u64::from(width);
        let mut cover = Cover::No;
        for fact in self.known.iter().rev() {
            let Fact { base: b, from, to, flag } = *fact;
            if b == base && from <= offset && end <= to {
                match flag {
                    None => return Cover::Yes,
                    Some(flag) => cover = Cover::If(flag),
                }
            }
        }
        cover
    }

    pub(super) fn learn(&mut self, base: Value, from: u64, to: u64, flag: Option<u32>) {
        self.known.push(Fact { base, from, to, flag });
    }

    pub(super) fn open(&mut self, kind: Kind) {
        self.open.push(Open { kind, entry: self.known.len(), least: usize::MAX });
    }

    fn cut(&mut self, len: usize) {
        self.known.truncate(len);
        for open in &mut self.open {
            open.least = open.least.min(len);
        }
    }

    pub(super) fn otherwise(&mut self) {
        if !flawed!(self.planted, KeepFactsOfOtherPath)
            && let Some(entry) = self.open.last().map(|open| open.entry)
        {
            self.cut(entry);
        }
    }

    pub(super) fn close(&mut self) {
        let Some(open) = self.open.pop() else { return };
        let keep = match open.kind {
            // One leaves a loop at its end only by falling through.
            Kind::Loop => self.known.len(),
            Kind::If => open.entry,
            Kind::Block => open.least.min(self.known.len()),
        };
        if !flawed!(self.planted, KeepFactsOfOtherPath) {
            self.cut(keep);
        }
    }

    /// Returns a branch. Says whether it returns to a loop's beginning.
    pub(super) fn branch(&mut self, depth: u32) -> bool {
        let known = self.known.len();
        let Some(target) = self.open.len().checked_sub(1 + depth as usize) else { return false };
        let open = &mut self.open[target];
        if open.kind == Kind::Loop {
            return true;
        }
        open.least = open.least.min(known);
        false
    }
}
