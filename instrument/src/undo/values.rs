//! What is known of addresses: each value of a function is a root and a distance from it.
//!
//! Two values with the same root and distance are equal whenever both exist, because a root stands for one place in the
//! function and is replaced by a new one wherever paths join. Nothing more is claimed: values with different roots may
//! be equal too.

use std::collections::{HashMap, HashSet};

use wasmparser::Operator;

use super::Refused;
use super::module::Shape;
use super::planted::{Planted, flawed};
use super::stores::{StoreOp, refused, store_op};
use crate::sections::Body;

/// `root + plus`, modulo 2^32. Root 0 is zero, so that `plus` is a constant.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(super) struct Value {
    pub(super) root: u32,
    pub(super) plus: u32,
}

impl Value {
    pub(super) const fn constant(plus: u32) -> Value {
        Value { root: 0, plus }
    }
}

/// What happens at one instruction.
#[derive(Clone, Debug)]
pub(super) enum Event {
    /// A store of fixed width to `address + offset`.
    Store(StoreOp, Value),
    /// A bulk instruction: where to.
    Bulk(Value),
    /// A write of the stack pointer; whether its value was read from there and unchanged.
    StackPointer(bool),
    /// The beginning of a loop, and the index of its end.
    Loop(usize),
}

/// One instruction that the pass looks at.
#[derive(Clone, Debug)]
pub(super) struct Seen {
    pub(super) event: Event,
    /// The values of the locals before it.
    pub(super) locals: Vec<Value>,
}

/// A function, read once.
pub(super) struct Analysis<'a> {
    pub(super) operators: Vec<Operator<'a>>,
    /// Where each begins in the module, and where the last one ends.
    pub(super) offsets: Vec<usize>,
    pub(super) seen: HashMap<usize, Seen>,
    /// Whether control can reach the instruction at all.
    pub(super) reachable: Vec<bool>,
    /// Roots that are values of the stack pointer.
    pub(super) stack_roots: HashSet<u32>,
}

/// A block that is open.
struct Open {
    start: Option<usize>,
    height: usize,
}

#[derive(Clone, Copy, PartialEq, Eq, Hash)]
enum Binary {
    Add,
    Sub,
    Shl,
    And,
    Or,
    Mul,
}

struct Walk {
    roots: u32,
    stack: Vec<Value>,
    locals: Vec<Value>,
    open: Vec<Open>,
    computed: HashMap<(Binary, Value, Value), Value>,
}

impl Walk {
    fn fresh(&mut self) -> Value {
        self.roots += 1;
        Value { root: self.roots, plus: 0 }
    }

    fn pop(&mut self) -> Value {
        let floor = self.open.last().map_or(0, |open| open.height);
        // Below the floor is what code that is never reached takes from nowhere.
        if self.stack.len() > floor { self.stack.pop().expect("above the floor") } else { self.fresh() }
    }

    fn forget(&mut self, locals: &[u32]) {
        for &local in locals {
            self.locals[local as usize] = self.fresh();
        }
    }

    fn binary(&mut self, what: Binary) {
        let b = self.pop();
        let a = self.pop();
        let value = match what {
            Binary::Add if b.root == 0 => Value { root: a.root, plus: a.plus.wrapping_add(b.plus) },
            Binary::Add if a.root == 0 => Value { root: b.root, plus: a.plus.wrapping_add(b.plus) },
            Binary::Sub if b.root == 0 => Value { root: a.root, plus: a.plus.wrapping_sub(b.plus) },
            _ => {
                let swaps = !matches!(what, Binary::Sub | Binary::Shl);
                let key = if swaps && b < a { (what, b, a) } else { (what, a, b) };
                match self.computed.get(&key) {
                    Some(&value) => value,
                    None => {
                        let value = self.fresh();
                        self.computed.insert(key, value);
                        value
                    }
                }
            }
        };
        self.stack.push(value);
    }
}

