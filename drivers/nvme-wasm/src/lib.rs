//! The driver of NVM Express controllers on PCI Express: one namespace of one controller is the disk.
//!
//! Where to begin: `io.rs` is what it does all day, requests to the submission queue and completions back. `driver.rs`
//! is the interface to the host, from `probe` to `remove`, with the interrupt and the timer. `controller.rs` is the
//! order in which a controller is started, reset and shut down; `admin.rs` are the commands for that. `watch.rs` is
//! what happens when a command does not complete: Abort, then a controller reset, after which every request is made
//! again. What differs from maker to maker is data in `quirks.rs`.
//!
//! Sections are those of the *NVM Express Base Specification*, revision 2.0, unless NVM (*NVM Command Set
//! Specification* 1.0) or PCIe (*NVMe over PCIe Transport Specification* 1.0) is named. Offsets and bits are in
//! `nvme-regs`; none stand here.
//!
//! The driver knows no host: it is generic over the kernel that answers its hostcalls. It does not do metadata and
//! protection information, SGLs, more than one namespace at a time, or pages above 4096 bytes, and says so of a
//! controller or a namespace that needs it.
#![cfg_attr(not(test), no_std)]
#![forbid(unsafe_code)]

mod admin;
mod controller;
mod driver;
mod events;
mod identify;
mod io;
mod pairs;
mod quirks;
mod slots;
mod watch;

pub use driver::Nvme;

// The room of 127 requests and the driver's own memory make a window of 16 MiB: QEMU's window is a BAR, whose length is
// a power of two.
nook_sdk::nook_driver! {
    Nvme,
    class: block,
    name: "nvme",
    pci: "1b36:0010 1234:0108 class:010802",
    registers: "nvme",
    dma_bytes: 131072,
    dma_mask_bits: 64,
    irq_vectors: 5,
    requests: 127,
    transfer_bytes: 131072,
}
