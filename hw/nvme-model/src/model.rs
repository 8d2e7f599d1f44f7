//! The device as the host sees it.

use nook_bus::{
    BarInfo, BarSpace, DeviceError, DmaWindow, IovaRange, IrqKind, PciDevice, PciIdentity, Reach, ResetKind, Result,
    Service, Width,
};
use nook_seed::Rng;

use crate::NEVER;
use crate::behaviour::Behaviour;
use crate::disk::Disk;
use crate::events::Events;
use crate::irq::Irq;
use crate::namespaces::{Namespaces, OtherNamespace};
use crate::queues::{Completions, Submission};
use crate::registers::{Registers, State};
use crate::work::Work;

/// Messages that the device can send.
const VECTORS: u32 = 16;
const BAR: u8 = 0;
const BAR_BYTES: u32 = 0x4000;
const BARS: [BarInfo; 1] = [BarInfo { index: BAR, space: BarSpace::Memory, len_bytes: BAR_BYTES as u64 }];

/// What to model.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ModelConfig {
    /// Seed of its random behaviour.
    pub seed: u64,
    /// How difficult it is.
    pub behaviour: Behaviour,
}

impl Default for ModelConfig {
    /// Returns an adversarial disk.
    fn default() -> Self {
        ModelConfig { seed: 1, behaviour: Behaviour::adversarial() }
    }
}

/// The device. It works while [`service`](PciDevice::service) runs, and only then: a doorbell is answered by the next
/// call.
pub struct Model {
    pub(crate) config: ModelConfig,
    pub(crate) behaviour: Behaviour,
    pub(crate) rng: Rng,
    pub(crate) disk: Disk,
    pub(crate) namespaces: Namespaces,
    pub(crate) reach: Reach,
    pub(crate) irq: Irq,
    pub(crate) registers: Registers,
    /// Queues, the admin ones first.
    pub(crate) submissions: Vec<Submission>,
    pub(crate) completions: Vec<Completions>,
    /// Commands that were taken and are not complete.
    pub(crate) work: Vec<Work>,
    /// When the last completion will be left that has waited for company.
    pub(crate) batch_ns: u64,
    pub(crate) events: Events,
    /// The feature: writes may be acknowledged before they are durable.
    pub(crate) cache_on: bool,
    /// What the feature has granted: I/O queues of each kind; 0 is nothing yet.
    pub(crate) granted: u32,
    pub(crate) now_ns: u64,
    power_cuts: u64,
    resizes: u64,
}

impl Model {
    /// Creates a device right after power-up.
    pub fn new(config: ModelConfig, disk: Disk) -> Self {
        let (cache_on, power_cuts, resizes) = (disk.has_cache(), disk.power_cuts(), disk.resizes());
        Model {
            config,
            behaviour: config.behaviour,
            rng: Rng::new(config.seed),
            disk,
            namespaces: Namespaces::default(),
            reach: Reach::default(),
            irq: Irq::new(),
            registers: Registers::default(),
            submissions: Vec::new(),
            completions: Vec::new(),
            work: Vec::new(),
            batch_ns: 0,
            events: Events::default(),
            cache_on,
            granted: 0,
            now_ns: 0,
            power_cuts,
            resizes,
        }
    }

    /// Gives the disk another number than 1, and other namespaces beside it. There are numbers for two more, which are
    /// not active.
    pub fn with_namespaces(mut self, disk: u32, others: Vec<OtherNamespace>) -> Self {
        let most = others.iter().map(|other| other.id).chain([disk]).max().unwrap_or(disk) + 2;
        self.namespaces = Namespaces { disk, others, most };
        self
    }

    /// Draws for how long the next piece of work waits.
    pub(crate) fn late_ns(&mut self) -> u64 {
        self.rng.up_to(self.behaviour.late_ns)
    }

    /// Draws how long it takes to change between off and ready.
    pub(crate) fn settle_ns(&mut self) -> u64 {
        self.rng.up_to(self.behaviour.settle_ns)
    }

    /// Returns whether commands are worked on.
    pub(crate) fn works(&self) -> bool {
        matches!(self.registers.state, State::Ready | State::Stopping { .. }) && !self.registers.failed
    }

    /// Fails for good (section 9.5).
    pub(crate) fn fail(&mut self, why: &str) {
        tracing::debug!(device = self.describe(), "controller fatal status: {why}");
        self.registers.failed = true;
    }

    /// What a controller reset undoes (section 3.7.2).
    pub(crate) fn forget_queues(&mut self) {
        self.submissions.clear();
        self.completions.clear();
        self.work.clear();
        self.events = Events::default();
        self.irq.reset();
        self.granted = 0;
    }

