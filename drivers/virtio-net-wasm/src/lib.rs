//! The driver of virtio network cards on PCI, above the crate `virtio-drivers`: negotiation and queues are the crate's,
//! and frames and commands (VIRTIO 1.2, section 5.1.6) are here. One pair of queues, no offloads.
//!
//! Where to begin: `driver.rs` is the interface to the host, `frames.rs` moves packets, `control.rs` has the card do
//! commands. `nook-virtio` is what stands between the crate and nook, and `docs/virtio.md` says why.
#![cfg_attr(not(test), no_std)]
#![forbid(unsafe_code)]

mod control;
mod driver;
mod frames;

pub use driver::VirtioNet;

nook_sdk::nook_driver! {
    VirtioNet,
    class: net,
    name: "virtio-net",
    pci: "1af4:1041 1af4:1000",
    registers: "virtio-net",
    buffer_bytes: 1984,
    dma_bytes: 65536,
    dma_mask_bits: 64,
    irq_vectors: 2,
}
