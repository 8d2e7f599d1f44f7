//! Transactional middleware: what a driver's call does to its device is held back until the call has ended well.
//!
//! Inside a transaction, register writes wait in a queue. They reach the device, in order, at
//! [`commit`](Transactional::commit), or earlier where the driver could tell that they had not: at a register read
//! (unless the register map says that the value does not depend on them), a flush, a full queue, and everything else
//! that the device is asked for. Who lets the driver sleep or wait for DMA calls [`release`](Transactional::release).
//! Once something has reached the device that no rollback undoes, the call
//! [cannot be rolled back](Transactional::can_roll_back) any more, and from there on writes pass straight through.
//!
//! Values that reading clears are the other direction. What an aborted call had read is owed: the next read of that
//! register gets it too, merged as the map says; and what it had popped out of a queue is read once more, in order. A
//! driver's end takes nothing of a queue away: its successor reads it.

mod effects;
mod irreversible;
mod popped;
#[cfg(test)]
mod tests;

use std::sync::Arc;

use nook_regs::{RegisterMap, Width};

use self::effects::{Effects, Read, Written};
pub use self::irreversible::{Ask, Await, Irreversible, RegisterAt, RegisterName};
use self::popped::Popped;
use crate::{BarMemory, DeviceError, DmaWindow, IrqKind, PciDevice, ResetKind, Result};

/// How many writes can be held back. A `poll` writes a handful of registers; a queue that is full is no error.
const CAPACITY: usize = 256;

/// A write that is held back.
#[derive(Clone, Copy)]
struct Held {
    value: u64,
    offset: u32,
    bar: u8,
    width: Width,
}

/// What reads of a register that clears itself have taken out of the device.
#[derive(Clone, Copy, Default)]
struct Taken {
    /// By the transaction that is open.
    now: u64,
    /// By transactions that were aborted, and not read again since.
    owed: u64,
    /// What the lower half of a pair last answered: the device forgets it when the upper half is read.
    lower: u64,
}

/// What [`Transactional::abort`] leaves behind.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Aborted {
    /// The device is as it was when the transaction began.
    pub rolled_back: bool,
    /// Interrupt causes that were read are owed. The device has forgotten them and its line has dropped, so it will
    /// not interrupt for them again: the driver's `irq` must be called without it.
    pub causes_owed: bool,
}

/// A device whose register accesses can be undone, as far as the device allows.
pub struct Transactional<D> {
    device: D,
    map: &'static RegisterMap,
    effects: Effects,
    held: Vec<Held>,
    /// One for each register that reading clears.
    taken: Vec<Taken>,
    /// Which of them the open transaction has read.
    touched: Vec<u16>,
    /// One for each register from which reading pops what can be given back.
    popped: Vec<Popped>,
    /// How many of both owe something.
    owing: usize,
    open: bool,
    can_roll_back: bool,
    /// Why the open transaction cannot be rolled back.
    why: Option<Irreversible>,
}

impl<D: PciDevice> Transactional<D> {
    /// Wraps `device`, whose registers `map` describes.
    pub fn new(device: D, map: &'static RegisterMap) -> Self {
        let effects = Effects::of(map);
        let (slots, queues) = (effects.slots(), effects.queues());
        Transactional {
            device,
            map,
            effects,
            held: Vec::with_capacity(CAPACITY),
            taken: vec![Taken::default(); slots],
            touched: Vec::with_capacity(slots),
            popped: (0..queues).map(|_| Popped::default()).collect(),
            owing: 0,
            open: false,
            can_roll_back: false,
            why: None,
        }
    }

    /// Returns the device itself, for what is no part of any transaction.
    ///
    /// # Panics
    /// If one is open.
    pub fn device_mut(&mut self) -> &mut D {
        assert!(!self.open, "a transaction is open");
        &mut self.device
    }

    /// Returns the device itself, to look at what is known of it.
    pub fn device(&self) -> &D {
        &self.device
    }

