//! [`Device`]: a virtio device on PCI, and the crate's `Transport` over nook's registers.

use nook_sdk::{DmaBytes, DmaRegion, Kernel, Nook, Register, Regs, Status, error};
use virtio_drivers::PhysAddr;
use virtio_drivers::transport::{DeviceStatus, DeviceType, Transport};
use virtio_regs::{self as map, feature};

use crate::{hal, layout};

/// How long a reset may take, and how often it is looked whether it is done.
const RESET_NS: u64 = 5_000_000_000;
const LOOK_NS: u64 = 100_000;
/// The vector of changes of the configuration, and that of the queues, if there are two. One alone is for both.
const CONFIG_VECTOR: u16 = 0;
const QUEUE_VECTOR: u16 = 1;

/// What is taken wherever it is offered, whatever the crate's drivers know of.
pub(crate) const ALWAYS: u64 = feature::VERSION_1 | feature::ACCESS_PLATFORM;

/// What an interrupt was for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Causes {
    /// A queue may have something that was used.
    pub queues: bool,
    /// The configuration may have changed.
    pub config: bool,
}

/// A virtio device, and the memory for its queues.
///
/// The order of its life: [`new`](Self::new), [`negotiate`](Self::negotiate), a [`queue`](Self::queue) for each that is
/// used, [`start`](Self::start), and [`reset`](Self::reset), after which it can be negotiated again. DMA must be on
/// before it is started: QEMU forgets that it was when bus mastering is turned off.
pub struct Device<K: Kernel> {
    nook: Nook<K>,
    pub(crate) regs: Regs<K>,
    arena: DmaRegion<K>,
    pub(crate) kind: DeviceType,
    /// Features that it has.
    pub(crate) offered: u64,
    /// How many vectors are on: none, one, which may be the line, or two.
    vectors: u16,
    /// The vector that queues send their messages on.
    pub(crate) queue_vector: u16,
    /// Where the queue that was set up last has its descriptors.
    pub(crate) last_set: PhysAddr,
    /// What went wrong in a method of the trait, which has no way to say so.
    pub(crate) failed: Option<&'static str>,
}

impl<K: Kernel> Device<K> {
    /// Finds the device, checks that its registers are where the map has them, and resets it. Process context only.
    ///
    /// # Errors
    /// `Unsupported` if it is another device than the map is of; `Timeout` if it does not become silent; what
    /// [`Nook::dma_alloc`] says. The log has the reason.
    pub fn new(nook: Nook<K>, kind: DeviceType) -> Result<Self, Status> {
        layout::check(nook)?;
        let (regs, arena) = (nook.regs(map::BAR.into()), hal::set_up(nook)?);
        let (vectors, queue_vector) = (0, map::NO_VECTOR);
        let mut device =
            Device { nook, regs, arena, kind, offered: 0, vectors, queue_vector, last_set: 0, failed: None };
        device.reset()?;
        Ok(device)
    }

    /// Returns the registers, for those of the kind.
    pub fn regs(&self) -> Regs<K> {
        self.regs
    }

    /// Resets the device: it forgets its queues and touches no memory any more. Process context only.
    ///
    /// # Errors
    /// `Timeout` if it does not say that it is done.
    pub fn reset(&mut self) -> Result<(), Status> {
        self.set_status(DeviceStatus::empty());
        let silent = self.nook.poll_until(RESET_NS, LOOK_NS, || self.regs.read(map::DEVICE_STATUS) == 0);
        if silent.is_err() {
            error!(self.nook, "the device does not end its reset: status {:#x}", self.regs.read(map::DEVICE_STATUS));
        }
        silent
    }

    /// Agrees with the device on those of the features `wanted` that it offers, and on
    /// [`VERSION_1`](feature::VERSION_1) and [`ACCESS_PLATFORM`](feature::ACCESS_PLATFORM). Returns on which.
    ///
    /// # Errors
    /// `Unsupported` if the device is of an older kind, or does not agree. The log has the reason.
    pub fn negotiate(&mut self, wanted: u64) -> Result<u64, Status> {
        self.failed = None;
        self.set_status(DeviceStatus::ACKNOWLEDGE | DeviceStatus::DRIVER);
        let agreed = self.read_device_features() & (wanted | ALWAYS);
        self.write_driver_features(agreed);
        self.set_status(DeviceStatus::ACKNOWLEDGE | DeviceStatus::DRIVER | DeviceStatus::FEATURES_OK);
        self.choose_vectors();
        self.outcome()?;
        Ok(agreed)
    }

