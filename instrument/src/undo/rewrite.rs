//! One function, rewritten: each store is logged before it happens, unless it need not be.

use std::collections::HashMap;

use wasm_encoder::{BlockType, Instruction, ValType};
use wasmparser::Operator;

use super::Effect;
use super::code::{self, Code, Names, Piece, Source};
use super::facts::{Cover, Facts, Kind};
use super::layout::MAX_GROUP;
use super::planted::{Planted, flawed};
use super::stores::{StoreOp, ends_group};
use super::values::{Analysis, Event, Seen, Value};
use crate::deadline::Check;

/// The most stores that one loop's beginning logs for its body.
const MAX_HOISTED: usize = 32;
/// The largest frame that is believed: a stack pointer less than this, if it wraps, is beyond every memory.
const MAX_FRAME_BYTES: i64 = 1 << 20;

/// The longest bulk instruction that is neither logged nor preceded by a deadline check: many in a row are to end too.
pub(super) const MAX_OWN_BULK_BYTES: u32 = 4096;

/// A part of the new body.
pub(super) enum Part {
    /// Added code.
    Added(Code),
    /// An instruction of the original, by its index.
    Original(usize),
    /// The mirror of the log's top is stale; only for functions that have one.
    Reload,
}

/// A function's new body.
pub(super) struct Rewritten {
    pub(super) parts: Vec<Part>,
    /// The types of the locals behind the original ones.
    pub(super) added_locals: Vec<ValType>,
    /// The local that mirrors the log's top, if the function logs.
    pub(super) top: Option<u32>,
}

/// What is the same for all functions of a module.
pub(super) struct Module {
    pub(super) names: Names,
    pub(super) imported_functions: u32,
    pub(super) memory_bytes: u64,
    /// Below this no device and no other process writes.
    pub(super) private_bytes: u64,
    pub(super) planted: Planted,
}

struct Rewrite<'r, 'a> {
    module: &'r Module,
    analysis: &'r Analysis<'a>,
    check: Check,
    effect: &'r mut Effect,
    facts: Facts,
    first_added: u32,
    added_locals: Vec<ValType>,
    scratch: HashMap<(ValType, u32), u32>,
    top: Option<u32>,
    parts: Vec<Part>,
}

/// A store that may be logged with others.
#[derive(Clone, Copy)]
struct Candidate {
    source: Source,
    base: Value,
    offset: u64,
    width: u32,
}

/// Bytes of one address: from and to, behind it.
type Extent = (Value, u64, u64);

/// Rewrites one function that has `locals` locals, parameters among them, and checks its deadline like this.
pub(super) fn rewrite(
    module: &Module,
    analysis: &Analysis<'_>,
    locals: u32,
    check: Check,
    effect: &mut Effect,
) -> Rewritten {
    let mut rewrite = Rewrite {
        module,
        analysis,
        check,
        effect,
        facts: Facts::new(module.planted),
        first_added: locals,
        added_locals: Vec::new(),
        scratch: HashMap::new(),
        top: None,
        parts: Vec::new(),
    };
    for at in 0..analysis.operators.len() {
        rewrite.instruction(at);
    }
    Rewritten { parts: rewrite.parts, added_locals: rewrite.added_locals, top: rewrite.top }
}

impl Rewrite<'_, '_> {
    fn add_local(&mut self, ty: ValType) -> u32 {
        self.added_locals.push(ty);
        self.first_added + self.added_locals.len() as u32 - 1
    }

    /// Returns a scratch local.
    fn scratch(&mut self, ty: ValType, number: u32) -> u32 {
        if let Some(&local) = self.scratch.get(&(ty, number)) {
            return local;
        }
        let local = self.add_local(ty);
        self.scratch.insert((ty, number), local);
        local
    }

    fn top(&mut self) -> u32 {
        match self.top {
            Some(top) => top,
            None => {
                let top = self.add_local(ValType::I32);
                *self.top.insert(top)
            }
        }
    }

    fn add(&mut self, code: Code) {
        if !code.is_empty() {
            self.parts.push(Part::Added(code));
        }
    }

