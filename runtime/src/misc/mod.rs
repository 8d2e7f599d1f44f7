//! The misc class, host's side: operations that are asked for, those that a driver has accepted, and what came of them.
//!
//! Nothing is plugged into it: the owner of the [`Nook`] asks, between turns, and takes the answers. It knows no device
//! and no operation. The loop calls it as a [`Class`].
//!
//! **What is asked for is answered once, however the driver ends.** What a driver had accepted when it ended is
//! answered as [`Failure::Lost`] and never asked again: it may have had its effect. What it had not accepted yet is
//! asked again, of its successor, unless one ended at it twice.

#[cfg(test)]
mod numbers;
mod overdue;
mod port;
mod serve;

use std::collections::VecDeque;
use std::fmt;
use std::os::fd::RawFd;

use nook_abi::misc::{MOST_OPEN, MiscFault};
use nook_abi::{Entry, Fault, MAILBOX_BYTES, Status};

pub(crate) use crate::bare_layout::{page, ring_bytes, window_bytes};
pub use port::OperationInfo;
pub(crate) use port::{Completed, Port};
pub(crate) use serve::Hostcalls;

use crate::{Bisect, CallOutcome, Class, Driver, Host, Launcher, Named, Nook, NookError, class};

/// How long to wait before a driver is asked again that said `Busy`.
const BUSY_NS: u64 = 1_000_000;

/// How many drivers may end at one operation that they had not accepted.
const MOST_ENDS: u32 = 2;

/// An operation that was asked for.
#[derive(Clone, Debug)]
struct Asked {
    ticket: u32,
    operation: u32,
    input: Vec<u8>,
    /// How many drivers ended while they were being asked.
    ends: u32,
    /// Interrupts of the driver when it was accepted, and how many of them it said were not its own.
    irqs: (u64, u64),
}

/// What came of an operation.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Answer {
    /// As [`Nook::ask`] gave it.
    pub ticket: u32,
    /// Its output.
    pub outcome: Result<Vec<u8>, Failure>,
}

/// Why an operation has no output.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Failure {
    /// The driver says so.
    Refused(Status),
    /// The driver ended after it had accepted the operation: whether it was done is not known.
    Lost,
    /// Drivers ended as they were asked for it.
    GivenUp,
    /// No driver was asked for it, and none is to come.
    NotAsked,
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Failure::Refused(status) => write!(f, "the driver says: {status}"),
            Failure::Lost => f.write_str("the driver ended before it was completed: whether it was done is not known"),
            Failure::GivenUp => write!(f, "{MOST_ENDS} drivers ended as they were asked for it"),
            Failure::NotAsked => f.write_str("no driver is left that could be asked for it: it was not done"),
        }
    }
}

/// Why an operation cannot be asked for.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum AskError {
    /// There is no such operation, or no driver that said which there are.
    #[error("the driver has no operation `{name}`; it has {have}")]
    NoOperation {
        /// The name.
        name: String,
        /// What there is.
        have: String,
    },
    /// The input is too long.
    #[error("{len_bytes} bytes of input; an operation takes at most {MAILBOX_BYTES}")]
    TooLong {
        /// Its length.
        len_bytes: usize,
    },
}

crate::counters::counters! {
    /// What is counted about a driver's operations; it survives the driver's restarts.
    pub struct MiscCounters {
        /// Operations that were asked for.
        pub asked: u64,
        /// Those that were completed with output.
        pub done: u64,
        /// Those that the driver refused, or completed without output.
        pub refused: u64,
        /// Those that were lost with their driver, or given up, or that no driver was left for.
        pub lost: u64,
    }
}

/// The operations of one driver.
#[derive(Debug, Default)]
pub struct Misc {
    /// What was asked for and not accepted, in order.
    waiting: VecDeque<Asked>,
    /// The one that the call is about that is being made.
    given: Option<Asked>,
    /// Accepted, with the time.
    open: Vec<(Asked, u64)>,
    answers: Vec<Answer>,
    counters: MiscCounters,
    next_ticket: u32,
    not_before_ns: u64,
    now_ns: u64,
    /// Operations were overdue when it was last looked: a look later, that is a fault.
    suspect: bool,
    moves: u64,
    /// The last call asked for an operation, in place of a `poll` that may have been due.
    asked_last: bool,
    /// Operations that drivers had answered when it began.
    returned_before: u64,
}

impl Misc {
    fn answer(&mut self, ticket: u32, outcome: Result<Vec<u8>, Failure>) {
        let counter = match outcome {
            Ok(_) => &mut self.counters.done,
            Err(Failure::Refused(_)) => &mut self.counters.refused,
            Err(Failure::Lost | Failure::GivenUp | Failure::NotAsked) => &mut self.counters.lost,
        };
        *counter += 1;
        self.moves += 1;
        self.answers.push(Answer { ticket, outcome });
    }

    /// Takes what the driver has completed in calls that are final.
    fn collect(&mut self, host: &mut Host) {
        if let class::Port::Misc(port) = &mut host.port {
            self.close(port.take_completed());
        }
    }

