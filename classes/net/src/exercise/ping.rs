//! Echo requests.

use std::net::Ipv4Addr;

use smoltcp::iface::SocketHandle;
use smoltcp::phy::ChecksumCapabilities;
use smoltcp::wire::{Icmpv4Packet, Icmpv4Repr};

use super::latency::Latencies;
use super::{LOST_AFTER_NS, PATIENCE_NS, PingPlan, PingReport, StepResult};
use crate::stack::Stack;

/// Bytes of data in a request: as many as `ping` sends.
const DATA_BYTES: usize = 56;

/// Marks our requests among others.
const IDENT: u16 = 0x6e6b;

/// The request that looks for the other host is repeated after this.
const LOOK_AGAIN_NS: u64 = 250_000_000;

/// A request that is under way.
struct Waiting {
    sequence: u16,
    sent_ns: u64,
}

pub(super) struct Ping {
    socket: SocketHandle,
    target: Ipv4Addr,
    count: u64,
    sent: u64,
    times: Latencies,
    waiting: Option<Waiting>,
    /// When the search for the other host began; none once it was found.
    looking_since_ns: Option<u64>,
    found: bool,
}

impl Ping {
    pub(super) fn new(plan: PingPlan, target: Ipv4Addr, stack: &mut Stack) -> Self {
        Ping {
            socket: stack.add_icmp(IDENT),
            target,
            count: plan.count.into(),
            sent: 0,
            times: Latencies::new(),
            waiting: None,
            looking_since_ns: None,
            found: false,
        }
    }

    pub(super) fn due_ns(&self) -> Option<u64> {
        let patience = if self.found { LOST_AFTER_NS } else { LOOK_AGAIN_NS };
        Some(self.waiting.as_ref().map_or(0, |waiting| waiting.sent_ns.saturating_add(patience)))
    }

    pub(super) fn step(&mut self, stack: &mut Stack, now_ns: u64) -> StepResult {
        self.take_answers(stack, now_ns);
        if self.waiting.is_some() {
            if self.due_ns().is_some_and(|due| due > now_ns) {
                return StepResult::Waits;
            }
            self.waiting = None;
        }
        if !self.found {
            let since = *self.looking_since_ns.get_or_insert(now_ns);
            if now_ns.saturating_sub(since) > PATIENCE_NS {
                let seconds = PATIENCE_NS / 1_000_000_000;
                return StepResult::Failed(format!("{} has not answered an echo request for {seconds} s", self.target));
            }
        } else if self.sent == self.count {
            return StepResult::Over;
        } else {
            self.sent += 1;
        }
        // Numbers run from 1 and wrap; 0 belongs to the search.
        let sequence = if self.found { ((self.sent - 1) % u64::from(u16::MAX)) as u16 + 1 } else { 0 };
        self.waiting = Some(Waiting { sequence, sent_ns: now_ns });
        self.send(stack, sequence);
        StepResult::Moved
    }

    fn take_answers(&mut self, stack: &mut Stack, now_ns: u64) {
        let socket = stack.icmp(self.socket);
        while let Ok((message, from)) = socket.recv() {
            let Some(waiting) = &self.waiting else { continue };
            if from != self.target.into() || !answers(message, waiting.sequence) {
                continue;
            }
            if self.found {
                self.times.add(now_ns.saturating_sub(waiting.sent_ns));
            }
            self.found = true;
            self.waiting = None;
        }
    }

    fn send(&mut self, stack: &mut Stack, sequence: u16) {
        let socket = stack.icmp(self.socket);
        // One that still waits for the other host's Ethernet address will do.
        if socket.send_queue() > 0 {
            return;
        }
        let data = data(sequence);
        let request = Icmpv4Repr::EchoRequest { ident: IDENT, seq_no: sequence, data: &data };
        // Fails only if the queue is full, and it is empty.
        if let Ok(buffer) = socket.send(request.buffer_len(), self.target.into()) {
            request.emit(&mut Icmpv4Packet::new_unchecked(buffer), &ChecksumCapabilities::default());
        }
    }

    pub(super) fn finish(self, stack: &mut Stack) -> PingReport {
        stack.sockets.remove(self.socket);
        PingReport {
            sent: self.sent,
            received: self.times.count(),
            min_ns: self.times.min_ns(),
            p50_ns: self.times.percentile_ns(50),
            p90_ns: self.times.percentile_ns(90),
            p99_ns: self.times.percentile_ns(99),
            max_ns: self.times.max_ns(),
        }
    }
}

fn data(sequence: u16) -> [u8; DATA_BYTES] {
    std::array::from_fn(|at| (at as u16).wrapping_add(sequence.wrapping_mul(31)) as u8)
}

/// Returns whether a message is the whole answer to the request with this number.
fn answers(message: &[u8], wanted: u16) -> bool {
    let Ok(packet) = Icmpv4Packet::new_checked(message) else { return false };
    match Icmpv4Repr::parse(&packet, &ChecksumCapabilities::default()) {
        Ok(Icmpv4Repr::EchoReply { ident: IDENT, seq_no, data: found }) => seq_no == wanted && found == data(wanted),
        _ => false,
    }
}
