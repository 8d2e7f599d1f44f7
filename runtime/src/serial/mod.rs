//! The serial class, host's side: bytes that are to be sent, those that were received, and how the line is set.
//!
//! It is not what the line is plugged into (that is `classes/serial`, through [`SerialBackend`]) and knows no chip. The
//! loop calls it as a [`Class`].
//!
//! **A byte is in one place**: with the host until the chip has it, and with the host as soon as the chip has given it
//! away. A call that is rolled back sent and received nothing; one whose instance ends leaves at most what it was
//! moving in doubt, which is counted. A snapshot is never restored: the chip's divisor shares its place with its data,
//! and what its FIFOs hold is in no register.
//!
//! **A change of settings waits for what was written before it**, as far as the backend can tell, and what comes after
//! it waits for the change.

mod counters;
#[cfg(test)]
mod numbers;
mod port;
mod serve;
mod settings;

use std::collections::VecDeque;
use std::os::fd::RawFd;

use nook_abi::serial::{SerialFault, received, serial_poll};
use nook_abi::{Entry, Fault, poll_result};
use nook_serial_api::{Received, SerialBackend};

pub(crate) use crate::bare_layout::{page, ring_bytes, window_bytes};
pub use counters::SerialCounters;
use port::LastCall;
pub(crate) use port::Port;
pub use port::SerialPort;
pub(crate) use serve::Hostcalls;
use settings::Settings;

use crate::{Bisect, CallOutcome, Class, Driver, Host, Launcher, Named, Nook, NookError, class};

/// Bytes that are taken from the backend before the chip takes them.
const SEND_BYTES: usize = 4096;
/// Bytes that are taken at most, of those that a change of settings may have overtaken.
const MOST_SEND_BYTES: usize = 16_384;
/// Bytes that are kept for a backend that does not take them.
const RECEIVE_BYTES: usize = 16_384;
/// How long to wait before such a backend is asked again.
const RETRY_NS: u64 = 2_000_000;
/// Bytes that one call may hand over. A far end that sends as fast as it is read would keep the driver there for ever,
/// and what a call has popped is remembered for its rollback.
const CALL_BYTES: usize = 64;

/// One serial line: what passes between its driver and what it is plugged into.
pub struct Serial<B> {
    backend: B,
    settings: Settings,
    counters: SerialCounters,
    /// Received, and not taken by the backend.
    incoming: VecDeque<Received>,
    /// The driver left some of what it could have sent: it asks to be called when the chip takes more.
    full: bool,
    /// It left some of what it could have received, for want of room here.
    starved: bool,
    last: LastPoll,
    /// When the driver last took something, or there was nothing to be taken.
    moved_ns: u64,
    /// It was found to take nothing: a look later, that is a fault.
    suspect: bool,
    /// The last call of an instance that has ended, which is not settled.
    ended: Option<LastCall>,
    /// How many of the next bytes may be what the chip held when the instance before this one ended.
    held_at_most: u64,
    /// The lines from the other side, as the backend knows them.
    modem: u32,
    now_ns: u64,
}

/// The `poll` that ran last.
#[derive(Clone, Copy, Debug, Default)]
struct LastPoll {
    answer: u32,
    /// Bytes that had been received until then.
    received: u64,
}

/// Wraps an error of what the line is plugged into.
#[cold]
fn above(error: std::io::Error) -> NookError {
    NookError::Above { what: "what the serial line is plugged into", error }
}

/// Returns the host's part of the class.
fn port(host: &mut Host) -> Option<&mut Port> {
    match &mut host.port {
        class::Port::Serial(port) => Some(port),
        _ => None,
    }
}

impl<B: SerialBackend> Serial<B> {
    fn new(backend: B) -> Self {
        let settings = Settings::new(backend.wanted());
        Serial {
            backend,
            settings,
            counters: SerialCounters::default(),
            incoming: VecDeque::new(),
            full: false,
            starved: false,
            last: LastPoll::default(),
            moved_ns: 0,
            suspect: false,
            ended: None,
            held_at_most: 0,
            modem: 0,
            now_ns: 0,
        }
    }

    /// Takes what calls that are final have moved.
    fn collect(&mut self, port: &mut Port) {
        let sent = port.take_sent();
        if sent > 0 {
            self.counters.sent += sent;
            self.settings.sent(sent);
            (self.moved_ns, self.suspect) = (self.now_ns, false);
        }
        let before = self.counters.received;
        for value in port.take_received() {
            let errors = value & received::ALL;
            self.counters.note(errors);
            self.incoming.push_back(Received { byte: value as u8, errors });
        }
        let received = self.counters.received - before;
        let held = received.min(self.held_at_most);
        self.held_at_most -= held;
        self.counters.held_by_chip += held;
    }

    /// Offers the backend what was received.
    fn pass_on(&mut self) -> Result<(), NookError> {
        while !self.incoming.is_empty() {
            let (first, _) = self.incoming.as_slices();
            let taken = self.backend.write(first).map_err(above)?.min(first.len());
            if taken == 0 {
                break;
            }
            self.incoming.drain(..taken);
        }
        Ok(())
    }

