//! A run, from options to report.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, Result, bail};
use nook_bus::Clock;
use nook_recovery::{PolicyFile, Recovery, RecoveryOutcome, Supervisor};
use nook_regs::RegisterMap;
use nook_runtime::{
    Class, CrashWhen, DriverModule, EngineError, FilterModule, Host, Launcher, ModuleCache, Nook, NookBuilder,
    NookError, RollbackMethod, Wasi,
};

use crate::cli::{Isolation, RunArgs};
use crate::device::DeviceOptions;
use crate::drivers::LaunchOptions;
use crate::report::{ClassReport, Report, VIRTUAL, check_path, irq_name, write_json};
use crate::signals::Signals;
use crate::{block, device, drivers, inspect, maps, misc, net, nooks, output, replay, serial, state, trace};

/// The longest wait of one turn, so that the end of a run is noticed.
const TURN_NS: u64 = 100_000_000;
/// How often it is looked whether DMA was blocked.
const DMA_LOOK_NS: u64 = 1_000_000_000;

/// How a run that could be made ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RunOutcome {
    /// As it should.
    Done,
    /// An exercise lost something.
    ExerciseFailed,
    /// The driver faulted too often.
    Quarantined,
}

impl RunOutcome {
    /// Returns the exit status.
    pub fn status(self) -> u8 {
        match self {
            RunOutcome::Done => 0,
            RunOutcome::ExerciseFailed => 3,
            RunOutcome::Quarantined => 4,
        }
    }
}

/// Why a run ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Ended {
    /// A signal came.
    Signal(&'static str),
    /// Its time was up.
    Duration,
    /// The exercise was over.
    Exercise,
    /// What the run was to be for cannot be had: why.
    Unable(String),
    /// The driver is in quarantine.
    Quarantine(String),
}

impl std::fmt::Display for Ended {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Ended::Signal(name) => write!(f, "{name}"),
            Ended::Duration => f.write_str("the time was up"),
            Ended::Exercise => f.write_str("the exercise was over"),
            Ended::Unable(why) | Ended::Quarantine(why) => f.write_str(why),
        }
    }
}

/// Runs a driver as asked, prints what it found, and writes the report.
///
/// # Errors
/// If something could not be set up, or the driver did not come up at all. Nothing is left behind in either case.
pub fn run(args: &RunArgs) -> Result<RunOutcome> {
    let signals = Signals::take().context("cannot take signals")?;
    let outcome = if args.nook.is_empty() { run_alone(args, &signals) } else { nooks::run(args, &signals) };
    outcome.inspect_err(|error| end_if_interrupted(error, &signals))
}

/// Ends the process by the signal that came, if it came while the driver was being compiled.
pub(crate) fn end_if_interrupted(error: &anyhow::Error, signals: &Signals) {
    if let Some(EngineError::Interrupted) = error.downcast_ref() {
        output::complain(error);
        signals.end_by_it();
    }
}

fn run_alone(args: &RunArgs, signals: &Signals) -> Result<RunOutcome> {
    if let Some(path) = &args.json {
        check_path(path)?;
    }
    let (report, outcome) = run_one(args, signals)?;
    // A machine that lacks the one can have the other.
    let written = args.json.as_deref().map_or(Ok(()), |path| write_json(&report, path));
    written.and(output::print(&report.text()))?;
    outcome
}

/// The modules of a nook.
pub(crate) struct Loaded {
    /// The driver's file.
    path: PathBuf,
    pub(crate) driver: Arc<DriverModule>,
    pub(crate) filter: Option<FilterModule>,
    /// What the driver may do with its device.
    pub(crate) map: &'static RegisterMap,
}

impl Loaded {
    fn new(args: &RunArgs) -> Result<Self> {
        let modules = args.driver.as_ref().context("no driver was named")?;
        let driver =
            Arc::new(drivers::load(&modules.driver, if args.wasi { drivers::asked_wasi()? } else { Wasi::Refused })?);
        let filter = modules.filter.as_deref().map(drivers::load_filter).transpose()?;
        if filter.is_none() && !args.net.filter_rule.is_empty() {
            bail!("--filter-rule: there is no filter; name one after the driver, as in e1000.wasm+filter.wasm");
        }
        let manifest = driver.manifest();
        check_class(args, &manifest.name, manifest.class())?;
        let map = maps::choose(&modules.driver, manifest, &args.registers)?;
        for what in inspect::forgotten(&driver)? {
            tracing::warn!("{what}");
        }
        Ok(Loaded { path: modules.driver.clone(), driver, filter, map })
    }
}

