//! What the 82574 does besides: PCI Express and a PHY that firmware uses too. Sections are those of Intel's *82574 GbE
//! Controller Family Datasheet*, revision 3.4 (317694).

use e1000_regs::{CTRL, EXTCNF_CTRL, STATUS};
use nook_sdk::{Kernel, Nook, Regs, Status, error, warn};

use crate::chip::Chip;

/// How long DMA that is under way may take to end, and firmware to let go of the PHY.
const PATIENCE_NS: u64 = 100_000_000;
/// How often to look.
const LOOK_NS: u64 = 100_000;

/// Has the chip begin no DMA, and waits for what is under way (section 3.1.3.10). That goes before a reset, which would
/// otherwise leave the link waiting for the rest of a transfer.
pub(crate) fn end_dma<K: Kernel>(nook: &Nook<K>, regs: &Regs<K>, chip: &Chip) {
    regs.write(CTRL, chip.ctrl | CTRL::GIO_MASTER_DISABLE);
    let ended = nook.poll_until(PATIENCE_NS, LOOK_NS, || regs.read(STATUS) & STATUS::GIO_MASTER_ENABLE == 0);
    if ended.is_err() {
        // The same section lets a driver go on: the reset ends it in any case.
        warn!(nook, "{}: DMA does not end by itself", chip.name);
    }
}

/// Runs `work` while the PHY is the driver's (section 4.5.2). A chip that shares it with nobody is always ready.
pub(crate) fn with_phy<K: Kernel, T>(
    nook: &Nook<K>,
    regs: &Regs<K>,
    chip: &Chip,
    work: impl FnOnce() -> Result<T, Status>,
) -> Result<T, Status> {
    if !chip.express {
        return work();
    }
    let owned = nook.poll_until(PATIENCE_NS, LOOK_NS, || {
        // It stays 0 while another has it.
        regs.modify(EXTCNF_CTRL, |owner| owner | EXTCNF_CTRL::MDIO_SW);
        regs.read(EXTCNF_CTRL) & EXTCNF_CTRL::MDIO_SW != 0
    });
    if owned.is_err() {
        error!(nook, "{}: the firmware does not let go of the PHY", chip.name);
        return Err(Status::Timeout);
    }
    let done = work();
    regs.modify(EXTCNF_CTRL, |owner| owner & !EXTCNF_CTRL::MDIO_SW);
    done
}
