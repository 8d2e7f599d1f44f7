//! The driver of Intel's gigabit Ethernet controllers 82540EM, 82545EM and 82574L.
//!
//! Where to begin: `verbs.rs` is what it does all day, the four moves of packets between the host's queues and the
//! chip's rings. `driver.rs` is the interface to the host, from `probe` to `remove`, with the interrupt and the timer.
//! `setup.rs` is the order in which registers are written to start and to silence the chip. Each other file is one part
//! of the chip. What differs from chip to chip is data in `chip.rs`; what the 82574 does besides is in
//! `express.rs`, and its second receive queue in `spread.rs`.
//!
//! Sections are those of Intel's *PCI/PCI-X Family of Gigabit Ethernet Controllers Software Developer's Manual*,
//! revision 4.0 (317453-006), unless the 82574 is named. Offsets and bits are in `e1000-regs`; none stand here.
//!
//! The driver knows no host: it is generic over the kernel that answers its hostcalls. VLAN tags stay in the
//! frames. It does not do fibre.
#![cfg_attr(not(test), no_std)]
#![forbid(unsafe_code)]

mod chip;
mod driver;
mod eeprom;
mod express;
mod flow;
mod jumbo;
mod offloads;
mod pace;
mod phy;
mod queues;
mod rx_filter;
mod setup;
mod spread;
mod statistics;
mod verbs;

pub use driver::E1000;

// With the 64 bytes that the host keeps before each frame a buffer has 2048 bytes, so no frame crosses a page: QEMU's
// e1000e behind an emulated IOMMU sends no descriptor that does, and says that it was sent.
nook_sdk::nook_driver! {
    E1000,
    class: net,
    name: "e1000",
    pci: "8086:100e 8086:100f 8086:10d3",
    registers: "e1000",
    buffer_bytes: 1984,
    dma_bytes: 32768,
    dma_mask_bits: 64,
    irq_vectors: 2,
    queues: 2,
}
