//! What a run of a misc driver has to tell.

use std::fmt::Write;

use nook_runtime::{Failure, MiscCounters, OperationInfo};
use serde::Serialize;

use super::server::ServedReport;
use crate::report::{CountersReport, RecoveryReport, Report};

/// Of a driver's operations.
#[derive(Debug, Serialize)]
pub struct MiscReport {
    /// Those that have an example, and what came of it.
    pub operations: Vec<Tried>,
    /// What was served to clients (`--serve`).
    #[serde(skip_serializing_if = "Option::is_none")]
    pub served: Option<ServedReport>,
    /// What was counted on the way through the boundary.
    pub counters: CountersReport<MiscCounters, NoRates>,
    /// What was done about faults.
    pub recovery: RecoveryReport,
}

/// One operation that was tried. Bytes are in hexadecimal.
#[derive(Debug, Serialize)]
pub struct Tried {
    /// Its name.
    pub name: String,
    /// What it was given.
    pub input: String,
    /// What it should give, if the driver says so.
    pub expected: Option<String>,
    /// What it gave last, if it gave something.
    pub output: Option<String>,
    /// Why it gave nothing, the last time that it did not.
    pub failure: Option<String>,
    /// How often it gave what it should.
    pub right: u64,
    /// How often it gave something with which nothing was compared: what it should give is not known.
    pub not_compared: u64,
    /// How often it gave something else, or was refused or given up.
    pub wrong: u64,
    /// How often it was lost with its driver.
    pub lost: u64,
}

/// Nothing follows from the counters.
#[derive(Debug, Serialize)]
pub struct NoRates {}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

impl Tried {
    /// Creates the counts of an operation that was not tried yet.
    pub fn of(operation: &OperationInfo, input: &[u8]) -> Self {
        Tried {
            name: operation.name.clone(),
            input: hex(input),
            expected: operation.output.as_deref().map(hex),
            output: None,
            failure: None,
            right: 0,
            not_compared: 0,
            wrong: 0,
            lost: 0,
        }
    }

    /// Counts that it is not asked for again, after it was lost with its driver this often in a row.
    pub fn given_up(&mut self, lost: u32) {
        self.wrong += 1;
        self.failure = Some(format!("was lost with its driver {lost} times in a row, and is not asked for again"));
    }

    /// Counts an answer.
    pub fn answered(&mut self, outcome: Result<Vec<u8>, Failure>) {
        match outcome {
            Ok(output) => {
                let output = hex(&output);
                let count = match &self.expected {
                    None => &mut self.not_compared,
                    Some(expected) if *expected == output => &mut self.right,
                    Some(_) => &mut self.wrong,
                };
                *count += 1;
                self.output = Some(output);
            }
            Err(failure) => {
                *if failure == Failure::Lost { &mut self.lost } else { &mut self.wrong } += 1;
                self.failure = Some(failure.to_string());
            }
        }
    }

    /// Returns whether it gave what it should, as far as that is known, each time that it gave something.
    pub fn went_well(&self) -> bool {
        self.right + self.not_compared > 0 && self.wrong == 0
    }
}

impl MiscReport {
    /// Describes it in words.
    pub fn text(&self, run: &Report) -> String {
        let mut text = String::new();
        for tried in &self.operations {
            let Tried { name, input, expected, output, failure, right, not_compared, wrong, lost } = tried;
            let dash = |text: &str| if text.is_empty() { "-".to_owned() } else { text.to_owned() };
            let came = output.as_deref().or(failure.as_deref()).unwrap_or("was not done");
            let _ = write!(text, "{name} {} -> {}", dash(input), dash(came));
            if let Some(expected) = expected.as_ref().filter(|expected| output.as_ref() != Some(expected)) {
                let _ = write!(text, ", and should be {}", dash(expected));
            }
            if *not_compared > 0 {
                let _ = write!(text, ": {not_compared} done, {wrong} wrong; with nothing to compare the output with");
            } else {
                let _ = write!(text, ": {right} right, {wrong} wrong");
            }
            if *lost > 0 {
                let _ = write!(text, ", {lost} lost with their driver");
            }
            text.push('\n');
        }
        if let Some(ServedReport { connections, calls }) = self.served {
            let _ = writeln!(text, "{calls} calls were answered, on {connections} connections");
        } else if self.operations.is_empty() && run.fault_count == 0 {
            text += "the driver has no operation with an example\n";
        }
        let (done, irqs) = (self.counters.class.done, self.counters.core.irqs);
        let _ = writeln!(text, "{done} operations in {:.1} s, {irqs} interrupts", run.duration_ns as f64 / 1e9);
        if run.fault_count > 0 {
            text += &self.recovery.text(run.fault_count);
        }
        text
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_example_went_well_if_it_came_out_right_each_time_that_it_was_not_lost() {
        let operation = OperationInfo { name: "add".into(), input: Some(vec![1, 2]), output: Some(vec![3]) };
        let tried = |outcomes: &[Result<Vec<u8>, Failure>]| {
            let mut tried = Tried::of(&operation, &[1, 2]);
            outcomes.iter().for_each(|outcome| tried.answered(outcome.clone()));
            (tried.right, tried.wrong, tried.lost, tried.went_well())
        };
        assert_eq!(tried(&[Err(Failure::Lost), Ok(vec![3])]), (1, 0, 1, true));
        assert_eq!(tried(&[Ok(vec![3]), Ok(vec![4])]), (1, 1, 0, false));
        assert_eq!(tried(&[Err(Failure::GivenUp), Ok(vec![3])]), (1, 1, 0, false));
        assert_eq!(tried(&[Err(Failure::Lost)]), (0, 0, 1, false));
    }

    #[test]
    fn what_is_compared_with_nothing_is_not_right_and_went_well() {
        let operation = OperationInfo { name: "add".into(), input: None, output: None };
        let mut tried = Tried::of(&operation, &[1, 2]);
        tried.answered(Ok(vec![7]));
        assert_eq!((tried.right, tried.not_compared, tried.wrong, tried.went_well()), (0, 1, 0, true));
        tried.given_up(3);
        assert!(!tried.went_well());
    }
}
