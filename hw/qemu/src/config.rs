//! Which card, and how it is plugged in.

use std::path::PathBuf;
use std::time::Duration;

use crate::{QemuError, QemuNet};

/// A device that QEMU has and that nook's drivers are tried on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Model {
    /// QEMU's name for it, and what [`QemuConfig::model`] takes.
    pub name: &'static str,
    /// The chip that it imitates.
    pub chip: &'static str,
    /// PCI vendor and device id.
    pub id: (u16, u16),
    /// Properties that it is started with, each with its leading comma.
    pub(crate) properties: &'static str,
    /// It is a network card: it has an address and a cable.
    pub is_card: bool,
    /// It interrupts by messages (MSI-X) if it is asked for more than one vector, and by its line otherwise.
    pub(crate) messages: bool,
}

/// `mitigation=off`: otherwise interrupts are held back by up to half a second to spare a guest's processor.
const MODELS: &[Model] = &[
    Model {
        name: "e1000",
        chip: "Intel 82540EM",
        id: (0x8086, 0x100e),
        properties: ",mitigation=off",
        is_card: true,
        messages: false,
    },
    Model {
        name: "e1000-82545em",
        chip: "Intel 82545EM",
        id: (0x8086, 0x100f),
        properties: ",mitigation=off",
        is_card: true,
        messages: false,
    },
    Model {
        name: "e1000e",
        chip: "Intel 82574L",
        id: (0x8086, 0x10d3),
        properties: "",
        is_card: true,
        messages: false,
    },
    Model {
        name: "vmxnet3",
        chip: "VMware vmxnet3",
        id: (0x15ad, 0x07b0),
        properties: "",
        is_card: true,
        messages: true,
    },
    Model { name: "edu", chip: "QEMU's edu", id: (0x1234, 0x11e8), properties: "", is_card: false, messages: false },
];

/// The devices that [`QemuConfig::model`] may name.
pub fn models() -> &'static [Model] {
    MODELS
}

/// Finds a model by QEMU's name for it.
pub(crate) fn find(name: &str) -> Result<&'static Model, QemuError> {
    MODELS.iter().find(|model| model.name == name).ok_or_else(|| QemuError::UnknownModel {
        asked: name.to_owned(),
        known: MODELS.iter().map(|m| format!("{} ({})", m.name, m.chip)).collect::<Vec<_>>().join(", "),
    })
}

/// What to start.
#[derive(Debug)]
pub struct QemuConfig {
    /// One of [`models`].
    pub model: String,
    /// A card's MAC address, as its EEPROM has it.
    pub mac: [u8; 6],
    /// What a card's cable is plugged into.
    pub net: QemuNet,
    /// The emulator: a path, or a name that is looked up in PATH.
    pub program: PathBuf,
    /// How long QEMU may take to start or to answer before it is held to be dead.
    pub timeout: Duration,
}

impl QemuConfig {
    /// `model` with its cable in `net`; a locally known MAC address, `qemu-system-x86_64` from PATH and ten seconds.
    pub fn new(model: impl Into<String>, net: QemuNet) -> Self {
        QemuConfig {
            model: model.into(),
            mac: [0x52, 0x54, 0x00, 0x6e, 0x6f, 0x6b],
            net,
            program: "qemu-system-x86_64".into(),
            timeout: Duration::from_secs(10),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_unknown_model_is_answered_with_the_list_of_those_known() {
        let message = find("rtl8139").unwrap_err().to_string();
        assert!(message.contains("\"rtl8139\""), "{message}");
        for model in models() {
            assert!(message.contains(model.name), "{message} does not name {}", model.name);
        }
    }
}
