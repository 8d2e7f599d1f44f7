//! [`UndoLogging`]: the undo log as the runtime's way to take calls back.

use nook_runtime::{Checkpoint, Checkpointing, DriverModule, Host, RolledBack};
use wasmtime::{Instance, Store};

use crate::undo::{self, Instrumented, Options, Refused, UndoLog};

/// Drivers' calls can be taken back because each of their stores logs what it overwrites; see [`undo`].
#[derive(Clone, Copy, Debug, Default)]
pub struct UndoLogging;

impl UndoLogging {
    /// The module with its log, and what that took.
    ///
    /// # Errors
    /// If the module does something that cannot be undone.
    pub fn instrument(module: &DriverModule) -> Result<Instrumented, Refused> {
        let options = Options { private_bytes: u32::try_from(module.layout().window).ok(), ..Options::default() };
        undo::instrument_with(module.wasm(), &options)
    }
}

impl Checkpointing for UndoLogging {
    fn isolation(&self) -> &'static str {
        "sfi+txn"
    }

    fn prepare(&self, module: &DriverModule) -> Result<Vec<u8>, String> {
        Ok(Self::instrument(module).map_err(|error| error.to_string())?.wasm)
    }

    fn attach(&self, store: &mut Store<Host>, instance: &Instance) -> wasmtime::Result<Box<dyn Checkpoint>> {
        Ok(Box::new(Log(UndoLog::of(store, instance)?)))
    }
}

struct Log(UndoLog);

impl Checkpoint for Log {
    fn roll_back(&mut self, store: &mut Store<Host>, returned: bool) -> wasmtime::Result<RolledBack> {
        let done = if returned { self.0.roll_back_returned(store) } else { self.0.roll_back(store) };
        let undo::RolledBack { entries, bytes } = done.map_err(wasmtime::Error::new)?;
        Ok(RolledBack { entries: entries as u64, bytes: bytes as u64 })
    }
}
