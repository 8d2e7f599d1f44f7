//! One function, followed from its beginning to its end.

mod compute;

use std::collections::{HashMap, HashSet};

use wasmparser::Operator;

use super::added::{Globals, Stack};
use super::facts::{Bytes, Facts};
use super::records::{Old, Piece, Records, Trailer};
use super::values::{Value, Values};
use super::written::Written;
use super::{Counts, DriverStore};
use crate::check::shape::{self, Item, LOG_MEMORY};

/// The largest frame that is believed: less than a stack pointer that is too small for it wraps to no memory.
pub(super) const MAX_FRAME_BYTES: u32 = 1 << 20;

/// What all functions of a module share.
#[derive(Clone, Copy, Debug)]
pub(super) struct Around {
    pub(super) globals: Globals,
    /// The driver's stack, if everything below its pointer is stack.
    pub(super) stack: Option<Stack>,
    /// What lies below is kept by other means than the log.
    pub(super) kept_below: Option<u32>,
    /// Functions that log a range.
    pub(super) log_range: [u32; 2],
}

/// A function's code, and what each instruction takes from the operand stack and puts there.
#[derive(Default)]
pub(super) struct Code<'a> {
    pub(super) parameters: u32,
    pub(super) items: Vec<(usize, Item<'a>)>,
    pub(super) arities: Vec<(u32, u32)>,
}

impl<'a> Code<'a> {
    pub(super) fn push(&mut self, offset: usize, operator: Operator<'a>, arity: (u32, u32)) {
        shape::push(&mut self.items, offset, operator);
        self.arities.push(arity);
        self.arities.truncate(self.items.len());
        if let (Some((_, Item::DeadlineCheck(_))), Some(last)) = (self.items.last(), self.arities.last_mut()) {
            *last = (0, 0);
        }
    }
}

/// What is known of something on the operand stack.
#[derive(Clone, Copy, Debug)]
enum Known {
    Value(Value),
    /// The log's top.
    Top,
    /// That of the local which keeps it.
    Kept,
    /// That and a constant.
    Raised(u32),
    /// An `i32`, and nothing above.
    Extended(Value),
    Constant64(u64),
    Trailer(Trailer),
    Old(Old),
    Whole(Old, Trailer),
}

/// What it says that a value is not zero.
#[derive(Clone, Copy, Debug)]
enum Condition {
    /// Another one is greater than a constant.
    Greater(Value, u32),
    /// Another one is at most a constant.
    AtMost(Value, u32),
    /// The value of this root is zero.
    Not(u32),
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    Block,
    Loop,
    If,
    Else,
}

/// An open block.
struct Frame {
    kind: Kind,
    /// Whether its beginning can be reached.
    reached: bool,
    /// What [`Values`] calls it.
    block: usize,
    /// How many values are below its own.
    height: usize,
    /// What was known when it began, and what all branches to its end know: all facts with lower numbers.
    entry: u64,
    least: u64,
    /// The root that decided that it is entered, if it is an `if`.
    condition: Option<u32>,
    /// It does nothing but log, or to ask whether it has to.
    only_logs: bool,
    /// Blocks in it are no more than one deep: what is learnt there is looked at twice at most.
    is_nested: bool,
}

struct Walk<'w, 'a> {
    around: Around,
    code: &'w Code<'a>,
    /// Where each loop ends.
    ends: HashMap<usize, usize>,
    values: Values,
    facts: Facts,
    records: Records,
    /// The local that keeps the log's top.
    kept: Option<u32>,
    operands: Vec<Known>,
    frames: Vec<Frame>,
    reached: bool,
    /// How often what memory holds may have changed.
    change: u64,
    conditions: HashMap<u32, Condition>,
    /// Roots that are values of the stack pointer.
    stack_roots: HashSet<u32>,
    /// The range that was logged last: address and length.
    range: Option<(Value, Value)>,
    /// The driver's stores that are still to come.
    stores: std::slice::Iter<'w, DriverStore>,
    counts: Counts,
}

