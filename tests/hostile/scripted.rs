//! A device between the host and another device: it does what its script says, and remembers what was left on.

use std::collections::BTreeSet;
use std::io;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use nook_bus::{DeviceError, DmaWindow, IrqKind, PciDevice, Result, Service, Width};
use nook_runtime::Revoker;

use crate::case::Script;

/// How often a device that behaves interrupts by itself.
const INTERRUPTS: u32 = 3;

/// What was written to the device, and what it does.
#[derive(Debug)]
pub struct State {
    /// What it does from now on.
    pub script: Script,
    /// Interrupts that it still makes up.
    interrupts: u32,
    /// It may start DMA.
    pub bus_master: bool,
    /// Where windows are mapped.
    pub mapped: BTreeSet<u64>,
    /// Interrupts are delivered.
    pub irq: bool,
    /// What takes it away from its driver.
    pub revoker: Option<Revoker>,
}

/// The device.
pub struct Scripted<D> {
    device: D,
    state: Arc<Mutex<State>>,
}

/// The device's state, to be looked at.
#[derive(Clone)]
pub struct Handle(Arc<Mutex<State>>);

impl Handle {
    /// Returns the state.
    pub fn state(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl<D: PciDevice> Scripted<D> {
    /// `device`, as `script` has it.
    pub fn new(device: D, script: Script) -> (Self, Handle) {
        let state = State {
            script,
            interrupts: INTERRUPTS,
            bus_master: false,
            mapped: BTreeSet::new(),
            irq: false,
            revoker: None,
        };
        let state = Arc::new(Mutex::new(state));
        (Scripted { device, state: state.clone() }, Handle(state))
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn answers(&self) -> Result<()> {
        match self.state().script {
            Script::Unplugged => Err(DeviceError::Gone("somebody pulled it out".into())),
            Script::Fails => Err(DeviceError::os("a register", io::Error::from(io::ErrorKind::BrokenPipe))),
            Script::Behaves | Script::Silent | Script::Storms | Script::TakenAway => Ok(()),
        }
    }
}

impl<D: PciDevice> PciDevice for Scripted<D> {
    nook_bus::forward_pci_device!(|self| self.device =>
        describe identity bars config_read iova_ranges dma_faults reset irq_unmask
        event_fds);

    fn bar_read(&mut self, bar: u8, offset: u32, width: Width) -> Result<u64> {
        self.answers()?;
        {
            let state = self.state();
            if let (Script::TakenAway, Some(revoker)) = (state.script, &state.revoker) {
                revoker.revoke();
            }
        }
        self.device.bar_read(bar, offset, width)
    }
    fn bar_write(&mut self, bar: u8, offset: u32, width: Width, value: u64) -> Result<()> {
        self.answers()?;
        self.device.bar_write(bar, offset, width, value)
    }
    fn flush(&mut self) -> Result<()> {
        self.answers()?;
        self.device.flush()
    }
    fn dma_map(&mut self, window: &DmaWindow, iova: u64) -> Result<()> {
        self.device.dma_map(window, iova)?;
        self.state().mapped.insert(iova);
        Ok(())
    }
    fn dma_unmap(&mut self, iova: u64) -> Result<()> {
        self.device.dma_unmap(iova)?;
        self.state().mapped.remove(&iova);
        Ok(())
    }
    fn set_bus_master(&mut self, on: bool) -> Result<()> {
        self.device.set_bus_master(on)?;
        self.state().bus_master = on;
        Ok(())
    }
    fn irq_enable(&mut self, vectors: u32) -> Result<(IrqKind, u32)> {
        let answer = self.device.irq_enable(vectors)?;
        self.state().irq = true;
        Ok(answer)
    }
    fn irq_disable(&mut self) -> Result<()> {
        self.device.irq_disable()?;
        self.state().irq = false;
        Ok(())
    }
    fn service(&mut self, now_ns: u64) -> Result<Service> {
        let mut service = self.device.service(now_ns)?;
        let mut state = self.state();
        match state.script {
            Script::Silent => service.irqs = 0,
            Script::Storms => service.irqs |= 1,
            _ if state.irq && state.interrupts > 0 => {
                state.interrupts -= 1;
                service.irqs |= 1;
            }
            _ => {}
        }
        Ok(service)
    }
}
