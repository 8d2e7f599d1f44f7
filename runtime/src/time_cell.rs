//! Cells that tell compiled code that its deadline is to be checked: see [`nook_instrument::deadline`].
//!
//! A driver's cell holds the number of the call that runs if its context is interrupt or atomic, and 0 otherwise
//! ([`cell_value`](crate::watch::cell_value)). In the first case the clock sets the lowest bit when the call's time is
//! up or its device was taken away, in the second at each tick, until the host was asked. A filter's cell is 0, so
//! that it asks.
#![expect(unsafe_code, reason = "a cell lies in an instance's memory and is written by the clock's thread")]

use std::ptr::NonNull;
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use nook_bus::Clock;
use nook_instrument::deadline::{ASK_EXPORT, CELL_EXPORT, DUE, TIME_CELL};
use wasmtime::{Caller, Func, Instance, Memory, Ref, Store};

use crate::clock::{ThreadId, now_ns};
use crate::watch::{Moment, Sight, Watch};
use crate::{Budgets, Host, Revoker, TICK_NS};

/// Whose cell it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Of {
    /// That of the driver, whose calls are numbered.
    Driver,
    /// That of a filter: the driver's calls come to it now and then.
    Filter,
}

/// Returns what deadline checks ask: it may end the call, and returns the cell's next value.
pub(crate) fn question(store: &mut Store<Host>, of: Of) -> Func {
    Func::wrap(&mut *store, move |mut caller: Caller<'_, Host>| {
        let host = caller.data_mut();
        host.check_deadline().map_err(wasmtime::Error::new)?;
        Ok(if of == Of::Driver { host.cell_value() } else { 0 })
    })
}

#[derive(Clone, Copy, PartialEq, Eq)]
struct Address(NonNull<AtomicU32>);

// SAFETY: an atomic may be used by any thread; that it is still there is what `Cells` sees to.
unsafe impl Send for Address {}

impl Address {
    /// Returns the cell, which is there as long as the `TimeCell` is.
    #[inline]
    fn cell(&self) -> &AtomicU32 {
        // SAFETY: inside a memory and aligned, as `Cells::add` checked; drivers' memories neither move nor shrink, and
        // the owner of the store drops the `TimeCell` before it. Compiled code reads and writes the cell atomically.
        unsafe { self.0.as_ref() }
    }
}

/// Ticks at one moment of virtual time until a cell is set whose checks ask: compiled code takes a look as part of the
/// call, and what is counted of a call that ends by itself must not depend on real time.
const STANDS_TICKS: u32 = (5_000_000_000 / TICK_NS) as u32;

/// One cell.
struct Cell {
    address: Address,
    clock: Clock,
    budgets: Budgets,
    watch: Arc<Watch>,
    /// Knows whether the driver has its device.
    revoker: Revoker,
    /// What was seen of the call that is in it.
    sight: Sight,
    /// The moment of virtual time at the last tick, and at how many ticks before that it was this one already.
    stood: (u64, u32),
}

impl Cell {
    fn tick(&mut self) {
        let value = self.address.cell().load(Ordering::Acquire);
        let due = match value {
            _ if value & DUE != 0 => false,
            0 => self.is_due(),
            // Its outcome is made of ones or zeros, however long it goes on.
            _ if self.revoker.is_taken() || self.watch.ends_calls() => true,
            _ => {
                let (nook_ns, is_virtual) = (self.clock.now_ns(), self.clock.is_virtual());
                let at = Moment { now_ns: nook_ns, is_virtual, real_ns: now_ns() };
                self.sight.look(value, at, &self.budgets, &self.watch, &self.watch.thread())
            }
        };
        if due {
            // If another call has begun meanwhile, it is not the one that was looked at.
            let order = (Ordering::AcqRel, Ordering::Relaxed);
            let _ = self.address.cell().compare_exchange(value, value | DUE, order.0, order.1);
        }
    }

    /// Returns whether a cell whose checks ask is to be set at this tick.
    fn is_due(&mut self) -> bool {
        if !self.clock.is_virtual() {
            return true;
        }
        let now_ns = self.clock.now_ns();
        self.stood = if self.stood.0 == now_ns { (now_ns, self.stood.1 + 1) } else { (now_ns, 0) };
        self.stood.1 >= STANDS_TICKS
    }
}

/// The cells of an engine's instances.
#[derive(Clone, Default)]
pub(crate) struct Cells(Arc<Mutex<Vec<Cell>>>);

impl Cells {
    fn lock(&self) -> MutexGuard<'_, Vec<Cell>> {
        // A list of cells has no state between two statements.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Sets those that are due.
    pub(crate) fn tick(&self) {
        self.lock().iter_mut().for_each(Cell::tick);
    }

    /// Adds the cell of an instance that has deadline checks and no undo log, and has them ask the host.
    pub(crate) fn of(
        &self,
        store: &mut Store<Host>,
        instance: &Instance,
        of: Of,
    ) -> wasmtime::Result<Option<TimeCell>> {
        let Some(memory) = instance.get_memory(&mut *store, CELL_EXPORT) else { return Ok(None) };
        let asked = instance.get_table(&mut *store, ASK_EXPORT);
        let asked = asked.ok_or_else(|| wasmtime::format_err!("deadline checks have nothing to ask"))?;
        let question = question(store, of);
        asked.set(&mut *store, 0, Ref::Func(Some(question)))?;
        self.add(store, memory, TIME_CELL).map(Some)
    }

    /// Adds the cell at `offset` of a memory, to be set at ticks from now on.
    ///
    /// # Errors
    /// If it is not in the memory, or not aligned.
    pub(crate) fn add(&self, store: &Store<Host>, memory: Memory, offset: u32) -> wasmtime::Result<TimeCell> {
        let (offset, len) = (offset as usize, size_of::<AtomicU32>());
        if !offset.is_multiple_of(len) || offset + len > memory.data_size(store) {
            wasmtime::bail!("no time cell can be at {offset:#x}");
        }
        let Some(address) = NonNull::new(memory.data_ptr(store).wrapping_add(offset).cast()) else {
            wasmtime::bail!("the memory with the time cell does not exist");
        };
        let (address, host) = (Address(address), store.data());
        let (clock, watch) = (host.clock().clone(), host.call.watch.clone());
        let budgets = *host.call.budget.limits();
        let (revoker, sight) = (host.revoker(), Sight::default());
        self.lock().push(Cell { address, clock, budgets, watch: watch.clone(), revoker, sight, stood: (0, 0) });
        Ok(TimeCell { cells: self.clone(), address, watch, thread: ThreadId(0) })
    }
}

/// One instance's cell. It must be dropped before the instance's store.
pub(crate) struct TimeCell {
    cells: Cells,
    address: Address,
    watch: Arc<Watch>,
    /// The thread that made the last call.
    thread: ThreadId,
}

impl TimeCell {
    /// Begins a call, during which the cell holds this value.
    #[inline]
    pub(crate) fn begin(&mut self, value: u32) {
        let thread = ThreadId::current();
        if thread != self.thread {
            self.called_by(thread);
        }
        self.address.cell().store(value, Ordering::Release);
    }

    #[cold]
    fn called_by(&mut self, thread: ThreadId) {
        self.thread = thread;
        self.watch.called_by(thread);
    }
}

impl Drop for TimeCell {
    fn drop(&mut self) {
        let mut cells = self.cells.lock();
        if let Some(at) = cells.iter().position(|cell| cell.address == self.address) {
            cells.swap_remove(at);
        }
    }
}
