//! What a driver author sees: registers, DMA memory, rings for the device, timers, logging, and what each class
//! has, all safe.
//!
//! A driver implements its class's trait ([`net::NetDriver`], [`block::BlockDriver`],
//! [`misc::MiscDriver`], [`serial::SerialDriver`]) for any [`Kernel`] and ends with
//! [`nook_driver!`], which exports its entries and writes its manifest. Compiled for `wasm32-unknown-unknown`, the
//! kernel is `WasmKernel`: the imports of module `nook`. Compiled natively, the same source is a shared object, whose
//! kernel is a table of the host's functions (`TableKernel`). The feature `testing` brings a kernel for a driver's unit
//! tests.
//!
//! The smallest driver: a device with one register, which holds the inverse of what was written to it.
//!
//! ```
//! use nook_sdk::{Input, Kernel, MiscDriver, Nook, ProbeReason, Regs, Status, Ticket};
//!
//! nook_regs::registers! {
//!     /// The registers of the device; quoted are sections of its manual.
//!     pub static MAP = "inverter", bar 0, 0x10 bytes;
//!     /// Reads as the inverse of what was written.
//!     INVERSE: u32 at 0x00, Rw, "1";
//! }
//!
//! pub struct Inverter<K: Kernel> {
//!     nook: Nook<K>,
//!     regs: Regs<K>,
//! }
//!
//! impl<K: Kernel> MiscDriver<K> for Inverter<K> {
//!     const OPERATIONS: &'static str = "invert 78563412 87a9cbed\n";
//!
//!     fn probe(nook: Nook<K>, _: ProbeReason) -> Result<Self, Status> {
//!         Ok(Inverter { nook, regs: nook.regs(0) })
//!     }
//!
//!     fn remove(self) {}
//!
//!     fn open(&mut self) -> Result<(), Status> {
//!         Ok(())
//!     }
//!
//!     fn stop(&mut self) -> Result<(), Status> {
//!         Ok(())
//!     }
//!
//!     fn invoke(&mut self, ticket: Ticket, _: u32, input: Input<'_>) -> Result<(), Status> {
//!         self.regs.write(INVERSE, u32::from_le_bytes(input.array()?));
//!         self.nook.complete(ticket, Ok(&self.regs.read(INVERSE).to_le_bytes()));
//!         Ok(())
//!     }
//! }
//!
//! nook_sdk::nook_driver! {
//!     Inverter,
//!     class: misc,
//!     name: "inverter",
//!     pci: "1234:0001",
//!     registers: "inverter",
//!     dma_bytes: 4096,
//!     dma_mask_bits: 32,
//! }
//! ```
//!
//! This crate knows no chip and holds no policy: the host checks everything again. It is the only guest crate with
//! `unsafe`: `raw` alone touches memory by address, `kernel` alone makes hostcalls, and the others that say so are
//! where the host calls in. Drivers call it; who runs one in a separate process calls [`Instance`].
#![no_std]
#![deny(unsafe_code)]

#[cfg(any(test, feature = "testing"))]
extern crate std;

mod answers;
pub mod block;
mod dma;
#[cfg_attr(
    any(test, target_arch = "wasm32"),
    expect(unsafe_code, reason = "entries are called by the host, from outside")
)]
mod export;
#[expect(unsafe_code, reason = "the entry that probes a driver is given the host page's address")]
mod instance;
#[expect(unsafe_code, reason = "hostcalls are imports, which the compiler cannot check")]
mod kernel;
mod log;
pub mod misc;
#[cfg(not(target_arch = "wasm32"))]
#[expect(unsafe_code, reason = "host and driver call each other through tables of C functions")]
mod native;
pub mod net;
mod nook;
#[expect(unsafe_code, reason = "window, host page and queues are no Rust objects and are reached by address")]
mod raw;
mod regs;
mod ring;
pub mod serial;
#[cfg(any(test, feature = "testing"))]
#[expect(unsafe_code, reason = "it plays the host, and a device, in memory that a driver reaches by address")]
pub mod testing;

pub use answers::{Irq, Poll};
pub use dma::{DmaBytes, DmaRegion};
pub use instance::{Entries, Instance};
pub use kernel::Kernel;
#[cfg(target_arch = "wasm32")]
pub use kernel::WasmKernel;
pub use log::LogLevel;
#[cfg(not(target_arch = "wasm32"))]
pub use native::TableKernel;
pub use nook::Nook;
pub use nook_abi as abi;
pub use nook_abi::{ProbeReason, Status};
pub use nook_regs::{Register, RegisterArray, Value};
pub use regs::Regs;
pub use ring::{
    Announced, ByCounter, ByIndex, ByteRing, CompletionRing, DescriptorRing, Done, DoneBit, Fill, Finished, InSlot,
    OwnBit, Phase, Reap, Taken, Vacant,
};
#[doc(inline)]
pub use {block::author::*, misc::author::*, net::author::*, serial::author::*};

/// What the macros of this crate need and nobody else does.
#[doc(hidden)]
pub mod export_support {
    pub use crate::export::*;
    #[cfg(not(target_arch = "wasm32"))]
    pub use crate::native::driver;
    #[cfg(all(feature = "domain", not(target_arch = "wasm32")))]
    pub use crate::native::panic;
}

/// Compiles the driver in the guide.
#[cfg(doctest)]
#[doc = include_str!("../../docs/writing-a-driver.md")]
struct Guide;
