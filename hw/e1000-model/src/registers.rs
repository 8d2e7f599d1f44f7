//! What reading and writing each register does, and what reset leaves in them.

use e1000_regs::{CTRL, CTRL_EXT, ICR, LEDCTL, MAP, PBA, RCTL, RDTR, SPEED_1000, STATUS, TIPG, VET, VFTA};

use crate::model::Model;
use crate::stats::Stats;

/// Offsets as constants, so that they can be matched.
mod at {
    macro_rules! offsets {
        ($($name:ident)*) => { $( pub(super) const $name: u32 = e1000_regs::$name.offset(); )* };
    }
    offsets! {
        CTRL STATUS EECD EERD CTRL_EXT MDIC ICR ITR ICS IMS IMC PBA RCTL TCTL RDBAL RDBAH RDLEN RDH RDT RDTR
        TDBAL TDBAH TDLEN TDH TDT
    }
}

/// Registers that hold what was written to them.
#[derive(Debug)]
pub(crate) struct RegisterFile(Box<[u32]>);

impl RegisterFile {
    /// The first byte after the last of them.
    const END: u32 = 0x6000;

    /// Creates the registers. Those that power-up leaves undefined hold what `word` gives.
    pub(crate) fn new(mut word: impl FnMut() -> u32) -> Self {
        let mut plain = RegisterFile(vec![0; (Self::END / 4) as usize].into());
        (0..VFTA.count()).for_each(|i| plain.set(VFTA.get(i).offset(), word()));
        plain.set(TIPG.offset(), word());
        plain
    }

    /// Returns a register's value; 0 where there is none.
    #[inline]
    pub(crate) fn get(&self, offset: u32) -> u32 {
        self.0.get((offset / 4) as usize).copied().unwrap_or(0)
    }

    fn set(&mut self, offset: u32, value: u32) {
        if let Some(register) = self.0.get_mut((offset / 4) as usize) {
            *register = value;
        }
    }

    /// Defaults, except for the tables, which a reset leaves alone (section 13.5).
    fn reset(&mut self) {
        let tables = (VFTA.offset() / 4) as usize..(VFTA.offset() / 4 + VFTA.count()) as usize;
        let tipg = (TIPG.offset() / 4) as usize;
        for (at, register) in self.0.iter_mut().enumerate() {
            if !tables.contains(&at) && at != tipg {
                *register = 0;
            }
        }
        self.set(at::CTRL, CTRL::FD | CTRL::SPEED.put(SPEED_1000));
        self.set(at::PBA, PBA::RXA.put(48) | PBA::TXA.put(16));
        self.set(VET.offset(), 0x8100);
        self.set(LEDCTL.offset(), 0x0706_1302);
    }
}

impl Model {
    /// Resets, at power-up and by CTRL.RST, all but the PHY, configuration space, tables and statistics.
    pub(crate) fn reset_mac(&mut self) {
        self.plain.reset();
        let mut base = || if self.behaviour.garbage { self.rng.word() } else { 0 };
        self.tx.reset(base());
        self.rx.reset(base());
        self.rx.fifo.set_size(PBA::RXA.get(self.plain.get(at::PBA)));
        self.irq.reset();
        self.eeprom.reset();
        self.filter.reset(self.eeprom.address());
        self.link_up = false;
        self.end_pauses();
        self.resetting = self.rng.up_to(u64::from(self.behaviour.busy_reads)) as u32;
        self.reset_until_ns = self.now_ns.saturating_add(RESET_NS);
    }

    fn busy_reads(&mut self) -> u32 {
        self.rng.up_to(u64::from(self.behaviour.busy_reads)) as u32
    }

    /// Returns whether frames are looped back, by RCTL.LBM (01 in the MAC, 11 in the transceiver) or the PHY's own bit:
    /// nothing comes from or goes to the cable.
    #[inline]
    pub(crate) fn loopback(&self) -> bool {
        matches!(RCTL::LBM.get(self.rx.rctl()), 1 | 3) || self.phy.loopback()
    }

    /// Follows the PHY's link, which the MAC sees if CTRL.SLU lets it, and reports changes.
    #[inline]
    pub(crate) fn follow_link(&mut self) {
        let up = self.phy.mode().is_some() && self.plain.get(at::CTRL) & CTRL::SLU != 0;
        if up != self.link_up {
            self.link_up = up;
            self.end_pauses();
            self.irq.raise(ICR::LSC);
        }
    }

    /// Returns STATUS but for the pause.
    pub(crate) fn status(&self) -> u32 {
        let ctrl = self.plain.get(at::CTRL);
        let mode = self.phy.mode().filter(|_| self.link_up);
        let full = if ctrl & CTRL::FRCDPLX != 0 { ctrl & CTRL::FD != 0 } else { mode.is_none_or(|m| m.full_duplex) };
        let found = mode.map_or(0, |mode| mode.speed);
        let speed = if ctrl & CTRL::FRCSPD != 0 { CTRL::SPEED.get(ctrl) } else { found };
        let mut status = STATUS::SPEED.put(speed) | STATUS::ASDV.put(found);
        if full {
            status |= STATUS::FD;
        }
        if self.link_up {
            status |= STATUS::LU;
        }
        status
    }

