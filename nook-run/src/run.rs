//! A run, from options to report.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, Result, bail};
use nook_bus::{Clock, DmaWindow};
use nook_net::{Captured, Content, ExerciseReport, HostConfig, Pcap, PingPlan, Plan, RrPlan, Server, Tap, TcpPlan};
use nook_recovery::{PolicyFile, Supervisor};
use nook_runtime::{Budgets, CrashWhen, DriverModule, FilterModule, Host, ModuleCache, Net, Nook, Wasi};
use nook_wasi::EmptyWorld;

use crate::cli::{Exercise, Isolation, RunArgs};
use crate::device::Choice;
use crate::drivers::How;
use crate::plug::Plug;
use crate::report::{
    CountersReport, DeviceCounters, FaultReport, RecoveryReport, Report, check_path, irq_name, write_json,
};
use crate::signals::Signals;
use crate::{device, drivers, nooks, output};

/// The longest wait of one turn, so that the end of a run is noticed.
const TURN_NS: u64 = 100_000_000;
/// Bytes of each exercise's TCP stream, each way.
const STREAM_BYTES: u64 = 64 << 20;
/// How often it is looked whether DMA was blocked.
const DMA_LOOK_NS: u64 = 1_000_000_000;
/// How long the link may take before an exercise is given up.
const LINK_NS: u64 = 30_000_000_000;

/// How a run that could be made ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// As it should.
    Done,
    /// An exercise lost something.
    ExerciseFailed,
    /// The driver faulted too often.
    Quarantined,
}

impl Outcome {
    /// The exit status.
    pub fn status(self) -> u8 {
        match self {
            Outcome::Done => 0,
            Outcome::ExerciseFailed => 3,
            Outcome::Quarantined => 4,
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
    /// The link did not come up.
    NoLink,
    /// The driver is in quarantine.
    Quarantine(String),
}

impl std::fmt::Display for Ended {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Ended::Signal(name) => write!(f, "{name}"),
            Ended::Duration => f.write_str("the time was up"),
            Ended::Exercise => f.write_str("the exercise was over"),
            Ended::NoLink => write!(f, "the link did not come up within {} s", LINK_NS / 1_000_000_000),
            Ended::Quarantine(why) => f.write_str(why),
        }
    }
}

type Supervised = Supervisor<Net<Captured<Plug>>>;

/// Runs a driver as asked, prints what it found, and writes the report.
///
/// # Errors
/// If something could not be set up, or the driver did not come up at all. Nothing is left behind in either case.
pub fn run(args: &RunArgs) -> Result<Outcome> {
    let signals = Signals::take().context("cannot take signals")?;
    if let Some(path) = &args.json {
        check_path(path)?;
    }
    if !args.nook.is_empty() {
        return nooks::run(args, &signals);
    }
    let (report, outcome) = run_one(args, &signals)?;
    // Whoever cannot have the one can have the other.
    let written = args.json.as_deref().map_or(Ok(()), |path| write_json(&report, path));
    written.and(output::print(&report.text()))?;
    outcome
}

/// The modules of a nook.
struct Loaded {
    /// The driver's file.
    path: PathBuf,
    driver: Arc<DriverModule>,
    filter: Option<FilterModule>,
}

impl Loaded {
    fn new(args: &RunArgs) -> Result<Self> {
        let modules = args.driver.as_ref().context("no driver was named")?;
        let driver =
            Arc::new(drivers::load(&modules.driver, if args.wasi { Wasi::Given(&EmptyWorld) } else { Wasi::Refused })?);
        let filter = modules.filter.as_deref().map(drivers::load_filter).transpose()?;
        if filter.is_none() && !args.filter_rule.is_empty() {
            bail!("--filter-rule: there is no filter; name one after the driver, as in e1000.wasm+filter.wasm");
        }
        Ok(Loaded { path: modules.driver.clone(), driver, filter })
    }
}

/// One nook, from options to its report, and how it ended.
pub(crate) fn run_one(args: &RunArgs, signals: &Signals) -> Result<(Report, Result<Outcome>)> {
    let policy = policy(args)?;
    let modules = Loaded::new(args)?;
    let module = &modules.driver;
    let server = server(args)?;
    let mut supervisor = assemble(args, &modules, &policy, server.as_ref())?;
    supervisor.nook_mut().watch(signals.fd());
    tracing::info!(
        "{} {} drives {}, isolation {}",
        module.manifest().name,
        module.manifest().version,
        supervisor.nook().host().describe_device(),
        supervisor.nook().isolation()
    );
    let start_ns = supervisor.nook().clock().now_ns();
    supervisor.start()?;
    let ended = drive(args, &mut supervisor, signals, start_ns);
    let report = finish(args, &mut supervisor, &modules, ended.clone(), start_ns);
    tracing::info!("ended: {}", report.ended);
    let captured = finish_capture(supervisor.nook_mut().uplink_mut());
    let outcome = match (&ended, &report.exercise) {
        (Ended::Quarantine(_), _) => Ok(Outcome::Quarantined),
        (Ended::Exercise, Some(exercise)) if passed(exercise) => captured.map(|()| Outcome::Done),
        // It found something, or was cut short.
        (_, Some(_)) => Ok(Outcome::ExerciseFailed),
        (_, None) => captured.map(|()| Outcome::Done),
    };
    Ok((report, outcome))
}

