//! Shadowing middleware: remembers what a driver made of its device, so that the device can be restored to it.
//!
//! The register map says what [becomes](nook_regs::Restore) of each register. What it does not say is left alone: that
//! is what the device alone knows (the PHY behind it, its EEPROM), and what a driver made of that stays.

#[cfg(test)]
mod tests;

use std::sync::Arc;

use nook_regs::{LinkBits, Needs, ReadEffect, RegisterInfo, RegisterMap, Restore, Width, WriteEffect};

use crate::last_values::{LastValue, LastValues};
use crate::{BarMemory, Clock, DeviceError, PciDevice, PerRegister, RegisterAddr, ResetKind, Result};

/// How long transfers that have begun may take to end once the device was turned off: a frame or two on the bus.
const DRAIN_NS: u64 = 1_000_000;
/// The longest that a driver is believed to have waited for a reset, and the longest that one is waited for.
const PATIENCE_NS: u64 = 200_000_000;
/// How often it is looked whether a reset is over.
const LOOK_NS: u64 = 50_000;

/// The index of no cell. There are fewer cells than registers in a map, which are at most half of this.
const NO_CELL: u16 = u16::MAX;

/// One register.
#[derive(Clone, Copy)]
struct Cell {
    place: RegisterAddr,
    restore: Restore,
    /// Writing these bits resets a part of the device, and it is not known which registers.
    partial: u64,
    /// What was last written.
    value: u64,
    /// When, in writes since the beginning; 0 is never since the last reset.
    at: u64,
}

/// What a driver made of its device at some moment.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Programmed {
    /// Configuration, in the order in which it was written.
    written: Vec<(RegisterAddr, u64)>,
    /// What the device moves, and masks.
    held: Vec<(RegisterAddr, u64)>,
    /// What turns it on, in the order in which it was.
    switches: Vec<(RegisterAddr, u64)>,
    /// The register that resets it, with its bits.
    reset: (RegisterAddr, u64),
    bus_master: bool,
}

/// Bits that must be set for the device to work, and are not.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Lack {
    /// The register that lacks them.
    pub register: &'static RegisterInfo,
    /// The bits.
    pub bits: u64,
}

impl Lack {
    /// Returns the name of the first field that is not as it must be; nothing if the map names none there.
    pub fn field(&self) -> Option<&'static str> {
        self.register.fields.iter().find(|field| field.get(self.bits) != 0).map(|field| field.name)
    }
}

