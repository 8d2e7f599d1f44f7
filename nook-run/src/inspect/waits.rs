//! Loops that wait for memory to change without a barrier: the device would have to be seen writing, and the code does
//! not make the host's compiler look again.
//!
//! A hostcall is a barrier at every level, so stores before a doorbell can lack none: the doorbell is one itself. What
//! can lack one is a wait for a word that the device writes. A loop is found if nothing in it is a barrier (a call, an
//! atomic access, a fence, a store or a bulk instruction), and whether it goes on depends on what a plain load gives
//! from an address that is the same in each round. In memory of the driver alone such a loop ends in its first round
//! or never, so compilers of good code leave none. The analysis sees one function at a time, with what was compiled
//! into it.

use std::collections::{BTreeSet, HashMap};

use anyhow::Result;
use wasmparser::{FuncValidatorAllocations, Operator, ValidPayload, Validator, WasmFeatures};

/// A loop that waits.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Wait {
    /// The function, by its number in the module.
    pub(super) function: u32,
    /// The load, in bytes from the start of the module.
    pub(super) offset: usize,
}

/// How a value differs from round to round.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Value {
    /// Not at all.
    Same,
    /// It was read by the plain load there, from an address that does not.
    Loaded(usize),
    /// It may.
    Other,
}

impl Value {
    /// Returns what is computed of two.
    fn with(self, other: Value) -> Value {
        match (self, other) {
            (Value::Other, _) | (_, Value::Other) => Value::Other,
            (Value::Same, value) => value,
            (value, _) => value,
        }
    }

    /// Returns what is known where two paths join.
    fn or(self, other: Value) -> Value {
        if self == other { self } else { Value::Other }
    }
}

/// An instruction.
struct Step<'a> {
    operator: Operator<'a>,
    /// The first byte of its code.
    opcode: u8,
    offset: usize,
    pops: usize,
    /// How high the operand stack is after it.
    height: usize,
}

/// Finds the loops of a driver's file that wait without a barrier, each by its load.
///
/// # Errors
/// If it is not a valid module.
pub(super) fn waits(wasm: &[u8]) -> Result<Vec<Wait>> {
    let mut validator = Validator::new_with_features(WasmFeatures::all());
    let (mut found, mut scratch) = (BTreeSet::new(), FuncValidatorAllocations::default());
    for payload in wasmparser::Parser::new(0).parse_all(wasm) {
        let ValidPayload::Func(function, body) = validator.payload(&payload?)? else { continue };
        let number = function.index;
        let mut checked = function.into_validator(scratch);
        checked.read_locals(&mut body.get_binary_reader())?;
        let mut steps = Vec::new();
        for operator in body.get_operators_reader()?.into_iter_with_offsets() {
            let (operator, offset) = operator?;
            let pops = operator.operator_arity(&checked).map_or(0, |(pops, _)| pops as usize);
            checked.op(offset, &operator)?;
            let (opcode, height) = (wasm[offset], checked.operand_stack_height() as usize);
            steps.push(Step { operator, opcode, offset, pops, height });
        }
        scratch = checked.into_allocations();
        for start in (0..steps.len()).filter(|&at| matches!(steps[at].operator, Operator::Loop { .. })) {
            let offsets = in_loop(&steps, start);
            found.extend(offsets.into_iter().map(|offset| Wait { function: number, offset }));
        }
    }
    Ok(found.into_iter().collect())
}

