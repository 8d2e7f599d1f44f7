//! Tracing middleware: tells a sink about every access, and passes it on.

use std::sync::Arc;

use nook_regs::Width;

use crate::{BarMemory, DeviceError, DmaWindow, PciDevice, ResetKind, Result, Service};

/// One thing that crossed the bus.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum BusAccess {
    /// A register was read.
    Read {
        /// Which BAR.
        bar: u8,
        /// Bytes from its start.
        offset: u32,
        /// How wide.
        width: Width,
        /// What the device answered.
        value: u64,
    },
    /// A register was written.
    Write {
        /// Which BAR.
        bar: u8,
        /// Bytes from its start.
        offset: u32,
        /// How wide.
        width: Width,
        /// What was written.
        value: u64,
    },
    /// Interrupts fired (a mask of vectors).
    Irq(u32),
    /// The device was reset.
    Reset(ResetKind),
    /// Bus mastering was turned on or off.
    BusMaster(bool),
    /// A window was mapped at this IOVA.
    Map(u64),
    /// The window at this IOVA was unmapped.
    Unmap(u64),
}

/// Where a trace goes.
pub trait TraceSink: Send {
    /// Takes each access that the device answered.
    fn access(&mut self, access: BusAccess);
}

impl<F: FnMut(BusAccess) + Send> TraceSink for F {
    fn access(&mut self, access: BusAccess) {
        self(access)
    }
}

/// A device that reports every access to a [`TraceSink`].
pub struct Tracing<D, S> {
    device: D,
    sink: S,
}

impl<D: PciDevice, S: TraceSink> Tracing<D, S> {
    /// Wraps `device`.
    pub fn new(device: D, sink: S) -> Self {
        Tracing { device, sink }
    }

    /// Takes it apart into device and sink.
    pub fn into_parts(self) -> (D, S) {
        (self.device, self.sink)
    }
}

impl<D: PciDevice, S: TraceSink> PciDevice for Tracing<D, S> {
    crate::forward_pci_device!(|self| self.device =>
        describe identity bars config_read flush iova_ranges dma_faults irq_enable
        irq_disable irq_unmask event_fds);

    fn bar_read(&mut self, bar: u8, offset: u32, width: Width) -> Result<u64> {
        let value = self.device.bar_read(bar, offset, width)?;
        self.sink.access(BusAccess::Read { bar, offset, width, value });
        Ok(value)
    }
    fn bar_write(&mut self, bar: u8, offset: u32, width: Width, value: u64) -> Result<()> {
        self.device.bar_write(bar, offset, width, value)?;
        self.sink.access(BusAccess::Write { bar, offset, width, value });
        Ok(())
    }
    fn bar_map(&mut self, bar: u8, _: usize) -> Result<Arc<dyn BarMemory>> {
        let why = format!("direct accesses to BAR {bar} cannot be traced: choose a trace or direct registers");
        Err(DeviceError::Unsupported(why))
    }
    fn dma_map(&mut self, window: &DmaWindow, iova: u64) -> Result<()> {
        self.device.dma_map(window, iova)?;
        self.sink.access(BusAccess::Map(iova));
        Ok(())
    }
    fn dma_unmap(&mut self, iova: u64) -> Result<()> {
        self.device.dma_unmap(iova)?;
        self.sink.access(BusAccess::Unmap(iova));
        Ok(())
    }
    fn set_bus_master(&mut self, on: bool) -> Result<()> {
        self.device.set_bus_master(on)?;
        self.sink.access(BusAccess::BusMaster(on));
        Ok(())
    }
    fn reset(&mut self) -> Result<ResetKind> {
        let kind = self.device.reset()?;
        self.sink.access(BusAccess::Reset(kind));
        Ok(kind)
    }
    fn service(&mut self, now_ns: u64) -> Result<Service> {
        let service = self.device.service(now_ns)?;
        if service.irqs != 0 {
            self.sink.access(BusAccess::Irq(service.irqs));
        }
        Ok(service)
    }
}
