//! Many nooks in one process: what an idle one takes of memory, what starting and restarting takes, and what a call
//! costs when many take turns.

use std::cell::RefCell;
use std::time::Duration;

use anyhow::Result;
use nook_runtime::{DriverModule, ModuleCache, Net, Nook, Wasi};
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use rustix::time::{ClockId, clock_gettime};

use super::{Axis, Extent, note_sweep};
use crate::levels::{Level, MANY, MPK, Program, Shared, here};
use crate::rig::{Endless, driver_of, host, round};
use crate::sample::{Estimate, Subject, interleave};
use crate::{ImmediateDevice, Report};
use touch_driver::job;

/// Packets each way in a turn.
const BATCH: u32 = 1;

impl Extent {
    fn nooks(self) -> &'static [u32] {
        match self {
            Extent::Tiny => &[1, 3],
            Extent::Quick => &[1, 10, 100, 200],
            Extent::Full => &[1, 10, 100, 1000],
        }
    }

    fn starts(self) -> usize {
        match self {
            Extent::Tiny => 2,
            Extent::Quick => 20,
            Extent::Full => 60,
        }
    }
}

pub(super) fn measure(report: &mut Report, extent: Extent) {
    starts(report, extent).expect("a folder for the module cache");
    let sizes = extent.nooks();
    let most = sizes.last().copied().unwrap_or(1);
    if let Err(why) = allow_files(most as usize * MANY.len() * 2) {
        report.left_out.push(format!("{most} nooks at each level: {why:#}"));
        return;
    }
    let fleets: Vec<_> = MANY.iter().map(|level| RefCell::new(fleet(report, level, most))).collect();
    let mut subjects = Vec::new();
    for fleet in &fleets {
        for &size in sizes {
            let mut next = 0;
            subjects.push(Subject::new([move |times| {
                let mut fleet = fleet.borrow_mut();
                for _ in 0..times {
                    round(&mut fleet[next]);
                    next = (next + 1) % size as usize;
                }
                0
            }]));
        }
    }
    let samples = interleave(&mut subjects, extent.effort());
    let title = "Many nooks in one process take turns: one turn of one nook, with one packet each way";
    note_sweep(report, &Axis { name: "nooks", title, x_label: "nooks", each: None, sizes }, MANY, &samples.whole);
}

/// Returns a nook that has come up, and whose frames come when they are asked for.
fn start(launcher: &Shared) -> Nook<Net<Endless>> {
    let device = ImmediateDevice::new(BATCH);
    let module = Program::E1000.module();
    let mut nook = Nook::net(host(&module, device), Box::new(launcher.clone()), Endless::new(BATCH));
    nook.start().expect("the driver comes up");
    nook
}

/// Makes `count` nooks of one level that have done one turn; notes what each of them takes of memory, as
/// `idle_nook_<count>_<level>` and `idle_nook_private_<count>_<level>`.
fn fleet(report: &mut Report, level: &Level, count: u32) -> Vec<Nook<Net<Endless>>> {
    let launcher = level.launcher(Program::E1000);
    let one = || {
        let mut nook = start(&launcher);
        round(&mut nook);
        nook
    };
    // The first one pays for what all share.
    let mut fleet = vec![one()];
    let before = memory();
    fleet.extend((1..count).map(|_| one()));
    let after = memory();
    let each = |now: u64, before: u64| now.saturating_sub(before) as f64 / f64::from(count - 1) / 1024.0;
    if let (Some((private, all)), Some((private_before, all_before))) = (after, before) {
        for (name, size) in [("", each(all, all_before)), ("private_", each(private, private_before))] {
            report.figure(&format!("idle_nook_{name}{count}_{}", level.key()), Estimate::exactly(size), "MiB");
        }
    }
    fleet
}

