//! Two nooks on embedded models, in virtual time: the one with the fault, and a neighbour.

use std::sync::Arc;

use anyhow::{Context, Result};
use nook_bus::{Clock, PciDevice};
use nook_campaign::{
    BackendFault, Begin, CableEnd, DiskEnd, DiskOracle, FaultWorld, FaultyDevice, HostEnd, Injection, Kind, Oracle,
    Planted, Sites, Traffic, Trial,
};
use nook_recovery::{PolicyFile, Quarantine, Supervisor};
use nook_regs::RegisterMap;
use nook_runtime::{
    Block, Budgets, Class, DriverModule, HostError, Launcher, Mmio, ModuleCache, Net, Nook, NookBuilder, OwnedManifest,
    Rollback, RollbackMethod, Wasi, WasmLauncher,
};

use super::object::{FirstInstance, ObjectFile};
use crate::cli::Isolation;

/// What an instruction is taken to last: a call in atomic context may execute two million, and one in process context
/// twenty. The longest of a good driver takes a hundredth of that.
const INSTRUCTION_NS: u64 = 100;

/// Blocks of a disk under test, and the bytes of each.
const DISK: (u64, u32) = (2048, 512);
/// Bytes that its volatile cache holds.
const DISK_CACHE_BYTES: usize = 64 << 10;

/// What is tried: the driver's class, the embedded device and the oracle.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Tested {
    /// A network card, the Intel 82540EM.
    Card,
    /// A disk, behind NVM Express.
    Disk,
}

impl Tested {
    /// Returns what a driver is tried with, if there is something.
    pub fn of(manifest: &OwnedManifest) -> Option<Self> {
        let drives = |vendor, device, class| manifest.drives(vendor, device, class);
        match manifest.class() {
            nook_abi::Class::Net if drives(e1000_regs::VENDOR, e1000_regs::DEVICE_82540EM, e1000_regs::CLASS) => {
                Some(Tested::Card)
            }
            nook_abi::Class::Block if drives(nvme_regs::VENDOR_MODEL, nvme_regs::DEVICE_MODEL, nvme_regs::CLASS) => {
                Some(Tested::Disk)
            }
            _ => None,
        }
    }
}

/// One of them, as a type.
pub trait Testbed {
    type Class: Class;
    type Oracle: Traffic;
    /// What was asked is answered once, whatever the driver does; frames may come twice.
    const ANSWERS_ONCE: bool;

    /// Makes the oracle and the device of its traffic.
    fn device(seed: u64, clock: &Clock) -> Result<(Self::Oracle, Box<dyn PciDevice>)>;

    /// Builds the nook between the two, as the policy has it.
    fn nook(
        builder: NookBuilder<'_>,
        device: Box<dyn PciDevice>,
        launcher: Box<dyn Launcher>,
        oracle: &Self::Oracle,
        fault: Option<BackendFault>,
        policy: &PolicyFile,
    ) -> Result<Nook<Self::Class>, HostError>;
}

/// [`Tested::Card`].
pub struct Card;

impl Testbed for Card {
    type Class = Net<HostEnd>;
    type Oracle = Oracle;
    const ANSWERS_ONCE: bool = false;

    fn device(seed: u64, clock: &Clock) -> Result<(Oracle, Box<dyn PciDevice>)> {
        let oracle = Oracle::new(seed, clock.clone());
        let behaviour = e1000_model::Behaviour::adversarial();
        let config = e1000_model::ModelConfig { seed, behaviour, ..e1000_model::ModelConfig::default() };
        let model = e1000_model::Model::new(config, Box::new(CableEnd(oracle.clone())));
        Ok((oracle, Box::new(model)))
    }

    fn nook(
        builder: NookBuilder<'_>,
        device: Box<dyn PciDevice>,
        launcher: Box<dyn Launcher>,
        oracle: &Oracle,
        fault: Option<BackendFault>,
        _: &PolicyFile,
    ) -> Result<Nook<Net<HostEnd>>, HostError> {
        builder.net(device, launcher, HostEnd::new(oracle.clone(), fault))
    }
}

/// [`Tested::Disk`].
pub struct Disk;

impl Testbed for Disk {
    type Class = Block<DiskEnd>;
    type Oracle = DiskOracle;
    const ANSWERS_ONCE: bool = true;

    fn device(seed: u64, clock: &Clock) -> Result<(DiskOracle, Box<dyn PciDevice>)> {
        let (blocks, block_bytes) = DISK;
        let medium = nvme_model::Disk::in_memory(blocks, block_bytes)?.with_cache(DISK_CACHE_BYTES);
        let config = nvme_model::ModelConfig { seed, behaviour: nvme_model::Behaviour::adversarial() };
        let model = nvme_model::Model::new(config, medium.clone());
        let read = move |first: u64, into: &mut [u8]| medium.read(first, into);
        let size = (blocks as usize, block_bytes as usize);
        Ok((DiskOracle::new(seed, clock.clone(), size, Box::new(read)), Box::new(model)))
    }

    fn nook(
        builder: NookBuilder<'_>,
        device: Box<dyn PciDevice>,
        launcher: Box<dyn Launcher>,
        oracle: &DiskOracle,
        fault: Option<BackendFault>,
        policy: &PolicyFile,
    ) -> Result<Nook<Block<DiskEnd>>, HostError> {
        let mut nook = builder.block(device, launcher, DiskEnd::new(oracle.clone(), fault))?;
        crate::block::set_up(&mut nook, policy);
        Ok(nook)
    }
}

/// A compiled driver, for any number of nooks.
#[derive(Clone)]
pub struct Compiled {
    module: Arc<DriverModule>,
    launcher: Arc<dyn Launcher + Sync>,
}

