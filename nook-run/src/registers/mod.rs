//! `nook-run registers`: what a device's registers hold, or what was last known of them when a driver faulted.

mod bundle;
mod device;
mod show;

use std::path::PathBuf;

use anyhow::Result;
use clap::Args;

use self::show::Dump;
use crate::device::DeviceArgs;
use crate::maps::args::RegistersArgs;

/// `nook-run registers`.
#[derive(Debug, Args)]
pub struct DumpArgs {
    /// A crash bundle: what last passed between the driver that faulted and each register. Or a driver's file: its map,
    /// for the device that it would have in a run with these options, which is an embedded model without --qemu and
    /// --pci.
    pub of: Option<PathBuf>,

    /// The device.
    #[command(flatten)]
    pub device: DeviceArgs,

    /// The register map. Without a driver's file and --registers it is the built-in one that describes the device.
    #[command(flatten)]
    pub registers: RegistersArgs,

    /// Prints JSON.
    #[arg(long)]
    pub json: bool,
}

/// Returns the text that `registers` prints.
///
/// # Errors
/// If nothing can be read: there is no such device, bundle or map, or no right to it.
pub fn text(args: &DumpArgs) -> Result<String> {
    let dump: Dump = match args.of.as_deref().filter(|path| path.is_dir()) {
        Some(folder) => bundle::dump(folder, args)?,
        None => device::dump(args)?,
    };
    if args.json { dump.json() } else { Ok(dump.text()) }
}
