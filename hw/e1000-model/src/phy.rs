//! The PHY: its registers behind MDIC, and the link with the partner at the other end of the cable (section 13.4.7,
//! IEEE 802.3 clauses 22 and 28).

use e1000_regs::phy::{
    ANAR, ANER, ANLPAR, BMCR, BMSR, ESTATUS, GTCR, GTSR, ID_82540, PHYID1, PHYID2, PISR, PSCR, PSSR, an, bmcr, bmsr,
    gigabit, pssr,
};
use e1000_regs::{MDIC, MDIC_OP_READ, MDIC_OP_WRITE, MDIC_PHY, SPEED_10, SPEED_100, SPEED_1000};

use crate::NEVER;
use nook_seed::Rng;

/// [`ANER`]: the partner can negotiate.
const PARTNER_NEGOTIATES: u16 = 1;
/// [`ESTATUS`]: 1000BASE-T, full and half duplex.
const GIGABIT_ABILITIES: u16 = 0x3000;
/// [`PSCR`] after a reset: automatic crossover.
const CROSSOVER: u16 = 0x0060;

/// What both ends agreed on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Mode {
    /// As in the speed fields of CTRL and STATUS.
    pub(crate) speed: u32,
    pub(crate) full_duplex: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Link {
    Down,
    Negotiating { until_ns: u64 },
    Up(Mode),
}

#[derive(Debug)]
pub(crate) struct Phy {
    registers: [u16; 32],
    link: Link,
    /// The link went down since BMSR was read.
    was_down: bool,
    /// CTRL.PHY_RST is held.
    pub(crate) held: bool,
    mdic: u32,
    /// Reads of MDIC until it is ready.
    busy: u32,
    /// What the partner offers of flow control.
    partner_offers: u16,
}

impl Phy {
    pub(crate) fn new(partner_offers: u16) -> Self {
        let partner_offers = partner_offers & (an::PAUSE | an::ASYM_PAUSE);
        let registers = [0; 32];
        let mut phy =
            Phy { registers, link: Link::Down, was_down: true, held: false, mdic: MDIC::R, busy: 0, partner_offers };
        phy.reset();
        phy
    }

    /// Defaults, and the link goes down.
    pub(crate) fn reset(&mut self) {
        self.registers = [0; 32];
        for (register, value) in [
            (BMCR, bmcr::AN_ENABLE | bmcr::FULL_DUPLEX | bmcr::SPEED_1000),
            (PHYID1, (ID_82540 >> 16) as u16),
            (PHYID2, ID_82540 as u16),
            (
                ANAR,
                an::SELECTOR | an::T10_HALF | an::T10_FULL | an::T100_HALF | an::T100_FULL | an::PAUSE | an::ASYM_PAUSE,
            ),
            (GTCR, gigabit::HALF | gigabit::FULL),
            (ESTATUS, GIGABIT_ABILITIES),
            (PSCR, CROSSOVER),
        ] {
            self.registers[register as usize] = value;
        }
        self.drop_link();
    }

    fn drop_link(&mut self) {
        self.link = Link::Down;
        self.was_down = true;
    }

    fn bmcr(&self) -> u16 {
        self.registers[BMCR as usize]
    }

    /// Sends what is transmitted back.
    pub(crate) fn loopback(&self) -> bool {
        self.bmcr() & bmcr::LOOPBACK != 0
    }

    /// Returns the link, if it is up.
    #[inline]
    pub(crate) fn mode(&self) -> Option<Mode> {
        match self.link {
            Link::Up(mode) => Some(mode),
            _ => None,
        }
    }

    /// Returns when [`tick`](Self::tick) wants to be called again.
    pub(crate) fn due_ns(&self) -> u64 {
        match self.link {
            Link::Negotiating { until_ns } => until_ns,
            _ => NEVER,
        }
    }

