//! Drivers that are compiled into this process: the same source as the wasm ones, behind no sandbox.
//!
//! [`Unchecked`] is the honest baseline (`--isolation native`): register accesses, clock and timers go straight to
//! the device and the host, dispatched statically, with no check at all. [`Checked`] (`--isolation wrapped`) puts the
//! same checks before every service that a wasm driver meets, and still trusts the driver's loads and stores.
//!
//! Neither contains a driver: a wild store hits this process, an endless loop is not ended. It is not for drivers
//! that one does not trust; `nook-run`, the tests and the benchmarks call it.

mod driver;
mod kernel;
mod memory;

pub use driver::NativeLauncher;
pub use kernel::{Checked, Level, NativeKernel, Unchecked};