/// Where something is wrong, and what.
pub(super) type Wrong = (usize, &'static str);

/// Follows a function of the driver's, which has these stores.
pub(super) fn follow(around: Around, code: &Code<'_>, stores: &[DriverStore]) -> Result<Counts, Wrong> {
    let (mut ends, mut loops) = (HashMap::new(), Vec::new());
    let mut sets: HashMap<u32, Vec<usize>> = HashMap::new();
    for (at, (_, item)) in code.items.iter().enumerate() {
        let Item::Op(operator) = item else { continue };
        match operator {
            Operator::Block { .. } | Operator::If { .. } | Operator::Loop { .. } => loops.push(at),
            Operator::End => drop(loops.pop().map(|start| ends.insert(start, at))),
            Operator::LocalSet { local_index } | Operator::LocalTee { local_index } => {
                sets.entry(*local_index).or_default().push(at);
            }
            _ => {}
        }
    }
    let kept = match &code.items[..] {
        [
            (_, Item::Op(Operator::GlobalGet { global_index })),
            (_, Item::Op(Operator::LocalSet { local_index })),
            ..,
        ] if *global_index == around.globals.top => Some(*local_index),
        _ => None,
    };
    let frame = Frame::new(Kind::Block, true, 0, 0);
    let mut walk = Walk {
        around,
        code,
        ends,
        values: Values::new(code.parameters, sets),
        facts: Facts::default(),
        records: Records::default(),
        kept,
        operands: Vec::new(),
        frames: vec![frame],
        reached: true,
        change: 0,
        conditions: HashMap::new(),
        stack_roots: HashSet::new(),
        range: None,
        stores: stores.iter(),
        counts: Counts::default(),
    };
    let last = code.items.last().map_or(0, |(offset, _)| *offset);
    for (at, (offset, item)) in code.items.iter().enumerate() {
        walk.counts.steps += 2;
        walk.item(at, item).map_err(|what| (*offset, what))?;
    }
    if walk.stores.next().is_some() {
        return Err((last, "fewer stores than the driver's function"));
    }
    walk.counts.steps += walk.values.steps + walk.facts.steps;
    Ok(walk.counts)
}

impl Frame {
    fn new(kind: Kind, reached: bool, height: usize, entry: u64) -> Self {
        Frame {
            kind,
            reached,
            block: 0,
            height,
            entry,
            least: u64::MAX,
            condition: None,
            only_logs: true,
            is_nested: false,
        }
    }
}

impl Walk<'_, '_> {
    fn pop(&mut self) -> Known {
        let floor = self.frames.last().map_or(0, |frame| frame.height);
        let known = if self.operands.len() > floor { self.operands.pop() } else { None };
        known.unwrap_or_else(|| Known::Value(self.values.fresh()))
    }

    /// Pops a value; whatever else it is known to be is forgotten.
    fn pop_value(&mut self) -> Value {
        match self.pop() {
            Known::Value(value) => value,
            _ => self.values.fresh(),
        }
    }

    fn push(&mut self, known: Known) {
        self.operands.push(known);
    }

    fn push_value(&mut self, value: Value) {
        self.operands.push(Known::Value(value));
    }

    fn push_unknown(&mut self, count: u32) {
        for _ in 0..count {
            let value = self.values.fresh();
            self.push_value(value);
        }
    }

    /// What was read before may have changed, and what was begun is not finished.
    fn change(&mut self) {
        self.change += 1;
        self.records.abandon();
    }

    /// Something happens that is no part of logging.
    fn interrupt(&mut self) {
        self.change();
        if let Some(frame) = self.frames.last_mut() {
            frame.only_logs = false;
        }
    }

    fn item(&mut self, at: usize, item: &Item<'_>) -> Result<(), &'static str> {
        // A deadline check traps, or it changes nothing that a driver has.
        let Item::Op(operator) = item else { return Ok(()) };
        let written = Written::of(operator).filter(|written| written.memory() != LOG_MEMORY);
        let mut scratch = false;
        if let Some(written) = &written {
            let of_driver = self.stores.next().ok_or("a store that the driver's function does not have")?;
            if !of_driver.is(written) {
                return Err("another store than the driver's function");
            }
            scratch = of_driver.is_scratch;
        }
        if self.structure(at, operator) || !self.reached {
            return Ok(());
        }
        if let Some(written) = written {
            return self.store(at, written, scratch);
        }
        if let Some(memarg) = shape::access(operator).filter(|memarg| memarg.memory == LOG_MEMORY) {
            return self.log(operator, memarg.offset);
        }
        if self.compute(at, operator)? {
            return Ok(());
        }
        self.other(at, operator)
    }

    /// Follows the beginning, middle or end of a block. Says whether it is one.
    fn structure(&mut self, at: usize, operator: &Operator<'_>) -> bool {
        let (pops, pushes) = self.code.arities[at];
        let kind = match operator {
            Operator::Block { .. } => Kind::Block,
            Operator::Loop { .. } => Kind::Loop,
            Operator::If { .. } => Kind::If,
            Operator::Else => {
                self.interrupt();
                self.values.close(true);
                self.values.open();
                if let Some(frame) = self.frames.last_mut() {
                    frame.block = self.values.block();
                    (frame.kind, self.reached) = (Kind::Else, frame.reached);
                    self.facts.forget(frame.entry);
                    self.operands.truncate(frame.height);
                }
                if self.reached {
                    self.push_unknown(pushes);
                }
                return true;
            }
            Operator::End => {
                self.end();
                if self.reached {
                    self.push_unknown(pushes);
                }
                return true;
            }
            _ => return false,
        };
        self.change();
        self.range = None;
        let mut condition = None;
        if self.reached {
            let mut pops = pops;
            if kind == Kind::If {
                pops = pops.saturating_sub(1);
                let value = self.pop_value();
                condition = (value.plus == 0 && !value.is_constant()).then_some(value.root);
            }
            for _ in 0..pops {
                self.pop();
            }
        }
        match kind {
            Kind::Loop => self.values.open_loop(at, self.ends.get(&at).copied().unwrap_or(usize::MAX)),
            _ => self.values.open(),
        }
        let mut frame = Frame::new(kind, self.reached, self.operands.len(), self.facts.now());
        (frame.condition, frame.block) = (condition, self.values.block());
        self.frames.push(frame);
        if self.reached {
            self.push_unknown(if kind == Kind::If { pops.saturating_sub(1) } else { pushes });
        }
        true
    }

    fn end(&mut self) {
        self.change();
        self.range = None;
        let Some(frame) = self.frames.pop() else { return };
        self.values.close(matches!(frame.kind, Kind::If | Kind::Else));
        if let Some(outer) = self.frames.last_mut() {
            outer.only_logs &= frame.kind == Kind::If && frame.only_logs && !frame.is_nested;
            outer.is_nested = true;
        }
        self.reached = frame.reached;
        self.operands.truncate(frame.height);
        let keep = match frame.kind {
            // A loop is left at its end only by falling through.
            Kind::Loop => return,
            Kind::Block => frame.least,
            Kind::If | Kind::Else => frame.entry,
        };
        let forgotten = self.facts.forget(keep);
        // One way round it is to log, and on the other one it is not needed.
        if frame.kind == Kind::If
            && frame.only_logs
            && let Some(condition) = frame.condition
        {
            for bytes in forgotten.into_iter().rev() {
                let needless = match self.conditions.get(&condition) {
                    Some(Condition::Greater(value, most)) => self.is_kept(*value, *most, bytes),
                    Some(Condition::Not(other)) => self.holds_if(*other, bytes),
                    _ => false,
                };
                self.facts.learn_if(condition, bytes);
                if needless {
                    self.facts.learn(bytes);
                }
            }
        }
    }

    /// Returns whether these bytes are kept by other means, if this value is at most that.
    fn is_kept(&self, value: Value, most: u32, bytes: Bytes) -> bool {
        let reach = self.around.kept_below.and_then(|kept_below| kept_below.checked_sub(most));
        bytes.base == value && reach.is_some_and(|reach| bytes.to <= reach.into())
    }

    /// Returns whether these bytes are in the log, or kept otherwise, if the value of this root is not zero.
    fn holds_if(&self, root: u32, bytes: Bytes) -> bool {
        let kept = match self.conditions.get(&root) {
            Some(Condition::AtMost(value, most)) => self.is_kept(*value, *most, bytes),
            _ => false,
        };
        kept || self.facts.cover_if(root, bytes)
    }

    /// Follows a store to the log.
    fn log(&mut self, operator: &Operator<'_>, offset: u64) -> Result<(), &'static str> {
        let (value, address) = (self.pop(), self.pop());
        let piece = match (operator, value) {
            (Operator::I64Store { .. }, Known::Old(old)) if old.width <= 2 => Piece::Old(old),
            (Operator::I64Store { .. }, Known::Trailer(trailer)) => Piece::Trailer(trailer),
            (Operator::I64Store { .. }, Known::Constant64(constant)) => Piece::Trailer(Trailer::of(constant)),
            (Operator::V128Store { .. }, Known::Old(old)) if old.width == 16 => Piece::Old(old),
            (Operator::V128Store { .. }, Known::Whole(old, trailer)) => Piece::Whole(old, trailer),
            _ => return Err("an access to the log that is no part of a record"),
        };
        match address {
            Known::Kept => self.records.store(offset, piece, self.change),
            _ => Err("a record that is not at the log's top"),
        }
    }

    /// Returns whether bytes lie between the stack pointer's lowest and its first value of this call: nothing there
    /// outlives the call.
    fn is_own_frame(&self, base: Value, offset: u64, len: u64) -> bool {
        let below = u64::from(base.plus.wrapping_neg());
        self.stack_roots.contains(&base.root) && below < MAX_FRAME_BYTES.into() && offset.saturating_add(len) <= below
    }

    /// Checks a store of the driver's.
    fn store(&mut self, at: usize, written: Written, is_scratch: bool) -> Result<(), &'static str> {
        let (pops, pushes) = self.code.arities[at];
        let mut operands = [Value::constant(0); 3];
        let taken = operands.get_mut(..pops as usize).ok_or("a store with more operands than any has")?;
        for operand in taken.iter_mut().rev() {
            *operand = self.pop_value();
        }
        let [address, _, length] = operands;
        self.interrupt();
        match written {
            _ if is_scratch => self.counts.scratch += 1,
            Written::Fixed { width, offset, .. } => {
                let bytes = Bytes::of(address, offset, width.into());
                self.counts.stores += 1;
                if self.is_own_frame(address, offset, width.into()) {
                    self.counts.own_frame += 1;
                } else if self.is_kept(Value::constant(0), 0, bytes) {
                    self.counts.kept += 1;
                } else if !self.facts.cover(bytes) {
                    return Err("a store to bytes that are not in the log on every path to it");
                }
            }
            Written::Bulk { .. } => {
                self.counts.bulk += 1;
                let own = length.is_constant() && self.is_own_frame(address, 0, length.plus.into());
                if !own && self.range != Some((address, length)) {
                    return Err("a bulk instruction on a range that is not logged before it");
                }
            }
        }
        self.push_unknown(pushes);
        Ok(())
    }

    /// Follows any other instruction.
    fn other(&mut self, at: usize, operator: &Operator<'_>) -> Result<(), &'static str> {
        use Operator::*;
        let (mut pops, pushes) = self.code.arities[at];
        match operator {
            Br { relative_depth } | BrIf { relative_depth } => self.branch(at, *relative_depth),
            BrTable { targets } => {
                self.counts.steps += u64::from(targets.len());
                targets.targets().filter_map(Result::ok).for_each(|depth| self.branch(at, depth));
                self.branch(at, targets.default());
            }
            Call { function_index } if self.around.log_range.contains(function_index) => {
                let (length, address) = (self.pop_value(), self.pop_value());
                pops = 0;
                self.interrupt();
                self.range = Some((address, length));
                self.reloads(at)?;
            }
            Call { .. } | CallIndirect { .. } => {
                self.interrupt();
                self.reloads(at)?;
            }
            Return | Unreachable | ReturnCall { .. } | ReturnCallIndirect { .. } => self.interrupt(),
            MemoryGrow { .. } | MemoryDiscard { .. } | DataDrop { .. } | ElemDrop { .. } => {
                return Err("a change that no log holds");
            }
            TableSet { .. } | TableGrow { .. } | TableFill { .. } | TableCopy { .. } | TableInit { .. } => {
                return Err("a change of a table, which no log holds");
            }
            _ => {}
        }
        for _ in 0..pops {
            self.pop();
        }
        self.push_unknown(pushes);
        if let Br { .. } | BrTable { .. } | Return | Unreachable | ReturnCall { .. } | ReturnCallIndirect { .. } =
            operator
        {
            self.reached = false;
        }
        Ok(())
    }

    fn branch(&mut self, at: usize, depth: u32) {
        self.interrupt();
        let now = self.facts.now();
        if let Some(target) = self.frames.len().checked_sub(1 + depth as usize)
            && self.frames[target].kind != Kind::Loop
        {
            let frame = &mut self.frames[target];
            frame.least = now.min(frame.least);
            self.values.branch(frame.block, at);
        }
    }
}