    /// Follows the cable and the clock. Negotiation takes up to `longest_ns`.
    #[inline]
    pub(crate) fn tick(&mut self, now_ns: u64, carrier: bool, longest_ns: u64, rng: &mut Rng) {
        let able = carrier && !self.held && self.bmcr() & (bmcr::POWER_DOWN | bmcr::ISOLATE) == 0;
        match self.link {
            Link::Up(_) if able => return,
            Link::Down if !able => return,
            Link::Up(_) | Link::Negotiating { .. } if !able => self.drop_link(),
            Link::Down => {
                let until_ns = now_ns.saturating_add(longest_ns / 2 + rng.up_to(longest_ns / 2));
                self.link = Link::Negotiating { until_ns };
            }
            _ => {}
        }
        if let Link::Negotiating { until_ns } = self.link
            && now_ns >= until_ns
        {
            self.link = match self.agree() {
                Some(mode) => Link::Up(mode),
                // No common mode: they try for ever.
                None => Link::Negotiating { until_ns: now_ns.saturating_add(longest_ns.max(1_000_000)) },
            };
        }
    }

    /// Returns the result of negotiating with a partner that can do everything; without negotiation, what is forced.
    fn agree(&self) -> Option<Mode> {
        if self.bmcr() & bmcr::AN_ENABLE == 0 {
            let speed = match (self.bmcr() & bmcr::SPEED_1000 != 0, self.bmcr() & bmcr::SPEED_100 != 0) {
                (true, false) => SPEED_1000,
                (false, true) => SPEED_100,
                _ => SPEED_10,
            };
            return Some(Mode { speed, full_duplex: self.bmcr() & bmcr::FULL_DUPLEX != 0 });
        }
        let (ours, gigabit) = (self.registers[ANAR as usize], self.registers[GTCR as usize]);
        [
            (gigabit & gigabit::FULL, SPEED_1000, true),
            (gigabit & gigabit::HALF, SPEED_1000, false),
            (ours & an::T100_FULL, SPEED_100, true),
            (ours & an::T100_HALF, SPEED_100, false),
            (ours & an::T10_FULL, SPEED_10, true),
            (ours & an::T10_HALF, SPEED_10, false),
        ]
        .into_iter()
        .find_map(|(can, speed, full_duplex)| (can != 0).then_some(Mode { speed, full_duplex }))
    }

    fn read(&mut self, register: u32) -> u16 {
        let mode = self.mode();
        let negotiated = mode.is_some() && self.bmcr() & bmcr::AN_ENABLE != 0;
        let when = |condition: bool, bits: u16| if condition { bits } else { 0 };
        match register {
            BMSR => {
                let link = mode.is_some() && !self.was_down;
                self.was_down = mode.is_none();
                bmsr::ABILITIES | when(link, bmsr::LINK) | when(negotiated, bmsr::AN_COMPLETE)
            }
            ANLPAR => when(
                negotiated,
                an::SELECTOR
                    | an::T10_HALF
                    | an::T10_FULL
                    | an::T100_HALF
                    | an::T100_FULL
                    | self.partner_offers
                    | an::ACKNOWLEDGE,
            ),
            ANER => when(negotiated, PARTNER_NEGOTIATES),
            GTSR => {
                when(negotiated, gigabit::PARTNER_HALF | gigabit::PARTNER_FULL | gigabit::REMOTE_OK | gigabit::LOCAL_OK)
            }
            PSSR => mode.map_or(0, |mode| {
                pssr::LINK
                    | pssr::RESOLVED
                    | when(mode.full_duplex, pssr::FULL_DUPLEX)
                    | (mode.speed as u16) << pssr::SPEED_SHIFT
            }),
            PISR => std::mem::take(&mut self.registers[PISR as usize]),
            _ => self.registers[register as usize & 31],
        }
    }

    fn write(&mut self, register: u32, value: u16) {
        match register {
            BMCR if value & bmcr::RESET != 0 => self.reset(),
            BMCR => {
                let changed = value ^ self.bmcr();
                self.registers[BMCR as usize] = value & !bmcr::AN_RESTART;
                let forced = bmcr::AN_ENABLE | bmcr::SPEED_100 | bmcr::SPEED_1000 | bmcr::FULL_DUPLEX;
                if value & bmcr::AN_RESTART != 0 || changed & forced != 0 {
                    self.drop_link();
                }
            }
            // What hardware says is not software's to write.
            BMSR | PHYID1 | PHYID2 | ANLPAR | ANER | GTSR | ESTATUS | PSSR | PISR => {}
            _ => self.registers[register as usize & 31] = value,
        }
    }

