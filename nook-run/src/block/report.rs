//! What a run of a disk's driver has to tell.

use std::fmt::Write;

use nook_abi::block::{Disk, disk_flags};
use nook_runtime::BlockCounters;
use serde::Serialize;

use super::exercise::StepReport;
use crate::report::{CountersReport, RecoveryReport, Report};

/// Of a disk.
#[derive(Debug, Serialize)]
pub struct BlockReport {
    /// What the driver says of it, if it came that far.
    pub disk: Option<DiskReport>,
    /// What was done of the exercise, if there was one.
    pub exercise: Option<Vec<StepReport>>,
    /// Why the exercise could not go on.
    pub exercise_error: Option<String>,
    /// What was counted on the way through the boundary.
    pub counters: CountersReport<BlockCounters, NoRates>,
    /// What was done about faults.
    pub recovery: RecoveryReport,
}

/// The disk.
#[derive(Debug, Serialize)]
pub struct DiskReport {
    /// Its serial number, as the device says it.
    pub serial: String,
    /// How many blocks.
    pub blocks: u64,
    /// Bytes of each.
    pub block_bytes: u32,
    /// Whether what was written may be lost until it is flushed.
    pub volatile_cache: bool,
}

impl From<&Disk> for DiskReport {
    fn from(disk: &Disk) -> Self {
        DiskReport {
            serial: disk.serial_text().to_owned(),
            blocks: disk.blocks,
            block_bytes: disk.block_bytes,
            volatile_cache: disk.flags & disk_flags::VOLATILE_CACHE != 0,
        }
    }
}

/// Nothing follows from the counters.
#[derive(Debug, Serialize)]
pub struct NoRates {}

impl BlockReport {
    /// Describes it in words.
    pub fn text(&self, run: &Report) -> String {
        let mut text = String::new();
        for report in self.exercise.iter().flatten() {
            let StepReport { step, requests, bytes, duration_ns, .. } = report;
            let seconds = (*duration_ns).max(1) as f64 / 1e9;
            let name = format!("{step:?}").to_lowercase();
            let us = |ns: u64| ns as f64 / 1e3;
            let _ = writeln!(
                text,
                "{name:6} {requests} requests, {:.0} IOPS, {:.1} MiB/s; took {:.1} us (p50), {:.1} (p99), {:.1} (p99.9), \
                 {:.1} at most; {} errors, {} wrong",
                *requests as f64 / seconds,
                *bytes as f64 / seconds / f64::from(1 << 20),
                us(report.p50_ns),
                us(report.p99_ns),
                us(report.p999_ns),
                us(report.most_ns),
                report.errors,
                report.wrong
            );
        }
        if let Some(error) = &self.exercise_error {
            let _ = writeln!(text, "the exercise: {error}");
        }
        let BlockCounters { reads, writes, flushes, errors, .. } = self.counters.class;
        let _ = writeln!(
            text,
            "{reads} reads, {writes} writes, {flushes} flushes, {errors} errors in {}, {} interrupts",
            run.duration(),
            self.counters.core.irqs
        );
        if run.fault_count > 0 {
            text += &self.recovery.text(run.fault_count);
        }
        text
    }
}
