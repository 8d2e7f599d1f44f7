//! [`E1000`]: the driver's state, and what the host calls.

use e1000_regs::{ICR, IMC, IMS, ITR, STATUS};
use nook_sdk::{
    Irq, Kernel, LinkState, MacAddress, NetDriver, NetQueues, NetStats, Nook, PacketStatus, Poll, ProbeReason, Regs,
    RxMode, Status, error, info, warn,
};

use crate::chip::{Chip, Loopback};
use crate::flow::Flow;
use crate::jumbo::{Taken, USUAL_MTU_BYTES};
use crate::pace::Pace;
use crate::rx_filter::{RxFilter, write_rctl};
use crate::setup::Mode;
use crate::spread::Spread;
use crate::statistics::{self, Statistics};
use crate::verbs::{LONGEST_BYTES, Ring};
use crate::{eeprom, phy, queues, setup};

/// Where PCI configuration space has the vendor and the device (PCI 3.0, section 6.2.1).
const PCI_VENDOR: u32 = 0;
const PCI_DEVICE: u32 = 2;
const PCI_SUBSYSTEM_VENDOR: u32 = 0x2c;
const PCI_SUBSYSTEM: u32 = 0x2e;

/// The BAR with the registers (section 4.1).
const BAR: u32 = 0;

/// The interrupts that are wanted: a frame was received, a frame was sent, the link changed.
const CAUSES: u32 = ICR::RXT0 | ICR::TXDW | ICR::LSC;

/// The smallest that IPv4 works with (RFC 791).
const MIN_MTU_BYTES: u32 = 68;

/// How often the driver looks after the chip.
const TICK_NS: u64 = 1_000_000_000;
/// Number of checks in a row without progress after which the transmitter is stuck, or the link has been lost for so
/// long that frames no longer wait for it. At the first one an interrupt may have been lost, and `poll` is asked for.
const STUCK_TICKS: u32 = 2;

/// Whether the chip runs, and with how many receive queues.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Runs {
    No,
    OneQueue,
    TwoQueues,
}

/// The driver of one chip.
pub struct E1000<K: Kernel> {
    pub(crate) nook: Nook<K>,
    pub(crate) regs: Regs<K>,
    pub(crate) chip: &'static Chip,
    pub(crate) queues: NetQueues,
    pub(crate) rx: Ring<K>,
    pub(crate) tx: Ring<K>,
    /// Which received frames are taken.
    pub(crate) rx_taken: Taken,
    /// The last receive descriptor did not end its frame, which was given up.
    pub(crate) rx_gives_up: bool,
    /// Both receive queues, while there are two. Then `rx` is empty.
    pub(crate) spread: Option<Spread<K>>,
    pub(crate) runs: Runs,
    /// Its interrupts are masked.
    masked: bool,
    /// How far apart they are.
    pace: Pace,
    filter: RxFilter,
    mode: Mode,
    /// As it was last reported.
    link: LinkState,
    /// The link came up, and what its partner offers of flow control is not known yet.
    asks_partner: bool,
    pub(crate) statistics: Statistics,
    /// `tx.reaped()` when the driver last looked, and how often in a row it has not moved since.
    tx_reaped: u32,
    tx_stuck_ticks: u32,
}