    /// Begins a transaction: from here on writes are held back.
    ///
    /// # Panics
    /// If a transaction is open already: nested calls belong to the outer one.
    #[inline]
    pub fn begin(&mut self) {
        assert!(!self.open, "a transaction is open already");
        self.open = true;
        self.can_roll_back = true;
        self.why = None;
    }

    /// Returns whether a transaction is open.
    #[inline]
    pub fn is_open(&self) -> bool {
        self.open
    }

    /// Returns whether the open transaction can still be rolled back: nothing that a rollback could not undo has
    /// reached the device.
    #[inline]
    pub fn can_roll_back(&self) -> bool {
        self.can_roll_back
    }

    /// Returns why the open transaction cannot be rolled back any more; `None` if it can be, or if none is open.
    pub fn irreversible(&self) -> Option<Irreversible<RegisterName>> {
        Some(self.why.filter(|_| self.open)?.named(self.map))
    }

    /// Commits the transaction: what the call wrote reaches the device.
    ///
    /// # Errors
    /// The first write that the device refused; the ones after it are dropped, and the transaction is over.
    #[inline]
    pub fn commit(&mut self) -> Result<()> {
        let released = if self.held.is_empty() { Ok(()) } else { self.release() };
        self.open = false;
        self.can_roll_back = false;
        if !self.touched.is_empty() {
            for slot in self.touched.drain(..) {
                self.taken[usize::from(slot)].now = 0;
            }
        }
        self.popped.iter_mut().for_each(Popped::commit);
        released
    }

    /// Aborts the call: what it wrote is dropped, as far as it was still held back, and what it read out of
    /// registers that clear themselves is owed to later reads.
    pub fn abort(&mut self) -> Aborted {
        let rolled_back = self.can_roll_back;
        self.open = false;
        self.can_roll_back = false;
        self.held.clear();
        for slot in self.touched.drain(..) {
            let read = self.effects.slot(slot);
            let taken = &mut self.taken[usize::from(slot)];
            let owed = read.merged(taken.owed, std::mem::take(&mut taken.now));
            if taken.owed == 0 && owed != 0 {
                self.owing += 1;
            }
            taken.owed = owed;
        }
        let given_back = self.give_back();
        let causes_owed = given_back
            || self.owing > 0
                && self
                    .taken
                    .iter()
                    .zip(self.effects.all_slots())
                    .any(|(taken, read)| taken.owed != 0 && read.is_causes());
        Aborted { rolled_back, causes_owed }
    }

    /// Gives back what the call has popped. Says whether that was anything.
    fn give_back(&mut self) -> bool {
        let mut any = false;
        for popped in &mut self.popped {
            let owed = popped.owes();
            any |= popped.give_back();
            self.owing += usize::from(!owed && popped.owes());
        }
        any
    }

    /// Lets what is held back reach the device, because the driver is about to wait for what the device makes of it.
    ///
    /// # Errors
    /// The first write that the device refused; the ones after it are dropped.
    pub fn release(&mut self) -> Result<()> {
        self.release_because(|written| Irreversible::Awaited { written, by: Await::Wait })
    }

    /// Lets what is held back reach the device; `why` is given the first register of it.
    #[inline]
    fn release_because(&mut self, why: impl FnOnce(RegisterAt) -> Irreversible) -> Result<()> {
        let Some(&Held { bar, offset, .. }) = self.held.first() else { return Ok(()) };
        self.spoiled(why(RegisterAt { bar, offset }));
        self.release_held()
    }

    /// The open transaction cannot be rolled back any more, for this reason unless there was one already.
    fn spoiled(&mut self, why: Irreversible) {
        if self.can_roll_back {
            self.can_roll_back = false;
            self.why = Some(why);
        }
    }

    fn release_held(&mut self) -> Result<()> {
        // By index: handing a write on needs all of self.
        for at in 0..self.held.len() {
            let Held { value, offset, bar, width } = self.held[at];
            if let Err(error) = self.write_through(bar, offset, width, value) {
                self.held.clear();
                return Err(error);
            }
        }
        self.held.clear();
        Ok(())
    }

