//! The driver: what happens in each entry.

use e1000_regs::{ICR, IMC, IMS, ITR};
use nook_sdk::{
    Irq, Kernel, MacAddress, NetDriver, NetQueues, NetStats, Nook, Poll, ProbeReason, Regs, RxMode, Status, debug,
    info, warn,
};

use crate::chip::{self, Chip};
use crate::filter::Filter;
use crate::link::Link;
use crate::rx::RxRing;
use crate::stats::Statistics;
use crate::tx::TxRing;

/// Causes that say that frames were received or sent: `poll` sees to all of them.
const POLL_CAUSES: u32 = ICR::TXDW | ICR::RXDMT0 | ICR::RXO | ICR::RXT0;
/// Causes that raise an interrupt. TXQE is left out: it would only say what TXDW has said.
const CAUSES: u32 = POLL_CAUSES | ICR::LSC;

/// Least time between two interrupts, in steps of 256 ns (section 13.4.18): 50 µs. A lone frame is announced at once,
/// because the last interrupt is longer ago than that; a stream makes 20,000 interrupts a second at most. The delay
/// timers of the receiver (RDTR, RADV) stay off: they would delay the lone frame too.
const ITR_STEPS: u32 = 195;

/// How often the timer looks after the transmitter.
const WATCHDOG_NS: u64 = 1_000_000_000;

/// The largest payload: frames of 1518 bytes fit one buffer of 2048.
const MAX_MTU_BYTES: u32 = 1500;

/// One controller.
pub struct E1000<K: Kernel> {
    nook: Nook<K>,
    regs: Regs<K>,
    queues: NetQueues,
    rx: RxRing<K>,
    tx: TxRing<K>,
    filter: Filter,
    link: Link,
    statistics: Statistics,
    is_open: bool,
    /// The transmitter hangs: `work` is to reset the controller.
    reset_wanted: bool,
}

impl<K: Kernel> NetDriver<K> for E1000<K> {
    fn poll(&mut self, _queue: u32, budget: u32) -> Poll {
        if !self.is_open {
            return Poll::Idle;
        }
        self.tx.reap(&mut self.queues.tx_return);
        let received = self.rx.harvest(budget, &mut self.queues.rx_return);
        self.rx.refill(&self.regs, &mut self.queues.rx_provide, &self.queues.pool);
        let sent = self.tx.submit(budget, &self.regs, &mut self.queues, &mut self.statistics);
        if received >= budget || sent >= budget {
            return Poll::Again;
        }
        // What came after the rings were looked at has set its cause in ICR, so it interrupts now (section 13.4.20).
        self.regs.write(IMS, CAUSES);
        Poll::Idle
    }

    fn irq(&mut self, _vector: u32) -> Irq {
        // Reading clears every cause (section 13.4.17), so each one that is set must be seen to from here on, also
        // those that are masked while `poll` is at work.
        let causes = self.regs.read(ICR);
        if causes & CAUSES == 0 {
            return Irq::NotMine;
        }
        if causes & ICR::LSC != 0 {
            self.nook.work_schedule();
        }
        if causes & POLL_CAUSES == 0 || !self.is_open {
            return Irq::Handled;
        }
        self.regs.write(IMC, u32::MAX);
        Irq::HandledPoll
    }

    fn probe(nook: Nook<K>, reason: ProbeReason) -> Result<Self, Status> {
        let chip = Chip::of(&nook)?;
        let regs = nook.regs(0);
        debug!(nook, "{}, probed for {:?}", chip.name, reason);
        chip::reset(&nook, &regs)?;
        let mac = chip::read_mac(&nook, &regs)?;
        // Counters survive a reset and begin with anything (section 13.7).
        let mut statistics = Statistics::default();
        statistics.forget(&regs);
        let mut link = Link::default();
        link.set_up_phy(&nook, &regs)?;
        let driver = E1000 {
            nook,
            regs,
            queues: nook.queues(),
            rx: RxRing::new(nook)?,
            tx: TxRing::new(nook)?,
            filter: Filter::new(mac),
            link,
            statistics,
            is_open: false,
            reset_wanted: false,
        };
        nook.net_attach(mac, MAX_MTU_BYTES)?;
        let [a, b, c, d, e, f] = mac;
        info!(nook, "{} at {a:02x}:{b:02x}:{c:02x}:{d:02x}:{e:02x}:{f:02x}", chip.name);
        Ok(driver)
    }

