//! The registers of a crash bundle.

use std::collections::HashMap;
use std::path::Path;

use anyhow::{Context, Result, bail};
use nook_bus::RegisterAddr;
use nook_recovery::LAST_VALUES;
use serde_json::Value;

use super::DumpArgs;
use super::show::{Dump, Known};
use crate::postmortem;

/// Reads what a bundle has of registers.
///
/// # Errors
/// If the folder is not a crash bundle, or has nothing of registers.
pub fn dump(folder: &Path, args: &DumpArgs) -> Result<Dump> {
    if args.device.qemu.is_some() || args.device.pci.is_some() || args.registers.registers.is_some() {
        bail!(
            "{} is a crash bundle, which has its own map and no device: leave the other options out",
            folder.display()
        );
    }
    let report = postmortem::report(folder)?;
    let map = postmortem::map(folder).context("the bundle's register map is missing")?;
    let path = folder.join(LAST_VALUES);
    let lines = postmortem::read(&path).context("the bundle has nothing of registers: an older nook-run left it")?;
    let mut last = HashMap::new();
    for line in lines.lines() {
        let (place, known) = read(line).with_context(|| format!("{} is damaged", path.display()))?;
        last.insert(place, known);
    }
    let known = |(at, _): (RegisterAddr, _)| last.get(&(at.bar.into(), at.offset.into())).copied();
    let known = RegisterAddr::all_of(map).map(|of| known(of).unwrap_or(Known::Nothing("not accessed")));
    let text = |value: &Value| value.as_str().unwrap_or("?").to_owned();
    let about = format!(
        "{}: {}\nwhat the driver read (->) or wrote (<-) last; the device may have changed it since",
        text(&report["time"]),
        text(&report["fault"]["text"])
    );
    Ok(Dump { device: text(&report["device"]), about, map, known: known.collect() })
}

/// Reads a line: BAR, offset, and what is known of the register there.
fn read(line: &str) -> Option<((u64, u64), Known)> {
    let line: Value = serde_json::from_str(line).ok()?;
    let value = line["value"].as_u64()?;
    let known = match line["last"].as_str()? {
        "read" => Known::Read(value),
        "written" => Known::Written(value),
        _ => return None,
    };
    Some(((line["bar"].as_u64()?, line["offset"].as_u64()?), known))
}
