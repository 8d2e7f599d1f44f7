//! Building drivers: from the package of a driver to its WebAssembly module, its shared object and its program.
//!
//! - [`toolchain`]: what compiles to wasm on this machine;
//! - [`compile`]: one package, in one of three forms;
//! - [`driver`]: a driver's crate, in this repository or in another, in all of them;
//! - [`module`]: what a build has to know of a compiled module;
//! - [`cargo`] and [`command`]: calling other programs so that a failure tells what was run.
//!
//! It is not a build system: cargo is, and a driver's crate builds without this one, too. It installs nothing, checks
//! nothing of what the host checks at load, and knows no driver. `cargo xtask` calls it for the drivers of this
//! repository, `nook-run build` for others.
#![forbid(unsafe_code)]

pub mod cargo;
pub mod command;
pub mod compile;
pub mod driver;
pub mod module;
pub mod toolchain;