    fn close(&mut self, completed: Vec<Completed>) {
        for Completed { ticket, outcome } in completed {
            self.open.retain(|(asked, _)| asked.ticket != ticket);
            self.answer(ticket, outcome.map_err(Failure::Refused));
        }
    }

    /// Loses what is open, but for what calls before the last one completed: an interrupt may have ended the driver
    /// after others that completed something.
    fn close_and_lose(&mut self, host: &Host) {
        let completed = host.port.misc().map(|port| port.completed_finally().to_vec());
        self.close(completed.unwrap_or_default());
        for (Asked { ticket, .. }, _) in std::mem::take(&mut self.open) {
            self.answer(ticket, Err(Failure::Lost));
        }
    }

    /// Releases what was not accepted: the call was rolled back, or its driver is gone.
    fn release_unaccepted(&mut self, ended: bool) {
        let Some(mut asked) = self.given.take() else { return };
        asked.ends += u32::from(ended);
        if asked.ends < MOST_ENDS {
            self.waiting.push_front(asked);
        } else {
            self.answer(asked.ticket, Err(Failure::GivenUp));
        }
    }
}

/// Nothing is searched for: operations are asked for one at a time anyway, and only what was asked for is suspect.
impl Bisect for Misc {
    const BATCH: u32 = 1;
    const MOVES: Entry = Entry::Invoke;
}

impl Class for Misc {
    const CLASS: nook_abi::Class = nook_abi::Class::Misc;
    type Image = Vec<OperationInfo>;

    fn begin(&mut self, _: &Host) {
        self.suspect = false;
        self.not_before_ns = 0;
    }

    fn set_up(&mut self, driver: &mut dyn Driver) -> Result<(), NookError> {
        if self.is_ready(driver.host()) { Ok(()) } else { Err(NookError::AttachedNothing) }
    }

    fn end(&mut self, host: &Host) {
        self.release_unaccepted(true);
        self.close_and_lose(host);
    }

    fn expect_recovery(&mut self, _: u64) {}

    fn stopped(&mut self) {
        if !self.open.is_empty() {
            tracing::warn!("stop: the driver left {} operations open", self.open.len());
        }
    }

    fn shut(&mut self, _: &mut Host) -> Result<(), NookError> {
        for Asked { ticket, .. } in std::mem::take(&mut self.waiting) {
            self.answer(ticket, Err(Failure::NotAsked));
        }
        Ok(())
    }

    fn service(&mut self, host: &Host, now_ns: u64) -> Result<Option<u64>, NookError> {
        self.now_ns = now_ns;
        let limit_ns = host.call.budget.limits().transmit_ns;
        let overdue = self.open.iter().map(|(_, since_ns)| since_ns.saturating_add(limit_ns));
        let asks = !self.waiting.is_empty() && self.open.len() < MOST_OPEN;
        let again = asks.then_some(self.not_before_ns.max(now_ns));
        // Who is to take answers is not kept waiting.
        let answered = (!self.answers.is_empty()).then_some(now_ns);
        Ok(overdue.chain(again).chain(answered).min())
    }

    fn check_health(&mut self, driver: &mut dyn Driver, now_ns: u64) -> Result<Option<u64>, NookError> {
        let host = driver.host_mut();
        let limit_ns = host.call.budget.limits().transmit_ns;
        let overdue = self.open.iter().filter(|(_, since_ns)| now_ns >= since_ns.saturating_add(limit_ns));
        let overdue: Vec<&Asked> = overdue.map(|(asked, _)| asked).collect();
        let operations = overdue.len();
        // The first time, the driver is polled once more: it may have been the nook that stood still.
        if std::mem::replace(&mut self.suspect, operations > 0) && operations > 0 {
            let fault = MiscFault::NotCompleted { operations: operations as u32, limit_ns }.into();
            return Err(NookError::Fault { fault, detail: Some(overdue::seen(host, &overdue)) });
        }
        if operations > 0 {
            host.call.due.poll();
        }
        Ok(None)
    }

    fn is_ready(&self, host: &Host) -> bool {
        host.port.misc().is_some_and(|port| port.operations.is_some())
    }

    fn event_fds(&self, _: &Host, _: &mut Vec<RawFd>) {}

    fn provide(&mut self, host: &mut Host, now_ns: u64) -> Result<u32, NookError> {
        self.collect(host);
        if now_ns < self.not_before_ns || self.open.len() == MOST_OPEN {
            return Ok(0);
        }
        self.given = self.waiting.pop_front();
        Ok(u32::from(self.given.is_some()))
    }

