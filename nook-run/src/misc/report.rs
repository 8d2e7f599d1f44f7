//! What a run of a misc driver has to tell.

use nook_runtime::MiscCounters;
use serde::Serialize;

use crate::report::{CountersReport, RecoveryReport, Report};

/// Of a device's operations.
#[derive(Debug, Serialize)]
pub struct MiscReport {
    /// Their names, as the driver attached them.
    pub operations: Vec<String>,
    /// The calls, in order.
    pub calls: Vec<CallReport>,
    /// What was counted on the way through the boundary.
    pub counters: CountersReport<MiscCounts>,
    /// What was done about faults.
    pub recovery: RecoveryReport<Lost>,
}

/// One call.
#[derive(Debug, Serialize)]
pub struct CallReport {
    /// The operation's name.
    pub operation: String,
    /// In hexadecimal.
    pub input: String,
    /// In hexadecimal, if it came to one.
    pub output: Option<String>,
    /// What should have come, if the driver says so.
    pub expected: Option<String>,
    /// Why there is none.
    pub error: Option<String>,
}

/// Counters of the operations.
#[derive(Debug, Serialize)]
#[allow(missing_docs)] // The fields are those of nook_runtime::MiscCounters.
pub struct MiscCounts {
    pub asked: u64,
    pub done: u64,
    pub refused: u64,
}

/// Calls that were lost with a driver.
#[derive(Debug, Serialize)]
#[allow(missing_docs)] // The fields are those of nook_runtime::MiscCounters.
pub struct Lost {
    pub lost: u64,
}

impl From<&MiscCounters> for MiscCounts {
    fn from(c: &MiscCounters) -> Self {
        MiscCounts { asked: c.asked, done: c.done, refused: c.refused }
    }
}

impl From<&MiscCounters> for Lost {
    fn from(c: &MiscCounters) -> Self {
        Lost { lost: c.lost }
    }
}

impl CallReport {
    /// Whether there is an output, and it is what should have come.
    pub fn went_well(&self) -> bool {
        self.output.is_some() && (self.expected.is_none() || self.expected == self.output)
    }

    fn text(&self) -> String {
        let CallReport { operation, input, output, expected, error } = self;
        let came = match (output, error) {
            (Some(output), _) => if output.is_empty() { "nothing" } else { output }.to_owned(),
            (None, Some(error)) => format!("failed: {error}"),
            (None, None) => "not done".to_owned(),
        };
        let said = match expected {
            Some(expected) if Some(expected) == output.as_ref() => ", as it should".to_owned(),
            Some(expected) => format!(", and should have been {expected}"),
            None => "".to_owned(),
        };
        let input = if input.is_empty() { "" } else { &format!(" {input}") };
        format!("{operation}{input}: {came}{said}\n")
    }
}

impl MiscReport {
    /// In words.
    pub fn text(&self, run: &Report) -> String {
        let mut text: String = self.calls.iter().map(CallReport::text).collect();
        let c = &self.counters;
        text += &format!(
            "{} operation(s) in {:.1} s; {} hostcalls, {} register accesses, {} interrupts\n",
            c.class.done,
            run.seconds,
            c.hostcalls,
            c.reg_reads + c.reg_writes,
            c.irqs
        );
        if run.fault_count > 0 {
            text += &self.recovery.text(run.fault_count);
            let Lost { lost } = self.recovery.class;
            if lost > 0 {
                text += &format!("operations lost because the driver ended: {lost}\n");
            }
        }
        text
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_call_went_well_if_it_came_to_what_the_driver_says() {
        let call = |output: Option<&str>, expected: Option<&str>| CallReport {
            operation: "add".into(),
            input: "0102".into(),
            output: output.map(str::to_owned),
            expected: expected.map(str::to_owned),
            error: None,
        };
        assert!(call(Some("03"), None).went_well() && call(Some("03"), Some("03")).went_well());
        assert!(!call(Some("03"), Some("04")).went_well() && !call(None, None).went_well());
        assert_eq!(call(Some("03"), Some("04")).text(), "add 0102: 03, and should have been 04\n");
    }
}
