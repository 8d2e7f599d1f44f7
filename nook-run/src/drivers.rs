//! How a driver is loaded and run.

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use anyhow::{Context, Result, bail};
use nook_mpk::MpkLauncher;
use nook_native::{Level, NativeLauncher};
use nook_process::compiler::{CompilerLimits, CompilerProcess};
use nook_process::{ProcessLauncher, Wait};
use nook_recovery::PolicyFile;
use nook_runtime::{
    Compiler, Driver, DriverModule, EngineError, FilterModule, Host, LaunchError, Launcher, LoadError, Mmio,
    ModuleCache, RollbackMethod, Wasi, WasmLauncher,
};

use crate::cli::{Isolation, MmioArg, ProcessWait};
use crate::signals::Signals;

/// What a module built for WASI gets when it is only looked at: the empty world, if this program was built with it.
#[cfg(feature = "wasi")]
pub const WASI: Wasi = Wasi::Given(&nook_wasi::EmptyWorld);
/// What a module built for WASI gets when it is only looked at: nothing, as this program was built without a world.
#[cfg(not(feature = "wasi"))]
pub const WASI: Wasi = Wasi::Refused;

/// Returns what `--wasi` asks for.
///
/// # Errors
/// If this program was built without it.
pub fn asked_wasi() -> Result<Wasi> {
    if cfg!(not(feature = "wasi")) {
        bail!(
            "--wasi: this nook-run was built without WASI, as `cargo xtask demo` does to be quick; build it with \
             `cargo build --release -p nook-run`"
        );
    }
    Ok(WASI)
}

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

/// Reads a filter's file.
///
/// # Errors
/// If it cannot be read, or is not a filter for this host.
pub fn load_filter(path: &Path) -> Result<FilterModule> {
    match FilterModule::load(path) {
        Err(error @ LoadError::Unreadable { .. }) => Err(error.into()),
        outcome => outcome.with_context(|| format!("{} is not a filter for this host", path.display())),
    }
}

/// How a driver is to run.
#[derive(Clone, Copy, Debug)]
pub struct LaunchOptions {
    /// What is between it and the host, if that was asked for.
    pub isolation: Option<Isolation>,
    /// How it reaches its device's registers.
    pub mmio: MmioArg,
    /// How a separate process is waited for.
    pub process: Option<ProcessWait>,
    /// How its calls are rolled back, if they can be.
    pub method: RollbackMethod,
}

/// Returns what compiles drivers: a process, within the policy's limits, and given up when a signal comes.
///
/// # Errors
/// If there is no descriptor left to wait for signals with.
pub fn compiler(policy: &PolicyFile, signals: Option<&Signals>) -> Result<Arc<dyn Compiler>> {
    let stop = signals.map(Signals::event).transpose().context("cannot wait for signals")?;
    let (cpu_ns, memory_bytes) = policy.compiler();
    Ok(Arc::new(CompilerProcess::new(CompilerLimits { cpu_ns, memory_bytes }, stop)))
}