    /// Begins a new driver instance: what was held back, or read by the old one, is dropped, but for what its last call
    /// had popped out of queues and no commit made final: that came from outside, and is the next one's.
    pub fn forget(&mut self) {
        self.open = false;
        self.can_roll_back = false;
        self.held.clear();
        self.touched.clear();
        self.taken.fill(Taken::default());
        self.owing = self.popped.iter().filter(|popped| popped.owes()).count();
        self.give_back();
    }

    /// Forgets what was read: the device was reset.
    fn forget_taken(&mut self) {
        self.touched.clear();
        self.taken.fill(Taken::default());
        self.popped.iter_mut().for_each(Popped::clear);
        self.owing = 0;
    }

    /// Notes that something is about to reach the device that cannot be rolled back.
    fn spoil(&mut self, why: Irreversible) -> Result<()> {
        self.spoiled(why);
        self.release()
    }

    fn asked(&mut self, what: Ask) -> Result<()> {
        self.spoil(Irreversible::Asked { what })
    }

    /// Reads in a transaction, or while something is owed.
    fn read_watched(&mut self, bar: u8, offset: u32, width: Width) -> Result<u64> {
        let effect = self.effects.of_register(bar, offset, width);
        let read = RegisterAt { bar, offset };
        if !effect.posts_only {
            self.release_because(|written| Irreversible::ReadAfterWrite { read, written })?;
        }
        if let Read::Pops(queue) = effect.read {
            return self.pop(queue, bar, offset, width);
        }
        let mut value = self.device.bar_read(bar, offset, width)?;
        if let Some((queue, bits)) = effect.says
            && self.popped[usize::from(queue)].owes()
        {
            value |= bits;
        }
        match effect.read {
            Read::Keeps => Ok(value),
            Read::CannotBeGivenBack => {
                self.spoiled(Irreversible::ReadTakes { read });
                Ok(value)
            }
            Read::Clears(slot) => Ok(self.take(slot, value)),
            Read::PairLower(slot) => {
                let taken = &mut self.taken[usize::from(slot)];
                taken.lower = value;
                Ok(taken.owed.saturating_add(value) & width.all_ones())
            }
            Read::PairUpper(slot) => {
                let lower = std::mem::take(&mut self.taken[usize::from(slot)].lower);
                Ok(self.take(slot, value << width.bits() | lower) >> width.bits())
            }
            Read::Pops(_) => Ok(value),
        }
    }

    /// Pops what is owed out of a queue, or else what the device has.
    fn pop(&mut self, queue: u16, bar: u8, offset: u32, width: Width) -> Result<u64> {
        let popped = &mut self.popped[usize::from(queue)];
        let value = match popped.take_owed() {
            Some(value) => {
                self.owing -= usize::from(!popped.owes());
                value
            }
            None => self.device.bar_read(bar, offset, width)?,
        };
        if self.open && !popped.note(value) {
            self.spoiled(Irreversible::ReadTakes { read: RegisterAt { bar, offset } });
        }
        Ok(value)
    }

    /// Notes that the device has given `value` out of a register and cleared it. Returns what the driver gets.
    fn take(&mut self, slot: u16, value: u64) -> u64 {
        let read = self.effects.slot(slot);
        let taken = &mut self.taken[usize::from(slot)];
        let given = read.merged(taken.owed, value);
        if taken.owed != 0 {
            taken.owed = 0;
            self.owing -= 1;
        }
        if self.open && given != 0 {
            // A register that the transaction has touched holds something: what it took is never zero.
            if taken.now == 0 {
                self.touched.push(slot);
            }
            taken.now = read.merged(taken.now, given);
        }
        given
    }

    /// Writes a command: it is over only when the device has done what it says.
    #[cold]
    fn command(&mut self, bar: u8, offset: u32, width: Width, value: u64) -> Result<()> {
        self.spoil(Irreversible::Command { written: RegisterAt { bar, offset } })?;
        self.write_through(bar, offset, width, value)?;
        self.device.flush()
    }

