//! Options of the commands about real devices.

use std::path::PathBuf;

use clap::Args;

/// `nook-run devices`.
#[derive(Debug, Args)]
pub struct DevicesArgs {
    /// Drivers' files: the list then says which device each of them drives.
    pub drivers: Vec<PathBuf>,
    /// Prints JSON.
    #[arg(long)]
    pub json: bool,
}

/// `nook-run bind`.
#[derive(Debug, Args)]
pub struct BindArgs {
    /// The device's address, such as 03:00.0.
    pub device: String,
    /// Takes the device even if the machine uses it.
    #[arg(long)]
    pub force: bool,
}

/// `nook-run unbind`.
#[derive(Debug, Args)]
pub struct UnbindArgs {
    /// The device's address, such as 03:00.0.
    pub device: String,
    /// Takes the device even from a process that drives it.
    #[arg(long)]
    pub force: bool,
}

/// `nook-run doctor`.
#[derive(Debug, Args)]
pub struct DoctorArgs {
    /// Prints JSON.
    #[arg(long)]
    pub json: bool,
}
