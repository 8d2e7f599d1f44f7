//! The report of a run: `--json`.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail};
use nook_abi::NetStats;
use nook_bus::IrqKind;
use nook_net::ExerciseReport;
use nook_recovery::Recovery;
use nook_runtime::{Counters, DriverModule};
use serde::Serialize;

/// All that is told about a run.
#[derive(Debug, Serialize)]
pub struct Report {
    /// Which driver.
    pub driver: DriverReport,
    /// The device, in words.
    pub device: String,
    /// `native`, `wrapped` or `sfi`.
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
    /// How often the driver was restarted.
    pub restarts: u64,
    /// DMA outside of the window that was seen and blocked.
    pub dma_faults: u64,
    /// Why the run ended.
    pub ended: String,
    /// How long it was, from start to stop.
    pub seconds: f64,
}

/// The driver's file.
#[derive(Debug, Serialize)]
pub struct DriverReport {
    /// From the manifest.
    pub name: String,
    /// From the manifest.
    pub version: String,
    /// Of the file.
    pub sha256: String,
}

impl DriverReport {
    /// Of a module.
    pub fn new(module: &DriverModule) -> Self {
        DriverReport {
            name: module.manifest().name.clone(),
            version: module.manifest().version.clone(),
            sha256: module.sha256().iter().map(|byte| format!("{byte:02x}")).collect(),
        }
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
    /// Packets per interrupt.
    pub packets_per_irq: Option<f64>,
    /// Hostcalls per packet.
    pub hostcalls_per_packet: Option<f64>,
    /// Register accesses per packet.
    pub registers_per_packet: Option<f64>,
}

/// Counters of the device, as the driver gave them.
#[derive(Debug, Serialize)]
#[allow(missing_docs)] // The fields are those of nook_abi::NetStats.
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
    /// Microseconds until a fresh instance ran, if one did.
    pub restarted_after_us: Option<u64>,
}

fn ratio(of: u64, to: u64) -> Option<f64> {
    (to != 0).then(|| of as f64 / to as f64)
}

impl From<&Counters> for CountersReport {
    fn from(c: &Counters) -> Self {
        CountersReport {
            reg_reads: c.reg_reads,
            reg_writes: c.reg_writes,
            hostcalls: c.hostcalls,
            irqs: c.irqs,
            polls: c.polls,
            crossings: c.crossings(),
            packets: c.packets(),
            rx_packets: c.rx_packets,
            tx_packets: c.tx_packets,
            rx_no_room: c.rx_no_room,
            rx_failed: c.rx_failed,
            tx_failed: c.tx_failed,
            packets_per_irq: ratio(c.packets(), c.irqs),
            hostcalls_per_packet: ratio(c.hostcalls, c.packets()),
            registers_per_packet: ratio(c.reg_reads + c.reg_writes, c.packets()),
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
        FaultReport {
            fault: recovery.fault.clone(),
            at_ms: recovery.at_ns.saturating_sub(start_ns) / 1_000_000,
            restarted_after_us: recovery.restarted_after_ns.map(|ns| ns / 1000),
        }
    }
}

impl Report {
    /// The lines that are printed at the end of every run.
    pub fn summary(&self) -> String {
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
        if self.fault_count > 0 {
            text += &format!("{} fault(s), {} restart(s)\n", self.fault_count, self.restarts);
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
    let temporary = temporary(path);
    let written = fs::write(&temporary, text).and_then(|()| fs::rename(&temporary, path));
    written.inspect_err(|_| drop(fs::remove_file(&temporary)))
}

/// Something else than a file or a folder is there: a pipe with a name, or /dev/stdout when it is one.
fn is_special(path: &Path) -> bool {
    fs::metadata(path).is_ok_and(|meta| !meta.is_file() && !meta.is_dir())
}

/// Where a report is written before it is renamed: in the same folder.
fn temporary(path: &Path) -> PathBuf {
    path.with_extension(format!("{}.tmp", std::process::id()))
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
    let temporary = temporary(path);
    let made = fs::File::create_new(&temporary).and_then(|_| fs::remove_file(&temporary));
    made.with_context(|| format!("--json: cannot make a file in {}: choose another folder", folder.display()))
}
