//! The driver of virtio consoles on PCI, above the crate `virtio-drivers`: negotiation and queues are the crate's, and
//! the bytes of the first port (VIRTIO 1.2, section 5.3.6) are here. Its line is that of a terminal without a rate.
//!
//! Where to begin: `driver.rs` is the interface to the host, `record.rs` what is known of each byte when a driver ends.
//! `nook-virtio` is what stands between the crate and nook, and `docs/virtio.md` says why.
#![cfg_attr(not(test), no_std)]
#![forbid(unsafe_code)]

mod driver;
mod record;

pub use driver::VirtioConsole;

nook_sdk::nook_driver! {
    VirtioConsole,
    class: serial,
    name: "virtio-console",
    pci: "1af4:1043 1af4:1003",
    registers: "virtio-console",
    dma_bytes: 65536,
    dma_mask_bits: 64,
    irq_vectors: 2,
}
