//! Commands that do not complete: first they are aborted, then the controller is reset and every request made again.

use nook_sdk::{Kernel, Status, error, warn};
use nvme_regs::CSTS;

use crate::driver::{Nvme, State};
use crate::pairs::number;
use crate::slots::SLOTS;

/// How often the driver looks after the controller.
pub(crate) const TICK_NS: u64 = 500_000_000;
/// How long a command may take before it is aborted, and how long after that before the controller is reset. Together
/// with the reset it is less than what the host lets a driver keep a request for.
const PATIENCE_NS: u64 = 2_000_000_000;

impl<K: Kernel> Nvme<K> {
    /// Has the controller reset, by `work`. Until then nothing is sent.
    #[cold]
    pub(crate) fn want_reset(&mut self) {
        if self.state == State::Open {
            self.state = State::Failing;
            self.nook.work_schedule();
        }
    }

    /// Looks after the controller and what it was given.
    #[cold]
    pub(crate) fn watch(&mut self) {
        let csts = self.chip.regs.read(CSTS);
        if csts & (CSTS::CFS | CSTS::RDY) != CSTS::RDY {
            warn!(self.nook, "the controller has failed: CSTS {csts:#x}");
            return self.want_reset();
        }
        if self.chip.admin.look().is_err() {
            return self.want_reset();
        }
        if self.chip.admin.event.is_some() {
            self.nook.work_schedule();
        }
        let now_ns = self.nook.now_ns();
        let (mut late, mut stuck) = (0, false);
        for id in 0..SLOTS as u16 {
            let Some(mut slot) = self.slots.slots.get(id.into()) else { continue };
            if now_ns.saturating_sub(slot.sent_ns) < PATIENCE_NS {
                continue;
            }
            late += 1;
            if slot.aborted {
                stuck = true;
            } else if self.chip.admin.aborts < self.most_aborts
                && self.chip.admin.abort(number(self.pairs.at_of_slot(id)), id).is_ok()
            {
                // It gets as long again.
                (slot.aborted, slot.sent_ns) = (true, now_ns);
                self.slots.slots.set(id.into(), slot);
            }
        }
        if late == 0 {
            return;
        }
        warn!(self.nook, "{late} commands are not completed; {}", if stuck { "resetting" } else { "aborting" });
        if stuck {
            return self.want_reset();
        }
        // The interrupt may have been lost.
        self.nook.poll_schedule(0);
    }

    /// Resets the controller and makes every request again. They may have been done: what a request does twice is what
    /// it does once.
    pub(crate) fn recover(&mut self) {
        self.resets += 1;
        match self.restart() {
            Ok(()) => {
                for id in 0..SLOTS as u16 {
                    if let Some(mut slot) = self.slots.slots.get(id.into()) {
                        (slot.tries, slot.aborted) = (0, false);
                        self.slots.slots.set(id.into(), slot);
                        self.again.set(id);
                    }
                }
                self.state = State::Open;
                warn!(self.nook, "the controller was reset");
            }
            Err(status) => {
                error!(self.nook, "the controller cannot be started again: {status}; all requests fail");
                self.state = State::Dead;
            }
        }
        self.nook.poll_schedule(0);
    }

    fn restart(&mut self) -> Result<(), Status> {
        // When the reset is over the controller uses no memory any more, and with bus mastering off it cannot: also if
        // the reset fails, for then every request is answered, and its buffer is another one's soon.
        let reset = self.chip.reset();
        self.nook.dma_disable()?;
        reset?;
        self.bring_up()
    }
}
