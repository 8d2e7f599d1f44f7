//! What one mistake makes of one instruction.

use nook_abi::{HINT_MODULE, IMPORT_MODULE};
use nook_seed::Rng;
use wasm_encoder::Instruction;
use wasm_encoder::reencode::{Reencode, RoundtripReencoder};
use wasmparser::{FrameKind, FuncType, FuncValidator, Import, MemArg, Operator, TypeRef, ValType, ValidatorResources};

use super::CodeClass;
use super::arithmetic::{off_by_one, other_comparison, other_operation};

/// Code in the place of an instruction, or right before it.
#[derive(Clone, Debug)]
pub(super) struct Mutation {
    /// What it takes from the stack, and what it leaves there.
    pub(super) ty: FuncType,
    pub(super) code: Vec<Instruction<'static>>,
    /// It changes an operand of the instruction, which follows; otherwise it stands in its place.
    pub(super) before: bool,
    /// What was changed, in words.
    pub(super) what: String,
}

/// What a module's functions are, as far as mistakes differ in that.
pub(super) struct Callees<'a> {
    /// Imported functions: module and name.
    pub(super) imports: Vec<(&'a str, &'a str)>,
    types: Vec<&'a FuncType>,
}

impl<'a> Callees<'a> {
    pub(super) fn of(imports: &[Import<'a>], types: &'a [FuncType], functions: &[u32]) -> Self {
        let is_function = |import: &&Import<'_>| matches!(import.ty, TypeRef::Func(_) | TypeRef::FuncExact(_));
        let imports = imports.iter().filter(is_function).map(|import| (import.module, import.name)).collect();
        Callees { imports, types: functions.iter().map(|&ty| &types[ty as usize]).collect() }
    }

    /// Returns the index that a function has once functions were imported besides.
    pub(super) fn shifted(&self, function: u32) -> u32 {
        let added = if (function as usize) < self.imports.len() { 0 } else { super::ADDED_IMPORTS };
        function + added
    }
}

/// An instruction and what is around it.
pub(super) struct Place<'p, 'a> {
    pub(super) operator: &'p Operator<'a>,
    pub(super) previous: Option<&'p Operator<'a>>,
    pub(super) next: Option<&'p Operator<'a>>,
    /// As it is before the instruction.
    pub(super) validator: &'p FuncValidator<ValidatorResources>,
    pub(super) callees: &'p Callees<'p>,
}

type Code = Vec<Instruction<'static>>;

/// Returns what this kind of mistake makes of an instruction, drawn from `rng`; nothing, if it cannot be made there.
pub(super) fn mutation(class: CodeClass, place: &Place<'_, '_>, rng: &mut Rng) -> Option<Mutation> {
    if place.validator.get_control_frame(0).is_none_or(|frame| frame.unreachable) {
        return None;
    }
    match class {
        CodeClass::Source => source(place, rng),
        CodeClass::Destination => destination(place, rng),
        CodeClass::Operation => {
            let (other, ty) = other_operation(place.operator, rng)?;
            place.instead([ty, ty], [ty], vec![other])
        }
        CodeClass::Constant => constant(place, rng),
        CodeClass::Condition => condition(place, rng),
        CodeClass::Branch => branch(place, rng),
        CodeClass::Pointer => pointer(place, rng),
        CodeClass::LoopBound => {
            let ends_loop = place.in_loop() && matches!(place.next, Some(Operator::BrIf { .. }));
            let (other, ty) = off_by_one(place.operator).filter(|_| ends_loop)?;
            place.instead([ty, ty], [ValType::I32], vec![other])
        }
        CodeClass::Initialisation => initialisation(place),
        CodeClass::Stack => stack(place, rng),
        CodeClass::BulkLength => bulk_length(place, rng),
        CodeClass::Leak => leak(place),
        CodeClass::DoubleReturn => double_return(place),
        CodeClass::Argument => argument(place, rng),
        CodeClass::RegisterWrite => {
            let (name, ty) = place.hostcall()?;
            if name.starts_with("mmio_write") { place.left_out(ty, &format!("{name} is left out")) } else { None }
        }
        CodeClass::EndlessLoop => endless_loop(place),
        CodeClass::Barrier => match place.operator {
            Operator::AtomicFence => place.instead([], [], vec![]),
            _ => {
                let (name, ty) = place.hostcall()?;
                if name == "mmio_flush" { place.left_out(ty, "mmio_flush is left out") } else { None }
            }
        },
    }
}

impl Place<'_, '_> {
    fn local_type(&self, local: u32) -> Option<ValType> {
        self.validator.get_local_type(local)
    }