    /// Begins an access that takes `busy` reads of MDIC.
    pub(crate) fn write_mdic(&mut self, value: u32, busy: u32) {
        self.mdic = value & !(MDIC::R | MDIC::E);
        self.busy = busy;
    }

    /// Returns the answer, and whether it became ready just now with an interrupt wanted.
    pub(crate) fn read_mdic(&mut self) -> (u32, bool) {
        if self.mdic & MDIC::R != 0 {
            return (self.mdic, false);
        }
        if self.busy > 0 {
            self.busy -= 1;
            return (self.mdic, false);
        }
        let register = MDIC::REGADD.get(self.mdic);
        let op = MDIC::OP.get(self.mdic);
        if MDIC::PHYADD.get(self.mdic) != MDIC_PHY || !matches!(op, MDIC_OP_READ | MDIC_OP_WRITE) {
            self.mdic |= MDIC::E;
        } else if op == MDIC_OP_WRITE {
            self.write(register, MDIC::DATA.get(self.mdic) as u16);
        } else {
            let value = self.read(register);
            self.mdic = self.mdic & !MDIC::DATA.mask() | MDIC::DATA.put(u32::from(value));
        }
        self.mdic |= MDIC::R;
        (self.mdic, self.mdic & MDIC::I != 0)
    }

    /// Ends an access under way, because time has passed. Returns whether it wants an interrupt.
    #[inline]
    pub(crate) fn finish(&mut self) -> bool {
        if self.mdic & MDIC::R != 0 {
            return false;
        }
        self.busy = 0;
        self.read_mdic().1
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use e1000_regs::phy::{read_command, write_command};

    fn get(phy: &mut Phy, register: u32) -> u16 {
        phy.write_mdic(read_command(register), 0);
        MDIC::DATA.get(phy.read_mdic().0) as u16
    }

    fn set(phy: &mut Phy, register: u32, value: u16) {
        phy.write_mdic(write_command(register, value), 0);
        phy.read_mdic();
    }

    #[test]
    fn the_best_common_mode_is_taken() {
        for (anar, gtcr, mode) in [
            (0x0de1, 0x0300, Some((SPEED_1000, true))),
            (0x0de1, 0x0000, Some((SPEED_100, true))),
            (0x00a1, 0x0000, Some((SPEED_100, false))),
            (0x0041, 0x0000, Some((SPEED_10, true))),
            (0x0001, 0x0000, None),
        ] {
            let mut phy = Phy::new(0);
            set(&mut phy, ANAR, anar);
            set(&mut phy, GTCR, gtcr);
            phy.tick(0, true, 0, &mut Rng::new(0));
            assert_eq!(phy.mode().map(|mode| (mode.speed, mode.full_duplex)), mode, "{anar:#x} {gtcr:#x}");
        }
    }

    #[test]
    fn a_lost_link_is_remembered_until_the_status_is_read() {
        let mut phy = Phy::new(0);
        let mut rng = Rng::new(0);
        phy.tick(0, true, 0, &mut rng);
        get(&mut phy, BMSR);
        assert_ne!(get(&mut phy, BMSR) & bmsr::LINK, 0);
        phy.tick(1, false, 0, &mut rng);
        phy.tick(2, true, 0, &mut rng);
        assert_eq!(get(&mut phy, BMSR) & bmsr::LINK, 0);
        assert_ne!(get(&mut phy, BMSR) & bmsr::LINK, 0);
        // Reading it while the link is down does not forget it.
        phy.tick(3, false, 0, &mut rng);
        assert_eq!(get(&mut phy, BMSR) & bmsr::LINK, 0);
        phy.tick(4, true, 0, &mut rng);
        assert_eq!(get(&mut phy, BMSR) & bmsr::LINK, 0);
        assert_ne!(get(&mut phy, BMSR) & bmsr::LINK, 0);
    }

    #[test]
    fn a_phy_that_is_not_there_answers_with_an_error() {
        let mut phy = Phy::new(0);
        phy.write_mdic(read_command(BMSR) & !MDIC::PHYADD.mask() | MDIC::PHYADD.put(2), 0);
        assert_ne!(phy.read_mdic().0 & MDIC::E, 0);
    }
}
