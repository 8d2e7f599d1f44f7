//! What instructions leave on the operand stack, in locals and in globals.

use wasmparser::Operator;

use super::super::added::{self, FORGET_LEN, Globals, STACK_CHECK_LEN, Stack};
use super::super::records::{Old, Trailer};
use super::super::values::{Binary, Value};
use super::{Condition, Known, Walk};
use crate::check::shape::Item;

impl Walk<'_, '_> {
    /// Follows an instruction whose result is known. Says whether it is one.
    pub(super) fn compute(&mut self, at: usize, operator: &Operator<'_>) -> Result<bool, &'static str> {
        use Operator::*;
        match operator {
            LocalGet { local_index } if Some(*local_index) == self.kept => self.push(Known::Kept),
            LocalGet { local_index } => {
                let value = self.values.get(*local_index, at);
                self.push_value(value);
            }
            LocalSet { local_index } | LocalTee { local_index } => {
                let known = self.pop();
                if Some(*local_index) == self.kept {
                    self.set_kept(at, known)?;
                } else {
                    let value = if let Known::Value(value) = known { value } else { self.values.fresh() };
                    self.values.set(*local_index, at, value);
                }
                if let LocalTee { .. } = operator {
                    self.push(known);
                }
            }
            GlobalGet { global_index } => {
                let value = self.values.fresh();
                let known = if *global_index == self.around.globals.top { Known::Top } else { Known::Value(value) };
                if self.around.stack.is_some_and(|stack| stack.pointer == *global_index) {
                    self.stack_roots.insert(value.root);
                }
                self.push(known);
            }
            GlobalSet { global_index } => self.set_global(at, *global_index)?,
            I32Const { value } => self.push_value(Value::constant(value.cast_unsigned())),
            I64Const { value } => self.push(Known::Constant64(value.cast_unsigned())),
            I32Add => self.binary(Binary::Add),
            I32Sub => self.binary(Binary::Sub),
            I32Shl => self.binary(Binary::Shl),
            I32And => self.binary(Binary::And),
            I32Or => self.binary(Binary::Or),
            I32Mul => self.binary(Binary::Mul),
            I32GtU | I32LeU => {
                let (b, a) = (self.pop_value(), self.pop_value());
                let result = self.values.fresh();
                if b.is_constant() {
                    let greater = matches!(operator, I32GtU);
                    let condition = if greater { Condition::Greater(a, b.plus) } else { Condition::AtMost(a, b.plus) };
                    self.conditions.insert(result.root, condition);
                }
                self.push_value(result);
            }
            I32Eqz => {
                let value = self.pop_value();
                let result = self.values.fresh();
                if value.plus == 0 && !value.is_constant() {
                    self.conditions.insert(result.root, Condition::Not(value.root));
                }
                self.push_value(result);
            }
            I64Load8U { memarg } => self.read(memarg.offset, 1),
            I64Load16U { memarg } => self.read(memarg.offset, 2),
            V128Load32Zero { memarg } => self.read(memarg.offset, 4),
            V128Load64Zero { memarg } => self.read(memarg.offset, 8),
            V128Load { memarg } => self.read(memarg.offset, 16),
            I64ExtendI32U => {
                let value = self.pop_value();
                self.push(Known::Extended(value));
            }
            I64Or => {
                let known = match (self.pop(), self.pop()) {
                    (Known::Constant64(high), Known::Extended(address)) if high as u32 == 0 => {
                        Known::Trailer(Trailer { address, len: (high >> 32) as u32 })
                    }
                    _ => Known::Value(self.values.fresh()),
                };
                self.push(known);
            }
            I64x2ReplaceLane { lane: 1 } => {
                let known = match (self.pop(), self.pop()) {
                    (Known::Trailer(trailer), Known::Old(old)) => Known::Whole(old, trailer),
                    (Known::Constant64(constant), Known::Old(old)) => Known::Whole(old, Trailer::of(constant)),
                    _ => Known::Value(self.values.fresh()),
                };
                self.push(known);
            }
            _ => return Ok(false),
        }
        Ok(true)
    }

    fn binary(&mut self, what: Binary) {
        let known = match (self.pop(), self.pop()) {
            (Known::Value(b), Known::Value(a)) => Known::Value(self.values.compute(what, a, b)),
            (Known::Value(by), Known::Kept) if what == Binary::Add && by.is_constant() => Known::Raised(by.plus),
            _ => Known::Value(self.values.fresh()),
        };
        self.push(known);
    }

    /// Reads the driver's memory.
    fn read(&mut self, offset: u64, width: u32) {
        let address = self.pop_value();
        self.push(Known::Old(Old { address, offset, width, change: self.change }));
    }

    /// Checks what the local that keeps the log's top is set to; if that is raised, the global is with it.
    fn set_kept(&mut self, at: usize, known: Known) -> Result<(), &'static str> {
        let next = self.code.items.get(at + 1).map(|(_, item)| item);
        let to_global = matches!(next, Some(Item::Op(Operator::GlobalSet { global_index })) if *global_index == self.around.globals.top);
        match known {
            Known::Top => {
                self.records.abandon();
                Ok(())
            }
            Known::Raised(by) if to_global => {
                for bytes in self.records.commit(by)? {
                    self.facts.learn(bytes);
                }
                Ok(())
            }
            _ => Err("a local that keeps the log's top is set to something else"),
        }
    }

