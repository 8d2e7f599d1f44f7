//! What a driver author sees: registers, DMA memory, descriptor rings, packet queues, timers, logging, checksums, all
//! safe.
//!
//! A driver implements [`NetDriver`] for any [`Kernel`] and ends with [`nook_driver!`], which exports its entries and
//! writes its manifest. Compiled for `wasm32-unknown-unknown`, the kernel is `WasmKernel`: the imports of module
//! `nook`. Compiled natively, the same source is a shared object, whose kernel is a table of the host's functions
//! (`TableKernel`). The feature `testing` brings a kernel for a driver's unit tests.
//!
//! This crate knows no chip and holds no policy: the host checks everything again. It is the only guest crate with
//! `unsafe`, in the modules that say so below. Drivers call it; who runs one in a process of its own calls
//! [`Instance`].
#![no_std]
#![deny(unsafe_code)]

#[cfg(any(test, feature = "testing"))]
extern crate std;

#[allow(unsafe_code)]
mod checksum;
mod dma;
mod driver;
#[allow(unsafe_code)]
mod export;
#[allow(unsafe_code)]
mod filter;
#[allow(unsafe_code)]
mod instance;
#[allow(unsafe_code)]
mod kernel;
mod log;
#[cfg(not(target_arch = "wasm32"))]
#[allow(unsafe_code)]
mod native;
#[allow(unsafe_code)]
mod nook;
#[allow(unsafe_code)]
mod queues;
#[expect(unsafe_code, reason = "places in the window, which is no Rust object, are read and written by address")]
mod raw;
mod regs;
mod ring;
#[allow(unsafe_code)]
mod sieve;
#[cfg(any(test, feature = "testing"))]
#[allow(unsafe_code)]
pub mod testing;

pub use checksum::checksum;
pub use dma::{DmaBytes, DmaRegion};
pub use driver::{Irq, MacAddress, NetDriver, Poll, RxMode};
pub use filter::{Direction, Filter, FilterInstance, Frame, Verdict};
pub use instance::Instance;
pub use kernel::Kernel;
#[cfg(target_arch = "wasm32")]
pub use kernel::WasmKernel;
pub use log::Level;
#[cfg(not(target_arch = "wasm32"))]
pub use native::TableKernel;
pub use nook::Nook;
pub use nook_abi as abi;
pub use nook_abi::net::{LinkState, NetStats, PacketStatus, QueueEntry};
pub use nook_abi::{ProbeReason, Status};
pub use nook_regs::{Register, RegisterArray, Value};
pub use queues::{NetQueues, Packet, Pool, ProvideQueue, Provided, ReturnPlace, ReturnQueue, Returning};
pub use regs::Regs;
pub use ring::{
    Announced, ByCounter, ByIndex, ByteRing, CompletionRing, DescriptorRing, Done, DoneBit, Fill, Finished, InSlot,
    OwnBit, Phase, Reap, Taken, Vacant,
};

/// What the macros of this crate need and nobody else does.
#[doc(hidden)]
pub mod export_support {
    pub use crate::export::*;
    #[cfg(not(target_arch = "wasm32"))]
    pub use crate::native::driver;
}

/// Compiles the driver in the guide.
#[cfg(doctest)]
#[doc = include_str!("../../docs/writing-a-driver.md")]
struct Guide;
