//! What a rewritten function executes, for the decision whether it begins with a deadline check.

use wasm_encoder::Instruction;
use wasmparser::Operator;

use super::rewrite::{MAX_OWN_BULK_BYTES, Part, Rewritten};
use super::values::Analysis;
use crate::deadline::Cost;

/// What a bulk instruction without a deadline check writes in the time of another instruction.
const BULK_BYTES: u32 = 16;

/// Instructions that put the log's top into a local.
const RELOAD: u64 = 2;

/// Computes the cost of a function of the module; functions are numbered from `imported_functions` on. The range
/// logger is called by added code, and executes `executes` instructions.
pub(super) fn cost(
    rewritten: &Rewritten,
    analysis: &Analysis<'_>,
    imported_functions: u32,
    (range_logger, executes): (u32, usize),
) -> Cost {
    let mut cost = Cost::default();
    // A function that logs gets the log's top first of all, and after calls; others never do.
    let reload = if rewritten.top.is_some() { RELOAD } else { 0 };
    cost.add(reload);
    for part in &rewritten.parts {
        match part {
            Part::Added(code) => {
                let logs =
                    |instruction: &&Instruction<'_>| matches!(instruction, Instruction::Call(f) if *f == range_logger);
                cost.add((code.len() + code.iter().filter(logs).count() * executes) as u64);
            }
            Part::Reload => cost.add(reload),
            Part::Original(at) => {
                let operator = &analysis.operators[*at];
                cost.operator(operator, imported_functions);
                // Others come after a deadline check.
                if let Operator::MemoryCopy { .. } | Operator::MemoryFill { .. } | Operator::MemoryInit { .. } =
                    operator
                {
                    cost.add(u64::from(MAX_OWN_BULK_BYTES / BULK_BYTES));
                }
            }
        }
    }
    cost
}
