//! [`Nvme`]: the driver's state, and what the host calls.

use nook_sdk::{
    BlockDriver, Completing, Disk, Irq, Kernel, Nook, Poll, ProbeReason, Requested, Status, error, info, warn,
};

use crate::controller::Controller;
use crate::identify::{self, Found};
use crate::io::Again;
use crate::pairs::{Pairs, number};
use crate::quirks::Quirks;
use crate::slots::{SLOTS, Slots};
use crate::watch::TICK_NS;

/// Where PCI configuration space has the vendor and the device (PCI 3.0, section 6.2.1).
const PCI_VENDOR: u32 = 0;
const PCI_DEVICE: u32 = 2;
/// The BAR with the registers (PCIe 3.1.1).
const BAR: u32 = 0;

/// The vector of the admin queue, and the first of the I/O queues, if there are as many.
const ADMIN_VECTOR: u32 = 0;
const IO_VECTOR: u32 = 1;

/// How long `stop` waits for commands before it deletes their queue.
const DRAIN_NS: u64 = 2_000_000_000;
const DRAIN_LOOK_NS: u64 = 200_000;

/// What the driver is doing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum State {
    /// The controller is off.
    Closed,
    /// Requests are served.
    Open,
    /// The controller is to be reset, by `work`.
    Failing,
    /// It could not be started again: requests fail.
    Dead,
}

/// The driver of one controller.
pub struct Nvme<K: Kernel> {
    pub(crate) nook: Nook<K>,
    pub(crate) chip: Controller<K>,
    pub(crate) pairs: Pairs<K>,
    pub(crate) slots: Slots<K>,
    pub(crate) state: State,
    pub(crate) disk: Disk,
    pub(crate) events: u32,
    /// Abort commands at a time.
    pub(crate) most_aborts: u32,
    /// Vectors of I/O queues; the admin queue has one more. If there are none, the one that there is is masked in the
    /// controller.
    io_vectors: u32,
    masked: bool,
    pub(crate) again: Again,
    /// Completions of nothing that was asked, and controller resets, ever.
    pub(crate) strays: u32,
    pub(crate) resets: u32,
}

impl<K: Kernel> BlockDriver<K> for Nvme<K> {
    fn probe(nook: Nook<K>, _reason: ProbeReason) -> Result<Self, Status> {
        let quirks = Quirks::of(nook.config_read16(PCI_VENDOR) as u16, nook.config_read16(PCI_DEVICE) as u16);
        if nook.most_requests() > SLOTS as u32 {
            error!(nook, "the host gives {} requests at a time, and the driver keeps {SLOTS}", nook.most_requests());
            return Err(Status::Invalid);
        }
        // Whatever was before, even a driver that died: bus mastering is off, and the reset forgets its commands.
        let mut chip = Controller::new(nook, nook.regs(BAR))?;
        chip.reset()?;
        chip.start()?;
        let found = identify::find(nook, &mut chip, quirks);
        // It is started again in `open`: interrupts must be on before it is (QEMU's stays silent otherwise).
        chip.reset()?;
        nook.dma_disable()?;
        let Found { namespace, disk, aborts, events } = found?;
        Ok(Nvme {
            nook,
            pairs: Pairs::new(nook, nook.queue_pairs())?,
            slots: Slots::new(nook, namespace, disk.block_bytes)?,
            chip,
            state: State::Closed,
            disk,
            events,
            most_aborts: aborts,
            io_vectors: 0,
            masked: false,
            again: Again::default(),
            strays: 0,
            resets: 0,
        })
    }

    fn disk(&self) -> Disk {
        self.disk
    }

    fn remove(self) {
        if let Err(status) = self.chip.reset() {
            error!(self.nook, "the controller does not become silent: {status}");
        }
    }

    fn open(&mut self) -> Result<(), Status> {
        if self.state != State::Closed {
            return Err(Status::Busy);
        }
        self.nook.irq_enable(ADMIN_VECTOR)?;
        let wanted = IO_VECTOR..IO_VECTOR + self.pairs.made() as u32;
        self.io_vectors = wanted.take_while(|vector| self.nook.irq_enable(*vector).is_ok()).count() as u32;
        if let Err(status) = self.chip.reset().and_then(|()| self.bring_up()) {
            let _ = self.chip.reset();
            self.disable_interrupts()?;
            return Err(status);
        }
        self.state = State::Open;
        self.nook.timer_set(self.nook.now_ns() + TICK_NS);
        self.nook.poll_schedule(0);
        Ok(())
    }

