//! `--isolation process`: a native driver in a separate process, without rights, over shared memory.
//!
//! The driver is a program, `target/drivers/<name>.elf`, made of the same source as the wasm file; its side of the
//! channel is `nook-process-guest`. It holds the driver's channel, heap, queues and DMA window as memory, and nothing
//! else: no file, no descriptor, no network, no other process, and a dozen system calls, none of which reaches
//! anything. All of that is up before its first instruction, so that it holds against the program too, not only against
//! the driver in it. What comes out of the channel is checked like a wasm driver's hostcalls; a call that ends in
//! nonsense, in the process's death, or not in time, is a fault like any other.
//!
//! [`compiler`] is the other process without rights: it compiles a module, within limits of time and memory.
//!
//! It is not what protects against the CPU's side channels, and knows no device. `nook-run`, the tests and the
//! benchmarks call [`ProcessLauncher`].
#![deny(unsafe_code)]

mod child;
pub mod compiler;
mod connection;
mod driver;
mod memory;
mod program;
mod progress;
mod rights;
mod sandbox;
mod seccomp;

pub use connection::{SPIN_NS, Wait};
pub use driver::ProcessLauncher;
pub use nook_process_guest::channel::MEMORY_AT;
pub use program::ProcessError;
