//! A device for the tests of what is put around devices.

use std::collections::{HashMap, VecDeque};
use std::os::fd::RawFd;
use std::sync::{Arc, Mutex};

use nook_regs::Width;

use crate::{BarInfo, DeviceError, DmaWindow, IovaRange, IrqKind, PciDevice, PciIdentity, ResetKind, Result, Service};

/// What a scripted device answers, and what it was asked for.
#[derive(Default)]
pub(crate) struct Script {
    /// What the next reads of a register give; then zero.
    pub(crate) answers: HashMap<u32, VecDeque<u64>>,
    /// What reached it, in order.
    pub(crate) seen: Vec<String>,
    /// It refuses this register's writes.
    pub(crate) refuses: Option<u32>,
}

/// A device that says what reached it.
#[derive(Clone, Default)]
pub(crate) struct Scripted(pub(crate) Arc<Mutex<Script>>);

impl Scripted {
    pub(crate) fn answers(&self, offset: u32, value: u64) {
        self.0.lock().unwrap().answers.entry(offset).or_default().push_back(value);
    }
    pub(crate) fn saw(&self, what: impl Into<String>) {
        self.0.lock().unwrap().seen.push(what.into());
    }
    /// What has reached it since this was last asked.
    pub(crate) fn seen(&self) -> Vec<String> {
        std::mem::take(&mut self.0.lock().unwrap().seen)
    }
}

impl PciDevice for Scripted {
    fn describe(&self) -> String {
        "scripted".into()
    }
    fn identity(&self) -> PciIdentity {
        PciIdentity { vendor: 1, device: 2, subsystem_vendor: 0, subsystem: 0, class: 0, revision: 0 }
    }
    fn bars(&self) -> &[BarInfo] {
        &[]
    }
    fn config_read(&mut self, _: u16, _: Width) -> Result<u32> {
        self.saw("config read");
        Ok(0)
    }
    fn config_write(&mut self, _: u16, _: Width, _: u32) -> Result<()> {
        self.saw("config write");
        Ok(())
    }
    fn bar_read(&mut self, _: u8, offset: u32, _: Width) -> Result<u64> {
        self.saw(format!("read {offset:#x}"));
        let answers = &mut self.0.lock().unwrap().answers;
        Ok(answers.get_mut(&offset).and_then(VecDeque::pop_front).unwrap_or(0))
    }
    fn bar_write(&mut self, _: u8, offset: u32, _: Width, value: u64) -> Result<()> {
        if self.0.lock().unwrap().refuses == Some(offset) {
            return Err(DeviceError::Gone("refused".into()));
        }
        self.saw(format!("{offset:#x}={value:#x}"));
        Ok(())
    }
    fn flush(&mut self) -> Result<()> {
        self.saw("flush");
        Ok(())
    }
    fn iova_ranges(&self) -> Vec<IovaRange> {
        Vec::new()
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
    fn event_fds(&self, _: &mut Vec<RawFd>) {}
}