    fn instruction(&mut self, at: usize) {
        let analysis = self.analysis;
        let operator = &analysis.operators[at];
        match analysis.at(at) {
            Some(Seen { event: Event::Store(store, address), locals }) => {
                return self.store(at, store, *address, locals);
            }
            Some(Seen { event: Event::Scratch, .. }) => {
                self.effect.stores += 1;
                self.effect.scratch += 1;
            }
            Some(Seen { event: Event::Bulk(to), .. }) => self.bulk(at, *to),
            Some(Seen { event: Event::StackPointer(unchanged), .. })
                if !unchanged && !flawed!(self.module.planted, NoStackCheck) =>
            {
                let scratch = self.scratch(ValType::I32, 0);
                let mut code = Code::new();
                code::check_stack_pointer(scratch, &self.module.names, &mut code);
                self.add(code);
                self.effect.stack_checks += 1;
            }
            Some(Seen { event: Event::StackPointer(_), .. }) => {}
            Some(Seen { event: Event::Loop(end), locals }) => self.hoist(at, *end, locals),
            None => {}
        }
        if analysis.reachable[at] {
            self.branches(operator);
        }
        self.parts.push(Part::Original(at));
        match operator {
            Operator::Block { .. } => self.facts.open(Kind::Block),
            Operator::Loop { .. } => self.facts.open(Kind::Loop),
            Operator::If { .. } => self.facts.open(Kind::If),
            Operator::Else => self.facts.otherwise(),
            Operator::End => self.facts.close(),
            Operator::Call { function_index } => {
                if *function_index < self.module.imported_functions {
                    let mut code = Code::new();
                    code::forget_outside_transaction(&self.module.names, &mut code);
                    self.add(code);
                }
                self.reload();
            }
            Operator::CallIndirect { .. } => self.reload(),
            _ => {}
        }
    }

    fn deadline_check(&mut self) {
        self.add(self.check.code().to_vec());
    }

    fn reload(&mut self) {
        if !flawed!(self.module.planted, KeepTopAfterCall) {
            self.parts.push(Part::Reload);
        }
    }

    fn branches(&mut self, operator: &Operator<'_>) {
        let to_loop_start = match operator {
            Operator::Br { relative_depth } | Operator::BrIf { relative_depth } => self.facts.branch(*relative_depth),
            Operator::BrTable { targets } => {
                // The targets were read when the function was validated.
                let depths = targets.targets().filter_map(Result::ok).chain([targets.default()]);
                depths.filter(|depth| self.facts.branch(*depth)).count() > 0
            }
            _ => false,
        };
        if to_loop_start {
            self.effect.back_edges += 1;
            if !flawed!(self.module.planted, LoopWithoutCheck) {
                self.deadline_check();
            }
        }
    }

    /// Returns whether bytes lie between the stack pointer's lowest and its first value of this call: nothing there
    /// outlives the call, because what is below the stack pointer when a call begins belongs to nobody.
    fn own_frame(&self, base: Value, offset: u64, len: u64) -> bool {
        let below = i64::from(base.plus.cast_signed());
        let end = i64::try_from(offset.saturating_add(len)).unwrap_or(i64::MAX);
        self.analysis.stack_roots.contains(&base.root)
            && below <= 0
            && below > -MAX_FRAME_BYTES
            && below.saturating_add(end) <= 0
    }

    /// Returns where the value can be had from; `spilled` is a local outside the function's own that holds a value.
    fn source(&self, value: Value, locals: &[Value], spilled: Option<(u32, Value)>) -> Option<Source> {
        if value.root == 0 {
            return Some(Source::Constant(value.plus));
        }
        let own = locals.iter().enumerate().map(|(local, known)| (local as u32, *known));
        let mut near = None;
        for (local, known) in own.chain(spilled) {
            if known == value {
                return Some(Source::Local { local, plus: 0 });
            }
            if known.root == value.root {
                near = Some(Source::Local { local, plus: value.plus.wrapping_sub(known.plus) });
            }
        }
        near
    }

    fn store(&mut self, at: usize, store: &StoreOp, address: Value, locals: &[Value]) {
        self.effect.stores += 1;
        let offset = store.memarg.offset;
        if self.own_frame(address, offset, store.width.into()) {
            self.effect.own_frame += 1;
            return self.parts.push(Part::Original(at));
        }
        let cover = self.facts.cover(address, offset, store.width);
        if cover == Cover::Yes {
            self.effect.covered += 1;
            return self.parts.push(Part::Original(at));
        }
        let mut before = Code::new();
        let mut spilled = None;
        let source = match self.source(address, locals, None) {
            Some(source) => source,
            None => {
                let local = self.scratch(ValType::I32, 0);
                spilled = Some((local, address));
                self.spill(store, local, &mut before);
                Source::Local { local, plus: 0 }
            }
        };
        let first = Candidate { source, base: address, offset, width: store.width };
        let mut code = Code::new();
        match cover {
            Cover::If(flag) => {
                code.extend([Instruction::LocalGet(flag), Instruction::I32Eqz, Instruction::If(BlockType::Empty)]);
                self.log(vec![first], &mut code);
                code.push(Instruction::End);
                self.effect.covered_by_flag += 1;
            }
            _ => {
                let group = self.group(at, first, locals, spilled);
                let (records, extents) = self.log(group, &mut code);
                for (base, from, to) in extents {
                    self.facts.learn(base, from, to, None);
                }
                self.effect.groups += 1;
                self.effect.records += records;
            }
        }
        self.add(before);
        if flawed!(self.module.planted, LogAfterStore) {
            self.parts.push(Part::Original(at));
            self.add(code);
        } else {
            self.add(code);
            self.parts.push(Part::Original(at));
        }
    }

