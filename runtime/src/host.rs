//! [`Host`]: everything that a driver can reach besides its own memory, and the checks in front of it.

use std::any::Any;

use nook_abi::{ABI_VERSION, Addr, Entry, Fault, HOST_PAGE_MAGIC, HostPage, Hostcall, MAILBOX_BYTES, Topic, TrapKind};
use nook_bus::{BarSpace, Clock, DeviceError, DmaWindow, IrqKind, PciDevice, PciIdentity, Ticker, register_name};
use nook_regs::{Bar, RegisterMap};

use crate::call::CallState;
use crate::class::Port;
use crate::device::DeviceState;
use crate::driver_log::DriverLog;
use crate::due_calls::DueCalls;
use crate::loop_monitor::LoopMonitor;
use crate::virtual_time::SERVICE_NS;
use crate::{Budgets, Counters, Layout, NookError, OwnedManifest, Space};

/// Why a host could not be made.
#[derive(Debug, thiserror::Error)]
pub enum HostError {
    /// The driver is not for this device.
    #[error(
        "the driver `{driver}` drives {drives}, and this is {device} ({vendor:04x}:{id:04x}): use another driver or \
         another device"
    )]
    WrongDevice {
        /// The driver's name.
        driver: String,
        /// The ids that it names.
        drives: String,
        /// What the device is.
        device: String,
        /// Its vendor id.
        vendor: u16,
        /// Its device id.
        id: u16,
    },
    /// There is not enough memory for the window.
    #[error("cannot make a DMA window of {} MiB: {source}", len_bytes >> 20)]
    NoWindow {
        /// Its length.
        len_bytes: u64,
        /// Why.
        #[source]
        source: std::io::Error,
    },
    /// The register map is another device's.
    #[error(
        "the register map `{map}` is for {devices}, and this is {device} ({vendor:04x}:{id:04x}): use a map that names \
         this device"
    )]
    WrongMap {
        /// The map's name.
        map: &'static str,
        /// The ids that it names.
        devices: String,
        /// What the device is.
        device: String,
        /// Its vendor id.
        vendor: u16,
        /// Its device id.
        id: u16,
    },
    /// The register map describes a BAR in the other space.
    #[error(
        "the register map `{map}` describes BAR {bar}, which {device} has in {has} space: its BARs are {bars}; describe \
         the one that the driver is to use"
    )]
    OtherSpace {
        /// The map's name.
        map: &'static str,
        /// The BAR.
        bar: u8,
        /// What the device is.
        device: String,
        /// Where the device has it.
        has: &'static str,
        /// Where it has all of them.
        bars: String,
    },
    /// The manifest names a register map that this host does not have.
    #[error("the driver `{driver}` wants the register map `{wanted}`; this host has {have}")]
    NoRegisterMap {
        /// The driver's name.
        driver: String,
        /// The map's name.
        wanted: String,
        /// What there is.
        have: String,
    },
}

/// What a host is made of.
pub(crate) struct HostConfig<'a> {
    /// The device.
    pub device: Box<dyn PciDevice>,
    /// The DMA window, of the layout's length. Some devices need it before they start, so it is the caller's to make.
    pub window: DmaWindow,
    /// Register maps that this host knows; the driver's manifest names one.
    pub maps: &'a [&'static RegisterMap],
    /// The driver's manifest.
    pub manifest: &'a OwnedManifest,
    /// How its memory is laid out.
    pub layout: &'a Layout,
    /// What its calls may use.
    pub budgets: Budgets,
    /// What time it is for the nook. Virtual only with a device that knows no time but the nook's.
    pub clock: Clock,
}

/// One nook's services: its device, window, timers and messages, and what its class adds. It outlives driver instances.
pub struct Host {
    pub(crate) device: DeviceState,
    /// What hostcalls of the driver's class have changed.
    pub(crate) port: Port,
    pub(crate) call: CallState,
    pub(crate) counters: Counters,
    pub(crate) monitor: LoopMonitor,
    pub(crate) manifest: OwnedManifest,
    layout: Layout,
    pub(crate) space: Option<Space>,
    pub(crate) log: DriverLog,
    world: Option<Box<dyn Any + Send>>,
    pub(crate) clock: Clock,
    /// Time that nobody runs does not count.
    _ticker: Option<Ticker>,
    filter: Option<SecondModule>,
}

/// A second module in the nook.
struct SecondModule {
    name: String,
    /// The last fault was its doing.
    faulted: bool,
}

