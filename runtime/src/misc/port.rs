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
    /// How many of these were completed in calls that are final.
    completed_finally: usize,
    /// What the next call asks for: that call accepts it, or is rolled back and has not.
    offered: Option<u32>,
    /// What was open when the call began that may be rolled back, without what it asks for.
    before: Vec<u32>,
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
        let offered = self.offered.take();
        self.before.clear();
        self.before.extend(self.open.iter().filter(|&&open| Some(open) != offered));
    }

    #[inline]
    pub(crate) fn commit(&mut self) {
        self.offered = None;
        self.completed_finally = self.completed.len();
    }

    pub(crate) fn abort(&mut self) {
        self.open.clone_from(&self.before);
        self.completed.truncate(self.completed_finally);
    }

    /// Opens an operation that the driver is about to be asked for: it may complete it from here on.
    pub(super) fn open(&mut self, ticket: u32) {
        debug_assert!(self.open.len() < MOST_OPEN && !self.is_open(ticket));
        self.open.push(ticket);
        self.offered = Some(ticket);
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

    /// Returns what calls that are final have completed.
    pub(super) fn completed_finally(&self) -> &[Completed] {
        &self.completed[..self.completed_finally]
    }

    /// Takes what calls that are final have completed.
    pub(super) fn take_completed(&mut self) -> Vec<Completed> {
        self.completed.drain(..std::mem::take(&mut self.completed_finally)).collect()
    }
}
