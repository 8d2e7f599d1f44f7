//! Direct registers: the driver has the BAR as memory, and the host is not asked.

use std::os::fd::RawFd;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};

use nook_abi::{Fault, TrapKind};
use nook_bus::{
    BarInfo, BarMemory, DmaWindow, IovaRange, IrqKind, PciDevice, PciIdentity, ResetKind, Result, Service, Width,
};
use nook_runtime::{Budgets, Driver, DriverModule, Host, HostConfig, Launcher, Mmio, ModuleCache, Wasi, WasmLauncher};

/// A BAR of two pages of anonymous memory.
#[derive(Debug)]
struct Bar {
    base: *mut u8,
    reserved: usize,
    lost: AtomicBool,
}

const BAR_BYTES: usize = 8192;

// SAFETY: plain memory that is only used atomically.
unsafe impl Send for Bar {}
// SAFETY: as above.
unsafe impl Sync for Bar {}

impl Bar {
    fn new(reserved: usize) -> Bar {
        let flags = libc::MAP_PRIVATE | libc::MAP_ANONYMOUS | libc::MAP_NORESERVE;
        // SAFETY: a fresh mapping at an address that the kernel picks; the answer is checked.
        let base = unsafe { libc::mmap(std::ptr::null_mut(), reserved, libc::PROT_NONE, flags, -1, 0) };
        assert_ne!(base, libc::MAP_FAILED);
        // SAFETY: inside of the mapping that was just made.
        assert_eq!(unsafe { libc::mprotect(base, BAR_BYTES, libc::PROT_READ | libc::PROT_WRITE) }, 0);
        Bar { base: base.cast(), reserved, lost: AtomicBool::new(false) }
    }

    fn word(&self, offset: usize) -> &AtomicU32 {
        assert!(offset + 4 <= BAR_BYTES);
        // SAFETY: four aligned bytes of the accessible part, which lives as long as `self`.
        unsafe { AtomicU32::from_ptr(self.base.add(offset).cast()) }
    }
}

impl Drop for Bar {
    fn drop(&mut self) {
        // SAFETY: unmaps exactly what `new` mapped.
        unsafe { libc::munmap(self.base.cast(), self.reserved) };
    }
}

// SAFETY: the range is this value's own and stays in place until it is dropped.
unsafe impl BarMemory for Bar {
    fn base(&self) -> *mut u8 {
        self.base
    }
    fn len_bytes(&self) -> usize {
        BAR_BYTES
    }
    fn reserved_bytes(&self) -> usize {
        self.reserved
    }
    fn lost(&self) -> bool {
        self.lost.load(Ordering::Relaxed)
    }
    fn revoke(&self) {
        self.lost.store(true, Ordering::Relaxed);
    }
}

/// A device that has nothing but its BAR, and says so if the host is asked for a register all the same.
struct Mapped {
    bar: Arc<std::sync::OnceLock<Arc<Bar>>>,
}