    /// Fetches what is to be sent. What comes after a change of settings stays where it is until that is made.
    fn fetch(&mut self, port: &mut Port) -> Result<(), NookError> {
        let mut bytes = [0; 1024];
        while !self.settings.are_changing() && port.to_send.len() < SEND_BYTES {
            let read = self.backend.read(&mut bytes).map_err(above)?;
            port.to_send.extend(&bytes[..read]);
            if self.settings.want(self.backend.wanted()) {
                // The change has overtaken what was written before it, or all that is there.
                loop {
                    let more = self.backend.read(&mut bytes).map_err(above)?;
                    port.to_send.extend(&bytes[..more]);
                    if more == 0 || port.to_send.len() >= MOST_SEND_BYTES {
                        break;
                    }
                }
                self.settings.change_after(port.to_send.len() as u64);
            }
            if read == 0 {
                break;
            }
        }
        Ok(())
    }

    /// Returns whether the other side takes bytes.
    fn is_clear(&self, port: &Port) -> bool {
        self.settings.is_clear(port.modem)
    }

    fn room(&self) -> usize {
        RECEIVE_BYTES.saturating_sub(self.incoming.len())
    }

    /// Tells the backend how the lines from the other side are.
    fn report_modem(&mut self, host: &Host) -> Result<(), NookError> {
        let Some(lines) = host.port.serial().map(|port| port.modem) else { return Ok(()) };
        if lines == self.modem {
            return Ok(());
        }
        self.modem = lines;
        self.counters.modem_changes += 1;
        self.backend.modem(lines).map_err(above)
    }
}

/// Nothing is searched for: a stream has no one thing that could be left out.
impl<B: SerialBackend> Bisect for Serial<B> {
    const BATCH: u32 = 1;
    const MOVES: Entry = Entry::Poll;
}

impl<B: SerialBackend> Class for Serial<B> {
    const CLASS: nook_abi::Class = nook_abi::Class::Serial;
    type Image = ();

    fn begin(&mut self, _: &Host) {
        (self.full, self.starved, self.suspect) = (false, false, false);
        self.moved_ns = self.now_ns;
    }

    fn set_up(&mut self, driver: &mut dyn Driver) -> Result<(), NookError> {
        let Some(port) = port(driver.host_mut()) else { return Err(NookError::AttachedNothing) };
        let Some(attached) = port.attached else { return Err(NookError::AttachedNothing) };
        if let Some(last) = self.ended.take() {
            self.counters.in_doubt += port.settle(last);
            self.collect(port);
            self.held_at_most = attached.fifo_bytes.into();
        }
        self.settings.attached(attached);
        self.settings.tell_all(driver, &mut self.counters)
    }

    /// What it had moved is settled when there is a successor: the port is the host's.
    fn end(&mut self, host: &Host) {
        // One that ended before it was set up has moved nothing.
        self.ended = self.ended.or(Some(match host.call.transaction.is_open() {
            true if host.can_roll_back() => LastCall::Undone,
            true => LastCall::InDoubt,
            false => LastCall::Happened,
        }));
    }

    fn expect_recovery(&mut self, _: u64) {}

    fn stopped(&mut self) {}

    fn shut(&mut self, host: &mut Host) -> Result<(), NookError> {
        if let Some(port) = port(host) {
            if let Some(last) = self.ended.take() {
                self.counters.in_doubt += port.settle(last);
                self.collect(port);
            }
            self.counters.not_sent = port.to_send.len() as u64;
        }
        self.pass_on()?;
        self.counters.not_passed_on = self.incoming.len() as u64;
        Ok(())
    }

    fn service(&mut self, host: &Host, now_ns: u64) -> Result<Option<u64>, NookError> {
        self.now_ns = now_ns;
        let due = self.backend.service(now_ns).map_err(above)?;
        self.settings.want_lines(self.backend.wanted());
        self.report_modem(host)?;
        self.pass_on()?;
        let again = (!self.incoming.is_empty()).then_some(now_ns + RETRY_NS);
        let Some(port) = host.port.serial() else { return Ok(due) };
        let look =
            (!port.to_send.is_empty()).then(|| self.moved_ns.saturating_add(self.settings.limit_ns(host)).max(now_ns));
        Ok([due, again, look].into_iter().flatten().min())
    }

