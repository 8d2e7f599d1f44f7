//! The PHY inside the chip, and what it negotiates (sections 8.6.2 and 13.4.7).

use e1000_regs::phy::{ANAR, ANLPAR, BMCR, GTCR, PAGE, PHYID1, PHYID2, an, bmcr, gigabit, read_command, write_command};
use e1000_regs::{MDIC, STATUS};
use nook_sdk::{Kernel, LinkState, Nook, Regs, Status, debug, error};

use crate::chip::Chip;
use crate::express::with_phy;
use crate::flow;

/// How long one access may take: it is 64 bits at 2.5 MHz, and the rest is patience with a machine that is so busy that
/// each look comes late.
const ACCESS_NS: u64 = 200_000_000;
/// How often to look.
const LOOK_NS: u64 = 20_000;
/// How long a PHY may take to reset (IEEE 802.3, 22.2.4.1.1).
const RESET_NS: u64 = 500_000_000;
/// How often to look whether it has.
const RESET_LOOK_NS: u64 = 10_000_000;

/// What we offer: everything but half duplex at 1000 Mbit/s.
const OFFERED: u16 = an::SELECTOR | an::T10_HALF | an::T10_FULL | an::T100_HALF | an::T100_FULL | flow::OFFERED;
/// The same for 1000BASE-T; no test mode, and which side is master is negotiated.
const OFFERED_GIGABIT: u16 = gigabit::FULL;

/// The bits of BMCR that keep a PHY from negotiating, and the one that lets it.
const MODE: u16 = bmcr::RESET | bmcr::LOOPBACK | bmcr::AN_ENABLE | bmcr::POWER_DOWN | bmcr::ISOLATE;

/// The mode of a loopback: the fastest.
const FORCED: u16 = bmcr::FULL_DUPLEX | bmcr::SPEED_1000;

/// Makes one access, and waits for it.
fn access<K: Kernel>(nook: &Nook<K>, regs: &Regs<K>, command: u32) -> Result<u16, Status> {
    regs.write(MDIC, command);
    let mut mdic = 0;
    nook.poll_until(ACCESS_NS, LOOK_NS, || {
        mdic = regs.read(MDIC);
        mdic & MDIC::R != 0
    })?;
    if mdic & MDIC::E != 0 {
        error!(nook, "PHY: the access {command:#010x} failed");
        return Err(Status::DeviceFailed);
    }
    Ok(MDIC::DATA.get(mdic) as u16)
}

fn read<K: Kernel>(nook: &Nook<K>, regs: &Regs<K>, register: u32) -> Result<u16, Status> {
    access(nook, regs, read_command(register))
}

fn write<K: Kernel>(nook: &Nook<K>, regs: &Regs<K>, register: u32, value: u16) -> Result<(), Status> {
    access(nook, regs, write_command(register, value)).map(|_| ())
}

/// Lets the PHY negotiate what we offer. One that does already is left alone: a link that is up stays up, and a
/// driver that was restarted does not make its users wait for it.
pub(crate) fn negotiate<K: Kernel>(nook: &Nook<K>, regs: &Regs<K>, chip: &Chip) -> Result<(), Status> {
    with_phy(nook, regs, chip, || {
        if chip.express {
            // An earlier driver may have left another page selected.
            write(nook, regs, PAGE, 0)?;
        }
        let id = u32::from(read(nook, regs, PHYID1)?) << 16 | u32::from(read(nook, regs, PHYID2)?);
        if id == 0 || id == u32::MAX {
            error!(nook, "PHY: there is none (its id is {id:#010x})");
            return Err(Status::DeviceFailed);
        }
        let ready = read(nook, regs, BMCR)? & MODE == bmcr::AN_ENABLE
            && read(nook, regs, ANAR)? == OFFERED
            && read(nook, regs, GTCR)? == OFFERED_GIGABIT;
        if ready {
            return Ok(());
        }
        debug!(nook, "PHY: negotiates from scratch");
        reset(nook, regs, bmcr::AN_ENABLE)?;
        write(nook, regs, ANAR, OFFERED)?;
        write(nook, regs, GTCR, OFFERED_GIGABIT)?;
        write(nook, regs, BMCR, bmcr::AN_ENABLE | bmcr::AN_RESTART)
    })
}

/// Returns what the partner offers: bits of [`an`], which mean something once there is a link. A partner that does not
/// negotiate offers nothing.
pub(crate) fn partner<K: Kernel>(nook: &Nook<K>, regs: &Regs<K>, chip: &Chip) -> Result<u16, Status> {
    with_phy(nook, regs, chip, || read(nook, regs, ANLPAR))
}

/// Has the PHY send back what it is given, at 1000 Mbit/s; [`negotiate`] ends it. What is to be forced counts only
/// after a reset, loopback at once (section 13.4.7.1.1).
pub(crate) fn loop_back<K: Kernel>(nook: &Nook<K>, regs: &Regs<K>, chip: &Chip) -> Result<(), Status> {
    with_phy(nook, regs, chip, || {
        reset(nook, regs, FORCED)?;
        write(nook, regs, BMCR, FORCED | bmcr::LOOPBACK)
    })
}

/// Resets the PHY into `mode`, a value of BMCR.
fn reset<K: Kernel>(nook: &Nook<K>, regs: &Regs<K>, mode: u16) -> Result<(), Status> {
    write(nook, regs, BMCR, mode | bmcr::RESET)?;
    let mut answer = Ok(0);
    nook.poll_until(RESET_NS, RESET_LOOK_NS, || {
        answer = read(nook, regs, BMCR);
        answer.is_ok_and(|value| value & bmcr::RESET == 0)
    })
}

/// The link of a loopback.
pub(crate) const LOOPED: LinkState = LinkState { up: true, speed_mbps: 1000, full_duplex: true };

/// Returns the link as the MAC uses it, from STATUS: the PHY tells the MAC what it negotiated (section 8.6.2.2.3).
pub(crate) fn link(status: u32) -> LinkState {
    if status & STATUS::LU == 0 {
        return LinkState::default();
    }
    let speed_mbps = match STATUS::SPEED.get(status) {
        e1000_regs::SPEED_10 => 10,
        e1000_regs::SPEED_100 => 100,
        _ => 1000,
    };
    LinkState { up: true, speed_mbps, full_duplex: status & STATUS::FD != 0 }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_link_is_read_from_the_status_register() {
        let link = |bits, speed| super::link(bits | STATUS::SPEED.put(speed));
        let up = |speed_mbps, full_duplex| LinkState { up: true, speed_mbps, full_duplex };
        assert_eq!(link(STATUS::LU | STATUS::FD, 2), up(1000, true));
        assert_eq!(link(STATUS::LU | STATUS::FD, 3), up(1000, true));
        assert_eq!(link(STATUS::LU, 1), up(100, false));
        assert_eq!(link(STATUS::LU, 0), up(10, false));
        assert_eq!(link(STATUS::FD, 2), LinkState::default());
    }
}
