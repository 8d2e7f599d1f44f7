//! The report of a run: `--json`.

use std::fs;
use std::io::{self, Write};
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail};
use nook_abi::net::NetStats;
use nook_bus::IrqKind;
use nook_net::ExerciseReport;
use nook_net_api::Uplink;
use nook_recovery::{Downtime, Outcome, Recovery, Supervisor};
use nook_runtime::{Counters, DriverModule, FilterModule, Net, NetCounters, OwnedManifest};
use serde::Serialize;

/// Names for a temporary file that are tried.
const TEMPORARY_NAMES: u32 = 16;

/// All that is told about a run.
#[derive(Debug, Serialize)]
pub struct Report {
    /// Which driver.
    pub driver: ModuleReport,
    /// The filter beside it, if there was one.
    pub filter: Option<ModuleReport>,
    /// The device, in words.
    pub device: String,
    /// As `--isolation` calls it.
    pub isolation: &'static str,
    /// "up" or "down", at the end of the run.
    pub link: &'static str,
    /// The interface's address, if the driver came so far.
    pub mac: Option<String>,
    /// "intx", "msi" or "msix", if interrupts were enabled.
    pub interrupts: Option<&'static str>,
    /// What the exercise found, if there was one.
    pub exercise: Option<ExerciseReport>,
    /// What was counted on the way through the boundary.
    pub counters: CountersReport,
    /// What driver and device counted, if they could be asked.
    pub device_counters: Option<DeviceCounters>,
    /// Faults, oldest first. Of a driver that faults very often only the first are listed.
    pub faults: Vec<FaultReport>,
    /// How many there were in all.
    pub fault_count: u64,
    /// What was done about them.
    pub recovery: RecoveryReport,
    /// DMA outside of the window that was seen and blocked.
    pub dma_faults: u64,
    /// Why the run ended.
    pub ended: String,
    /// How long it was, from start to stop.
    pub seconds: f64,
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
            sha256: sha256.iter().map(|byte| format!("{byte:02x}")).collect(),
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
pub struct CountersReport {
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
    /// Frames, both ways.
    pub packets: u64,
    /// Frames received.
    pub rx_packets: u64,
    /// Frames sent.
    pub tx_packets: u64,
    /// Frames that the interface's other side had no room for.
    pub rx_no_room: u64,
    /// Received buffers that came back as failed.
    pub rx_failed: u64,
    /// Frames that came back as not sent.
    pub tx_failed: u64,
    /// Received frames that the filter dropped.
    pub rx_dropped: u64,
    /// Frames to be sent that the filter dropped.
    pub tx_dropped: u64,
    /// Packets per interrupt.
    pub packets_per_irq: Option<f64>,
    /// Hostcalls per packet.
    pub hostcalls_per_packet: Option<f64>,
    /// Register accesses per packet.
    pub registers_per_packet: Option<f64>,
}

/// Counters of the device, as the driver gave them.
#[derive(Debug, Serialize)]
#[allow(missing_docs)] // The fields are those of nook_abi::net::NetStats.
pub struct DeviceCounters {
    pub rx_packets: u64,
    pub rx_bytes: u64,
    pub rx_errors: u64,
    pub rx_missed: u64,
    pub tx_packets: u64,
    pub tx_bytes: u64,
    pub tx_errors: u64,
    pub tx_timeouts: u64,
}

/// One fault.
#[derive(Debug, Serialize)]
pub struct FaultReport {
    /// In words.
    pub fault: String,
    /// Milliseconds from the start of the run.
    pub at_ms: u64,
    /// Nanoseconds until the call was taken back, if it was.
    pub taken_back_after_ns: Option<u64>,
    /// Microseconds until driver and device were as in a snapshot, if they were brought back to one.
    pub brought_back_after_us: Option<u64>,
    /// Microseconds until a fresh instance ran, if one did.
    pub restarted_after_us: Option<u64>,
}

/// What recovery did, in numbers.
#[derive(Debug, Serialize)]
pub struct RecoveryReport {
    /// Faults whose call was taken back: the instance went on.
    pub taken_back: u64,
    /// Faults after which the driver was brought back to a snapshot.
    pub brought_back: u64,
    /// Restarts.
    pub restarts: u64,
    /// Received frames that were given up because the driver faulted at them.
    pub rx_poison: u64,
    /// Frames to be sent that were given up because the driver faulted at them.
    pub tx_poison: u64,
    /// Frames to be sent that the driver had when it ended, and that were not sent again.
    pub tx_given_up: u64,
    /// Calls that were transactions and went well.
    pub transactions: u64,
    /// Of those, calls that could have been taken back until they were committed.
    pub undoable: u64,
    /// From the end of the faulty call until everything was as before it.
    pub rollback_ns: Option<Times>,
    /// From the end of the faulty call until driver and device were as in a snapshot.
    pub snapshot_ns: Option<Times>,
    /// From the end of the faulty call until a fresh instance had opened the interface.
    pub restart_ns: Option<Times>,
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

impl RecoveryReport {
    /// Of a run.
    pub fn new<U: Uplink>(supervisor: &Supervisor<Net<U>>) -> Self {
        let (counters, net) = (supervisor.nook().counters(), supervisor.nook().net_counters());
        RecoveryReport {
            taken_back: supervisor.rollbacks().count(),
            brought_back: supervisor.returns().count(),
            restarts: supervisor.restarts(),
            rx_poison: net.rx_poison,
            tx_poison: net.tx_poison,
            tx_given_up: net.tx_given_up,
            transactions: counters.transactions,
            undoable: counters.undoable,
            rollback_ns: Times::of(supervisor.rollbacks()),
            snapshot_ns: Times::of(supervisor.returns()),
            restart_ns: Times::of(supervisor.restart_times()),
        }
    }
}

fn ratio(of: u64, to: u64) -> Option<f64> {
    (to != 0).then(|| of as f64 / to as f64)
}

impl CountersReport {
    /// Of what was counted about a nook and its interface.
    pub fn new(c: &Counters, net: &NetCounters) -> Self {
        CountersReport {
            reg_reads: c.reg_reads,
            reg_writes: c.reg_writes,
            hostcalls: c.hostcalls,
            irqs: c.irqs,
            polls: c.polls,
            crossings: c.crossings(),
            packets: net.packets(),
            rx_packets: net.rx_packets,
            tx_packets: net.tx_packets,
            rx_no_room: net.rx_no_room,
            rx_failed: net.rx_failed,
            tx_failed: net.tx_failed,
            rx_dropped: net.rx_dropped,
            tx_dropped: net.tx_dropped,
            packets_per_irq: ratio(net.packets(), c.irqs),
            hostcalls_per_packet: ratio(c.hostcalls, net.packets()),
            registers_per_packet: ratio(c.reg_reads + c.reg_writes, net.packets()),
        }
    }
}

impl From<&NetStats> for DeviceCounters {
    fn from(s: &NetStats) -> Self {
        DeviceCounters {
            rx_packets: s.rx_packets,
            rx_bytes: s.rx_bytes,
            rx_errors: s.rx_errors,
            rx_missed: s.rx_missed,
            tx_packets: s.tx_packets,
            tx_bytes: s.tx_bytes,
            tx_errors: s.tx_errors,
            tx_timeouts: s.tx_timeouts,
        }
    }
}

impl FaultReport {
    /// `start_ns` is when the run began.
    pub fn new(recovery: &Recovery, start_ns: u64) -> Self {
        let (taken_back_after_ns, brought_back_after_us, restarted_after_us) = match recovery.outcome {
            Outcome::TakenBack { after_ns } => (Some(after_ns), None, None),
            Outcome::BroughtBack { after_ns } => (None, Some(after_ns / 1000), None),
            Outcome::Restarted { after_ns } => (None, None, Some(after_ns / 1000)),
            Outcome::Ended => (None, None, None),
        };
        FaultReport {
            fault: recovery.fault.clone(),
            at_ms: recovery.at_ns.saturating_sub(start_ns) / 1_000_000,
            taken_back_after_ns,
            brought_back_after_us,
            restarted_after_us,
        }
    }
}

impl Report {
    /// What is printed at the end of every run.
    pub fn text(&self) -> String {
        self.exercise.as_ref().map(ExerciseReport::to_string).unwrap_or_default() + &self.summary()
    }