/// The capture's end. One that ended early did not end the run, but it is not what was asked for.
fn finish_capture(captured: &mut Captured<Plug>) -> Result<()> {
    if let Some(error) = captured.capture_error() {
        bail!("--pcap: {error}; the run went on without it");
    }
    captured.take_capture().map(Pcap::finish).transpose().context("--pcap")?;
    Ok(())
}

/// What happens after a fault.
fn policy(args: &RunArgs) -> Result<PolicyFile> {
    let Some(path) = &args.policy else { return Ok(PolicyFile::default()) };
    PolicyFile::read(path).with_context(|| format!("--policy: {} is not used", path.display()))
}

/// The other end of an exercise that goes through QEMU's user network, which leads to this machine's loopback.
fn server(args: &RunArgs) -> Result<Option<Server>> {
    let wanted = args.qemu.is_some() && !args.exercise.is_empty();
    let server = wanted.then(|| Server::start(Content::Generated)).transpose();
    server.context("cannot start the exercise's server on 127.0.0.1")
}

fn assemble(args: &RunArgs, modules: &Loaded, policy: &PolicyFile, server: Option<&Server>) -> Result<Supervised> {
    let cache = if args.no_cache { ModuleCache::none() } else { ModuleCache::of_user() };
    let crash = crash(args);
    let counting = crash.map(|_| Arc::new(modules.driver.counting()));
    let module = counting.as_ref().unwrap_or(&modules.driver);
    let filter = modules.filter.as_ref().map(|filter| (filter, args.filter_rule.join("\n")));
    let RunArgs { isolation, mmio, process_wait: process, .. } = *args;
    let how = How { isolation, mmio, process, method: policy.method() };
    let mut launcher = drivers::launcher(&modules.path, module, how, filter, &cache)?;
    if policy.begins_with_sfi() && launcher.isolation() == "sfi+txn" {
        launcher = drivers::after_fault(module, launcher, &cache)?;
    }
    let layout = module.layout();
    let window = DmaWindow::new(layout.window_bytes)
        .with_context(|| format!("cannot make a DMA window of {} MiB", layout.window_bytes >> 20))?;
    let device = device::open_traced(&Choice::from(args), args.verbose >= 2, module.manifest(), &window)?;
    let host = Host::new(nook_runtime::HostConfig {
        device,
        window,
        maps: drivers::MAPS,
        manifest: module.manifest(),
        layout,
        budgets: Budgets::default(),
        clock: Clock::Monotonic,
    })?;
    let plug = match &args.tap {
        Some(name) => Plug::Tap(Tap::interface(name).context("--tap")?),
        None => {
            let mut host = nook_net::Host::new(HostConfig::default());
            if let Some(plan) = plan(args, server) {
                host.start(plan);
            }
            Plug::Host(host)
        }
    };
    // At last, so that whatever cannot be set up leaves an earlier capture as it was.
    let capture = args.pcap.as_deref().map(|path| {
        tracing::debug!("--pcap: opening {}", path.display());
        Pcap::create(path).context("--pcap")
    });
    let mut nook = Nook::net(host, launcher, Captured::new(plug, capture.transpose()?));
    if let Some(when) = crash
        && !nook.crash(when, args.seed)
    {
        match args.isolation {
            Some(Isolation::Process) => {
                bail!("--crash-every and --crash-at are for the sandbox: kill the driver's process, nook-driver")
            }
            _ => bail!("--crash-every and --crash-at are for the sandbox: a native driver takes this process with it"),
        }
    }
    let mut settings = nook.settings().clone();
    settings.promiscuous = args.promiscuous;
    nook.set(settings)?;
    let mut supervisor = Supervisor::new(nook, policy.policy());
    if let Some(bundles) = policy.bundles(&modules.path, module.sha256()) {
        supervisor.leave_bundles(bundles);
    }
    Ok(supervisor)
}

/// Which calls are to end in a trap.
fn crash(args: &RunArgs) -> Option<CrashWhen> {
    let every = args.crash_every.map(|period| CrashWhen::Every(period.as_nanos() as u64));
    every.or(args.crash_at.map(|(entry, number)| CrashWhen::At(entry, number)))
}

