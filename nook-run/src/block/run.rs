//! A run of a disk's driver, from options to report.

use std::path::Path;
use std::time::Instant;

use anyhow::{Context, Result, bail};
use nook_block::{KernelDevice, NbdAddress, NbdOptions, NbdServer};
use nook_block_api::BlockBackend;
use nook_recovery::{PolicyFile, Quarantine, Supervisor};
use nook_runtime::{Block, DiskChoice, Nook};

use super::backend::Backend;
use super::exercise::{Exercise, Plan, Step};
use super::report::{BlockReport, NoRates};
use crate::cli::{Isolation, RunArgs};
use crate::device::DeviceOptions;
use crate::exercise::Exercise as Asked;
use crate::report::{ClassReport, CountersReport, RecoveryReport, Report};
use crate::run::{Ended, Finish, Loaded, RunOutcome, begin, drive, parts, report_end, tell_speed};
use crate::signals::Signals;

/// How many requests a step of the exercise has, at least.
const REQUESTS: u64 = 20_000;
/// How often it is looked whether the kernel has let go of its device.
const LET_GO_LOOK_NS: u64 = 10_000_000;
/// How long the driver is given at the end to complete what it has.
const DRAIN_NS: u64 = 5_000_000_000;

type Supervised = Supervisor<Block<Backend>>;

/// Has the policy's checks made: what is read is compared, a block is read now and then. Before the driver is started.
pub(crate) fn set_up<U: BlockBackend>(nook: &mut Nook<Block<U>>, policy: &PolicyFile) {
    if let Some(most_bytes) = policy.verify_bytes() {
        nook.verify(most_bytes);
    }
    if let Some(every_ns) = policy.probe_ns() {
        nook.probe(every_ns);
    }
}

/// Runs one nook, from options to its report, and returns how it ended.
pub(crate) fn run(
    args: &RunArgs,
    modules: &Loaded,
    policy: &PolicyFile,
    signals: &Signals,
) -> Result<(Report, Result<RunOutcome>)> {
    let steps = steps(args)?;
    let device = args.block.attach.as_deref().map(|device| kernel_device(args, device)).transpose()?;
    let (mut host, launcher) = parts(args, modules, policy, signals, &DeviceOptions::from(args))?;
    host.choose_disk(DiskChoice { number: args.block.namespace.unwrap_or(0), queue_pairs: args.block.queues });
    let backend = match (&args.block.nbd, device) {
        (Some(address), _) => Backend::Nbd(Box::new(server(args, address)?)),
        (None, Some(device)) => {
            let options = NbdOptions { read_only: args.block.read_only, ..NbdOptions::default() };
            Backend::Nbd(Box::new(NbdServer::for_kernel(device, options).context("--attach")?))
        }
        (None, None) if steps.is_empty() => Backend::Nothing,
        (None, None) => Backend::Exercise(Box::new(Exercise::new(plan(args, steps.clone()), host.clock().clone()))),
    };
    let really = Instant::now();
    let mut nook = Nook::block(host, launcher, backend);
    set_up(&mut nook, policy);
    let (mut supervisor, start_ns) = begin(args, modules, policy, nook, signals)?;
    if let Err(error) = check_destruction(args, supervisor.nook(), &steps) {
        // Nothing is left behind, and nothing was written: no turn was made.
        supervisor.nook_mut().stop()?;
        return Err(error);
    }
    let ended = until_over(args, &mut supervisor, signals, start_ns);
    let (report, went_well) = finish(&mut supervisor, modules, Finish::new(ended.clone(), start_ns));
    report_end(args, &supervisor, &report);
    tell_speed(&report, really.elapsed());
    let outcome = match (&ended, went_well) {
        (Ended::Quarantine(_), _) => RunOutcome::Quarantined,
        (_, Some(false)) => RunOutcome::ExerciseFailed,
        _ => RunOutcome::Done,
    };
    Ok((report, Ok(outcome)))
}

fn server(args: &RunArgs, address: &NbdAddress) -> Result<NbdServer> {
    let options =
        NbdOptions { name: args.block.nbd_name.clone(), description: String::new(), read_only: args.block.read_only };
    let server = NbdServer::listen(address, options).context("--nbd")?;
    tracing::info!("serving the disk at {}", server.uri());
    Ok(server)
}

fn kernel_device(args: &RunArgs, device: &Path) -> Result<KernelDevice> {
    if args.isolation == Some(Isolation::Process) {
        bail!(
            "--attach does not go with --isolation process: the kernel may need the disk in order to have memory, and the \
             memory of a driver's own process is not kept in RAM; choose another level"
        );
    }
    KernelDevice::find(device).context("--attach")
}

