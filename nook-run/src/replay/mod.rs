//! Record and replay: `--record` has all that enters a driver written to a file, and `nook-run replay` runs a driver
//! against it, without any device, and says where it does something else.

mod args;
mod device;
mod event;
mod file;
mod last;

use std::fmt::Write;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use anyhow::{Context, Result, bail};
use nook_abi::{Hex, Printable};
use nook_bus::Clock;
use nook_recovery::{PolicyFile, RECORDING};
use nook_regs::RegisterMap;
use nook_runtime::{
    Budgets, Caller, Difference, DriverModule, Faulted, Found, Host, ModuleCache, NookBuilder, Recorded, ReplayError,
    Replayed, RollbackMethod, Stopped, replay,
};

pub use args::{ReplayArgs, RunRecord};

use self::device::RecordedDevice;
pub(crate) use self::file::How;
use self::file::{Device, Head, Reader, Writer, memory};
use self::last::LastSeconds;
use crate::cli::{Isolation, MmioArg, RunArgs};
use crate::drivers::{self, LaunchOptions};
use crate::postmortem::{self, Source, demangled};
use crate::{output, trace};

/// A call that runs again may take this many times what a good driver's may in a run. There is a limit at all because a
/// changed driver may never end.
const PATIENCE: u64 = 10;

/// Refuses a recording of a driver of which the recording would not have all.
///
/// # Errors
/// Why it would not.
pub(crate) fn check(args: &RunArgs, policy: &PolicyFile, has_filter: bool) -> Result<()> {
    let what = match (&args.record.record, policy.recorded_ns()) {
        (Some(_), _) => "--record",
        (None, Some(_)) => "`record` in the policy's [bundles]",
        (None, None) => return Ok(()),
    };
    let why = match args.isolation {
        Some(Isolation::Native | Isolation::Wrapped | Isolation::Mpk | Isolation::Process) => {
            "what a driver outside the sandbox loads is not seen: use --isolation sfi or sfi+txn"
        }
        _ if args.mmio == MmioArg::Direct => {
            "registers that the driver has as memory are not seen: leave --mmio direct out"
        }
        _ if args.wasi => "what WASI's functions return is not recorded: record a driver that does without them",
        _ if has_filter => "a filter's share is not recorded: leave the filter out",
        _ if args.record.record.is_none() && (args.isolation == Some(Isolation::Sfi) || policy.begins_with_sfi()) => {
            "it begins where a snapshot could be taken, and at sfi none can: use --isolation sfi+txn, without `begin`"
        }
        _ => return Ok(()),
    };
    bail!("{what}: {why}")
}

/// A recording that was asked for, of a device.
pub(crate) struct Begun {
    to: Destination,
    device: Device,
}

/// Where a recording goes.
enum Destination {
    /// All of it into a file.
    File(Writer),
    /// The end of it into crash bundles: at least this many nanoseconds.
    Bundles(u64),
}

/// Begins the recording that was asked for: into a file, which has what bundles would have, or else for bundles.
pub(crate) fn begin(args: &RunArgs, policy: &PolicyFile, device: &dyn nook_bus::PciDevice) -> Result<Option<Begun>> {
    let to = match (&args.record.record, policy.recorded_ns()) {
        (Some(path), _) => Destination::File(Writer::create(path)?),
        (None, Some(keep_ns)) => Destination::Bundles(keep_ns),
        (None, None) => return Ok(None),
    };
    Ok(Some(Begun { to, device: Device::of(device) }))
}

/// Says in a recording what it is of, and has the driver recorded.
pub(crate) fn watch(
    begun: Option<Begun>,
    host: &mut Host,
    how: How,
    module: &DriverModule,
    map: &'static RegisterMap,
) -> Result<()> {
    let Some(Begun { to, device }) = begun else { return Ok(()) };
    let manifest = module.manifest();
    let head = Head {
        abi: nook_abi::ABI_VERSION,
        driver: format!("{} {}", manifest.name, manifest.version),
        sha256: Hex::of(&module.sha256()).to_string(),
        device,
        how,
        memory: memory(module),
        registers: nook_regs_file::write(map),
    };
    match to {
        Destination::File(mut writer) => {
            writer.head(&head)?;
            host.record(Box::new(writer));
        }
        Destination::Bundles(keep_ns) => host.record(Box::new(LastSeconds::new(keep_ns, &head)?)),
    }
    Ok(())
}