fn plan(args: &RunArgs, server: Option<&Server>) -> Option<Plan> {
    if args.exercise.is_empty() {
        return None;
    }
    let wanted = |exercise| args.exercise.contains(&exercise);
    let at_least = args.duration.unwrap_or(Duration::ZERO);
    let plan = Plan {
        ping: wanted(Exercise::Ping).then(PingPlan::default),
        tcp: wanted(Exercise::Tcp).then(|| TcpPlan { bytes: STREAM_BYTES, at_least, ..TcpPlan::default() }),
        rr: wanted(Exercise::Rr).then(|| RrPlan { at_least, ..RrPlan::default() }),
        ..Plan::default()
    };
    Some(match server {
        Some(server) => Plan { port: server.port(), ..plan },
        None => plan,
    })
}

/// Turns until something ends the run.
fn drive(args: &RunArgs, supervisor: &mut Supervised, signals: &Signals, start_ns: u64) -> Ended {
    let exercising = !args.exercise.is_empty();
    // With an exercise the duration is that of its parts.
    let end_ns = args.duration.filter(|_| !exercising).map(|duration| start_ns + duration.as_nanos() as u64);
    let mut link_was_up = false;
    // The exercise and the time are looked at now and then, not after every turn of a few microseconds.
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
            let nook = supervisor.nook();
            if exercising && nook.uplink().inner().host().is_some_and(nook_net::Host::finished) {
                return Ended::Exercise;
            }
            link_was_up |= nook.interface().is_some_and(|interface| interface.link.up);
            if exercising && !link_was_up && now >= start_ns + LINK_NS {
                return Ended::NoLink;
            }
        }
        if now >= dma_look_ns {
            dma_look_ns = now + DMA_LOOK_NS;
            let blocked = supervisor.nook().host().dma_faults();
            if blocked > dma_faults {
                tracing::warn!(
                    "the device was blocked from memory outside of its window, {blocked} times so far: the driver is \
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

/// Stops the driver and collects what there is to tell.
fn finish(args: &RunArgs, supervisor: &mut Supervised, modules: &Loaded, ended: Ended, start_ns: u64) -> Report {
    let nook = supervisor.nook_mut();
    let clock = nook.clock().clone();
    let seconds = (clock.now_ns() - start_ns) as f64 / 1e9;
    let link_is_up = nook.interface().is_some_and(|interface| interface.link.up);
    let mac = nook.interface().map(|interface| interface.mac.map(|byte| format!("{byte:02x}")).join(":"));
    let interrupts = nook.host().irq_kind().map(irq_name);
    let counters = CountersReport::new(nook.counters(), nook.net_counters());
    let mut late_faults = Vec::new();
    let mut note = |what: &str, error: nook_runtime::NookError| {
        tracing::error!("{what}: {error}");
        late_faults.push(FaultReport {
            fault: error.to_string(),
            at_ms: (clock.now_ns() - start_ns) / 1_000_000,
            taken_back_after_ns: None,
            brought_back_after_us: None,
            restarted_after_us: None,
        });
    };
    let device_counters = match (nook.is_open(), nook.is_open().then(|| nook.stats())) {
        (true, Some(Ok(stats))) => Some(DeviceCounters::from(&stats)),
        (true, Some(Err(error))) => {
            note("counters", error);
            None
        }
        _ => None,
    };
    // In quarantine there is nothing left to stop.
    if !matches!(ended, Ended::Quarantine(_))
        && let Err(error) = nook.stop()
    {
        note("stop", error);
    }
    let exercise = nook.uplink().inner().host().map(|host| host.report().clone());
    let dma_faults = nook.host().dma_faults();
    let device = nook.host().describe_device();
    let isolation = nook.isolation();
    let faults = supervisor.recoveries().iter().map(|recovery| FaultReport::new(recovery, start_ns));
    Report {
        driver: modules.driver.as_ref().into(),
        filter: modules.filter.as_ref().map(Into::into),
        device,
        isolation,
        link: if link_is_up { "up" } else { "down" },
        mac,
        interrupts,
        exercise: exercise.filter(|_| !args.exercise.is_empty()),
        counters,
        device_counters,
        fault_count: supervisor.faults() + late_faults.len() as u64,
        faults: faults.chain(late_faults).collect(),
        recovery: RecoveryReport::new(supervisor),
        dma_faults,
        ended: ended.to_string(),
        seconds,
    }
}

/// Nothing lost, nothing changed.
fn passed(exercise: &ExerciseReport) -> bool {
    exercise.error.is_none()
        && exercise.ping.as_ref().is_none_or(|ping| ping.received == ping.sent)
        && exercise.tcp.as_ref().is_none_or(|tcp| tcp.hash_ok)
        && exercise.rr.as_ref().is_none_or(|rr| rr.lost == 0)
}
