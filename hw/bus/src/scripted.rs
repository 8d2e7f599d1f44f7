//! A device for tests of what is put around devices, here and in other crates: it answers by a script and says what
//! reached it. It is no model of any chip.

use std::collections::{HashMap, VecDeque};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use nook_regs::Width;

use crate::{BarInfo, DeviceError, DmaWindow, IovaRange, IrqKind, PciDevice, PciIdentity, ResetKind, Result, Service};

#[derive(Default)]
struct Script {
    answers: HashMap<u32, VecDeque<u64>>,
    seen: Vec<String>,
    refuses: Option<u32>,
}

/// The device. Clones are the same one.
#[derive(Clone, Default)]
pub struct Scripted(Arc<Mutex<Script>>);

impl Scripted {
    /// Queues `value` as the answer to a read of the register at `offset`. What nothing is
    /// said of reads as 0.
    pub fn answers(&self, offset: u32, value: u64) {
        self.script().answers.entry(offset).or_default().push_back(value);
    }

    /// Makes it refuse writes of the register at `offset` from now on.
    pub fn refuses(&self, offset: u32) {
        self.script().refuses = Some(offset);
    }

    /// Takes what has reached it since this was last called, in order: `0x10=0x1` for a write and `read 0x10` for a
    /// read, with the width after it if that is not 32 bit, and other calls by name.
    pub fn seen(&self) -> Vec<String> {
        std::mem::take(&mut self.script().seen)
    }

    fn saw(&self, what: impl Into<String>) {
        self.script().seen.push(what.into());
    }

    fn script(&self) -> MutexGuard<'_, Script> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Returns what follows an access that is not of the usual width.
fn after(width: Width) -> String {
    if width == Width::B4 { String::new() } else { format!(" {width}") }
}

impl PciDevice for Scripted {
    fn describe(&self) -> String {
        "scripted".into()
    }
    fn identity(&self) -> PciIdentity {
        PciIdentity::new(1, 2, 0)
    }
    fn bars(&self) -> &[BarInfo] {
        &[]
    }
    fn bar_read(&mut self, _: u8, offset: u32, width: Width) -> Result<u64> {
        self.saw(format!("read {offset:#x}{}", after(width)));
        Ok(self.script().answers.get_mut(&offset).and_then(VecDeque::pop_front).unwrap_or(0))
    }
    fn bar_write(&mut self, _: u8, offset: u32, width: Width, value: u64) -> Result<()> {
        if self.script().refuses == Some(offset) {
            return Err(DeviceError::Gone("refused".into()));
        }
        self.saw(format!("{offset:#x}={value:#x}{}", after(width)));
        Ok(())
    }
    fn config_read(&mut self, _: u16, _: Width) -> Result<u32> {
        self.saw("config read");
        Ok(0)
    }
    fn flush(&mut self) -> Result<()> {
        self.saw("flush");
        Ok(())
    }
    fn iova_ranges(&self) -> Vec<IovaRange> {
        self.saw("iova ranges");
        vec![IovaRange { first: 0, last: u64::MAX >> 8 }]
    }
    fn dma_map(&mut self, _: &DmaWindow, _: u64) -> Result<()> {
        self.saw("map");
        Ok(())
    }
    fn dma_unmap(&mut self, _: u64) -> Result<()> {
        self.saw("unmap");
        Ok(())
    }
    fn dma_faults(&self) -> u64 {
        self.saw("dma faults");
        0
    }
    fn set_bus_master(&mut self, on: bool) -> Result<()> {
        self.saw(format!("bus master {on}"));
        Ok(())
    }
    fn reset(&mut self) -> Result<ResetKind> {
        self.saw("reset");
        Ok(ResetKind::Function)
    }
    fn irq_enable(&mut self, _: u32) -> Result<(IrqKind, u32)> {
        self.saw("irq enable");
        Ok((IrqKind::Intx, 1))
    }
    fn irq_disable(&mut self) -> Result<()> {
        self.saw("irq disable");
        Ok(())
    }
    fn irq_unmask(&mut self, _: u32) -> Result<()> {
        self.saw("irq unmask");
        Ok(())
    }
    fn service(&mut self, _: u64) -> Result<Service> {
        self.saw("service");
        Ok(Service::default())
    }
    fn event_fds(&self, _: &mut Vec<std::os::fd::RawFd>) {
        self.saw("event fds");
    }
}

#[cfg(test)]
mod tests {
    use nook_regs::{Bar, RegisterMap};

    use super::*;
    use crate::{Clock, Shadowed, Tracing, Transactional};

    const MAP: RegisterMap = RegisterMap::checked("none", &[Bar::memory(0, 4)], &[]);

    /// Calls every method once.
    fn all(device: &mut dyn PciDevice) {
        let window = DmaWindow::new(1).unwrap();
        assert_eq!((device.describe().as_str(), device.identity().vendor, device.bars()), ("scripted", 1, &[][..]));
        device.bar_read(0, 0, Width::B4).unwrap();
        device.bar_write(0, 4, Width::B8, 1).unwrap();
        device.config_read(0, Width::B2).unwrap();
        device.flush().unwrap();
        assert_eq!(device.iova_ranges().len(), 1);
        device.dma_map(&window, 0).unwrap();
        device.dma_unmap(0).unwrap();
        assert_eq!(device.dma_faults(), 0);
        device.set_bus_master(true).unwrap();
        assert_eq!(device.reset().unwrap(), ResetKind::Function);
        device.irq_enable(1).unwrap();
        device.irq_unmask(0).unwrap();
        device.irq_disable().unwrap();
        device.service(0).unwrap();
        device.event_fds(&mut Vec::new());
        assert!(device.bar_map(0, 0).is_err());
    }

    #[test]
    fn middleware_forgets_no_method_that_has_a_default() {
        let script = Scripted::default();
        all(&mut script.clone());
        let itself = script.seen();
        assert_eq!(itself.len(), 15);
        let device = || -> Box<dyn PciDevice> { Box::new(script.clone()) };
        all(&mut device());
        assert_eq!(script.seen(), itself, "boxed");
        all(&mut Tracing::new(device(), |_| {}));
        assert_eq!(script.seen(), itself, "traced");
        all(&mut Shadowed::new(device(), &MAP, Clock::new_virtual()));
        assert_eq!(script.seen(), itself, "shadowed");
        all(&mut Transactional::new(device(), &MAP));
        assert_eq!(script.seen(), itself, "in transactions");
    }
}
