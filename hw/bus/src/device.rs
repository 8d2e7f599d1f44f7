//! The device trait.

use std::os::fd::RawFd;
use std::sync::Arc;

use nook_regs::{BarSpace, Width};

use crate::{BarMemory, DmaWindow};

/// What can go wrong with a device. Every one of these is about the device or the machine, never about the driver.
#[derive(Debug, thiserror::Error)]
pub enum DeviceError {
    /// It no longer answers: unplugged, powered down, its process died.
    #[error("the device is gone: {0}")]
    Gone(String),
    /// The device has no such BAR, or nothing at that offset.
    #[error("BAR {bar} has nothing at {offset:#x} ({width})")]
    NoSuchRegister {
        /// Which BAR.
        bar: u8,
        /// Bytes from its start.
        offset: u32,
        /// Of the access.
        width: Width,
    },
    /// The IOVA range is not free, or not one that the device can reach.
    #[error("cannot map {len_bytes:#x} bytes at IOVA {iova:#x}: {why}")]
    Unmappable {
        /// Where.
        iova: u64,
        /// How much.
        len_bytes: u64,
        /// The reason, and what would help.
        why: String,
    },
    /// The operation does not exist on this device.
    #[error("{0}")]
    Unsupported(String),
    /// The operating system refused.
    #[error("{what}: {source}")]
    Os {
        /// What was tried, on what.
        what: String,
        /// Its answer.
        #[source]
        source: std::io::Error,
    },
}

impl DeviceError {
    /// Wraps an operating system error, with what was tried.
    pub fn os(what: impl Into<String>, source: std::io::Error) -> Self {
        DeviceError::Os { what: what.into(), source }
    }
}

/// What device operations return.
pub type Result<T> = std::result::Result<T, DeviceError>;

/// Which device it is (configuration space, offsets 0 to 0x2f).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PciIdentity {
    /// Vendor id.
    pub vendor: u16,
    /// Device id.
    pub device: u16,
    /// Subsystem vendor id.
    pub subsystem_vendor: u16,
    /// Subsystem id.
    pub subsystem: u16,
    /// Class, subclass, programming interface: 24 bits.
    pub class: u32,
    /// Revision id.
    pub revision: u8,
}

impl PciIdentity {
    /// Creates the identity of a function with these ids and this class, without subsystem and of revision 0.
    pub const fn new(vendor: u16, device: u16, class: u32) -> Self {
        PciIdentity { vendor, device, subsystem_vendor: 0, subsystem: 0, class, revision: 0 }
    }
}

/// One base address register.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BarInfo {
    /// 0 to 5.
    pub index: u8,
    /// Memory or I/O.
    pub space: BarSpace,
    /// Its size.
    pub len_bytes: u64,
}

/// Addresses, as the device sees them, that a window may be mapped at. Both ends are inside.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct IovaRange {
    /// The first address.
    pub first: u64,
    /// The last address.
    pub last: u64,
}

/// How a device interrupts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum IrqKind {
    /// A shared, level-triggered line. The bus side masks it when it fires; [`PciDevice::irq_unmask`] opens it again.
    Intx,
    /// Message signalled, one vector.
    Msi,
    /// Message signalled, a table of vectors.
    MsiX,
}

/// What [`PciDevice::reset`] did.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ResetKind {
    /// The function was reset: registers at their defaults, DMA stopped.
    Function,
    /// This device has no function reset (an e1000 has none). Nothing was done; the caller must quiet it by other
    /// means: bus mastering off, IOVAs unmapped, the driver's own reset.
    None,
}

/// What [`PciDevice::service`] found.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Service {
    /// Vectors that are to be handled now, as a bit mask (INTx and MSI are vector 0).
    pub irqs: u32,
    /// When the device wants to be serviced again even if nothing happens, in nanoseconds of the nook's
    /// [`Clock`](crate::Clock).
    pub due_ns: Option<u64>,
}

/// A PCI function, seen from the side that drives it.
///
/// All calls come from the one thread of the nook that owns the device. A device never calls back: what it has to
/// say (interrupts) is fetched with [`service`](PciDevice::service).
///
/// DMA: a device reaches memory only through windows that were mapped with [`dma_map`](PciDevice::dma_map) and only
/// while bus mastering is on. What it does outside them goes nowhere and is counted in
/// [`dma_faults`](PciDevice::dma_faults).
///
/// What has a default describes a function of registers and nothing else: no interrupts, no DMA, no reset, nothing
/// posted. Middleware must pass on every method: [`forward_pci_device!`](crate::forward_pci_device) writes that.
///
/// Nothing writes configuration space but the device's own implementation: bus mastering, BARs and interrupt
/// capabilities are the host's, and no driver may change the rest.
pub trait PciDevice: Send {
    /// Describes what and where it is, for people: "Intel 82540EM (embedded model, seed 7)".
    fn describe(&self) -> String;

