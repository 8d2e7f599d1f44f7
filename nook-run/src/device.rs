//! From options to a device.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use anyhow::{Context, Result, bail};
use clap::Args;
use e1000_model::{Behaviour, Chip, Model, ModelConfig};
use nook_bus::{DmaWindow, PciDevice, Tracing};
use nook_net::{FarEnd, Peer, PeerConfig, Tap, Unplugged};
use nook_net_api::Wire;
use nook_qemu::{DeviceSpec, NOOK_QEMU, QemuConfig, QemuDevice, QemuNet, QemuProgram};
use nook_regs::RegisterMap;
use nook_runtime::OwnedManifest;
use pci_passthrough::VfioDevice;

use crate::cli::RunArgs;
use crate::net::args::WireArg;
use crate::trace::RegisterLog;

/// Which device is asked for: the first of these that is there, or else the embedded model.
pub struct DeviceOptions<'a> {
    /// A real device's address.
    pub pci: Option<&'a str>,
    /// A device of QEMU's.
    pub qemu: Option<&'a DeviceSpec>,
    /// What is plugged into that.
    pub qemu_parts: &'a [DeviceSpec],
    /// Which QEMU, if it was named.
    pub qemu_program: Option<&'a Path>,
    /// Where the embedded card's cable goes.
    pub wire: &'a WireArg,
    /// What becomes of the cable's far end, if that is a TAP interface.
    pub far_end: Arc<FarEnd>,
    /// The file in which the embedded disk's content is.
    pub disk: Option<&'a Path>,
    /// Seed of the embedded model's random behaviour.
    pub seed: u64,
    /// It has none.
    pub calm: bool,
}

impl<'a> From<&'a RunArgs> for DeviceOptions<'a> {
    fn from(args: &'a RunArgs) -> Self {
        let RunArgs { pci, qemu, qemu_part, qemu_program, net, block, seed, calm, .. } = args;
        let (pci, qemu, qemu_program) = (pci.as_deref(), qemu.as_ref(), qemu_program.as_deref());
        let (wire, disk) = (&net.wire, block.disk.as_deref());
        let (qemu_parts, far_end) = (qemu_part.as_slice(), Arc::default());
        DeviceOptions { pci, qemu, qemu_parts, qemu_program, wire, far_end, disk, seed: *seed, calm: *calm }
    }
}

/// A device that is not the embedded model, of a command that opens one for itself.
#[derive(Debug, Args)]
pub struct DeviceArgs {
    /// Takes this device of QEMU's, as it is after power-on (e1000e, or nvme,file=PATH; options as for QEMU's -device),
    /// instead of the embedded model.
    #[arg(long, value_name = "DEVICE", conflicts_with = "pci")]
    pub qemu: Option<DeviceSpec>,
    /// Plugs this into the device of --qemu, named in the same way. Can be given more than once.
    #[arg(long, value_name = "DEVICE", requires = "qemu")]
    pub qemu_part: Vec<DeviceSpec>,
    /// The QEMU for --qemu: its program, or the folder that it was unpacked into. Without this it is the one that the
    /// variable NOOK_QEMU names, or qemu-system-x86_64 from PATH.
    #[arg(long, value_name = "PATH", requires = "qemu")]
    pub qemu_program: Option<PathBuf>,
    /// Takes the real device at this address (03:00.0), through VFIO; see `nook-run bind`. Linux resets a device that
    /// it can reset when VFIO opens it.
    #[arg(long, value_name = "ADDR")]
    pub pci: Option<String>,
}

impl<'a> From<&'a DeviceArgs> for DeviceOptions<'a> {
    fn from(args: &'a DeviceArgs) -> Self {
        DeviceOptions {
            pci: args.pci.as_deref(),
            qemu: args.qemu.as_ref(),
            qemu_parts: &args.qemu_part,
            qemu_program: args.qemu_program.as_deref(),
            wire: &WireArg::None,
            far_end: Arc::default(),
            disk: None,
            seed: 1,
            calm: false,
        }
    }
}

/// Opens the device that was asked for, ready to be driven; with `traced` each register access is logged, by the names
/// of this map.
///
/// # Errors
/// If it cannot be made or opened.
pub fn open_traced(
    choice: &DeviceOptions<'_>,
    traced: Option<&'static RegisterMap>,
    manifest: &OwnedManifest,
    window: &DmaWindow,
) -> Result<Box<dyn PciDevice>> {
    let device = open(choice, manifest, window)?;
    Ok(match traced {
        Some(map) => Box::new(Tracing::new(device, RegisterLog::new(map))),
        None => device,
    })
}

