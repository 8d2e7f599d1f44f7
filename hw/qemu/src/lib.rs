//! QEMU's PCI devices as [`PciDevice`](nook_bus::PciDevice)s: devices that we did not write.
//!
//! [`QemuDevice::start`] runs `qemu-system-x86_64` with one device, no guest (its processor halts at the first
//! instruction) and no window on the screen, and drives the device over QEMU's *qtest* protocol: register and
//! configuration accesses are lines of text on a socket, interrupts are lines that come back, or eventfds where the
//! card signals them by messages. DMA is shared memory,
//! without copies: the [`DmaWindow`](nook_bus::DmaWindow) is a second PCI device's BAR (`ivshmem-plain`), so mapping
//! it at an IOVA is programming that BAR and unmapping it is ending that device's memory decode. What the card does
//! outside it stays inside the QEMU process.
//!
//! Which devices there are is not known here: the QEMU in use is asked for the device's properties first, and a cable,
//! a drive or an address is given to a device that has the property for it.
//!
//! Nothing is put into the file system: firmware, standard error and window are memory files, sockets are inherited
//! pairs. QEMU ends when the device is dropped, and when our process ends in whatever way.
//!
//! This is not a virtual machine monitor, and it knows no driver, no register of any card and no wasm. It is called
//! by `nook-run` and by tests.
//!
//! # What callers should know of QEMU's cards
//!
//! - `e1000*` receive nothing until one second after RCTL was written, and every write of RCTL starts that second
//!   again. Frames sent to them meanwhile wait.
//! - They set "ignore checksum" (IXSM) in each receive descriptor.
//! - Their software reset (CTRL.RST) is over at once and restores no more than the MAC address: rings, receiver and
//!   transmitter stay as they were. Who wants them to stop must say so in RCTL and TCTL, or take bus mastering away.
//! - They obey no PAUSE frame, send and count none, and pass one on as any other frame (RCTL.DPF is ignored). The link
//!   partner of the e1000 offers none; that of the e1000e does.
//! - The e1000e leaves at least 128 microseconds between two interrupts, also with ITR at 0.
//! - Transmission is over when the write of the tail register is.
//! - The vmxnet3 answers 0 to each read of its event register (ECR), and takes no frame while it is not activated or
//!   has no descriptor: such frames are lost and do not wait.
//! - It ends QEMU (by `assert` or `hw_error`) if what it is activated with is wrong: an MTU that cannot be, or the
//!   number of an interrupt that there is not.
//! - The vmxnet3's DPDK driver never lets go of a line, so it interrupts by messages. So does each device with MSI-X
//!   whose driver wants more than one vector.
//! - The `igb` (since QEMU 8.0) has no link until the PHY's auto-negotiation is restarted, and half a second longer; it
//!   writes received descriptors in the advanced layout only; a queue or transmitter that is turned on after its tail
//!   was written does nothing until that is written again; vectors do not mask themselves (EIAM), and with an interval
//!   (EITR) each interrupt is followed by another one without a cause. It never says that it has read its EEPROM or its
//!   configuration (findings/qemu-igb-configuration-done.sh). With several queues, a frame whose queue has no
//!   descriptor is dropped while another queue has one, and no counter tells (findings/qemu-igb-lost-frames.sh).
//! - The `edu` drops a factorial that is asked for while it computes one (findings/qemu-edu-busy-write.sh).
//! - None of [`models`] has a function level reset in QEMU 7.2, so [`reset`](nook_bus::PciDevice::reset) answers
//!   [`ResetKind::None`](nook_bus::ResetKind::None).
//! - Time is real: QEMU's clock is the host's. An answer may take [`QemuConfig::timeout`] of it; time in which our
//!   process is stopped does not count, and time in which QEMU is stopped does.
#![deny(unsafe_code)]

mod config;
mod deadline;
mod device;
mod error;
mod inquiry;
mod machine;
mod messages;
mod net;
mod pci;
mod process;
mod program;
mod qtest;
mod spec;

pub use config::{Model, QemuConfig, models};
pub use device::QemuDevice;
pub use error::QemuError;
pub use net::{DgramPort, DgramWire, QemuNet};
pub use program::{NOOK_QEMU, QemuProgram};
pub use spec::{DeviceSpec, SpecError};
