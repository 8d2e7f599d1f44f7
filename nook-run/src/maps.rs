//! Register maps: which one a driver is checked against, and the commands about them.
//!
//! A map decides what a driver may do with its device, so it is the operator's to choose. It comes from the command
//! line, from a file beside the driver that the operator has accepted, or from this command itself; never from the
//! driver's own module.

mod accepted;
pub mod args;
pub mod constants;

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail};
use nook_abi::Hex;
use nook_bus::PciIdentity;
use nook_regs::RegisterMap;
use nook_regs_file::{ENDING, MAX_BYTES, MapFile, allows, warnings};
use nook_runtime::OwnedManifest;
use sha2::{Digest, Sha256};

use self::accepted::Accepted;
use self::args::{MapCommand, RegistersArgs};
use self::constants::constants;
use crate::output;

/// The register maps that are compiled into this command.
pub const BUILT_IN: &[&RegisterMap] = &[
    &e1000_regs::MAP,
    &edu_regs::MAP,
    &igb_regs::MAP,
    &nvme_regs::MAP,
    &serial_regs::MAP,
    &virtio_regs::blk::MAP,
    &virtio_regs::console::MAP,
    &virtio_regs::net::MAP,
    &virtio_regs::rng::MAP,
    &vmxnet3_regs::MAP,
];

/// A file with a map.
struct Read {
    path: PathBuf,
    sha256: String,
    file: MapFile,
}

impl Read {
    /// Reads and checks a file.
    fn new(path: &Path) -> Result<Self> {
        let cannot = || format!("cannot read the register map {}", path.display());
        let meta = fs::metadata(path).with_context(cannot)?;
        if !meta.is_file() {
            bail!("{}: it is not a regular file", cannot());
        }
        if meta.len() > MAX_BYTES as u64 {
            bail!("{}: it is longer than 1 MiB, which is the limit", cannot());
        }
        let bytes = fs::read(path).with_context(cannot)?;
        let sha256 = Hex::of(&Sha256::digest(&bytes)).to_string();
        let text = str::from_utf8(&bytes).with_context(|| format!("{}: it is not text in UTF-8", cannot()))?;
        match nook_regs_file::read(text) {
            Ok(file) => Ok(Read { path: path.to_owned(), sha256, file }),
            Err(error) => bail!(
                "{}:{}:{}: {}; docs/register-maps.md says what a register map is made of",
                path.display(),
                error.line,
                error.column,
                error.why
            ),
        }
    }

    /// Returns what the file allows, for people.
    fn allows(&self) -> String {
        format!("{}\n{}  SHA-256       {}\n", self.path.display(), allows(&self.file), self.sha256)
    }

    /// Returns how the file is accepted.
    fn remedy(&self) -> String {
        format!("nook-run map accept {}", self.path.display())
    }

    /// Returns the map, for a driver that asks for one of this name.
    fn of(&self, manifest: &OwnedManifest) -> Result<&'static RegisterMap> {
        let map = self.file.map;
        if map.name() != manifest.registers {
            bail!(
                "{} is the register map `{}`, and the driver `{}` is written for `{}`: name another file with \
                 --registers",
                self.path.display(),
                map.name(),
                manifest.name,
                manifest.registers
            );
        }
        for warning in warnings(&self.file) {
            tracing::warn!("{}: {warning}", self.path.display());
        }
        tracing::info!("registers: the map `{}` in {}, SHA-256 {}", map.name(), self.path.display(), self.sha256);
        Ok(map)
    }
}

