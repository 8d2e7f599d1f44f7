//! Imports that are not nook's hostcalls: what a crate outside the trusted base gives to a driver under development.

use std::any::Any;
use std::fmt::Debug;

use wasmtime::Linker;

use crate::Host;

/// The wasm module name of the functions that a world has.
pub(crate) const WASI_MODULE: &str = "wasi_snapshot_preview1";

/// Functions of WASI (preview 1) beside the hostcalls. Implemented by `wasi/`; the code that loads a driver passes it.
///
/// None of what checks a hostcall stands before these functions: what they let a driver do is for the world to say.
pub trait World: Debug + Send + Sync {
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
