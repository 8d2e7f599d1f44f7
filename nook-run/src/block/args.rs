//! The block class's options.

use std::path::PathBuf;

use nook_block::NbdAddress;

/// Of a run.
#[derive(Clone, Debug, clap::Args)]
pub struct Args {
    /// With a disk's driver and no other device: the embedded disk's content is this file, in place of 64 MiB of
    /// memory.
    #[arg(long, value_name = "FILE", conflicts_with_all = ["qemu", "pci"])]
    pub disk: Option<PathBuf>,

    /// Which disk of the device is used, by the device's own number: of an NVM Express controller the namespace.
    /// Without this it is the first that there is.
    #[arg(long, value_name = "NUMBER", value_parser = clap::value_parser!(u32).range(1..))]
    pub namespace: Option<u32>,

    /// How many pairs of queues towards the device are used, at most: 1, 2 or 4 with the NVMe driver, and no more than
    /// the controller grants. One is enough for one driver; see docs/block.md.
    #[arg(long, value_name = "NUMBER", default_value_t = QUEUES, value_parser = clap::value_parser!(u32).range(1..=64))]
    pub queues: u32,

    /// Serves the disk to clients of the network block device protocol, at unix:PATH, tcp:PORT, tcp:IP:PORT (without
    /// IP on loopback) or systemd (the socket that it passes). There is no encryption; see docs/block.md.
    #[arg(long, value_name = "ADDRESS", group = "served", conflicts_with = "exercise")]
    pub nbd: Option<NbdAddress>,

    /// Attaches the disk to this network block device of the kernel's, such as /dev/nbd0, on which file systems are
    /// then made and mounted. It is detached when the run ends, after what the kernel has cached was written. Needs
    /// root and the module nbd; see docs/block.md.
    #[arg(long, value_name = "DEVICE", group = "served", conflicts_with = "exercise")]
    pub attach: Option<PathBuf>,

    /// With --nbd: the export's name. Clients that name none get it, too.
    #[arg(long, value_name = "NAME", default_value = "", requires = "nbd")]
    pub nbd_name: String,

    /// With --nbd or --attach: clients cannot write.
    #[arg(long, requires = "served")]
    pub read_only: bool,

    /// Allows an exercise to write to a disk that is there besides this run: a file, QEMU's or a real one. It is named
    /// by its serial number, and what it holds is lost.
    #[arg(long, value_name = "SERIAL")]
    pub destroy_data: Option<String>,

    /// Requests that an exercise of a disk has at a time.
    #[arg(long, value_name = "NUMBER", default_value_t = DEPTH, value_parser = clap::value_parser!(u32).range(1..=256))]
    pub depth: u32,

    /// Bytes of each of its requests: a power of two.
    #[arg(long, value_name = "BYTES", default_value_t = UNIT_BYTES, value_parser = unit_bytes)]
    pub io_bytes: u32,
}

const QUEUES: u32 = 1;
const DEPTH: u32 = 32;
const UNIT_BYTES: u32 = 4096;

fn unit_bytes(text: &str) -> Result<u32, String> {
    let number = text.parse().ok().filter(|bytes: &u32| bytes.is_power_of_two() && (512..=1 << 20).contains(bytes));
    number.ok_or_else(|| "it should be a power of two from 512 to 1048576".into())
}

impl Args {
    /// Returns the first option of the block class that was given.
    pub fn given(&self) -> Option<&'static str> {
        let Args { disk, namespace, queues, nbd, attach, nbd_name, read_only, destroy_data, depth, io_bytes } = self;
        let all = [
            (disk.is_some(), "--disk"),
            (namespace.is_some(), "--namespace"),
            (*queues != QUEUES, "--queues"),
            (nbd.is_some(), "--nbd"),
            (attach.is_some(), "--attach"),
            (!nbd_name.is_empty(), "--nbd-name"),
            (*read_only, "--read-only"),
            (destroy_data.is_some(), "--destroy-data"),
            (*depth != DEPTH, "--depth"),
            (*io_bytes != UNIT_BYTES, "--io-bytes"),
        ];
        all.into_iter().find_map(|(given, option)| given.then_some(option))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_requests_length_is_a_power_of_two() {
        assert_eq!(unit_bytes("131072"), Ok(131072));
        for wrong in ["256", "4095", "2097152", "4k", "-1"] {
            assert!(unit_bytes(wrong).is_err(), "{wrong}");
        }
    }
}