/// Runs one nook, from options to its report, and returns how it ended.
pub(crate) fn run_one(args: &RunArgs, signals: &Signals) -> Result<(Report, Result<RunOutcome>)> {
    check_virtual_time(args)?;
    let policy = policy(args)?;
    let modules = Loaded::new(args)?;
    let manifest = modules.driver.manifest();
    match manifest.class() {
        nook_abi::Class::Net => net::run(args, &modules, &policy, signals),
        nook_abi::Class::Misc => misc::run(args, &modules, &policy, signals),
        nook_abi::Class::Block => block::run(args, &modules, &policy, signals),
        nook_abi::Class::Serial => serial::run(args, &modules, &policy, signals),
        class => Err(no_device(&manifest.name, class)),
    }
}

fn no_device(name: &str, class: nook_abi::Class) -> anyhow::Error {
    anyhow::anyhow!("`{name}` is of class {class}, which drives no device")
}

/// Refuses an option of one class with a driver of another.
fn check_class(args: &RunArgs, driver: &str, class: nook_abi::Class) -> Result<()> {
    let options = [
        (nook_abi::Class::Net, args.net.given()),
        (nook_abi::Class::Block, args.block.given()),
        (nook_abi::Class::Misc, args.misc.given()),
        (nook_abi::Class::Serial, args.serial.given()),
    ];
    for (of, option) in options {
        if let Some(option) = option.filter(|_| of != class) {
            bail!("{option} is for drivers of class {of}, and `{driver}` is of class {class}: leave it out");
        }
    }
    if let Some(exercise) = args.exercise.iter().find(|exercise| exercise.class() != class) {
        let (name, of) = (exercise.name(), exercise.class());
        bail!("--exercise {name} is for drivers of class {of}, and `{driver}` is of class {class}: leave it out");
    }
    Ok(())
}

/// Refuses virtual time where something runs in real time.
fn check_virtual_time(args: &RunArgs) -> Result<()> {
    let other = match (args.isolation, &args.net.wire) {
        _ if !args.virtual_time => return Ok(()),
        (Some(Isolation::Process), _) => "--isolation process: the driver's process",
        (Some(Isolation::Mpk), _) => "--isolation mpk: the driver's budget",
        (_, net::args::WireArg::Tap(_)) => "--wire tap: the cable's other end",
        _ => return Ok(()),
    };
    bail!("--virtual-time does not go with {other} works in real time; leave one of the two out")
}

/// Returns what happens after a fault.
fn policy(args: &RunArgs) -> Result<PolicyFile> {
    let Some(path) = &args.policy else { return Ok(PolicyFile::default()) };
    PolicyFile::read(path).with_context(|| format!("--policy: {} is not used", path.display()))
}

/// Returns the device and what makes drivers for it: all of a nook but its class.
pub(crate) fn parts(
    args: &RunArgs,
    modules: &Loaded,
    policy: &PolicyFile,
    signals: &Signals,
    device: &DeviceOptions<'_>,
) -> Result<(Host, Box<dyn Launcher>)> {
    let cache = if args.no_cache { ModuleCache::none() } else { ModuleCache::of_user() };
    let cache = cache.compiled_by(drivers::compiler(policy, Some(signals))?);
    let crash = crash(args);
    replay::check(args, policy, modules.filter.is_some())?;
    let mut module = modules.driver.clone();
    if args.record.record.is_some() || policy.recorded_ns().is_some() {
        module = Arc::new(module.recording());
    }
    if crash.is_some() {
        module = Arc::new(module.counting());
    }
    if args.virtual_time {
        module = Arc::new(module.metered());
    }
    let module = &module;
    let filter = modules.filter.as_ref().map(|filter| (filter, args.net.filter_rule.join("\n")));
    let RunArgs { isolation, mmio, process_wait: process, .. } = *args;
    let how = LaunchOptions { isolation, mmio, process, method: policy.method() };
    let mut launcher = drivers::launcher(&modules.path, module, how, filter, &cache)?;
    let begins_with_sfi = policy.begins_with_sfi() && launcher.isolation() == "sfi+txn";
    if begins_with_sfi {
        launcher = drivers::after_fault(module, launcher, &cache)?;
    }
    args.trace.check(launcher.isolation())?;
    let clock = if args.virtual_time { Clock::new_virtual() } else { Clock::Monotonic };
    let maps = [modules.map];
    let budgets = policy.budgets(module.manifest().class());
    let mut builder = NookBuilder::of(module, &maps).clock(clock.clone()).budgets(budgets);
    let traced = (args.verbose >= 2).then_some(modules.map);
    let device = device::open_traced(device, traced, module.manifest(), builder.window()?)?;
    let recording = replay::begin(args, policy, &*device)?;
    let (device, recorder) = args.trace.begin(device, &clock)?;
    let mut host = builder.host(device)?;
    trace::watch(recorder, &mut host, launcher.isolation(), module, modules.map)?;
    let how = replay::How {
        isolation: launcher.isolation().to_owned(),
        begins_with_sfi,
        keeps_pages: policy.method() == RollbackMethod::Pages,
        counts: crash.is_some(),
    };
    replay::watch(recording, &mut host, how, module, modules.map)?;
    Ok((host, launcher))
}