/// What all trials have in common.
pub struct Stage {
    /// What is tried.
    pub tested: Tested,
    file: Vec<u8>,
    /// What runs, if that is not the module.
    pub object: Option<ObjectFile>,
    map: &'static RegisterMap,
    isolation: Isolation,
    policy: PolicyFile,
    pristine: Compiled,
}

/// A nook, its oracle and its clock.
pub struct Subject<S: Testbed> {
    pub supervisor: Supervisor<S::Class>,
    pub oracle: S::Oracle,
    pub clock: Clock,
}

impl Stage {
    /// Loads a driver's file, whose register map is known.
    ///
    /// # Errors
    /// If there is nothing to try it with, or it does not compile.
    pub fn new(
        file: Vec<u8>,
        object: Option<ObjectFile>,
        map: &'static RegisterMap,
        isolation: Isolation,
        policy: PolicyFile,
    ) -> Result<Self> {
        let module = DriverModule::from_bytes(&file, Wasi::Refused)?;
        let tested = Tested::of(module.manifest()).context("there is no embedded device for it")?;
        let pristine = match &object {
            None => compile(module, isolation)?,
            Some(object) => {
                let launcher = object.launcher(object.bytes.clone(), module.manifest())?;
                Compiled { module: Arc::new(module), launcher }
            }
        };
        Ok(Stage { tested, file, object, map, isolation, policy, pristine })
    }

    /// Returns the driver as it is, but for its object, in which something was changed.
    ///
    /// # Errors
    /// If it cannot be run.
    pub fn with_object(&self, change: impl FnOnce(&mut [u8])) -> Result<Compiled> {
        let object = self.object.as_ref().context("it is a module")?;
        let mut bytes = object.bytes.clone();
        change(&mut bytes);
        let module = self.pristine.module.clone();
        let launcher = object.launcher(bytes, module.manifest())?;
        Ok(Compiled { module, launcher })
    }

    /// Returns the driver as it is.
    pub fn pristine(&self) -> &Compiled {
        &self.pristine
    }

    /// Compiles the driver with mistakes, one drawn from each seed.
    ///
    /// # Errors
    /// If what came of it is refused.
    pub fn with_mistakes(&self, seeds: &[u64]) -> Result<(Compiled, Vec<Planted>)> {
        let (wasm, planted) = Sites::of(&self.file)?.plant(seeds)?;
        let module = DriverModule::from_bytes(&wasm, Wasi::Given(&FaultWorld)).context("the driver with mistakes")?;
        Ok((compile(module, self.isolation).context("the driver with mistakes")?, planted))
    }

    /// Makes a nook, with the trial's fault if there is one. Nothing runs yet.
    ///
    /// # Errors
    /// If a part cannot be made.
    pub fn subject<S: Testbed>(
        &self,
        compiled: &Compiled,
        seed: u64,
        fault: Option<(&Trial, &Arc<Injection>)>,
    ) -> Result<Subject<S>> {
        let clock = Clock::new_virtual();
        let (oracle, mut device) = S::device(seed, &clock)?;
        let mut backend_fault = None;
        let mut launcher = compiled.launcher.clone();
        if let Some((trial, injection)) = fault
            && self.object.is_some()
            && trial.kind == Kind::Code
        {
            let pristine = self.pristine.launcher.clone();
            launcher = Arc::new(FirstInstance::new(launcher, pristine, injection.clone()));
        }
        if let Some((trial, injection)) = fault
            && let Some((failure, extent)) = trial.failure
        {
            let dma_bytes = compiled.module.layout().dma_bytes as usize;
            device = Box::new(FaultyDevice::new(device, (failure, extent), dma_bytes, trial.seed, injection, &clock));
            backend_fault = BackendFault::new(failure, extent, injection, &clock);
        }
        let budgets = self.policy.budgets(compiled.module.manifest().class());
        let budgets = Budgets { instruction_ns: INSTRUCTION_NS, ..budgets };
        let maps = [self.map];
        let builder = NookBuilder::of(&compiled.module, &maps).clock(clock.clone()).budgets(budgets);
        let nook = S::nook(builder, device, Box::new(launcher), &oracle, backend_fault, &self.policy)?;
        Ok(Subject { supervisor: Supervisor::new(nook, self.policy.policy()), oracle, clock })
    }
}

fn compile(module: DriverModule, isolation: Isolation) -> Result<Compiled> {
    let module = Arc::new(module.metered());
    let cache = ModuleCache::none();
    let launcher: WasmLauncher = match isolation {
        Isolation::Sfi => WasmLauncher::new(module.clone(), &cache, Mmio::Emulated)?,
        _ => {
            let way: Arc<dyn Rollback> = RollbackMethod::Log.rollback();
            WasmLauncher::with_rollback(&module, &cache, way)?
        }
    };
    Ok(Compiled { module, launcher: Arc::new(launcher) })
}

impl<S: Testbed> Subject<S> {
    /// Returns the time of its clock.
    pub fn now_ns(&self) -> u64 {
        self.clock.now_ns()
    }

    /// Lets it work for one turn, which ends at that time at the latest.
    ///
    /// # Errors
    /// If it is in quarantine.
    pub fn turn(&mut self, until_ns: u64) -> Result<(), Quarantine> {
        self.supervisor.turn(until_ns).map(|_| ())
    }

    /// Begins a fault that does not begin with the driver.
    pub fn begin(&self, trial: &Trial, injection: &Injection) {
        if let Begin::Traffic(after_ns) = trial.begin {
            injection.begin_at(self.now_ns() + after_ns);
        }
    }
}
