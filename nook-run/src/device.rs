//! From options to a device.

use anyhow::{Context, Result, bail};
use e1000_model::{Chip, Model, ModelConfig, Temper};
use nook_bus::{DmaWindow, PciDevice, Tracing, Wire};
use nook_net::{Peer, PeerConfig, Tap, Unplugged};
use nook_qemu::{QemuConfig, QemuDevice, QemuNet};
use nook_runtime::OwnedManifest;
use pci_passthrough::VfioDevice;

use crate::cli::{RunArgs, WireArg};
use crate::drivers::MAPS;
use crate::trace::RegisterLog;

/// The device that was asked for, ready to be driven.
///
/// # Errors
/// If it cannot be made or opened.
pub fn open(args: &RunArgs, manifest: &OwnedManifest, window: &DmaWindow) -> Result<Box<dyn PciDevice>> {
    let device = untraced(args, manifest, window)?;
    if args.verbose < 2 {
        return Ok(device);
    }
    let map = MAPS.iter().copied().find(|map| map.name == manifest.registers);
    Ok(Box::new(Tracing::new(device, RegisterLog::new(map))))
}

fn untraced(args: &RunArgs, manifest: &OwnedManifest, window: &DmaWindow) -> Result<Box<dyn PciDevice>> {
    match (&args.pci, &args.qemu) {
        (Some(address), _) => Ok(Box::new(VfioDevice::open(address.parse()?)?)),
        (None, Some(model)) => {
            let config = QemuConfig::new(model, QemuNet::User { restrict: false });
            Ok(Box::new(QemuDevice::start(config, window)?))
        }
        (None, None) => model(args, manifest),
    }
}

fn model(args: &RunArgs, manifest: &OwnedManifest) -> Result<Box<dyn PciDevice>> {
    let chips = [(Chip::I82540em, e1000_regs::DEVICE_82540EM), (Chip::I82545em, e1000_regs::DEVICE_82545EM)];
    let Some((chip, _)) = chips.into_iter().find(|&(_, device)| manifest.drives(e1000_regs::VENDOR, device)) else {
        bail!(
            "the embedded model is an Intel 82540EM or 82545EM (8086:100e, 8086:100f), which the driver `{}` does not \
             drive: choose another device with --qemu",
            manifest.name
        );
    };
    let wire: Box<dyn Wire> = match &args.wire {
        WireArg::Peer => Box::new(Peer::new(PeerConfig::default())),
        WireArg::Tap(name) => Box::new(Tap::cable(name).context("--wire: the cable's far end")?),
        WireArg::None => Box::new(Unplugged),
    };
    let temper = if args.calm { Temper::calm() } else { Temper::adversarial() };
    let model = Model::new(ModelConfig { chip, seed: args.seed, temper, ..ModelConfig::default() }, wire);
    tracing::info!("no device was named: using the embedded one, {}", model.describe());
    Ok(Box::new(model))
}
