//! The device itself.

use std::cell::RefCell;
use std::io;
use std::os::fd::RawFd;
use std::sync::{Arc, Weak};

use nook_bus::{
    BarInfo, BarMemory, DeviceError, DmaWindow, IovaRange, IrqKind, MappedBar, PciDevice, PciIdentity, ResetKind,
    Result, Service, Width, config,
};
use vfio_bindings::bindings::vfio as vb;

use crate::bars::Bar;
use crate::config_space::ConfigSpace;
use crate::faults::FaultLog;
use crate::irq::{Interrupts, Notices};
use crate::placement::placement;
use crate::vfio::{self, Handles, OpenError};
use crate::virtio::goes_past_iommu;
use crate::{PciAddress, Sysfs, sys};

/// How often [`service`](PciDevice::service) asks the device whether it is still there. What reads as ones is noticed
/// at once; this is for drivers that only write, only wait, or have direct registers.
const PRESENCE_PERIOD_NS: u64 = 250_000_000;
/// After how many interrupts on a line it is asked at the latest. A driver that was cut off from its registers cannot
/// have a device release its line, and would interrupt again each time that the line is opened.
const PRESENCE_INTERRUPTS: u32 = 64;

/// A PCI function that VFIO gave to this process.
///
/// Dropping it undoes everything: handed-out BARs revoked, interrupts off, bus mastering off, windows unmapped, BARs
/// unmapped, descriptors closed. If the process dies instead, the kernel does the same.
///
/// Once it is gone (removed, unplugged, an uncorrected error, memory decoding turned off) each access answers
/// [`DeviceError::Gone`] with the first reason, until it is opened again; taking things away (interrupts, windows)
/// still works.
#[derive(Debug)]
pub struct VfioDevice {
    address: PciAddress,
    identity: PciIdentity,
    bar_infos: Vec<BarInfo>,
    /// By index.
    bars: [Option<Bar>; 6],
    /// Mappings that were handed out, each with its BAR.
    direct: Vec<(u8, Weak<MappedBar>)>,
    config: ConfigSpace,
    resettable: bool,
    interrupts: Option<Interrupts>,
    notices: Option<Notices>,
    faults: RefCell<FaultLog>,
    gone: Option<String>,
    /// When it was last asked whether it is there, and how often its line was opened since.
    seen_ns: u64,
    opened_since_seen: u32,
    handles: Handles,
    /// After the handles: a window that could not be unmapped lives until the container is closed.
    windows: Vec<(u64, DmaWindow)>,
}

impl VfioDevice {
    /// Opens the function at `address`, which must be bound to vfio-pci: decoding on, bus mastering and interrupts
    /// off, nothing mapped for DMA.
    pub fn open(address: PciAddress) -> std::result::Result<Self, OpenError> {
        let handles = vfio::open(&Sysfs::default(), address)?;
        let opened = Self::with(address, handles).and_then(|mut device| Ok((goes_past_iommu(&mut device)?, device)));
        match opened.map_err(|source| OpenError::Device { address, source })? {
            (true, _) => Err(OpenError::PastIommu { address }),
            (false, device) => Ok(device),
        }
    }

    fn with(address: PciAddress, handles: Handles) -> Result<Self> {
        let info = sys::device_info(&handles.device).map_err(|e| DeviceError::os("asking what it is", e))?;
        if info.flags & vb::VFIO_DEVICE_FLAGS_PCI == 0 {
            return Err(DeviceError::Unsupported("VFIO says that it is not a PCI device".into()));
        }
        let asking = |e| DeviceError::os("reading configuration space", e);
        let region = sys::region(&handles.device, vb::VFIO_PCI_CONFIG_REGION_INDEX).map_err(asking)?;
        let config = ConfigSpace::new(region.file_offset, region.len_bytes);
        let read = |offset, width| config.read(&handles.device, offset, width).map_err(asking);
        let class = read(config::REVISION, Width::B4)?;
        let identity = PciIdentity {
            vendor: read(config::VENDOR, Width::B2)? as u16,
            device: read(config::DEVICE, Width::B2)? as u16,
            subsystem_vendor: read(config::SUBSYSTEM_VENDOR, Width::B2)? as u16,
            subsystem: read(config::SUBSYSTEM, Width::B2)? as u16,
            class: class >> 8,
            revision: class as u8,
        };
        let tables = config.msix_tables(&handles.device).map_err(asking)?;
        let mut bars = [const { None }; 6];
        for (index, bar) in (0u8..).zip(&mut bars) {
            let register = read(config::BAR0 + 4 * u16::from(index), Width::B4)?;
            let forbidden = tables.iter().filter(|(bar, _)| *bar == index).map(|(_, bytes)| bytes.clone()).collect();
            *bar = Bar::open(&handles.device, index, register, forbidden)?;
        }
        let mut device = VfioDevice {
            address,
            identity,
            bar_infos: bars.iter().flatten().map(|bar| bar.info).collect(),
            bars,
            direct: Vec::new(),
            config,
            resettable: info.flags & vb::VFIO_DEVICE_FLAGS_RESET != 0,
            interrupts: None,
            notices: None,
            faults: RefCell::new(FaultLog::open(address)),
            gone: None,
            seen_ns: 0,
            opened_since_seen: 0,
            handles,
            windows: Vec::new(),
        };
        // From here on, dropping it undoes what was done.
        device.set_command(config::COMMAND_MEMORY | config::COMMAND_IO, config::COMMAND_BUS_MASTER)?;
        device.notices = Some(Notices::enable(&device.handles.device)?);
        Ok(device)
    }

