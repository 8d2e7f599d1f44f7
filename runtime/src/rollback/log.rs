//! One instance's log: rolling a call back.

use wasmtime::{AsContextMut, Func, Global, Instance, Memory, Ref, Store, Table, V128, Val, ValType};

use super::raw::Shared;
use nook_instrument::MEMORY_EXPORT;
use nook_instrument::deadline::{ASK_EXPORT, TIME_CELL};
use nook_instrument::undo::layout::{
    BULK, FULL_CELL, GLOBAL_EXPORT, LOG_BYTES, LOG_EXPORT, MAX_GROUP_BYTES, MODE_EXPORT, Mode, SAVED_GLOBAL_BYTES,
    SAVED_GLOBALS, TOP_EXPORT, TRAILER_BYTES, first_record,
};

/// What was undone, or could be.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct LogRolledBack {
    /// Records in the log.
    pub entries: usize,
    /// Bytes of memory that they hold.
    pub bytes: usize,
}

/// Why a call cannot be undone. The instance is then in an unknown state: restart it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum CorruptLog {
    /// The last call was none that can be undone.
    #[error("the last call was not a transaction: only poll, irq, timer and work can be undone")]
    NotATransaction,
    /// A record does not make sense.
    #[error("the undo log has no valid record below byte {top:#x}")]
    Record {
        /// Where the record ends.
        top: u32,
    },
    /// A state that the module never takes.
    #[error("the undo log has the invalid state {0}")]
    Mode(i32),
}

/// The undo log of one instance.
#[derive(Clone, Debug)]
pub struct UndoLog {
    memory: Memory,
    log: Memory,
    top: Global,
    mode: Global,
    ask: Table,
    globals: Vec<(Global, ValType)>,
}

/// Where the bytes of one record are in the log.
struct Record {
    address: u32,
    old: std::ops::Range<usize>,
    next_top: u32,
}

impl UndoLog {
    /// Returns the log of an instance.
    ///
    /// # Errors
    /// If its module was not made by [`instrument`](nook_instrument::undo::instrument).
    pub fn of<T>(store: &mut Store<T>, instance: &Instance) -> wasmtime::Result<UndoLog> {
        let missing = |name: &str| wasmtime::format_err!("the module has no `{name}`: it has no undo log");
        let memory = |store: &mut Store<T>, name| instance.get_memory(store, name).ok_or_else(|| missing(name));
        let global = |store: &mut Store<T>, name| instance.get_global(store, name).ok_or_else(|| missing(name));
        let mut globals = Vec::new();
        while let Some(global) = instance.get_global(&mut *store, &format!("{GLOBAL_EXPORT}{}", globals.len())) {
            let ty = global.ty(&*store).content().clone();
            globals.push((global, ty));
        }
        Ok(UndoLog {
            memory: memory(store, MEMORY_EXPORT)?,
            log: memory(store, LOG_EXPORT)?,
            top: global(store, TOP_EXPORT)?,
            mode: global(store, MODE_EXPORT)?,
            ask: instance.get_table(&mut *store, ASK_EXPORT).ok_or_else(|| missing(ASK_EXPORT))?,
            globals,
        })
    }

    /// Returns where the cell is that makes calls check their deadline when it is not zero: an aligned `i32`, written
    /// atomically.
    pub fn time_cell(&self) -> (Memory, u32) {
        (self.log, TIME_CELL)
    }

    /// Has calls that find the cell set ask `host`, which takes nothing and returns the cell's next value: 0, or 1 to
    /// be asked again at the next deadline check. Without it, such a call traps.
    ///
    /// # Errors
    /// If the function is of another type.
    pub fn ask<T>(&self, store: &mut Store<T>, host: Func) -> wasmtime::Result<()> {
        self.ask.set(store, 0, Ref::Func(Some(host)))
    }

    /// Undoes a call that ended in an error: memory and globals are as when it began, and the instance can be called
    /// again. If the call failed before it began (its stack pointer was wrong, its time was up), there is nothing to
    /// undo, and nothing is changed; so for a call that returned, take
    /// [`roll_back_returned`](Self::roll_back_returned).
    ///
    /// # Errors
    /// If the call is none that can be undone.
    pub fn roll_back<T>(&self, store: &mut Store<T>) -> Result<LogRolledBack, CorruptLog> {
        match self.mode(&mut *store)? {
            Mode::Transaction => self.undo(store),
            Mode::Plain => Err(CorruptLog::NotATransaction),
            Mode::Idle | Mode::TransactionReturned | Mode::PlainReturned => Ok(LogRolledBack::default()),
        }
    }

    /// Undoes the last call, which returned but must not count.
    ///
    /// # Errors
    /// If the call is none that can be undone.
    pub fn roll_back_returned<T>(&self, store: &mut Store<T>) -> Result<LogRolledBack, CorruptLog> {
        match self.mode(&mut *store)? {
            Mode::TransactionReturned => self.undo(store),
            _ => Err(CorruptLog::NotATransaction),
        }
    }

