//! The report of a run: `--json`.

use std::fs;
use std::path::Path;

use anyhow::{Context, Result, bail};
use nook_abi::Hex;
use nook_bus::IrqKind;
use nook_recovery::{Downtime, Recovery, Supervisor};
use nook_runtime::{Class, Counters, DriverModule, FilterModule, Named, OwnedManifest};
use serde::{Serialize, Serializer};

use crate::block::BlockReport;
use crate::files::{draft, folder_of, is_special, replace};
use crate::misc::MiscReport;
use crate::net::NetReport;
use crate::serial::SerialReport;

/// [`Report::clock`] of a run on virtual time.
pub const VIRTUAL: &str = "virtual";

/// The report of a run.
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
    pub faults: Vec<Recovery>,
    /// How many there were in all.
    pub fault_count: u64,
    /// DMA outside the window that was seen and blocked.
    pub dma_faults: u64,
    /// Why the run ended.
    pub ended: String,
    /// How long it was, from start to stop, in nanoseconds.
    pub duration_ns: u64,
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
    /// Of a disk.
    Block(Box<BlockReport>),
    /// Of operations.
    Misc(Box<MiscReport>),
    /// Of a serial line.
    Serial(Box<SerialReport>),
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

/// What was counted: the core's counters and the class's, each by its own name, and what follows from them.
#[derive(Debug, Serialize)]
pub struct CountersReport<C: Named, R> {
    /// The core's.
    #[serde(flatten, serialize_with = "by_name")]
    pub core: Counters,
    /// Times the boundary was crossed, either way.
    pub crossings: u64,
    /// The class's.
    #[serde(flatten, serialize_with = "by_name")]
    pub class: C,
    /// What the class makes of them.
    #[serde(flatten)]
    pub rates: R,
}

/// Writes every counter under its name.
///
/// # Errors
/// The serializer's.
pub fn by_name<S: Serializer>(counters: &impl Named, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.collect_map(counters.named())
}

/// What recovery did, in numbers. Times are in nanoseconds, from the end of the faulty call.
#[derive(Debug, Serialize)]
pub struct RecoveryReport {
    /// Faults whose call was rolled back: the instance went on.
    pub rollbacks: u64,
    /// Faults after which a snapshot was restored.
    pub snapshot_restores: u64,
    /// Restarts.
    pub restarts: u64,
    /// Until everything was as before the call.
    pub rollback_ns: Downtime,
    /// Until driver and device were as in the snapshot.
    pub snapshot_restore_ns: Downtime,
    /// Until a fresh instance had been opened.
    pub restart_ns: Downtime,
}

impl RecoveryReport {
    /// Of a run.
    pub fn new<C: Class>(supervisor: &Supervisor<C>) -> Self {
        RecoveryReport {
            rollbacks: supervisor.rollbacks().count(),
            snapshot_restores: supervisor.snapshot_restores().count(),
            restarts: supervisor.restarts(),
            rollback_ns: supervisor.rollbacks().clone(),
            snapshot_restore_ns: supervisor.snapshot_restores().clone(),
            restart_ns: supervisor.restart_times().clone(),
        }
    }

    /// Returns what was done about this many faults, in words.
    pub fn text(&self, faults: u64) -> String {
        let RecoveryReport { rollbacks, snapshot_restores, restarts, .. } = self;
        let snapshots = match snapshot_restores {
            0 => String::new(),
            _ => format!("{snapshot_restores} snapshot restore(s), "),
        };
        format!("{faults} fault(s): {rollbacks} rollback(s), {snapshots}{restarts} restart(s)\n")
    }
}

impl<C: Named, R> CountersReport<C, R> {
    /// Of what was counted about a nook, what its class counts, and what it makes of both.
    pub fn new(core: &Counters, class: C, rates: R) -> Self {
        CountersReport { core: *core, crossings: core.crossings(), class, rates }
    }
}

impl Report {
    /// Returns how long the run was, in words.
    pub fn duration(&self) -> String {
        let whose = if self.clock == VIRTUAL { " of virtual time" } else { "" };
        format!("{:.1} s{whose}", self.duration_ns as f64 / 1e9)
    }

    /// Returns what is printed at the end of every run.
    pub fn text(&self) -> String {
        let mut text = match &self.class {
            ClassReport::Net(net) => net.text(self),
            ClassReport::Block(block) => block.text(self),
            ClassReport::Misc(misc) => misc.text(self),
            ClassReport::Serial(serial) => serial.text(self),
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

/// Returns how reports call a kind of interrupt.
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