/// Returns the index of the `end` of the block that begins at `start`.
fn end_of(steps: &[Step<'_>], start: usize) -> usize {
    let mut depth = 0;
    for (at, step) in steps.iter().enumerate().skip(start) {
        match step.operator {
            Operator::Block { .. } | Operator::Loop { .. } | Operator::If { .. } => depth += 1,
            Operator::End if depth == 1 => return at,
            Operator::End => depth -= 1,
            _ => {}
        }
    }
    steps.len()
}

/// Returns the loads by which the loop at `start` waits, if nothing in it is a barrier.
fn in_loop(steps: &[Step<'_>], start: usize) -> BTreeSet<usize> {
    let round = &steps[start + 1..end_of(steps, start)];
    let loads = round.iter().any(|step| is_load(step.opcode));
    if !loads || round.iter().any(|step| is_barrier(step.opcode)) {
        return BTreeSet::new();
    }
    let assigned = assigned(round);
    let mut before: HashMap<u32, Value> = assigned.iter().map(|&local| (local, Value::Other)).collect();
    // What a local has at the end of each round, it has at the beginning of the next one.
    let mut first = Walk::of(steps[start].height, before.clone(), &assigned);
    first.walk(round);
    before.extend(first.again.unwrap_or_default());
    let mut second = Walk::of(steps[start].height, before, &assigned);
    second.walk(round);
    second.found
}

/// Returns the locals that are assigned.
fn assigned(steps: &[Step<'_>]) -> BTreeSet<u32> {
    let local = |step: &Step<'_>| match step.operator {
        Operator::LocalSet { local_index } | Operator::LocalTee { local_index } => Some(local_index),
        _ => None,
    };
    steps.iter().filter_map(local).collect()
}

/// A block that is open.
struct Open {
    /// The locals that were assigned in it.
    assigned: BTreeSet<u32>,
    /// How high the operand stack was where it began.
    height: usize,
}

/// One round of a loop, read from its beginning to its end.
struct Walk<'w> {
    stack: Vec<Value>,
    /// Of locals that are assigned in the loop; all others are the same in each round.
    locals: HashMap<u32, Value>,
    assigned: &'w BTreeSet<u32>,
    open: Vec<Open>,
    /// The locals where the next round begins, once that was seen.
    again: Option<HashMap<u32, Value>>,
    found: BTreeSet<usize>,
}

impl<'w> Walk<'w> {
    fn of(height: usize, locals: HashMap<u32, Value>, assigned: &'w BTreeSet<u32>) -> Self {
        let stack = vec![Value::Other; height];
        Walk { stack, locals, assigned, open: Vec::new(), again: None, found: BTreeSet::new() }
    }

    fn pop(&mut self) -> Value {
        self.stack.pop().unwrap_or(Value::Other)
    }

    fn walk(&mut self, round: &[Step<'_>]) {
        for (at, step) in round.iter().enumerate() {
            let value = self.step(round, at);
            // After a jump, code that is never reached has what the validator says.
            self.stack.truncate(step.height);
            self.stack.resize(step.height, value);
        }
    }

    /// Does what an instruction does, and returns what it pushes, if it does.
    fn step(&mut self, round: &[Step<'_>], at: usize) -> Value {
        let step = &round[at];
        match &step.operator {
            Operator::LocalGet { local_index } => self.locals.get(local_index).copied().unwrap_or(Value::Same),
            Operator::LocalSet { local_index } | Operator::LocalTee { local_index } => {
                let value = self.pop();
                self.locals.insert(*local_index, value);
                for block in &mut self.open {
                    block.assigned.insert(*local_index);
                }
                value
            }
            Operator::GlobalGet { .. } => {
                let assigns = |step: &Step<'_>| matches!(step.operator, Operator::GlobalSet { .. });
                if round.iter().any(assigns) { Value::Other } else { Value::Same }
            }
            Operator::Loop { .. } => {
                // In its later rounds, they may be others.
                for local in assigned(&round[at..end_of(round, at)]) {
                    self.locals.insert(local, Value::Other);
                }
                self.begin()
            }
            Operator::Block { .. } => self.begin(),
            Operator::If { .. } => {
                self.pop();
                self.begin()
            }
            Operator::Else | Operator::End => {
                // Another path comes here, with other values, and locals that were not assigned.
                if let Some(Open { assigned, height }) = self.open.pop() {
                    self.stack.truncate(height);
                    self.locals.extend(assigned.iter().map(|&local| (local, Value::Other)));
                    if matches!(step.operator, Operator::Else) {
                        self.open.push(Open { assigned, height });
                    }
                }
                Value::Other
            }
            Operator::Br { relative_depth } => self.branch(*relative_depth, Value::Same),
            Operator::BrIf { relative_depth } => {
                let condition = self.pop();
                self.branch(*relative_depth, condition)
            }
            Operator::BrTable { targets } => {
                let condition = self.pop();
                for depth in targets.targets().map_while(Result::ok).chain([targets.default()]) {
                    self.branch(depth, condition);
                }
                Value::Other
            }
            _ if is_load(step.opcode) => match self.pop() {
                Value::Same | Value::Loaded(_) => Value::Loaded(step.offset),
                Value::Other => Value::Other,
            },
            _ => (0..step.pops).fold(Value::Same, |value, _| value.with(self.pop())),
        }
    }

    /// Begins a block.
    fn begin(&mut self) -> Value {
        self.open.push(Open { assigned: BTreeSet::new(), height: self.stack.len() });
        Value::Other
    }

    /// A branch that is taken on this condition.
    fn branch(&mut self, depth: u32, condition: Value) -> Value {
        let inside = self.open.len() as u32;
        if depth == inside {
            self.next_round();
        }
        if let Value::Loaded(offset) = condition
            && depth >= inside
        {
            self.found.insert(offset);
        }
        Value::Other
    }

    /// Takes note of the locals where the next round begins.
    fn next_round(&mut self) {
        let before = self.again.take();
        let value = |local: &u32| {
            let now = self.locals.get(local).copied().unwrap_or(Value::Other);
            let before = before.as_ref().map_or(Some(now), |before| before.get(local).copied());
            (*local, before.map_or(Value::Other, |before| before.or(now)))
        };
        self.again = Some(self.assigned.iter().map(value).collect());
    }
}

/// Returns whether it is a plain load of a number, by the first byte of its code (WebAssembly core specification, index
/// of instructions).
fn is_load(opcode: u8) -> bool {
    matches!(opcode, 0x28..=0x35)
}

/// Returns whether what was loaded before it is loaded again after it: anything but what only computes with numbers,
/// moves them between locals and operand stack, jumps, or loads plainly. Vectors and what is not known count as one.
fn is_barrier(opcode: u8) -> bool {
    let jumps = matches!(opcode, 0x00..=0x0f);
    let moves = matches!(opcode, 0x1a..=0x1c | 0x20..=0x24 | 0x3f);
    let computes = matches!(opcode, 0x41..=0xc4);
    !(jumps || moves || computes || is_load(opcode))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Returns how many loops of a function with this body wait without a barrier. Its parameter is an address.
    fn found(body: &str) -> usize {
        let text = format!(
            r#"(module (import "nook" "clock_ns" (func $clock (result i64))) (memory 1)
                 (func $wait (param $at i32) (result i32) (local $value i32) (local $count i32) {body}))"#
        );
        waits(&wat::parse_str(&text).unwrap_or_else(|error| panic!("{error}\n{text}"))).unwrap().len()
    }

    #[test]
    fn a_loop_that_waits_for_a_plain_load_is_found_however_it_is_written() {
        for body in [
            "(loop $again (br_if $again (i32.eqz (i32.load (local.get $at))))) (i32.const 0)",
            // Also through a value that is kept, and a condition that is computed of it.
            "(loop $again (local.set $value (i32.load offset=12 (local.get $at)))
                (br_if $again (i32.eqz (i32.and (local.get $value) (i32.const 1))))) (local.get $value)",
            // It leaves in the middle, and the load is that of the round before.
            "(local.set $value (i32.load (local.get $at)))
                (block $done (loop $again (br_if $done (i32.and (local.get $value) (i32.const 1)))
                    (local.set $value (i32.load (local.get $at))) (br $again))) (local.get $value)",
            // With a limit of rounds.
            "(block $done (loop $again
                (br_if $done (i32.load8_u (local.get $at)))
                (br_if $again (i32.lt_u (local.tee $count (i32.add (local.get $count) (i32.const 1))) (i32.const 1000)))))
                (local.get $count)",
            // Through a pointer in memory.
            "(loop $again (br_if $again (i32.eqz (i32.load (i32.load (i32.const 1024)))))) (i32.const 0)",
        ] {
            assert_eq!(found(body), 1, "{body}");
        }
    }

    #[test]
    fn one_with_a_barrier_is_not() {
        for barrier in [
            "(drop (call $clock))",
            "(atomic.fence)",
            "(i32.store (i32.const 64) (i32.const 1))",
            "(memory.fill (i32.const 64) (i32.const 0) (i32.const 1))",
        ] {
            let body =
                format!("(loop $again {barrier} (br_if $again (i32.eqz (i32.load (local.get $at))))) (i32.const 0)");
            assert_eq!(found(&body), 0, "{body}");
        }
        let atomic = "(loop $again (br_if $again (i32.eqz (i32.atomic.load (local.get $at))))) (i32.const 0)";
        assert_eq!(found(atomic), 0);
    }

    #[test]
    fn one_that_looks_at_something_else_in_each_round_is_not() {
        for body in [
            // The length of a text.
            "(loop $again (local.set $value (i32.load8_u (local.get $at)))
                (local.set $at (i32.add (local.get $at) (i32.const 1))) (br_if $again (local.get $value))) (local.get $at)",
            // A list.
            "(loop $again (br_if $again (local.tee $at (i32.load (local.get $at))))) (local.get $at)",
            // As many rounds as a word in memory says.
            "(loop $again (local.set $count (i32.add (local.get $count) (i32.const 1)))
                (br_if $again (i32.lt_u (local.get $count) (i32.load (local.get $at))))) (local.get $count)",
            // It does not decide whether the loop goes on.
            "(loop $again (block $skip (br_if $skip (i32.load (local.get $at)))
                    (local.set $value (i32.const 7)))
                (br_if $again (i32.lt_u (local.tee $count (i32.add (local.get $count) (i32.const 1))) (i32.const 9))))
                (local.get $value)",
        ] {
            assert_eq!(found(body), 0, "{body}");
        }
    }
}
