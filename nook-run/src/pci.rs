//! The commands about real devices: `devices`, `bind`, `unbind`, `doctor`.

pub mod args;

use std::fmt::Write;

use anyhow::{Context, Result, bail};
use nook_runtime::DriverModule;
use pci_passthrough::{Binder, Check, NetUse, PciAddress, PciFunction, Roots, Sysfs, Verdict, doctor};
use serde::Serialize;

use self::args::{BindArgs, DevicesArgs, DoctorArgs, UnbindArgs};
use crate::{drivers, output};

/// One device as `devices --json` prints it.
#[derive(Serialize)]
struct Listed {
    #[serde(flatten)]
    function: PciFunction,
    /// Which of the given drivers drive it.
    drivers: Vec<String>,
}

fn json(value: &impl Serialize) -> Result<String> {
    Ok(serde_json::to_string_pretty(value)? + "\n")
}

/// Returns the text that `devices` prints.
///
/// # Errors
/// If sysfs or a driver's file cannot be read.
pub fn devices(args: &DevicesArgs) -> Result<String> {
    let modules = args.drivers.iter().map(|path| drivers::load(path, drivers::WASI)).collect::<Result<Vec<_>>>()?;
    let listed = Sysfs::default().devices()?.into_iter().map(|function| {
        let drives =
            |module: &&DriverModule| module.manifest().drives(function.vendor, function.device, function.class);
        let drivers = modules.iter().filter(drives).map(|module| module.manifest().name.clone()).collect();
        Listed { function, drivers }
    });
    let listed: Vec<_> = listed.collect();
    if args.json {
        return json(&listed);
    }
    if listed.is_empty() {
        return Ok("This machine has no PCI devices.\n".into());
    }
    let mut text = format!("{:<13} {:<9} {:<7} {:<12} {:<7} {}\n", "address", "ids", "class", "bound to", "group", "");
    for Listed { function: f, drivers } in &listed {
        let group = f.group.as_ref().map_or("-".into(), |group| group.id.to_string());
        let bound = f.driver.as_deref().unwrap_or("-");
        let ids = format!("{:04x}:{:04x}", f.vendor, f.device);
        let mut notes = Vec::new();
        if !f.interfaces.is_empty() {
            notes.push(f.interfaces.join(" "));
        }
        if let Some(group) = f.group.as_ref().filter(|group| group.members.len() > 1) {
            let others = group.members.iter().filter(|member| **member != f.address).map(PciAddress::to_string);
            notes.push(format!("shares its group with {}", others.collect::<Vec<_>>().join(" ")));
        }
        if !drivers.is_empty() {
            notes.push(format!("driven by {}", drivers.join(" ")));
        }
        let line = format!(
            "{:<13} {ids:<9} {:06x}  {bound:<12} {group:<7} {}",
            f.address.to_string(),
            f.class,
            notes.join("; ")
        );
        writeln!(text, "{}", line.trim_end())?;
    }
    Ok(text)
}

/// Binds a device to vfio-pci and says what was done.
///
/// # Errors
/// If it cannot or should not be bound; nothing was changed then.
pub fn bind(args: &BindArgs) -> Result<String> {
    let address: PciAddress = args.device.parse()?;
    let net = NetUse::read().context("cannot read what the machine uses its interfaces for")?;
    let bound = Binder::new().bind(address, &net, args.force)?;
    let mut text = match (bound.already, &bound.from) {
        (true, _) => format!("{address} was bound to vfio-pci already\n"),
        (false, Some(driver)) => {
            format!("{address}: from {driver} to vfio-pci; `nook-run unbind {address}` gives it back\n")
        }
        (false, None) => format!("{address}: bound to vfio-pci; it had no driver before\n"),
    };
    if !bound.blocked_by.is_empty() {
        writeln!(
            text,
            "But its IOMMU group has other members in use, and VFIO gives out whole groups only: {}. Bind them to \
             vfio-pci too, or unbind their drivers",
            bound.blocked_by.join(", ")
        )?;
    }
    Ok(text)
}

/// Gives a device back and says to which driver.
///
/// # Errors
/// If it cannot be given back.
pub fn unbind(args: &UnbindArgs) -> Result<String> {
    let address: PciAddress = args.device.parse()?;
    let released = Binder::new().unbind(address, args.force)?;
    Ok(match released.to {
        Some(driver) => format!("{address}: given back to {driver}\n"),
        None => format!("{address}: no driver has it now\n"),
    })
}

/// Looks whether drivers can run behind protection keys here.
fn keys() -> Check {
    let name = "protection keys";
    match nook_mpk::supported() {
        Ok(()) => Check { name, verdict: Verdict::Good, found: "for --isolation mpk".into(), remedy: None },
        Err(why) => Check { name, verdict: Verdict::Limited, found: why.to_string(), remedy: None },
    }
}

/// Says what this machine lacks for passthrough, and whether it has protection keys.
///
/// # Errors
/// If something is missing without which it cannot work; the text is printed before.
pub fn check(args: &DoctorArgs) -> Result<String> {
    let mut checks = doctor(&Roots::default());
    checks.push(keys());
    let mut text = String::new();
    if args.json {
        text = json(&checks)?;
    } else {
        for check in &checks {
            let mark = match check.verdict {
                Verdict::Good => "ok",
                Verdict::Limited => "limited",
                Verdict::Missing => "MISSING",
            };
            writeln!(text, "{mark:<8} {:<22} {}", check.name, check.found)?;
            if let Some(remedy) = &check.remedy {
                writeln!(text, "{:<31} to mend it: {remedy}", "")?;
            }
        }
    }
    let missing = checks.iter().filter(|check| check.verdict == Verdict::Missing).count();
    if missing > 0 {
        output::print(&text)?;
        bail!("passthrough cannot work on this machine as it is: {missing} of {} checks failed", checks.len());
    }
    Ok(text)
}
