//! Drivers and register maps that are compiled into this command.

use std::path::Path;
use std::sync::Arc;

use anyhow::{Context, Result, bail};
use e1000_wasm::E1000;
use nook_native::{Checked, NativeKernel, NativeLauncher, Unchecked};
use nook_recovery::UndoLogging;
use nook_regs::RegisterMap;
use nook_runtime::{DriverModule, Launcher, Layout, LoadError, Mmio, ModuleCache, Wasi, WasmLauncher};

use crate::cli::{Isolation, MmioArg};

/// Every register map that a manifest may name.
pub const MAPS: &[&RegisterMap] = &[&e1000_regs::MAP];

/// Reads a driver's file.
///
/// # Errors
/// If it cannot be read, or is not a driver for this host.
pub fn load(path: &Path, wasi: Wasi) -> Result<DriverModule> {
    match DriverModule::load(path, wasi) {
        // It may well be one.
        Err(error @ LoadError::Unreadable { .. }) => Err(error.into()),
        outcome => outcome.with_context(|| format!("{} is not a driver for this host", path.display())),
    }
}

/// Makes instances of the driver in `module`, isolated as asked.
///
/// # Errors
/// If the module does not compile, or if it is to run natively and is not compiled in.
pub fn launcher(
    module: &Arc<DriverModule>,
    isolation: Isolation,
    mmio: MmioArg,
    cache: &ModuleCache,
) -> Result<Box<dyn Launcher>> {
    let mmio = match (mmio, isolation) {
        (MmioArg::Emulated, _) => Mmio::Emulated,
        (MmioArg::Direct, Isolation::Sfi) => Mmio::Direct,
        (MmioArg::Direct, Isolation::SfiTxn) => {
            bail!("--mmio direct reaches the device at once, so such a call cannot be taken back: --isolation sfi")
        }
        (MmioArg::Direct, _) => bail!("--mmio direct is for the sandbox: a native driver's accesses need no shim"),
    };
    let layout = *module.layout();
    match isolation {
        Isolation::Sfi => Ok(Box::new(WasmLauncher::new(module.clone(), cache, mmio)?)),
        Isolation::SfiTxn => Ok(Box::new(WasmLauncher::undoable(module, cache, Arc::new(UndoLogging))?)),
        Isolation::Native => native::<Unchecked>(&module.manifest().name, layout),
        Isolation::Wrapped => native::<Checked>(&module.manifest().name, layout),
    }
}

fn native<L: nook_native::Level>(name: &str, layout: Layout) -> Result<Box<dyn Launcher>> {
    match name {
        "e1000" => Ok(Box::new(NativeLauncher::<L, E1000<NativeKernel<L>>>::new(layout))),
        _ => bail!(
            "the driver `{name}` is not compiled into nook-run, so it can run in the sandbox only (--isolation sfi); \
             compiled in is: e1000"
        ),
    }
}
