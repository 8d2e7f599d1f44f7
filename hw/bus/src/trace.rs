//! Tracing middleware: tells a sink about every access, and passes it on.

use std::fmt::Write;
use std::sync::Arc;

use nook_regs::{RegisterMap, Width};

use crate::{BarMemory, DeviceError, DmaWindow, PciDevice, ResetKind, Result, Service, field_names, register_name};

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

impl BusAccess {
    /// Returns it in words, with registers and fields as `map` names them.
    pub fn describe(&self, map: &RegisterMap) -> String {
        let register = |bar, offset, arrow, width: Width, value| {
            let digits = 2 + 2 * width.bytes() as usize;
            let mut text = format!("{} {arrow} {value:#0digits$x}", register_name(map, bar, offset));
            let fields = map.find(bar, offset).map(|(info, _)| field_names(info, value)).unwrap_or_default();
            if !fields.is_empty() {
                let _ = write!(text, "  [{fields}]");
            }
            text
        };
        match *self {
            BusAccess::Read { bar, offset, width, value } => register(bar, offset, "->", width, value),
            BusAccess::Write { bar, offset, width, value } => register(bar, offset, "<-", width, value),
            BusAccess::Irq(vectors) => {
                let fired = (0..u32::BITS).filter(|vector| vectors >> vector & 1 != 0);
                format!("interrupt {}", fired.map(|vector| vector.to_string()).collect::<Vec<_>>().join(", "))
            }
            BusAccess::Reset(kind) => format!("the device was reset ({kind:?})"),
            BusAccess::BusMaster(true) => "bus mastering on: the device may reach memory".into(),
            BusAccess::BusMaster(false) => "bus mastering off".into(),
            BusAccess::Map(iova) => format!("the DMA window is at {iova:#x} for the device"),
            BusAccess::Unmap(iova) => format!("the DMA window at {iova:#x} is gone for the device"),
        }
    }
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

#[cfg(test)]
mod tests {
    use super::*;

    nook_regs::registers! {
        /// One.
        static MAP = "sample", bar 0, 0x100 bytes;
        /// With a bit.
        CTRL: u16 at 0x10, Rw, "1" {
            /// A bit.
            RST = 1,
        }
    }

    #[test]
    fn what_crosses_the_bus_is_described_in_words() {
        let read = BusAccess::Read { bar: 0, offset: CTRL.offset(), width: Width::B2, value: 3 };
        let write = BusAccess::Write { bar: 0, offset: 0x20, width: Width::B4, value: 0x1f };
        let told = [read, write, BusAccess::Irq(0b101), BusAccess::Map(0x100_0000)].map(|it| it.describe(&MAP));
        assert_eq!(
            told,
            [
                "CTRL -> 0x0003  [RST]",
                "BAR 0 0x20 <- 0x0000001f",
                "interrupt 0, 2",
                "the DMA window is at 0x1000000 for the device"
            ]
        );
    }
}