/// `nook-run replay`: runs the driver against the recording, and prints what came of it.
///
/// # Errors
/// If it does something else than the recording has; if the recording cannot be read, or not to its end; if the driver
/// cannot be run against it.
pub fn run(args: &ReplayArgs) -> Result<()> {
    let (file, driver) = files(args)?;
    let mut reader = Reader::open(&file)?;
    let restored = Reader::open(&file)?.restored();
    let head = reader.head.clone();
    let mut module = drivers::load(&driver, nook_runtime::Wasi::Refused)?.recording();
    check_memory(&head, &module, &driver)?;
    if head.how.counts {
        module = module.counting();
    }
    let module = Arc::new(module);
    let map = nook_regs_file::read(&head.registers).context("the recording's register map is damaged")?.map;
    let (launcher, host) = (launcher(&head, &module, &driver)?, host(&head, &module, map)?);
    let sha256 = Hex::of(&module.sha256()).to_string();
    let same = head.sha256 == sha256;
    let mut is_end = false;
    let next = || match reader.event()? {
        Some(Recorded::State { .. }) if !same => bail!(
            "{} goes on amid a run, with the memory of the driver that was recorded, and {} is another build of it, which \
             has its data and functions elsewhere: a changed driver needs a recording from the start (--record)",
            file.display(),
            driver.display()
        ),
        event => {
            is_end |= reader.events() == 1 && matches!(event, Some(Recorded::State { .. }));
            Ok(event)
        }
    };
    let (did, outcome) = replay(&*launcher, host, &restored, next);
    let mut text = introduction(&head, same, is_end);
    let done = done(&did);
    let source = Source::load(&driver, &sha256).ok();
    match outcome {
        Ok(Stopped::End) => {
            writeln!(text, "the same to its end: {done}")?;
            if let Some(Faulted { entry, text: why, callers }) = &did.fault {
                writeln!(text, "the last call, {entry}, ends again: {}", Printable(why))?;
                places(&mut text, callers, source.as_ref())?;
            }
            output::print(&text)
        }
        Ok(Stopped::Difference { difference, callers }) => {
            describe(&mut text, &difference, &callers, source.as_ref(), map, did.told_ns)?;
            output::print(&text)?;
            bail!("the driver did something else in call {}; before that, all was the same", did.calls)
        }
        Err(error) => {
            output::print(&text)?;
            let error = match error {
                ReplayError::Source(error) => error,
                other => anyhow::anyhow!("{other}"),
            };
            Err(error.context(format!("up to here all was the same: {done}")))
        }
    }
}

/// Returns the recording and the driver's file.
fn files(args: &ReplayArgs) -> Result<(PathBuf, PathBuf)> {
    let given = args.driver.clone();
    if !args.file.is_dir() {
        let driver = given.context("of which driver? Name its file behind the recording's")?;
        return Ok((args.file.clone(), driver));
    }
    let file = args.file.join(RECORDING);
    if !file.exists() {
        bail!(
            "{} has no recording: crash bundles have one with `record` in the policy's [bundles] (docs/policy.md)",
            args.file.display()
        );
    }
    Ok((file, given.map_or_else(|| postmortem::driver_file(&args.file), Ok)?))
}

/// Refuses a driver in whose memory things are elsewhere: the recording has addresses.
fn check_memory(head: &Head, module: &DriverModule, driver: &Path) -> Result<()> {
    let (recorded, found) = (head.memory, memory(module));
    if recorded != found {
        bail!(
            "{} has its host page at {:#x}, its DMA window at {:#x} and its end at {:#x}, and the recorded driver had them \
             at {:#x}, {:#x} and {:#x}, so that addresses in the recording mean other places here: give the changed driver \
             the same memory (data, stack, heap and window of its manifest)",
            driver.display(),
            found[0],
            found[1],
            found[2],
            recorded[0],
            recorded[1],
            recorded[2]
        );
    }
    Ok(())
}