/// A device whose configuration is remembered.
pub struct Shadowed {
    device: Box<dyn PciDevice>,
    map: &'static RegisterMap,
    clock: Clock,
    /// For each register the index of its cell.
    indices: PerRegister<u16>,
    cells: Vec<Cell>,
    /// What passed last, of every register.
    last: LastValues,
    /// What tells that something outside holds the device up.
    held_up: Vec<(RegisterAddr, u64)>,
    /// What must be set in them.
    needs: Vec<(RegisterAddr, &'static RegisterInfo)>,
    /// What tells of its link.
    link: Vec<(RegisterAddr, &'static RegisterInfo)>,
    writes: u64,
    bus_master: bool,
    /// Everything that a driver wrote since the last reset is in the cells, and there was one.
    whole: bool,
    /// A reset began then, and no register was touched since.
    resetting: Option<u64>,
    /// How long the driver left the device alone then: it knows how long its chip takes.
    settle_ns: u64,
}

impl Shadowed {
    /// Wraps `device`, whose registers `map` describes; `clock` is the nook's.
    pub fn new(device: Box<dyn PciDevice>, map: &'static RegisterMap, clock: Clock) -> Self {
        let mut indices = PerRegister::of(map, NO_CELL);
        let (mut cells, mut held_up, mut needs, mut link) = (Vec::new(), Vec::new(), Vec::new(), Vec::new());
        for (place, info) in RegisterAddr::all_of(map) {
            if info.held_up != 0 {
                held_up.push((place, info.held_up));
            }
            if info.needs != Needs::Nothing {
                needs.push((place, info));
            }
            if info.link != LinkBits::Nothing {
                link.push((place, info));
            }
            let restore = info.restore;
            let resets = if let WriteEffect::Reset(bits) = info.write { bits } else { 0 };
            let whole = if let Restore::ResetBy(bits) = restore { bits } else { 0 };
            if restore == Restore::Nothing && resets == 0 {
                continue;
            }
            indices.set(place, cells.len() as u16);
            cells.push(Cell { place, restore, partial: resets & !whole, value: 0, at: 0 });
        }
        Shadowed {
            device,
            map,
            clock,
            indices,
            cells,
            last: LastValues::of(map),
            held_up,
            needs,
            link,
            writes: 0,
            bus_master: false,
            whole: false,
            resetting: None,
            settle_ns: 0,
        }
    }

    /// Begins a new driver instance: what the last one made of the device, and saw of it, counts no more.
    pub fn begin(&mut self) {
        self.forget();
        self.last.clear();
    }

    /// Returns what passed last between this driver instance and each register that it accessed, in the order of the
    /// map. A write that is held back has not passed.
    pub fn last_values(&self) -> Vec<LastValue> {
        self.last.all()
    }

    fn forget(&mut self) {
        self.whole = false;
        self.cells.iter_mut().for_each(|cell| cell.at = 0);
    }

    /// Captures how the driver programmed its device; `None` if that is not known: it was not reset yet, a part of it
    /// was reset since, or the map does not say how the device is reset.
    ///
    /// # Errors
    /// If the device does not answer.
    pub fn capture(&mut self) -> Result<Option<Programmed>> {
        let resets = |cell: &Cell| match cell.restore {
            // The register's other bits, as they were since the last reset; 0 if nothing was written to it.
            Restore::ResetBy(bits) => Some((cell.place, bits | if cell.at != 0 { cell.value } else { 0 })),
            _ => None,
        };
        let written = self.cells.iter().filter(|cell| cell.at != 0).find_map(resets);
        let reset = written.or_else(|| self.cells.iter().find_map(resets));
        let Some(reset) = reset.filter(|_| self.whole) else { return Ok(None) };
        let held = self.held()?;
        let mut cells: Vec<Cell> = self.cells.iter().copied().filter(|cell| cell.at != 0).collect();
        cells.sort_unstable_by_key(|cell| cell.at);
        let of = |wanted: fn(Restore) -> bool| {
            let cells = cells.iter().filter(|cell| wanted(cell.restore));
            cells.map(|cell| (cell.place, cell.value)).collect()
        };
        Ok(Some(Programmed {
            written: of(|restore| matches!(restore, Restore::Written | Restore::ResetBy(_))),
            held,
            switches: of(|restore| restore == Restore::Switch),
            reset,
            bus_master: self.bus_master,
        }))
    }

    /// Returns whether what the device moves is still what was last written there: since its starting positions were
    /// written in its rings it has taken nothing out of them. What was never written is of a ring that is not used, if
    /// it is 0. `false` if that cannot be said: the map names nothing that the device moves, or the driver never said
    /// where to begin.
    ///
    /// # Errors
    /// If the device does not answer.
    pub fn has_not_moved(&mut self) -> Result<bool> {
        let device = &mut self.device;
        let mut any = false;
        for cell in self.cells.iter().filter(|cell| cell.restore == Restore::Held) {
            let RegisterAddr { bar, offset, width } = cell.place;
            let begins = if cell.at == 0 { 0 } else { cell.value };
            if device.bar_read(bar, offset, width)? != begins {
                return Ok(false);
            }
            any |= cell.at != 0;
        }
        Ok(any)
    }

    /// Reads what the device moves: its positions in its rings; and masks.
    ///
    /// # Errors
    /// If the device does not answer.
    pub fn held(&mut self) -> Result<Vec<(RegisterAddr, u64)>> {
        let device = &mut self.device;
        let held = self.cells.iter().filter(|cell| matches!(cell.restore, Restore::Held | Restore::Mask));
        let places = held.map(|cell| cell.place);
        places.map(|place| Ok((place, device.bar_read(place.bar, place.offset, place.width)?))).collect()
    }

    /// Returns whether something outside keeps the device from working, as the map says that it tells; `None` if the
    /// map does not say how it would.
    ///
    /// # Errors
    /// If the device does not answer.
    pub fn is_held_up(&mut self) -> Result<Option<bool>> {
        let mut any = None;
        for &(place, bits) in &self.held_up {
            let value = self.device.bar_read(place.bar, place.offset, place.width)?;
            any = Some(any == Some(true) || value & bits != 0);
        }
        Ok(any)
    }

    /// Returns whether the device may read and write memory by itself (bus mastering).
    pub fn may_use_memory(&self) -> bool {
        self.bus_master
    }

    /// Returns whether the map says of any register what must be set in it.
    pub fn has_needs(&self) -> bool {
        !self.needs.is_empty()
    }

    /// Returns the first register that lacks what it [needs](nook_regs::Needs), with the link up or not.
    ///
    /// # Errors
    /// If the device does not answer.
    pub fn lacks(&mut self, link_is_up: bool) -> Result<Option<Lack>> {
        for &(place, register) in &self.needs {
            let needed = register.needs.bits(link_is_up);
            if needed != 0 {
                let bits = needed & !self.device.bar_read(place.bar, place.offset, place.width)?;
                if bits != 0 {
                    return Ok(Some(Lack { register, bits }));
                }
            }
        }
        Ok(None)
    }

    /// Returns whether the device has a link, which it has if each register says so that tells of it, and one that says
    /// so; `None` if the map names none.
    ///
    /// # Errors
    /// If the device does not answer.
    pub fn has_link(&mut self) -> Result<Option<(bool, &'static RegisterInfo)>> {
        let mut link = None;
        for &(place, register) in &self.link {
            let value = self.device.bar_read(place.bar, place.offset, place.width)?;
            link = register.link.is_up(value).map(|up| (up, register));
            if matches!(link, Some((false, _))) {
                break;
            }
        }
        Ok(link)
    }

    /// Puts the device in the state after a reset: off, without interrupts and DMA, and what it had counted is
    /// forgotten. `then` is what it is to be restored to.
    ///
    /// # Errors
    /// If it does not answer, or the reset does not end.
    pub fn silence(&mut self, then: &Programmed) -> Result<()> {
        self.turn_off()?;
        self.sleep(DRAIN_NS);
        self.set_bus_master(false)?;
        let (place, value) = then.reset;
        self.write(place, value)?;
        self.sleep(self.settle_ns);
        self.resetting = None;
        let end_ns = self.clock.now_ns() + PATIENCE_NS;
        let bits = self.reset_bits(place);
        while self.device.bar_read(place.bar, place.offset, place.width)? & bits != 0 {
            if self.clock.now_ns() > end_ns {
                return Err(DeviceError::Unsupported(format!("{}: the reset does not end", self.describe())));
            }
            self.sleep(LOOK_NS);
        }
        // There are devices that do not keep to what their manual says of a reset: QEMU's e1000 does nothing.
        self.turn_off()?;
        for (place, info) in RegisterAddr::all_of(self.map) {
            if matches!(info.read, ReadEffect::ClearsOr | ReadEffect::ClearsAdd | ReadEffect::ClearsPair) {
                self.device.bar_read(place.bar, place.offset, place.width)?;
            }
        }
        Ok(())
    }

    fn sleep(&self, ns: u64) {
        self.clock.sleep_until(self.clock.now_ns() + ns);
    }

    fn turn_off(&mut self) -> Result<()> {
        for at in 0..self.cells.len() {
            let Cell { place, restore, .. } = self.cells[at];
            match restore {
                Restore::Quiet(value) => self.write(place, value)?,
                Restore::Switch => self.write(place, 0)?,
                _ => {}
            }
        }
        self.device.flush()
    }

    /// Restores a device that was [silenced](Self::silence) to what was captured: it may use memory when this returns.
    ///
    /// # Errors
    /// If it does not answer.
    pub fn restore(&mut self, to: &Programmed) -> Result<()> {
        for &(place, value) in to.written.iter().chain(&to.held) {
            self.write(place, value)?;
        }
        self.set_bus_master(to.bus_master)?;
        for &(place, value) in &to.switches {
            self.write(place, value)?;
        }
        self.device.flush()
    }

    fn write(&mut self, at: RegisterAddr, value: u64) -> Result<()> {
        self.bar_write(at.bar, at.offset, at.width, value)
    }

    fn reset_bits(&self, at: RegisterAddr) -> u64 {
        match self.cell(at.bar, at.offset, at.width).map(|at| self.cells[at].restore) {
            Some(Restore::ResetBy(bits)) => bits,
            _ => 0,
        }
    }

    #[inline]
    fn cell(&self, bar: u8, offset: u32, width: Width) -> Option<usize> {
        let index = self.indices.get(bar.into(), offset, width);
        (index != NO_CELL).then_some(index.into())
    }

    /// Remembers what was written to the device.
    #[inline]
    fn remember(&mut self, bar: u8, offset: u32, width: Width, value: u64) {
        let Some(at) = self.cell(bar, offset, width) else { return };
        let cell = &mut self.cells[at];
        match cell.restore {
            Restore::ResetBy(bits) if value & bits != 0 => {
                self.forget();
                self.whole = true;
                self.resetting = Some(self.clock.now_ns());
            }
            _ => {
                self.writes += 1;
                (cell.value, cell.at) = (value, self.writes);
                self.whole &= value & cell.partial == 0;
            }
        }
    }

    /// Notes that a register is about to be accessed: a reset that was waited for is over.
    #[inline]
    fn touch(&mut self) {
        if let Some(since_ns) = self.resetting.take() {
            self.settle_ns = (self.clock.now_ns() - since_ns).min(PATIENCE_NS);
        }
    }
}

impl PciDevice for Shadowed {
    crate::forward_pci_device!(|self| self.device =>
        describe identity bars config_read flush iova_ranges dma_map dma_unmap
        dma_faults irq_enable irq_disable irq_unmask service event_fds);

    #[inline]
    fn bar_read(&mut self, bar: u8, offset: u32, width: Width) -> Result<u64> {
        self.touch();
        let value = self.device.bar_read(bar, offset, width)?;
        self.last.note(bar, offset, width, value, false);
        Ok(value)
    }
    #[inline]
    fn bar_write(&mut self, bar: u8, offset: u32, width: Width, value: u64) -> Result<()> {
        self.touch();
        self.device.bar_write(bar, offset, width, value)?;
        self.remember(bar, offset, width, value);
        self.last.note(bar, offset, width, value, true);
        Ok(())
    }
    fn bar_map(&mut self, bar: u8, reserve_bytes: usize) -> Result<Arc<dyn BarMemory>> {
        // What is written there is not seen, so there will be nothing to restore.
        self.forget();
        self.device.bar_map(bar, reserve_bytes)
    }
    fn set_bus_master(&mut self, on: bool) -> Result<()> {
        self.device.set_bus_master(on)?;
        self.bus_master = on;
        Ok(())
    }
    fn reset(&mut self) -> Result<ResetKind> {
        self.forget();
        self.device.reset()
    }
}
