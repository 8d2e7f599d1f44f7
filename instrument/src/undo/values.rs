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
    /// A store to declared scratch.
    Scratch,
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

struct Walk<'w> {
    blocks: &'w Blocks,
    /// The global with the stack pointer.
    pointer: Option<u32>,
    memory_bytes: u64,
    planted: Planted,
    roots: u32,
    stack: Vec<Value>,
    locals: Vec<Value>,
    open: Vec<Open>,
    computed: HashMap<(Binary, Value, Value), Value>,
    /// Roots that are values of the stack pointer.
    stack_roots: HashSet<u32>,
}

impl<'w> Walk<'w> {
    /// Creates the state at the beginning of a function with this many parameters and locals, parameters among them.
    fn new(shape: &Shape<'_>, blocks: &'w Blocks, parameters: usize, locals: usize, planted: Planted) -> Self {
        let mut walk = Walk {
            blocks,
            pointer: shape.stack.map(|stack| stack.pointer),
            memory_bytes: shape.memory_bytes,
            planted,
            roots: 0,
            stack: Vec::new(),
            locals: Vec::new(),
            open: vec![Open { start: None, height: 0 }],
            computed: HashMap::new(),
            stack_roots: HashSet::new(),
        };
        for local in 0..locals {
            let value = if local < parameters { walk.fresh() } else { Value::constant(0) };
            walk.locals.push(value);
        }
        walk
    }

    fn fresh(&mut self) -> Value {
        self.roots += 1;
        Value { root: self.roots, plus: 0 }
    }

    fn pop(&mut self) -> Value {
        let floor = self.open.last().map_or(0, |open| open.height);
        // Below the floor is what code that is never reached takes from nowhere.
        if self.stack.len() > floor { self.stack.pop().expect("above the floor") } else { self.fresh() }
    }

    fn push(&mut self, values: u32) {
        for _ in 0..values {
            let value = self.fresh();
            self.stack.push(value);
        }
    }

    fn forget(&mut self, locals: &[u32]) {
        for &local in locals {
            self.locals[local as usize] = self.fresh();
        }
    }

    /// Follows an instruction whose result is known. Says whether it is one.
    fn compute(&mut self, operator: &Operator<'_>) -> bool {
        match operator {
            Operator::LocalGet { local_index } => self.stack.push(self.locals[*local_index as usize]),
            Operator::LocalSet { local_index } => self.locals[*local_index as usize] = self.pop(),
            Operator::LocalTee { local_index } => {
                let value = self.pop();
                self.locals[*local_index as usize] = value;
                self.stack.push(value);
            }
            Operator::I32Const { value } => self.stack.push(Value::constant(value.cast_unsigned())),
            Operator::I32Add => self.binary(Binary::Add),
            Operator::I32Sub => self.binary(Binary::Sub),
            Operator::I32Shl => self.binary(Binary::Shl),
            Operator::I32And => self.binary(Binary::And),
            Operator::I32Or => self.binary(Binary::Or),
            Operator::I32Mul => self.binary(Binary::Mul),
            Operator::GlobalGet { global_index } if Some(*global_index) == self.pointer => {
                let value = self.fresh();
                self.stack_roots.insert(value.root);
                self.stack.push(value);
            }
            _ => return false,
        }
        true
    }

    /// Takes the operands of any other instruction, the one at `at`. Says what happens there.
    fn take(&mut self, at: usize, operator: &Operator<'_>, operands: u32) -> Option<Event> {
        match operator {
            Operator::GlobalSet { global_index } if Some(*global_index) == self.pointer => {
                let value = self.pop();
                let unchanged = value.plus == 0 && self.stack_roots.contains(&value.root);
                return Some(Event::StackPointer(unchanged));
            }
            Operator::MemoryCopy { .. } | Operator::MemoryFill { .. } | Operator::MemoryInit { .. } => {
                self.pop();
                self.pop();
                return Some(Event::Bulk(self.pop()));
            }
            // What is left of the values inside goes when they end.
            Operator::Else | Operator::End => return None,
            _ => {}
        }
        if let Some(store) = store_op(operator) {
            return Some(self.store(store));
        }
        for _ in 0..operands {
            self.pop();
        }
        match operator {
            Operator::Loop { .. } => Some(Event::Loop(self.blocks.ends[&at])),
            _ => None,
        }
    }

    fn store(&mut self, mut store: StoreOp) -> Event {
        for _ in 0..store.operands {
            self.pop();
        }
        let mut address = self.pop();
        // Constant addresses get one base, so that neighbours are seen to be neighbours.
        let absolute = u64::from(address.plus) + store.memarg.offset;
        if address.root == 0 && absolute + u64::from(store.width) <= self.memory_bytes {
            address = Value::constant(0);
            store.memarg.offset = absolute;
        }
        Event::Store(store, address)
    }

    /// Leaves that instruction with this many results.
    fn leave(&mut self, at: usize, operator: &Operator<'_>, results: u32) {
        let blocks = self.blocks;
        match operator {
            Operator::Block { .. } | Operator::Loop { .. } | Operator::If { .. } => {
                if matches!(operator, Operator::Loop { .. }) && !flawed!(self.planted, HoistVariantAddress) {
                    self.forget(&blocks.changed[&at]);
                }
                self.open.push(Open { start: Some(at), height: self.stack.len() });
            }
            Operator::Else | Operator::End => {
                if let Some(open) = self.open.last() {
                    let start = open.start;
                    self.stack.truncate(open.height);
                    if let Some(start) = start {
                        self.forget(&blocks.changed[&start]);
                    }
                }
                if let Operator::End = operator {
                    self.open.pop();
                }
            }
            _ => {}
        }
        self.push(results);
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
    /// Reads a function. The instructions with the numbers in `scratch` are stores to declared scratch.
    pub(super) fn of(
        body: Body<'a>,
        shape: &Shape<'_>,
        function: u32,
        scratch: &[usize],
        planted: Planted,
    ) -> Result<Self, Refused> {
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
        let parameters = shape.sections.function_type(function).params().len();
        let mut walk = Walk::new(shape, &blocks, parameters, validator.len_locals() as usize, planted);
        let (mut seen, mut reachable) = (HashMap::new(), Vec::with_capacity(operators.len()));
        for (at, operator) in operators.iter().enumerate() {
            let offset = offsets[at];
            let refuse = |what| Refused::Instruction { what, function, offset };
            if let Some(what) = refused(operator) {
                return Err(refuse(what));
            }
            reachable.push(validator.get_control_frame(0).is_some_and(|frame| !frame.unreachable));
            let arity = operator.operator_arity(&validator);
            let (operands, results) = arity.ok_or_else(|| refuse("an instruction of unknown arity"))?;
            if !walk.compute(operator) {
                if let Some(event) = walk.take(at, operator, operands) {
                    let is_declared = scratch.binary_search(&at).is_ok() || flawed!(planted, TakeStoreForScratch);
                    let is_scratch = matches!(event, Event::Store(..)) && is_declared;
                    let event = if is_scratch { Event::Scratch } else { event };
                    seen.insert(at, Seen { event, locals: walk.locals.clone() });
                }
                walk.leave(at, operator, results);
            }
            validator.op(offset, operator)?;
        }
        let stack_roots = walk.stack_roots;
        Ok(Analysis { operators, offsets, seen, reachable, stack_roots })
    }

    /// Returns the event at an instruction that can be reached.
    pub(super) fn at(&self, index: usize) -> Option<&Seen> {
        self.seen.get(&index).filter(|_| self.reachable[index])
    }
}

/// The extent of each block, and the locals that are set inside it.
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
