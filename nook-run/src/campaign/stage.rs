//! Two nooks on embedded models, in virtual time: the one with the fault, and a neighbour.

use std::sync::Arc;

use anyhow::{Context, Result};
use e1000_model::{Behaviour, Model, ModelConfig};
use nook_bus::{Clock, PciDevice};
use nook_campaign::{
    BackendFault, Begin, CableEnd, FaultWorld, FaultyDevice, HostEnd, Injection, Oracle, Planted, Sites, Trial,
};
use nook_recovery::{Policy, PolicyFile, Quarantine, Supervisor};
use nook_regs::RegisterMap;
use nook_runtime::{
    Budgets, DriverModule, Mmio, ModuleCache, Net, Nook, NookBuilder, Rollback, RollbackMethod, Wasi, WasmLauncher,
};

use crate::cli::Isolation;

/// What an instruction is taken to last: a call in atomic context may execute two million, and one in process context
/// twenty. The longest of a good driver takes a hundredth of that.
const INSTRUCTION_NS: u64 = 100;

/// A nook under supervision.
pub type Supervised = Supervisor<Net<HostEnd>>;

/// A compiled driver, for any number of nooks.
#[derive(Clone)]
pub struct Compiled {
    module: Arc<DriverModule>,
    launcher: Arc<WasmLauncher>,
}

/// What all trials have in common.
pub struct Stage {
    file: Vec<u8>,
    map: &'static RegisterMap,
    isolation: Isolation,
    policy: Policy,
    pristine: Compiled,
}

/// A nook, its oracle and its clock.
pub struct Subject {
    pub supervisor: Supervised,
    pub oracle: Oracle,
    pub clock: Clock,
}

impl Stage {
    /// Loads a driver's file, whose register map is known.
    ///
    /// # Errors
    /// If it does not compile.
    pub fn new(file: Vec<u8>, map: &'static RegisterMap, isolation: Isolation, policy: &PolicyFile) -> Result<Self> {
        let module = DriverModule::from_bytes(&file, Wasi::Refused)?;
        let pristine = compile(module, isolation)?;
        Ok(Stage { file, map, isolation, policy: policy.policy(), pristine })
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
    pub fn subject(&self, compiled: &Compiled, seed: u64, fault: Option<(&Trial, &Arc<Injection>)>) -> Result<Subject> {
        let clock = Clock::new_virtual();
        let oracle = Oracle::new(seed, clock.clone());
        let config = ModelConfig { seed, behaviour: Behaviour::adversarial(), ..ModelConfig::default() };
        let mut device: Box<dyn PciDevice> = Box::new(Model::new(config, Box::new(CableEnd(oracle.clone()))));
        let mut backend_fault = None;
        if let Some((trial, injection)) = fault
            && let Some((failure, extent)) = trial.failure
        {
            let dma_bytes = compiled.module.layout().dma_bytes as usize;
            device = Box::new(FaultyDevice::new(device, (failure, extent), dma_bytes, trial.seed, injection, &clock));
            backend_fault = BackendFault::new(failure, extent, injection, &clock);
        }
        let budgets = Budgets { instruction_ns: INSTRUCTION_NS, ..Budgets::default() };
        let maps = [self.map];
        let builder = NookBuilder::of(&compiled.module, &maps).clock(clock.clone()).budgets(budgets);
        let backend = HostEnd::new(oracle.clone(), backend_fault);
        let nook: Nook<_> = builder.net(device, Box::new(compiled.launcher.clone()), backend)?;
        Ok(Subject { supervisor: Supervisor::new(nook, self.policy), oracle, clock })
    }
}

fn compile(module: DriverModule, isolation: Isolation) -> Result<Compiled> {
    let module = Arc::new(module.metered());
    let cache = ModuleCache::none();
    let launcher = match isolation {
        Isolation::Sfi => WasmLauncher::new(module.clone(), &cache, Mmio::Emulated)?,
        _ => {
            let way: Arc<dyn Rollback> = RollbackMethod::Log.rollback();
            WasmLauncher::with_rollback(&module, &cache, way)?
        }
    };
    Ok(Compiled { module, launcher: Arc::new(launcher) })
}

impl Subject {
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
