//! [`RollbackMethod`]: the ways in which the runtime rolls calls back.

use std::sync::Arc;

use nook_instrument::check::{self, CheckError};
use nook_instrument::undo::{self, Instrumented, Options, Refused};
use wasmtime::{Func, Instance, Memory, Store, Val};

use super::{InstanceRollback, LogRolledBack, Pages, Prepared, Rollback, UndoLog};
use crate::{DriverModule, Host, RolledBack, World};

/// How calls are rolled back.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum RollbackMethod {
    /// Each store logs what it overwrites: the price is per store. See [`undo`].
    #[default]
    Log,
    /// The kernel notes which pages of private memory a call writes: the price is per page. What the driver stores in
    /// the DMA window is logged all the same, because pages see no device and would overwrite what it wrote.
    Pages,
}

impl RollbackMethod {
    /// Returns this way of rolling calls back, or the log, with a warning, where the kernel cannot watch pages.
    pub fn rollback(self) -> Arc<dyn Rollback> {
        let method = match (self, Pages::supported()) {
            (RollbackMethod::Pages, Err(error)) => {
                tracing::warn!(
                    "this kernel does not say which pages were written (Linux 6.7 and later do): {error}; calls are \
                     rolled back by the log instead"
                );
                RollbackMethod::Log
            }
            (method, _) => method,
        };
        Arc::new(method)
    }

    /// Returns the module with its log, and what that took.
    ///
    /// # Errors
    /// If the module does something that cannot be undone.
    pub fn instrument(self, module: &DriverModule) -> Result<Instrumented, Refused> {
        if module.world().is_some_and(World::writes_memory) {
            return Err(Refused::Wasi);
        }
        undo::instrument(module.wasm(), &self.options(module))
    }

    fn options(self, module: &DriverModule) -> Options<'_> {
        let private_bytes = u32::try_from(module.layout().window).ok();
        let private_is_kept = self == RollbackMethod::Pages;
        Options { private_bytes, private_is_kept, scratch: module.scratch() }
    }
}

impl Rollback for RollbackMethod {
    fn isolation(&self) -> &'static str {
        "sfi+txn"
    }

    fn prepare(&self, module: &DriverModule) -> Result<Prepared, String> {
        let instrumented = self.instrument(module).map_err(|error| error.to_string())?;
        let Instrumented { wasm, offsets, wrappers_from, .. } = instrumented;
        Ok(Prepared { wasm, offsets, wrappers_from })
    }

    fn recipe(&self, module: &DriverModule) -> Option<String> {
        // Which stores were hints is in the file, whose hash is beside this.
        let Options { private_bytes, private_is_kept, scratch: _ } = self.options(module);
        Some(format!("undo, private {private_bytes:?}, kept {private_is_kept}"))
    }

    fn check(&self, module: &DriverModule, wasm: &[u8]) -> Result<(), CheckError> {
        let Options { private_bytes, private_is_kept, .. } = self.options(module);
        check::stores(module.laid_out(), private_bytes.filter(|_| private_is_kept), wasm).map(|_| ())
    }

    fn keeps_time(&self) -> bool {
        true
    }

    fn attach(
        &self,
        store: &mut Store<Host>,
        instance: &Instance,
        ask: Func,
    ) -> wasmtime::Result<Box<dyn InstanceRollback>> {
        let log = UndoLog::of(store, instance)?;
        log.ask(store, ask)?;
        let private_bytes = store.data().layout().window as usize;
        let pages = match self {
            RollbackMethod::Log => None,
            RollbackMethod::Pages => {
                Some(Pages::of(&mut *store, log.memory(), private_bytes).map_err(wasmtime::Error::new)?)
            }
        };
        Ok(Box::new(OfLog { log, pages }))
    }
}

/// An instance whose calls can be rolled back.
struct OfLog {
    log: UndoLog,
    /// Of private memory; without them, the log holds that too.
    pages: Option<Pages>,
}

impl InstanceRollback for OfLog {
    fn begins(&self) -> bool {
        self.pages.is_some()
    }

    fn begin(&mut self, store: &mut Store<Host>) {
        if let Some(pages) = &mut self.pages {
            pages.begin(&*store);
        }
    }

    fn roll_back(&mut self, store: &mut Store<Host>, returned: bool) -> wasmtime::Result<RolledBack> {
        // The log first: of a store across the window's beginning it has bytes of a page too.
        let logged = if returned { self.log.roll_back_returned(store) } else { self.log.roll_back(store) };
        let LogRolledBack { entries, mut bytes } = logged.map_err(wasmtime::Error::new)?;
        if let Some(pages) = &mut self.pages {
            bytes += pages.roll_back(&*store).map_err(wasmtime::Error::new)?;
        }
        Ok(RolledBack { entries: entries as u64, bytes: bytes as u64 })
    }

    fn is_full(&mut self, store: &mut Store<Host>) -> bool {
        self.log.is_full(store)
    }

    fn time_cell(&self) -> Option<(Memory, u32)> {
        Some(self.log.time_cell())
    }

    fn globals(&mut self, store: &mut Store<Host>) -> Vec<Val> {
        self.log.globals(store)
    }

    fn restore_globals(&mut self, store: &mut Store<Host>, globals: &[Val]) -> wasmtime::Result<()> {
        // What the host wrote into pages is found when the next call begins.
        self.log.restore_globals(store, globals)
    }
}