/// Makes instances of the driver in `module`, which was read from `path`, with a filter and its rules beside it,
/// isolated as asked. A run without a choice has its calls rolled back, unless something stands against it;
/// then the log says what.
///
/// # Errors
/// If the module does not compile, if it is to run natively and nothing beside it is the same driver compiled for that,
/// or if what was asked for does not go together.
pub fn launcher(
    path: &Path,
    module: &Arc<DriverModule>,
    how: LaunchOptions,
    filter: Option<(&FilterModule, String)>,
    cache: &ModuleCache,
) -> Result<Box<dyn Launcher>> {
    let LaunchOptions { isolation: asked, mmio, process, method } = how;
    if process.is_some() && asked != Some(Isolation::Process) {
        bail!("--process-wait requires --isolation process");
    }
    if matches!(asked, Some(Isolation::Native | Isolation::Wrapped | Isolation::Mpk | Isolation::Process)) {
        if filter.is_some() {
            bail!("a filter requires a driver in the sandbox: use --isolation sfi");
        }
        if mmio == MmioArg::Direct {
            bail!("--mmio direct is for the sandbox: a native driver's accesses need no shim");
        }
    }
    match asked {
        Some(Isolation::Native) => native(path, module, Level::Native),
        Some(Isolation::Wrapped) => native(path, module, Level::Wrapped),
        Some(Isolation::Mpk) => Ok(Box::new(MpkLauncher::new(&path.with_extension("mpk"), module.manifest())?)),
        Some(Isolation::Process) => {
            let wait = match process {
                None | Some(ProcessWait::Futex) => Wait::Futex,
                Some(ProcessWait::Poll) => Wait::Poll,
            };
            Ok(Box::new(ProcessLauncher::new(&path.with_extension("elf"), module.manifest(), wait)?))
        }
        Some(Isolation::Sfi) => sandbox(module, mmio, filter, cache),
        Some(Isolation::SfiTxn) => match why_no_rollback(mmio, filter.is_some()) {
            Some(why) => bail!("{why}: use --isolation sfi"),
            None => Ok(Box::new(WasmLauncher::with_rollback(module, cache, method.rollback())?)),
        },
        None => {
            let why = match why_no_rollback(mmio, filter.is_some()) {
                Some(why) => why.to_owned(),
                None => match WasmLauncher::with_rollback(module, cache, method.rollback()) {
                    Ok(launcher) => return Ok(Box::new(launcher)),
                    Err(EngineError::NoRollback(why)) => why,
                    Err(error) => return Err(error.into()),
                },
            };
            tracing::warn!("isolation sfi, not sfi+txn: after a fault the driver is restarted, for {why}");
            sandbox(module, mmio, filter, cache)
        }
    }
}

/// `sfi` for the first instance, and what is better after a fault for every later one.
struct AfterFault {
    first: WasmLauncher,
    later: Box<dyn Launcher>,
    launches: AtomicU64,
}

/// Runs the driver without transactions until its first fault.
///
/// # Errors
/// If the module does not compile.
pub fn after_fault(
    module: &Arc<DriverModule>,
    later: Box<dyn Launcher>,
    cache: &ModuleCache,
) -> Result<Box<dyn Launcher>> {
    let first = WasmLauncher::new(module.clone(), cache, Mmio::Emulated)?;
    Ok(Box::new(AfterFault { first, later, launches: AtomicU64::new(0) }))
}

impl Launcher for AfterFault {
    fn launch(&self, host: Host) -> Result<Box<dyn Driver>, Box<LaunchError>> {
        match self.launches.fetch_add(1, Ordering::Relaxed) {
            0 => self.first.launch(host),
            _ => self.later.launch(host),
        }
    }

    fn isolation(&self) -> &'static str {
        if self.launches.load(Ordering::Relaxed) < 2 { self.first.isolation() } else { self.later.isolation() }
    }

    fn rolls_back(&self) -> bool {
        self.launches.load(Ordering::Relaxed) >= 2 && self.later.rolls_back()
    }

    fn crashes(&self) -> bool {
        self.first.crashes() && self.later.crashes()
    }
}

/// Returns what stands against calls that can be rolled back, whatever the driver.
fn why_no_rollback(mmio: MmioArg, filtered: bool) -> Option<&'static str> {
    match mmio {
        MmioArg::Direct => Some("--mmio direct reaches the device at once, so such a call cannot be rolled back"),
        MmioArg::Emulated => filtered.then_some("a filter's memory cannot be rolled back together with its driver's"),
    }
}

fn sandbox(
    module: &Arc<DriverModule>,
    mmio: MmioArg,
    filter: Option<(&FilterModule, String)>,
    cache: &ModuleCache,
) -> Result<Box<dyn Launcher>> {
    let mmio = match mmio {
        MmioArg::Emulated => Mmio::Emulated,
        MmioArg::Direct => Mmio::Direct,
    };
    Ok(Box::new(match filter {
        None => WasmLauncher::new(module.clone(), cache, mmio)?,
        Some((filter, rules)) => WasmLauncher::filtered(module.clone(), filter, rules, cache, mmio)?,
    }))
}

fn native(path: &Path, module: &DriverModule, level: Level) -> Result<Box<dyn Launcher>> {
    Ok(Box::new(NativeLauncher::new(&path.with_extension("so"), module.manifest(), level)?))
}