    fn check_health(&mut self, driver: &mut dyn Driver, now_ns: u64) -> Result<Option<u64>, NookError> {
        self.settings.make_room(self.room(), RECEIVE_BYTES);
        self.settings.tell_changes(driver, &mut self.counters)?;
        let host = driver.host_mut();
        let limit_ns = self.settings.limit_ns(host);
        let Some(port) = port(host) else { return Ok(None) };
        let bytes = port.to_send.len() as u32;
        if bytes == 0 || !self.is_clear(port) {
            (self.moved_ns, self.suspect) = (now_ns, false);
            return Ok(None);
        }
        if now_ns < self.moved_ns.saturating_add(limit_ns) {
            return Ok(None);
        }
        // The first time, the driver is polled once more: an interrupt may have been lost, or the nook stood still.
        if std::mem::replace(&mut self.suspect, true) {
            return Err(host.error(SerialFault::NotSent { bytes, limit_ns }.into()));
        }
        host.call.due.poll();
        Ok(None)
    }

    fn is_ready(&self, host: &Host) -> bool {
        host.port.serial().is_some_and(|port| port.attached.is_some())
    }

    fn event_fds(&self, host: &Host, fds: &mut Vec<RawFd>) {
        // What is readable and cannot be taken now would end the wait at once, again and again.
        let has_room = host.port.serial().is_some_and(|port| port.to_send.len() < SEND_BYTES);
        if has_room && !self.settings.are_changing() {
            self.backend.event_fds(fds);
        }
    }

    fn provide(&mut self, host: &mut Host, _: u64) -> Result<u32, NookError> {
        let Some(port) = port(host) else { return Ok(0) };
        self.fetch(port)?;
        self.pass_on()?;
        let sends = !self.full && !port.to_send.is_empty() && self.is_clear(port);
        let receives = self.starved && self.room() > 0;
        Ok((sends || receives).into())
    }

    fn call(&mut self, driver: &mut dyn Driver) -> Result<(), NookError> {
        let budget = self.room().min(CALL_BYTES) as u32;
        let Some(port) = port(driver.host_mut()) else { return Ok(()) };
        port.held = !self.is_clear(port);
        port.allow(budget);
        let sends = !port.held && !port.to_send.is_empty();
        self.last = LastPoll { answer: 0, received: self.counters.received };
        self.last.answer = class::poll(driver, budget, if sends { serial_poll::SEND } else { 0 })?;
        Ok(())
    }

    fn check(&mut self) -> Result<(), Fault> {
        Ok(())
    }

    fn accept(&mut self, host: &mut Host) -> Result<(), NookError> {
        if let Some(port) = port(host) {
            self.collect(port);
        }
        self.report_modem(host)?;
        self.pass_on()
    }

    fn finish_call(&mut self, host: &mut Host) -> Result<CallOutcome, NookError> {
        let LastPoll { answer, received } = self.last;
        let arrived = self.counters.received - received;
        // What was not offered it is not known to have no room for.
        self.full = port(host).is_some_and(|port| !port.held && !port.to_send.is_empty());
        let asks = answer == poll_result::AGAIN;
        // Without room it would ask again and again.
        self.starved = asks && self.room() == 0;
        // All that the chip held when this driver began was read, unless it left some.
        if !asks {
            self.held_at_most = 0;
        }
        Ok(CallOutcome { arrived, again: asks && !self.starved, more: false })
    }

    fn abort(&mut self) {}

    fn returned(&self) -> u64 {
        self.counters.sent + self.counters.received
    }

    fn idle_stamp(&self) -> Option<u64> {
        Some(self.returned())
    }

    fn before_snapshot(&mut self, _: &mut dyn Driver, _: u64) -> Result<(), NookError> {
        Ok(())
    }

    /// Returns nothing: see the head of this file.
    fn capture(&self, _: &Host) -> Option<()> {
        None
    }

    fn fits(&self, (): &()) -> bool {
        false
    }

    fn restore(&mut self, _: &mut Host, (): &()) {}

    /// Does nothing: what the chip took is not known not to have left.
    fn resubmit(&mut self, _: bool) {}

    fn counts(&self) -> Vec<(&'static str, u64)> {
        self.counters.named()
    }
}

impl<B: SerialBackend> Nook<Serial<B>> {
    /// Creates a nook for a serial line's driver: the line is plugged into `backend`. Nothing runs yet.
    pub fn serial(host: Host, launcher: Box<dyn Launcher>, backend: B) -> Self {
        Nook::new(host, launcher, Serial::new(backend))
    }

    /// Returns the port, once the driver has attached it.
    pub fn serial_port(&self) -> Option<SerialPort> {
        self.host().port.serial()?.attached
    }

    /// Returns what the line is plugged into.
    pub fn backend(&self) -> &B {
        &self.class().backend
    }

    /// Mutable access to it.
    pub fn backend_mut(&mut self) -> &mut B {
        &mut self.class_mut().backend
    }

    /// Returns how the line is set: what the driver took last.
    pub fn line_settings(&self) -> nook_abi::serial::LineSettings {
        self.class().settings.line()
    }

    /// Returns how many bytes wait to be sent.
    pub fn to_send(&self) -> usize {
        self.host().port.serial().map_or(0, |port| port.to_send.len())
    }

    /// Returns what is counted about the line.
    pub fn serial_counters(&self) -> &SerialCounters {
        &self.class().counters
    }
}
