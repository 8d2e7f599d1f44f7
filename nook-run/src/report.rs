//! The report of a run: `--json`.

use std::fs;
use std::path::Path;

use anyhow::{Context, Result, bail};
use nook_abi::Hex;
use nook_bus::IrqKind;
use nook_recovery::{Downtime, Recovery, RecoveryOutcome, Supervisor};
use nook_runtime::{Class, Counters, DriverModule, FilterModule, OwnedManifest};
use serde::Serialize;

use crate::files::{draft, folder_of, is_special, replace};
use crate::misc::MiscReport;
use crate::net::NetReport;

/// [`Report::clock`] of a run on virtual time.
pub const VIRTUAL: &str = "virtual";

/// All that is told about a run.
#[derive(Debug, Serialize)]
pub struct Report {
    /// Which driver.
    pub driver: ModuleReport,
    /// The device, in words.
    pub device: String,
    /// As `--isolation` calls it.
    pub isolation: &'static str,
    /// "monotonic", or "virtual": then all times are those of `--virtual-time`.
    pub clock: &'static str,
    /// "intx", "msi" or "msix", if interrupts were enabled.
    pub interrupts: Option<&'static str>,
    /// Faults, oldest first. Of a driver that faults very often only the first are listed.
    pub faults: Vec<FaultReport>,
    /// How many there were in all.
    pub fault_count: u64,
    /// DMA outside the window that was seen and blocked.
    pub dma_faults: u64,
    /// Why the run ended.
    pub ended: String,
    /// How long it was, from start to stop.
    pub seconds: f64,
    /// What the driver's class has to tell.
    #[serde(flatten)]
    pub class: ClassReport,
}

/// What a class has to tell of a run; its fields stand beside the others.
#[derive(Debug, Serialize)]
#[serde(untagged)]
pub enum ClassReport {
    /// Of an interface.
    Net(Box<NetReport>),
    /// Of operations.
    Misc(Box<MiscReport>),
}

/// A module's file.
#[derive(Debug, Serialize)]
pub struct ModuleReport {
    /// From the manifest.
    pub name: String,
    /// From the manifest.
    pub version: String,
    /// Of the file.
    pub sha256: String,
}

impl ModuleReport {
    fn new(manifest: &OwnedManifest, sha256: [u8; 32]) -> Self {
        ModuleReport {
            name: manifest.name.clone(),
            version: manifest.version.clone(),
            sha256: Hex::of(&sha256).to_string(),
        }
    }
}

impl From<&DriverModule> for ModuleReport {
    fn from(module: &DriverModule) -> Self {
        ModuleReport::new(module.manifest(), module.sha256())
    }
}

impl From<&FilterModule> for ModuleReport {
    fn from(module: &FilterModule) -> Self {
        ModuleReport::new(module.manifest(), module.sha256())
    }
}

/// Counters of the runtime.
#[derive(Debug, Serialize)]
pub struct CountersReport<C> {
    /// Register reads, configuration space included.
    pub reg_reads: u64,
    /// Register writes.
    pub reg_writes: u64,
    /// Calls from the driver to the host.
    pub hostcalls: u64,
    /// Interrupts delivered.
    pub irqs: u64,
    /// Calls of `poll`.
    pub polls: u64,
    /// Times the boundary was crossed, either way.
    pub crossings: u64,
    /// What the class counts.
    #[serde(flatten)]
    pub class: C,
}

/// One fault.
#[derive(Debug, Serialize)]
pub struct FaultReport {
    /// In words.
    pub fault: String,
    /// Milliseconds from the start of the run.
    pub at_ms: u64,
    /// Nanoseconds until the call was rolled back, if it was.
    pub rollback_after_ns: Option<u64>,
    /// Microseconds until driver and device were as in a snapshot, if one was restored.
    pub snapshot_restore_after_ns: Option<u64>,
    /// Microseconds until a fresh instance ran, if one did.
    pub restart_after_ns: Option<u64>,
}

/// What recovery did, in numbers.
#[derive(Debug, Serialize)]
pub struct RecoveryReport<C> {
    /// Faults whose call was rolled back: the instance went on.
    pub rollbacks: u64,
    /// Faults after which the driver was restored from a snapshot.
    pub snapshot_restores: u64,
    /// Restarts.
    pub restarts: u64,
    /// Calls that were transactions and went well.
    pub transactions: u64,
    /// Of those, calls that could have been rolled back until they were committed.
    pub rollback_possible: u64,
    /// From the end of the faulty call until everything was as before it.
    pub rollback_ns: Option<Times>,
    /// From the end of the faulty call until driver and device were as in a snapshot.
    pub snapshot_restore_ns: Option<Times>,
    /// From the end of the faulty call until a fresh instance had been opened.
    pub restart_ns: Option<Times>,
    /// What the class gave up.
    #[serde(flatten)]
    pub class: C,
}

/// A distribution of times, in nanoseconds.
#[derive(Debug, Serialize)]
#[allow(missing_docs)] // The names say it.
pub struct Times {
    pub p50: u64,
    pub p90: u64,
    pub p99: u64,
    pub max: u64,
}

impl Times {
    fn of(downtime: &Downtime) -> Option<Self> {
        let [p50, p90, p99, max] = [500, 900, 990, 1000].map(|thousandths| downtime.quantile_ns(thousandths));
        Some(Times { p50: p50?, p90: p90?, p99: p99?, max: max? })
    }
}

