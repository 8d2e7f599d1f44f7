//! A run of a network driver, from options to report.

use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, anyhow, bail};
use nook_abi::Hex;
use nook_net::{
    Captured, Content, ExerciseReport, FarEnd, IpHostConfig, Pcap, PingPlan, Plan, RrPlan, Server, Tap, TcpPlan,
};
use nook_recovery::{PolicyFile, Supervisor};
use nook_runtime::{Net, Nook};

use super::args::WireArg;
use super::backend::Backend;
use super::report::{CableReport, NetCountersReport, NetReport};
use crate::cli::RunArgs;
use crate::device::DeviceOptions;
use crate::exercise::Exercise;
use crate::report::{ClassReport, RecoveryReport, Report};
use crate::run::{Ended, Finish, Loaded, RunOutcome, begin, drive, parts, report_end, tell_speed};
use crate::signals::Signals;

/// Bytes of each exercise's TCP stream, each way.
const STREAM_BYTES: u64 = 64 << 20;
/// How long the link may take before an exercise is given up.
const LINK_NS: u64 = 30_000_000_000;

type Supervised = Supervisor<Net<Captured<Backend>>>;

/// Runs one nook, from options to its report, and returns how it ended.
pub(crate) fn run(
    args: &RunArgs,
    modules: &Loaded,
    policy: &PolicyFile,
    signals: &Signals,
) -> Result<(Report, Result<RunOutcome>)> {
    if args.pci.is_some() && !args.exercise.is_empty() {
        bail!("--exercise: a real network card has no other end in this process; use --tap and the system's tools");
    }
    let server = server(args)?;
    let far_end = Arc::<FarEnd>::default();
    let nook = assemble(args, modules, policy, server.as_ref(), signals, &far_end)?;
    let really = Instant::now();
    let (mut supervisor, start_ns) = begin(args, modules, policy, nook, signals)?;
    let ended = until_over(args, &mut supervisor, signals, start_ns, &far_end);
    let (report, exercise) = finish(args, &mut supervisor, modules, Finish::new(ended.clone(), start_ns), &far_end);
    report_end(args, &supervisor, &report);
    tell_speed(&report, really.elapsed());
    let captured = finish_capture(supervisor.nook_mut().backend_mut());
    let outcome = match (&ended, exercise) {
        (Ended::Quarantine(_), _) => Ok(RunOutcome::Quarantined),
        (Ended::Unable(why), None) => Err(anyhow!("{why}")),
        (Ended::Exercise, Some(true)) => captured.map(|()| RunOutcome::Done),
        // It found something, or was cut short.
        (_, Some(_)) => Ok(RunOutcome::ExerciseFailed),
        (_, None) => captured.map(|()| RunOutcome::Done),
    };
    Ok((report, outcome))
}

/// Ends the capture. One that ended early did not end the run, but it is not what was asked for.
fn finish_capture(captured: &mut Captured<Backend>) -> Result<()> {
    if let Some(error) = captured.capture_error() {
        bail!("--pcap: {error}; the run went on without it");
    }
    captured.take_capture().map(Pcap::finish).transpose().context("--pcap")?;
    Ok(())
}

/// Returns the other end of an exercise that goes through QEMU's user network, which leads to this machine's loopback.
fn server(args: &RunArgs) -> Result<Option<Server>> {
    let wanted = args.qemu.is_some() && !args.exercise.is_empty();
    let server = wanted.then(|| Server::start(Content::Generated)).transpose();
    server.context("cannot start the exercise's server on 127.0.0.1")
}

