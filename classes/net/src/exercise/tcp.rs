//! Streams over TCP.

use std::net::Ipv4Addr;

use nook_abi::Hex;
use smoltcp::iface::SocketHandle;
use smoltcp::socket::tcp::State;

use super::{PATIENCE_NS, StepResult, TcpDirectionReport, TcpPlan, TcpReport};
use crate::protocol::{Progress, Request, Transfer, Verb};
use crate::stack::Stack;
use crate::stream::Stream;

/// The first of the ports that connections come from (RFC 6335: the dynamic ones).
const FIRST_PORT: u16 = 49_152;

/// How many there are.
const PORTS: u64 = 16_384;

#[allow(clippy::large_enum_variant)] // There is one of them.
enum Stage {
    /// No connection; the next stream is to be begun.
    Idle,
    /// It is being opened, or the stream runs.
    Running(Transfer),
    /// The stream is at its end, and the connection is being closed.
    Closing,
}

/// One of the ways, and what was measured of it.
#[derive(Default)]
struct Way {
    begun_ns: Option<u64>,
    report: TcpDirectionReport,
    all_ok: bool,
}

pub(super) struct Tcp {
    socket: SocketHandle,
    to: (Ipv4Addr, u16),
    plan: TcpPlan,
    /// The ways that are still to do; the one that runs is the last.
    todo: Vec<Verb>,
    upload: Way,
    download: Way,
    stage: Stage,
    /// Connections up to now, counted from a number that differs from run to run.
    connections: u64,
    /// When the stream began.
    connected_ns: Option<u64>,
    /// Bytes of the stream that had passed, and when that last changed.
    seen: (u64, u64),
}

impl Tcp {
    pub(super) fn new(plan: TcpPlan, to: (Ipv4Addr, u16), seed: u64, stack: &mut Stack) -> Self {
        let mut todo = Vec::new();
        if plan.download {
            todo.push(Verb::Get);
        }
        if plan.upload {
            todo.push(Verb::Put);
        }
        Tcp {
            socket: stack.add_tcp(),
            to,
            plan,
            todo,
            upload: Way::default(),
            download: Way::default(),
            stage: Stage::Idle,
            connections: seed,
            connected_ns: None,
            seen: (0, 0),
        }
    }

    pub(super) fn due_ns(&self) -> Option<u64> {
        match self.stage {
            Stage::Idle => Some(0),
            Stage::Running(_) | Stage::Closing => Some(self.seen.1.saturating_add(PATIENCE_NS)),
        }
    }

    pub(super) fn step(&mut self, stack: &mut Stack, now_ns: u64) -> StepResult {
        let Some(&verb) = self.todo.last() else { return StepResult::Over };
        match &mut self.stage {
            Stage::Idle => self.begin(verb, stack, now_ns),
            Stage::Running(_) => self.run(verb, stack, now_ns),
            Stage::Closing => self.close(verb, stack, now_ns),
        }
    }

    fn way(&mut self, verb: Verb) -> &mut Way {
        match verb {
            Verb::Put => &mut self.upload,
            Verb::Get => &mut self.download,
        }
    }

    fn begin(&mut self, verb: Verb, stack: &mut Stack, now_ns: u64) -> StepResult {
        let local_port = FIRST_PORT + (self.connections % PORTS) as u16;
        self.connections += 1;
        if let Err(error) = stack.connect(self.socket, self.to, local_port) {
            let (address, port) = self.to;
            return StepResult::Failed(format!("cannot connect to {address} port {port}: {error}"));
        }
        stack.frames.watch(local_port);
        self.stage = Stage::Running(Transfer::new(Request { verb, bytes: self.plan.bytes }));
        self.connected_ns = None;
        self.seen = (0, now_ns);
        StepResult::Moved
    }