    fn in_loop(&self) -> bool {
        (0..self.validator.control_stack_height() as usize)
            .any(|depth| self.validator.get_control_frame(depth).is_some_and(|frame| frame.kind == FrameKind::Loop))
    }

    /// Returns the type of what is on the stack, if that is known.
    fn operand(&self, depth: usize) -> Option<ValType> {
        self.validator.get_operand_type(depth).flatten()
    }

    fn instead(
        &self,
        params: impl Into<Vec<ValType>>,
        results: impl Into<Vec<ValType>>,
        code: Code,
    ) -> Option<Mutation> {
        let is = if code.is_empty() { "nothing".to_owned() } else { format!("{code:?}") };
        let what = format!("{:?} is {is}", self.operator);
        Some(Mutation { ty: FuncType::new(params.into(), results.into()), code, before: false, what })
    }

    /// Changes the operand on top of the stack.
    fn before(&self, ty: ValType, code: Code, what: &str) -> Option<Mutation> {
        let what = format!("{:?}: {what}", self.operator);
        Some(Mutation { ty: FuncType::new([ty], [ty]), code, before: true, what })
    }

    /// Returns the name and type of the hostcall that the instruction is.
    fn hostcall(&self) -> Option<(&str, &FuncType)> {
        let Operator::Call { function_index } = *self.operator else { return None };
        let (module, name) = *self.callees.imports.get(function_index as usize)?;
        (module == IMPORT_MODULE).then_some((name, self.callees.types[function_index as usize]))
    }

    /// Returns the type of the driver's own function that is called.
    fn own_call(&self) -> Option<(u32, &FuncType)> {
        let Operator::Call { function_index } = *self.operator else { return None };
        let own = function_index as usize >= self.callees.imports.len();
        own.then(|| (self.callees.shifted(function_index), self.callees.types[function_index as usize]))
    }

    /// Leaves a call out: its arguments go nowhere, its results are zero.
    fn left_out(&self, ty: &FuncType, what: &str) -> Option<Mutation> {
        let mut code: Code = ty.params().iter().map(|_| Instruction::Drop).collect();
        for result in ty.results() {
            code.push(zero(*result)?);
        }
        Some(Mutation { ty: ty.clone(), code, before: false, what: what.to_owned() })
    }

    /// Returns the address type's other side of a load or store: what it takes, what it leaves, and where.
    fn access(&self) -> Option<(Vec<ValType>, Vec<ValType>, MemArg)> {
        use Operator as O;
        Some(match *self.operator {
            O::I32Load { memarg }
            | O::I32Load8S { memarg }
            | O::I32Load8U { memarg }
            | O::I32Load16S { memarg }
            | O::I32Load16U { memarg } => (vec![ValType::I32], vec![ValType::I32], memarg),
            O::I64Load { memarg }
            | O::I64Load8S { memarg }
            | O::I64Load8U { memarg }
            | O::I64Load16S { memarg }
            | O::I64Load16U { memarg }
            | O::I64Load32S { memarg }
            | O::I64Load32U { memarg } => (vec![ValType::I32], vec![ValType::I64], memarg),
            O::V128Load { memarg } => (vec![ValType::I32], vec![ValType::V128], memarg),
            O::I32Store { memarg } | O::I32Store8 { memarg } | O::I32Store16 { memarg } => {
                (vec![ValType::I32, ValType::I32], vec![], memarg)
            }
            O::I64Store { memarg } | O::I64Store8 { memarg } | O::I64Store16 { memarg } | O::I64Store32 { memarg } => {
                (vec![ValType::I32, ValType::I64], vec![], memarg)
            }
            O::V128Store { memarg } => (vec![ValType::I32, ValType::V128], vec![], memarg),
            _ => return None,
        })
    }

