//! Requests and responses over UDP.

use std::net::Ipv4Addr;

use smoltcp::iface::SocketHandle;

use super::latency::Latencies;
use super::{LOST_AFTER_NS, PATIENCE_NS, RrPlan, RrReport, StepResult};
use crate::protocol;
use crate::stack::Stack;

const REQUEST_BYTES: usize = 100;
const RESPONSE_BYTES: usize = 200;

/// Where the requests come from.
const LOCAL_PORT: u16 = 46_665;

pub(super) struct Rr {
    socket: SocketHandle,
    to: (Ipv4Addr, u16),
    plan: RrPlan,
    /// Requests that count.
    sent: u64,
    times: Latencies,
    /// The number of the request that is under way, and when it was sent.
    waiting: Option<(u64, u64)>,
    next_number: u64,
    /// When the first request of all was sent.
    first_ns: Option<u64>,
    /// When the first response came: from then on, requests count.
    begun_ns: Option<u64>,
    ended_ns: u64,
}

impl Rr {
    pub(super) fn new(plan: RrPlan, to: (Ipv4Addr, u16), stack: &mut Stack) -> Self {
        Rr {
            socket: stack.add_udp(LOCAL_PORT),
            to,
            plan,
            sent: 0,
            times: Latencies::new(),
            waiting: None,
            next_number: 0,
            first_ns: None,
            begun_ns: None,
            ended_ns: 0,
        }
    }

    pub(super) fn due_ns(&self) -> Option<u64> {
        Some(self.waiting.map_or(0, |(_, sent_ns)| sent_ns.saturating_add(LOST_AFTER_NS)))
    }

    pub(super) fn step(&mut self, stack: &mut Stack, now_ns: u64) -> StepResult {
        self.take_responses(stack, now_ns);
        if self.waiting.is_some() {
            if self.due_ns().is_some_and(|due| due > now_ns) {
                return StepResult::Waits;
            }
            self.waiting = None;
        }
        match self.begun_ns {
            None => {
                let first = *self.first_ns.get_or_insert(now_ns);
                if now_ns.saturating_sub(first) > PATIENCE_NS {
                    let (address, port) = self.to;
                    let seconds = PATIENCE_NS / 1_000_000_000;
                    return StepResult::Failed(format!(
                        "{address} port {port} has not answered over UDP for {seconds} s"
                    ));
                }
            }
            Some(begun) => {
                self.ended_ns = now_ns;
                let long_enough = u128::from(now_ns.saturating_sub(begun)) >= self.plan.at_least.as_nanos();
                if self.sent >= self.plan.requests.into() && long_enough {
                    return StepResult::Over;
                }
                self.sent += 1;
            }
        }
        self.waiting = Some((self.next_number, now_ns));
        let socket = stack.udp(self.socket);
        // One that still waits for the other host's Ethernet address must go first; it comes too late, and is lost.
        if let Ok(request) = socket.send(REQUEST_BYTES, self.to) {
            protocol::write_datagram(request, self.next_number, RESPONSE_BYTES as u16);
        }
        self.next_number += 1;
        StepResult::Moved
    }

    fn take_responses(&mut self, stack: &mut Stack, now_ns: u64) {
        let socket = stack.udp(self.socket);
        while let Ok((response, from)) = socket.recv() {
            let Some((number, sent_ns)) = self.waiting else { continue };
            let is_from_target = (from.endpoint.addr, from.endpoint.port) == (self.to.0.into(), self.to.1);
            let is_right = response.len() == RESPONSE_BYTES && protocol::check_response(response) == Some(number);
            if !is_from_target || !is_right {
                continue;
            }
            match self.begun_ns {
                Some(_) => self.times.add(now_ns.saturating_sub(sent_ns)),
                None => self.begun_ns = Some(now_ns),
            }
            self.waiting = None;
        }
    }

    pub(super) fn finish(self, stack: &mut Stack) -> RrReport {
        stack.sockets.remove(self.socket);
        let seconds = self.ended_ns.saturating_sub(self.begun_ns.unwrap_or(self.ended_ns)) as f64 / 1e9;
        let rate = if seconds > 0.0 { self.times.count() as f64 / seconds } else { 0.0 };
        RrReport {
            requests: self.sent,
            lost: self.sent - self.times.count(),
            p50_ns: self.times.percentile_ns(50),
            p99_ns: self.times.percentile_ns(99),
            max_ns: self.times.max_ns(),
            requests_per_second: rate as u64,
        }
    }
}
