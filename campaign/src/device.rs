//! A device that fails: middleware over any [`PciDevice`], which knows no chip.

use std::sync::Arc;

use nook_bus::{
    BarMemory, Clock, DeviceError, DmaWindow, IrqKind, PciDevice, Result, Service, Width, forward_pci_device,
};
use nook_seed::Rng;

use crate::Injection;

macro_rules! classes {
    ($(#[doc = $about:literal] $enum:ident { $(#[doc = $doc:literal] $variant:ident $name:literal,)* })*) => {
        $(
            #[doc = $about]
            #[derive(Clone, Copy, Debug, PartialEq, Eq)]
            pub enum $enum {
                $(#[doc = $doc] $variant,)*
            }

            impl $enum {
                /// All of them.
                pub const ALL: &[$enum] = &[$($enum::$variant),*];

                /// Returns its name in reports.
                pub fn name(self) -> &'static str {
                    match self {
                        $($enum::$variant => $name,)*
                    }
                }
            }
        )*
    };
}

classes! {
    /// How a device fails.
    DeviceClass {
        /// Every register reads as all ones, as of a device that fell off its bus.
        AllOnes "all_ones",
        /// A bit of one register reads as zero, or as one.
        StuckBit "stuck_bit",
        /// Single reads return something else.
        WrongRead "wrong_read",
        /// Single writes do not reach it.
        LostWrite "lost_write",
        /// Interrupts do not come.
        LostInterrupts "lost_interrupts",
        /// Interrupts come late.
        LateInterrupts "late_interrupts",
        /// Interrupts come for nothing.
        SpuriousInterrupts "spurious_interrupts",
        /// It does nothing for a while.
        Slow "slow",
        /// Bits of descriptors turn round: it may reach memory outside what it was given.
        CorruptDescriptors "corrupt_descriptors",
        /// Descriptors become what they were before: completions that were there already, or are missing.
        StaleDescriptors "stale_descriptors",
        /// It is removed.
        Removed "removed",
        /// It is removed, and comes back.
        RemovedAndBack "removed_and_back",
    }
    /// What of the operating system fails.
    KernelClass {
        /// Memory cannot be mapped for the device.
        MapFails "map_fails",
        /// Interrupts cannot be had.
        IrqEnableFails "irq_enable_fails",
        /// Bus mastering cannot be turned on.
        BusMasterFails "bus_master_fails",
        /// A masked line cannot be opened.
        UnmaskFails "unmask_fails",
        /// The interface's other side has no room; a disk's has none that could be full.
        NoRoom "no_room",
        /// Handing it a frame or an answer fails.
        DeliverFails "deliver_fails",
        /// Taking a frame or a request from it fails.
        FetchFails "fetch_fails",
    }
}

impl KernelClass {
    /// Returns whether it can only happen while the driver starts.
    pub fn at_start(self) -> bool {
        matches!(self, KernelClass::MapFails | KernelClass::IrqEnableFails | KernelClass::BusMasterFails)
    }
}

/// What fails.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Failure {
    /// The device.
    Device(DeviceClass),
    /// What the operating system does for it.
    Kernel(KernelClass),
}

/// How long it fails: once, for some time, or for good. Drawn.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Extent {
    /// At most so often.
    pub times: u64,
    /// For so long.
    pub for_ns: u64,
}

impl Extent {
    /// Draws one.
    pub fn drawn(rng: &mut Rng) -> Self {
        match rng.below(4) {
            0 => Extent { times: 1 + rng.below(4), for_ns: u64::MAX },
            1 => Extent { times: u64::MAX, for_ns: 1_000_000 },
            2 => Extent { times: u64::MAX, for_ns: 20_000_000 },
            _ => Extent { times: u64::MAX, for_ns: u64::MAX },
        }
    }

    /// Returns it in words.
    pub fn text(self) -> String {
        match self {
            Extent { times: u64::MAX, for_ns: u64::MAX } => "for good".into(),
            Extent { times: u64::MAX, for_ns } => format!("for {} ms", for_ns / 1_000_000),
            Extent { times, .. } => format!("{times} times"),
        }
    }
}

/// When a failure is there.
#[derive(Clone, Debug)]
struct Switch {
    injection: Arc<Injection>,
    clock: Clock,
    extent: Extent,
}

impl Switch {
    fn is_on(&self) -> bool {
        let (now_ns, begin_ns) = (self.clock.now_ns(), self.injection.begins_at());
        now_ns >= begin_ns
            && now_ns.saturating_sub(begin_ns) < self.extent.for_ns
            && self.injection.hits() < self.extent.times
    }

    /// Returns whether to fail now, and notes it.
    fn fails(&self) -> bool {
        let on = self.is_on();
        if on {
            self.injection.hit(self.clock.now_ns());
        }
        on
    }
}

/// A failure of what a driver's interface is plugged into.
#[derive(Clone, Debug)]
pub struct BackendFault {
    class: KernelClass,
    switch: Switch,
}

