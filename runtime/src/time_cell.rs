//! Cells that tell compiled code that its deadline is to be checked: see [`nook_instrument::deadline`].
#![expect(unsafe_code, reason = "a cell lies in an instance's memory and is written by the clock's thread")]

use std::ptr::NonNull;
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use nook_bus::Clock;
use nook_instrument::deadline::{ASK_EXPORT, CELL_EXPORT, TIME_CELL};
use wasmtime::{Caller, Func, Instance, Memory, Ref, Store};

use crate::clock::thread_cpu_ns;
use crate::{Host, TICK_NS};

/// Returns what deadline checks ask: it may end the call, and returns the cell's next value.
pub(crate) fn question(store: &mut Store<Host>) -> Func {
    Func::wrap(&mut *store, |mut caller: Caller<'_, Host>| {
        caller.data_mut().tick(thread_cpu_ns()).map(|()| 0).map_err(wasmtime::Error::new)
    })
}

#[derive(Clone, Copy, PartialEq, Eq)]
struct Address(NonNull<AtomicU32>);

// SAFETY: an atomic may be used by any thread; that it is still there is what `Cells` sees to.
unsafe impl Send for Address {}

/// Ticks at one moment of virtual time until an instance's cell is set: compiled code takes a look as part of the call,
/// and what is counted of a call that ends by itself must not depend on real time.
const STANDS_TICKS: u32 = (5_000_000_000 / TICK_NS) as u32;

/// One cell.
struct Cell {
    address: Address,
    clock: Clock,
    /// The moment of virtual time at the last tick, and at how many ticks before that it was this one already.
    stood: (u64, u32),
}

impl Cell {
    /// Returns whether it is to be set at this tick.
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

    /// Sets them; those of instances on virtual time only when it stands still for too long.
    pub(crate) fn tick(&self) {
        self.lock().iter_mut().filter_map(|cell| cell.is_due().then_some(cell.address)).for_each(set);
    }

    /// Adds the cell of an instance that has deadline checks and no undo log, and has them ask the host.
    pub(crate) fn of(&self, store: &mut Store<Host>, instance: &Instance) -> wasmtime::Result<Option<TimeCell>> {
        let Some(memory) = instance.get_memory(&mut *store, CELL_EXPORT) else { return Ok(None) };
        let asked = instance.get_table(&mut *store, ASK_EXPORT);
        let asked = asked.ok_or_else(|| wasmtime::format_err!("deadline checks have nothing to ask"))?;
        let question = question(store);
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
        let clock = store.data().clock().clone();
        self.lock().push(Cell { address: Address(address), clock, stood: (0, 0) });
        Ok(TimeCell { cells: self.clone(), address: Address(address) })
    }
}

/// One instance's cell. It must be dropped before the instance's store.
pub(crate) struct TimeCell {
    cells: Cells,
    address: Address,
}

impl Drop for TimeCell {
    fn drop(&mut self) {
        let mut cells = self.cells.lock();
        if let Some(at) = cells.iter().position(|cell| cell.address == self.address) {
            cells.swap_remove(at);
        }
    }
}

fn set(address: Address) {
    // SAFETY: inside a memory and aligned, as `Cells::add` checked; drivers' memories neither move nor shrink, and
    // the owner of the store drops the `TimeCell` before it. Compiled code reads and writes the cell atomically.
    let cell = unsafe { AtomicU32::from_ptr(address.0.as_ptr().cast()) };
    cell.store(1, Ordering::Relaxed);
}