    fn stop(&mut self, completing: &mut Completing<'_>) -> Result<(), Status> {
        if self.state == State::Closed {
            return Ok(());
        }
        self.nook.timer_set(0);
        if self.state == State::Open
            && let Err(status) = self.wind_down(completing)
        {
            warn!(self.nook, "the controller does not end in order: {status}");
        }
        self.state = State::Closed;
        let silent = self.chip.reset();
        self.nook.dma_disable()?;
        self.give_back(completing);
        silent.and(self.disable_interrupts())
    }

    #[inline]
    fn poll(&mut self, requested: &mut Requested<'_>, completing: &mut Completing<'_>) -> Poll {
        let more = match self.state {
            State::Open => {
                let more = self.complete(completing);
                if self.state == State::Open {
                    self.submit(requested, completing);
                }
                more
            }
            State::Dead => self.refuse_all(requested, completing),
            State::Closed | State::Failing => false,
        };
        self.mask(more);
        if more { Poll::Again } else { Poll::Idle }
    }

    #[inline]
    fn irq(&mut self, vector: u32) -> Irq {
        match self.state {
            State::Open => {}
            State::Closed => return Irq::NotMine,
            State::Failing | State::Dead => {
                self.mask(true);
                return Irq::Handled;
            }
        }
        if !self.has_messages() || vector == ADMIN_VECTOR {
            if self.chip.admin.look().is_err() {
                self.want_reset();
            }
            if self.chip.admin.event.is_some() {
                self.nook.work_schedule();
            }
            if self.has_messages() {
                return Irq::Handled;
            }
        }
        self.mask(true);
        Irq::HandledPoll
    }

    fn timer(&mut self) {
        if self.state == State::Closed {
            return;
        }
        self.nook.timer_set(self.nook.now_ns() + TICK_NS);
        if self.state == State::Open {
            self.watch();
        }
    }

    fn work(&mut self) {
        if self.state == State::Open && self.chip.admin.event.is_some() && self.follow_events().is_err() {
            self.want_reset();
        }
        if self.state == State::Failing {
            self.recover();
        }
    }
}

impl<K: Kernel> Nvme<K> {
    /// Brings a controller from reset to taking requests, with empty queues.
    pub(crate) fn bring_up(&mut self) -> Result<(), Status> {
        self.pairs.clear()?;
        self.again = Again::default();
        self.masked = false;
        self.chip.start()?;
        let granted = self.chip.ask_for_queues(self.pairs.made() as u32)?;
        self.pairs.limit(granted);
        for at in 0..self.pairs.count() {
            // Queues share the last vector if there are fewer.
            let vector = (IO_VECTOR + at as u32).min(self.io_vectors);
            if let Some(queue) = self.pairs.get_mut(at) {
                self.chip.create_queues(queue, number(at), vector)?;
            }
        }
        if self.pairs.count() as u32 != self.nook.queue_pairs().max(1) {
            info!(self.nook, "{} pairs of queues are used, of {granted} that are granted", self.pairs.count());
        }
        self.ask_for_events()
    }

    /// Ends in order: what was sent is done, the queues are deleted, and what is cached becomes durable.
    fn wind_down(&mut self, completing: &mut Completing<'_>) -> Result<(), Status> {
        let nook = self.nook;
        let drained = nook.poll_until(DRAIN_NS, DRAIN_LOOK_NS, || {
            self.complete(completing);
            !self.is_busy()
        });
        if drained.is_err() {
            info!(nook, "some commands are not completed: they end with their queue");
        }
        (0..self.pairs.count()).try_for_each(|at| self.chip.delete_queues(number(at)))?;
        self.chip.shut_down()
    }

    fn disable_interrupts(&mut self) -> Result<(), Status> {
        for vector in IO_VECTOR..=self.io_vectors {
            self.nook.irq_disable(vector)?;
        }
        self.nook.irq_disable(ADMIN_VECTOR)
    }

    /// Returns whether the I/O queues have vectors besides that of the admin queue.
    #[inline(always)]
    fn has_messages(&self) -> bool {
        self.io_vectors != 0
    }

    /// Masks the line in the controller or opens it; there is nothing to mask with messages.
    #[inline(always)]
    fn mask(&mut self, masked: bool) {
        if !self.has_messages() && masked != self.masked && self.state != State::Closed {
            self.masked = masked;
            self.chip.mask(masked);
        }
    }
}
