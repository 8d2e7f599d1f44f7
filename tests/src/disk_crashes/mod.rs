//! Campaigns against a disk's driver: it is made to crash again and again while clients work on what it serves, and
//! nothing that was acknowledged may be lost.
//!
//! `cargo xtask disk-crashes` runs them with many crashes, a test of `nook-run` with a few. The verdict is that of a
//! [`Checker`], which works on a part of the disk in every campaign; fio and a file system work beside it on another
//! part, because they ask for other things than it does. Errors and wrong data that they find count, too.

mod others;
mod power;
mod reset;
mod serving;

use std::fs::File;
use std::io::{Error, Result, Write};
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use serde::Serialize;
use serde_json::Value;

use crate::durability::{Checker, Region, Verdict};
use others::{Done, Signals};
use serving::{Disk, Serving};

pub use power::{PowerOutcome, power_cuts};
pub use reset::controller_resets_ns;
pub use serving::Programs;

/// Bytes of the disk.
const DISK_BYTES: u64 = 32 << 20;
/// The checker's part of it, in blocks of 512 bytes: behind that of the others, and few, so that blocks are written
/// again and again.
const CHECKED: Region = Region { first: (28 << 20) / 512, blocks: 4096 };
/// Requests that the checker has under way, and connections that it has.
const DEPTH: usize = 24;
const CONNECTIONS: usize = 2;
/// What a disk holds that nobody has written to.
const BEFORE: u8 = 0xa5;
/// How often `nook-run` is started again for crashes that did not come.
const RUNS: u32 = 20;
/// How long one run may take for each crash, and besides.
const PATIENCE_FOR_EACH: Duration = Duration::from_secs(1);
const PATIENCE: Duration = Duration::from_secs(120);

/// What the driver drives.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Device {
    /// The embedded model.
    Model,
    /// QEMU's controller.
    Qemu,
}

/// How it is recovered.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum How {
    /// Its calls are rolled back.
    Rollback,
    /// It is restarted.
    Restart,
    /// It is in a process, which is killed; and restarted.
    Kill,
}

impl How {
    /// All of them.
    pub const ALL: [How; 3] = [How::Rollback, How::Restart, How::Kill];

    /// Returns the time between two crashes. A request has to get through a driver's life: one that two drivers ended
    /// with, and two more with it alone, is given up as their cause. On a busy machine a process gets little of its.
    fn every(self) -> Duration {
        Duration::from_millis(match self {
            How::Rollback => 10,
            How::Restart => 80,
            How::Kill => 200,
        })
    }
}

/// Who works on the disk.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Workload {
    /// The checker alone.
    Checker,
    /// fio beside it, which verifies.
    Fio,
    /// ext4 beside it, on a loop device on nbdfuse; it takes root.
    Ext4,
}

/// One campaign.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub struct Campaign {
    /// What the driver drives.
    pub device: Device,
    /// How it is recovered.
    pub how: How,
    /// Who works on the disk.
    pub workload: Workload,
}

impl Campaign {
    /// Returns all of them.
    pub fn all() -> impl Iterator<Item = Campaign> {
        let devices = [Device::Model, Device::Qemu].into_iter();
        devices.flat_map(|device| {
            How::ALL.into_iter().flat_map(move |how| {
                let workloads = [Workload::Checker, Workload::Fio, Workload::Ext4].into_iter();
                workloads.map(move |workload| Campaign { device, how, workload })
            })
        })
    }
}

/// Times of recoveries, in nanoseconds; the worst of all runs, and of the medians of the runs the worst.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Times {
    /// The median.
    pub p50_ns: u64,
    /// The longest.
    pub max_ns: u64,
}

impl Times {
    fn add(&mut self, report: &Value) {
        let time = |name: &str| report[name].as_u64().unwrap_or(0);
        self.p50_ns = self.p50_ns.max(time("p50"));
        self.max_ns = self.max_ns.max(time("max"));
    }
}

/// What came of a campaign.
#[derive(Clone, Debug, Serialize)]
pub struct Outcome {
    /// Which.
    #[serde(flatten)]
    pub campaign: Campaign,
    /// Crashes, and how many of them came while the driver had requests.
    pub crashes: u64,
    /// Those with requests under way.
    pub at_work: u64,
    /// How they were recovered from.
    pub rollbacks: u64,
    /// Fresh instances.
    pub restarts: u64,
    /// Requests of the checker that were answered, and with an error.
    pub requests: u64,
    /// Those with an error.
    pub errors: u64,
    /// Requests of all clients that the host answered with an error.
    pub host_errors: u64,
    /// Blocks that were judged.
    pub judged: u64,
    /// Blocks that hold less than was acknowledged.
    pub lost: u64,
    /// Blocks that hold what nobody wrote there.
    pub wrong: u64,
    /// Blocks that were read while they were written, with parts of both contents. QEMU reads and writes its file side
    /// by side, and so does that.
    pub mixed: u64,
    /// Runs of fio, or files that were synced and compared.
    pub rounds: u64,
    /// Runs in which nbdfuse ended by itself: what ext4 says of them does not count.
    pub bridge_ended: u64,
    /// What went wrong, in words.
    pub failures: Vec<String>,
    /// How long rollbacks took.
    pub rollback: Times,
    /// How long restarts took.
    pub restart: Times,
}

impl Outcome {
    /// Returns whether nothing was lost, and nothing failed.
    pub fn is_good(&self) -> bool {
        let mixes = self.campaign.device == Device::Qemu;
        (self.errors, self.host_errors, self.lost, self.wrong, self.failures.len()) == (0, 0, 0, 0, 0)
            && (mixes || self.mixed == 0)
    }

