//! Exercises: what the in-process host does with a peer, to see whether a driver works and how well.

mod latency;
mod ping;
mod report;
mod rr;
mod tcp;

use std::net::Ipv4Addr;
use std::time::Duration;

pub use report::{ExerciseReport, PingReport, RrReport, TcpDirectionReport, TcpReport};

use crate::EXERCISE_PORT;
use crate::stack::Stack;
use ping::Ping;
use rr::Rr;
use tcp::Tcp;

/// How long the far end may take to answer for the first time, or not go on with a stream.
const PATIENCE_NS: u64 = 30_000_000_000;

/// After this, a request or its answer is lost.
const LOST_AFTER_NS: u64 = 1_000_000_000;

/// What to do, and with which host. The parts run one after the other: ping, TCP, request and response.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Plan {
    /// The other host.
    pub target: Ipv4Addr,
    /// Its port for TCP and UDP.
    pub port: u16,
    /// Echo requests, if any.
    pub ping: Option<PingPlan>,
    /// Streams, if any.
    pub tcp: Option<TcpPlan>,
    /// Requests and responses over UDP, if any.
    pub rr: Option<RrPlan>,
}

impl Default for Plan {
    /// Returns a plan of nothing, with 10.0.2.2.
    fn default() -> Self {
        Plan { target: Ipv4Addr::new(10, 0, 2, 2), port: EXERCISE_PORT, ping: None, tcp: None, rr: None }
    }
}

/// Echo requests of 56 bytes, each sent when the one before was answered or is lost.
///
/// The first is sent until it is answered and is not counted: it finds the other host's address, and waits for
/// devices that do not receive at once (QEMU's e1000 takes a second).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PingPlan {
    /// How many.
    pub count: u32,
}

impl Default for PingPlan {
    fn default() -> Self {
        PingPlan { count: 100 }
    }
}

/// Streams with a hash that both ends compute, one at a time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TcpPlan {
    /// How long one stream is; a server with a shorter file sends that.
    pub bytes: u64,
    /// Each way, another stream is begun until this much time has passed.
    pub at_least: Duration,
    /// Streams to the other host.
    pub upload: bool,
    /// Streams from it.
    pub download: bool,
}

impl Default for TcpPlan {
    /// Returns a plan of 64 MiB once each way.
    fn default() -> Self {
        TcpPlan { bytes: 64 << 20, at_least: Duration::ZERO, upload: true, download: true }
    }
}

/// Requests of 100 bytes over UDP with responses of 200, each sent when the one before was answered or is lost.
///
/// The first is not counted, as with [`PingPlan`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RrPlan {
    /// How many at least.
    pub requests: u32,
    /// Requests go on until this much time has passed.
    pub at_least: Duration,
}

impl Default for RrPlan {
    fn default() -> Self {
        RrPlan { requests: 1000, at_least: Duration::ZERO }
    }
}

/// How a part stands after a step.
enum StepResult {
    /// It waits for something to arrive, or until it is due.
    Waits,
    /// It did something that the stack is to carry out.
    Moved,
    /// It is over.
    Over,
    /// It cannot go on, and neither can what would come after it.
    Failed(String),
}

#[allow(clippy::large_enum_variant)] // There is one of them.
enum Part {
    Ping(Ping),
    Tcp(Tcp),
    Rr(Rr),
}

/// An exercise that is being carried out.
pub(crate) struct Exercise {
    plan: Plan,
    seed: u64,
    part: Option<Part>,
    over: bool,
}

impl Exercise {
    pub(crate) fn new(plan: Plan, seed: u64) -> Self {
        Exercise { plan, seed, part: None, over: false }
    }

    pub(crate) fn is_over(&self) -> bool {
        self.over
    }

    /// Returns when it wants a step even if nothing arrives.
    pub(crate) fn due_ns(&self) -> Option<u64> {
        match &self.part {
            None => Some(0),
            Some(Part::Ping(ping)) => ping.due_ns(),
            Some(Part::Tcp(tcp)) => tcp.due_ns(),
            Some(Part::Rr(rr)) => rr.due_ns(),
        }
    }

    /// Goes on as far as possible; says whether the stack has something new to do.
    pub(crate) fn step(&mut self, stack: &mut Stack, report: &mut ExerciseReport, now_ns: u64) -> bool {
        let Some(part) = &mut self.part else {
            self.part = self.next_part(stack);
            self.over = self.part.is_none();
            return true;
        };
        let step = match part {
            Part::Ping(ping) => ping.step(stack, now_ns),
            Part::Tcp(tcp) => tcp.step(stack, now_ns),
            Part::Rr(rr) => rr.step(stack, now_ns),
        };
        match step {
            StepResult::Waits => return false,
            StepResult::Moved => return true,
            StepResult::Over => {}
            StepResult::Failed(why) => {
                report.error = Some(why);
                self.over = true;
            }
        }
        match self.part.take() {
            Some(Part::Ping(ping)) => report.ping = Some(ping.finish(stack)),
            Some(Part::Tcp(tcp)) => report.tcp = Some(tcp.finish(stack)),
            Some(Part::Rr(rr)) => report.rr = Some(rr.finish(stack)),
            None => {}
        }
        true
    }

    fn next_part(&mut self, stack: &mut Stack) -> Option<Part> {
        let to = (self.plan.target, self.plan.port);
        if let Some(plan) = self.plan.ping.take() {
            return Some(Part::Ping(Ping::new(plan, self.plan.target, stack)));
        }
        if let Some(plan) = self.plan.tcp.take() {
            return Some(Part::Tcp(Tcp::new(plan, to, self.seed, stack)));
        }
        if let Some(plan) = self.plan.rr.take() {
            return Some(Part::Rr(Rr::new(plan, to, stack)));
        }
        None
    }

    /// Gives back the sockets of what was under way.
    pub(crate) fn abandon(self, stack: &mut Stack) {
        match self.part {
            Some(Part::Ping(ping)) => drop(ping.finish(stack)),
            Some(Part::Tcp(tcp)) => drop(tcp.finish(stack)),
            Some(Part::Rr(rr)) => drop(rr.finish(stack)),
            None => {}
        }
    }
}