impl BackendFault {
    /// Creates it, if this failure is one.
    pub fn new(failure: Failure, extent: Extent, injection: &Arc<Injection>, clock: &Clock) -> Option<Self> {
        let Failure::Kernel(class @ (KernelClass::NoRoom | KernelClass::DeliverFails | KernelClass::FetchFails)) =
            failure
        else {
            return None;
        };
        Some(BackendFault { class, switch: Switch { injection: injection.clone(), clock: clock.clone(), extent } })
    }

    pub(crate) fn delivers(&self) -> Option<std::io::Result<bool>> {
        match self.class {
            KernelClass::NoRoom if self.switch.fails() => Some(Ok(false)),
            KernelClass::DeliverFails if self.switch.fails() => {
                Some(Err(std::io::Error::other("planted: no frame is taken")))
            }
            _ => None,
        }
    }

    /// The same of a disk's other side, which has no room to run out of.
    pub(crate) fn takes(&self) -> std::io::Result<()> {
        if self.class == KernelClass::DeliverFails && self.switch.fails() {
            return Err(std::io::Error::other("planted: no answer is taken"));
        }
        Ok(())
    }

    pub(crate) fn fetches(&self) -> std::io::Result<()> {
        if self.class == KernelClass::FetchFails && self.switch.fails() {
            return Err(std::io::Error::other("planted: nothing can be had"));
        }
        Ok(())
    }
}

/// A device that fails on request.
pub struct FaultyDevice {
    device: Box<dyn PciDevice>,
    failure: Failure,
    switch: Switch,
    rng: Rng,
    /// The register whose bit is stuck, once there is one, the bit, and how it reads.
    stuck: Option<(u8, u32)>,
    stuck_bit: u32,
    stuck_at: bool,
    window: Option<DmaWindow>,
    /// How much of the window holds descriptors.
    descriptor_bytes: usize,
    /// What some of the descriptors were before.
    before: Vec<(usize, [u8; 16])>,
    /// Interrupts that wait, and until when.
    late: Option<(u32, u64)>,
}

impl FaultyDevice {
    /// Makes a device fail. Descriptors are in the first `descriptor_bytes` of its window.
    pub fn new(
        device: Box<dyn PciDevice>,
        (failure, extent): (Failure, Extent),
        descriptor_bytes: usize,
        seed: u64,
        injection: &Arc<Injection>,
        clock: &Clock,
    ) -> Self {
        let mut rng = Rng::new(seed);
        let (stuck_bit, stuck_at) = (rng.below(32) as u32, rng.one_in(2));
        FaultyDevice {
            device,
            failure,
            switch: Switch { injection: injection.clone(), clock: clock.clone(), extent },
            rng,
            stuck: None,
            stuck_bit,
            stuck_at,
            window: None,
            descriptor_bytes,
            before: Vec::new(),
            late: None,
        }
    }

    fn is(&self, class: DeviceClass) -> bool {
        self.failure == Failure::Device(class)
    }

    fn is_kernel(&self, class: KernelClass) -> bool {
        self.failure == Failure::Kernel(class)
    }

    /// Refuses everything while the device is gone.
    fn there(&self) -> Result<()> {
        let removed = self.is(DeviceClass::Removed) || self.is(DeviceClass::RemovedAndBack);
        if removed && self.switch.fails() {
            return Err(DeviceError::Gone("planted: it was removed".into()));
        }
        Ok(())
    }

    fn refuse(&self, class: KernelClass, what: &str) -> Result<()> {
        if self.is_kernel(class) && self.switch.fails() {
            return Err(DeviceError::os(what, std::io::Error::other("planted")));
        }
        Ok(())
    }

    /// Writes to descriptors.
    fn touch_descriptors(&mut self) {
        let Some(window) = self.window.clone() else { return };
        let slots = self.descriptor_bytes / 16;
        let stale = self.is(DeviceClass::StaleDescriptors);
        if !stale && !self.is(DeviceClass::CorruptDescriptors) || slots == 0 {
            return;
        }
        let slice = window.slice();
        let read = |at: usize| {
            let mut bytes = [0; 16];
            slice.subslice(at, 16).ok().map(|slice| {
                slice.copy_to(&mut bytes);
                bytes
            })
        };
        if stale && !self.switch.is_on() {
            // Some of what is used now, to be put back later.
            if self.before.len() < 64 {
                let at = self.rng.index(slots) * 16;
                self.before.extend(read(at).filter(|bytes| *bytes != [0; 16]).map(|bytes| (at, bytes)));
            }
            return;
        }
        if !self.switch.is_on() || !self.rng.one_in(8) {
            return;
        }
        let (at, bytes) = if stale {
            let Some(&(at, bytes)) = self.before.get(self.rng.index(self.before.len())) else { return };
            (at, bytes)
        } else {
            // One that is used, if that is soon found.
            let Some((at, mut bytes)) = (0..64).find_map(|_| {
                let at = self.rng.index(slots) * 16;
                read(at).filter(|bytes| *bytes != [0; 16]).map(|bytes| (at, bytes))
            }) else {
                return;
            };
            bytes[self.rng.index(16)] ^= 1 << self.rng.below(8);
            (at, bytes)
        };
        if read(at) != Some(bytes) && self.switch.fails() {
            let _ = slice.subslice(at, 16).map(|slice| slice.copy_from(&bytes[..]));
        }
    }
}

