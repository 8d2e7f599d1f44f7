//! The driver of Intel's 8254x Gigabit Ethernet controllers: 82540EM and 82545EM, with legacy descriptors.
//!
//! It is written against the SDK alone and runs wherever there is a [`Kernel`](nook_sdk::Kernel): in wasm, behind the
//! host's checks, or natively, from the same source. Start reading at [`E1000`]'s `poll`, `irq`, `open` and `probe`,
//! in `driver.rs`; the rest is one subject a file. It holds no policy and no unsafe code.
//!
//! "Section" in comments means Intel's *PCI/PCI-X Family of Gigabit Ethernet Controllers Software Developer's Manual*,
//! revision 4.0.
// Natively the standard library brings what a shared object needs to link; the driver itself uses only `core`.
#![cfg_attr(target_arch = "wasm32", no_std)]
// In wasm the SDK's macro writes exports, which are unsafe attributes; nothing else differs there.
#![cfg_attr(not(target_arch = "wasm32"), forbid(unsafe_code))]

mod chip;
mod driver;
mod filter;
mod link;
mod rx;
mod stats;
mod tx;

pub use driver::E1000;

nook_sdk::nook_driver! {
    E1000,
    name: "e1000",
    pci: "8086:100e 8086:100f",
    registers: "e1000",
    // Two rings of 256 descriptors.
    dma_bytes: 8192,
    dma_mask_bits: 64,
}
