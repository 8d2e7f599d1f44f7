//! The driver of virtio disks on PCI, above the crate `virtio-drivers`: negotiation and queue are the crate's, and the
//! requests (VIRTIO 1.2, section 5.2.6) are here.
//!
//! Where to begin: `driver.rs` is all of it. `nook-virtio` is what stands between the crate and nook, and
//! `docs/virtio.md` says why.
#![cfg_attr(not(test), no_std)]
#![forbid(unsafe_code)]

mod driver;

pub use driver::VirtioBlk;

// The room of 30 requests and the driver's own memory make a window of 4 MiB: QEMU's window is a BAR, whose length is a
// power of two.
nook_sdk::nook_driver! {
    VirtioBlk,
    class: block,
    name: "virtio-blk",
    pci: "1af4:1042 1af4:1001",
    registers: "virtio-blk",
    dma_bytes: 65536,
    dma_mask_bits: 64,
    irq_vectors: 2,
    requests: 30,
    transfer_bytes: 131072,
}