    fn remove(mut self) {
        if self.is_open
            && let Err(status) = self.stop()
        {
            warn!(self.nook, "stopping for removal: {status}");
        }
    }

    fn open(&mut self) -> Result<(), Status> {
        if self.is_open {
            return Err(Status::Busy);
        }
        self.start()?;
        self.nook.irq_enable(0)?;
        self.is_open = true;
        self.link.report(&self.nook, &self.regs);
        self.nook.timer_set(self.nook.clock_ns() + WATCHDOG_NS);
        self.regs.write(IMS, CAUSES);
        Ok(())
    }

    fn stop(&mut self) -> Result<(), Status> {
        self.is_open = false;
        self.reset_wanted = false;
        self.nook.timer_set(0);
        let quiet = self.halt();
        self.nook.irq_disable(0)?;
        self.link.lose(&self.nook);
        quiet
    }

    fn timer(&mut self) {
        if !self.is_open {
            return;
        }
        if self.tx.hangs(self.link.is_up()) {
            warn!(self.nook, "the transmitter makes no progress: resetting the controller");
            self.reset_wanted = true;
            self.nook.work_schedule();
        }
        self.nook.timer_set(self.nook.now_ns() + WATCHDOG_NS);
    }

    fn work(&mut self) {
        if !self.is_open {
            return;
        }
        if core::mem::take(&mut self.reset_wanted) {
            self.statistics.tx_timed_out();
            match self.halt().and_then(|()| self.start()) {
                Ok(()) => {
                    self.regs.write(IMS, CAUSES);
                    self.nook.poll_schedule(0);
                }
                Err(status) => {
                    // The next tick of the timer finds the transmitter still stuck only if it is in use: ask again.
                    warn!(self.nook, "the reset failed: {status}; trying again");
                    self.reset_wanted = true;
                    self.nook.work_schedule();
                    self.nook.sleep_ns(WATCHDOG_NS / 10);
                    return;
                }
            }
        }
        self.link.report(&self.nook, &self.regs);
    }

    fn set_mac(&mut self, mac: MacAddress) -> Result<(), Status> {
        if mac[0] & 1 != 0 || mac == [0; 6] {
            return Err(Status::Invalid);
        }
        self.filter.set_mac(mac);
        if self.is_open {
            self.filter.write_addresses(&self.regs);
        }
        Ok(())
    }

    fn set_mtu(&mut self, mtu_bytes: u32) -> Result<(), Status> {
        // Buffers hold any frame up to the largest payload, so there is nothing to change.
        if (68..=MAX_MTU_BYTES).contains(&mtu_bytes) { Ok(()) } else { Err(Status::Invalid) }
    }

    fn set_rx_mode(&mut self, mode: RxMode<'_>) -> Result<(), Status> {
        self.filter.set_mode(mode);
        if self.is_open {
            self.filter.write(&self.regs);
            self.rx.set_control(&self.regs, self.filter.control());
        }
        Ok(())
    }

    fn stats(&mut self) -> NetStats {
        self.statistics.read(&self.regs)
    }
}

impl<K: Kernel> E1000<K> {
    /// From reset to running, with interrupts still masked. The order is that of section 14.4 and 14.5.
    fn start(&mut self) -> Result<(), Status> {
        self.nook.dma_enable()?;
        self.filter.write_all(&self.regs);
        self.regs.write(ITR, ITR_STEPS);
        self.tx.start(&self.regs);
        self.rx.start(&self.regs, self.filter.control());
        self.rx.refill(&self.regs, &mut self.queues.rx_provide, &self.queues.pool);
        // Causes from before are nobody's business.
        self.regs.read(ICR);
        Ok(())
    }

    /// From anything to quiet: after a reset the controller writes to no memory, so the packets in its rings can go
    /// back.
    fn halt(&mut self) -> Result<(), Status> {
        let reset = chip::reset(&self.nook, &self.regs);
        self.nook.dma_disable()?;
        self.rx.give_back(&mut self.queues.rx_return);
        self.tx.give_back(&mut self.queues.tx_return);
        reset
    }
}