    fn add(&mut self, report: &Value) -> Result<()> {
        let count = |value: &Value| value.as_u64().ok_or_else(|| Error::other(format!("a report without {value}")));
        let recovery = &report["recovery"];
        self.crashes += count(&report["fault_count"])?;
        self.at_work += count(&report["counters"]["faults_at_work"])?;
        self.rollbacks += count(&recovery["rollbacks"])?;
        self.restarts += count(&recovery["restarts"])?;
        let counters = &report["counters"];
        let errors = count(&counters["errors"])?;
        self.host_errors += errors;
        if errors > 0 {
            let of =
                ["device_errors", "poison", "abandoned", "refused"].map(|name| format!("{} {name}", counters[name]));
            self.failures.push(format!("the host answered {errors} requests with an error: {}", of.join(", ")));
        }
        self.rollback.add(&recovery["rollback_ns"]);
        self.restart.add(&recovery["restart_ns"]);
        Ok(())
    }
}

/// Makes a disk's image that holds nothing that could pass for zeros.
fn make_image(image: &Path) -> Result<()> {
    File::create(image)?.write_all(&vec![BEFORE; DISK_BYTES as usize])
}

/// Runs a campaign until the driver has crashed this often with requests under way.
///
/// # Errors
/// If a program cannot be started, or `nook-run` ends otherwise than it should. What clients find is in the outcome.
pub fn run(programs: Programs<'_>, campaign: Campaign, crashes: u64) -> Result<Outcome> {
    let folder = tempfile::tempdir()?;
    let image = folder.path().join("disk.img");
    make_image(&image)?;
    let mut outcome = Outcome {
        campaign,
        crashes: 0,
        at_work: 0,
        rollbacks: 0,
        restarts: 0,
        requests: 0,
        errors: 0,
        host_errors: 0,
        judged: 0,
        lost: 0,
        wrong: 0,
        mixed: 0,
        rounds: 0,
        bridge_ended: 0,
        failures: Vec::new(),
        rollback: Times::default(),
        restart: Times::default(),
    };
    let mut checker = Checker::new(CHECKED, crashes, DEPTH);
    for run in 0..RUNS {
        if outcome.at_work >= crashes || !outcome.failures.is_empty() {
            break;
        }
        let disk = Disk { device: campaign.device, image: &image, write_log: None };
        let serving = Serving::start(programs, &disk, campaign.how, folder.path())?;
        let left = crashes - outcome.at_work;
        let done = work(&serving, &mut checker, campaign.workload, left, run == 0, folder.path());
        let done = done.map_err(|error| {
            let said = serving.last_words().unwrap_or_default();
            Error::other(format!("{error}; nook-run has said: {said}"))
        })?;
        outcome.add(&serving.end()?)?;
        checker.judge_image(&image)?;
        outcome.rounds += done.rounds;
        outcome.bridge_ended += u64::from(done.bridge_ended);
        outcome.failures.extend(done.failures);
        if campaign.workload == Workload::Ext4 && !done.bridge_ended {
            outcome.failures.extend(others::ext4_after(&image, folder.path())?);
        }
    }
    let Verdict { blocks, lost, wrong, mixed, first, .. } = checker.verdict().clone();
    (outcome.judged, outcome.lost, outcome.wrong, outcome.mixed) = (blocks, lost, wrong, mixed);
    (outcome.requests, outcome.errors) = checker.counts();
    outcome.failures.extend(first);
    if outcome.at_work < crashes {
        outcome.failures.push(format!("only {} of {crashes} crashes came while there were requests", outcome.at_work));
    }
    Ok(outcome)
}

/// Has the clients work until there were as many crashes.
fn work(
    serving: &Serving,
    checker: &mut Checker,
    workload: Workload,
    crashes: u64,
    is_first: bool,
    folder: &Path,
) -> Result<Done> {
    let uri = format!("nbd+unix:///?socket={}", serving.socket().display());
    let signals = Signals::default();
    std::thread::scope(|scope| {
        let others = scope.spawn(|| {
            let done = match workload {
                Workload::Checker => Ok(Done::default()),
                Workload::Fio => others::fio(&uri, folder, &signals),
                Workload::Ext4 => others::ext4(&uri, folder, &signals),
            };
            // Whatever came of it: nobody is to wait for more.
            signals.works.store(true, Ordering::Relaxed);
            done
        });
        let checked = check(serving, checker, crashes, is_first, &signals.works);
        signals.stop.store(true, Ordering::Relaxed);
        let done = others.join().unwrap_or_else(|_| Err(Error::other("a client's thread has panicked")));
        // What the checker met comes first: it is the reason of the rest.
        checked?;
        done
    })
}

/// Counts crashes from when the others work, too.
fn check(
    serving: &Serving,
    checker: &mut Checker,
    crashes: u64,
    is_first: bool,
    others_work: &AtomicBool,
) -> Result<()> {
    let end = Instant::now() + PATIENCE + PATIENCE_FOR_EACH * u32::try_from(crashes).unwrap_or(u32::MAX);
    checker.connect(&serving.socket(), CONNECTIONS)?;
    if is_first {
        checker.fill()?;
    }
    let mut before = None;
    while before.is_none_or(|before| serving.crashes().is_ok_and(|now| now < before + crashes)) {
        for _ in 0..100 {
            checker.step()?;
        }
        if before.is_none() && others_work.load(Ordering::Relaxed) {
            before = Some(serving.crashes()?);
        }
        if Instant::now() > end {
            return Err(Error::other(format!("{crashes} crashes do not come")));
        }
    }
    checker.read_back()?;
    checker.disconnect();
    Ok(())
}
