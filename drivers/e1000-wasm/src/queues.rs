//! One receive queue or two: what of the driver depends on that, apart from the verbs.

use e1000_regs::ICR;
use nook_sdk::{Irq, Kernel, Poll, Status, info};

use crate::driver::{E1000, Runs};
use crate::jumbo::USUAL_MTU_BYTES;
use crate::spread::{QUEUES, Spread};

impl<K: Kernel> E1000<K> {
    /// Returns whether the operator wants several queues of a chip that has them.
    fn wants_two(&self) -> bool {
        self.chip.two_queues && self.nook.wanted_queues() >= QUEUES as u32
    }

    /// Returns the largest payload of a frame: with two queues, each frame is in one buffer.
    pub(crate) fn max_mtu_bytes(&self) -> u32 {
        if self.wants_two() { USUAL_MTU_BYTES } else { self.chip.max_mtu_bytes() }
    }

    /// Returns whether the chip runs.
    pub(crate) fn runs(&self) -> bool {
        self.runs != Runs::No
    }

    /// Makes the second queue, if one is wanted and there is a vector for it.
    pub(crate) fn choose_queues(&mut self) -> Result<(), Status> {
        if !self.wants_two() {
            return Ok(());
        }
        match self.nook.irq_enable(1) {
            Ok(()) if self.spread.is_none() => self.spread = Some(Spread::new(self.nook)?),
            Ok(()) => {}
            Err(Status::Unsupported) => {
                info!(self.nook, "{}: one queue: there is no vector for another", self.chip.name);
                self.spread = None;
            }
            Err(status) => return Err(status),
        }
        Ok(())
    }

    /// Gives the chip what the host has provided before the interface opened.
    pub(crate) fn first_buffers(&mut self) {
        match &mut self.spread {
            None => {
                self.rx_provide(u32::MAX);
            }
            Some(spread) => {
                for queue in 0..QUEUES {
                    spread.provide(&self.regs, &mut self.queues, queue, u32::MAX);
                }
            }
        }
    }

    /// Lets the interrupts of a chip that was started through.
    pub(crate) fn listen(&mut self) {
        let Some(spread) = &mut self.spread else { return self.mask(false) };
        spread.listen(&self.regs);
        (0..QUEUES).for_each(|queue| spread.mask(&self.regs, queue, false));
    }

    /// Asks for `poll` of each queue.
    pub(crate) fn schedule_polls(&self) {
        let queues = if self.spread.is_some() { QUEUES } else { 1 };
        (0..queues as u32).for_each(|queue| self.nook.poll_schedule(queue));
    }

    /// Ends the delivery of interrupts.
    pub(crate) fn disable_irqs(&self) -> Result<(), Status> {
        let second = if self.spread.is_some() { self.nook.irq_disable(1) } else { Ok(()) };
        self.nook.irq_disable(0).and(second)
    }

    /// Reads the chip's counters, and counts what each queue has received.
    pub(crate) fn collect(&mut self) {
        self.statistics.collect(&self.regs);
        let reaped = self.spread.as_ref().map_or([self.rx.reaped(), 0], Spread::reaped);
        self.statistics.received(reaped);
    }
}

/// `poll` of a chip with two queues, or of one that does not run.
#[inline(never)]
pub(crate) fn poll<K: Kernel>(driver: &mut E1000<K>, queue: usize, budget: u32) -> Poll {
    let Some(spread) = driver.spread.as_mut().filter(|_| driver.runs == Runs::TwoQueues && queue < QUEUES) else {
        return Poll::Idle;
    };
    let mut more = spread.give(&mut driver.queues, queue, budget);
    more |= spread.provide(&driver.regs, &mut driver.queues, queue, budget);
    if queue == 0 {
        more |= driver.tx_return(budget) | driver.tx_provide(budget);
    }
    if let Some(spread) = &mut driver.spread {
        spread.mask(&driver.regs, queue, more);
    }
    if more { Poll::Again } else { Poll::Idle }
}

/// `irq` of a chip with two queues, or of one that does not run.
#[inline(never)]
pub(crate) fn irq<K: Kernel>(driver: &mut E1000<K>, vector: u32) -> Irq {
    if driver.runs != Runs::TwoQueues {
        return Irq::NotMine;
    }
    // Vector 1 has one cause, which went with its message. What else stands in ICR is cleared by reading it, queue 1's
    // cause too.
    let causes = if vector == 1 { ICR::RXQ1 } else { driver.regs.read(ICR) };
    if causes & ICR::LSC != 0 {
        driver.follow_link();
    }
    let Some(spread) = &mut driver.spread else { return Irq::NotMine };
    for queue in Spread::<K>::queues(causes) {
        spread.mask(&driver.regs, queue, true);
        driver.nook.poll_schedule(queue as u32);
    }
    if causes == 0 { Irq::NotMine } else { Irq::Handled }
}

/// Gives back a received frame of this queue, whatever is in it.
#[inline(never)]
pub(crate) fn discard<K: Kernel>(driver: &mut E1000<K>, queue: usize) {
    match &mut driver.spread {
        Some(spread) if queue < QUEUES => spread.discard(&mut driver.queues, queue),
        Some(_) => {}
        None => driver.rx_discard(),
    }
}
