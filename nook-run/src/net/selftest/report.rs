//! The report of a self-test: a table to read, and JSON to send.

use serde::Serialize;

use crate::net::report::NetCountersReport;
use crate::report::ModuleReport;
use crate::selftest::{Check, DeviceReport, MachineReport, table};

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

impl SelftestReport {
    /// Returns the table.
    pub fn table(&self) -> String {
        table(&self.device, &self.machine, &self.checks, None, self.duration_ns)
    }
}
