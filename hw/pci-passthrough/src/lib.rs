//! A real PCI device through VFIO, and the host administration that comes before it.
//!
//! [`VfioDevice`] is a [`nook_bus::PciDevice`]: the runtime and the recovery layer drive it as they drive the models.
//! Around it: [`Sysfs`] lists PCI functions, [`Binder`] moves one between its kernel driver and vfio-pci, and
//! [`doctor`](doctor()) says what a machine lacks.
//!
//! Nothing here knows a chip, a driver or wasm. A device without an IOMMU is refused: no-IOMMU mode would let a
//! driver's DMA reach all of memory. `nook-run` is the only caller.
//!
//! The kernel is asked directly, with the definitions of `vfio-bindings`. The `vfio-ioctls` crate was weighed and
//! left out: its region reads and writes log a failure and return nothing (a vanished device would read as zeros),
//! it does not report IOVA ranges, it cannot tell a group that is in use from one that is not viable, and dropping
//! its device panics once the device has left sysfs.
#![deny(unsafe_code)]

mod address;
mod bars;
mod bind;
mod config_space;
mod device;
mod doctor;
mod faults;
mod holders;
mod irq;
mod net_use;
mod placement;
mod sys;
mod sysfs;
mod vfio;
mod virtio;

pub use address::{AddressError, PciAddress};
pub use bind::{BindError, Binder, Bound, Kernel, RealKernel, Released};
pub use device::VfioDevice;
pub use doctor::{Check, Roots, Verdict, doctor};
pub use net_use::NetUse;
pub use sysfs::{IommuGroup, PciFunction, Sysfs, SysfsError};
pub use vfio::OpenError;
