//! What the driver said of its operations, and what it completed.

use nook_abi::Status;
use nook_abi::misc::{Bytes, MOST_OPEN, Operation};

/// One operation of a driver, and its example.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct OperationInfo {
    /// Its name.
    pub name: String,
    /// Bytes to try it with.
    pub input: Option<Vec<u8>>,
    /// What comes of them on every device of the kind.
    pub output: Option<Vec<u8>>,
}

impl From<Operation<'_>> for OperationInfo {
    fn from(operation: Operation<'_>) -> Self {
        let bytes = |bytes: Option<Bytes<'_>>| bytes.map(|bytes| bytes.iter().collect());
        OperationInfo {
            name: operation.name.to_owned(),
            input: bytes(operation.input),
            output: bytes(operation.output),
        }
    }
}

/// What a driver said came of an operation.
#[derive(Clone, Debug)]
pub(crate) struct Completed {
    pub(crate) ticket: u32,
    pub(crate) outcome: Result<Vec<u8>, Status>,
}

/// The host's part of the class.
#[derive(Debug, Default)]
pub(crate) struct Port {
    pub(crate) operations: Option<Vec<OperationInfo>>,
    /// Tickets of operations that the driver may complete, at most [`MOST_OPEN`].
    open: Vec<u32>,
    completed: Vec<Completed>,
    /// What was open, and how many were completed, when the call began that may be rolled back.
    before: (Vec<u32>, usize),
}

impl Port {
    pub(crate) fn begin(&mut self) {
        *self = Port::default();
    }

    /// Ends the instance: nothing is open any more.
    pub(crate) fn end(&mut self) {
        self.open.clear();
    }

    #[inline]
    pub(crate) fn begin_call(&mut self) {
        self.before.0.clone_from(&self.open);
        self.before.1 = self.completed.len();
    }

    pub(crate) fn abort(&mut self) {
        self.open.clone_from(&self.before.0);
        self.completed.truncate(self.before.1);
    }

    /// Opens an operation: the driver may complete it from here on.
    pub(super) fn open(&mut self, ticket: u32) {
        if !self.is_open(ticket) {
            debug_assert!(self.open.len() < MOST_OPEN);
            self.open.push(ticket);
        }
    }

    pub(super) fn is_open(&self, ticket: u32) -> bool {
        self.open.contains(&ticket)
    }

    /// Closes an operation that the driver did not take.
    pub(super) fn close(&mut self, ticket: u32) {
        self.open.retain(|&open| open != ticket);
    }

    pub(super) fn complete(&mut self, ticket: u32, outcome: Result<Vec<u8>, Status>) {
        self.close(ticket);
        self.completed.push(Completed { ticket, outcome });
    }

    /// Returns what was completed in calls before the last one that may be rolled back.
    pub(super) fn completed_before(&self) -> &[Completed] {
        &self.completed[..self.before.1.min(self.completed.len())]
    }

    /// Takes what calls that are final have completed.
    pub(super) fn take_completed(&mut self) -> Vec<Completed> {
        std::mem::take(&mut self.completed)
    }
}