    /// Sets and clears bits of the command register, and reads them back. Decoding stays off where a device has no
    /// BARs of that kind, so only bus mastering, and memory decoding where there is memory, are checked.
    fn set_command(&mut self, set: u16, clear: u16) -> Result<()> {
        let failed = |e| DeviceError::os("writing the command register", e);
        let file = &self.handles.device;
        let now = self.config.read(file, config::COMMAND, Width::B2).map_err(failed)? as u16;
        if now != u16::MAX {
            let wanted = (now | set) & !clear;
            self.config.write(file, config::COMMAND, Width::B2, wanted.into()).map_err(failed)?;
            let now = self.config.read(file, config::COMMAND, Width::B2).map_err(failed)? as u16;
            if now != u16::MAX {
                let memory = if self.has_memory() { config::COMMAND_MEMORY } else { 0 };
                if (now ^ wanted) & (config::COMMAND_BUS_MASTER | memory) & (set | clear) != 0 {
                    let error = io::Error::other(format!("wrote {wanted:#06x}, and it reads {now:#06x}"));
                    return Err(failed(error));
                }
                return Ok(());
            }
        }
        Err(self.lose("its configuration space reads as ones: unplugged, or without power".into()))
    }

    fn has_memory(&self) -> bool {
        self.bar_infos.iter().any(|bar| bar.space == nook_bus::BarSpace::Memory)
    }

    fn alive(&self) -> Result<()> {
        match &self.gone {
            Some(why) => Err(DeviceError::Gone(why.clone())),
            None => Ok(()),
        }
    }

    /// Marks the device as gone; the first reason stays.
    fn lose(&mut self, why: String) -> DeviceError {
        let address = self.address;
        let why = self.gone.get_or_insert_with(|| {
            tracing::warn!(%address, why, "the device is gone");
            format!("{address}: {why}")
        });
        DeviceError::Gone(why.clone())
    }

    /// Checks whether a register that reads as ones means that nobody answers. The command and status registers come
    /// from the device itself (the ids do not: VFIO answers them from a copy).
    #[cold]
    fn check_presence(&mut self) -> Result<()> {
        let read = self.config.read(&self.handles.device, config::COMMAND, Width::B4);
        match read {
            Ok(u32::MAX) => Err(self.lose("all its registers read as ones: unplugged, or without power".into())),
            Ok(command) if self.has_memory() && command as u16 & config::COMMAND_MEMORY == 0 => {
                Err(self.lose("its memory decoding was turned off behind nook's back".into()))
            }
            Ok(_) => Ok(()),
            Err(error) => Err(self.lose(format!("its configuration space cannot be read: {error}"))),
        }
    }

    fn bar(&self, bar: u8, offset: u32, width: Width) -> Result<&Bar> {
        let found = self.bars.get(usize::from(bar)).and_then(Option::as_ref);
        found.ok_or(DeviceError::NoSuchRegister { bar, offset, width })
    }

    fn lost_page(&mut self, bar: u8) -> DeviceError {
        self.lose(format!("BAR {bar} vanished: unplugged, or its memory decoding was turned off"))
    }

    /// Explains why the kernel refused a window, with what would help.
    fn explain_map(error: &io::Error) -> String {
        match error.raw_os_error() {
            Some(libc::ENOMEM) => "the limit of locked memory is too low; raise it (`ulimit -l unlimited`, or \
                                   LimitMEMLOCK=infinity in a systemd unit)"
                .into(),
            Some(libc::EEXIST) => "something is mapped there".into(),
            Some(libc::EINVAL) => "the IOMMU cannot map this range".into(),
            _ => error.to_string(),
        }
    }
}

