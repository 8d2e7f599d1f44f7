//! Commands on their way: taken, done, completed; each later than the one before if the behaviour says so.

use nvme_regs::{admin, command::Command, completion, status};

use crate::NEVER;
use crate::model::Model;
use crate::registers::Shutdown;

/// Commands that are worked on at a time.
const MOST: usize = 256;

/// What became of a command: its result and status; or nothing yet, because something must happen first.
pub(crate) type Outcome = Option<(u32, u16)>;

/// Where a command is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Stage {
    /// To be done.
    Taken,
    /// To be completed, with this result and status.
    Done(u32, u16),
    /// Waits for an Abort.
    Stuck,
}

/// A command that was taken.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Work {
    pub(crate) sq: u16,
    pub(crate) command: Command,
    pub(crate) stage: Stage,
    /// When it goes on.
    due_ns: u64,
}

impl Model {
    /// Takes commands.
    pub(crate) fn take(&mut self) {
        if !self.works() || self.registers.shutdown != Shutdown::None {
            return;
        }
        let (late, queues) = (self.behaviour.late_ns != 0, self.submissions.len());
        let first = if late { self.rng.index(queues) } else { 0 };
        for at in 0..queues {
            let at = (first + at) % queues;
            while self.submissions[at].has_some() && self.work.len() < MOST {
                let queue = &mut self.submissions[at];
                let sq = queue.id;
                let Some(command) = queue.take(&mut self.reach) else {
                    return self.fail("a command lies outside the device's reach");
                };
                let due_ns = self.now_ns + self.late_ns();
                if self.work.iter().any(|work| work.sq == sq && work.command.cid() == command.cid()) {
                    let stage = Stage::Done(0, status::ID_CONFLICT | status::DO_NOT_RETRY);
                    self.work.push(Work { sq, command, stage, due_ns });
                    continue;
                }
                let stuck = sq != 0 && self.rng.one_in(self.behaviour.stuck_one_in);
                let stage = if stuck { Stage::Stuck } else { Stage::Taken };
                self.work.push(Work { sq, command, stage, due_ns });
            }
        }
    }

    /// Does what is due, in any order.
    pub(crate) fn perform(&mut self) {
        let now_ns = self.now_ns;
        let ready = |work: &Work| work.stage == Stage::Taken && work.due_ns <= now_ns;
        while self.works() {
            let late = self.behaviour.late_ns != 0;
            let count = if late { self.work.iter().filter(|work| ready(work)).count() } else { 1 };
            let nth = self.rng.index(if late { count } else { 1 });
            let found = self.work.iter().enumerate().filter(|(_, work)| ready(work)).nth(nth);
            let Some((at, &Work { sq, command, .. })) = found else { return };
            match self.do_command(sq, &command) {
                Some((result, status)) => self.done(at, result, status),
                // It waits elsewhere.
                None => drop(self.work.remove(at)),
            }
        }
    }

    /// Does one command, or fails to.
    fn do_command(&mut self, sq: u16, command: &Command) -> Outcome {
        if sq == 0 {
            return self.admin(command);
        }
        if self.rng.one_in(self.behaviour.fatal_one_in) {
            self.fail("as its behaviour has it");
            return Some((0, status::INTERNAL));
        }
        if self.rng.in_a_million(self.behaviour.transient_errors_ppm) {
            if self.rng.one_in(2) {
                self.io(command);
            }
            let again = if self.rng.one_in(2) { status::INTERRUPTED } else { status::NAMESPACE_NOT_READY };
            return Some((0, again));
        }
        Some((0, self.io(command)))
    }

    /// Notes the outcome of the command at `at`; when it is completed, is drawn.
    pub(crate) fn done(&mut self, at: usize, result: u32, status: u16) {
        let now_ns = self.now_ns;
        if self.batch_ns <= now_ns || self.rng.one_in(3) {
            self.batch_ns = now_ns + self.late_ns();
        }
        let due_ns = self.batch_ns;
        if let Some(work) = self.work.get_mut(at) {
            (work.stage, work.due_ns) = (Stage::Done(result, status), due_ns);
        }
    }

