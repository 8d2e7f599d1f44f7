//! Power cuts of QEMU's disk. The referee is what QEMU logged on the way to the drive: what would be there if all that
//! was not flushed were lost, at moments at which a client had answers.

use std::fs::{self, File};
use std::io::{Error, Result};
use std::time::{Duration, Instant};

use nook_seed::Rng;
use serde::Serialize;

use super::serving::{Disk, Programs, Serving};
use super::{BEFORE, CHECKED, CONNECTIONS, DEPTH, Device, How, make_image};
use crate::durability::{BLOCK_BYTES, Checker, Region, Verdict, WriteLog};

/// The checker's blocks: few, because each moment is compared with all of them.
const REGION: Region = Region { blocks: 1024, ..CHECKED };
/// Blocks that QEMU's controller does not tear: it says 0 for `AWUPF` (NVM 2.1.4).
const ATOMIC_BLOCKS: u64 = 1;
/// A busy machine takes its time.
const PATIENCE: Duration = Duration::from_secs(120);

/// What came of power cuts.
#[derive(Clone, Debug, Serialize)]
pub struct PowerOutcome {
    /// How the driver was recovered that crashed meanwhile.
    pub how: How,
    /// Moments at which power was cut: when a flush or a change with FUA was acknowledged, and at some other answers.
    pub cuts: u64,
    /// Crashes of the driver meanwhile.
    pub crashes: u64,
    /// Requests that were answered, and with an error.
    pub requests: u64,
    /// Those with an error.
    pub errors: u64,
    /// Writes in the log.
    pub logged_writes: u64,
    /// Flushes in it.
    pub logged_flushes: u64,
    /// Blocks that were judged.
    pub judged: u64,
    /// Blocks that hold less than was durable.
    pub lost: u64,
    /// Blocks that hold what nobody wrote there.
    pub wrong: u64,
    /// Blocks that lost what was acknowledged and not durable.
    pub not_durable: u64,
    /// What went wrong, in words.
    pub failures: Vec<String>,
}

/// The work goes on for the time of this many crashes at least.
const CRASHES: u32 = 5;

impl PowerOutcome {
    /// Returns whether nothing that was durable was lost. Drivers have to have crashed, and something has to have been
    /// lost: else nothing was tried.
    pub fn is_good(&self) -> bool {
        let found = (self.errors, self.lost, self.wrong, self.failures.len());
        found == (0, 0, 0, 0) && self.not_durable > 0 && self.crashes > 0
    }
}

/// Has the checker work on QEMU's disk, whose driver crashes meanwhile, until there were some crashes and as many
/// moments at which something was acknowledged; then cuts power at each of them.
///
/// # Errors
/// If a program cannot be started, or there is no log.
pub fn power_cuts(programs: Programs<'_>, how: How, cuts: u64) -> Result<PowerOutcome> {
    let folder = tempfile::tempdir()?;
    let [image, log] = ["disk.img", "writes.log"].map(|name| folder.path().join(name));
    make_image(&image)?;
    File::create(&log)?;
    let disk = Disk { device: Device::Qemu, image: &image, write_log: Some(&log) };
    let serving = Serving::start(programs, &disk, how, folder.path())?;
    let mut checker = Checker::new(REGION, cuts, DEPTH);
    checker.watch_log(log.clone());
    checker.connect(&serving.socket(), CONNECTIONS)?;
    checker.fill()?;
    let begin = Instant::now();
    while (checker.acknowledged().len() as u64) < cuts || begin.elapsed() < CRASHES * how.every() {
        checker.step()?;
        if begin.elapsed() > PATIENCE {
            return Err(Error::other(format!("{PATIENCE:?}, and not {cuts} moments: {}", serving.last_words()?)));
        }
    }
    checker.drain()?;
    checker.disconnect();
    let report = serving.end()?;
    let (requests, errors) = checker.counts();
    let crashes = report["fault_count"].as_u64().unwrap_or(0);
    let before = vec![BEFORE; REGION.blocks as usize * BLOCK_BYTES];
    let mut log = WriteLog::read(fs::read(&log)?, REGION.first, before)?;
    let (logged_writes, logged_flushes) = log.counts();
    let mut verdict = checker.verdict().clone();
    let cuts = cut(&checker, &mut log, &mut verdict);
    let Verdict { blocks: judged, lost, wrong, not_durable, first, .. } = verdict;
    let failures = first.into_iter().collect();
    Ok(PowerOutcome {
        how,
        cuts,
        crashes,
        requests,
        errors,
        logged_writes,
        logged_flushes,
        judged,
        lost,
        wrong,
        not_durable,
        failures,
    })
}

/// Cuts power at each moment, in order, and judges both what is there at least and that with some of the rest. Returns
/// how often.
fn cut(checker: &Checker, log: &mut WriteLog, verdict: &mut Verdict) -> u64 {
    let (mut rng, mut log_bytes) = (Rng::new(1), 0);
    for acknowledged in checker.acknowledged() {
        // Two connections' answers may be noted in the other order.
        log_bytes = acknowledged.log_bytes.max(log_bytes);
        let (least, some) = log.cut(log_bytes, &mut rng);
        for medium in [least, &some[..]] {
            verdict.add(checker.ledger().judge(&acknowledged.must, medium, ATOMIC_BLOCKS));
        }
    }
    checker.acknowledged().len() as u64
}