impl PciDevice for VfioDevice {
    fn describe(&self) -> String {
        format!("{:04x}:{:04x} at {} (VFIO)", self.identity.vendor, self.identity.device, self.address)
    }

    fn identity(&self) -> PciIdentity {
        self.identity
    }

    fn bars(&self) -> &[BarInfo] {
        &self.bar_infos
    }

    fn config_read(&mut self, offset: u16, width: Width) -> Result<u32> {
        self.alive()?;
        let value = self
            .config
            .read(&self.handles.device, offset, width)
            .map_err(|e| DeviceError::os(format!("reading configuration space at {offset:#x} ({width})"), e))?;
        if u64::from(value) == width.all_ones() {
            self.check_presence()?;
        }
        Ok(value)
    }

    fn bar_read(&mut self, bar: u8, offset: u32, width: Width) -> Result<u64> {
        self.alive()?;
        let found = self.bar(bar, offset, width)?;
        match found.read(&self.handles.device, offset, width) {
            Ok(_) if found.lost() => Err(self.lost_page(bar)),
            Ok(value) => {
                if value == width.all_ones() {
                    self.check_presence()?;
                }
                Ok(value)
            }
            Err(DeviceError::Gone(why)) => Err(self.lose(why)),
            Err(error) => Err(error),
        }
    }

    fn bar_write(&mut self, bar: u8, offset: u32, width: Width, value: u64) -> Result<()> {
        self.alive()?;
        let found = self.bar(bar, offset, width)?;
        match found.write(&self.handles.device, offset, width, value) {
            Ok(()) if found.lost() => Err(self.lost_page(bar)),
            Err(DeviceError::Gone(why)) => Err(self.lose(why)),
            other => other,
        }
    }

    fn bar_map(&mut self, bar: u8, reserve_bytes: usize) -> Result<Arc<dyn BarMemory>> {
        self.alive()?;
        let found = self.bars.get(usize::from(bar)).and_then(Option::as_ref);
        let found = found.ok_or_else(|| DeviceError::Unsupported(format!("there is no BAR {bar}")))?;
        let mapping = Arc::new(found.hand_out(&self.handles.device, reserve_bytes)?);
        self.direct.retain(|(_, direct)| direct.strong_count() > 0);
        self.direct.push((bar, Arc::downgrade(&mapping)));
        Ok(mapping)
    }

    /// Reads the command register: a read from the function, by whatever way, returns after all writes to it (PCI
    /// 3.0, 3.2.5), and that register has no side effect.
    fn flush(&mut self) -> Result<()> {
        self.config_read(config::COMMAND, Width::B2).map(drop)
    }

    fn iova_ranges(&self) -> Vec<IovaRange> {
        self.handles.iommu.ranges.clone()
    }

    fn dma_map(&mut self, window: &DmaWindow, iova: u64) -> Result<()> {
        self.alive()?;
        let len_bytes = window.len_bytes();
        let unmappable = |why| DeviceError::Unmappable { iova, len_bytes, why };
        placement(iova, len_bytes, &self.handles.iommu, &self.windows).map_err(unmappable)?;
        let address = window.slice().ptr_guard_mut().as_ptr();
        #[expect(unsafe_code, reason = "the code that maps memory for a device promises that it stays")]
        // SAFETY: a window is used through volatile accesses only, and `windows` keeps it mapped until `dma_unmap`
        // or until the container is closed (fields drop after `Drop::drop`, which unmaps).
        let mapped = unsafe { sys::map_dma(&self.handles.container, address, iova, len_bytes) };
        mapped.map_err(|error| unmappable(Self::explain_map(&error)))?;
        self.windows.push((iova, window.clone()));
        Ok(())
    }

    fn dma_unmap(&mut self, iova: u64) -> Result<()> {
        let Some(at) = self.windows.iter().position(|(mapped, _)| *mapped == iova) else {
            return Err(DeviceError::Unmappable { iova, len_bytes: 0, why: "no window is mapped there".into() });
        };
        sys::unmap_dma(&self.handles.container, iova, self.windows[at].1.len_bytes())
            .map_err(|e| DeviceError::os(format!("unmapping the window at IOVA {iova:#x}"), e))?;
        self.windows.swap_remove(at);
        Ok(())
    }