impl Host {
    /// Checks that driver and device belong together.
    ///
    /// # Panics
    /// If the window is shorter than the layout says.
    pub(crate) fn new(config: HostConfig<'_>) -> Result<Self, HostError> {
        let HostConfig { device, window, maps, manifest, layout, budgets, clock } = config;
        let PciIdentity { vendor, device: id, class, .. } = device.identity();
        if !manifest.drives(vendor, id, class) {
            return Err(HostError::WrongDevice {
                driver: manifest.name.clone(),
                drives: manifest.pci.split_ascii_whitespace().collect::<Vec<_>>().join(", "),
                device: device.describe(),
                vendor,
                id,
            });
        }
        let map = maps.iter().find(|map| map.name() == manifest.registers).ok_or_else(|| HostError::NoRegisterMap {
            driver: manifest.name.clone(),
            wanted: manifest.registers.clone(),
            have: maps.iter().map(|map| map.name()).collect::<Vec<_>>().join(", "),
        })?;
        if !map.is_for(vendor, id, class) {
            return Err(HostError::WrongMap {
                map: map.name(),
                devices: map.describes().map(ToString::to_string).collect::<Vec<_>>().join(", "),
                device: device.describe(),
                vendor,
                id,
            });
        }
        if !manifest.pci_ids().any(|ids| ids == (vendor, id)) {
            tracing::info!(
                "{vendor:04x}:{id:04x} is not one of the devices that the driver `{}` names: it drives the whole class \
                 {class:06x}",
                manifest.name
            );
        }
        let has = |bar: &Bar| device.bars().iter().find(|of| of.index == bar.index).map(|of| of.space);
        let elsewhere = |bar: &&Bar| has(bar).is_some_and(|space| space != bar.space);
        if let Some(bar) = map.bars().iter().find(elsewhere) {
            let name = |space| if space == BarSpace::Io { "I/O" } else { "memory" };
            let all = device.bars().iter();
            let all = all.map(|of| format!("{} in {} space ({:#x} bytes)", of.index, name(of.space), of.len_bytes));
            return Err(HostError::OtherSpace {
                map: map.name(),
                bar: bar.index,
                device: device.describe(),
                has: if bar.space == BarSpace::Io { "memory" } else { "I/O" },
                bars: all.collect::<Vec<_>>().join(", "),
            });
        }
        assert!(window.len_bytes() >= layout.window_bytes, "the window is shorter than the layout says");
        Ok(Host {
            port: Port::new(manifest.class()),
            device: DeviceState::new(device, map, window, manifest.dma_mask_bits, layout.dma_bytes, clock.clone()),
            call: CallState::new(budgets),
            counters: Counters::default(),
            monitor: LoopMonitor::default(),
            manifest: manifest.clone(),
            layout: *layout,
            space: None,
            log: DriverLog::new(manifest.name.clone()),
            world: None,
            filter: None,
            _ticker: clock.keep(),
            clock,
        })
    }

    /// Gives the next instance this filter.
    pub(crate) fn give_filter(&mut self, name: &str) {
        self.filter = Some(SecondModule { name: name.to_owned(), faulted: false });
    }

    /// Attributes the last fault to the filter.
    pub(crate) fn blame_filter(&mut self) {
        self.filter.iter_mut().for_each(|filter| filter.faulted = true);
    }

    /// Returns which of the nook's modules did what ended the last call, if there is more than one.
    pub(crate) fn blamed_filter(&self) -> Option<&str> {
        let filter = self.filter.as_ref()?;
        Some(if filter.faulted { &filter.name } else { &self.manifest.name })
    }

    /// Gives the next instance a [world](crate::World)'s fresh state.
    pub(crate) fn give_world(&mut self, state: Box<dyn Any + Send>) {
        self.world = Some(state);
    }

    /// Returns the state of the [world](crate::World) in which the driver runs, if it runs in one.
    pub fn world(&mut self) -> Option<&mut (dyn Any + Send)> {
        self.world.as_deref_mut()
    }

    /// Returns what tells the nook the time.
    #[inline]
    pub fn clock(&self) -> &Clock {
        &self.clock
    }

    /// Returns what is counted.
    pub fn counters(&self) -> &Counters {
        &self.counters
    }

    /// Returns the driver's manifest.
    pub fn manifest(&self) -> &OwnedManifest {
        &self.manifest
    }

    /// Returns how the driver's memory is laid out.
    pub fn layout(&self) -> &Layout {
        &self.layout
    }

    /// Returns the window, for those who make a driver's memory.
    pub fn window(&self) -> &DmaWindow {
        self.device.window()
    }

    /// Returns the device, for people.
    pub fn describe_device(&self) -> String {
        self.device.device.describe()
    }

    /// Returns how interrupts arrive, once the driver has enabled them.
    pub fn irq_kind(&self) -> Option<IrqKind> {
        self.device.irq_kind()
    }

    /// Returns the count of DMA accesses outside the window that were seen and blocked.
    pub fn dma_faults(&self) -> u64 {
        self.device.device.dma_faults()
    }

