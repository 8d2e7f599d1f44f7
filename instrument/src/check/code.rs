//! One function's code: its branches back, its bulk instructions, its calls, and how much it executes.

use wasmparser::{FunctionBody, Operator};

use super::log::Log;
use super::shape::{self, CHECK_LEN, Item, Then};

/// The longest bulk instruction without a deadline check.
const MOST_BULK_BYTES: u32 = 4096;
/// What it writes in the time of another instruction.
const BULK_BYTES: u32 = 16;
/// Instructions that put the operands of a bulk instruction on the stack.
const BULK_OPERANDS: usize = 3;

/// What is added to the module and named by its exports.
#[derive(Clone, Copy, Debug)]
pub(super) struct Added {
    /// Global: the log's top, if there is a log.
    pub(super) top: Option<u32>,
    /// Table: its only element is what the question to the host calls.
    pub(super) table: u32,
    /// The driver's memory cannot grow.
    pub(super) memory_is_fixed: bool,
}

/// What one function turns out to be.
#[derive(Debug, Default)]
pub(super) struct Found {
    /// It is the question to the host, and nothing else.
    pub(super) is_question: bool,
    /// It checks its deadline before it calls, branches or does anything that may take long.
    pub(super) checks_first: bool,
    /// Instructions, loops counted once, without those of callees.
    pub(super) instructions: u64,
    /// Functions that it calls, deadline checks apart, each as often as that stands there.
    pub(super) calls: Vec<u32>,
    /// It calls through a table.
    pub(super) calls_through_table: bool,
    /// Its deadline checks, and where they are.
    pub(super) deadline_checks: Vec<(Then, usize)>,
    /// Functions of which it takes a reference.
    pub(super) references: Vec<u32>,
    /// What the walk has read.
    pub(super) steps: u64,
}