/// Returns what this process has of memory that nobody else has, and all that it has with its share of what others have
/// too; in KiB. A window is mapped twice, and so is in the second figure only.
fn memory() -> Option<(u64, u64)> {
    let text = std::fs::read_to_string("/proc/self/smaps_rollup").ok()?;
    let kib = |key: &str| -> Option<u64> {
        let line = text.lines().find(|line| line.starts_with(key))?;
        line.split_whitespace().nth(1)?.parse().ok()
    };
    Some((kib("Private_Clean:")? + kib("Private_Dirty:")?, kib("Pss:")?))
}

/// Lets this process have this many descriptors open.
fn allow_files(wanted: usize) -> Result<()> {
    let wanted = wanted as u64 + 256;
    let Rlimit { current, maximum } = getrlimit(Resource::Nofile);
    if current.is_none_or(|current| current >= wanted) {
        return Ok(());
    }
    let most = maximum.map_or(wanted, |maximum| maximum.min(wanted));
    let set = setrlimit(Resource::Nofile, Rlimit { current: Some(most), maximum });
    anyhow::ensure!(set.is_ok() && most == wanted, "they need {wanted} open files; see ulimit -n");
    Ok(())
}

/// Starting with everything (file, checks, code out of the cache, instance, `probe`, `open`), and restarting; in CPU
/// time of the thread, which leaves out what the driver sleeps for its device. That is noted for the restart alone.
fn starts(report: &mut Report, extent: Extent) -> Result<()> {
    let folder = tempfile::tempdir()?;
    let cache = ModuleCache::at(folder.path().join("cache"));
    let mut times = [(); 3].map(|()| vec![Vec::new(); here().len()]);
    // The first start compiles.
    here().iter().for_each(|level| drop(level.launcher_with(Program::E1000, &cache)));
    for _ in 0..extent.starts() {
        for (at, level) in here().iter().enumerate() {
            let begin = thread_time();
            let module = DriverModule::load(&nook_tests::driver_file("e1000"), Wasi::Refused)?;
            drop(module);
            let mut nook = start(&level.launcher_with(Program::E1000, &cache));
            let (started, clock) = (thread_time(), std::time::Instant::now());
            nook.restart().expect("the driver comes up again");
            let (restarted, all) = (thread_time() - started, clock.elapsed());
            for (times, time) in times.iter_mut().zip([started - begin, restarted, all.saturating_sub(restarted)]) {
                times[at].push(time.as_secs_f64() * 1e3);
            }
        }
    }
    stray_writes(report, extent)?;
    for (name, times) in ["start_from_cache", "restart", "restart_wait"].iter().zip(&times) {
        for (level, times) in here().iter().zip(times) {
            report.figure(&format!("{name}_{}", level.key()), Estimate::of(times), "ms");
        }
    }
    Ok(())
}

/// How long a call takes that stores to a byte of the host's, until it has returned with the fault.
fn stray_writes(report: &mut Report, extent: Extent) -> Result<()> {
    if !here().contains(&MPK) {
        return Ok(());
    }
    let launcher = MPK.launcher(Program::Touch);
    let mut times = Vec::new();
    let mut byte = Box::new(0u8);
    let address = std::ptr::from_mut(&mut *byte).expose_provenance() as u64;
    for _ in 0..extent.starts() {
        let mut driver = driver_of(&launcher, Program::Touch);
        driver.poll(job::AIM, (address >> 32) as u32, 0)?;
        driver.poll(job::AIM, address as u32, 0)?;
        let begin = std::time::Instant::now();
        let outcome = driver.poll(job::STRAY, 0, 0);
        times.push(begin.elapsed().as_secs_f64() * 1e6);
        anyhow::ensure!(outcome.is_err(), "a store to the host's memory went unnoticed");
    }
    anyhow::ensure!(*std::hint::black_box(byte) == 0, "a store reached the host's memory");
    report.figure("stray_write_mpk", Estimate::of(&times), "µs");
    Ok(())
}

/// CPU time of this thread.
fn thread_time() -> Duration {
    let time = clock_gettime(ClockId::ThreadCPUTime);
    Duration::new(time.tv_sec as u64, time.tv_nsec as u32)
}
