//! What a run plugs its serial line into.

use std::io;
use std::os::fd::RawFd;

use nook_abi::serial::{LineSettings, control};
use nook_seed::Rng;
use nook_serial::Terminal;
use nook_serial_api::{PortSettings, Received, SerialBackend};
use serde::Serialize;

/// Bytes that the exercise sends and receives.
const LOOP_BYTES: u64 = 1 << 16;

/// A pseudo-terminal, or the exercise.
pub enum Backend {
    /// Programs open it.
    Terminal(Terminal),
    /// Sends, and receives what it sent.
    Loop(Loop),
}

/// Sends bytes that look random through the chip's loopback and compares what comes back.
pub struct Loop {
    line: LineSettings,
    to_send: Rng,
    expected: Rng,
    found: LoopReport,
}

/// What came of it.
#[derive(Clone, Debug, Serialize)]
pub struct LoopReport {
    /// Bytes that are sent.
    pub bytes: u64,
    /// Those that were handed to the nook so far.
    pub sent: u64,
    /// Those that came back.
    pub received: u64,
    /// The first that is not as it was sent, or has an error: how many came before it.
    pub first_wrong: Option<u64>,
}

impl LoopReport {
    /// Returns whether all came back as it was sent.
    pub fn went_well(&self) -> bool {
        self.received == self.bytes && self.first_wrong.is_none()
    }
}

impl Loop {
    /// Creates it; bytes follow from the seed.
    pub fn new(line: LineSettings, seed: u64) -> Self {
        let found = LoopReport { bytes: LOOP_BYTES, sent: 0, received: 0, first_wrong: None };
        Loop { line, to_send: Rng::new(seed), expected: Rng::new(seed), found }
    }

    /// Returns what was found so far.
    pub fn report(&self) -> &LoopReport {
        &self.found
    }
}

impl SerialBackend for Loop {
    fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
        let left = self.found.bytes - self.found.sent;
        let len = into.len().min(left as usize);
        into[..len].fill_with(|| self.to_send.word() as u8);
        self.found.sent += len as u64;
        Ok(len)
    }

    fn write(&mut self, received: &[Received]) -> io::Result<usize> {
        for &Received { byte, errors } in received {
            if byte != self.expected.word() as u8 || errors != 0 {
                self.found.first_wrong.get_or_insert(self.found.received);
            }
            self.found.received += 1;
        }
        Ok(received.len())
    }

    fn wanted(&self) -> PortSettings {
        PortSettings { line: self.line, control: control::DTR | control::RTS | control::LOOPBACK, flow: false }
    }
}

/// Makes each call that of the one that there is.
macro_rules! either {
    ($self:ident, $it:ident => $call:expr) => {
        match $self {
            Backend::Terminal($it) => $call,
            Backend::Loop($it) => $call,
        }
    };
}

impl SerialBackend for Backend {
    fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
        either!(self, it => it.read(into))
    }

    fn write(&mut self, received: &[Received]) -> io::Result<usize> {
        either!(self, it => it.write(received))
    }

    fn wanted(&self) -> PortSettings {
        either!(self, it => it.wanted())
    }

    fn modem(&mut self, lines: u32) -> io::Result<()> {
        tracing::debug!("lines from the other side: {lines:#x}");
        either!(self, it => it.modem(lines))
    }

    fn service(&mut self, now_ns: u64) -> io::Result<Option<u64>> {
        either!(self, it => it.service(now_ns))
    }

    fn event_fds(&self, fds: &mut Vec<RawFd>) {
        either!(self, it => it.event_fds(fds))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_comes_back_otherwise_than_it_was_sent_is_found() {
        let mut exercise = Loop::new(LineSettings::default(), 1);
        let mut bytes = [0; 64];
        assert_eq!(exercise.read(&mut bytes).unwrap(), 64);
        let mut back: Vec<_> = bytes.iter().map(|&byte| Received { byte, errors: 0 }).collect();
        exercise.write(&back[..32]).unwrap();
        assert_eq!(exercise.report().first_wrong, None);
        back[40].byte ^= 1;
        exercise.write(&back[32..]).unwrap();
        assert_eq!((exercise.report().received, exercise.report().first_wrong), (64, Some(40)));
    }
}