/// Where something is wrong, in bytes from the module's beginning, and what.
pub(super) type CodeError = (usize, &'static str);

struct ControlFrame {
    is_loop: bool,
    /// Whether its beginning can be reached.
    reached: bool,
}

struct Walk<'a> {
    items: Vec<(usize, Item<'a>)>,
    frames: Vec<ControlFrame>,
    /// Whether this place can be reached.
    reached: bool,
    added: Added,
    found: Found,
}

/// Reads a function of a valid module.
pub(super) fn read(body: &FunctionBody<'_>, added: Added) -> Result<Found, CodeError> {
    let broken = |error: wasmparser::BinaryReaderError| (error.offset(), "it cannot be read");
    let mut items = Vec::new();
    let mut found = Found::default();
    for operator in body.get_operators_reader().map_err(broken)?.into_iter_with_offsets() {
        let (operator, offset) = operator.map_err(broken)?;
        shape::push(&mut items, offset, operator);
        found.steps += 1;
    }
    found.is_question = shape::is_question(&items, added.table);
    if found.is_question {
        return Ok(found);
    }
    found.checks_first = checks_first(&items);
    let frames = vec![ControlFrame { is_loop: false, reached: true }];
    let walk = Walk { items, frames, reached: true, added, found };
    walk.all()
}

/// Returns whether a deadline check comes first, but for the two instructions that put the log's top into a local.
fn checks_first(items: &[(usize, Item<'_>)]) -> bool {
    let plain = |item: &Item<'_>| {
        matches!(item, Item::Op(Operator::GlobalGet { .. } | Operator::LocalSet { .. } | Operator::LocalGet { .. }))
    };
    let first = items.iter().take(3).find(|(_, item)| !plain(item));
    matches!(first, Some((_, Item::DeadlineCheck(_))))
}

impl Walk<'_> {
    fn all(mut self) -> Result<Found, CodeError> {
        let mut log = Log::new(&self.items, self.added.top);
        for at in 0..self.items.len() {
            self.found.steps += 1;
            let offset = self.items[at].0;
            if self.reached {
                log.follow(&self.items, at).and_then(|()| self.item(at)).map_err(|what| (offset, what))?;
            }
            self.structure(at);
        }
        Ok(self.found)
    }

    /// Blocks, and what cannot be reached: it is not executed, and nothing is asked of it.
    fn structure(&mut self, at: usize) {
        use Operator::*;
        let (_, Item::Op(operator)) = &self.items[at] else { return };
        match operator {
            Block { .. } | If { .. } => self.frames.push(ControlFrame { is_loop: false, reached: self.reached }),
            Loop { .. } => self.frames.push(ControlFrame { is_loop: true, reached: self.reached }),
            Else => self.reached = self.frames.last().is_some_and(|frame| frame.reached),
            // A block of which the beginning can be reached is taken to be left too.
            End => self.reached = self.frames.pop().is_some_and(|frame| frame.reached),
            Br { .. } | BrTable { .. } | Return | Unreachable | ReturnCall { .. } | ReturnCallIndirect { .. } => {
                self.reached = false;
            }
            _ => {}
        }
    }

    /// Reads an instruction that can be reached.
    fn item(&mut self, at: usize) -> Result<(), &'static str> {
        use Operator::*;
        let (offset, item) = &self.items[at];
        let operator = match item {
            Item::DeadlineCheck(then) => {
                self.found.deadline_checks.push((*then, *offset));
                self.found.instructions += CHECK_LEN as u64;
                return Ok(());
            }
            Item::Op(operator) => operator,
        };
        self.found.instructions += 1;
        match operator {
            Br { relative_depth } | BrIf { relative_depth } if self.is_loop(*relative_depth) => {
                self.checked_before(at)?
            }
            BrTable { targets } => {
                let depths = targets.targets().filter_map(Result::ok).chain([targets.default()]);
                let back = depths.filter(|depth| self.is_loop(*depth)).count();
                self.found.steps += u64::from(targets.len());
                if back > 0 {
                    self.checked_before(at)?;
                }
            }
            Call { function_index } | ReturnCall { function_index } => self.found.calls.push(*function_index),
            CallIndirect { table_index, .. } | ReturnCallIndirect { table_index, .. } => {
                if *table_index == self.added.table {
                    return Err("a call of the host's answer to deadline checks that is no deadline check");
                }
                self.found.calls_through_table = true;
            }
            RefFunc { function_index } => self.found.references.push(*function_index),
            MemoryCopy { .. } | MemoryFill { .. } | MemoryInit { .. } => self.bulk(at)?,
            TableCopy { dst_table, .. } | TableInit { table: dst_table, .. } if *dst_table != self.added.table => {
                self.checked_before(at).map_err(|_| "a table copied without a deadline check right before it")?;
            }
            // What cannot grow says so at once.
            MemoryGrow { mem: 0 } if self.added.memory_is_fixed => {}
            MemoryGrow { .. } | TableGrow { .. } | TableFill { .. } => {
                return Err("an instruction that may take as long as it likes");
            }
            TableSet { .. } | TableCopy { .. } | TableInit { .. } => return Err("a change of a table"),
            // In memory that nobody shares it traps.
            MemoryAtomicWait32 { memarg } | MemoryAtomicWait64 { memarg } if memarg.memory == 0 => {}
            MemoryAtomicWait32 { .. } | MemoryAtomicWait64 { .. } => return Err("an instruction that waits"),
            _ => {}
        }
        Ok(())
    }

    fn is_loop(&self, depth: u32) -> bool {
        let frame = self.frames.len().checked_sub(1 + depth as usize).map(|at| &self.frames[at]);
        frame.is_some_and(|frame| frame.is_loop)
    }

    /// Checks that a deadline check stands right before this branch.
    fn checked_before(&self, at: usize) -> Result<(), &'static str> {
        match at.checked_sub(1).map(|before| &self.items[before].1) {
            Some(Item::DeadlineCheck(_)) => Ok(()),
            _ => Err("a branch back to a loop's beginning without a deadline check right before it"),
        }
    }

    /// Checks that a bulk instruction is short, or that a deadline check stands right before it or its operands.
    fn bulk(&mut self, at: usize) -> Result<(), &'static str> {
        if self.checked_before(at).is_ok() {
            return Ok(());
        }
        let before = &self.items[..at];
        if let Some((_, Item::Op(Operator::I32Const { value }))) = before.last()
            && value.cast_unsigned() <= MOST_BULK_BYTES
        {
            self.found.instructions += u64::from(value.cast_unsigned() / BULK_BYTES);
            return Ok(());
        }
        let operand =
            |item: &Item<'_>| matches!(item, Item::Op(Operator::LocalGet { .. } | Operator::GlobalGet { .. }));
        match before.last_chunk::<{ BULK_OPERANDS + 1 }>() {
            Some([(_, Item::DeadlineCheck(_)), operands @ ..]) if operands.iter().all(|(_, item)| operand(item)) => {
                Ok(())
            }
            _ => Err("a bulk instruction that may be long, without a deadline check right before it or its operands"),
        }
    }
}
