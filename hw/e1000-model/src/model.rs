//! The device as the host sees it.

use std::os::fd::RawFd;

use e1000_regs::{ICR, RADV, RDTR, TADV, TIDV, TXDCTL};
use nook_bus::config::{COMMAND_BUS_MASTER, COMMAND_INTX_DISABLE};
use nook_bus::{
    BarInfo, DeviceError, DmaWindow, IovaRange, IrqKind, PciDevice, PciIdentity, Reach, ResetKind, Result, Service,
    Width,
};
use nook_net_api::Wire;

use crate::NEVER;
use crate::behaviour::Behaviour;
use crate::config_space::{BARS, ConfigSpace, IO_BAR, IOADDR, IODATA, MEMORY_BAR};
use crate::eeprom::Eeprom;
use crate::irq::Irq;
use crate::pause::Pause;
use crate::phy::Phy;
use crate::registers::RegisterFile;
use crate::rx::Receiver;
use crate::rx_filter::RxFilter;
use crate::stats::Stats;
use crate::tx::Transmitter;
use nook_seed::Rng;

/// How long the cable is left alone after it failed.
const WIRE_REST_NS: u64 = 100_000_000;

/// Which member of the family.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Chip {
    /// 8086:100e.
    I82540em,
    /// 8086:100f, copper.
    I82545em,
}

impl Chip {
    fn name(self) -> &'static str {
        match self {
            Chip::I82540em => "Intel 82540EM",
            Chip::I82545em => "Intel 82545EM",
        }
    }

    fn device_id(self) -> u16 {
        match self {
            Chip::I82540em => e1000_regs::DEVICE_82540EM,
            Chip::I82545em => e1000_regs::DEVICE_82545EM,
        }
    }

    fn revision(self) -> u8 {
        match self {
            Chip::I82540em => 2,
            Chip::I82545em => 1,
        }
    }
}

/// What to model.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ModelConfig {
    /// Which chip.
    pub chip: Chip,
    /// The Ethernet address in its EEPROM.
    pub mac: [u8; 6],
    /// Seed of its random behaviour.
    pub seed: u64,
    /// How difficult it is.
    pub behaviour: Behaviour,
}

impl Default for ModelConfig {
    /// Returns an adversarial 82540EM with a locally administered address.
    fn default() -> Self {
        ModelConfig {
            chip: Chip::I82540em,
            mac: [0x52, 0x54, 0x00, 0x12, 0x34, 0x56],
            seed: 1,
            behaviour: Behaviour::adversarial(),
        }
    }
}

/// The device. It works while [`service`](PciDevice::service) runs, and only then: a doorbell is answered by the next
/// call, and a register access that waits for time to pass (a link that is being negotiated) needs calls in between.
pub struct Model {
    config: ModelConfig,
    identity: PciIdentity,
    space: ConfigSpace,
    pub(crate) behaviour: Behaviour,
    pub(crate) rng: Rng,
    pub(crate) wire: Box<dyn Wire>,
    pub(crate) dma: Reach,
    pub(crate) eeprom: Eeprom,
    pub(crate) phy: Phy,
    pub(crate) pause: Pause,
    pub(crate) irq: Irq,
    pub(crate) stats: Stats,
    pub(crate) filter: RxFilter,
    pub(crate) tx: Transmitter,
    pub(crate) rx: Receiver,
    pub(crate) plain: RegisterFile,
    /// The MAC's view of the link.
    pub(crate) link_up: bool,
    /// Reads of CTRL during which a reset is still under way, and when it is over however it is read.
    pub(crate) resetting: u32,
    pub(crate) reset_until_ns: u64,
    ioaddr: u32,
    pub(crate) now_ns: u64,
    /// The cable failed, and is not used before this.
    wire_rests_until_ns: u64,
    /// The cable failed since a frame was last sent.
    wire_told: bool,
}

impl Model {
    /// Creates a device right after power-up, plugged into `wire`.
    pub fn new(config: ModelConfig, wire: Box<dyn Wire>) -> Self {
        let mut rng = Rng::new(config.seed);
        let device = config.chip.device_id();
        let identity = PciIdentity {
            vendor: e1000_regs::VENDOR,
            device,
            subsystem_vendor: e1000_regs::VENDOR,
            subsystem: device,
            class: e1000_regs::CLASS,
            revision: config.chip.revision(),
        };
        let garbage = config.behaviour.garbage;
        let mut word = || if garbage { rng.word() as u32 } else { 0 };
        let mut model = Model {
            config,
            identity,
            space: ConfigSpace::new(identity),
            behaviour: config.behaviour,
            wire,
            dma: Reach::default(),
            eeprom: Eeprom::new(config.mac, device),
            phy: Phy::new(config.behaviour.partner_offers),
            pause: Pause::default(),
            irq: Irq::new(),
            filter: RxFilter::new(&mut word),
            plain: RegisterFile::new(&mut word),
            tx: Transmitter::new(),
            rx: Receiver::new(),
            stats: Stats::new(garbage.then_some(&mut rng)),
            link_up: false,
            resetting: 0,
            reset_until_ns: 0,
            ioaddr: 0,
            now_ns: 0,
            wire_rests_until_ns: 0,
            wire_told: false,
            rng,
        };
        model.reset_mac();
        model
    }