    /// Returns what the device last failed with.
    pub fn last_device_error(&self) -> Option<&str> {
        self.device.last_error()
    }

    /// Returns the number of DMA regions that the driver has.
    pub fn dma_regions(&self) -> usize {
        self.device.regions.count()
    }

    /// Returns whether what comes is to be announced by interrupts: the driver has enabled them since it began.
    pub(crate) fn watches_interrupts(&self) -> bool {
        self.device.had_interrupts()
    }

    /// Begins a driver instance, which is about to run in the memory that `space` describes: its window is mapped for
    /// the device and its host page filled in. Returns the host page's address, for `probe`.
    ///
    /// # Errors
    /// If the device cannot reach the window, or was taken away from this nook.
    pub fn begin_instance(&mut self, space: Space) -> Result<Addr, DeviceError> {
        if self.is_revoked() {
            return Err(DeviceError::Gone("it was taken away from this nook".into()));
        }
        let window_iova = self.device.map_window()?;
        if let Err(error) = self.device.let_go() {
            // The driver comes to it by itself, in a call that can be named.
            tracing::debug!("guarded registers: {error}");
        }
        let now_ns = self.clock.now_ns();
        let page = HostPage {
            magic: HOST_PAGE_MAGIC,
            abi_major: ABI_VERSION.0,
            abi_minor: ABI_VERSION.1,
            window_addr: space.window_addr(),
            window_len_bytes: self.layout.window_bytes,
            window_iova,
            heap_addr: space.heap_addr(),
            heap_len_bytes: self.layout.heap_bytes,
            mailbox_addr: space.host_page_addr() + size_of::<HostPage>() as u64,
            class: self.port.page(&self.manifest, &space, self.filter.is_some()),
            irq_vectors: self.irq_vectors(),
            now_ns,
            ..HostPage::default()
        };
        self.call.trace.told_ns = now_ns;
        space.write_host_page(&page);
        self.port.begin();
        let addr = space.host_page_addr() as Addr;
        self.space = Some(space);
        self.filter.iter_mut().for_each(|filter| filter.faulted = false);
        self.counters.starts += 1;
        self.monitor = LoopMonitor::default();
        self.log.begin();
        self.call.begin_instance();
        self.has_begun();
        Ok(addr)
    }

    /// Ends the life of an instance, with everything that it had: interrupts, DMA, timers. To be called once
    /// for each life, by [`Driver::end`](crate::Driver::end), before the instance's memory goes: afterwards nothing of
    /// that is touched any more.
    ///
    /// # Errors
    /// The first thing that the device refused; everything else was done all the same. Then
    /// [`quiet`](Self::quiet) tries again.
    pub fn end_instance(&mut self) -> Result<(), DeviceError> {
        self.forget_transaction();
        let quiet = self.device.quiet();
        self.dump_memory();
        self.withdraw_bar();
        self.port.end();
        self.counters.ends += 1;
        self.call.due = DueCalls::default();
        self.space = None;
        self.has_ended();
        quiet
    }

    /// Makes the device of an instance that was ended quiet, if it was not yet.
    ///
    /// # Errors
    /// The first thing that it refused.
    pub fn quiet(&mut self) -> Result<(), DeviceError> {
        self.device.quiet()
    }

    /// Begins a call into the driver.
    #[inline]
    pub fn begin_call(&mut self, entry: Entry) {
        self.call.begin(entry);
        self.charge_call();
        self.counters.entries += 1;
    }

    /// Handles a tick during a call that asks. Writes that are held back reach the device: the driver may be waiting,
    /// without a hostcall, for what they bring about.
    pub(crate) fn tick(&mut self, cpu_ns: u64) -> Result<(), Fault> {
        if let Some(fault) = self.device_is_taken() {
            return Err(fault);
        }
        if self.clock.is_virtual() {
            return self.tick_on_virtual_time(cpu_ns);
        }
        self.call.budget.tick(cpu_ns, self.clock.now_ns())?;
        if !self.call.budget.may_wait() {
            return Ok(());
        }
        self.ring_doorbells()?;
        self.device.device.release().map_err(|error| self.device.failed(error))
    }

    /// Counts a hostcall without asking whether it may be made; see [`admit`](Self::admit).
    #[inline]
    pub fn count_hostcall(&mut self) {
        self.counters.hostcalls += 1;
        let _ = self.charge_hostcall(false);
    }

    /// Counts a hostcall and says whether it may be made where the driver is.
    #[inline]
    pub fn admit(&mut self, call: Hostcall) -> Result<(), Fault> {
        self.counters.hostcalls += 1;
        self.charge_hostcall(true)?;
        if self.is_revoked() {
            return Err(Fault::Revoked);
        }
        if self.call.watch.is_long() {
            self.may_wait()?;
        }
        if call.info().contexts.allows(self.call.context) {
            return Ok(());
        }
        Err(Fault::WrongContext { call, context: self.call.context })
    }

