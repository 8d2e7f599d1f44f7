//! The few shapes of code that the checker knows: the deadline check, the question that it asks, the countdown. What
//! a deadline check is, is said here and nowhere else.

use wasmparser::{BlockType, MemArg, Operator};

use crate::deadline::{DUE, TIME_CELL};
use crate::undo::layout::{BULK, TRAILER_BYTES};

/// The memory that holds the time cell and the log.
pub(super) const LOG_MEMORY: u32 = 1;
/// Instructions of a deadline check.
pub(super) const CHECK_LEN: usize = 7;
/// Instructions of the question to the host.
const QUESTION_LEN: usize = 5;
/// Instructions of a countdown.
const COUNTDOWN: usize = 10;
/// Instructions of the range logger from the copy's first operand on, and of them those before the copy.
pub(super) const LOG_RANGE: usize = 23;
pub(super) const LOG_RANGE_OPERANDS: usize = 3;

/// What a deadline check does if the cell is set.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Then {
    /// It traps.
    Trap,
    /// It calls this function.
    Ask(u32),
}

/// One instruction, or a deadline check.
#[derive(Clone, Debug)]
pub(super) enum Item<'a> {
    /// A deadline check.
    DeadlineCheck(Then),
    Op(Operator<'a>),
}

/// Appends an instruction. A deadline check becomes one item, and a countdown, which can only trap, becomes none.
pub(super) fn push<'a>(items: &mut Vec<(usize, Item<'a>)>, offset: usize, operator: Operator<'a>) {
    let ends = (matches!(operator, Operator::End), matches!(operator, Operator::Drop));
    items.push((offset, Item::Op(operator)));
    match ends {
        (true, _) => {
            if let Some((at, then)) = deadline_check(items) {
                let begins = items[at].0;
                items.truncate(at);
                items.push((begins, Item::DeadlineCheck(then)));
            }
        }
        (_, true) if is_countdown(items) => items.truncate(items.len() - COUNTDOWN),
        _ => {}
    }
}

fn operators<'i, 'a, const N: usize>(items: &'i [(usize, Item<'a>)]) -> Option<[&'i Operator<'a>; N]> {
    let mut found = [&Operator::Nop; N];
    for ((_, item), place) in items.last_chunk::<N>()?.iter().zip(&mut found) {
        let Item::Op(operator) = item else { return None };
        *place = operator;
    }
    Some(found)
}

/// Returns whether an access is that of the time cell, at address 0 plus its offset.
fn is_cell(memarg: &MemArg) -> bool {
    memarg.memory == LOG_MEMORY && memarg.offset == u64::from(TIME_CELL)
}

/// Returns the deadline check with which the code so far ends: where it begins, and what it does then.
///
/// The load is atomic: others may be taken out of a loop by the compiler.
fn deadline_check(items: &[(usize, Item<'_>)]) -> Option<(usize, Then)> {
    use Operator::*;
    let [
        I32Const { value: 0 },
        I32AtomicLoad { memarg },
        I32Const { value: bit },
        I32And,
        If { blockty: BlockType::Empty },
        then,
        End,
    ] = operators::<CHECK_LEN>(items)?
    else {
        return None;
    };
    let then = match then {
        Unreachable => Then::Trap,
        Call { function_index } => Then::Ask(*function_index),
        _ => return None,
    };
    (is_cell(memarg) && bit.cast_unsigned() == DUE).then_some((items.len() - CHECK_LEN, then))
}

/// Returns whether a body does nothing but ask the host, through the only element of `table`, and put the answer into
/// the cell.
pub(super) fn is_question(items: &[(usize, Item<'_>)], table: u32) -> bool {
    use Operator::*;
    items.len() == QUESTION_LEN
        && matches!(
            operators::<QUESTION_LEN>(items),
            Some([
                I32Const { value: 0 },
                I32Const { value: 0 },
                CallIndirect { table_index, .. },
                I32AtomicStore { memarg },
                End,
            ]) if *table_index == table && is_cell(memarg)
        )
}

/// Returns whether the code so far ends with a countdown: it changes one global, reads address 0 or traps, and leaves
/// nothing.
fn is_countdown(items: &[(usize, Item<'_>)]) -> bool {
    use Operator::*;
    matches!(
        operators::<COUNTDOWN>(items),
        Some([
            GlobalGet { global_index: a },
            I64Const { value: 1 },
            I64Sub,
            GlobalSet { global_index: b },
            I32Const { value: 0 },
            GlobalGet { global_index: c },
            I64Eqz,
            I32Sub,
            I32Load8U { memarg: MemArg { offset: 0, memory: 0, .. } },
            Drop,
        ]) if a == b && b == c
    )
}

/// Returns whether these are the range logger's copy, the record's end behind it, and the new top: `top` is the log's
/// top. They write behind the old top only, and trap at the log's end before the top moves.
pub(super) fn is_log_range(items: &[(usize, Item<'_>)], top: u32) -> bool {
    use Operator::*;
    let word = |memarg: &MemArg, offset| memarg.memory == LOG_MEMORY && memarg.offset == offset;
    let Some(code) = operators::<LOG_RANGE>(items) else { return false };
    match code {
        [
            GlobalGet { global_index: top1 },
            LocalGet { local_index: from1 },
            LocalGet { local_index: len1 },
            MemoryCopy { dst_mem: LOG_MEMORY, src_mem: 0 },
            GlobalGet { global_index: top2 },
            LocalGet { local_index: len2 },
            I32Const { value: 7 },
            I32Add,
            I32Const { value: -8 },
            I32And,
            I32Add,
            LocalTee { local_index: end1 },
            LocalGet { .. },
            I32Store { memarg: address },
            LocalGet { local_index: end2 },
            LocalGet { .. },
            I32Const { value: bulk },
            I32Or,
            I32Store { memarg: length },
            LocalGet { local_index: end3 },
            I32Const { value: trailer },
            I32Add,
            GlobalSet { global_index: top3 },
        ] => {
            [top1, top2, top3].iter().all(|global| **global == top)
                && len1 == len2
                && [end2, end3].iter().all(|local| *local == end1)
                && ![from1, len1].contains(&end1)
                && bulk.cast_unsigned() == BULK
                && trailer.cast_unsigned() == TRAILER_BYTES
                && word(address, 0)
                && word(length, 4)
        }
        _ => false,
    }
}

macro_rules! memarg {
    () => { None };
    ([memarg $found:ident] $([$other:ident $value:ident])*) => {{
        $(let _ = $value;)*
        Some($found)
    }};
    ([$other:ident $value:ident] $($rest:tt)*) => {{
        let _ = $value;
        memarg!($($rest)*)
    }};
}

macro_rules! define_access {
    ($(@$proposal:ident $op:ident $({ $($arg:ident: $ty:ty),* })? => $visit:ident ($($arity:tt)*))*) => {
        /// Returns where an instruction reads or writes memory, if it is one that does; not for bulk instructions.
        pub(super) fn access<'o>(operator: &'o Operator<'_>) -> Option<&'o MemArg> {
            match operator {
                $(Operator::$op $({ $($arg),* })? => memarg!($($([$arg $arg])*)?),)*
                _ => None,
            }
        }
    };
}

wasmparser::for_each_operator!(define_access);
