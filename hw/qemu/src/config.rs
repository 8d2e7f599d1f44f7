//! Which device, and how it is plugged in.

use std::time::Duration;

use crate::{DeviceSpec, QemuNet, QemuProgram};

/// A device of QEMU's that nook's own drivers are tried on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Model {
    /// QEMU's name for it.
    pub name: &'static str,
    /// The chip that it imitates.
    pub chip: &'static str,
    /// PCI vendor and device id.
    pub id: (u16, u16),
    /// It is a network card: it has an address and a cable.
    pub is_card: bool,
    /// The first version of QEMU that has it, if bookworm's has not.
    pub since: Option<&'static str>,
}

const MODELS: &[Model] = &[
    Model { name: "e1000", chip: "Intel 82540EM", id: (0x8086, 0x100e), is_card: true, since: None },
    Model { name: "e1000-82545em", chip: "Intel 82545EM", id: (0x8086, 0x100f), is_card: true, since: None },
    Model { name: "e1000e", chip: "Intel 82574L", id: (0x8086, 0x10d3), is_card: true, since: None },
    Model { name: "igb", chip: "Intel 82576", id: (0x8086, 0x10c9), is_card: true, since: Some("8.0") },
    Model { name: "virtio-net-pci", chip: "a virtio network card", id: (0x1af4, 0x1000), is_card: true, since: None },
    Model { name: "vmxnet3", chip: "VMware vmxnet3", id: (0x15ad, 0x07b0), is_card: true, since: None },
    Model { name: "edu", chip: "QEMU's edu", id: (0x1234, 0x11e8), is_card: false, since: None },
    Model { name: "pci-serial", chip: "16550A", id: (0x1b36, 0x0002), is_card: false, since: None },
];

/// Returns the devices that nook's own drivers are tried on. [`QemuDevice::start`](crate::QemuDevice::start) takes
/// others too.
pub fn models() -> &'static [Model] {
    MODELS
}

/// Returns the chip that a device with these ids imitates, if it is one of [`models`].
pub(crate) fn chip(id: (u16, u16)) -> Option<&'static str> {
    MODELS.iter().find(|model| model.id == id).map(|model| model.chip)
}

/// What to start.
#[derive(Debug)]
pub struct QemuConfig {
    /// Any PCI device that the QEMU has.
    pub device: DeviceSpec,
    /// What is plugged into the device, such as an NVMe controller's namespaces (`nvme-ns`), in this order.
    pub parts: Vec<DeviceSpec>,
    /// A network card's MAC address, as its EEPROM has it, unless the device's options have another.
    pub mac: [u8; 6],
    /// What a network card's cable is plugged into.
    pub net: QemuNet,
    /// The emulator.
    pub program: QemuProgram,
    /// How long QEMU may take to start or to answer before it is held to be dead.
    pub timeout: Duration,
}

impl QemuConfig {
    /// `device` with its cable, if it has one, in `net`; a locally known MAC address, `qemu-system-x86_64` from PATH
    /// and ten seconds.
    pub fn new(device: DeviceSpec, net: QemuNet) -> Self {
        QemuConfig {
            device,
            parts: Vec::new(),
            mac: [0x52, 0x54, 0x00, 0x6e, 0x6f, 0x6b],
            net,
            program: QemuProgram::default(),
            timeout: Duration::from_secs(10),
        }
    }
}