    /// Looks whether somebody has cut its power, or changed the disk.
    fn follow_disk(&mut self) {
        if self.disk.power_cuts() != self.power_cuts {
            self.power_cuts = self.disk.power_cuts();
            self.forget_queues();
            self.registers = Registers::default();
            self.cache_on = self.disk.has_cache();
        }
        if self.disk.resizes() != self.resizes {
            self.resizes = self.disk.resizes();
            self.events.namespace_changed();
        }
    }
}

impl PciDevice for Model {
    fn describe(&self) -> String {
        format!("NVM Express disk (embedded model, seed {})", self.config.seed)
    }

    fn identity(&self) -> PciIdentity {
        PciIdentity::new(nvme_regs::VENDOR_MODEL, nvme_regs::DEVICE_MODEL, nvme_regs::CLASS)
    }

    fn bars(&self) -> &[BarInfo] {
        &BARS
    }

    /// Reads a register, in 32 or 64 bits (section 3.1.3); no other width reaches one.
    fn bar_read(&mut self, bar: u8, offset: u32, width: Width) -> Result<u64> {
        self.follow_disk();
        match (bar, width) {
            (BAR, Width::B4) if offset < BAR_BYTES => Ok(u64::from(self.read_register(offset))),
            (BAR, Width::B8) if offset < BAR_BYTES - 4 => {
                Ok(u64::from(self.read_register(offset)) | u64::from(self.read_register(offset + 4)) << 32)
            }
            _ => Err(DeviceError::NoSuchRegister { bar, offset, width }),
        }
    }

    fn bar_write(&mut self, bar: u8, offset: u32, width: Width, value: u64) -> Result<()> {
        self.follow_disk();
        match (bar, width) {
            (BAR, Width::B4) if offset < BAR_BYTES => self.write_register(offset, value as u32),
            (BAR, Width::B8) if offset < BAR_BYTES - 4 => {
                self.write_register(offset, value as u32);
                self.write_register(offset + 4, (value >> 32) as u32);
            }
            _ => return Err(DeviceError::NoSuchRegister { bar, offset, width }),
        }
        Ok(())
    }

    fn iova_ranges(&self) -> Vec<IovaRange> {
        vec![Reach::RANGE]
    }

    fn dma_map(&mut self, window: &DmaWindow, iova: u64) -> Result<()> {
        self.reach.map(window, iova)
    }

    fn dma_unmap(&mut self, iova: u64) -> Result<()> {
        self.reach.unmap(iova)
    }

    fn dma_faults(&self) -> u64 {
        self.reach.faults
    }

    fn set_bus_master(&mut self, on: bool) -> Result<()> {
        self.reach.bus_master = on;
        Ok(())
    }

    /// Resets the function (PCIe 3.6): all of it but what is in the cache, which keeps its power.
    fn reset(&mut self) -> Result<ResetKind> {
        self.forget_queues();
        self.registers = Registers::default();
        self.irq.close();
        self.reach.bus_master = false;
        Ok(ResetKind::Function)
    }

    /// Enables messages if there are any and more than one vector is wanted, and the line otherwise.
    fn irq_enable(&mut self, vectors: u32) -> Result<(IrqKind, u32)> {
        if vectors > 1 && self.behaviour.messages {
            let granted = vectors.min(VECTORS);
            self.irq.open_messages(granted);
            return Ok((IrqKind::MsiX, granted));
        }
        self.irq.open_line();
        Ok((IrqKind::Intx, 1))
    }

    fn irq_disable(&mut self) -> Result<()> {
        self.irq.close();
        Ok(())
    }

    fn irq_unmask(&mut self, _vector: u32) -> Result<()> {
        self.irq.unmask();
        Ok(())
    }

    fn service(&mut self, now_ns: u64) -> Result<Service> {
        self.now_ns = now_ns.max(self.now_ns);
        self.follow_disk();
        self.settle();
        self.take();
        self.perform();
        self.tell_events();
        self.complete();
        let level = self.completions.iter().any(|queue| queue.vector.is_some() && queue.waiting() > 0);
        let spurious = self.rng.one_in(self.behaviour.spurious_one_in).then(|| self.rng.below(VECTORS.into()) as u32);
        let irqs = self.irq.fires(level, spurious);
        let due_ns = self.work_due_ns().min(self.registers.due_ns());
        Ok(Service { irqs, due_ns: (due_ns != NEVER).then_some(due_ns) })
    }
}