    /// Returns whether the log's end is what stopped the call that just trapped. It is rolled back as any other.
    pub fn is_full<T>(&self, store: &mut Store<T>) -> bool {
        let mut cell = [0; 4];
        let read = self.log.read(&mut *store, FULL_CELL as usize, &mut cell);
        let cleared = self.log.write(&mut *store, FULL_CELL as usize, &[0; 4]);
        // Stores trap where the next group may not fit.
        let left = (LOG_BYTES as u32).saturating_sub(self.number(&mut *store, self.top).cast_unsigned());
        (read.is_ok() && cleared.is_ok() && cell != [0; 4]) || left < MAX_GROUP_BYTES
    }

    /// Returns what the log holds of the last call.
    ///
    /// # Errors
    /// If a record makes no sense.
    pub fn entries<T>(&self, store: &mut Store<T>) -> Result<LogRolledBack, CorruptLog> {
        let mut found = LogRolledBack::default();
        let mut top = self.number(&mut *store, self.top).cast_unsigned();
        let log = self.log.data(&*store);
        while let Some(record) = self.record(log, top)? {
            found.entries += 1;
            found.bytes += record.old.len();
            top = record.next_top;
        }
        Ok(found)
    }

    /// Returns the driver's memory.
    pub(crate) fn memory(&self) -> Memory {
        self.memory
    }

    /// Returns the module's mutable globals, as they are.
    pub fn globals<T>(&self, store: &mut Store<T>) -> Vec<Val> {
        self.globals.iter().map(|(global, _)| global.get(&mut *store)).collect()
    }

    /// Sets the globals to these, because memory is as it was when [`globals`](Self::globals) returned them, and
    /// empties the log.
    ///
    /// # Errors
    /// If they are not this module's.
    pub fn restore_globals<T>(&self, store: &mut Store<T>, globals: &[Val]) -> wasmtime::Result<()> {
        if globals.len() != self.globals.len() {
            wasmtime::bail!("{} globals instead of {}", globals.len(), self.globals.len());
        }
        for ((global, _), value) in self.globals.iter().zip(globals) {
            global.set(&mut *store, *value)?;
        }
        self.top.set(&mut *store, Val::I32(first_record(self.globals.len()).cast_signed()))?;
        self.mode.set(&mut *store, Val::I32(Mode::Idle as i32))
    }

    fn number(&self, store: impl AsContextMut, global: Global) -> i32 {
        global.get(store).i32().unwrap_or_default()
    }

    fn mode(&self, store: impl AsContextMut) -> Result<Mode, CorruptLog> {
        let number = self.number(store, self.mode);
        Mode::of(number).ok_or(CorruptLog::Mode(number))
    }

    /// Returns the record that ends at `top`, if any is left.
    fn record(&self, log: &[u8], top: u32) -> Result<Option<Record>, CorruptLog> {
        let first = first_record(self.globals.len());
        if top == first {
            return Ok(None);
        }
        let bad = CorruptLog::Record { top };
        let word = |at: u32| Some(u32::from_le_bytes(*log.get(at as usize..)?.first_chunk()?));
        let trailer = top.checked_sub(TRAILER_BYTES).ok_or(bad)?;
        let (address, length) = word(trailer).zip(word(trailer + 4)).ok_or(bad)?;
        let len = length & !BULK;
        if length & BULK == 0 && !matches!(len, 1 | 2 | 4 | 8 | 16) {
            return Err(bad);
        }
        let at = trailer.checked_sub(len.checked_next_multiple_of(8).ok_or(bad)?).ok_or(bad)?;
        if at < first {
            return Err(bad);
        }
        Ok(Some(Record { address, old: at as usize..(at + len) as usize, next_top: at }))
    }

    fn undo<T>(&self, store: &mut Store<T>) -> Result<LogRolledBack, CorruptLog> {
        let mut undone = LogRolledBack::default();
        let mut top = self.number(&mut *store, self.top).cast_unsigned();
        let log = self.log.data(&*store);
        let memory = Shared::of(&*store, &self.memory);
        // The last change first: where a byte was logged twice, the older value is the right one.
        while let Some(record) = self.record(log, top)? {
            let old = &log[record.old];
            if !memory.put(record.address, old) {
                return Err(CorruptLog::Record { top });
            }
            undone.entries += 1;
            undone.bytes += old.len();
            top = record.next_top;
        }
        for (number, (global, ty)) in self.globals.iter().enumerate() {
            let at = SAVED_GLOBALS as usize + number * SAVED_GLOBAL_BYTES as usize;
            let saved: [u8; 16] = *self.log.data(&*store)[at..].first_chunk().ok_or(CorruptLog::Record { top })?;
            let low = u64::from_le_bytes(*saved.first_chunk().expect("16 bytes hold 8"));
            let value = match ty {
                ValType::I32 => Val::I32(low as i32),
                ValType::I64 => Val::I64(low.cast_signed()),
                ValType::F32 => Val::F32(low as u32),
                ValType::F64 => Val::F64(low),
                _ => Val::V128(V128::from(u128::from_le_bytes(saved))),
            };
            self.set(store, *global, value)?;
        }
        self.set(store, self.top, Val::I32(first_record(self.globals.len()).cast_signed()))?;
        self.set(store, self.mode, Val::I32(Mode::Idle as i32))?;
        Ok(undone)
    }

    fn set<T>(&self, store: &mut Store<T>, global: Global, value: Val) -> Result<(), CorruptLog> {
        // It is a mutable global of the type that was asked for.
        global.set(store, value).map_err(|_| CorruptLog::Record { top: 0 })
    }
}
