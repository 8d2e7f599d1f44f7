//! Options and commands about register maps.

use std::path::PathBuf;

use clap::{Args, Subcommand};

use super::constants::Language;

/// Which register map a driver is checked against.
#[derive(Clone, Debug, Default, Args)]
pub struct RegistersArgs {
    /// Checks the driver against the register map in this file; to name it here is to accept it for this run. Without
    /// this it is the file beside the driver with its name and the ending .regs.toml, once it was accepted (`nook-run
    /// map accept`), or else the built-in one.
    #[arg(long, value_name = "FILE")]
    pub registers: Option<PathBuf>,

    /// Looks for accepted register maps in this folder, and leaves crash bundles there, instead of $NOOK_STATE,
    /// $XDG_STATE_HOME/nook or ~/.local/state/nook.
    #[arg(long, value_name = "FOLDER")]
    pub state: Option<PathBuf>,
}

/// `nook-run map`.
#[derive(Debug, Args)]
pub struct MapArgs {
    /// What to do.
    #[command(subcommand)]
    pub command: MapCommand,
}

/// What can be done with register maps.
#[derive(Debug, Subcommand)]
pub enum MapCommand {
    /// Prints a built-in register map as a file, or what a driver's code needs of any map, as constants.
    Export {
        /// The name of a built-in map (e1000, edu, igb, nvme, uart16550, virtio-blk, virtio-console, virtio-net,
        /// virtio-rng or vmxnet3), or a file.
        #[arg(value_name = "MAP")]
        of: String,
        /// Prints constants: a module with `registers!` for a driver in Rust, a header for one in C.
        #[arg(long, value_enum)]
        lang: Option<Language>,
    },
    /// Prints what a register map allows, and warns where it seems to allow too much.
    Check {
        /// The file.
        file: PathBuf,
        /// Looks for accepted register maps in this folder, instead of $NOOK_STATE, $XDG_STATE_HOME/nook or
        /// ~/.local/state/nook.
        #[arg(long, value_name = "FOLDER")]
        state: Option<PathBuf>,
    },
    /// Prints what a register map allows, and remembers that you accept it: from now on it is used for a driver that it
    /// lies beside. It is remembered by its content; a file that changes must be accepted again.
    Accept {
        /// The file.
        file: PathBuf,
        /// Remembers it in this folder, instead of $NOOK_STATE, $XDG_STATE_HOME/nook or ~/.local/state/nook.
        #[arg(long, value_name = "FOLDER")]
        state: Option<PathBuf>,
    },
}