    /// Gives changes of the configuration their vector, and chooses that of the queues. With one vector, a device that
    /// takes it may send messages, and one that does not (4.1.5.1.2.1) has its line.
    fn choose_vectors(&mut self) {
        self.regs.write(map::MSIX_CONFIG, if self.vectors == 0 { map::NO_VECTOR } else { CONFIG_VECTOR });
        let taken = self.regs.read(map::MSIX_CONFIG) == CONFIG_VECTOR;
        self.queue_vector = match self.vectors {
            2 => QUEUE_VECTOR,
            1 if taken => CONFIG_VECTOR,
            _ => map::NO_VECTOR,
        };
        if self.vectors == 2 && !taken {
            self.failed = Some("it refuses the vector for changes of its configuration");
        }
    }

    /// Says to the device that all is set up: it may use its queues from now on. DMA must be on.
    pub fn start(&mut self) {
        self.finish_init();
    }

    /// Turns interrupts on: two vectors if the manifest asks for two and the device has them, else one, or its line.
    /// Before [`negotiate`](Self::negotiate), which tells the device. Process context only.
    ///
    /// # Errors
    /// What [`Nook::irq_enable`] says.
    pub fn enable_interrupts(&mut self) -> Result<(), Status> {
        self.nook.irq_enable(CONFIG_VECTOR.into())?;
        self.vectors = if self.nook.irq_enable(QUEUE_VECTOR.into()).is_ok() { 2 } else { 1 };
        Ok(())
    }

    /// Turns interrupts off. Process context only.
    ///
    /// # Errors
    /// What [`Nook::irq_disable`] says.
    pub fn disable_interrupts(&mut self) -> Result<(), Status> {
        if core::mem::take(&mut self.vectors) == 2 {
            self.nook.irq_disable(QUEUE_VECTOR.into())?;
        }
        self.nook.irq_disable(CONFIG_VECTOR.into())
    }

    /// Returns what an interrupt on `vector` was for, and lets a line go; nothing if it was another device's. With
    /// one vector it may be for the queues at any time.
    #[inline]
    pub fn causes(&self, vector: u32) -> Causes {
        if self.vectors == 2 {
            return Causes { queues: vector == QUEUE_VECTOR.into(), config: vector == CONFIG_VECTOR.into() };
        }
        let causes = self.regs.read(map::ISR_STATUS);
        // It may be a message, and the register need not say what messages were for (4.1.4.5).
        let message = self.queue_vector != map::NO_VECTOR;
        let has = |cause| causes & cause != 0;
        Causes {
            queues: message || has(map::ISR_STATUS::QUEUE),
            config: message && causes == 0 || has(map::ISR_STATUS::CONFIG),
        }
    }

    /// Returns whether the device says that it has failed, which a reset mends.
    pub fn needs_reset(&self) -> bool {
        self.regs.read(map::DEVICE_STATUS) & map::DEVICE_STATUS::DEVICE_NEEDS_RESET != 0
    }

    /// Takes what went wrong in a method of the trait as an error, and says it.
    pub(crate) fn outcome(&mut self) -> Result<(), Status> {
        let Some(why) = self.failed.take() else { return Ok(()) };
        error!(self.nook, "the device cannot be driven: {why}");
        self.set_status(DeviceStatus::FAILED);
        Err(Status::Unsupported)
    }

    /// Returns the pages that the device shares with the driver.
    pub(crate) fn arena(&self) -> DmaBytes<'_> {
        self.arena.bytes()
    }

    pub(crate) fn nook(&self) -> Nook<K> {
        self.nook
    }

    pub(crate) fn write_address(&self, low: Register<u32>, high: Register<u32>, address: PhysAddr) {
        self.regs.write(low, address as u32);
        self.regs.write(high, (address >> 32) as u32);
    }
}
