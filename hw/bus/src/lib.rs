//! What a PCI device is to nook: [`PciDevice`], and the middleware that can be put around one.
//!
//! Its implementations are the embedded models (`hw/e1000-model`, `hw/nvme-model`), QEMU's own (`hw/qemu`) and a real
//! device through VFIO (`hw/pci-passthrough`). The runtime, the recovery layer and the native backend use it.
//! Nothing here knows a chip, wasm or a driver.
#![deny(unsafe_code)]

mod awake;
mod bar_memory;
mod clock;
pub mod config;
mod device;
mod forward;
mod last_values;
mod mapped_bar;
mod names;
mod per_register;
mod quirks;
mod reach;
pub mod scripted;
mod shadow;
mod sigbus;
mod trace;
mod transaction;
mod window;

pub use awake::Ticker;
pub use bar_memory::BarMemory;
pub use clock::{Clock, VirtualTime};
pub use device::{BarInfo, DeviceError, IovaRange, IrqKind, PciDevice, PciIdentity, ResetKind, Result, Service};
pub use last_values::LastValue;
pub use mapped_bar::MappedBar;
pub use names::{field_names, register_name};
pub use nook_regs::{BarSpace, Width};
pub use per_register::{PerRegister, RegisterAddr};
pub use reach::Reach;
pub use shadow::{Lack, Programmed, Shadowed};
pub use trace::{BusAccess, TraceSink, Tracing};
pub use transaction::{Aborted, Ask, Await, Irreversible, RegisterAt, RegisterName, Transactional};
pub use vm_memory::VolatileSlice;
pub use window::{DmaWindow, WINDOW_ALIGN};
