//! What is known of `i32` values: each is a root and a distance from it, and a root is one place in the function. Two
//! values that are the same here are equal whenever both exist.
//!
//! A local's value ends where paths join that set it differently: behind a block in which it was set, if some path
//! leaves the block before that, and at the beginning of a loop that sets it. Neither is done when the block ends or
//! the loop begins, which would take a step for each local, but when the local is read: for each, the block is known in
//! which it was set.

use std::collections::HashMap;

/// `root + plus`, modulo 2^32. Root 0 is zero.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(super) struct Value {
    pub(super) root: u32,
    pub(super) plus: u32,
}

impl Value {
    pub(super) const fn constant(plus: u32) -> Value {
        Value { root: 0, plus }
    }

    pub(super) fn is_constant(self) -> bool {
        self.root == 0
    }

    pub(super) fn add(self, plus: u32) -> Value {
        Value { plus: self.plus.wrapping_add(plus), ..self }
    }
}

/// What makes a value of two others.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) enum Binary {
    Add,
    Sub,
    Shl,
    And,
    Or,
    Mul,
}

/// Where in a function something was set: 0 is its beginning, and one more than an instruction's number is behind that.
type Moment = usize;

/// A local: its value, since when, and in which block it was set.
#[derive(Clone, Copy)]
struct Local {
    value: Value,
    since: Moment,
    block: usize,
}

/// A block that has been opened.
struct Block {
    /// One around it: the next one, or one behind that was looked for.
    outer: usize,
    is_open: bool,
    /// What was set later than this is not set on every path to the end of this block and of those up to the outer one.
    last: Moment,
}

struct Loop {
    start: Moment,
    /// The number of its last instruction.
    end: usize,
    block: usize,
}

pub(super) struct Values {
    roots: u32,
    computed: HashMap<(Binary, Value, Value), Value>,
    parameters: u32,
    /// Locals that were touched.
    locals: HashMap<u32, Local>,
    /// For each local that is set, the instructions that do it, the first one last.
    sets: HashMap<u32, Vec<usize>>,
    blocks: Vec<Block>,
    /// The innermost open block.
    block: usize,
    /// Open loops, innermost last.
    loops: Vec<Loop>,
    /// What it took.
    pub(super) steps: u64,
}

impl Values {
    /// Creates what is known at the beginning of a function. `sets` says which instructions set a
    /// local, in their order.
    pub(super) fn new(parameters: u32, mut sets: HashMap<u32, Vec<usize>>) -> Self {
        sets.values_mut().for_each(|of_local| of_local.reverse());
        Values {
            roots: 0,
            computed: HashMap::new(),
            parameters,
            locals: HashMap::new(),
            sets,
            blocks: vec![Block { outer: 0, is_open: true, last: Moment::MAX }],
            block: 0,
            loops: Vec::new(),
            steps: 0,
        }
    }

    pub(super) fn fresh(&mut self) -> Value {
        self.roots += 1;
        Value { root: self.roots, plus: 0 }
    }

    pub(super) fn open(&mut self) {
        self.blocks.push(Block { outer: self.block, is_open: true, last: Moment::MAX });
        self.block = self.blocks.len() - 1;
    }

    /// Opens a loop at the instruction `start`, whose last instruction is `end`.
    pub(super) fn open_loop(&mut self, start: usize, end: usize) {
        self.open();
        self.loops.push(Loop { start: start + 1, end, block: self.block });
    }

    /// Returns the innermost open block.
    pub(super) fn block(&self) -> usize {
        self.block
    }

    /// The instruction `at` may go to the end of a block, which is open.
    pub(super) fn branch(&mut self, block: usize, at: usize) {
        let last = &mut self.blocks[block].last;
        *last = at.min(*last);
    }

    /// Ends the innermost block; but the function's own stays open. An `if` may not have been entered.
    pub(super) fn close(&mut self, is_if: bool) {
        if self.block == 0 {
            return;
        }
        let block = self.block;
        self.block = self.blocks[block].outer;
        self.blocks[block].is_open = false;
        if is_if {
            self.blocks[block].last = 0;
        }
        if self.loops.last().is_some_and(|open| open.block == block) {
            self.loops.pop();
        }
    }

    /// Returns the innermost open block around one, and whether what was set then is set on every path to here.
    fn open_around(&mut self, mut block: usize, since: Moment) -> (usize, bool) {
        let mut certain = true;
        while !self.blocks[block].is_open {
            self.steps += 1;
            certain &= since <= self.blocks[block].last;
            let outer = self.blocks[block].outer;
            if !self.blocks[outer].is_open {
                // The next one who comes here has a shorter way.
                self.blocks[block].outer = self.blocks[outer].outer;
                self.blocks[block].last = self.blocks[block].last.min(self.blocks[outer].last);
                certain &= since <= self.blocks[outer].last;
                block = self.blocks[outer].outer;
            } else {
                block = outer;
            }
        }
        (block, certain)
    }

    /// Returns a local's value at the instruction `at`.
    pub(super) fn get(&mut self, local: u32, at: usize) -> Value {
        self.steps += 1;
        let mut known = match self.locals.get(&local) {
            Some(known) => *known,
            None => {
                let value = if local < self.parameters { self.fresh() } else { Value::constant(0) };
                Local { value, since: 0, block: 0 }
            }
        };
        let (block, certain) = self.open_around(known.block, known.since);
        known.block = block;
        if !certain {
            (known.value, known.since) = (self.fresh(), at);
        }
        let sets = self.sets.get_mut(&local);
        let next = sets.and_then(|sets| {
            while sets.last().is_some_and(|set| *set < at) {
                sets.pop();
            }
            sets.last().copied()
        });
        if let Some(next) = next {
            // Loops that set it again behind this place are the outer ones of those that are open.
            let setting = self.loops.partition_point(|open| open.end > next);
            if let Some(open) = setting.checked_sub(1).map(|innermost| &self.loops[innermost])
                && open.start > known.since
            {
                let (since, block) = (open.start, open.block);
                known = Local { value: self.fresh(), since, block };
            }
        }
        self.locals.insert(local, known);
        known.value
    }

    /// Sets a local by the instruction `at`.
    pub(super) fn set(&mut self, local: u32, at: usize, value: Value) {
        self.locals.insert(local, Local { value, since: at + 1, block: self.block });
    }

    pub(super) fn compute(&mut self, what: Binary, a: Value, b: Value) -> Value {
        match what {
            Binary::Add if b.is_constant() => a.add(b.plus),
            Binary::Add if a.is_constant() => b.add(a.plus),
            Binary::Sub if b.is_constant() => a.add(b.plus.wrapping_neg()),
            _ => {
                let ordered = matches!(what, Binary::Sub | Binary::Shl) || a <= b;
                let key = if ordered { (what, a, b) } else { (what, b, a) };
                if let Some(&known) = self.computed.get(&key) {
                    return known;
                }
                let value = self.fresh();
                self.computed.insert(key, value);
                value
            }
        }
    }
}