/// Chooses the map that a driver is checked against: the one that was named; or else the one beside the driver's file,
/// if it was accepted; or else the built-in one of the name that the driver's manifest has.
///
/// # Errors
/// If there is none, or the file is broken or not accepted.
pub fn choose(driver: &Path, manifest: &OwnedManifest, args: &RegistersArgs) -> Result<&'static RegisterMap> {
    if let Some(path) = &args.registers {
        return Read::new(path).context("--registers")?.of(manifest);
    }
    let beside = driver.with_extension(ENDING);
    if beside.symlink_metadata().is_ok() {
        let read = Read::new(&beside)?;
        let accepted = Accepted::of(args.state.as_deref())?;
        if !accepted.has(&read.sha256)? {
            let what = match accepted.had(&read.path) {
                true => "has changed since it was accepted",
                false => "was not accepted",
            };
            output::tell(&read.allows());
            bail!(
                "the register map {} lies beside the driver and {what}, so the driver does not run; what it would allow \
                 is said above. Accept it with `{}`, or for one run with `--registers {}`",
                beside.display(),
                read.remedy(),
                beside.display()
            );
        }
        return read.of(manifest);
    }
    let built_in = BUILT_IN.iter().copied().find(|map| map.name() == manifest.registers);
    built_in.with_context(|| {
        format!(
            "the driver `{}` is written for the register map `{}`, and the built-in ones are {}: name a file with \
             --registers, or put it beside the driver as {}; docs/register-maps.md says what stands in it",
            manifest.name,
            manifest.registers,
            names(),
            beside.display()
        )
    })
}

/// Chooses the map for a device of which no driver is known: the one that was named, or else the built-in one that
/// describes it.
///
/// # Errors
/// If there is none, or the file is broken.
pub fn of_device(identity: PciIdentity, args: &RegistersArgs) -> Result<&'static RegisterMap> {
    if let Some(path) = &args.registers {
        return Ok(Read::new(path).context("--registers")?.file.map);
    }
    let PciIdentity { vendor, device, class, .. } = identity;
    let built_in = BUILT_IN.iter().copied().find(|map| map.is_for(vendor, device, class));
    built_in.with_context(|| {
        format!(
            "no built-in register map ({}) describes {vendor:04x}:{device:04x}, class {class:06x}: name a file with \
             --registers; docs/register-maps.md says what stands in it",
            names()
        )
    })
}

/// Returns the names of the built-in maps.
fn names() -> String {
    BUILT_IN.iter().map(|map| map.name()).collect::<Vec<_>>().join(", ")
}

/// Returns the built-in map of this name, or the one in this file.
fn exported(of: &str) -> Result<&'static RegisterMap> {
    if let Some(map) = BUILT_IN.iter().find(|map| map.name() == of) {
        return Ok(map);
    }
    if of.contains('/') || of.ends_with(ENDING) || Path::new(of).exists() {
        return Ok(Read::new(Path::new(of))?.file.map);
    }
    bail!("there is no built-in register map `{of}`; there are {}", names());
}

/// Returns the text that `nook-run map` prints.
///
/// # Errors
/// If there is no such map, the file is broken, or what is accepted cannot be remembered.
pub fn text(command: &MapCommand) -> Result<String> {
    match command {
        MapCommand::Export { of, lang } => {
            let map = exported(of)?;
            lang.map_or_else(|| Ok(nook_regs_file::write(map)), |language| constants(map, language))
        }
        MapCommand::Check { file, state } => {
            let read = Read::new(file)?;
            let accepted = match Accepted::of(state.as_deref())?.has(&read.sha256)? {
                true => "yes".to_owned(),
                false => format!("no; `{}` does it", read.remedy()),
            };
            Ok(format!("{}  accepted      {accepted}\n", read.allows()))
        }
        MapCommand::Accept { file, state } => {
            let read = Read::new(file)?;
            let place = Accepted::of(state.as_deref())?.add(&read.sha256, &read.path)?;
            Ok(format!("{}  accepted      yes; remembered in {}\n", read.allows(), place.display()))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_built_in_map_names_its_devices_and_comes_back_from_a_file_without_a_warning() {
        for map in BUILT_IN {
            assert!(!map.devices().is_empty(), "{}", map.name());
            let file = nook_regs_file::read(&nook_regs_file::write(map)).expect("a map");
            assert_eq!(file.map, *map, "{}", map.name());
            assert_eq!(nook_regs_file::warnings(&file), [""; 0], "{}", map.name());
        }
    }
}