    /// Writes to the device in a transaction, or while something is owed.
    fn write_through(&mut self, bar: u8, offset: u32, width: Width, value: u64) -> Result<()> {
        self.device.bar_write(bar, offset, width, value)?;
        if self.owing == 0 && self.touched.is_empty() && self.popped.iter().all(Popped::is_empty) {
            return Ok(());
        }
        match self.effects.of_register(bar, offset, width).written {
            Written::Plain | Written::Command => {}
            Written::Reset(bits) => {
                if value & bits != 0 {
                    self.forget_taken();
                }
            }
            Written::OneClears(slot) => {
                let taken = &mut self.taken[usize::from(slot)];
                if taken.owed != 0 && taken.owed & !value == 0 {
                    self.owing -= 1;
                }
                taken.owed &= !value;
                if taken.now != 0 && taken.now & !value == 0 {
                    self.touched.retain(|&touched| touched != slot);
                }
                taken.now &= !value;
            }
        }
        Ok(())
    }
}

impl<D: PciDevice> PciDevice for Transactional<D> {
    crate::forward_pci_device!(|self| self.device =>
        describe identity bars iova_ranges dma_faults service event_fds);

    fn config_read(&mut self, offset: u16, width: Width) -> Result<u32> {
        self.release_because(|written| Irreversible::Awaited { written, by: Await::ConfigRead })?;
        self.device.config_read(offset, width)
    }
    #[inline]
    fn bar_read(&mut self, bar: u8, offset: u32, width: Width) -> Result<u64> {
        if self.open || self.owing > 0 {
            return self.read_watched(bar, offset, width);
        }
        self.device.bar_read(bar, offset, width)
    }
    #[inline]
    fn bar_write(&mut self, bar: u8, offset: u32, width: Width, value: u64) -> Result<()> {
        if self.effects.is_command(bar, offset, width) {
            return self.command(bar, offset, width, value);
        }
        if self.can_roll_back {
            if self.held.len() < CAPACITY {
                self.held.push(Held { value, offset, bar, width });
                return Ok(());
            }
            self.release_because(|written| Irreversible::TooManyWrites { written, limit: CAPACITY })?;
        }
        if self.open || self.owing > 0 {
            return self.write_through(bar, offset, width, value);
        }
        self.device.bar_write(bar, offset, width, value)
    }
    fn bar_map(&mut self, bar: u8, reserve_bytes: usize) -> Result<Arc<dyn BarMemory>> {
        if self.open {
            let why = format!("direct accesses to BAR {bar} cannot be held back: not in a transaction");
            return Err(DeviceError::Unsupported(why));
        }
        // Who hands this to a driver opens no transactions for it.
        self.device.bar_map(bar, reserve_bytes)
    }
    fn flush(&mut self) -> Result<()> {
        self.release_because(|written| Irreversible::Awaited { written, by: Await::Flush })?;
        self.device.flush()
    }
    fn dma_map(&mut self, window: &DmaWindow, iova: u64) -> Result<()> {
        self.asked(Ask::DmaMap)?;
        self.device.dma_map(window, iova)
    }
    fn dma_unmap(&mut self, iova: u64) -> Result<()> {
        self.asked(Ask::DmaUnmap)?;
        self.device.dma_unmap(iova)
    }
    fn set_bus_master(&mut self, on: bool) -> Result<()> {
        self.asked(if on { Ask::DmaEnable } else { Ask::DmaDisable })?;
        self.device.set_bus_master(on)
    }
    fn reset(&mut self) -> Result<ResetKind> {
        self.asked(Ask::Reset)?;
        let kind = self.device.reset()?;
        if kind == ResetKind::Function {
            self.forget_taken();
        }
        Ok(kind)
    }
    fn irq_enable(&mut self, vectors: u32) -> Result<(IrqKind, u32)> {
        self.asked(Ask::IrqEnable)?;
        self.device.irq_enable(vectors)
    }
    fn irq_disable(&mut self) -> Result<()> {
        self.asked(Ask::IrqDisable)?;
        self.device.irq_disable()
    }
    fn irq_unmask(&mut self, vector: u32) -> Result<()> {
        self.asked(Ask::IrqUnmask)?;
        self.device.irq_unmask(vector)
    }
}
