//! A host in this process, above a driver's interface.

use std::io;
use std::net::Ipv4Addr;

use nook_abi::Hex;
use nook_net_api::{Incoming, NetBackend, Outgoing, Room};

use crate::exercise::{Exercise, ExerciseReport, Plan};
use crate::frames::FrameQueues;
use crate::stack::Stack;

/// The address before the driver has named its own.
const NO_MAC: [u8; 6] = [0x02, 0, 0, 0, 0, 0];

/// How often exercise and stack are looked at in turn, at most, before the driver gets its turn again.
const ROUNDS: u32 = 16;

/// Who the host is.
#[derive(Clone, Copy, Debug)]
pub struct IpHostConfig {
    /// Its IP address.
    pub address: Ipv4Addr,
    /// Bits of the network's part of it.
    pub prefix_len: u8,
    /// From which sequence numbers and ports come.
    pub seed: u64,
}

impl Default for IpHostConfig {
    /// Returns 10.0.2.15/24, as a guest is called in QEMU's user network.
    fn default() -> Self {
        IpHostConfig { address: Ipv4Addr::new(10, 0, 2, 15), prefix_len: 24, seed: 1 }
    }
}

/// A host in this process: what a driver's interface is plugged into when there is no permission to make a TAP
/// interface.
///
/// It answers ARP and ICMP echo requests, and carries out an exercise with another host ([`start`](Self::start)).
/// It works when [`service`](NetBackend::service) tells it the time, and only while the link is up.
pub struct IpHost {
    stack: Stack,
    config: IpHostConfig,
    link_up: bool,
    /// Frames that the driver's buffers do not hold, not told yet.
    unfit: u32,
    exercise: Option<Exercise>,
    report: ExerciseReport,
}

impl IpHost {
    /// Creates a host with nothing to do.
    pub fn new(config: IpHostConfig) -> Self {
        let stack = Stack::new(NO_MAC, config.address, config.prefix_len, config.seed, FrameQueues::new(0));
        IpHost { stack, config, link_up: false, unfit: 0, exercise: None, report: ExerciseReport::default() }
    }

    /// Begins an exercise; one that runs already is forgotten. It goes on when the link is up.
    pub fn start(&mut self, plan: Plan) {
        if let Some(exercise) = self.exercise.take() {
            exercise.abandon(&mut self.stack);
        }
        self.report = ExerciseReport::default();
        self.exercise = Some(Exercise::new(plan, self.config.seed));
        self.stack.touch();
    }

    /// Returns whether no exercise runs: it is over, or there was none.
    pub fn finished(&self) -> bool {
        self.exercise.is_none()
    }

    /// Returns what the exercise has found out up to now. Each of its parts is there when that part is over.
    pub fn report(&self) -> &ExerciseReport {
        &self.report
    }

    fn run(&mut self, now_ns: u64) {
        for _ in 0..ROUNDS {
            let exercise_wants =
                self.exercise.as_ref().and_then(Exercise::due_ns).is_some_and(|due_ns| due_ns <= now_ns);
            if !exercise_wants && !self.stack.wants(now_ns) {
                break;
            }
            self.stack.poll(now_ns);
            let Some(exercise) = &mut self.exercise else { continue };
            if exercise.step(&mut self.stack, &mut self.report, now_ns) {
                self.stack.touch();
            }
            if exercise.is_over() {
                self.exercise = None;
            }
        }
    }
}

impl NetBackend for IpHost {
    fn deliver(&mut self, frame: Incoming<'_>) -> io::Result<bool> {
        Ok(self.stack.frames.arrive(frame.len_bytes(), |bytes| {
            frame.copy_to(bytes);
        }))
    }

    fn fetch(&mut self, room: &Room<'_>) -> io::Result<Option<Outgoing>> {
        while let Some(frame) = self.stack.frames.leave() {
            if frame.len() > room.longest_bytes {
                tracing::debug!("host: a frame of {} bytes, and the driver's have {}", frame.len(), room.longest_bytes);
                self.unfit += 1;
                continue;
            }
            room.copy_from(0, &frame[..]);
            return Ok(Some(Outgoing { len_bytes: frame.len(), side: None }));
        }
        Ok(None)
    }

    fn unfit(&mut self) -> u32 {
        std::mem::take(&mut self.unfit)
    }

    fn link(&mut self, up: bool) -> io::Result<()> {
        self.link_up = up;
        if !up {
            self.stack.frames.clear();
        }
        self.stack.touch();
        Ok(())
    }

    fn set_mac(&mut self, mac: [u8; 6]) -> io::Result<()> {
        if self.stack.set_mac(mac) {
            return Ok(());
        }
        let message = format!("the driver calls its interface {}, which is a multicast address", Hex::colons(&mac));
        Err(io::Error::new(io::ErrorKind::InvalidInput, message))
    }

    fn service(&mut self, now_ns: u64) -> io::Result<Option<u64>> {
        if !self.link_up {
            return Ok(None);
        }
        self.run(now_ns);
        let exercise_due = self.exercise.as_ref().and_then(Exercise::due_ns);
        Ok([self.stack.due_ns(), exercise_due].into_iter().flatten().min())
    }
}
