//! The driver of a 16550 on a PCI card, QEMU's `pci-serial` (`--qemu pci-serial`): bytes each way through two FIFOs of
//! 16 bytes, by interrupts.
//!
//! It knows one chip and nothing of who runs it.
#![cfg_attr(not(test), no_std)]
#![forbid(unsafe_code)]

mod driver;

pub use driver::Uart;

nook_sdk::nook_driver! {
    Uart,
    class: serial,
    name: "serial",
    pci: "1b36:0002",
    registers: "uart16550",
    dma_bytes: 4096,
    dma_mask_bits: 32,
}
