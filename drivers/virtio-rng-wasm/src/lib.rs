//! The driver of virtio sources of random bytes on PCI, above the crate `virtio-drivers`: negotiation and queue are the
//! crate's, and the buffers to be filled (VIRTIO 1.2, section 5.4) are here.
//!
//! Where to begin: `driver.rs` is all of it. `nook-virtio` is what stands between the crate and nook, and
//! `docs/virtio.md` says why.
#![cfg_attr(not(test), no_std)]
#![forbid(unsafe_code)]

mod driver;

pub use driver::VirtioRng;

nook_sdk::nook_driver! {
    VirtioRng,
    class: misc,
    name: "virtio-rng",
    pci: "1af4:1044 1af4:1005",
    registers: "virtio-rng",
    dma_bytes: 65536,
    dma_mask_bits: 64,
    irq_vectors: 2,
}