    /// Draws for how long the next piece of work waits.
    #[inline]
    pub(crate) fn late_ns(&mut self) -> u64 {
        self.rng.up_to(self.behaviour.late_ns)
    }

    #[inline]
    pub(crate) fn wire_rests(&self) -> bool {
        self.now_ns < self.wire_rests_until_ns
    }

    #[inline]
    pub(crate) fn send(&mut self, frame: &[u8]) {
        match self.wire.send(frame) {
            Ok(_) => self.wire_told = false,
            Err(error) => self.wire_failed("sending on", &error),
        }
    }

    /// Treats the cable as unplugged for a while.
    pub(crate) fn wire_failed(&mut self, what: &str, error: &std::io::Error) {
        if !std::mem::replace(&mut self.wire_told, true) {
            tracing::warn!(device = self.describe(), %error, "{what} the cable failed; the link goes down");
        }
        self.wire_rests_until_ns = self.now_ns.saturating_add(WIRE_REST_NS);
    }

    /// Notes that a descriptor could not be fetched.
    pub(crate) fn master_abort(&mut self) {
        self.space.master_abort();
        tracing::debug!(faults = self.dma.faults, "a descriptor lies outside the device's reach");
    }

    /// Retries what waits for memory: it may be there now.
    fn try_memory_again(&mut self) {
        self.tx.ring.try_again();
        self.rx.ring.try_again();
    }

    /// Writes receive descriptors back and reports them.
    pub(crate) fn settle_rx(&mut self, now_ns: u64) {
        self.rx.done.write(&mut self.dma);
        self.irq.raise(self.rx.done.causes);
        if self.rx.done.causes & ICR::SRPD != 0 {
            // It reports what was delayed, too (section 3.2.7.1.2).
            self.irq.rx.stop();
        } else if self.rx.done.delayed {
            match RDTR::DELAY.get(self.plain.get(RDTR_AT)) {
                0 => self.irq.raise(ICR::RXT0),
                delay => self.irq.rx.event(now_ns, delay, RADV::DELAY.get(self.plain.get(RADV_AT))),
            }
        }
        self.rx.done.forget();
    }

    fn settle_tx(&mut self, now_ns: u64) {
        self.tx.done.write(&mut self.dma);
        self.irq.raise(self.tx.done.causes);
        if self.tx.done.causes & ICR::TXDW != 0 {
            // It reports what was delayed, too (section 13.4.44).
            self.irq.tx.stop();
        } else if self.tx.done.delayed {
            match TIDV::IDV.get(self.plain.get(TIDV_AT)) {
                0 => self.irq.raise(ICR::TXDW),
                delay => self.irq.tx.event(now_ns, delay, TADV::IDV.get(self.plain.get(TADV_AT))),
            }
        }
        self.tx.done.forget();
    }

    /// Writes back what is due.
    fn settle(&mut self, now_ns: u64) {
        if self.tx.done.ripe(now_ns, &mut self.dma, &self.behaviour, &mut self.rng) {
            self.settle_tx(now_ns);
        }
        if self.rx.done.ripe(now_ns, &mut self.dma, &self.behaviour, &mut self.rng) {
            self.settle_rx(now_ns);
        }
        if self.irq.rx.expired(now_ns) {
            self.irq.raise(ICR::RXT0);
        }
        if self.irq.tx.expired(now_ns) {
            self.irq.raise(ICR::TXDW);
        }
    }

    /// Returns the number of transmit descriptors left at which TXD_LOW comes.
    pub(crate) fn low_transmit_threshold(&self) -> u32 {
        8 * TXDCTL::LWTHRESH.get(self.plain.get(TXDCTL_AT))
    }
}

const RDTR_AT: u32 = RDTR.offset();
const RADV_AT: u32 = RADV.offset();
const TIDV_AT: u32 = TIDV.offset();
const TADV_AT: u32 = TADV.offset();
const TXDCTL_AT: u32 = TXDCTL.offset();

impl PciDevice for Model {
    fn describe(&self) -> String {
        format!("{} (embedded model, seed {})", self.config.chip.name(), self.config.seed)
    }

    fn identity(&self) -> PciIdentity {
        self.identity
    }

    /// Returns the registers, and the pair of I/O ports that reaches them too.
    fn bars(&self) -> &[BarInfo] {
        &BARS
    }