impl PciDevice for FaultyDevice {
    forward_pci_device!(|self| self.device =>
        identity bars config_read iova_ranges dma_unmap dma_faults reset irq_disable event_fds);

    fn describe(&self) -> String {
        format!("{}, failing on request", self.device.describe())
    }

    fn bar_read(&mut self, bar: u8, offset: u32, width: Width) -> Result<u64> {
        self.there()?;
        let value = self.device.bar_read(bar, offset, width)?;
        let ones = u64::MAX >> (64 - 8 * width.bytes());
        let Failure::Device(class) = self.failure else { return Ok(value) };
        let other = match class {
            DeviceClass::AllOnes => ones,
            DeviceClass::StuckBit if self.switch.is_on() => {
                let register = *self.stuck.get_or_insert((bar, offset));
                let bit = 1 << self.stuck_bit & ones;
                match self.stuck_at {
                    _ if register != (bar, offset) => value,
                    true => value | bit,
                    false => value & !bit,
                }
            }
            DeviceClass::WrongRead if self.switch.is_on() && self.rng.one_in(4) => self.rng.word() & ones,
            _ => value,
        };
        Ok(if other != value && self.switch.fails() { other } else { value })
    }

    fn bar_write(&mut self, bar: u8, offset: u32, width: Width, value: u64) -> Result<()> {
        self.there()?;
        if self.is(DeviceClass::LostWrite) && self.switch.is_on() && self.rng.one_in(4) && self.switch.fails() {
            return Ok(());
        }
        self.device.bar_write(bar, offset, width, value)
    }

    /// Hands out no registers: they would not fail.
    fn bar_map(&mut self, bar: u8, reserve_bytes: usize) -> Result<Arc<dyn BarMemory>> {
        let _ = (bar, reserve_bytes);
        Err(DeviceError::Unsupported("the registers of a device that fails on request cannot be mapped".into()))
    }

    fn flush(&mut self) -> Result<()> {
        self.there()?;
        self.device.flush()
    }

    fn dma_map(&mut self, window: &DmaWindow, iova: u64) -> Result<()> {
        self.refuse(KernelClass::MapFails, "mapping memory")?;
        self.window = Some(window.clone());
        self.device.dma_map(window, iova)
    }

    fn set_bus_master(&mut self, on: bool) -> Result<()> {
        if on {
            self.refuse(KernelClass::BusMasterFails, "turning bus mastering on")?;
        }
        self.device.set_bus_master(on)
    }

    fn irq_enable(&mut self, vectors: u32) -> Result<(IrqKind, u32)> {
        self.refuse(KernelClass::IrqEnableFails, "enabling interrupts")?;
        self.device.irq_enable(vectors)
    }

    fn irq_unmask(&mut self, vector: u32) -> Result<()> {
        self.refuse(KernelClass::UnmaskFails, "opening the interrupt line")?;
        self.device.irq_unmask(vector)
    }

    fn service(&mut self, now_ns: u64) -> Result<Service> {
        self.there()?;
        if self.is(DeviceClass::Slow) && self.switch.fails() {
            return Ok(Service { irqs: 0, due_ns: Some(now_ns + 100_000) });
        }
        self.touch_descriptors();
        let mut service = self.device.service(now_ns)?;
        match self.failure {
            Failure::Device(DeviceClass::LostInterrupts) if service.irqs != 0 && self.switch.fails() => {
                // The line stays as it is: masked since it fired, until somebody opens it.
                self.device.irq_unmask(0)?;
                service.irqs = 0;
            }
            Failure::Device(DeviceClass::LateInterrupts) => {
                if service.irqs != 0 && self.late.is_none() && self.switch.fails() {
                    self.late = Some((service.irqs, now_ns + 100_000 * (1 + self.rng.below(200))));
                    service.irqs = 0;
                }
                if let Some((irqs, due_ns)) = self.late {
                    if now_ns >= due_ns {
                        service.irqs |= irqs;
                        self.late = None;
                    } else {
                        service.due_ns = Some(service.due_ns.map_or(due_ns, |due| due.min(due_ns)));
                    }
                }
            }
            Failure::Device(DeviceClass::SpuriousInterrupts) if service.irqs == 0 && self.switch.fails() => {
                service.irqs = 1;
            }
            _ => {}
        }
        Ok(service)
    }
}
