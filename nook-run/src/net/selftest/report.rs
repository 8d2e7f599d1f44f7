//! The report of a self-test: a table to read, and JSON to send.

use std::fmt::Write;

use serde::Serialize;

use crate::net::report::NetCountersReport;
use crate::report::ModuleReport;

/// The report of a self-test. It names the machine's kernel and the device, and nothing else of either.
#[derive(Debug, Serialize)]
pub struct SelftestReport {
    /// Version of nook.
    pub nook: &'static str,
    /// Everything was as it should be.
    pub passed: bool,
    /// Which driver.
    pub driver: ModuleReport,
    /// Which device.
    pub device: DeviceReport,
    /// Of the machine.
    pub machine: MachineReport,
    /// How frames were sent back.
    pub frames: FramesReport,
    /// Each check, in order; the test ends at the first one without which the others make no sense.
    pub checks: Vec<Check>,
    /// What was counted on the way through the boundary.
    pub counters: NetCountersReport,
    /// DMA outside the window that was seen and blocked.
    pub dma_faults: u64,
    /// From start to stop, in nanoseconds.
    pub duration_ns: u64,
}

/// The device.
#[derive(Debug, Serialize)]
pub struct DeviceReport {
    /// In words.
    pub name: String,
    /// "model", "qemu" or "pci".
    pub from: &'static str,
    /// Vendor and device id.
    pub id: String,
    /// Subsystem vendor and device id.
    pub subsystem: String,
    /// Revision.
    pub revision: u8,
    /// "intx", "msi" or "msix", if interrupts were enabled.
    pub interrupts: Option<&'static str>,
    /// What confines its DMA.
    pub iommu: &'static str,
}

/// The machine.
#[derive(Debug, Serialize)]
pub struct MachineReport {
    /// Release of the kernel.
    pub kernel: String,
    /// Instruction set.
    pub architecture: &'static str,
}

/// The frames.
#[derive(Debug, Serialize)]
pub struct FramesReport {
    /// As asked for.
    pub wanted: u32,
    /// Handed to the driver.
    pub sent: u32,
    /// Came round unchanged and in order.
    pub received: u32,
    /// Did not come, though a later one did.
    pub lost: u32,
    /// Came again or late.
    pub repeated: u32,
    /// Came changed.
    pub damaged: u32,
    /// The first thing that was wrong.
    pub trouble: Option<String>,
    /// Of everything that was sent, in order.
    pub sha256_sent: String,
    /// Of everything that came round as it should, in order.
    pub sha256_received: String,
    /// Where sizes and contents came from.
    pub seed: u64,
}

/// One check.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Check {
    /// What should be.
    pub name: &'static str,
    /// Whether it is.
    pub passed: bool,
    /// What was found.
    pub found: String,
}

impl SelftestReport {
    /// Returns the table.
    pub fn table(&self) -> String {
        let mut text = String::new();
        let _ = writeln!(text, "{}, kernel {}", self.device.name, self.machine.kernel);
        for check in &self.checks {
            let mark = if check.passed { "ok" } else { "FAILED" };
            let _ = writeln!(text, "  {mark:<6}  {:<22} {}", check.name, check.found);
        }
        let verdict = if self.passed { "passed" } else { "did not pass" };
        let _ = writeln!(text, "self-test {verdict}, {:.1} s", self.duration_ns as f64 / 1e9);
        text
    }
}
