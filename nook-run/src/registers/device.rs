//! The registers of a device that no driver has.

use std::path::Path;

use anyhow::{Context, Result, bail};
use nook_bus::{Clock, DmaWindow, PciDevice, PciIdentity, RegisterAddr, register_name};
use nook_regs::{Access, ReadEffect, RegisterInfo, RegisterMap};

use super::DumpArgs;
use super::show::{Dump, Known};
use crate::device::{self, DeviceOptions};
use crate::{drivers, maps};

/// What is said if nothing was named.
const NOTHING: &str = "name what to read: a device with --qemu or --pci, a driver's file for the device that it would have, or \
                       a crash bundle's folder";

/// Opens a device and reads each register of which the map says that reading it does nothing else.
///
/// # Errors
/// If it cannot be opened, there is no map for it, or it does not answer.
pub fn dump(args: &DumpArgs) -> Result<Dump> {
    let (_ticker, window) = (Clock::Monotonic.keep(), DmaWindow::new(1).context("cannot make a DMA window")?);
    let choice = DeviceOptions { calm: true, ..DeviceOptions::from(&args.device) };
    let (mut device, map) = match &args.of {
        Some(path) => of_driver(path, args, &choice, &window)?,
        None => {
            let device = device::open_named(&choice, &window)?.context(NOTHING)?;
            let map = maps::of_device(device.identity(), &args.registers)?;
            (device, map)
        }
    };
    check(&*device, map)?;
    let known = RegisterAddr::all_of(map).map(|(at, info)| known(&mut *device, map, at, info));
    let known = known.collect::<Result<Vec<Known>>>()?;
    let PciIdentity { vendor, device: id, class, .. } = device.identity();
    let mut about = format!("PCI {vendor:04x}:{id:04x}, class {class:06x}");
    if !answers(map, &known) {
        about += "\nall that was read is ones: the device does not answer (asleep, or pulled out?)";
    }
    Ok(Dump { device: device.describe(), about, map, known })
}

/// Opens the device that a run of this driver would have.
fn of_driver(
    path: &Path,
    args: &DumpArgs,
    choice: &DeviceOptions<'_>,
    window: &DmaWindow,
) -> Result<(Box<dyn PciDevice>, &'static RegisterMap)> {
    let module = drivers::load(path, drivers::WASI)?;
    let map = maps::choose(path, module.manifest(), &args.registers)?;
    Ok((device::open(choice, module.manifest(), window)?, map))
}

/// Refuses a map of another device: its offsets would name, and reading them might do, something else.
fn check(device: &dyn PciDevice, map: &RegisterMap) -> Result<()> {
    let PciIdentity { vendor, device: id, class, .. } = device.identity();
    if !map.is_for(vendor, id, class) {
        bail!(
            "the register map `{}` is for {}, and {} is {vendor:04x}:{id:04x}, class {class:06x}: name another map with \
             --registers, or another device",
            map.name(),
            map.describes().map(ToString::to_string).collect::<Vec<_>>().join(", "),
            device.describe()
        );
    }
    for bar in map.bars() {
        let has = device.bars().iter().find(|of| of.index == bar.index && of.space == bar.space);
        if has.is_none_or(|of| of.len_bytes < bar.len_bytes.into()) {
            bail!(
                "the register map `{}` describes BAR {} with {:#x} bytes, and {} has no such BAR: mend the map",
                map.name(),
                bar.index,
                bar.len_bytes,
                device.describe()
            );
        }
    }
    Ok(())
}

/// Reads a register, if that does nothing else.
fn known(device: &mut dyn PciDevice, map: &RegisterMap, at: RegisterAddr, info: &RegisterInfo) -> Result<Known> {
    if let Some(why) = why_not_read(info) {
        return Ok(Known::Nothing(why));
    }
    let name = || format!("reading {} of {}", register_name(map, at.bar, at.offset), device.describe());
    let name = name();
    device.bar_read(at.bar, at.offset, at.width).map(Known::Holds).context(name)
}

/// Says why a register is not read, if it is not.
fn why_not_read(info: &RegisterInfo) -> Option<&'static str> {
    match (info.access, info.read) {
        (Access::Forbidden, _) => Some("not read: the map forbids it"),
        (Access::Wo, _) => Some("not read: write only"),
        (_, ReadEffect::None) => None,
        (_, ReadEffect::ClearsOr | ReadEffect::ClearsAdd | ReadEffect::ClearsPair) => Some("not read: that clears it"),
        (_, ReadEffect::Pops) => Some("not read: that takes an entry out of a queue"),
        (_, ReadEffect::Other) => Some("not read: that has an effect"),
    }
}

/// Returns whether anything was read that a device which is gone would not say.
fn answers(map: &RegisterMap, known: &[Known]) -> bool {
    let read = RegisterAddr::all_of(map).zip(known).filter(|(_, known)| matches!(known, Known::Holds(_)));
    let mut any = false;
    for ((at, _), &known) in read {
        any = true;
        if known != Known::Holds(at.width.all_ones()) {
            return true;
        }
    }
    !any
}
