//! A device that does not let go of the window when it is first asked.

use std::os::fd::RawFd;
use std::sync::{Arc, Mutex};

use nook_bus::Width;
use nook_bus::{
    BarInfo, DeviceError, DmaWindow, IovaRange, IrqKind, PciDevice, PciIdentity, ResetKind, Result, Service,
};
use nook_runtime::{Budgets, Host, HostConfig, Launcher, Mmio, ModuleCache, WasmLauncher};
use nook_tests::e1000_module;

/// Where the window is mapped now; the first attempt to unmap it fails.
#[derive(Default)]
struct Clings {
    mapped: Arc<Mutex<Vec<u64>>>,
    refused: bool,
}

impl PciDevice for Clings {
    fn describe(&self) -> String {
        "a device that clings to its window".into()
    }
    fn identity(&self) -> PciIdentity {
        PciIdentity { vendor: 0x8086, device: 0x100e, subsystem_vendor: 0, subsystem: 0, class: 0, revision: 0 }
    }
    fn bars(&self) -> &[BarInfo] {
        &[]
    }
    fn config_read(&mut self, _: u16, _: Width) -> Result<u32> {
        Ok(0)
    }
    fn config_write(&mut self, _: u16, _: Width, _: u32) -> Result<()> {
        Ok(())
    }
    fn bar_read(&mut self, _: u8, _: u32, _: Width) -> Result<u64> {
        Ok(0)
    }
    fn bar_write(&mut self, _: u8, _: u32, _: Width, _: u64) -> Result<()> {
        Ok(())
    }
    fn flush(&mut self) -> Result<()> {
        Ok(())
    }
    fn iova_ranges(&self) -> Vec<IovaRange> {
        vec![IovaRange { first: 0, last: u64::MAX >> 8 }]
    }
    fn dma_map(&mut self, _: &DmaWindow, iova: u64) -> Result<()> {
        self.mapped.lock().unwrap().push(iova);
        Ok(())
    }
    fn dma_unmap(&mut self, iova: u64) -> Result<()> {
        if !std::mem::replace(&mut self.refused, true) {
            return Err(DeviceError::os("unmapping", std::io::Error::from_raw_os_error(libc::EBUSY)));
        }
        self.mapped.lock().unwrap().retain(|&mapped| mapped != iova);
        Ok(())
    }
    fn dma_faults(&self) -> u64 {
        0
    }
    fn set_bus_master(&mut self, _: bool) -> Result<()> {
        Ok(())
    }
    fn reset(&mut self) -> Result<ResetKind> {
        Ok(ResetKind::None)
    }
    fn irq_enable(&mut self, _: u32) -> Result<(IrqKind, u32)> {
        Ok((IrqKind::Intx, 1))
    }
    fn irq_disable(&mut self) -> Result<()> {
        Ok(())
    }
    fn irq_unmask(&mut self, _: u32) -> Result<()> {
        Ok(())
    }
    fn service(&mut self, _: u64) -> Result<Service> {
        Ok(Service::default())
    }
    fn event_fds(&self, _: &mut Vec<RawFd>) {}
}

#[test]
fn a_window_that_could_not_be_taken_away_is_taken_away_before_the_next_instance() {
    let module = e1000_module();
    let device = Clings::default();
    let mapped = device.mapped.clone();
    let host = Host::new(HostConfig {
        device: Box::new(device),
        window: DmaWindow::new(module.layout().window_bytes).unwrap(),
        maps: &[&e1000_regs::MAP],
        manifest: module.manifest(),
        layout: module.layout(),
        budgets: Budgets::default(),
    })
    .unwrap();
    let launcher = WasmLauncher::new(module, &ModuleCache::none(), Mmio::Emulated).unwrap();
    let mut driver = launcher.launch(host).unwrap_or_else(|error| panic!("{}", error.why));
    let first = mapped.lock().unwrap().clone();
    assert!(driver.host_mut().end_instance().is_err());
    let driver = launcher.launch(driver.into_host()).unwrap_or_else(|error| panic!("{}", error.why));
    let now = mapped.lock().unwrap().clone();
    assert_eq!(now.len(), 1, "{now:x?}");
    assert_ne!(now, first, "the next instance has another place");
    drop(driver);
}
