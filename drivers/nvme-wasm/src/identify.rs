//! What controller and namespace say of themselves (section 5.17; NVM 4.1.5), and what disk that makes.

use nook_sdk::{Disk, DmaRegion, Kernel, Nook, Status, disk_flags, error, info};
use nvme_regs::command::Command;
use nvme_regs::identify::{controller, namespace};
use nvme_regs::{PAGE_BYTES, admin, nvm};

use crate::controller::Controller;
use crate::quirks::Quirks;
use crate::slots::MAX_PAGES;

/// Blocks have 512 bytes at least and as many as a page at most, as logarithms.
const BLOCK_LOGS: core::ops::RangeInclusive<u32> = 9..=12;

/// What the driver needs to know.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Found {
    /// The namespace that is the disk.
    pub(crate) namespace: u32,
    /// The disk.
    pub(crate) disk: Disk,
    /// Abort commands that the controller takes at a time.
    pub(crate) aborts: u32,
    /// Events that can be asked for.
    pub(crate) events: u32,
}

fn identify(cns: u32, namespace: u32) -> Command {
    Command::new(admin::IDENTIFY, namespace).dword(10, admin::CNS.put(cns))
}

/// Asks, and refuses what the driver cannot do.
pub(crate) fn find<K: Kernel>(nook: Nook<K>, chip: &mut Controller<K>, quirks: Quirks) -> Result<Found, Status> {
    let about = chip.page("Identify (controller)", identify(admin::CNS_CONTROLLER, 0))?;
    let bytes = about.bytes();
    let serial = text::<{ controller::SN_BYTES }, K>(about, controller::SN)?;
    let model = text::<{ controller::MN_BYTES }, K>(about, controller::MN)?;
    let (mdts, acl) = (bytes.read::<u8>(controller::MDTS)?, bytes.read::<u8>(controller::ACL)?);
    let (vwc, oncs) = (bytes.read::<u8>(controller::VWC)?, bytes.read::<u16>(controller::ONCS)?);
    let events = bytes.read::<u32>(controller::OAES)?;

    let most_namespaces = bytes.read::<u32>(controller::NN)?;

    let id = choose(nook, chip, most_namespaces)?;
    let Namespace { blocks, log, protected } = describe(nook, chip, id)?;
    let block_bytes = 1u32 << log;
    // Pages are 4096 bytes: CAP.MPSMIN was 0 (section 5.17.2.1, MDTS).
    let pages = MAX_PAGES.min(if mdts == 0 { MAX_PAGES } else { 1u32.checked_shl(mdts.into()).unwrap_or(MAX_PAGES) });
    let most_bytes = (pages * PAGE_BYTES).min(nook.transfer_bytes());
    let cached = vwc & controller::VWC_PRESENT != 0;
    let mut flags = 0;
    for (has, flag) in [
        (cached, disk_flags::VOLATILE_CACHE),
        (cached && !quirks.ignores_fua, disk_flags::FUA),
        (oncs & controller::ONCS_DATASET_MANAGEMENT != 0, disk_flags::DISCARD),
        (oncs & controller::ONCS_WRITE_ZEROES != 0, disk_flags::WRITE_ZEROES),
        (protected, disk_flags::READ_ONLY),
    ] {
        flags |= if has { flag } else { 0 };
    }
    let zeroes = flags & (disk_flags::DISCARD | disk_flags::WRITE_ZEROES) != 0;
    let max_blocks = (most_bytes / block_bytes).min(nvm::MAX_BLOCKS);
    // By the specification the limit of transfers is none for zeroes; controllers are known that have it all the same.
    let max_zeroes = if quirks.any_zeroes { nvm::MAX_BLOCKS } else { max_blocks };
    let disk = Disk {
        blocks,
        block_bytes,
        max_blocks,
        max_zeroes: if zeroes { max_zeroes } else { 0 },
        flags,
        serial: serial_of(&serial),
    };
    info!(nook, "{}: {blocks} blocks of {block_bytes} bytes", printable(&model));
    Ok(Found { namespace: id, disk, aborts: u32::from(acl) + 1, events })
}