    pub(crate) fn read_register(&mut self, offset: u32) -> u32 {
        match offset {
            at::ICR => self.irq.read_causes(),
            at::IMS => self.irq.mask(),
            at::ITR => self.irq.itr(),
            at::ICS | at::IMC => 0,
            at::STATUS => self.status() | if self.paused() { STATUS::TXOFF } else { 0 },
            at::CTRL => {
                let ctrl = self.plain.get(at::CTRL);
                if self.resetting > 0 && self.now_ns <= self.reset_until_ns {
                    self.resetting -= 1;
                    return ctrl | CTRL::RST;
                }
                ctrl
            }
            at::EECD => self.eeprom.read_pins(),
            at::EERD => self.eeprom.read(),
            at::MDIC => {
                let (value, interrupts) = self.phy.read_mdic();
                if interrupts {
                    self.irq.raise(ICR::MDAC);
                }
                value
            }
            at::RCTL => self.rx.rctl(),
            at::RDBAL => self.rx.ring.base_low(),
            at::RDBAH => self.rx.ring.base_high(),
            at::RDLEN => self.rx.ring.len_bytes(),
            at::RDH => self.rx.ring.head(),
            at::RDT => self.rx.ring.tail(),
            at::TCTL => self.tx.tctl,
            at::TDBAL => self.tx.ring.base_low(),
            at::TDBAH => self.tx.ring.base_high(),
            at::TDLEN => self.tx.ring.len_bytes(),
            at::TDH => self.tx.ring.head(),
            at::TDT => self.tx.ring.tail(),
            _ if Stats::has(offset) => self.stats.read(offset),
            _ => match self.filter.register(offset) {
                Some(register) => *register,
                None => self.plain.get(offset),
            },
        }
    }

    pub(crate) fn write_register(&mut self, offset: u32, value: u32) {
        match offset {
            at::TDT => self.tx.ring.set_tail(value),
            at::RDT => self.rx.ring.set_tail(value),
            at::IMS => self.irq.enable(value & CAUSES),
            at::IMC => self.irq.disable(value),
            at::ICR => self.irq.clear(value),
            at::ICS => self.irq.raise(value & CAUSES),
            at::ITR => self.irq.set_itr(value),
            at::CTRL => self.write_ctrl(value),
            at::CTRL_EXT => {
                self.plain.set(at::CTRL_EXT, value & !(CTRL_EXT::EE_RST | CTRL_EXT::ASDCHK));
                if value & CTRL_EXT::EE_RST != 0 {
                    self.filter.reset(self.eeprom.address());
                }
            }
            at::EECD => {
                let waits = self.busy_reads();
                self.eeprom.write_pins(value, waits);
            }
            at::EERD => {
                let busy = self.busy_reads();
                self.eeprom.write(value, busy);
            }
            at::MDIC => {
                let busy = self.busy_reads();
                self.phy.write_mdic(value, busy);
            }
            at::PBA => {
                // What receive does not take is transmit's (section 13.4.16).
                let kib = PBA::RXA.get(value).min(64);
                self.plain.set(at::PBA, PBA::RXA.put(kib) | PBA::TXA.put(64 - kib));
                self.rx.fifo.set_size(kib);
            }
            at::RCTL => self.rx.set_rctl(value),
            at::RDBAL => self.rx.ring.set_base_low(value),
            at::RDBAH => self.rx.ring.set_base_high(value),
            at::RDLEN => self.rx.ring.set_len_bytes(value),
            at::RDH => self.rx.ring.set_head(value),
            at::RDTR => {
                self.plain.set(at::RDTR, value & RDTR::DELAY.mask());
                if value & RDTR::FPD != 0 {
                    self.settle_rx(self.now_ns);
                    if self.irq.rx.running() {
                        self.irq.rx.stop();
                        self.irq.raise(ICR::RXT0);
                    }
                }
            }
            at::TCTL => self.write_tctl(value),
            at::TDBAL => self.tx.ring.set_base_low(value),
            at::TDBAH => self.tx.ring.set_base_high(value),
            at::TDLEN => self.tx.ring.set_len_bytes(value),
            at::TDH => self.tx.ring.set_head(value),
            at::STATUS => {}
            _ if Stats::has(offset) => {}
            _ => match (self.filter.register(offset), MAP.find(0, offset)) {
                (Some(register), _) => *register = value,
                (None, Some((info, _))) if info.access.writes() => self.plain.set(offset, value),
                _ => tracing::debug!(offset, value, "a write to nothing"),
            },
        }
    }

    fn write_ctrl(&mut self, value: u32) {
        let held = value & CTRL::PHY_RST != 0;
        if held {
            self.phy.reset();
        }
        if value & CTRL::RST != 0 {
            self.phy.held = false;
            self.reset_mac();
            return;
        }
        self.plain.set(at::CTRL, value);
        self.phy.held = held;
        self.follow_link();
    }
}

/// How long a reset takes at most: a driver that waits this long need not check whether it is over (section 13.4.1,
/// RST).
const RESET_NS: u64 = 1_000;

/// Every cause that there is. Those of queues are the 82574's.
const CAUSES: u32 = {
    let mut causes = 0;
    let mut i = 0;
    while i < ICR::FIELDS.len() {
        causes |= ((1u32 << ICR::FIELDS[i].bits) - 1) << ICR::FIELDS[i].shift;
        i += 1;
    }
    causes & !(ICR::RXQ0 | ICR::RXQ1 | ICR::TXQ0 | ICR::TXQ1 | ICR::OTHER)
};