    /// Returns what an atomic store stores: by such ones, entries and descriptors are published.
    fn published(&self) -> Option<ValType> {
        match self.operator {
            Operator::I32AtomicStore { .. } => Some(ValType::I32),
            Operator::I64AtomicStore { .. } => Some(ValType::I64),
            _ => None,
        }
    }
}

fn zero(ty: ValType) -> Option<Instruction<'static>> {
    match ty {
        ValType::I32 => Some(Instruction::I32Const(0)),
        ValType::I64 => Some(Instruction::I64Const(0)),
        _ => None,
    }
}

/// Draws another variable of the same type.
fn other_local(place: &Place<'_, '_>, local: u32, rng: &mut Rng) -> Option<(u32, ValType)> {
    let ty = place.local_type(local)?;
    let others: Vec<_> = (0..place.validator.len_locals())
        .filter(|&other| other != local && place.local_type(other) == Some(ty))
        .collect();
    Some((*others.get(rng.index(others.len()))?, ty))
}

fn source(place: &Place<'_, '_>, rng: &mut Rng) -> Option<Mutation> {
    let Operator::LocalGet { local_index } = *place.operator else { return None };
    let (other, ty) = other_local(place, local_index, rng)?;
    place.instead([], [ty], vec![Instruction::LocalGet(other)])
}

fn destination(place: &Place<'_, '_>, rng: &mut Rng) -> Option<Mutation> {
    match *place.operator {
        Operator::LocalSet { local_index } => {
            let (other, ty) = other_local(place, local_index, rng)?;
            place.instead([ty], [], vec![Instruction::LocalSet(other)])
        }
        Operator::LocalTee { local_index } => {
            let (other, ty) = other_local(place, local_index, rng)?;
            place.instead([ty], [ty], vec![Instruction::LocalTee(other)])
        }
        _ => None,
    }
}

fn other_number(value: i64, bits: u64, rng: &mut Rng) -> i64 {
    let other = match rng.below(4) {
        0 => value.wrapping_add(1),
        1 => value.wrapping_sub(1),
        2 => value ^ (1 << rng.below(bits)),
        _ => 0,
    };
    if other == value { value.wrapping_add(1) } else { other }
}

fn constant(place: &Place<'_, '_>, rng: &mut Rng) -> Option<Mutation> {
    match *place.operator {
        Operator::I32Const { value } => {
            let other = other_number(value.into(), 32, rng) as i32;
            place.instead([], [ValType::I32], vec![Instruction::I32Const(other)])
        }
        Operator::I64Const { value } => {
            place.instead([], [ValType::I64], vec![Instruction::I64Const(other_number(value, 64, rng))])
        }
        _ => None,
    }
}

fn condition(place: &Place<'_, '_>, rng: &mut Rng) -> Option<Mutation> {
    match place.operator {
        Operator::I32Eqz => {
            place.instead([ValType::I32], [ValType::I32], vec![Instruction::I32Const(0), Instruction::I32Ne])
        }
        Operator::I64Eqz => {
            place.instead([ValType::I64], [ValType::I32], vec![Instruction::I64Const(0), Instruction::I64Ne])
        }
        operator => {
            let (other, ty) = other_comparison(operator, rng)?;
            place.instead([ty, ty], [ValType::I32], vec![other])
        }
    }
}

fn branch(place: &Place<'_, '_>, rng: &mut Rng) -> Option<Mutation> {
    if !matches!(place.operator, Operator::BrIf { .. } | Operator::If { .. }) {
        return None;
    }
    let forced = |value| vec![Instruction::Drop, Instruction::I32Const(value)];
    match rng.below(3) {
        0 => place.before(ValType::I32, vec![Instruction::I32Eqz], "when it should not be taken"),
        1 => place.before(ValType::I32, forced(0), "never taken"),
        _ => place.before(ValType::I32, forced(1), "always taken"),
    }
}