    /// Returns the device's identity.
    fn identity(&self) -> PciIdentity;

    /// Returns the BARs that exist, ordered by index.
    fn bars(&self) -> &[BarInfo];

    /// Reads a register. `offset` is inside the BAR and aligned to `width`: the caller has checked.
    fn bar_read(&mut self, bar: u8, offset: u32, width: Width) -> Result<u64>;

    /// Writes a register. Writes arrive in order; they may be posted until a read or [`flush`](PciDevice::flush).
    fn bar_write(&mut self, bar: u8, offset: u32, width: Width, value: u64) -> Result<()>;

    /// Reads configuration space. `offset` is in bytes and aligned to `width` (never 8 bytes). By default it holds the
    /// [`identity`](PciDevice::identity) and reads as zero elsewhere.
    fn config_read(&mut self, offset: u16, width: Width) -> Result<u32> {
        Ok(crate::config::of_identity(self.identity(), offset, width))
    }

    /// Maps a whole BAR for *direct* registers, at the start of `reserve_bytes` of address space of which the rest is
    /// inaccessible. Only memory BARs of whole host pages without an interrupt table can be handed out; where that is
    /// not so the answer is [`DeviceError::Unsupported`] with the reason, and registers are emulated. A mapping that
    /// outlives the device is revoked.
    fn bar_map(&mut self, bar: u8, reserve_bytes: usize) -> Result<Arc<dyn BarMemory>> {
        let _ = reserve_bytes;
        Err(DeviceError::Unsupported(format!("BAR {bar} of {} cannot be mapped", self.describe())))
    }

    /// Returns once all earlier writes have reached the device. By default none is posted.
    fn flush(&mut self) -> Result<()> {
        Ok(())
    }

    /// Addresses that windows may be mapped at. By default there are none.
    fn iova_ranges(&self) -> Vec<IovaRange> {
        Vec::new()
    }

    /// Lets the device reach `window` at `iova`. The device keeps what it needs of the window (a duplicate of its
    /// descriptor, or a clone of its mapping). By default it reaches no memory.
    fn dma_map(&mut self, window: &DmaWindow, iova: u64) -> Result<()> {
        let why = format!("{} does no DMA", self.describe());
        Err(DeviceError::Unmappable { iova, len_bytes: window.len_bytes(), why })
    }

    /// Takes the window that was mapped at `iova` away. When this returns the device no longer writes to it.
    fn dma_unmap(&mut self, iova: u64) -> Result<()> {
        let _ = iova;
        Ok(())
    }

    /// Accesses outside mapped windows that were seen and blocked since the device was opened, where the device
    /// or its bus can tell.
    fn dma_faults(&self) -> u64 {
        0
    }

    /// Turns bus mastering on or off; off is read back before this returns. By default there is nothing to turn on.
    fn set_bus_master(&mut self, on: bool) -> Result<()> {
        let _ = on;
        Ok(())
    }

    /// Resets the function if it can be done without touching other functions. By default it cannot.
    fn reset(&mut self) -> Result<ResetKind> {
        Ok(ResetKind::None)
    }

    /// Starts interrupt delivery in the best way that the device and its bus offer, and says which.
    /// `vectors` is how many the driver wants; the answer may be fewer. By default there are none.
    fn irq_enable(&mut self, vectors: u32) -> Result<(IrqKind, u32)> {
        let _ = vectors;
        Err(DeviceError::Unsupported(format!("{} has no interrupts", self.describe())))
    }

    /// Ends interrupt delivery.
    fn irq_disable(&mut self) -> Result<()> {
        Ok(())
    }

    /// Opens a line that was masked when it fired. A line that is still asserted fires again. Nothing to do for MSI.
    fn irq_unmask(&mut self, vector: u32) -> Result<()> {
        let _ = vector;
        Ok(())
    }

    /// Lets an embedded device work, and fetches interrupts that fired since the last call. Never blocks.
    /// `now_ns` is the nook's clock.
    fn service(&mut self, now_ns: u64) -> Result<Service> {
        let _ = now_ns;
        Ok(Service::default())
    }

    /// Adds descriptors that become readable when [`service`](PciDevice::service) has something to do. By default none.
    fn event_fds(&self, fds: &mut Vec<RawFd>) {
        let _ = fds;
    }
}

impl<D: PciDevice + ?Sized> PciDevice for Box<D> {
    crate::forward_pci_device!(|self| **self =>
        describe identity bars config_read bar_read bar_write bar_map flush
        iova_ranges dma_map dma_unmap dma_faults set_bus_master reset irq_enable irq_disable irq_unmask
        service event_fds);
}