impl PciDevice for Mapped {
    fn describe(&self) -> String {
        "a BAR".into()
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
        panic!("the host was asked for a register")
    }
    fn bar_write(&mut self, _: u8, _: u32, _: Width, _: u64) -> Result<()> {
        panic!("the host was asked for a register")
    }
    fn bar_map(&mut self, _: u8, reserve_bytes: usize) -> Result<Arc<dyn BarMemory>> {
        Ok(self.bar.get_or_init(|| Arc::new(Bar::new(reserve_bytes))).clone())
    }
    fn flush(&mut self) -> Result<()> {
        Ok(())
    }
    fn iova_ranges(&self) -> Vec<IovaRange> {
        vec![IovaRange { first: 0, last: u64::MAX >> 8 }]
    }
    fn dma_map(&mut self, _: &DmaWindow, _: u64) -> Result<()> {
        Ok(())
    }
    fn dma_unmap(&mut self, _: u64) -> Result<()> {
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

/// A driver whose `poll(bar, offset, value)` reads a register, writes `value` there, and returns 0 if it had read 7.
fn driver() -> (Box<dyn Driver>, Arc<Bar>) {
    let text = r#"(module
        (import "nook" "mmio_read32" (func $read (param i32 i32) (result i32)))
        (import "nook" "mmio_write32" (func $write (param i32 i32 i32)))
        (memory (export "memory") 1)
        (func (export "nook_probe") (param i32 i32) (result i32) (i32.const 0))
        (func (export "nook_remove"))
        (func (export "nook_open") (result i32) (i32.const 0))
        (func (export "nook_stop") (result i32) (i32.const 0))
        (func (export "nook_poll") (param i32 i32 i32) (result i32)
            (i32.ne (i32.const 7) (call $read (local.get 0) (local.get 1)))
            (call $write (local.get 0) (local.get 1) (local.get 2)))
        (func (export "nook_irq") (param i32) (result i32) (i32.const 0))
        (@custom "nook.manifest" "abi = 0.1\nname = direct\nversion = 1\nlicense = Apache-2.0\nclass = net\npci = 8086:100e\nregisters = e1000\ndma_bytes = 4096\ndma_mask_bits = 64\n"))"#;
    let module = DriverModule::from_bytes(&wat::parse_str(text).unwrap(), Wasi::Refused).unwrap();
    let bar = Arc::new(std::sync::OnceLock::new());
    let config = HostConfig {
        device: Box::new(Mapped { bar: bar.clone() }),
        window: DmaWindow::new(module.layout().window_bytes).unwrap(),
        maps: &[&e1000_regs::MAP],
        manifest: module.manifest(),
        layout: module.layout(),
        budgets: Budgets::default(),
    };
    let host = Host::new(config).unwrap();
    let launcher = WasmLauncher::new(module.into(), &ModuleCache::none(), Mmio::Direct).unwrap();
    let driver = launcher.launch(host).unwrap_or_else(|error| panic!("{}", error.why));
    let bar = bar.get().expect("the BAR was mapped").clone();
    (driver, bar)
}

#[test]
fn registers_are_memory_and_the_host_is_not_asked() {
    let (mut driver, bar) = driver();
    bar.word(0x1c).store(7, Ordering::Relaxed);
    assert_eq!(driver.poll(0, 0x1c, 9), Ok(0));
    assert_eq!(bar.word(0x1c).load(Ordering::Relaxed), 9);
    assert_eq!(driver.poll(0, 0x1c, 9), Ok(1));
    assert_eq!((driver.host().counters().reg_reads, driver.host().counters().hostcalls), (0, 0));
}

#[test]
fn the_bar_ends_where_it_ends_and_other_bars_are_not_there() {
    for (number, offset, kind) in [
        (0, BAR_BYTES as u32, TrapKind::MemoryOutOfBounds),
        (0, BAR_BYTES as u32 - 2, TrapKind::MemoryOutOfBounds),
        (0, u32::MAX - 3, TrapKind::MemoryOutOfBounds),
        (1, 0, TrapKind::Unreachable),
    ] {
        let (mut driver, _bar) = driver();
        let fault = driver.poll(number, offset, 0).unwrap_err();
        assert!(matches!(fault, Fault::Trap { kind: found, .. } if found == kind), "{number} {offset:#x}: {fault}");
    }
}

#[test]
fn a_bar_that_was_lost_is_a_fault_of_the_call_that_used_it() {
    let (mut driver, bar) = driver();
    bar.revoke();
    assert_eq!(driver.poll(0, 0, 0), Err(Fault::DeviceGone));
    assert_eq!(driver.poll(0, 0, 0), Err(Fault::DeviceGone));
}

#[test]
fn a_driver_that_trips_over_a_lost_bar_is_not_at_fault() {
    let (mut driver, bar) = driver();
    bar.revoke();
    assert_eq!(driver.poll(0, u32::MAX - 3, 0), Err(Fault::DeviceGone));
}
