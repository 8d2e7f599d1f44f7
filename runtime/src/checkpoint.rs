//! What makes the memory of a wasm driver recoverable, for [`WasmLauncher`](crate::WasmLauncher). How it is done is
//! `recovery`'s business; the runtime keeps the order of events.

use wasmtime::{Instance, Store};

use crate::{DriverModule, Host, RolledBack};

/// A way to take back what a call did to a driver's memory and globals.
pub trait Checkpointing: Send + Sync {
    /// How `--isolation` calls a sandbox with it.
    fn isolation(&self) -> &'static str;

    /// The module as it has to be for this: each call of an entry that [is a transaction](crate::is_transaction)
    /// begins a new checkpoint by itself. The imports and the exports of the contract stay.
    ///
    /// # Errors
    /// Why this module's calls cannot be taken back.
    fn prepare(&self, module: &DriverModule) -> Result<Vec<u8>, String>;

    /// The checkpoint of one instance of that module.
    ///
    /// # Errors
    /// If the instance is not of a module that was prepared.
    fn attach(&self, store: &mut Store<Host>, instance: &Instance) -> wasmtime::Result<Box<dyn Checkpoint>>;
}

/// The checkpoint of one instance.
pub trait Checkpoint: Send {
    /// Memory and globals are as they were when the last call of a transaction's entry began. `returned` says that it
    /// returned, and was found wrong afterwards.
    ///
    /// # Errors
    /// If that cannot be done; then the instance must not be called again.
    fn roll_back(&mut self, store: &mut Store<Host>, returned: bool) -> wasmtime::Result<RolledBack>;
}