    /// Puts the address into a local and leaves the operand stack as it was.
    fn spill(&mut self, store: &StoreOp, address: u32, code: &mut Code) {
        let operands: Vec<u32> = (0..store.operands).map(|number| self.scratch(store.operand, 1 + number)).collect();
        code.extend(operands.iter().map(|&local| Instruction::LocalSet(local)));
        code.push(Instruction::LocalTee(address));
        code.extend(operands.iter().rev().map(|&local| Instruction::LocalGet(local)));
    }

    /// Logs a group. Says with how many records, and what is logged then.
    fn log(&mut self, mut group: Vec<Candidate>, code: &mut Code) -> (usize, Vec<Extent>) {
        let Some(kept_below) = self.module.names.kept_below else {
            let (pieces, extents) = self.pieces(group);
            self.append(&pieces, code);
            return (pieces.len(), extents);
        };
        // For each address that is known only when it runs, whether it is kept anyway is asked once.
        let (mut records, mut logged) = (0, Vec::new());
        while let Some(first) = group.first().copied() {
            let (same, others) = group.into_iter().partition(|store| store.base == first.base);
            group = others;
            let (pieces, extents) = self.pieces(same);
            let mut reach = extents.iter().map(|(_, _, to)| *to).max().unwrap_or(0);
            if flawed!(self.module.planted, KeepAcrossBorder) {
                reach = 1;
            }
            // Of a base up to here, all of it is kept.
            let last = u64::from(kept_below).checked_sub(reach);
            match (first.source, last) {
                (Source::Constant(at), Some(last)) if u64::from(at) <= last => {}
                (Source::Local { .. }, Some(last)) => {
                    first.source.push(code);
                    code.extend([
                        Instruction::I32Const((last as u32).cast_signed()),
                        Instruction::I32GtU,
                        Instruction::If(BlockType::Empty),
                    ]);
                    self.append(&pieces, code);
                    code.push(Instruction::End);
                }
                _ => self.append(&pieces, code),
            }
            records += pieces.len();
            logged.extend(extents);
        }
        (records, logged)
    }

    fn append(&mut self, pieces: &[Piece], code: &mut Code) {
        let top = self.top();
        code::append(pieces, top, &self.module.names, code);
    }

    /// Returns the stores that surely follow and whose addresses are known already.
    fn group(
        &mut self,
        at: usize,
        first: Candidate,
        locals: &[Value],
        spilled: Option<(u32, Value)>,
    ) -> Vec<Candidate> {
        let mut group = vec![first];
        let operators = &self.analysis.operators;
        if ends_group(&operators[at]) {
            return group;
        }
        for (next, operator) in operators.iter().enumerate().skip(at + 1) {
            if ends_group(operator) || group.len() == MAX_GROUP {
                break;
            }
            let Some(Seen { event: Event::Store(store, address), .. }) = self.analysis.at(next) else { continue };
            let (offset, width) = (store.memarg.offset, store.width);
            let needed = !self.own_frame(*address, offset, width.into())
                && self.facts.cover(*address, offset, width) == Cover::No;
            if needed && let Some(source) = self.source(*address, locals, spilled) {
                group.push(Candidate { source, base: *address, offset, width });
            }
        }
        group
    }

