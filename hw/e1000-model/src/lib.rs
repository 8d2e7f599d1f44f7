//! The embedded device: a model of Intel's 82540EM (and of the 82545EM, which differs in its id), made to be driven by
//! drivers that have mistakes.
//!
//! It is a [`PciDevice`](nook_bus::PciDevice) whose cable is a [`Wire`](nook_net_api::Wire). It answers by the register
//! map in `e1000-regs` and does what Intel's *PCI/PCI-X Family of Gigabit Ethernet Controllers Software Developer's
//! Manual* (revision 4.0; "section" in comments means its sections) says, but not in the way that is convenient for a
//! driver: it completes late, in batches and in its own order, starts with garbage where the manual defines
//! nothing, and shares its interrupt line with others. How much of that, is its [`Behaviour`]. All of it comes from one
//! seed and the times given to [`service`](nook_bus::PciDevice::service), so that a run can be repeated.
//!
//! What it is not: a model of timing or of the PCI bus, and there is no fibre, management or wake-up in it, nor VLAN
//! offloads. It knows neither driver nor host; the code that owns a nook calls it.
#![forbid(unsafe_code)]

mod behaviour;
mod checksum;
mod config_space;
mod crc;
mod eeprom;
mod fifo;
mod irq;
mod model;
mod pause;
mod phy;
mod registers;
mod ring;
mod rx;
mod rx_filter;
mod segment;
mod stats;
mod tx;

pub use behaviour::Behaviour;
pub use model::{Chip, Model, ModelConfig};

/// A time that does not come.
const NEVER: u64 = u64::MAX;
