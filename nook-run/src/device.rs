//! From options to a device.

use anyhow::{Context, Result, bail};
use e1000_model::{Behaviour, Chip, Model, ModelConfig};
use nook_bus::{DmaWindow, PciDevice, Tracing};
use nook_net::{Peer, PeerConfig, Tap, Unplugged};
use nook_net_api::Wire;
use nook_qemu::{QemuConfig, QemuDevice, QemuNet};
use nook_runtime::OwnedManifest;
use pci_passthrough::VfioDevice;

use crate::cli::RunArgs;
use crate::drivers::MAPS;
use crate::net::args::WireArg;
use crate::trace::RegisterLog;

/// Which device is asked for: the first of these that is there, or else the embedded model.
pub struct DeviceOptions<'a> {
    /// A real device's address.
    pub pci: Option<&'a str>,
    /// QEMU's model of this name.
    pub qemu: Option<&'a str>,
    /// Where the embedded model's cable goes.
    pub wire: &'a WireArg,
    /// Where it takes its whims from.
    pub seed: u64,
    /// It has none.
    pub calm: bool,
}

impl<'a> From<&'a RunArgs> for DeviceOptions<'a> {
    fn from(args: &'a RunArgs) -> Self {
        let RunArgs { pci, qemu, net, seed, calm, .. } = args;
        DeviceOptions { pci: pci.as_deref(), qemu: qemu.as_deref(), wire: &net.wire, seed: *seed, calm: *calm }
    }
}

/// The device that was asked for, ready to be driven; `traced` logs each register access.
///
/// # Errors
/// If it cannot be made or opened.
pub fn open_traced(
    choice: &DeviceOptions<'_>,
    traced: bool,
    manifest: &OwnedManifest,
    window: &DmaWindow,
) -> Result<Box<dyn PciDevice>> {
    let device = open(choice, manifest, window)?;
    if !traced {
        return Ok(device);
    }
    let map = MAPS.iter().copied().find(|map| map.name() == manifest.registers);
    Ok(Box::new(Tracing::new(device, RegisterLog::new(map))))
}

/// The same without a log.
///
/// # Errors
/// If it cannot be made or opened.
pub fn open(choice: &DeviceOptions<'_>, manifest: &OwnedManifest, window: &DmaWindow) -> Result<Box<dyn PciDevice>> {
    match (choice.pci, choice.qemu) {
        (Some(address), _) => Ok(Box::new(VfioDevice::open(address.parse()?)?)),
        (None, Some(model)) => {
            let config = QemuConfig::new(model, QemuNet::User { restrict: false });
            Ok(Box::new(QemuDevice::start(config, window)?))
        }
        (None, None) => model(choice, manifest),
    }
}

fn model(choice: &DeviceOptions<'_>, manifest: &OwnedManifest) -> Result<Box<dyn PciDevice>> {
    let chips = [(Chip::I82540em, e1000_regs::DEVICE_82540EM), (Chip::I82545em, e1000_regs::DEVICE_82545EM)];
    let Some((chip, _)) = chips.into_iter().find(|&(_, device)| manifest.drives(e1000_regs::VENDOR, device)) else {
        bail!(
            "the embedded model is an Intel 82540EM or 82545EM (8086:100e, 8086:100f), which the driver `{}` does not \
             drive: choose another device with --qemu",
            manifest.name
        );
    };
    let wire: Box<dyn Wire> = match choice.wire {
        WireArg::Peer => Box::new(Peer::new(PeerConfig::default())),
        WireArg::Tap(name) => Box::new(Tap::cable(name).context("--wire: the cable's far end")?),
        WireArg::None => Box::new(Unplugged),
    };
    let behaviour = if choice.calm { Behaviour::calm() } else { Behaviour::adversarial() };
    let model = Model::new(ModelConfig { chip, seed: choice.seed, behaviour, ..ModelConfig::default() }, wire);
    tracing::info!("no device was named: using the embedded one, {}", model.describe());
    Ok(Box::new(model))
}
