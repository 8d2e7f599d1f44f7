//! Native drivers behind a memory protection key: in this process's address space, where they read what everybody reads
//! and write only what is their own.
//!
//! A driver is a separate kind of object (`cargo xtask drivers` makes it: no standard library, no C library, no
//! thread-locals), which a loader of this crate maps: the C library's would run its constructors with the host's
//! rights. Each instance has its own copy, stack and heap under one key. A call switches stack and key; a hostcall
//! switches them back and is checked as every driver's. A store elsewhere, an illegal instruction or an endless loop
//! ends the call.
//!
//! It holds against mistakes, not malice: code could change the key itself, and the loader only refuses objects that
//! contain such instructions. `nook-run`, the tests and the benchmarks call [`MpkLauncher`].
#![deny(unsafe_code)]
#![cfg(all(target_arch = "x86_64", target_os = "linux"))]

mod actions;
mod call;
mod clock;
mod code;
mod driver;
mod faults;
mod gate;
mod handler_stack;
mod keys;
mod late;
mod memory;
mod object;
mod thread;
mod trial;

pub use driver::MpkLauncher;
pub use keys::{NoKeys, supported};
pub use object::MpkError;