fn launcher(head: &Head, module: &Arc<DriverModule>, driver: &Path) -> Result<Box<dyn nook_runtime::Launcher>> {
    let How { isolation, begins_with_sfi, keeps_pages, .. } = &head.how;
    let isolation = match &**isolation {
        "sfi" if !begins_with_sfi => Isolation::Sfi,
        "sfi" | "sfi+txn" => Isolation::SfiTxn,
        other => bail!(
            "the recording says that its driver ran at {:?}, of which there are none",
            Printable(other).to_string()
        ),
    };
    let method = if *keeps_pages { RollbackMethod::Pages } else { RollbackMethod::Log };
    let cache = ModuleCache::of_user().compiled_by(drivers::compiler(&PolicyFile::default(), None)?);
    let how = LaunchOptions { isolation: Some(isolation), mmio: MmioArg::Emulated, process: None, method };
    let launcher = drivers::launcher(driver, module, how, None, &cache)?;
    if *begins_with_sfi { drivers::after_fault(module, launcher, &cache) } else { Ok(launcher) }
}

fn host(head: &Head, module: &DriverModule, map: &'static RegisterMap) -> Result<Host> {
    let usual = Budgets::default();
    let budgets = Budgets {
        interrupt_cpu_ns: PATIENCE * usual.interrupt_cpu_ns,
        atomic_cpu_ns: PATIENCE * usual.atomic_cpu_ns,
        process_cpu_ns: PATIENCE * usual.process_cpu_ns,
        short_wall_ns: PATIENCE * usual.short_wall_ns,
        process_wall_ns: PATIENCE * usual.process_wall_ns,
        process_total_ns: PATIENCE * usual.process_total_ns,
        ..usual
    };
    let maps = [map];
    let builder = NookBuilder::of(module, &maps).clock(Clock::Monotonic).budgets(budgets);
    Ok(builder.host(Box::new(RecordedDevice::of(&head.device)))?)
}

fn introduction(head: &Head, same: bool, is_end: bool) -> String {
    let Head { driver, device, how: How { isolation, .. }, .. } = head;
    let part = if is_end { ", the end of its run" } else { "" };
    let which = if same { "" } else { ", and this is another build of it" };
    format!(
        "recorded: {} drives {}, isolation {}{part}{which}\n",
        Printable(driver),
        Printable(&device.name),
        Printable(isolation)
    )
}

fn done(did: &Replayed) -> String {
    let Replayed { instances, calls, hostcalls, rollbacks, restores, .. } = did;
    format!(
        "{calls} calls, {hostcalls} hostcalls, {rollbacks} rollbacks, {restores} restored snapshots, {instances} instances"
    )
}

fn describe(
    text: &mut String,
    difference: &Difference,
    callers: &[Caller],
    source: Option<&Source>,
    map: &'static RegisterMap,
    told_ns: u64,
) -> Result<()> {
    let Difference { entry, recorded, found } = difference;
    let (seconds, nanos) = (told_ns / 1_000_000_000, told_ns % 1_000_000_000);
    writeln!(text, "the first difference, in {entry}, called at {seconds}.{nanos:09} of the nook's clock:")?;
    let words = |found: &Found| words(found, map);
    writeln!(text, "  recorded  {}", recorded.as_ref().map_or_else(|| "something else".to_owned(), words))?;
    writeln!(text, "  now       {}", words(found))?;
    if callers.is_empty() {
        // Loads and stores that were otherwise are found when their call is over.
        writeln!(text, "  where     somewhere in the call")?;
    }
    places(text, callers, source)
}

/// Says where the driver was, innermost first.
fn places(text: &mut String, callers: &[Caller], source: Option<&Source>) -> Result<()> {
    for caller in callers {
        let name = caller.name.as_deref().map_or_else(|| format!("function {}", caller.function), demangled);
        writeln!(text, "  where     {name}")?;
        if let (Some(source), Some(offset)) = (source, caller.module_offset) {
            source.lines(offset).iter().try_for_each(|line| writeln!(text, "              {line}"))?;
        }
    }
    Ok(())
}

/// Says what a driver did.
fn words(found: &Found, map: &'static RegisterMap) -> String {
    match found {
        Found::Call { call, args } => format!("calls {}", trace::hostcall(map, *call, *args)),
        Found::Load { addr, len_bytes } => format!("loads {len_bytes} bytes of shared memory at {addr:#x}"),
        Found::Returned(result) => format!("returns {result:#x}"),
        Found::Faulted(why) => format!("ends: {}", Printable(why)),
        Found::Loads(loads) => format!("has loaded from shared memory {loads} times when it ends"),
        Found::StoredOtherwise => "stores something else in memory that it shares, or in another order".into(),
    }
}