    /// Neighbours become one, without gaps: what was not stored must not be restored, because a device may have
    /// written there. Also says what is logged then.
    fn pieces(&self, mut group: Vec<Candidate>) -> (Vec<Piece>, Vec<Extent>) {
        if flawed!(self.module.planted, WrongWidth) {
            group.iter_mut().for_each(|store| store.width = store.width.min(4));
        }
        let gap = if flawed!(self.module.planted, MergeAcrossGap) { 8 } else { 0 };
        group.sort_by_key(|store| (store.base, store.offset));
        let (mut pieces, mut extents) = (Vec::new(), Vec::new());
        let mut rest = &group[..];
        while let Some(first) = rest.first() {
            let (base, from) = (first.base, first.offset);
            let mut to = from + u64::from(first.width);
            let mut count = 1;
            while let Some(next) = rest.get(count).filter(|next| next.base == base && next.offset <= to + gap) {
                to = to.max(next.offset + u64::from(next.width));
                count += 1;
            }
            rest = &rest[count..];
            let mut offset = from;
            while offset < to {
                let width = 1 << (to - offset).min(16).ilog2();
                pieces.push(Piece { source: first.source, offset, width });
                offset += u64::from(width);
            }
            extents.push((base, from, to));
        }
        (pieces, extents)
    }

    fn bulk(&mut self, at: usize, to: Value) {
        self.effect.bulk += 1;
        // A length that stands right before it: the checker of this code sees it too.
        let length = match at.checked_sub(1).map(|before| &self.analysis.operators[before]) {
            Some(Operator::I32Const { value }) => value.cast_unsigned(),
            _ => u32::MAX,
        };
        if length <= MAX_OWN_BULK_BYTES && self.own_frame(to, 0, length.into()) {
            self.effect.bulk_own_frame += 1;
            return;
        }
        let (address, middle, length) =
            (self.scratch(ValType::I32, 0), self.scratch(ValType::I32, 1), self.scratch(ValType::I32, 2));
        self.add(vec![
            Instruction::LocalSet(length),
            Instruction::LocalSet(middle),
            Instruction::LocalTee(address),
            Instruction::LocalGet(length),
            Instruction::Call(self.module.names.log_range),
        ]);
        self.reload();
        // It may take milliseconds, and there may be many in a row.
        self.deadline_check();
        self.add(vec![Instruction::LocalGet(address), Instruction::LocalGet(middle), Instruction::LocalGet(length)]);
    }

    /// Logs before a loop what its body stores to the same place in each round.
    ///
    /// The body may never come to the store, so this reads memory on its own account: only what surely exists and what
    /// nobody else writes. For an address that is not known yet a flag remembers whether that was so; if not, the store
    /// itself logs.
    fn hoist(&mut self, start: usize, end: usize, locals: &[Value]) {
        let mut bases: Vec<(Value, Vec<Candidate>)> = Vec::new();
        let mut count = 0;
        let mut limit = self.module.private_bytes.min(self.module.memory_bytes);
        if flawed!(self.module.planted, HoistSharedMemory) {
            limit = self.module.memory_bytes;
        }
        for at in start..end {
            let Some(Seen { event: Event::Store(store, address), .. }) = self.analysis.at(at) else { continue };
            let (offset, width) = (store.memarg.offset, store.width);
            if count == MAX_HOISTED
                || self.own_frame(*address, offset, width.into())
                || self.facts.cover(*address, offset, width) != Cover::No
            {
                continue;
            }
            let Some(source) = self.source(*address, locals, None) else { continue };
            let reach = offset + u64::from(width);
            if reach > limit || matches!(source, Source::Constant(at) if u64::from(at) + reach > limit) {
                continue;
            }
            let candidate = Candidate { source, base: *address, offset, width };
            count += 1;
            match bases.iter_mut().find(|(base, _)| base == address) {
                Some((_, candidates)) => candidates.push(candidate),
                None => bases.push((*address, vec![candidate])),
            }
        }
        for (_, candidates) in bases {
            let reach = candidates.iter().map(|store| store.offset + u64::from(store.width)).max().unwrap_or(0);
            let source = candidates[0].source;
            let (pieces, extents) = self.pieces(candidates);
            let mut code = Code::new();
            let mut flag = None;
            if let Source::Local { .. } = source {
                let local = self.add_local(ValType::I32);
                flag = Some(local);
                source.push(&mut code);
                // Memories are at most 4 GiB, and something is reached.
                code.extend([
                    Instruction::I32Const(((limit - reach) as u32).cast_signed()),
                    Instruction::I32LeU,
                    Instruction::LocalTee(local),
                    Instruction::If(BlockType::Empty),
                ]);
            }
            if self.module.names.kept_below.is_none() {
                self.append(&pieces, &mut code);
            }
            if flag.is_some() {
                code.push(Instruction::End);
            }
            self.add(code);
            self.effect.hoisted += pieces.len();
            for (base, from, to) in extents {
                self.facts.learn(base, from, to, flag);
            }
        }
    }
}