    /// Tells the driver the time, in its host page.
    #[inline]
    pub(crate) fn tell_time(&mut self, now_ns: u64) {
        self.call.trace.told_ns = now_ns;
        if let Some(space) = &self.space {
            space.write_now(now_ns);
        }
    }

    /// Puts bytes into the mailbox, from its beginning. Says whether they fitted, and there is a driver.
    pub(crate) fn mail(&self, bytes: &[u8]) -> bool {
        let Some(space) = self.space.as_ref().filter(|_| bytes.len() <= MAILBOX_BYTES) else { return false };
        let mailbox = space.host_page_addr() + size_of::<HostPage>() as u64;
        let slice = space.slice(mailbox, bytes.len() as u64);
        slice.inspect(|slice| slice.copy_from(bytes)).is_some()
    }

    /// Copies what the driver put into the mailbox; shorter than asked for only if it has no such mailbox.
    pub(crate) fn mailed(&self, len_bytes: usize) -> Vec<u8> {
        let Some(space) = &self.space else { return Vec::new() };
        let mailbox = space.host_page_addr() + size_of::<HostPage>() as u64;
        let mut bytes = vec![0; len_bytes.min(MAILBOX_BYTES)];
        let copied = space.slice(mailbox, bytes.len() as u64).map(|slice| slice.copy_to(&mut bytes));
        bytes.truncate(copied.unwrap_or(0));
        bytes
    }

    /// Returns what a fault was, for those above: with what the device said, where it is about the device, which
    /// register or address it is about, and which module it was, if the nook has two.
    #[cold]
    pub(crate) fn error(&self, fault: Fault) -> NookError {
        let about_device = fault.is_device() && fault != Fault::Revoked;
        let said = self.last_device_error().filter(|_| about_device).map(str::to_owned);
        let module = self.blamed_filter().map(|name| format!("in `{name}`"));
        let detail = said.or_else(|| {
            let storm = matches!(fault, Fault::InterruptStorm { .. }).then(|| self.monitor.storm().to_owned());
            let parts = [self.register_of(fault), self.outside(fault), storm, module];
            let parts: Vec<String> = parts.into_iter().flatten().collect();
            (!parts.is_empty()).then(|| parts.join("; "))
        });
        NookError::Fault { fault, detail }
    }

    /// Returns which register was refused, by the map's name.
    fn register_of(&self, fault: Fault) -> Option<String> {
        let name = |bar: u32, offset: u32| {
            let map = self.device.policy.map();
            let bar = u8::try_from(bar).ok()?;
            map.find(bar, offset).map(|_| register_name(map, bar, offset))
        };
        match fault {
            Fault::RegisterForbidden { bar, offset, .. } => Some(format!("register {}", name(bar, offset)?)),
            Fault::BadArgument { call, argument: "value", .. } if call.info().topic == Topic::Register => {
                let (bar, offset) = self.device.refused?;
                Some(format!("register {} at BAR {bar} offset {offset:#x}", name(bar, offset)?))
            }
            _ => None,
        }
    }

    /// Returns which address was used that is outside the driver's memory, if that was the fault and is known.
    fn outside(&self, fault: Fault) -> Option<String> {
        let Fault::Trap { kind: TrapKind::MemoryOutOfBounds, .. } = fault else { return None };
        let (addr, bytes) = (self.call.trace.outside?, self.layout.total_pages() * 65536);
        let below = self.call.trace.stack_bytes.filter(|&stack| addr >= (1 << 32) - u64::from(stack));
        Some(match below {
            Some(stack) => format!(
                "address {addr:#x}, below 0, where its shadow stack of {stack} bytes ends: that is used up, or a pointer \
                 was less than null"
            ),
            None => format!("address {addr:#x}; its memory has {bytes:#x} bytes"),
        })
    }

    /// Waits and lets the device work meanwhile: an embedded one gets on only when it is serviced.
    pub(crate) fn wait(&mut self, ns: u64, sleep: bool) -> Result<(), Fault> {
        self.device.device.release().map_err(|error| self.device.failed(error))?;
        let end = self.clock.now_ns().saturating_add(ns);
        loop {
            let now = self.clock.now_ns();
            let due = self.device.service(now).map_err(|error| self.device.failed(error))?;
            self.clock.charge(SERVICE_NS);
            if now >= end {
                return Ok(());
            }
            let until = due.map_or(end, |due| due.clamp(now, end));
            let rest = if sleep { Clock::sleep_until } else { Clock::spin_until };
            rest(&self.clock, until);
        }
    }
}