impl<K: Kernel> NetDriver<K> for E1000<K> {
    const COUNTERS: &'static [&'static str] = &statistics::NAMES;

    fn probe(nook: Nook<K>, _reason: ProbeReason) -> Result<Self, Status> {
        let (vendor, device) = (nook.config_read16(PCI_VENDOR) as u16, nook.config_read16(PCI_DEVICE) as u16);
        let chip = Chip::find(vendor, device).ok_or(Status::NoDevice)?;
        let subsystem = (nook.config_read16(PCI_SUBSYSTEM_VENDOR) as u16, nook.config_read16(PCI_SUBSYSTEM) as u16);
        let offloads = chip.offloads(subsystem);
        let queues = nook.queues();
        if queues.pool.room_bytes() < LONGEST_BYTES {
            error!(nook, "packet buffers have {} bytes, and frames up to {LONGEST_BYTES}", queues.pool.room_bytes());
            return Err(Status::Invalid);
        }
        // Whatever was before, even a driver that died: from here on the chip is as the manual says.
        let regs = nook.regs(BAR);
        setup::reset(&nook, &regs, chip)?;
        let mac = eeprom::address(&nook, &regs, chip.eerd)?;
        phy::negotiate(&nook, &regs, chip)?;
        let statistics = Statistics::begin(&regs, chip.keeps_misses(subsystem));
        let driver = E1000 {
            nook,
            regs,
            chip,
            queues,
            rx: Ring::new(nook)?,
            tx: Ring::new(nook)?,
            rx_taken: Taken::USUAL,
            rx_gives_up: false,
            spread: None,
            runs: Runs::No,
            masked: true,
            pace: Pace::default(),
            filter: RxFilter::new(mac),
            mode: Mode::default(),
            link: LinkState::default(),
            asks_partner: false,
            statistics,
            tx_reaped: 0,
            tx_stuck_ticks: 0,
        };
        nook.net_attach(mac, driver.max_mtu_bytes())?;
        nook.net_offloads(offloads);
        let [a, b, c, d, e, f] = mac;
        info!(nook, "{} at {a:02x}:{b:02x}:{c:02x}:{d:02x}:{e:02x}:{f:02x}", chip.name);
        Ok(driver)
    }

    fn remove(mut self) {
        if let Err(status) = self.stop() {
            error!(self.nook, "{}: does not become silent: {status}", self.chip.name);
        }
    }

    fn open(&mut self) -> Result<(), Status> {
        if self.runs() {
            return Err(Status::Busy);
        }
        self.choose_queues()?;
        if let Err(status) = self.start() {
            // What was enabled is not needed.
            let _ = self.disable_irqs();
            return Err(status);
        }
        self.first_buffers();
        if let Err(status) = self.nook.irq_enable(0) {
            self.silence(PacketStatus::Unused)?;
            return Err(status);
        }
        self.listen();
        self.nook.timer_set(self.nook.now_ns() + TICK_NS);
        self.follow_link();
        // Frames may have come, and the queues may hold some that wait to be sent.
        self.schedule_polls();
        Ok(())
    }

    fn stop(&mut self) -> Result<(), Status> {
        if !self.runs() {
            return Ok(());
        }
        self.collect();
        let silent = self.silence(PacketStatus::Unused);
        silent.and(self.close())
    }

    #[inline]
    fn poll(&mut self, queue: u32, budget: u32) -> Poll {
        if self.runs != Runs::OneQueue {
            return queues::poll(self, queue as usize, budget);
        }
        // Each of them runs, whatever the others say. Sent buffers first, so that there is room to send.
        let more = self.tx_return(budget) | self.rx_return(budget) | self.rx_provide(budget) | self.tx_provide(budget);
        self.mask(more);
        if more { Poll::Again } else { Poll::Idle }
    }

    fn discard_rx(&mut self, queue: u32) {
        queues::discard(self, queue as usize);
    }

    #[inline]
    fn irq(&mut self, vector: u32) -> Irq {
        if self.runs != Runs::OneQueue {
            return queues::irq(self, vector);
        }
        // Reading clears the causes, those that are masked too (section 13.4.17). So `poll` is asked for even if it
        // is running already: what it has not seen yet may have been reported only now.
        let causes = self.regs.read(ICR) & CAUSES;
        if causes & ICR::LSC != 0 {
            self.follow_link();
        }
        if causes & (ICR::RXT0 | ICR::TXDW) != 0 {
            self.mask(true);
            if let Some(itr) = self.pace.interrupted(self.nook.now_ns(), self.rx.reaped(), self.tx.reaped()) {
                self.regs.write(ITR, itr);
            }
            return Irq::HandledPoll;
        }
        if causes == 0 { Irq::NotMine } else { Irq::Handled }
    }

    fn timer(&mut self) {
        if !self.runs() {
            return;
        }
        self.nook.timer_set(self.nook.now_ns() + TICK_NS);
        let status = self.follow_link();
        let reaped = self.tx.reaped();
        // A pause that the partner asked for is the partner's to end.
        let paused = status & STATUS::TXOFF != 0;
        let stuck = self.tx.in_flight() > 0 && self.tx_reaped == reaped && !paused;
        self.tx_reaped = reaped;
        self.tx_stuck_ticks = if stuck { self.tx_stuck_ticks + 1 } else { 0 };
        if self.tx_stuck_ticks >= STUCK_TICKS {
            self.nook.work_schedule();
        } else if stuck {
            self.nook.poll_schedule(0);
        }
    }

    fn work(&mut self) {
        if !self.runs() {
            return;
        }
        if core::mem::take(&mut self.asks_partner) && !self.mode.loopback {
            self.follow_partner();
        }
        if self.tx_stuck_ticks < STUCK_TICKS {
            return;
        }
        self.tx_stuck_ticks = 0;
        let waiting = self.tx.in_flight();
        if self.link.up {
            warn!(self.nook, "{}: {waiting} frames are not being sent; resetting", self.chip.name);
            self.statistics.tx_timeouts += 1;
        } else {
            // Descriptors wait for a link as long as it takes, and what is in them was meant for now.
            info!(self.nook, "{}: there is no link; {waiting} frames are given back", self.chip.name);
        }
        self.collect();
        let silent = self.silence(PacketStatus::Failed);
        // The log has why it did not work.
        let _ = self.restart(silent);
    }

    fn set_mac(&mut self, mac: MacAddress) -> Result<(), Status> {
        if !eeprom::is_station(mac) {
            return Err(Status::Invalid);
        }
        self.set_filter(self.filter.with_mac(mac));
        Ok(())
    }

    fn set_mtu(&mut self, mtu_bytes: u32) -> Result<(), Status> {
        let most = self.max_mtu_bytes();
        if !(MIN_MTU_BYTES..=most).contains(&mtu_bytes) {
            return Err(Status::Invalid);
        }
        let jumbo = mtu_bytes > USUAL_MTU_BYTES;
        if jumbo == self.mode.jumbo {
            return Ok(());
        }
        // What the chip has now is of the other kind, so it is given back before.
        let open = self.runs();
        if open {
            self.collect();
        }
        let silent = if open { self.silence(PacketStatus::Failed) } else { Ok(()) };
        self.mode.jumbo = jumbo;
        self.rx_taken = if jumbo { Taken::up_to(most) } else { Taken::USUAL };
        if open { self.restart(silent) } else { Ok(()) }
    }

    fn set_rx_mode(&mut self, mode: RxMode<'_>) -> Result<(), Status> {
        self.set_filter(self.filter.with_mode(mode)?);
        Ok(())
    }

    fn set_loopback(&mut self, on: bool) -> Result<(), Status> {
        if on == self.mode.loopback {
            return Ok(());
        }
        match (self.chip.loopback, on) {
            (Loopback::Phy, true) => phy::loop_back(&self.nook, &self.regs, self.chip)?,
            (Loopback::Phy, false) => phy::negotiate(&self.nook, &self.regs, self.chip)?,
            (Loopback::Mac, _) => {}
        }
        self.mode.loopback = on;
        if self.runs() {
            setup::write_ctrl(&self.regs, self.chip, self.mode);
            write_rctl(&self.regs, setup::rctl(self.chip, &self.filter, self.mode));
            self.ask_partner();
            self.follow_link();
        }
        Ok(())
    }

    fn stats(&mut self) -> Option<NetStats> {
        self.collect();
        Some(self.statistics.common())
    }

    fn counts(&self) -> &[u64] {
        self.statistics.totals()
    }
}

