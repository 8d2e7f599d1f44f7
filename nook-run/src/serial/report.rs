//! What a run of a serial line's driver has to tell.

use std::fmt::Write;

use nook_runtime::SerialCounters;
use serde::Serialize;

use super::backend::LoopReport;
use crate::report::{CountersReport, RecoveryReport, Report};

/// Of a serial line.
#[derive(Debug, Serialize)]
pub struct SerialReport {
    /// How it was set last: rate, data bits, parity, stop bits.
    pub line: String,
    /// Of the pseudo-terminal, if there was one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub terminal: Option<TerminalReport>,
    /// What the exercise found, if there was one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub exercise: Option<LoopReport>,
    /// What was counted on the way through the boundary.
    pub counters: CountersReport<SerialCounters, NoRates>,
    /// What was done about faults.
    pub recovery: RecoveryReport,
}

/// Of a pseudo-terminal.
#[derive(Debug, Serialize)]
pub struct TerminalReport {
    /// How often programs opened it after none had it open.
    pub opened: u64,
    /// Bytes that were dropped because no program had it open.
    pub unread: u64,
}

/// Nothing follows from the counters.
#[derive(Debug, Serialize)]
pub struct NoRates {}

impl SerialReport {
    /// Describes it in words.
    pub fn text(&self, run: &Report) -> String {
        let mut text = String::new();
        let seconds = run.duration_ns as f64 / 1e9;
        if let Some(LoopReport { bytes, received, first_wrong, .. }) = self.exercise {
            let came = match first_wrong {
                Some(at) => format!("the one after {at} others came back otherwise"),
                None if received == bytes => "all came back as they were sent".into(),
                None => format!("{received} came back"),
            };
            let _ = writeln!(text, "loop: of {bytes} bytes through the chip's loopback {came}");
        }
        let SerialCounters {
            sent, received, in_doubt, not_sent, overruns, parity_errors, framing_errors, breaks, ..
        } = self.counters.class;
        let _ = writeln!(text, "{sent} bytes sent, {received} received in {seconds:.1} s, {}", self.line);
        let wrong = [
            (overruns, "overruns"),
            (parity_errors, "parity errors"),
            (framing_errors, "framing errors"),
            (breaks, "breaks"),
            (in_doubt, "bytes of which it is not known whether they left"),
            (not_sent, "bytes not sent"),
            (
                self.terminal.as_ref().map_or(0, |terminal| terminal.unread),
                "bytes that no program had the terminal open for",
            ),
        ];
        let wrong = wrong.iter().filter(|(count, _)| *count > 0).map(|(count, what)| format!("{count} {what}"));
        let wrong = wrong.collect::<Vec<_>>().join(", ");
        if !wrong.is_empty() {
            text += &wrong;
            text.push('\n');
        }
        if run.fault_count > 0 {
            text += &self.recovery.text(run.fault_count);
        }
        text
    }
}
