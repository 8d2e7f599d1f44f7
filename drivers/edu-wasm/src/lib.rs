//! The driver of QEMU's educational device, `edu` (`--qemu edu`): registers, factorials by interrupt, DMA both ways.
//!
//! It is the smallest driver of class misc that has all of one: what to read first. It knows one chip and nothing of
//! who runs it.
#![cfg_attr(not(test), no_std)]
#![forbid(unsafe_code)]

mod driver;

pub use driver::Edu;

nook_sdk::nook_driver! {
    Edu,
    class: misc,
    name: "edu",
    pci: "1234:11e8",
    registers: "edu",
    dma_bytes: 4096,
    dma_mask_bits: 28,
}