impl<K: Kernel> E1000<K> {
    /// Brings the chip from reset to running, with empty rings and interrupts masked.
    fn start(&mut self) -> Result<(), Status> {
        setup::start(&self.regs, self.chip, &self.filter, self.mode, &self.rx, &self.tx);
        if let Some(spread) = &mut self.spread {
            spread.start(&self.regs);
        }
        setup::turn_on(&self.nook, &self.regs, self.chip, &self.filter, self.mode)?;
        self.runs = if self.spread.is_some() { Runs::TwoQueues } else { Runs::OneQueue };
        self.masked = true;
        // The reset has taken the throttle off, and `setup::start` leaves it so.
        self.pace = Pace::default();
        Ok(())
    }

    /// Makes the chip silent, gives every packet back, and resets it.
    fn silence(&mut self, unsent: PacketStatus) -> Result<(), Status> {
        self.runs = Runs::No;
        setup::silence(&self.nook, &self.regs)?;
        self.give_back(unsent);
        if let Some(spread) = &mut self.spread {
            spread.give_back(&mut self.queues);
        }
        self.statistics.rings_are_empty();
        setup::reset(&self.nook, &self.regs, self.chip)
    }

    /// Starts a chip that was silenced, if that went well. If it does not start, the driver is closed.
    fn restart(&mut self, silent: Result<(), Status>) -> Result<(), Status> {
        let started = silent.and_then(|()| self.start());
        match started {
            Ok(()) => self.listen(),
            Err(status) => {
                error!(self.nook, "{}: cannot be started again: {status}", self.chip.name);
                if let Err(status) = self.close() {
                    error!(self.nook, "{}: its interrupt stays on: {status}", self.chip.name);
                }
            }
        }
        // The host reclaims what was returned, and `poll` gives the chip new buffers.
        self.schedule_polls();
        started
    }

