//! Native drivers in this process: the same source as the wasm ones, behind no sandbox.
//!
//! A driver is a shared object beside its wasm file, which `cargo xtask drivers` makes: the driver with all of the SDK,
//! compiled together. Its hostcalls go through a table of functions. [`NativeLauncher`] checks machine, manifest, ABI
//! and tables in the file, before anything of it runs, and then loads a copy for each instance: what is static in a
//! driver is the instance's own, and a restart begins with what is in the file.
//!
//! [`Level::Native`] is the honest baseline: register accesses, clock and timers go straight to the device and the
//! host, with no check at all. [`Level::Wrapped`] puts the same checks before every service that a wasm driver meets,
//! and still trusts the driver's loads and stores. A panic ends the call, and is a fault.
//!
//! Neither contains a driver: a wild store hits this process, an endless loop is not ended. It is not for drivers
//! that one does not trust; `nook-run`, the tests and the benchmarks call it.
#![deny(unsafe_code)]

mod driver;
mod handlers;
mod library;
mod memory;
mod services;
mod thread_ends;

pub use driver::{NativeError, NativeLauncher};
pub use services::Level;