/// Finds the namespace that is the disk: the one that is wanted, or the first that is active. `most` is the largest
/// number that one can have.
fn choose<K: Kernel>(nook: Nook<K>, chip: &mut Controller<K>, most: u32) -> Result<u32, Status> {
    let wanted = nook.disk_number();
    if wanted > most {
        error!(nook, "there is no namespace {wanted}: this controller has at most {most}");
        return Err(Status::NoDevice);
    }
    // The list begins above the number that the command names.
    let active = chip.page("Identify (active namespaces)", identify(admin::CNS_ACTIVE, wanted.saturating_sub(1)))?;
    let (first, next) = (active.bytes().read::<u32>(0)?, active.bytes().read::<u32>(4)?);
    match (wanted, first) {
        (0, 0) => {
            error!(nook, "the controller has no active namespace");
            Err(Status::NoDevice)
        }
        (0, first) => {
            if next != 0 {
                info!(nook, "of several namespaces number {first} is the disk: none was asked for");
            }
            Ok(first)
        }
        (wanted, first) if wanted == first => Ok(wanted),
        (wanted, 0) => {
            error!(nook, "namespace {wanted} is not active, and none above it is");
            Err(Status::NoDevice)
        }
        (wanted, first) => {
            error!(nook, "namespace {wanted} is not active; the next one that is has number {first}");
            Err(Status::NoDevice)
        }
    }
}

/// What a namespace says of itself.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Namespace {
    pub(crate) blocks: u64,
    /// The logarithm of a block's bytes.
    pub(crate) log: u32,
    /// It cannot be written now.
    protected: bool,
}

/// Asks a namespace what it is, and refuses what the driver cannot do.
pub(crate) fn describe<K: Kernel>(nook: Nook<K>, chip: &mut Controller<K>, id: u32) -> Result<Namespace, Status> {
    let bytes = chip.page("Identify (namespace)", identify(admin::CNS_NAMESPACE, id))?.bytes();
    let blocks = bytes.read::<u64>(namespace::NSZE)?;
    let format = namespace::format(bytes.read(namespace::FLBAS)?, bytes.read(namespace::NLBAF)?);
    let lbaf = bytes.read::<u32>(namespace::LBAF + 4 * format)?;
    let (metadata, log) = (lbaf & 0xffff, lbaf >> 16 & 0xff);
    let protection = bytes.read::<u8>(namespace::DPS)? & 7;
    let protected = bytes.read::<u8>(namespace::NSATTR)? & namespace::NSATTR_PROTECTED != 0;
    let refusals = [
        (blocks == 0, "it has no blocks"),
        (metadata != 0, "its blocks have metadata"),
        (protection != 0, "its blocks are protected"),
        (!BLOCK_LOGS.contains(&log), "its blocks have less than 512 or more than 4096 bytes"),
    ];
    if let Some((_, why)) = refusals.iter().find(|(refused, _)| *refused) {
        error!(nook, "namespace {id} cannot be used: {why} (format {lbaf:#x})");
        return Err(Status::Unsupported);
    }
    Ok(Namespace { blocks, log, protected })
}

/// Copies text out of a page.
fn text<const N: usize, K: Kernel>(page: &DmaRegion<K>, at: u32) -> Result<[u8; N], Status> {
    let mut text = [0; N];
    page.bytes().read_bytes(at, &mut text)?;
    Ok(text)
}

/// Returns a text without the spaces after it, if it can be printed.
fn printable(text: &[u8]) -> &str {
    core::str::from_utf8(text.trim_ascii_end())
        .ok()
        .filter(|text| text.bytes().all(|byte| byte == b' ' || byte.is_ascii_graphic()))
        .unwrap_or("a model whose name cannot be printed")
}

/// Returns a serial number as the host wants it: zeros after it, and none if it cannot be printed.
fn serial_of(text: &[u8]) -> [u8; 40] {
    let mut serial = [0; 40];
    let text = text.trim_ascii();
    if text.iter().all(|byte| *byte == b' ' || byte.is_ascii_graphic()) {
        serial.iter_mut().zip(text).for_each(|(to, from)| *to = *from);
    }
    serial
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_serial_number_loses_its_padding_and_one_that_cannot_be_printed_is_none() {
        assert_eq!(&serial_of(b"nook-1              ")[..8], b"nook-1\0\0");
        assert_eq!(serial_of(b"a\x1b[2J"), [0; 40]);
        assert_eq!(printable(b"QEMU NVMe Ctrl   "), "QEMU NVMe Ctrl");
    }
}
