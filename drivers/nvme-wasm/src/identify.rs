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

    let active = chip.page("Identify (active namespaces)", identify(admin::CNS_ACTIVE, 0))?;
    let id = active.bytes().read::<u32>(0)?;
    if id == 0 {
        error!(nook, "the controller has no active namespace");
        return Err(Status::NoDevice);
    }
    if active.bytes().read::<u32>(4)? != 0 {
        info!(nook, "of several namespaces number {id} is the disk");
    }

    let (blocks, log) = size(nook, chip, id)?;
    let block_bytes = 1u32 << log;
    // Pages are 4096 bytes: CAP.MPSMIN was 0 (section 5.17.2.1, MDTS).
    let most = MAX_PAGES.min(if mdts == 0 { MAX_PAGES } else { 1u32.checked_shl(mdts.into()).unwrap_or(MAX_PAGES) });
    let most_bytes = (most * PAGE_BYTES).min(nook.transfer_bytes());
    let cached = vwc & controller::VWC_PRESENT != 0;
    let mut flags = 0;
    for (has, flag) in [
        (cached, disk_flags::VOLATILE_CACHE),
        (cached && !quirks.ignores_fua, disk_flags::FUA),
        (oncs & controller::ONCS_DATASET_MANAGEMENT != 0, disk_flags::DISCARD),
        (oncs & controller::ONCS_WRITE_ZEROES != 0, disk_flags::WRITE_ZEROES),
    ] {
        flags |= if has { flag } else { 0 };
    }
    let zeroes = flags & (disk_flags::DISCARD | disk_flags::WRITE_ZEROES) != 0;
    let disk = Disk {
        blocks,
        block_bytes,
        max_blocks: (most_bytes / block_bytes).min(nvm::MAX_BLOCKS),
        max_zeroes: if zeroes { nvm::MAX_BLOCKS } else { 0 },
        flags,
        serial: serial_of(&serial),
    };
    info!(nook, "{}: {blocks} blocks of {block_bytes} bytes", printable(&model));
    Ok(Found { namespace: id, disk, aborts: u32::from(acl) + 1, events })
}

/// Returns how many blocks a namespace has, and the logarithm of their bytes.
pub(crate) fn size<K: Kernel>(nook: Nook<K>, chip: &mut Controller<K>, id: u32) -> Result<(u64, u32), Status> {
    let bytes = chip.page("Identify (namespace)", identify(admin::CNS_NAMESPACE, id))?.bytes();
    let (blocks, format) = (bytes.read::<u64>(namespace::NSZE)?, bytes.read::<u8>(namespace::FLBAS)? & 0xf);
    let lbaf = bytes.read::<u32>(namespace::LBAF + 4 * u32::from(format))?;
    let (metadata, log) = (lbaf & 0xffff, lbaf >> 16 & 0xff);
    let protection = bytes.read::<u8>(namespace::DPS)? & 7;
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
    Ok((blocks, log))
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