    /// Closes the driver: a silent chip is no longer watched.
    fn close(&mut self) -> Result<(), Status> {
        self.nook.timer_set(0);
        self.report(LinkState::default());
        self.disable_irqs()
    }

    /// Masks the chip's interrupts or lets them through. A cause that came while they were masked is still in ICR and
    /// interrupts then (section 13.4.20): what comes between a look at the rings and this is not missed.
    #[inline(always)]
    pub(crate) fn mask(&mut self, masked: bool) {
        if masked != self.masked {
            self.change_mask(masked);
        }
    }

    #[inline(never)] // A busy driver seldom comes here.
    fn change_mask(&mut self, masked: bool) {
        self.masked = masked;
        let (register, causes) = if masked { (IMC, u32::MAX) } else { (IMS, CAUSES) };
        self.regs.write(register, causes);
    }

    fn set_filter(&mut self, filter: RxFilter) {
        if self.runs() {
            filter.write(&self.regs, Some(&self.filter));
            write_rctl(&self.regs, setup::rctl(self.chip, &filter, self.mode));
        }
        self.filter = filter;
    }

    /// Looks at the link. Returns STATUS.
    #[cold]
    pub(crate) fn follow_link(&mut self) -> u32 {
        let status = self.regs.read(STATUS);
        // In loopback frames pass, whatever is on the cable.
        let link = if self.mode.loopback { phy::LOOPED } else { phy::link(status) };
        if link.up && link != self.link && !self.mode.loopback {
            self.ask_partner();
        }
        self.report(link);
        status
    }

    /// Asks for a call that finds out what the partner offers: the PHY takes its time to say so.
    fn ask_partner(&mut self) {
        self.asks_partner = true;
        self.nook.work_schedule();
    }

    /// Has the chip ask for and make the pauses that follow from what the partner offers.
    #[cold]
    fn follow_partner(&mut self) {
        let offered = phy::partner(&self.nook, &self.regs, self.chip);
        // The log has why it is not known.
        let flow = if self.link.full_duplex { offered.map_or(Flow::default(), Flow::with) } else { Flow::default() };
        if flow != self.mode.flow {
            self.mode.flow = flow;
            setup::write_ctrl(&self.regs, self.chip, self.mode);
            info!(self.nook, "{}: pauses: {}", self.chip.name, flow.name());
        }
    }

    fn report(&mut self, link: LinkState) {
        if link != self.link {
            self.link = link;
            self.nook.net_link(link);
        }
    }
}