fn assemble(
    args: &RunArgs,
    modules: &Loaded,
    policy: &PolicyFile,
    server: Option<&Server>,
    signals: &Signals,
    far_end: &Arc<FarEnd>,
) -> Result<Nook<Net<Captured<Backend>>>> {
    let device = DeviceOptions { far_end: far_end.clone(), ..DeviceOptions::from(args) };
    let (mut host, launcher) = parts(args, modules, policy, signals, &device)?;
    host.choose_queues(args.net.rx_queues);
    let clock = host.clock().clone();
    let backend = match &args.net.tap {
        Some(name) => Backend::Tap(Tap::interface(name).context("--tap")?),
        None => {
            let mut host = nook_net::IpHost::new(IpHostConfig::default());
            if let Some(plan) = plan(args, server) {
                host.start(plan);
            }
            Backend::Host(host)
        }
    };
    // At last, so that whatever cannot be set up leaves an earlier capture as it was.
    let capture = args.net.pcap.as_deref().map(|path| {
        tracing::debug!("--pcap: opening {}", path.display());
        Pcap::create(path).context("--pcap")
    });
    let mut nook = Nook::net(host, launcher, Captured::new(backend, capture.transpose()?, clock));
    let mut settings = nook.settings().clone();
    settings.promiscuous = args.net.promiscuous;
    nook.set(settings)?;
    nook.believe_checksums(policy.believes_checksums());
    nook.leave_offloads(policy.leaves_offloads());
    Ok(nook)
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
fn until_over(
    args: &RunArgs,
    supervisor: &mut Supervised,
    signals: &Signals,
    start_ns: u64,
    far_end: &FarEnd,
) -> Ended {
    let exercising = !args.exercise.is_empty();
    // With an exercise the duration is that of its parts.
    let end_ns = args.duration.filter(|_| !exercising).map(|duration| start_ns + duration.as_nanos() as u64);
    let mut link_was_up = false;
    drive(supervisor, signals, end_ns, |supervisor, now_ns| {
        let nook = supervisor.nook();
        if exercising && nook.backend().inner().host().is_some_and(nook_net::IpHost::finished) {
            return Some(Ended::Exercise);
        }
        if far_end.is_removed() {
            return Some(Ended::Unable("--wire: the TAP interface at the cable's far end was removed".into()));
        }
        link_was_up |= nook.is_ready();
        let late = exercising && !link_was_up && now_ns >= start_ns + LINK_NS;
        late.then(|| Ended::Unable(format!("the link did not come up within {} s", LINK_NS / 1_000_000_000)))
    })
}

/// Stops the driver and collects what there is to tell; and whether the exercise found nothing, if there was one.
fn finish(
    args: &RunArgs,
    supervisor: &mut Supervised,
    modules: &Loaded,
    finish: Finish,
    far_end: &FarEnd,
) -> (Report, Option<bool>) {
    let mut went_well = None;
    let report = finish.report(supervisor, modules, |supervisor, finish| {
        let nook = supervisor.nook_mut();
        let link = if nook.is_ready() { "up" } else { "down" };
        let mac = nook.interface().map(|interface| Hex::colons(&interface.mac).to_string());
        let counters = NetCountersReport::of(nook.counters(), nook.net_counters());
        let device_counters = match nook.is_open().then(|| nook.stats()) {
            Some(Ok(stats)) => Some(stats),
            Some(Err(error)) => {
                let now_ns = nook.clock().now_ns();
                finish.note("counters", &error, now_ns);
                None
            }
            None => None,
        };
        let named_counters = nook.named_counters();
        finish.stop(supervisor);
        let nook = supervisor.nook();
        let exercise = nook.backend().inner().host().map(|host| host.report().clone());
        let exercise = exercise.filter(|_| !args.exercise.is_empty());
        went_well = exercise.as_ref().map(passed);
        ClassReport::Net(Box::new(NetReport {
            filter: modules.filter.as_ref().map(Into::into),
            link,
            mac,
            exercise,
            counters,
            device_counters,
            named_counters,
            shows_counters: args.net.counters,
            cable: matches!(args.net.wire, WireArg::Tap(_)).then(|| CableReport::of(far_end)),
            recovery: RecoveryReport::new(supervisor),
        }))
    });
    (report, went_well)
}

/// Returns whether nothing was lost and nothing changed.
fn passed(exercise: &ExerciseReport) -> bool {
    exercise.error.is_none()
        && exercise.ping.as_ref().is_none_or(|ping| ping.received == ping.sent)
        && exercise.tcp.as_ref().is_none_or(|tcp| tcp.hash_ok)
        && exercise.rr.as_ref().is_none_or(|rr| rr.lost == 0)
}
