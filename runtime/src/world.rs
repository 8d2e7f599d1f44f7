//! Imports that are not nook's hostcalls: what a crate outside the trusted base gives to a driver under development.

use std::any::Any;
use std::fmt::Debug;

use wasmtime::Linker;

use crate::Host;

/// The wasm module name of WASI's functions.
pub(crate) const WASI_MODULE: &str = "wasi_snapshot_preview1";

/// Functions beside the hostcalls: of WASI (preview 1), implemented by `wasi/`, or of `campaign/`, which plants faults.
/// The code that loads a driver passes it.
///
/// None of what checks a hostcall stands before these functions: what they let a driver do is for the world to say.
pub trait World: Debug + Send + Sync {
    /// Returns the wasm module name of the functions: WASI's by default.
    fn module(&self) -> &'static str {
        WASI_MODULE
    }

    /// Returns whether functions write into the memory of the driver that calls them. Its undo log does not see that,
    /// so the calls of such a driver are not rolled back. By default they do.
    fn writes_memory(&self) -> bool {
        true
    }

    /// Returns the names of the functions that there are. A module that imports others is refused when it is loaded.
    fn functions(&self) -> &'static [&'static str];

    /// Defines the functions. They find what [`state`](Self::state) made in [`Host::world`].
    ///
    /// # Errors
    /// If one is defined twice.
    fn link(&self, linker: &mut Linker<Host>) -> wasmtime::Result<()>;

    /// Makes what the functions keep for one instance of the driver of this name.
    fn state(&self, driver: &str) -> Box<dyn Any + Send>;
}