impl<R> RecoveryReport<R> {
    /// Of a run; `class` is what the class gave up.
    pub fn new<C: Class>(supervisor: &Supervisor<C>, class: R) -> Self {
        let counters = supervisor.nook().counters();
        RecoveryReport {
            rollbacks: supervisor.rollbacks().count(),
            snapshot_restores: supervisor.snapshot_restores().count(),
            restarts: supervisor.restarts(),
            transactions: counters.transactions,
            rollback_possible: counters.rollback_possible,
            rollback_ns: Times::of(supervisor.rollbacks()),
            snapshot_restore_ns: Times::of(supervisor.snapshot_restores()),
            restart_ns: Times::of(supervisor.restart_times()),
            class,
        }
    }

    /// What was done about this many faults, in words.
    pub fn text(&self, faults: u64) -> String {
        let RecoveryReport { rollbacks, snapshot_restores, restarts, .. } = self;
        let snapshots =
            if *snapshot_restores > 0 { format!("{snapshot_restores} snapshot restore(s), ") } else { "".into() };
        format!("{faults} fault(s): {rollbacks} rollback(s), {snapshots}{restarts} restart(s)\n")
    }
}

impl<C> CountersReport<C> {
    /// Of what was counted about a nook, and what its class counts.
    pub fn new(c: &Counters, class: C) -> Self {
        CountersReport {
            reg_reads: c.reg_reads,
            reg_writes: c.reg_writes,
            hostcalls: c.hostcalls,
            irqs: c.irqs,
            polls: c.polls,
            crossings: c.crossings(),
            class,
        }
    }
}

impl FaultReport {
    /// `start_ns` is when the run began.
    pub fn new(recovery: &Recovery, start_ns: u64) -> Self {
        let (rollback_after_ns, snapshot_restore_after_ns, restart_after_ns) = match recovery.outcome {
            RecoveryOutcome::RolledBack { after_ns } => (Some(after_ns), None, None),
            RecoveryOutcome::SnapshotRestored { after_ns } => (None, Some(after_ns / 1000), None),
            RecoveryOutcome::Restarted { after_ns } => (None, None, Some(after_ns / 1000)),
            RecoveryOutcome::Ended => (None, None, None),
        };
        FaultReport {
            fault: recovery.fault.clone(),
            at_ms: recovery.at_ns.saturating_sub(start_ns) / 1_000_000,
            rollback_after_ns,
            snapshot_restore_after_ns,
            restart_after_ns,
        }
    }
}

impl Report {
    /// How long the run was, in words.
    pub fn duration(&self) -> String {
        let whose = if self.clock == VIRTUAL { " of virtual time" } else { "" };
        format!("{:.1} s{whose}", self.seconds)
    }

    /// What is printed at the end of every run.
    pub fn text(&self) -> String {
        let mut text = match &self.class {
            ClassReport::Net(net) => net.text(self),
            ClassReport::Misc(misc) => misc.text(self),
        };
        if self.dma_faults > 0 {
            text += &format!("{} DMA accesses outside its window were blocked\n", self.dma_faults);
        }
        text
    }
}

/// Writes a report, whole or not at all; into a device or a pipe, as it comes.
///
/// # Errors
/// If the file cannot be written; nothing is left of it then.
pub fn write_json(report: &impl Serialize, path: &Path) -> Result<()> {
    let text = serde_json::to_string_pretty(report).context("the report")? + "\n";
    let written = match is_special(path) {
        // To put a file in its place would be to remove it.
        true => fs::write(path, text),
        false => replace(path, &text),
    };
    written.with_context(|| format!("--json: cannot write the report to {}", path.display()))
}

/// How reports call a kind of interrupt.
pub fn irq_name(kind: IrqKind) -> &'static str {
    match kind {
        IrqKind::Intx => "intx",
        IrqKind::Msi => "msi",
        IrqKind::MsiX => "msix",
    }
}

/// Refuses a path that the report could not be written to, before the run and not after it.
///
/// # Errors
/// If it is a folder, or its folder is not there or takes no file.
pub fn check_path(path: &Path) -> Result<()> {
    // A link is looked through when the report is written.
    if is_special(path) || path.is_symlink() {
        return Ok(());
    }
    if path.is_dir() {
        bail!("--json: {} is a folder: name a file in it", path.display());
    }
    let folder = folder_of(path);
    if !folder.is_dir() {
        bail!("--json: there is no folder {} to write the report to", folder.display());
    }
    let made = draft(path);
    made.map(drop).with_context(|| format!("--json: cannot make a file in {}: choose another folder", folder.display()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_report_replaces_a_file_and_what_a_link_leads_to_and_leaves_nothing_beside_it() {
        let folder = tempfile::tempdir().unwrap();
        let (path, link) = (folder.path().join("report.json"), folder.path().join("link"));
        std::os::unix::fs::symlink(&path, &link).unwrap();
        fs::write(&path, "an older one").unwrap();
        let rights = fs::metadata(&path).unwrap().permissions();
        write_json(&7, &link).unwrap();
        check_path(&path).unwrap();
        assert_eq!(fs::read_to_string(&path).unwrap(), "7\n");
        assert_eq!(fs::metadata(&path).unwrap().permissions(), rights, "as any file that this user makes");
        assert!(link.is_symlink());
        assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 2);
    }
}