/// Opens it without a log.
///
/// # Errors
/// If it cannot be made or opened.
pub fn open(choice: &DeviceOptions<'_>, manifest: &OwnedManifest, window: &DmaWindow) -> Result<Box<dyn PciDevice>> {
    open_named(choice, window)?.map_or_else(|| model(choice, manifest), Ok)
}

/// Opens the device that was named, if one was.
///
/// # Errors
/// If it cannot be opened.
pub fn open_named(choice: &DeviceOptions<'_>, window: &DmaWindow) -> Result<Option<Box<dyn PciDevice>>> {
    match (choice.pci, choice.qemu) {
        (Some(address), _) => Ok(Some(Box::new(VfioDevice::open(address.parse()?)?))),
        (None, Some(device)) => {
            let mut config = QemuConfig::new(device.clone(), QemuNet::User { restrict: false });
            config.parts = choice.qemu_parts.to_vec();
            config.program = qemu_program(choice.qemu_program)?;
            let device = QemuDevice::start(config, window).with_context(|| format!("--qemu {device}"))?;
            Ok(Some(Box::new(device)))
        }
        (None, None) => Ok(None),
    }
}

/// Returns the QEMU that was named on the command line or in the environment, or the ordinary one.
fn qemu_program(named: Option<&Path>) -> Result<QemuProgram> {
    match named {
        Some(path) => QemuProgram::at(path).context("--qemu-program"),
        None => QemuProgram::from_environment().context(NOOK_QEMU),
    }
}

fn model(choice: &DeviceOptions<'_>, manifest: &OwnedManifest) -> Result<Box<dyn PciDevice>> {
    if manifest.drives(nvme_regs::VENDOR_MODEL, nvme_regs::DEVICE_MODEL, nvme_regs::CLASS) {
        return disk(choice);
    }
    let chips = [(Chip::I82540em, e1000_regs::DEVICE_82540EM), (Chip::I82545em, e1000_regs::DEVICE_82545EM)];
    let Some((chip, _)) = chips.into_iter().find(|&(_, device)| manifest.drives(e1000_regs::VENDOR, device, ETHERNET))
    else {
        bail!(
            "the embedded models are an Intel 82540EM or 82545EM (8086:100e, 8086:100f) and an NVM Express disk \
             (1234:0108), which the driver `{}` does not drive: choose another device with --qemu",
            manifest.name
        );
    };
    let wire: Box<dyn Wire> = match choice.wire {
        WireArg::Peer => Box::new(Peer::new(PeerConfig::default())),
        WireArg::Tap(name) => {
            Box::new(Tap::cable(name, choice.far_end.clone()).context("--wire: the cable's far end")?)
        }
        WireArg::None => Box::new(Unplugged),
    };
    let behaviour = if choice.calm { Behaviour::calm() } else { Behaviour::adversarial() };
    let model = Model::new(ModelConfig { chip, seed: choice.seed, behaviour, ..ModelConfig::default() }, wire);
    tracing::info!("no device was named: using the embedded one, {}", model.describe());
    Ok(Box::new(model))
}

/// PCI class of an Ethernet controller (PCI 3.0, appendix D).
const ETHERNET: u32 = 0x02_0000;
/// Bytes of the embedded disk, if it is not a file.
const DISK_BYTES: u64 = 64 << 20;
/// Bytes of its blocks.
const BLOCK_BYTES: u32 = 512;
/// Bytes that its volatile cache holds.
const CACHE_BYTES: usize = 4 << 20;

fn disk(choice: &DeviceOptions<'_>) -> Result<Box<dyn PciDevice>> {
    let disk = match choice.disk {
        Some(path) => nvme_model::Disk::in_file(path, BLOCK_BYTES).context("--disk")?,
        None => nvme_model::Disk::in_memory(DISK_BYTES / u64::from(BLOCK_BYTES), BLOCK_BYTES)?,
    };
    let behaviour = match choice.calm {
        true => nvme_model::Behaviour::calm(),
        false => nvme_model::Behaviour::adversarial(),
    };
    let config = nvme_model::ModelConfig { seed: choice.seed, behaviour };
    let model = nvme_model::Model::new(config, disk.with_cache(CACHE_BYTES));
    tracing::info!("no device was named: using the embedded one, {}", model.describe());
    Ok(Box::new(model))
}
