//! [`NookBuilder`]: a nook from its parts.

use nook_block_api::BlockBackend;
use nook_bus::{Clock, DmaWindow, PciDevice};
use nook_net_api::NetBackend;
use nook_regs::RegisterMap;

use crate::host::HostConfig;
use crate::{Block, Budgets, DriverModule, Host, HostError, Launcher, Layout, Misc, Net, Nook, OwnedManifest};

/// Puts a nook together: a driver's manifest, a device, what makes its instances, and what is above it.
///
/// ```no_run
/// # use nook_bus::PciDevice;
/// # use nook_net_api::NetBackend;
/// # use nook_regs::RegisterMap;
/// # use nook_runtime::{DriverModule, Mmio, ModuleCache, NookBuilder, Wasi, WasmLauncher};
/// # fn nook(device: Box<dyn PciDevice>, above: impl NetBackend, maps: &[&'static RegisterMap]) -> Option<()> {
/// let module = DriverModule::load("driver.wasm".as_ref(), Wasi::Refused).ok()?;
/// let builder = NookBuilder::of(&module, maps);
/// let launcher = WasmLauncher::new(module.clone().into(), &ModuleCache::none(), Mmio::Emulated).ok()?;
/// let mut nook = builder.net(device, Box::new(launcher), above).ok()?;
/// nook.start().ok()?;
/// # Some(())
/// # }
/// ```
pub struct NookBuilder<'a> {
    manifest: &'a OwnedManifest,
    layout: &'a Layout,
    maps: &'a [&'static RegisterMap],
    window: Option<DmaWindow>,
    budgets: Budgets,
    clock: Clock,
}

impl<'a> NookBuilder<'a> {
    /// Creates a builder for a driver with this manifest and memory, on a host that knows these register maps. Its
    /// calls have the ordinary budgets, and the time is the machine's.
    pub fn new(manifest: &'a OwnedManifest, layout: &'a Layout, maps: &'a [&'static RegisterMap]) -> Self {
        let (budgets, clock) = (Budgets::default(), Clock::Monotonic);
        NookBuilder { manifest, layout, maps, window: None, budgets, clock }
    }

    /// Creates a builder for the driver in this module.
    pub fn of(module: &'a DriverModule, maps: &'a [&'static RegisterMap]) -> Self {
        Self::new(module.manifest(), module.layout(), maps)
    }

    /// Sets what its calls may use.
    #[must_use]
    pub fn budgets(self, budgets: Budgets) -> Self {
        NookBuilder { budgets, ..self }
    }

    /// Sets the clock.
    #[must_use]
    pub fn clock(self, clock: Clock) -> Self {
        NookBuilder { clock, ..self }
    }

    /// Uses a window that is there already; its length is at least the layout's.
    #[must_use]
    pub fn in_window(self, window: DmaWindow) -> Self {
        NookBuilder { window: Some(window), ..self }
    }

    /// Returns the DMA window, which some devices need before they start.
    ///
    /// # Errors
    /// If there is not enough memory for it.
    pub fn window(&mut self) -> Result<&DmaWindow, HostError> {
        let len_bytes = self.layout.window_bytes;
        match &mut self.window {
            Some(window) => Ok(window),
            window => {
                let made = DmaWindow::new(len_bytes).map_err(|source| HostError::NoWindow { len_bytes, source })?;
                Ok(window.insert(made))
            }
        }
    }

    /// Builds the host of the nook, without what is above it.
    ///
    /// # Errors
    /// If driver and device do not belong together, or there is not enough memory.
    ///
    /// # Panics
    /// If the window that it was given is shorter than the layout says.
    pub fn host(mut self, device: Box<dyn PciDevice>) -> Result<Host, HostError> {
        let window = self.window()?.clone();
        let NookBuilder { manifest, layout, maps, budgets, clock, .. } = self;
        Host::new(HostConfig { device, window, maps, manifest, layout, budgets, clock })
    }

    /// Builds the nook of a network driver, whose interface is plugged into `backend`. Nothing runs yet.
    ///
    /// # Errors
    /// As [`host`](Self::host).
    pub fn net<U: NetBackend>(
        self,
        device: Box<dyn PciDevice>,
        launcher: Box<dyn Launcher>,
        backend: U,
    ) -> Result<Nook<Net<U>>, HostError> {
        Ok(Nook::net(self.host(device)?, launcher, backend))
    }

    /// Builds the nook of a disk's driver, whose disk is plugged into `backend`. Nothing runs yet.
    ///
    /// # Errors
    /// As [`host`](Self::host).
    pub fn block<U: BlockBackend>(
        self,
        device: Box<dyn PciDevice>,
        launcher: Box<dyn Launcher>,
        backend: U,
    ) -> Result<Nook<Block<U>>, HostError> {
        Ok(Nook::block(self.host(device)?, launcher, backend))
    }

    /// Builds the nook of a misc driver. Nothing runs yet.
    ///
    /// # Errors
    /// As [`host`](Self::host).
    pub fn misc(self, device: Box<dyn PciDevice>, launcher: Box<dyn Launcher>) -> Result<Nook<Misc>, HostError> {
        Ok(Nook::misc(self.host(device)?, launcher))
    }
}