/// Puts a nook under supervision, as the policy and the options have it, and starts its driver. Says when that was.
pub(crate) fn begin<C: Class>(
    args: &RunArgs,
    modules: &Loaded,
    policy: &PolicyFile,
    nook: Nook<C>,
    signals: &Signals,
) -> Result<(Supervisor<C>, u64)> {
    let mut supervisor = supervise(args, modules, policy, nook, signals)?;
    let start_ns = supervisor.nook().clock().now_ns();
    supervisor.start()?;
    Ok((supervisor, start_ns))
}

fn supervise<C: Class>(
    args: &RunArgs,
    modules: &Loaded,
    policy: &PolicyFile,
    mut nook: Nook<C>,
    signals: &Signals,
) -> Result<Supervisor<C>> {
    if let Some(when) = crash(args)
        && !nook.crash(when, args.seed)
    {
        match args.isolation {
            Some(Isolation::Process) => {
                bail!("--crash-every and --crash-at are for the sandbox: kill the driver's process, nook-driver")
            }
            Some(Isolation::Mpk) => bail!("--crash-every and --crash-at are for the sandbox"),
            _ => bail!("--crash-every and --crash-at are for the sandbox: a native driver takes this process with it"),
        }
    }
    nook.watch(signals.fd());
    let mut supervisor = Supervisor::new(nook, policy.policy());
    let driver = &modules.driver;
    let registers = nook_regs_file::write(modules.map);
    let state = state::folder(args.registers.state.as_deref());
    if let Some(bundles) = policy.bundles(state.as_deref(), &modules.path, driver.sha256(), registers) {
        supervisor.leave_bundles(bundles);
    }
    tracing::info!(
        "{} {} drives {}, isolation {}",
        driver.manifest().name,
        driver.manifest().version,
        supervisor.nook().host().describe_device(),
        supervisor.nook().isolation()
    );
    Ok(supervisor)
}

/// Returns which calls are to end in a trap.
fn crash(args: &RunArgs) -> Option<CrashWhen> {
    let every = args.crash_every.map(|period| CrashWhen::Every(period.as_nanos() as u64));
    every.or(args.crash_at.map(|(entry, number)| CrashWhen::At(entry, number)))
}

/// Turns until something ends the run: a signal, the time, or what `over` finds; it is asked now and then.
pub(crate) fn drive<C: Class>(
    supervisor: &mut Supervisor<C>,
    signals: &Signals,
    end_ns: Option<u64>,
    mut over: impl FnMut(&mut Supervisor<C>, u64) -> Option<Ended>,
) -> Ended {
    // These are looked at now and then, not after every turn of a few microseconds.
    let mut look_ns = 0;
    let (mut dma_look_ns, mut dma_faults) = (0, 0);
    loop {
        let now = supervisor.nook().clock().now_ns();
        if now >= look_ns {
            look_ns = now + 1_000_000;
            if let Some(signal) = signals.came() {
                return Ended::Signal(signal);
            }
            if end_ns.is_some_and(|end| now >= end) {
                return Ended::Duration;
            }
            if let Some(ended) = over(supervisor, now) {
                return ended;
            }
        }
        if now >= dma_look_ns {
            dma_look_ns = now + DMA_LOOK_NS;
            let blocked = supervisor.nook().host().dma_faults();
            if blocked > dma_faults {
                tracing::warn!(
                    "the device was blocked from memory outside its window, {blocked} times so far: the driver is \
                     faulty or hostile"
                );
                dma_faults = blocked;
            }
        }
        let until = end_ns.unwrap_or(u64::MAX).min(now + TURN_NS);
        if let Err(quarantine) = supervisor.turn(until) {
            return Ended::Quarantine(quarantine.to_string());
        }
    }
}