fn pointer(place: &Place<'_, '_>, rng: &mut Rng) -> Option<Mutation> {
    let (params, results, memarg) = place.access()?;
    let by = match rng.below(3) {
        0 => 1 << rng.below(4),
        1 => 1 << (4 + rng.below(8)),
        _ => 1 << (12 + rng.below(14)),
    };
    let offset = if rng.one_in(2) && memarg.offset >= by { memarg.offset - by } else { memarg.offset + by };
    let moved = with_offset(place.operator, offset)?;
    let code = vec![moved];
    let what = format!("{:?} goes to offset {offset:#x}", place.operator);
    Some(Mutation { ty: FuncType::new(params, results), code, before: false, what })
}

/// Returns a load or store with another offset.
fn with_offset(operator: &Operator<'_>, offset: u64) -> Option<Instruction<'static>> {
    use Instruction as I;
    use Operator as O;
    let at = |memarg: &MemArg| wasm_encoder::MemArg { offset, align: memarg.align.into(), memory_index: memarg.memory };
    Some(match operator {
        O::I32Load { memarg } => I::I32Load(at(memarg)),
        O::I32Load8S { memarg } => I::I32Load8S(at(memarg)),
        O::I32Load8U { memarg } => I::I32Load8U(at(memarg)),
        O::I32Load16S { memarg } => I::I32Load16S(at(memarg)),
        O::I32Load16U { memarg } => I::I32Load16U(at(memarg)),
        O::I64Load { memarg } => I::I64Load(at(memarg)),
        O::I64Load8S { memarg } => I::I64Load8S(at(memarg)),
        O::I64Load8U { memarg } => I::I64Load8U(at(memarg)),
        O::I64Load16S { memarg } => I::I64Load16S(at(memarg)),
        O::I64Load16U { memarg } => I::I64Load16U(at(memarg)),
        O::I64Load32S { memarg } => I::I64Load32S(at(memarg)),
        O::I64Load32U { memarg } => I::I64Load32U(at(memarg)),
        O::V128Load { memarg } => I::V128Load(at(memarg)),
        O::I32Store { memarg } => I::I32Store(at(memarg)),
        O::I32Store8 { memarg } => I::I32Store8(at(memarg)),
        O::I32Store16 { memarg } => I::I32Store16(at(memarg)),
        O::I64Store { memarg } => I::I64Store(at(memarg)),
        O::I64Store8 { memarg } => I::I64Store8(at(memarg)),
        O::I64Store16 { memarg } => I::I64Store16(at(memarg)),
        O::I64Store32 { memarg } => I::I64Store32(at(memarg)),
        O::V128Store { memarg } => I::V128Store(at(memarg)),
        _ => return None,
    })
}

fn is_constant(operator: Option<&Operator<'_>>) -> bool {
    matches!(operator, Some(Operator::I32Const { .. } | Operator::I64Const { .. } | Operator::V128Const { .. }))
}

fn initialisation(place: &Place<'_, '_>) -> Option<Mutation> {
    if !is_constant(place.previous) {
        return None;
    }
    if let Operator::LocalSet { local_index } = *place.operator {
        return place.instead([place.local_type(local_index)?], [], vec![Instruction::Drop]);
    }
    let (params, results, _) = place.access()?;
    if !results.is_empty() {
        return None;
    }
    place.instead(params, results, vec![Instruction::Drop, Instruction::Drop])
}

fn stack(place: &Place<'_, '_>, rng: &mut Rng) -> Option<Mutation> {
    let Operator::GlobalSet { global_index } = *place.operator else { return None };
    // Linkers put the stack pointer first, and C and Rust have no other global.
    if global_index != 0 || place.operand(0) != Some(ValType::I32) {
        return None;
    }
    match rng.below(3) {
        0 => place.instead([ValType::I32], [], vec![Instruction::Drop]),
        1 => place.before(
            ValType::I32,
            vec![Instruction::I32Const(16 << rng.below(4)), Instruction::I32Add],
            "some bytes higher",
        ),
        _ => place.before(
            ValType::I32,
            vec![Instruction::I32Const(16 << rng.below(16)), Instruction::I32Sub],
            "some bytes lower",
        ),
    }
}

fn bulk_length(place: &Place<'_, '_>, rng: &mut Rng) -> Option<Mutation> {
    if !matches!(place.operator, Operator::MemoryCopy { .. } | Operator::MemoryFill { .. }) {
        return None;
    }
    match rng.below(3) {
        0 => place.before(ValType::I32, vec![Instruction::I32Const(1), Instruction::I32Shl], "twice the length"),
        1 => place.before(ValType::I32, vec![Instruction::I32Const(1), Instruction::I32ShrU], "half the length"),
        _ => {
            let more = 1 << rng.below(20);
            place.before(ValType::I32, vec![Instruction::I32Const(more), Instruction::I32Add], "a longer one")
        }
    }
}

/// Hostcalls by which something is given back or asked for.
const RETURNS: [&str; 5] = ["dma_free", "timer_set", "work_schedule", "poll_schedule", "irq_enable"];

fn leak(place: &Place<'_, '_>) -> Option<Mutation> {
    if let Some(ty) = place.published() {
        return place.instead([ValType::I32, ty], [], vec![Instruction::Drop, Instruction::Drop]);
    }
    if let Some((name, ty)) = place.hostcall() {
        return RETURNS.contains(&name).then(|| place.left_out(ty, &format!("{name} is left out")))?;
    }
    let (function, ty) = place.own_call()?;
    if !ty.results().is_empty() {
        return None;
    }
    place.left_out(ty, &format!("the call of function {function} is left out"))
}

fn double_return(place: &Place<'_, '_>) -> Option<Mutation> {
    let (one, add) = match place.published()? {
        ValType::I32 => (Instruction::I32Const(1), Instruction::I32Add),
        _ => (Instruction::I64Const(1), Instruction::I64Add),
    };
    place.before(place.published()?, vec![one, add], "one more than there is")
}

fn argument(place: &Place<'_, '_>, rng: &mut Rng) -> Option<Mutation> {
    let Operator::Call { function_index } = *place.operator else { return None };
    let (module, name) = *place.callees.imports.get(function_index as usize)?;
    if module == HINT_MODULE {
        return None;
    }
    let what = format!("another last argument of {name}");
    match *place.callees.types[function_index as usize].params().last()? {
        ValType::I32 => {
            let code = match rng.below(4) {
                0 => vec![Instruction::I32Const(1), Instruction::I32Add],
                1 => vec![Instruction::I32Const(1 << rng.below(31)), Instruction::I32Xor],
                2 => vec![Instruction::Drop, Instruction::I32Const(0)],
                _ => vec![Instruction::Drop, Instruction::I32Const(-1)],
            };
            place.before(ValType::I32, code, &what)
        }
        ValType::I64 => {
            let code = vec![Instruction::I64Const(1 << rng.below(63)), Instruction::I64Xor];
            place.before(ValType::I64, code, &what)
        }
        _ => None,
    }
}

fn endless_loop(place: &Place<'_, '_>) -> Option<Mutation> {
    let Operator::BrIf { relative_depth } = *place.operator else { return None };
    let frame = |depth: u32| place.validator.get_control_frame(depth as usize);
    let is_loop = |depth: u32| frame(depth).is_some_and(|frame| frame.kind == FrameKind::Loop);
    if is_loop(relative_depth) {
        return place.before(ValType::I32, vec![Instruction::Drop, Instruction::I32Const(1)], "once more, always");
    }
    // Out of a loop.
    if !(0..relative_depth).any(is_loop) {
        return None;
    }
    place.before(ValType::I32, vec![Instruction::Drop, Instruction::I32Const(0)], "never out of the loop")
}

/// Writes an instruction as it is, with the indices of a module to which functions were added.
pub(super) struct Shifted<'c, 'a>(pub(super) &'c Callees<'a>);

impl Reencode for Shifted<'_, '_> {
    type Error = std::convert::Infallible;

    fn function_index(&mut self, function: u32) -> Result<u32, wasm_encoder::reencode::Error<Self::Error>> {
        Ok(self.0.shifted(function))
    }
}

/// Writes a type.
pub(super) fn val_type(ty: ValType) -> Option<wasm_encoder::ValType> {
    RoundtripReencoder.val_type(ty).ok()
}