impl<'a> Analysis<'a> {
    pub(super) fn of(body: Body<'a>, shape: &Shape<'_>, function: u32, planted: Planted) -> Result<Self, Refused> {
        let mut validator = body.validator.into_validator(Default::default());
        validator.read_locals(&mut body.code.get_binary_reader())?;
        let (mut operators, mut offsets) = (Vec::new(), Vec::new());
        let mut reader = body.code.get_operators_reader()?;
        while !reader.eof() {
            offsets.push(reader.original_position());
            operators.push(reader.read()?);
        }
        offsets.push(reader.original_position());
        let blocks = Blocks::of(&operators);
        let mut analysis = Analysis {
            operators: Vec::new(),
            offsets: Vec::new(),
            seen: HashMap::new(),
            reachable: Vec::with_capacity(operators.len()),
            stack_roots: HashSet::new(),
        };
        let mut walk = Walk {
            roots: 0,
            stack: Vec::new(),
            locals: Vec::new(),
            open: vec![Open { start: None, height: 0 }],
            computed: HashMap::new(),
        };
        let parameters = shape.sections.function_type(function).params().len();
        for local in 0..validator.len_locals() as usize {
            let value = if local < parameters { walk.fresh() } else { Value::constant(0) };
            walk.locals.push(value);
        }
        let pointer = shape.stack.map(|stack| stack.pointer);
        for (at, operator) in operators.iter().enumerate() {
            let offset = offsets[at];
            if let Some(what) = refused(operator) {
                return Err(Refused::Instruction { what, function, offset });
            }
            let reachable = validator.get_control_frame(0).is_some_and(|frame| !frame.unreachable);
            analysis.reachable.push(reachable);
            let (pops, pushes) = operator.operator_arity(&validator).ok_or(Refused::Instruction {
                what: "an instruction of unknown arity",
                function,
                offset,
            })?;
            let mut see = |event, locals: &[Value]| {
                analysis.seen.insert(at, Seen { event, locals: locals.to_vec() });
            };
            match operator {
                Operator::LocalGet { local_index } => walk.stack.push(walk.locals[*local_index as usize]),
                Operator::LocalSet { local_index } => walk.locals[*local_index as usize] = walk.pop(),
                Operator::LocalTee { local_index } => {
                    let value = walk.pop();
                    walk.locals[*local_index as usize] = value;
                    walk.stack.push(value);
                }
                Operator::I32Const { value } => walk.stack.push(Value::constant(value.cast_unsigned())),
                Operator::I32Add => walk.binary(Binary::Add),
                Operator::I32Sub => walk.binary(Binary::Sub),
                Operator::I32Shl => walk.binary(Binary::Shl),
                Operator::I32And => walk.binary(Binary::And),
                Operator::I32Or => walk.binary(Binary::Or),
                Operator::I32Mul => walk.binary(Binary::Mul),
                Operator::GlobalGet { global_index } if Some(*global_index) == pointer => {
                    let value = walk.fresh();
                    analysis.stack_roots.insert(value.root);
                    walk.stack.push(value);
                }
                Operator::GlobalSet { global_index } if Some(*global_index) == pointer => {
                    let value = walk.pop();
                    let unchanged = value.plus == 0 && analysis.stack_roots.contains(&value.root);
                    see(Event::StackPointer(unchanged), &walk.locals);
                }
                Operator::MemoryCopy { .. } | Operator::MemoryFill { .. } | Operator::MemoryInit { .. } => {
                    walk.pop();
                    walk.pop();
                    let to = walk.pop();
                    see(Event::Bulk(to), &walk.locals);
                }
                Operator::Block { .. } | Operator::Loop { .. } | Operator::If { .. } => {
                    for _ in 0..pops {
                        walk.pop();
                    }
                    if let Operator::Loop { .. } = operator {
                        see(Event::Loop(blocks.ends[&at]), &walk.locals);
                        if !flawed!(planted, HoistVariantAddress) {
                            walk.forget(&blocks.changed[&at]);
                        }
                    }
                    walk.open.push(Open { start: Some(at), height: walk.stack.len() });
                    push(&mut walk, pushes);
                }
                Operator::Else | Operator::End => {
                    let Some(open) = walk.open.last() else { break };
                    let (start, height) = (open.start, open.height);
                    walk.stack.truncate(height);
                    if let Some(start) = start {
                        walk.forget(&blocks.changed[&start]);
                    }
                    if let Operator::End = operator {
                        walk.open.pop();
                    }
                    push(&mut walk, pushes);
                }
                _ => {
                    let store = store_op(operator);
                    if let Some(mut store) = store {
                        for _ in 0..store.operands {
                            walk.pop();
                        }
                        let mut address = walk.pop();
                        // Constant addresses get one base, so that neighbours are seen to be neighbours.
                        let absolute = u64::from(address.plus) + store.memarg.offset;
                        if address.root == 0 && absolute + u64::from(store.width) <= shape.memory_bytes {
                            address = Value::constant(0);
                            store.memarg.offset = absolute;
                        }
                        see(Event::Store(store, address), &walk.locals);
                    } else {
                        for _ in 0..pops {
                            walk.pop();
                        }
                    }
                    push(&mut walk, pushes);
                }
            }
            validator.op(offset, operator)?;
        }
        analysis.operators = operators;
        analysis.offsets = offsets;
        Ok(analysis)
    }

    /// The event at an instruction that can be reached.
    pub(super) fn at(&self, index: usize) -> Option<&Seen> {
        self.seen.get(&index).filter(|_| self.reachable[index])
    }
}

fn push(walk: &mut Walk, values: u32) {
    for _ in 0..values {
        let value = walk.fresh();
        walk.stack.push(value);
    }
}

/// The extent of each block, and the locals that are set inside of it.
struct Blocks {
    ends: HashMap<usize, usize>,
    changed: HashMap<usize, Vec<u32>>,
}

impl Blocks {
    fn of(operators: &[Operator<'_>]) -> Blocks {
        let mut blocks = Blocks { ends: HashMap::new(), changed: HashMap::new() };
        let mut open: Vec<(usize, Vec<u32>)> = Vec::new();
        for (at, operator) in operators.iter().enumerate() {
            match operator {
                Operator::Block { .. } | Operator::Loop { .. } | Operator::If { .. } => open.push((at, Vec::new())),
                Operator::LocalSet { local_index } | Operator::LocalTee { local_index } => {
                    if let Some((_, changed)) = open.last_mut() {
                        changed.push(*local_index);
                    }
                }
                Operator::End => {
                    // The function's own end closes nothing that was opened here.
                    let Some((start, mut changed)) = open.pop() else { continue };
                    changed.sort_unstable();
                    changed.dedup();
                    if let Some((_, outer)) = open.last_mut() {
                        outer.extend(&changed);
                    }
                    blocks.ends.insert(start, at);
                    blocks.changed.insert(start, changed);
                }
                _ => {}
            }
        }
        blocks
    }
}