    fn set_global(&mut self, at: usize, global: u32) -> Result<(), &'static str> {
        let Globals { top, mode, limit, .. } = self.around.globals;
        let known = self.pop();
        if global == mode || global == limit {
            return Err("a write to what says how a call began");
        }
        if global == top {
            let forgets = at.checked_sub(FORGET_LEN - 1).is_some_and(|from| {
                added::are(&self.code.items[from..=at], &self.around.globals.forget())
                    && matches!(self.code.items.get(at + 1), Some((_, Item::Op(Operator::End))))
            });
            // It was raised in the local right before, or it is emptied.
            let before = at.checked_sub(1).map(|before| &self.code.items[before].1);
            let raised =
                matches!(before, Some(Item::Op(Operator::LocalTee { local_index })) if Some(*local_index) == self.kept);
            return if raised || forgets { Ok(()) } else { Err("the log's top set without records") };
        }
        let Some(Stack { pointer, .. }) = self.around.stack.filter(|stack| stack.pointer == global) else {
            return Ok(());
        };
        let unchanged =
            matches!(known, Known::Value(value) if value.plus == 0 && self.stack_roots.contains(&value.root));
        let checked = at.checked_sub(STACK_CHECK_LEN - 1).is_some_and(|from| match &self.code.items[from] {
            (_, Item::Op(Operator::LocalTee { local_index })) => {
                added::are(&self.code.items[from..=at], &self.around.globals.stack_check(pointer, *local_index))
            }
            _ => false,
        });
        if unchanged || checked { Ok(()) } else { Err("a write of the stack pointer that is not checked") }
    }

    /// Checks that what keeps the log's top is up to date behind a call.
    pub(super) fn reloads(&self, call: usize) -> Result<(), &'static str> {
        let Some(kept) = self.kept else { return Ok(()) };
        let mut behind = &self.code.items[call + 1..];
        if let Some((code, rest)) = behind.split_at_checked(FORGET_LEN)
            && added::are(code, &self.around.globals.forget())
        {
            behind = rest.get(1..).unwrap_or(&[]);
        }
        match behind {
            [
                (_, Item::Op(Operator::GlobalGet { global_index })),
                (_, Item::Op(Operator::LocalSet { local_index })),
                ..,
            ] if *global_index == self.around.globals.top && *local_index == kept => Ok(()),
            _ => Err("a call behind which the log's top is not read again"),
        }
    }
}
