//! Middleware that records what passes between a driver's interface and what it is plugged into.

use std::io;
use std::os::fd::RawFd;
use std::time::{SystemTime, UNIX_EPOCH};

use nook_abi::net::Side;
use nook_bus::{Clock, VolatileSlice};
use nook_net_api::{Incoming, KernelSettings, NetBackend, Outgoing, Room};

use crate::{Passed, Pcap};

/// For how long a recorded frame may wait before it is written to the file.
const WRITE_AFTER_NS: u64 = 250_000_000;

/// A [`NetBackend`] whose frames are recorded, both ways.
///
/// A capture that cannot be written, as on a full disk, is said once in the log and ends; the traffic goes on.
pub struct Captured<U> {
    inner: U,
    capture: Option<Pcap>,
    clock: Clock,
    error: Option<io::Error>,
    frame: Vec<u8>,
    /// When what waits in the capture is to be written.
    write_at_ns: Option<u64>,
}

impl<U: NetBackend> Captured<U> {
    /// Wraps `inner`; with no capture, frames just pass. They are stamped with the day's time, or with that of `clock`,
    /// the nook's, if it is virtual.
    pub fn new(inner: U, capture: Option<Pcap>, clock: Clock) -> Self {
        Captured { inner, capture, clock, error: None, frame: Vec::new(), write_at_ns: None }
    }

    /// Returns the wrapped backend.
    pub fn inner(&self) -> &U {
        &self.inner
    }

    /// Mutable access to it.
    pub fn inner_mut(&mut self) -> &mut U {
        &mut self.inner
    }

    /// Takes the capture out, to [`finish`](Pcap::finish) it. None if there was none or it has ended.
    pub fn take_capture(&mut self) -> Option<Pcap> {
        self.capture.take()
    }

    /// Returns why the capture ended before the traffic did.
    pub fn capture_error(&self) -> Option<&io::Error> {
        self.error.as_ref()
    }

    fn record(&mut self, passed: Passed) {
        let Some(capture) = &mut self.capture else { return };
        let now_ns = if self.clock.is_virtual() { self.clock.now_ns() } else { wall_clock_ns() };
        let outcome = capture.record(now_ns, &self.frame, passed);
        self.check(outcome);
    }

    fn check(&mut self, outcome: io::Result<()>) {
        if let Err(error) = outcome {
            tracing::error!("{error}; the capture ends here, the traffic goes on");
            self.error = Some(error);
            self.capture = None;
        }
    }
}

impl<U: NetBackend> NetBackend for Captured<U> {
    fn deliver(&mut self, frame: Incoming<'_>) -> io::Result<bool> {
        if self.capture.is_none() {
            return self.inner.deliver(frame);
        }
        // What is recorded is what is handed on, whatever is written to the window meanwhile.
        self.frame.resize(frame.len_bytes(), 0);
        frame.copy_to(&mut self.frame[..]);
        let taken = self.inner.deliver(Incoming::new(VolatileSlice::from(&mut self.frame[..]), &[], frame.checked));
        self.record(if matches!(taken, Ok(true)) { Passed::In } else { Passed::Refused });
        taken
    }

    fn fetch(&mut self, room: &Room<'_>) -> io::Result<Option<Outgoing>> {
        let taken = self.inner.fetch(room)?;
        if self.capture.is_some()
            && let Some(Outgoing { len_bytes, side }) = taken
        {
            self.frame.resize(len_bytes, 0);
            room.copy_to(0, &mut self.frame[..]);
            if let Some(side) = side.filter(Side::is_segmented) {
                with_lengths(&mut self.frame, &side);
            }
            self.record(Passed::Out);
        }
        Ok(taken)
    }

    fn unfit(&mut self) -> u32 {
        self.inner.unfit()
    }

    fn flush(&mut self) -> io::Result<u32> {
        self.inner.flush()
    }

    fn link(&mut self, up: bool) -> io::Result<()> {
        self.inner.link(up)
    }

    fn set_mac(&mut self, mac: [u8; 6]) -> io::Result<()> {
        self.inner.set_mac(mac)
    }

    fn set_mtu(&mut self, mtu_bytes: u32) -> io::Result<()> {
        self.inner.set_mtu(mtu_bytes)
    }

    fn wanted(&mut self) -> Option<KernelSettings> {
        self.inner.wanted()
    }

    fn service(&mut self, now_ns: u64) -> io::Result<Option<u64>> {
        match self.write_at_ns {
            Some(at) if at <= now_ns => {
                self.write_at_ns = None;
                let outcome = self.capture.as_mut().map_or(Ok(()), Pcap::flush);
                self.check(outcome);
            }
            Some(_) => {}
            None if self.capture.as_ref().is_some_and(Pcap::is_dirty) => {
                self.write_at_ns = Some(now_ns.saturating_add(WRITE_AFTER_NS));
            }
            None => {}
        }
        let due = self.inner.service(now_ns)?;
        Ok([due, self.write_at_ns].into_iter().flatten().min())
    }

    fn event_fds(&self, fds: &mut Vec<RawFd>) {
        self.inner.event_fds(fds);
    }
}

/// Returns the time that a capture file stamps its packets with.
fn wall_clock_ns() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |time| time.as_nanos() as u64)
}

/// Gives a packet that a device is to cut up the lengths again that such a device does not need: a capture has it as
/// the interface handed it over, but for checksums.
fn with_lengths(packet: &mut [u8], side: &Side) {
    let ip = usize::from(side.network_start);
    let (at, before) = if side.is_ipv6() { (ip + 4, ip + 40) } else { (ip + 2, ip) };
    let len = packet.len().saturating_sub(before) as u16;
    if let Some(to) = packet.get_mut(at..at + 2) {
        to.copy_from_slice(&len.to_be_bytes());
    }
}
