//! Other operations, and other comparisons, of the same operands.

use nook_seed::Rng;
use wasm_encoder::Instruction;
use wasmparser::{Operator, ValType};

/// Draws another operation with the same type.
pub(super) fn other_operation(operator: &Operator<'_>, rng: &mut Rng) -> Option<(Instruction<'static>, ValType)> {
    use Instruction as I;
    use Operator as O;
    let (others, ty): (&[Instruction<'static>], _) = match operator {
        O::I32Add => (&[I::I32Sub, I::I32Or, I::I32Mul], ValType::I32),
        O::I32Sub => (&[I::I32Add, I::I32And], ValType::I32),
        O::I32Mul => (&[I::I32Add, I::I32Shl], ValType::I32),
        O::I32And => (&[I::I32Or, I::I32Xor, I::I32Add], ValType::I32),
        O::I32Or => (&[I::I32And, I::I32Xor], ValType::I32),
        O::I32Xor => (&[I::I32And, I::I32Or], ValType::I32),
        O::I32Shl => (&[I::I32ShrU, I::I32Rotl], ValType::I32),
        O::I32ShrU => (&[I::I32Shl, I::I32ShrS], ValType::I32),
        O::I32ShrS => (&[I::I32Shl, I::I32ShrU], ValType::I32),
        O::I64Add => (&[I::I64Sub, I::I64Or, I::I64Mul], ValType::I64),
        O::I64Sub => (&[I::I64Add, I::I64And], ValType::I64),
        O::I64Mul => (&[I::I64Add, I::I64Shl], ValType::I64),
        O::I64And => (&[I::I64Or, I::I64Xor, I::I64Add], ValType::I64),
        O::I64Or => (&[I::I64And, I::I64Xor], ValType::I64),
        O::I64Xor => (&[I::I64And, I::I64Or], ValType::I64),
        O::I64Shl => (&[I::I64ShrU, I::I64Rotl], ValType::I64),
        O::I64ShrU => (&[I::I64Shl, I::I64ShrS], ValType::I64),
        O::I64ShrS => (&[I::I64Shl, I::I64ShrU], ValType::I64),
        _ => return None,
    };
    Some((others[rng.index(others.len())].clone(), ty))
}

/// Draws the opposite of a comparison, or one that is off by one.
pub(super) fn other_comparison(operator: &Operator<'_>, rng: &mut Rng) -> Option<(Instruction<'static>, ValType)> {
    let opposite = opposite(operator)?;
    match off_by_one(operator) {
        Some(other) if rng.one_in(2) => Some(other),
        _ => Some(opposite),
    }
}

fn opposite(operator: &Operator<'_>) -> Option<(Instruction<'static>, ValType)> {
    use Instruction as I;
    use Operator as O;
    Some(match operator {
        O::I32Eq => (I::I32Ne, ValType::I32),
        O::I32Ne => (I::I32Eq, ValType::I32),
        O::I32LtS => (I::I32GeS, ValType::I32),
        O::I32LtU => (I::I32GeU, ValType::I32),
        O::I32GtS => (I::I32LeS, ValType::I32),
        O::I32GtU => (I::I32LeU, ValType::I32),
        O::I32LeS => (I::I32GtS, ValType::I32),
        O::I32LeU => (I::I32GtU, ValType::I32),
        O::I32GeS => (I::I32LtS, ValType::I32),
        O::I32GeU => (I::I32LtU, ValType::I32),
        O::I64Eq => (I::I64Ne, ValType::I64),
        O::I64Ne => (I::I64Eq, ValType::I64),
        O::I64LtS => (I::I64GeS, ValType::I64),
        O::I64LtU => (I::I64GeU, ValType::I64),
        O::I64GtS => (I::I64LeS, ValType::I64),
        O::I64GtU => (I::I64LeU, ValType::I64),
        O::I64LeS => (I::I64GtS, ValType::I64),
        O::I64LeU => (I::I64GtU, ValType::I64),
        O::I64GeS => (I::I64LtS, ValType::I64),
        O::I64GeU => (I::I64LtU, ValType::I64),
        _ => return None,
    })
}

/// Returns the comparison that differs for equal operands only; of "equal" and "not equal", one that takes the end for
/// passed.
pub(super) fn off_by_one(operator: &Operator<'_>) -> Option<(Instruction<'static>, ValType)> {
    use Instruction as I;
    use Operator as O;
    Some(match operator {
        O::I32LtS => (I::I32LeS, ValType::I32),
        O::I32LtU => (I::I32LeU, ValType::I32),
        O::I32GtS => (I::I32GeS, ValType::I32),
        O::I32GtU => (I::I32GeU, ValType::I32),
        O::I32LeS => (I::I32LtS, ValType::I32),
        O::I32LeU => (I::I32LtU, ValType::I32),
        O::I32GeS => (I::I32GtS, ValType::I32),
        O::I32GeU => (I::I32GtU, ValType::I32),
        O::I32Ne => (I::I32LtU, ValType::I32),
        O::I32Eq => (I::I32LeU, ValType::I32),
        O::I64LtS => (I::I64LeS, ValType::I64),
        O::I64LtU => (I::I64LeU, ValType::I64),
        O::I64GtS => (I::I64GeS, ValType::I64),
        O::I64GtU => (I::I64GeU, ValType::I64),
        O::I64LeS => (I::I64LtS, ValType::I64),
        O::I64LeU => (I::I64LtU, ValType::I64),
        O::I64GeS => (I::I64GtS, ValType::I64),
        O::I64GeU => (I::I64GtU, ValType::I64),
        _ => return None,
    })
}
