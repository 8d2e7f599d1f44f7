//! What makes the memory of a wasm driver recoverable, for [`WasmLauncher`](crate::WasmLauncher), and how it is done:
//! by the log that [`nook_instrument::undo`] adds to a module ([`UndoLog`]), or by that and the kernel's watch over
//! pages ([`Pages`]). When calls are rolled back is `recovery`'s business.

mod log;
mod method;
mod pages;
mod raw;

use nook_instrument::check::CheckError;
use wasmtime::{Func, Instance, Memory, Store, Val};

use crate::{DriverModule, Host, OffsetMap, RolledBack};

pub use log::{CorruptLog, LogRolledBack, UndoLog};
pub use method::RollbackMethod;
pub use pages::Pages;

/// A way to roll back what a call did to a driver's memory and globals.
pub trait Rollback: Send + Sync {
    /// Returns how `--isolation` calls a sandbox with it.
    fn isolation(&self) -> &'static str;

    /// Returns the module as it has to be for this: each call of an entry that
    /// [is a transaction](nook_abi::Entry::is_transaction) begins a new record by itself, as far as
    /// that is not the [host's to do](InstanceRollback::begins). The imports and the exports of the contract stay.
    ///
    /// # Errors
    /// Why this module's calls cannot be rolled back.
    fn prepare(&self, module: &DriverModule) -> Result<Prepared, String>;

    /// Returns a name for what [`prepare`](Self::prepare) makes of this module, besides what the version of
    /// `nook_instrument` decides: under it the result is kept in the module cache. None, if it is not to be kept.
    fn recipe(&self, module: &DriverModule) -> Option<String> {
        let _ = module;
        None
    }

    /// Checks a finished module, `wasm`, as it is compiled: that what its calls do to memory can be rolled back.
    ///
    /// # Errors
    /// If that is not certain: then nothing of it may run.
    fn check(&self, module: &DriverModule, wasm: &[u8]) -> Result<(), CheckError> {
        let _ = (module, wasm);
        Ok(())
    }

    /// Returns whether a prepared module checks a [time cell](InstanceRollback::time_cell) wherever code may run for
    /// long; deadline checks are added to one that does not.
    fn keeps_time(&self) -> bool {
        false
    }

    /// Returns what rolls back the calls of one instance of that module. If it keeps time, calls that find their time
    /// cell set call `ask`, which takes nothing and returns the cell's next value.
    ///
    /// # Errors
    /// If the instance is not of a module that was prepared.
    fn attach(
        &self,
        store: &mut Store<Host>,
        instance: &Instance,
        ask: Func,
    ) -> wasmtime::Result<Box<dyn InstanceRollback>>;
}

/// A module whose calls can be rolled back.
pub struct Prepared {
    /// The module.
    pub wasm: Vec<u8>,
    /// Where its code comes from.
    pub offsets: OffsetMap,
    /// The first of its last functions that begin and end calls: they cannot be ended themselves.
    pub wrappers_from: u32,
}

/// Rolls back the calls of one instance.
pub trait InstanceRollback: Send {
    /// Returns whether the host has a share in beginning a new record.
    fn begins(&self) -> bool {
        false
    }

    /// A call of a transaction's entry is about to begin. If that goes wrong, the call cannot be rolled back.
    fn begin(&mut self, store: &mut Store<Host>) {
        let _ = store;
    }

    /// Restores memory and globals to what they were when the last call of a transaction's entry began. `returned` says
    /// that it returned, and was found wrong afterwards.
    ///
    /// # Errors
    /// If that cannot be done; then the instance must not be called again.
    fn roll_back(&mut self, store: &mut Store<Host>, returned: bool) -> wasmtime::Result<RolledBack>;

    /// Returns the module's mutable globals. Not in a call.
    fn globals(&mut self, store: &mut Store<Host>) -> Vec<Val>;

    /// Begins again after the host has changed memory to what it was at an earlier moment, when
    /// [`globals`](Self::globals) were these: they are so again, and there is no call to be rolled back.
    ///
    /// # Errors
    /// If these are not the module's globals.
    fn restore_globals(&mut self, store: &mut Store<Host>, globals: &[Val]) -> wasmtime::Result<()>;

    /// Returns whether a call that just trapped did so because it changed more than can be rolled back. It can be
    /// rolled back.
    fn is_full(&mut self, store: &mut Store<Host>) -> bool {
        let _ = store;
        false
    }

    /// Returns an aligned `i32` in a memory that driver code cannot name; the runtime sets it when calls are to check
    /// their deadline.
    fn time_cell(&self) -> Option<(Memory, u32)> {
        None
    }
}