    /// Completes what is due and has room.
    pub(crate) fn complete(&mut self) {
        let mut at = 0;
        while at < self.work.len() && self.works() {
            let Work { sq, command, stage: Stage::Done(result, status), due_ns } = self.work[at] else {
                at += 1;
                continue;
            };
            if due_ns > self.now_ns || !self.post(sq, command.cid(), result, status) {
                at += 1;
                continue;
            }
            self.work.remove(at);
        }
    }

    /// Leaves a completion; false if there is no room.
    pub(crate) fn post(&mut self, sq: u16, cid: u16, result: u32, status: u16) -> bool {
        let Some(queue) = self.submissions.iter().find(|queue| queue.id == sq) else { return true };
        let (cq, head) = (queue.cq, queue.head());
        let Some(queue) = self.completions.iter_mut().find(|queue| queue.id == cq) else { return true };
        if queue.is_full() {
            return false;
        }
        let vector = queue.vector;
        if !queue.post(&mut self.reach, completion::words(result, head, sq, cid, status)) {
            self.fail("a completion queue lies outside the device's reach");
        } else if let Some(vector) = vector {
            self.irq.message(vector);
        }
        true
    }

    /// Returns when the next piece of work is due.
    pub(crate) fn work_due_ns(&self) -> u64 {
        if !self.works() {
            return NEVER;
        }
        let has_room = |sq: u16| {
            let cq = self.submissions.iter().find(|queue| queue.id == sq).map(|queue| queue.cq);
            self.completions.iter().any(|queue| Some(queue.id) == cq && !queue.is_full())
        };
        let due = |work: &Work| match work.stage {
            Stage::Stuck => NEVER,
            Stage::Taken => work.due_ns,
            Stage::Done(..) if has_room(work.sq) => work.due_ns,
            Stage::Done(..) => NEVER,
        };
        self.work.iter().map(due).fold(NEVER, u64::min)
    }

    /// Answers an Abort (section 5.1): the command is still there and goes on, or ends without being done, or with; and
    /// the answer need not be what happened.
    pub(crate) fn abort(&mut self, dword10: u32) -> Outcome {
        let (sq, cid) = (admin::ABORT_SQ.get(dword10) as u16, admin::ABORT_CID.get(dword10) as u16);
        let wanted = |work: &Work| work.sq == sq && work.command.cid() == cid;
        let Some(at) = self.work.iter().position(|work| wanted(work) && !matches!(work.stage, Stage::Done(..))) else {
            return Some((admin::NOT_ABORTED, status::SUCCESS));
        };
        let answer = match self.rng.below(4) {
            0 => return Some((admin::NOT_ABORTED, status::SUCCESS)),
            1 => admin::NOT_ABORTED,
            _ => 0,
        };
        if self.rng.one_in(2) {
            let command = self.work[at].command;
            self.io(&command);
        }
        self.done(at, 0, status::ABORT_REQUESTED);
        Some((answer, status::SUCCESS))
    }

    /// Ends the commands of a queue that is deleted (section 5.7).
    pub(crate) fn end_commands_of(&mut self, sq: u16) {
        while let Some(at) = self.work.iter().position(|work| work.sq == sq) {
            let Work { command, stage, .. } = self.work.remove(at);
            let status = match stage {
                Stage::Done(_, status) => status,
                Stage::Taken | Stage::Stuck => {
                    if self.rng.one_in(2) {
                        self.io(&command);
                    }
                    status::ABORTED_SQ_DELETION
                }
            };
            self.post(sq, command.cid(), 0, status);
        }
    }

    /// Does some of what was taken, and completes some of it, before a reset takes the rest away.
    pub(crate) fn finish_before_reset(&mut self) {
        for at in 0..self.work.len() {
            let Work { sq, command, stage, .. } = self.work[at];
            if sq == 0 || self.registers.failed || !self.rng.one_in(2) {
                continue;
            }
            let status = match stage {
                Stage::Done(_, status) => status,
                Stage::Taken | Stage::Stuck => self.io(&command),
            };
            if self.rng.one_in(2) {
                self.post(sq, command.cid(), 0, status);
            }
        }
    }
}
