//! The PHY and the link.

use e1000_regs::{MDIC, STATUS, phy};
use nook_sdk::{Kernel, LinkState, Nook, Regs, Status, error};

/// An access to the PHY takes 64 µs at most (section 13.4.7).
const MDIC_NS: u64 = 10_000_000;
const MDIC_INTERVAL_NS: u64 = 20_000;

/// What we advertise besides gigabit: everything, without PAUSE, which this driver does not set up.
const ADVERTISED: u16 =
    phy::an::SELECTOR | phy::an::T10_HALF | phy::an::T10_FULL | phy::an::T100_HALF | phy::an::T100_FULL;

/// The link as the host was told.
#[derive(Default)]
pub(crate) struct Link {
    told: LinkState,
}

impl Link {
    pub(crate) fn is_up(&self) -> bool {
        self.told.up
    }

    /// Makes sure that the PHY negotiates. One that does already is left alone, so that a restart keeps the link.
    pub(crate) fn set_up_phy<K: Kernel>(&mut self, nook: &Nook<K>, regs: &Regs<K>) -> Result<(), Status> {
        use phy::bmcr::{AN_ENABLE, AN_RESTART, ISOLATE, LOOPBACK, POWER_DOWN};
        let control = read(nook, regs, phy::BMCR)?;
        let advertised = read(nook, regs, phy::ANAR)?;
        let gigabit = read(nook, regs, phy::GTCR)?;
        let wrong = control & (POWER_DOWN | ISOLATE | LOOPBACK) != 0 || control & AN_ENABLE == 0;
        if wrong || advertised & ADVERTISED != ADVERTISED || gigabit & phy::gigabit::FULL == 0 {
            write(nook, regs, phy::ANAR, ADVERTISED)?;
            write(nook, regs, phy::GTCR, phy::gigabit::FULL)?;
            write(nook, regs, phy::BMCR, AN_ENABLE | AN_RESTART)?;
        }
        Ok(())
    }

    /// Tells the host about the link if it changed. STATUS has what the PHY resolved (section 13.4.2).
    pub(crate) fn report<K: Kernel>(&mut self, nook: &Nook<K>, regs: &Regs<K>) {
        let status = regs.read(STATUS);
        let now = match status & STATUS::LU {
            0 => LinkState::default(),
            _ => LinkState {
                up: true,
                speed_mbps: match STATUS::SPEED.get(status) {
                    e1000_regs::SPEED_10 => 10,
                    e1000_regs::SPEED_100 => 100,
                    _ => 1000,
                },
                full_duplex: status & STATUS::FD != 0,
            },
        };
        self.tell(nook, now);
    }

    /// The interface goes down, and with it the link.
    pub(crate) fn lose<K: Kernel>(&mut self, nook: &Nook<K>) {
        self.tell(nook, LinkState::default());
    }

    fn tell<K: Kernel>(&mut self, nook: &Nook<K>, now: LinkState) {
        if now != self.told {
            self.told = now;
            nook.net_link(now);
        }
    }
}

fn read<K: Kernel>(nook: &Nook<K>, regs: &Regs<K>, register: u32) -> Result<u16, Status> {
    regs.write(MDIC, phy::read_command(register));
    Ok(MDIC::DATA.get(finish(nook, regs)?) as u16)
}

fn write<K: Kernel>(nook: &Nook<K>, regs: &Regs<K>, register: u32, value: u16) -> Result<(), Status> {
    regs.write(MDIC, phy::write_command(register, value));
    finish(nook, regs).map(|_| ())
}

/// Waits for the access to end (section 13.4.7).
fn finish<K: Kernel>(nook: &Nook<K>, regs: &Regs<K>) -> Result<u32, Status> {
    let mut value = 0;
    nook.poll_until(MDIC_NS, MDIC_INTERVAL_NS, || {
        value = regs.read(MDIC);
        value & MDIC::R != 0
    })?;
    if value & MDIC::E != 0 {
        error!(nook, "an access to the PHY failed: MDIC {value:#010x}");
        return Err(Status::DeviceFailed);
    }
    Ok(value)
}
