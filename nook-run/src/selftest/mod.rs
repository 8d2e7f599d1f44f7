//! `nook-run selftest`: tries a driver and its device by themselves. What is tried is in the folder of the driver's
//! class; here is what has to be there before.

mod report;

use std::sync::Arc;

use anyhow::{Context, Result, bail};
use nook_abi::Class;
use nook_bus::{DmaWindow, PciDevice, PciIdentity};
use nook_recovery::PolicyFile;
use nook_regs::RegisterMap;
use nook_runtime::{DriverModule, Launcher, ModuleCache, RollbackMethod, Wasi};

use crate::cli::{MmioArg, SelftestArgs};
use crate::device::{self, DeviceOptions};
use crate::drivers::LaunchOptions;
use crate::report::check_path;
use crate::run::{RunOutcome, end_if_interrupted};
use crate::signals::Signals;
use crate::{block, drivers, maps, net};

pub use report::{Check, DeviceReport, MachineReport, table};

/// What a test is made of.
pub(crate) struct Ready {
    pub(crate) signals: Signals,
    pub(crate) module: Arc<DriverModule>,
    pub(crate) map: &'static RegisterMap,
    pub(crate) launcher: Box<dyn Launcher>,
    pub(crate) window: DmaWindow,
    pub(crate) device: Box<dyn PciDevice>,
    pub(crate) identity: PciIdentity,
    /// "model", "qemu" or "pci".
    pub(crate) from: &'static str,
}

/// Runs the test, prints a table, and writes the report.
///
/// # Errors
/// If there is no device to be tested; nothing is left behind then. What the test finds is no error.
pub fn selftest(args: &SelftestArgs) -> Result<RunOutcome> {
    let signals = Signals::take().context("cannot take signals")?;
    if let Some(path) = &args.json {
        check_path(path)?;
    }
    let module = Arc::new(drivers::load(&args.driver, Wasi::Refused)?);
    check_class(args, module.manifest().class())?;
    let map = maps::choose(&args.driver, module.manifest(), &args.registers)?;
    let how = LaunchOptions { isolation: None, mmio: MmioArg::Emulated, process: None, method: RollbackMethod::Log };
    let cache = ModuleCache::of_user().compiled_by(drivers::compiler(&PolicyFile::default(), Some(&signals))?);
    let launcher = drivers::launcher(&args.driver, &module, how, None, &cache)
        .inspect_err(|error| end_if_interrupted(error, &signals))?;
    let window = DmaWindow::new(module.layout().window_bytes).context("cannot make a DMA window")?;
    let choice = DeviceOptions { disk: args.disk.as_deref(), seed: args.seed, ..DeviceOptions::from(&args.device) };
    let device = device::open(&choice, module.manifest(), &window)?;
    let identity = device.identity();
    let from = match (&args.device.pci, &args.device.qemu) {
        (Some(_), _) => "pci",
        (None, Some(_)) => "qemu",
        (None, None) => "model",
    };
    let is_disk = module.manifest().class() == Class::Block;
    let ready = Ready { signals, module, map, launcher, window, device, identity, from };
    if is_disk { block::selftest(args, ready) } else { net::selftest(args, ready) }
}

/// Refuses options that are another class's.
fn check_class(args: &SelftestArgs, class: Class) -> Result<()> {
    let given = [
        (args.packets.is_some(), "--packets", Class::Net),
        (args.disk.is_some(), "--disk", Class::Block),
        (args.destroy_data.is_some(), "--destroy-data", Class::Block),
    ];
    match given.into_iter().find(|(given, _, of)| *given && *of != class) {
        Some((_, option, of)) => bail!("{option} is for drivers of class {of}, and this one is of class {class}"),
        None => Ok(()),
    }
}