    fn run(&mut self, verb: Verb, stack: &mut Stack, now_ns: u64) -> StepResult {
        let Stage::Running(transfer) = &mut self.stage else { return StepResult::Moved };
        let socket = stack.tcp(self.socket);
        match socket.state() {
            State::SynSent | State::SynReceived => return self.wait(verb, now_ns, false),
            State::Closed if self.connected_ns.is_none() => {
                let (address, port) = self.to;
                return StepResult::Failed(format!(
                    "{address} refuses the connection to port {port}: nobody listens there"
                ));
            }
            _ => {}
        }
        let connected_ns = *self.connected_ns.get_or_insert(now_ns);
        let mut stream = Stream::new(socket);
        let outcome = transfer.advance(&mut stream);
        let moved = stream.moved();
        let moved_bytes = transfer.moved_bytes();
        match outcome {
            Ok(Progress::Waiting) => {
                if moved_bytes != self.seen.0 {
                    self.seen = (moved_bytes, now_ns);
                }
                self.wait(verb, now_ns, moved)
            }
            Ok(Progress::Done) => {
                socket.close();
                let Some(outcome) = transfer.outcome() else { return StepResult::Moved };
                self.stage = Stage::Closing;
                self.seen.1 = now_ns;
                let way = self.way(verb);
                way.begun_ns.get_or_insert(connected_ns);
                way.all_ok = outcome.hash_ok && (way.all_ok || way.report.streams == 0);
                let report = &mut way.report;
                report.streams += 1;
                report.bytes += moved_bytes;
                report.duration_ns += now_ns.saturating_sub(connected_ns);
                report.sha256 = Hex::of(&outcome.hash).to_string();
                StepResult::Moved
            }
            Err(error) => StepResult::Failed(format!("{}: {error}", self.what(verb, moved_bytes))),
        }
    }

    fn wait(&mut self, verb: Verb, now_ns: u64, moved: bool) -> StepResult {
        if now_ns.saturating_sub(self.seen.1) >= PATIENCE_NS {
            let seconds = PATIENCE_NS / 1_000_000_000;
            return StepResult::Failed(format!("{}: no byte has moved for {seconds} s", self.what(verb, self.seen.0)));
        }
        if moved { StepResult::Moved } else { StepResult::Waits }
    }

    fn what(&self, verb: Verb, moved_bytes: u64) -> String {
        let direction = match verb {
            Verb::Put => "to",
            Verb::Get => "from",
        };
        let (address, port) = self.to;
        format!("TCP {direction} {address} port {port} after {moved_bytes} of {} bytes", self.plan.bytes)
    }

    fn close(&mut self, verb: Verb, stack: &mut Stack, now_ns: u64) -> StepResult {
        let socket = stack.tcp(self.socket);
        if socket.is_open() {
            if now_ns.saturating_sub(self.seen.1) < PATIENCE_NS {
                return StepResult::Waits;
            }
            // The stream came through whole; that the other end does not close is its own affair.
            socket.abort();
        }
        self.stage = Stage::Idle;
        let repeated = stack.frames.repeated();
        let at_least_ns = self.plan.at_least.as_nanos();
        let way = self.way(verb);
        way.report.retransmissions += repeated;
        let begun_ns = way.begun_ns.unwrap_or(now_ns);
        if u128::from(now_ns.saturating_sub(begun_ns)) >= at_least_ns {
            self.todo.pop();
        }
        StepResult::Moved
    }

    pub(super) fn finish(mut self, stack: &mut Stack) -> TcpReport {
        // A stream that came to no end counts with what it has moved.
        if let (Stage::Running(transfer), Some(&verb)) = (&self.stage, self.todo.last()) {
            let moved_bytes = transfer.moved_bytes();
            let duration_ns = self.connected_ns.map_or(0, |since| self.seen.1.saturating_sub(since));
            let way = self.way(verb);
            way.all_ok = false;
            way.report.bytes += moved_bytes;
            way.report.duration_ns += duration_ns;
            way.report.retransmissions += stack.frames.repeated();
        }
        stack.sockets.remove(self.socket);
        let plan = self.plan;
        let upload = plan.upload.then(|| self.upload.finish());
        let download = plan.download.then(|| self.download.finish());
        let ways = || [&upload, &download].into_iter().flatten();
        let bytes = ways().map(|way| way.bytes).sum();
        TcpReport {
            bytes,
            bits_per_second: rate(bytes, ways().map(|way| way.duration_ns).sum()),
            hash_ok: ways().all(|way| way.hash_ok) && ways().next().is_some(),
            retransmissions: ways().map(|way| way.retransmissions).sum(),
            upload,
            download,
        }
    }
}

impl Way {
    fn finish(self) -> TcpDirectionReport {
        let bits_per_second = rate(self.report.bytes, self.report.duration_ns);
        TcpDirectionReport { bits_per_second, hash_ok: self.all_ok, ..self.report }
    }
}

fn rate(bytes: u64, duration_ns: u64) -> u64 {
    if duration_ns > 0 { (bytes as f64 * 8e9 / duration_ns as f64) as u64 } else { 0 }
}