    /// Returns what the kernel log says; a lower bound, because kernels limit how often they log such faults, and 0 for
    /// a user that may not read the log.
    fn dma_faults(&self) -> u64 {
        self.faults.borrow_mut().count()
    }

    fn set_bus_master(&mut self, on: bool) -> Result<()> {
        if on {
            self.alive()?;
            return self.set_command(config::COMMAND_BUS_MASTER, 0);
        }
        match self.set_command(0, config::COMMAND_BUS_MASTER) {
            // What is not there does no DMA.
            Err(DeviceError::Gone(_)) => Ok(()),
            other => other,
        }
    }

    /// Bus mastering is off afterwards. Windows stay mapped and interrupts stay aimed.
    fn reset(&mut self) -> Result<ResetKind> {
        self.alive()?;
        if !self.resettable {
            return Ok(ResetKind::None);
        }
        self.set_bus_master(false)?;
        sys::reset(&self.handles.device).map_err(|e| DeviceError::os("resetting the function", e))?;
        self.set_command(config::COMMAND_MEMORY | config::COMMAND_IO, config::COMMAND_BUS_MASTER)?;
        Ok(ResetKind::Function)
    }

    fn irq_enable(&mut self, vectors: u32) -> Result<(IrqKind, u32)> {
        self.alive()?;
        self.irq_disable()?;
        let interrupts = Interrupts::enable(&self.handles.device, vectors)?;
        let answer = (interrupts.kind, interrupts.vectors());
        self.interrupts = Some(interrupts);
        Ok(answer)
    }

    fn irq_disable(&mut self) -> Result<()> {
        match self.interrupts.take() {
            Some(interrupts) => interrupts.disable(&self.handles.device),
            None => Ok(()),
        }
    }

    fn irq_unmask(&mut self, _vector: u32) -> Result<()> {
        self.alive()?;
        if self.interrupts.as_ref().is_some_and(|interrupts| interrupts.kind == IrqKind::Intx) {
            self.opened_since_seen += 1;
            if self.opened_since_seen >= PRESENCE_INTERRUPTS {
                self.opened_since_seen = 0;
                self.check_presence()?;
            }
            sys::unmask_intx(&self.handles.device).map_err(|e| DeviceError::os("unmasking INTx", e))?;
        }
        Ok(())
    }

    fn service(&mut self, now_ns: u64) -> Result<Service> {
        self.alive()?;
        if let Some(why) = self.notices.as_ref().and_then(Notices::take) {
            return Err(self.lose(why.into()));
        }
        let own = self.bars.iter().flatten().find(|bar| bar.lost()).map(|bar| bar.info.index);
        let lost = |direct: &Weak<MappedBar>| direct.upgrade().is_some_and(|mapping| mapping.lost());
        let direct = || self.direct.iter().find(|(_, direct)| lost(direct)).map(|(bar, _)| *bar);
        if let Some(bar) = own.or_else(direct) {
            return Err(self.lost_page(bar));
        }
        if now_ns >= self.seen_ns + PRESENCE_PERIOD_NS {
            self.check_presence()?;
            (self.seen_ns, self.opened_since_seen) = (now_ns, 0);
        }
        let irqs = self.interrupts.as_ref().map_or(0, Interrupts::take);
        Ok(Service { irqs, due_ns: Some(self.seen_ns + PRESENCE_PERIOD_NS) })
    }

    fn event_fds(&self, fds: &mut Vec<RawFd>) {
        fds.extend(self.interrupts.iter().flat_map(Interrupts::fds));
        fds.extend(self.notices.iter().flat_map(Notices::fds));
    }
}

impl Drop for VfioDevice {
    fn drop(&mut self) {
        for (_, direct) in &self.direct {
            if let Some(direct) = direct.upgrade() {
                direct.revoke();
            }
        }
        let interrupts = self.irq_disable();
        let mastering = self.set_bus_master(false);
        let mut windows = Ok(());
        while let Some(iova) = self.windows.last().map(|(iova, _)| *iova) {
            windows = self.dma_unmap(iova);
            if windows.is_err() {
                // Closing the container unmaps it.
                break;
            }
        }
        if let Some(notices) = &self.notices {
            notices.disable(&self.handles.device);
        }
        let told = |what: &str, result: Result<()>| {
            if let Err(error) = result {
                tracing::warn!(address = %self.address, %error, "{what} failed while the device was given up");
            }
        };
        told("turning interrupts off", interrupts);
        told("turning bus mastering off", mastering);
        told("unmapping a window", windows);
    }
}
