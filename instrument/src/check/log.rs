//! Who writes to the log memory, and where: the time cell is at its beginning, and nothing but the host and the
//! question to it may write there.
//!
//! The log's top is a global. It begins behind the cells and the saved globals, and is only set to a constant there, or
//! raised by what was just written behind it: so whatever is written relative to it lies behind the cells. A function
//! may keep the top in a local, which it reads first of all and sets to nothing else.

use wasmparser::{MemArg, Operator};

use super::shape::{self, Item, LOG_MEMORY, LOG_RANGE, LOG_RANGE_OPERANDS};
use crate::deadline::TIME_CELL;
use crate::undo::layout::{LOG_BYTES, SAVED_GLOBALS};

/// What is known of a value.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Value {
    Unknown,
    Constant(u32),
    /// A value that the top has or had.
    Top,
    /// That of the local, which keeps the top.
    Kept,
    /// The top as it is to be next.
    Raised,
}

/// Follows one function's code.
pub(super) struct Log {
    /// The global with the log's top; a module without a log has none.
    top: Option<u32>,
    /// The local that keeps the top.
    kept: Option<u32>,
    /// What was pushed last, as far as it is known.
    stack: Vec<Value>,
    /// How far behind the kept top something was written, with nothing in between that could change that.
    written: u64,
    /// What comes up to here was recognised as a whole.
    recognised: usize,
}

/// Returns whether the log's top may be this.
pub(super) fn is_top(value: u32) -> bool {
    value >= SAVED_GLOBALS && u64::from(value) <= LOG_BYTES
}

/// What an instruction that is refused does.
pub(super) type Refused = &'static str;

impl Log {
    pub(super) fn new(items: &[(usize, Item<'_>)], top: Option<u32>) -> Log {
        let kept = match items {
            [
                (_, Item::Op(Operator::GlobalGet { global_index })),
                (_, Item::Op(Operator::LocalSet { local_index })),
                ..,
            ] if Some(*global_index) == top => Some(*local_index),
            _ => None,
        };
        Log { top, kept, stack: Vec::new(), written: 0, recognised: 0 }
    }

    fn pop(&mut self) -> Value {
        self.stack.pop().unwrap_or(Value::Unknown)
    }

    fn compute(&mut self, operands: usize) {
        for _ in 0..operands {
            self.pop();
        }
        self.stack.push(Value::Unknown);
    }

    fn forget(&mut self) {
        self.stack.clear();
        self.written = 0;
    }

    /// Follows the instruction at `at`, which can be reached.
    pub(super) fn follow(&mut self, items: &[(usize, Item<'_>)], at: usize) -> Result<(), Refused> {
        use Operator::*;
        let (_, Item::Op(operator)) = &items[at] else {
            self.forget();
            return Ok(());
        };
        if at < self.recognised {
            return Ok(());
        }
        if let Some(memarg) = shape::access(operator).filter(|memarg| memarg.memory == LOG_MEMORY) {
            return self.access(operator, memarg);
        }
        match operator {
            LocalGet { local_index } => {
                let value = if Some(*local_index) == self.kept { Value::Kept } else { Value::Unknown };
                self.stack.push(value);
            }
            GlobalGet { global_index } => {
                self.stack.push(if Some(*global_index) == self.top { Value::Top } else { Value::Unknown });
            }
            I32Const { value } => self.stack.push(Value::Constant(value.cast_unsigned())),
            I64Const { .. } => self.stack.push(Value::Unknown),
            I32Add => {
                let (b, a) = (self.pop(), self.pop());
                let raised = |by: u32| u64::from(by) <= self.written;
                self.stack.push(match (a, b) {
                    (Value::Kept, Value::Constant(by)) if raised(by) => Value::Raised,
                    _ => Value::Unknown,
                });
            }
            I64ExtendI32U | I64Load8U { .. } | I64Load16U { .. } => self.compute(1),
            V128Load { .. } | V128Load32Zero { .. } | V128Load64Zero { .. } => self.compute(1),
            I64Or | I64x2ReplaceLane { .. } => self.compute(2),
            LocalSet { local_index } | LocalTee { local_index } => {
                let value = self.pop();
                if Some(*local_index) == self.kept {
                    if !matches!(value, Value::Top | Value::Kept | Value::Raised) {
                        return Err("a local that keeps the log's top is set to something else");
                    }
                    self.written = 0;
                }
                if let LocalTee { .. } = operator {
                    self.stack.push(value);
                }
            }
            GlobalSet { global_index } => {
                let value = self.pop();
                let right = match value {
                    Value::Top | Value::Kept | Value::Raised => true,
                    Value::Constant(value) => is_top(value),
                    Value::Unknown => false,
                };
                if Some(*global_index) == self.top && !right {
                    return Err("the log's top is set to something else");
                }
            }
            MemoryCopy { dst_mem: LOG_MEMORY, .. } => {
                let from = at.checked_sub(LOG_RANGE_OPERANDS);
                let code = from.and_then(|from| items.get(from..from + LOG_RANGE));
                if !code.zip(self.top).is_some_and(|(code, top)| shape::is_log_range(code, top)) {
                    return Err("a copy into the log memory that is not the range logger's");
                }
                self.recognised = at - LOG_RANGE_OPERANDS + LOG_RANGE;
                self.forget();
            }
            MemoryCopy { src_mem: LOG_MEMORY, .. } => return Err("a copy out of the log memory"),
            MemoryFill { mem: LOG_MEMORY } | MemoryInit { mem: LOG_MEMORY, .. } => {
                return Err("a bulk instruction on the log memory");
            }
            _ => self.forget(),
        }
        Ok(())
    }

    /// Checks a load or store that is not a deadline check's.
    fn access(&mut self, operator: &Operator<'_>, memarg: &MemArg) -> Result<(), Refused> {
        use Operator::*;
        let width = match operator {
            I32Store { .. } | F32Store { .. } => 4,
            I64Store { .. } | F64Store { .. } => 8,
            V128Store { .. } => 16,
            _ => return Err("an access to the log memory that is neither a deadline check nor a store"),
        };
        self.pop();
        let behind_cell = u64::from(TIME_CELL) + 4;
        match self.pop() {
            Value::Constant(address) if u64::from(address) + memarg.offset >= behind_cell => {}
            Value::Top | Value::Raised => {}
            Value::Kept => self.written = self.written.max(memarg.offset + width),
            Value::Constant(_) => return Err("a store to the time cell"),
            Value::Unknown => return Err("a store to the log memory at an address that may be the time cell's"),
        }
        Ok(())
    }
}