    /// Asks for an operation, if there is one to be asked for; otherwise the driver asked to be polled.
    fn call(&mut self, driver: &mut dyn Driver) -> Result<(), NookError> {
        self.asked_last = self.given.is_some();
        self.returned_before = self.returned();
        let Some(Asked { ticket, operation, input, .. }) = &self.given else {
            return class::poll(driver, MOST_OPEN as u32, 0).map(drop);
        };
        let (ticket, operation, len_bytes) = (*ticket, *operation, input.len() as u32);
        let host = driver.host_mut();
        host.mail(input);
        if let class::Port::Misc(port) = &mut host.port {
            port.open(ticket);
        }
        let code = driver.invoke(ticket, operation, len_bytes).map_err(|fault| driver.host().error(fault))?;
        let bad = |rule| Fault::BadReturn { entry: Entry::Invoke, value: code as u32 as u64, rule };
        let refused = match (code, Status::from_code(code)) {
            (0, _) => None,
            (_, Some(status)) => Some(status),
            (_, None) => return Err(driver.host().error(bad("neither 0 nor a status"))),
        };
        let class::Port::Misc(port) = &mut driver.host_mut().port else { return Ok(()) };
        let Some(status) = refused else {
            // It is open, or completed already, which `collect` finds.
            let since_ns = self.now_ns;
            let irqs = overdue::irqs(driver.host());
            self.open.extend(self.given.take().map(|asked| (Asked { irqs, ..asked }, since_ns)));
            self.moves += 1;
            return Ok(());
        };
        if !port.is_open(ticket) {
            return Err(driver.host().error(bad("an operation was refused and completed")));
        }
        port.close(ticket);
        if status == Status::Busy {
            self.not_before_ns = self.now_ns + BUSY_NS;
            self.waiting.extend(self.given.take());
            self.waiting.rotate_right(1);
        } else if let Some(asked) = self.given.take() {
            self.answer(asked.ticket, Err(Failure::Refused(status)));
        }
        Ok(())
    }

    fn check(&mut self) -> Result<(), Fault> {
        Ok(())
    }

    fn accept(&mut self, host: &mut Host) -> Result<(), NookError> {
        self.collect(host);
        Ok(())
    }

    fn finish_call(&mut self, _: &mut Host) -> Result<CallOutcome, NookError> {
        let arrived = if self.asked_last { 0 } else { self.returned() - self.returned_before };
        Ok(CallOutcome { arrived, more: self.asked_last, ..CallOutcome::default() })
    }

    fn abort(&mut self) {
        self.release_unaccepted(false);
    }

    fn returned(&self) -> u64 {
        self.counters.done + self.counters.refused
    }

    fn idle_stamp(&self) -> Option<u64> {
        (self.given.is_none() && self.open.is_empty() && self.waiting.is_empty()).then_some(self.moves)
    }

    fn before_snapshot(&mut self, _: &mut dyn Driver, _: u64) -> Result<(), NookError> {
        Ok(())
    }

    fn capture(&self, host: &Host) -> Option<Vec<OperationInfo>> {
        host.port.misc()?.operations.clone()
    }

    fn fits(&self, _: &Vec<OperationInfo>) -> bool {
        true
    }

    fn restore(&mut self, host: &mut Host, image: &Vec<OperationInfo>) {
        self.release_unaccepted(true);
        self.close_and_lose(host);
        if let class::Port::Misc(port) = &mut host.port {
            port.begin();
            port.operations = Some(image.clone());
        }
    }

    /// Does nothing: what was accepted is never asked again, whatever the policy says of other classes.
    fn resubmit(&mut self, _: bool) {}

    fn counts(&self) -> Vec<(&'static str, u64)> {
        self.counters.named()
    }
}

impl Nook<Misc> {
    /// Creates a nook for a misc driver. Nothing runs yet.
    pub fn misc(host: Host, launcher: Box<dyn Launcher>) -> Self {
        Nook::new(host, launcher, Misc::default())
    }

    /// Returns the driver's operations, once it has attached them.
    pub fn operations(&self) -> &[OperationInfo] {
        self.host().port.misc().and_then(|port| port.operations.as_deref()).unwrap_or_default()
    }

    /// Asks for an operation, which the next turns do. Returns the ticket that its answer will have.
    ///
    /// # Errors
    /// If the driver has no such operation, or the input is too long.
    pub fn ask(&mut self, name: &str, input: Vec<u8>) -> Result<u32, AskError> {
        let operations = self.operations();
        let Some(operation) = operations.iter().position(|operation| operation.name == name) else {
            let have = operations.iter().map(|operation| operation.name.as_str()).collect::<Vec<_>>().join(", ");
            return Err(AskError::NoOperation { name: name.to_owned(), have });
        };
        if input.len() > MAILBOX_BYTES {
            return Err(AskError::TooLong { len_bytes: input.len() });
        }
        let misc = self.class_mut();
        let ticket = misc.next_ticket;
        misc.next_ticket = ticket.wrapping_add(1);
        misc.counters.asked += 1;
        misc.waiting.push_back(Asked { ticket, operation: operation as u32, input, ends: 0, irqs: (0, 0) });
        Ok(ticket)
    }

    /// Takes the answers that there are.
    pub fn answers(&mut self) -> Vec<Answer> {
        std::mem::take(&mut self.class_mut().answers)
    }

    /// Returns what is counted about the operations.
    pub fn misc_counters(&self) -> &MiscCounters {
        &self.class().counters
    }
}
