//! Where a device has its structures: the capabilities that say so, compared with the register map.

use nook_sdk::{Kernel, Nook, Status, error};
use virtio_regs::{BAR, LAYOUT, NOTIFY_MULTIPLIER, cap, cfg_type};

/// Where configuration space has the first capability, and the bit of its status register that says that there is one
/// (PCI 3.0, sections 6.2.3 and 6.7).
const STATUS: u32 = 0x06;
const STATUS_CAPABILITIES: u32 = 1 << 4;
const FIRST: u32 = 0x34;
/// Capabilities at most: each has 4 bytes or more of the 192 that there are.
const MOST: usize = 48;

/// Returns whether the device has its structures where the register map has them; [`Status::Unsupported`], and the
/// reason in the log, if not.
pub(crate) fn check<K: Kernel>(nook: Nook<K>) -> Result<(), Status> {
    for (kind, offset) in LAYOUT {
        let Some(at) = find(nook, kind) else {
            error!(nook, "the device has no structure {kind} of the standard: QEMU's needs disable-modern=off");
            return Err(Status::Unsupported);
        };
        let found = (nook.config_read8(at + cap::BAR), nook.config_read32(at + cap::OFFSET));
        if found != (BAR.into(), offset) {
            error!(nook, "structure {kind} is in BAR {} at {:#x}, and the map has it elsewhere", found.0, found.1);
            return Err(Status::Unsupported);
        }
        if kind == cfg_type::NOTIFY && nook.config_read32(at + cap::MULTIPLIER) != NOTIFY_MULTIPLIER {
            error!(nook, "the queues' doorbells are not {NOTIFY_MULTIPLIER} bytes apart: page-per-vq is not supported");
            return Err(Status::Unsupported);
        }
    }
    Ok(())
}

/// Returns where the first capability of a kind is: a device may name a structure several times, and prefers the first
/// (4.1.4.1).
fn find<K: Kernel>(nook: Nook<K>, kind: u8) -> Option<u32> {
    if nook.config_read16(STATUS) & STATUS_CAPABILITIES == 0 {
        return None;
    }
    let mut at = nook.config_read8(FIRST) & !3;
    for _ in 0..MOST {
        if at < 0x40 {
            return None;
        }
        if nook.config_read8(at) == cap::ID && nook.config_read8(at + cap::CFG_TYPE) == kind.into() {
            return Some(at);
        }
        at = nook.config_read8(at + 1) & !3;
    }
    None
}