    fn config_read(&mut self, offset: u16, width: Width) -> Result<u32> {
        self.space.read(offset, width)
    }

    /// Reads a register. All are 32 bits wide (section 13.1); no other width reaches one.
    fn bar_read(&mut self, bar: u8, offset: u32, width: Width) -> Result<u64> {
        match (bar, width, offset) {
            (MEMORY_BAR, Width::B4, _) if offset < e1000_regs::BAR0_LEN_BYTES => {
                Ok(u64::from(self.read_register(offset)))
            }
            (IO_BAR, Width::B4, IOADDR) => Ok(u64::from(self.ioaddr)),
            (IO_BAR, Width::B4, IODATA) => Ok(u64::from(self.read_register(self.ioaddr))),
            _ => Err(DeviceError::NoSuchRegister { bar, offset, width }),
        }
    }

    fn bar_write(&mut self, bar: u8, offset: u32, width: Width, value: u64) -> Result<()> {
        match (bar, width, offset) {
            (MEMORY_BAR, Width::B4, _) if offset < e1000_regs::BAR0_LEN_BYTES => {
                self.write_register(offset, value as u32)
            }
            (IO_BAR, Width::B4, IOADDR) => self.ioaddr = value as u32 & (e1000_regs::BAR0_LEN_BYTES - 1) & !3,
            (IO_BAR, Width::B4, IODATA) => self.write_register(self.ioaddr, value as u32),
            _ => return Err(DeviceError::NoSuchRegister { bar, offset, width }),
        }
        Ok(())
    }

    fn iova_ranges(&self) -> Vec<IovaRange> {
        vec![Reach::RANGE]
    }

    fn dma_map(&mut self, window: &DmaWindow, iova: u64) -> Result<()> {
        self.dma.map(window, iova)?;
        self.try_memory_again();
        Ok(())
    }

    fn dma_unmap(&mut self, iova: u64) -> Result<()> {
        self.dma.unmap(iova)
    }

    fn dma_faults(&self) -> u64 {
        self.dma.faults
    }

    fn set_bus_master(&mut self, on: bool) -> Result<()> {
        self.space.set_command(COMMAND_BUS_MASTER, on);
        self.dma.bus_master = on;
        self.try_memory_again();
        Ok(())
    }

    /// Does nothing: neither chip has a function level reset.
    fn reset(&mut self) -> Result<ResetKind> {
        Ok(ResetKind::None)
    }

    /// Enables INTx, with one vector.
    fn irq_enable(&mut self, _vectors: u32) -> Result<(IrqKind, u32)> {
        self.space.set_command(COMMAND_INTX_DISABLE, false);
        self.irq.open();
        Ok((IrqKind::Intx, 1))
    }

    fn irq_disable(&mut self) -> Result<()> {
        self.space.set_command(COMMAND_INTX_DISABLE, true);
        self.irq.close();
        Ok(())
    }

    fn irq_unmask(&mut self, _vector: u32) -> Result<()> {
        self.irq.unmask();
        Ok(())
    }

    fn service(&mut self, now_ns: u64) -> Result<Service> {
        let now = now_ns.max(self.now_ns);
        self.now_ns = now;
        let carrier = !self.wire_rests() && self.wire.carrier();
        self.phy.tick(now, carrier, self.behaviour.negotiation_ns, &mut self.rng);
        if self.phy.finish() {
            self.irq.raise(ICR::MDAC);
        }
        self.follow_link();
        self.whim();
        if self.behaviour.late_ns != 0 && self.rng.one_in(2) {
            self.receive(now);
            self.transmit(now);
        } else {
            self.transmit(now);
            self.receive(now);
        }
        self.settle(now);
        let other = self.rng.one_in(self.behaviour.spurious_one_in);
        let irqs = u32::from(self.irq.fires(now, other));
        let rest = if self.wire_rests() { self.wire_rests_until_ns } else { NEVER };
        let due_ns = [
            self.tx.due_ns,
            self.tx.done.due_ns,
            self.rx.due_ns,
            self.rx.done.due_ns,
            self.irq.due_ns(),
            self.phy.due_ns(),
            self.pause_due_ns(),
            rest,
            if self.cable_waits() { NEVER } else { self.wire.due_ns(now).unwrap_or(NEVER) },
        ]
        .into_iter()
        .fold(NEVER, u64::min);
        Ok(Service { irqs, due_ns: (due_ns != NEVER).then_some(due_ns) })
    }

    /// Adds those of the cable.
    fn event_fds(&self, fds: &mut Vec<RawFd>) {
        // What cannot be taken now must not end a wait again and again, nor a cable that failed.
        if !self.cable_waits() && !self.wire_rests() {
            self.wire.event_fds(fds);
        }
    }
}