/// Returns the steps of the exercise.
fn steps(args: &RunArgs) -> Result<Vec<Step>> {
    let step = |asked: &Asked| match asked {
        Asked::Read => Some(Step::Read),
        Asked::Write => Some(Step::Write),
        Asked::Verify => Some(Step::Verify),
        Asked::Fsync => Some(Step::Fsync),
        _ => None,
    };
    let steps: Vec<Step> = args.exercise.iter().filter_map(step).collect();
    let writes = |step: &Step| matches!(step, Step::Write | Step::Fsync);
    let verify = steps.iter().position(|step| *step == Step::Verify);
    if verify.is_some_and(|at| !steps[..at].iter().any(writes)) {
        bail!("--exercise verify: nothing was written that could be verified; put write or fsync before it");
    }
    Ok(steps)
}

fn plan(args: &RunArgs, steps: Vec<Step>) -> Plan {
    Plan {
        steps,
        depth: args.block.depth,
        unit_bytes: args.block.io_bytes,
        requests: REQUESTS,
        at_least_ns: args.duration.map_or(0, |duration| duration.as_nanos() as u64),
        seed: args.seed,
    }
}

/// Refuses to write to a disk that is there besides this run, unless its serial number was given.
fn check_destruction(args: &RunArgs, nook: &Nook<Block<Backend>>, steps: &[Step]) -> Result<()> {
    let lasts = args.pci.is_some() || args.qemu.is_some() || args.block.disk.is_some();
    let writes = steps.iter().any(|step| matches!(step, Step::Write | Step::Fsync));
    let serial = nook.disk().map(|disk| disk.serial_text()).unwrap_or_default();
    match &args.block.destroy_data {
        Some(named) if named != serial => {
            bail!("--destroy-data {named}: the disk's serial number is `{serial}`; nothing was written to it")
        }
        None if lasts && writes => bail!(
            "--exercise: the disk's content would be lost; if that is wanted, say so with --destroy-data {serial}"
        ),
        _ => Ok(()),
    }
}

/// Turns until something ends the run.
fn until_over(args: &RunArgs, supervisor: &mut Supervised, signals: &Signals, start_ns: u64) -> Ended {
    let exercising = supervisor.nook().backend().exercise().is_some();
    // With an exercise the duration is that of its parts.
    let end_ns = args.duration.filter(|_| !exercising).map(|duration| start_ns + duration.as_nanos() as u64);
    let ended = drive(supervisor, signals, end_ns, |supervisor, _| {
        let backend = supervisor.nook().backend();
        if backend.server().is_some_and(NbdServer::is_deserted) {
            return Some(Ended::Unable("the kernel's device was detached by another process".into()));
        }
        backend.exercise().is_some_and(Exercise::is_over).then_some(Ended::Exercise)
    });
    if matches!(ended, Ended::Quarantine(_)) {
        return ended;
    }
    // A signal that came stays readable, and would end each wait of what follows; a second one ends the run by itself.
    supervisor.nook_mut().unwatch(signals.fd());
    // The kernel writes back what it holds: the driver is still needed.
    while !supervisor.nook_mut().backend_mut().let_go() {
        let until_ns = supervisor.nook().clock().now_ns() + LET_GO_LOOK_NS;
        if let Err(quarantine) = supervisor.turn(until_ns) {
            return Ended::Quarantine(quarantine.to_string());
        }
    }
    drain(supervisor).map_or(ended, |quarantine| Ended::Quarantine(quarantine.to_string()))
}

/// Lets the driver complete what was taken, so that nothing is answered with an error only because the run ends.
fn drain(supervisor: &mut Supervised) -> Option<Quarantine> {
    supervisor.nook_mut().take_no_more();
    let end_ns = supervisor.nook().clock().now_ns() + DRAIN_NS;
    while supervisor.nook().open_requests() > 0 && supervisor.nook().clock().now_ns() < end_ns {
        if let Err(quarantine) = supervisor.turn(end_ns) {
            return Some(quarantine);
        }
    }
    None
}

/// Stops the driver and collects what there is to tell; and whether the exercise went well, if there was one.
fn finish(supervisor: &mut Supervised, modules: &Loaded, finish: Finish) -> (Report, Option<bool>) {
    let mut went_well = None;
    let report = finish.report(supervisor, modules, |supervisor, finish| {
        let disk = supervisor.nook().disk().map(Into::into);
        finish.stop(supervisor);
        let nook = supervisor.nook();
        let exercise = nook.backend().exercise();
        went_well = exercise.map(Exercise::went_well);
        ClassReport::Block(Box::new(BlockReport {
            disk,
            exercise: exercise.map(|exercise| exercise.reports().to_vec()),
            exercise_error: exercise.and_then(|exercise| exercise.error().map(str::to_owned)),
            counters: CountersReport::new(nook.counters(), *nook.block_counters(), NoRates {}),
            recovery: RecoveryReport::new(supervisor),
        }))
    });
    (report, went_well)
}