    fn summary(&self) -> String {
        let c = &self.counters;
        let number = |value: Option<f64>| value.map_or("-".to_owned(), |value| format!("{value:.2}"));
        let mut text = format!(
            "{} packets in {:.1} s; per packet: {} hostcalls, {} register accesses; {} packets per interrupt\n",
            c.packets,
            self.seconds,
            number(c.hostcalls_per_packet),
            number(c.registers_per_packet),
            number(c.packets_per_irq),
        );
        if let Some(filter) = &self.filter {
            let (name, rx, tx) = (&filter.name, c.rx_dropped, c.tx_dropped);
            text += &format!("the filter `{name}` dropped {rx} received frames and {tx} frames to be sent\n");
        }
        if self.fault_count > 0 {
            let RecoveryReport { taken_back, brought_back, restarts, rx_poison, tx_poison, tx_given_up, .. } =
                self.recovery;
            let snapshots =
                if brought_back > 0 { format!("{brought_back} return(s) to a snapshot, ") } else { "".into() };
            text += &format!(
                "{} fault(s): {taken_back} call(s) taken back, {snapshots}{restarts} restart(s)\n",
                self.fault_count
            );
            if tx_given_up > 0 {
                text += &format!("frames to be sent given up because the driver ended with them: {tx_given_up}\n");
            }
            if rx_poison + tx_poison > 0 {
                text += &format!(
                    "frames given up because the driver faulted at them: {rx_poison} received, {tx_poison} to be sent\n"
                );
            }
        }
        if self.dma_faults > 0 {
            text += &format!("{} DMA accesses outside of its window were blocked\n", self.dma_faults);
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

fn replace(path: &Path, text: &str) -> io::Result<()> {
    // A link stays, and what it leads to is replaced.
    let path = if path.is_symlink() { &fs::canonicalize(path)? } else { path };
    let (temporary, mut file) = temporary(path)?;
    let written = file.write_all(text.as_bytes()).and_then(|()| fs::rename(&temporary, path));
    written.inspect_err(|_| drop(fs::remove_file(&temporary)))
}

/// Something else than a file or a folder is there: a pipe with a name, or /dev/stdout when it is one.
fn is_special(path: &Path) -> bool {
    fs::metadata(path).is_ok_and(|meta| !meta.is_file() && !meta.is_dir())
}

/// Where a report is written before it is renamed: in the same folder, into a file that was not there before. Somebody
/// else's, or a link that leads somewhere else, is left alone.
fn temporary(path: &Path) -> io::Result<(PathBuf, fs::File)> {
    let mut tries = 0;
    loop {
        let temporary = path.with_extension(format!("{}-{tries}.tmp", std::process::id()));
        match fs::File::create_new(&temporary) {
            Ok(file) => return Ok((temporary, file)),
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists && tries < TEMPORARY_NAMES => tries += 1,
            Err(error) => return Err(error),
        }
    }
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
    let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."));
    if !folder.is_dir() {
        bail!("--json: there is no folder {} to write the report to", folder.display());
    }
    let made = temporary(path).and_then(|(temporary, _)| fs::remove_file(temporary));
    made.with_context(|| format!("--json: cannot make a file in {}: choose another folder", folder.display()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_report_goes_into_a_file_of_its_own_and_never_through_a_link() {
        let folder = tempfile::tempdir().unwrap();
        let (path, elsewhere) = (folder.path().join("report.json"), folder.path().join("elsewhere"));
        fs::write(&elsewhere, "kept").unwrap();
        let (first, _) = temporary(&path).unwrap();
        fs::remove_file(&first).unwrap();
        std::os::unix::fs::symlink(&elsewhere, &first).unwrap();
        write_json(&7, &path).unwrap();
        assert_eq!(fs::read_to_string(&path).unwrap(), "7\n");
        assert_eq!(fs::read_to_string(&elsewhere).unwrap(), "kept");
        assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 3);
    }
}