/// Reports the end of a run: why, and what was asked for in vain.
pub(crate) fn report_end<C: Class>(args: &RunArgs, supervisor: &Supervisor<C>, report: &Report) {
    tracing::info!("ended: {}", report.ended);
    if supervisor.nook().crashes_made() > 0 {
        return;
    }
    if let Some((entry, number)) = args.crash_at {
        tracing::warn!("--crash-at {entry}:{number}: no call was ended, because the run was over before");
    } else if args.crash_every.is_some() {
        tracing::warn!("--crash-every: no call was ended, because the run was over before");
    }
}

/// Says how much faster virtual time was than real time. That is not the same each time, and so no part of the report.
pub(crate) fn tell_speed(report: &Report, took: Duration) {
    if report.clock == VIRTUAL {
        let (seconds, took) = (report.duration_ns as f64 / 1e9, took.as_secs_f64());
        tracing::info!("{seconds:.2} s of virtual time took {took:.2} s: {:.1} times as fast", seconds / took);
    }
}

/// The end of a run.
pub(crate) struct Finish {
    pub(crate) ended: Ended,
    pub(crate) start_ns: u64,
    late_faults: Vec<Recovery>,
}

impl Finish {
    /// Ends a run that began then.
    pub(crate) fn new(ended: Ended, start_ns: u64) -> Self {
        Finish { ended, start_ns, late_faults: Vec::new() }
    }

    /// Notes what went wrong after it had ended.
    pub(crate) fn note(&mut self, what: &str, error: &NookError, now_ns: u64) {
        tracing::error!("{what}: {error}");
        self.late_faults.push(Recovery {
            fault: error.to_string(),
            at_ns: now_ns.saturating_sub(self.start_ns),
            no_rollback: None,
            outcome: RecoveryOutcome::Ended,
        });
    }

    /// Tells what there is to tell of the run; `class` stops the driver, and tells what it served.
    pub(crate) fn report<C: Class>(
        mut self,
        supervisor: &mut Supervisor<C>,
        modules: &Loaded,
        class: impl FnOnce(&mut Supervisor<C>, &mut Finish) -> ClassReport,
    ) -> Report {
        let clock = supervisor.nook().clock().clone();
        let duration_ns = clock.now_ns() - self.start_ns;
        let interrupts = supervisor.nook().host().irq_kind().map(irq_name);
        let class = class(supervisor, &mut self);
        let host = supervisor.nook().host();
        let (device, dma_faults) = (host.describe_device(), host.dma_faults());
        let since_start =
            |recovery: &Recovery| Recovery { at_ns: recovery.at_ns.saturating_sub(self.start_ns), ..recovery.clone() };
        let faults = supervisor.recoveries().iter().map(since_start);
        Report {
            driver: modules.driver.as_ref().into(),
            device,
            isolation: supervisor.nook().isolation(),
            clock: if clock.is_virtual() { VIRTUAL } else { "monotonic" },
            interrupts,
            fault_count: supervisor.faults() + self.late_faults.len() as u64,
            faults: faults.chain(self.late_faults).collect(),
            dma_faults,
            ended: self.ended.to_string(),
            duration_ns,
            class,
        }
    }

    /// Stops the driver, in order; in quarantine there is nothing left to stop.
    pub(crate) fn stop<C: Class>(&mut self, supervisor: &mut Supervisor<C>) {
        if matches!(self.ended, Ended::Quarantine(_)) {
            return;
        }
        let nook = supervisor.nook_mut();
        if let Err(error) = nook.stop() {
            let now_ns = nook.clock().now_ns();
            self.note("stop", &error, now_ns);
        }
    }
}
