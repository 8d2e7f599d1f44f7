//! What watches a nook and writes its trace.

use std::path::Path;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use anyhow::Result;
use nook_abi::{Entry, Fault, Hostcall};
use nook_bus::{BusAccess, Clock, TraceSink};
use nook_runtime::{CallSink, Life};

use super::event::Event;
use super::file::{Head, Writer};

/// A trace that is being written, until its last clone is dropped: one watches calls, one the bus.
///
/// One that cannot be written any more, as on a full disk, is said once in the log and ends; the run goes on.
#[derive(Clone)]
pub struct Recorder(Arc<Mutex<Open>>);

struct Open {
    writer: Option<Writer>,
    clock: Clock,
    /// The driver is in a call.
    inside: bool,
}

impl Recorder {
    /// Begins a trace in this file.
    ///
    /// # Errors
    /// If it cannot be created.
    pub fn create(path: &Path, clock: Clock) -> Result<Self> {
        let writer = Some(Writer::create(path)?);
        Ok(Recorder(Arc::new(Mutex::new(Open { writer, clock, inside: false }))))
    }

    /// Writes what it is of; to be called before anything happens.
    ///
    /// # Errors
    /// If the file cannot be written.
    pub fn head(&self, head: &Head) -> Result<()> {
        self.open().writer.as_mut().map_or(Ok(()), |writer| writer.head(head))
    }

    fn open(&self) -> MutexGuard<'_, Open> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Open {
    fn add(&mut self, event: &Event) {
        let Some(writer) = &mut self.writer else { return };
        if let Err(error) = writer.add(self.clock.now_ns(), event) {
            tracing::error!("{}: {error}; the trace ends here, the run goes on", writer.cannot());
            self.writer = None;
        }
    }
}

impl Drop for Open {
    fn drop(&mut self) {
        if let Some(writer) = &mut self.writer
            && let Err(error) = writer.finish()
        {
            tracing::error!("{}: {error}", writer.cannot());
        }
    }
}

impl CallSink for Recorder {
    fn entered(&mut self, entry: Entry, args: [u64; 3]) {
        let mut open = self.open();
        open.inside = true;
        open.add(&Event::Entered { entry, args });
    }

    fn left(&mut self, outcome: Result<u64, Fault>) {
        let mut open = self.open();
        // An instance that has ended is refused further calls without being entered.
        if std::mem::take(&mut open.inside) {
            open.add(&Event::Left(outcome.map_err(|fault| fault.to_string())));
        }
    }

    fn called(&mut self, call: Hostcall, args: [u64; 3], outcome: Result<u64, Fault>) {
        let outcome = outcome.map_err(|fault| fault.to_string());
        self.open().add(&Event::Called { call, args, outcome });
    }

    fn lived(&mut self, life: Life<'_>) {
        self.open().add(&match life {
            Life::Begun => Event::Begun,
            Life::Ended => Event::Ended,
            Life::RolledBack(entry, error) => Event::RolledBack { entry, why: error.to_string() },
            Life::Restored => Event::Restored,
        });
    }
}

impl TraceSink for Recorder {
    fn access(&mut self, access: BusAccess) {
        self.open().add(&Event::Bus(access));
    }
}
