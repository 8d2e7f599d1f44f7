//! QEMU's qtest protocol: commands and answers are lines of text on a stream socket.
//!
//! Each command is answered by `OK`, with a value or without, in order; `IRQ raise N` and `IRQ lower N` may stand
//! anywhere between. A command that QEMU does not like is answered by something else, and ends the connection for
//! us: after it, answers could no longer be matched.

use std::fmt::Write as _;
use std::io::{self, ErrorKind, Read, Write};
use std::os::fd::{AsRawFd, RawFd};
use std::os::unix::net::UnixStream;
use std::time::Duration;

use nook_bus::Width;
use rustix::event::{PollFd, PollFlags, Timespec};
use rustix::io::Errno;

use crate::deadline::Deadline;

/// Posted commands are sent when this many bytes of them have gathered.
const SEND_AT_BYTES: usize = 2048;
/// More answers than this are not left in the socket: QEMU stops everything else while it cannot answer.
const MOST_OWED: u32 = 128;

/// Why the connection is of no more use.
#[derive(Debug, thiserror::Error)]
pub(crate) enum QtestError {
    #[error("QEMU has closed the qtest socket")]
    Closed,
    #[error("QEMU did not answer {command:?} within {timeout:?}")]
    Timeout { command: String, timeout: Duration },
    #[error("QEMU answered {answer:?}; the last command was {command:?}")]
    Refused { command: String, answer: String },
    #[error("the qtest socket: {0}")]
    Os(#[from] io::Error),
}

type Result<T> = std::result::Result<T, QtestError>;

/// Which address space an access goes to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Space {
    Memory,
    Io,
}

/// One connection.
#[derive(Debug)]
pub(crate) struct Qtest {
    socket: UnixStream,
    timeout: Duration,
    /// Commands that are not sent yet.
    out: Vec<u8>,
    /// What came and is not a whole line yet.
    partial: Vec<u8>,
    /// Posted commands, sent or not, whose `OK` has not come.
    owed: u32,
    /// The answer to the one command that waits for its value.
    answer: Option<String>,
    /// The last command, for error messages.
    last: String,
    /// Interrupt lines that are asserted now, one bit each.
    lines: u64,
}

impl Qtest {
    /// Creates a connection; `timeout` is how long any one answer may take.
    pub(crate) fn new(socket: UnixStream, timeout: Duration) -> io::Result<Qtest> {
        socket.set_nonblocking(true)?;
        Ok(Qtest {
            socket,
            timeout,
            out: Vec::with_capacity(2 * SEND_AT_BYTES),
            partial: Vec::new(),
            owed: 0,
            answer: None,
            last: String::new(),
            lines: 0,
        })
    }

    /// Becomes readable when QEMU has said something.
    pub(crate) fn fd(&self) -> RawFd {
        self.socket.as_raw_fd()
    }

    /// Returns whether interrupt line `number` is asserted, as far as has been read.
    pub(crate) fn line(&self, number: u32) -> bool {
        self.lines & (1 << number) != 0
    }

    /// Reads memory or a port. All earlier writes have been executed when it returns.
    pub(crate) fn read(&mut self, space: Space, address: u64, width: Width) -> Result<u64> {
        let verb = if space == Space::Memory { "read" } else { "in" };
        self.queue(format_args!("{verb}{} {address:#x}", suffix(width)));
        let answer = self.wait_for_answer()?;
        let digits = answer.strip_prefix("0x").unwrap_or(&answer);
        u64::from_str_radix(digits, 16).map_err(|_| self.refused(answer))
    }

    /// Writes memory or a port, in order, some time before the next read, [`finish`](Self::finish) or
    /// [`service`](Self::service).
    pub(crate) fn write(&mut self, space: Space, address: u64, width: Width, value: u64) -> Result<()> {
        let verb = if space == Space::Memory { "write" } else { "out" };
        self.queue(format_args!("{verb}{} {address:#x} {value:#x}", suffix(width)));
        self.owed += 1;
        if self.out.len() >= SEND_AT_BYTES {
            self.send_all()?;
            if self.owed > MOST_OWED {
                self.wait_until(|q| q.owed == 0)?;
            }
        }
        Ok(())
    }

    /// Sends a command that answers with `OK` alone, and waits for that.
    pub(crate) fn command(&mut self, command: &str) -> Result<()> {
        self.queue(format_args!("{command}"));
        self.wait_for_answer().map(drop)
    }

    /// Returns when all posted commands have been executed.
    pub(crate) fn finish(&mut self) -> Result<()> {
        self.send_all()?;
        self.wait_until(|q| q.owed == 0)
    }

    /// Sends what it can and reads what there is, without waiting. What could not be sent goes when QEMU has
    /// answered something, which makes [`fd`](Self::fd) readable.
    pub(crate) fn service(&mut self) -> Result<()> {
        self.try_send()?;
        self.receive()?;
        Ok(())
    }

    fn queue(&mut self, command: std::fmt::Arguments<'_>) {
        self.last.clear();
        // Writing to a String does not fail.
        let _ = self.last.write_fmt(command);
        self.out.extend_from_slice(self.last.as_bytes());
        self.out.push(b'\n');
    }

    fn refused(&self, answer: impl Into<String>) -> QtestError {
        QtestError::Refused { command: self.last.clone(), answer: answer.into() }
    }

    fn wait_for_answer(&mut self) -> Result<String> {
        self.send_all()?;
        self.wait_until(|q| q.answer.is_some())?;
        Ok(self.answer.take().unwrap_or_default())
    }

    /// Sends everything. It reads meanwhile: QEMU does not take commands while its answers have nowhere to go.
    fn send_all(&mut self) -> Result<()> {
        let deadline = Deadline::after(self.timeout);
        while !self.try_send()? {
            self.poll(PollFlags::IN | PollFlags::OUT, deadline)?;
            self.receive()?;
        }
        Ok(())
    }

    fn wait_until(&mut self, done: impl Fn(&Qtest) -> bool) -> Result<()> {
        let deadline = Deadline::after(self.timeout);
        while !done(self) {
            self.poll(PollFlags::IN, deadline)?;
            self.receive()?;
        }
        Ok(())
    }

    /// Returns whether everything is sent now.
    fn try_send(&mut self) -> Result<bool> {
        let mut sent = 0;
        let outcome = loop {
            if sent == self.out.len() {
                break Ok(true);
            }
            match self.socket.write(&self.out[sent..]) {
                Ok(n) => sent += n,
                Err(e) if e.kind() == ErrorKind::WouldBlock => break Ok(false),
                Err(e) if e.kind() == ErrorKind::Interrupted => {}
                Err(e) => break Err(closed_or(e)),
            }
        };
        self.out.drain(..sent);
        outcome
    }

    /// Waits until the socket is ready for `events`.
    fn poll(&mut self, events: PollFlags, deadline: Deadline) -> Result<()> {
        loop {
            let Some(left) = deadline.left() else {
                return Err(QtestError::Timeout { command: self.last.clone(), timeout: self.timeout });
            };
            let left = Timespec::try_from(left).ok();
            match rustix::event::poll(&mut [PollFd::new(&self.socket, events)], left.as_ref()) {
                Ok(0) | Err(Errno::INTR) => {}
                Ok(_) => return Ok(()),
                Err(error) => return Err(io::Error::from(error).into()),
            }
        }
    }

    /// Reads and understands what there is, without waiting.
    fn receive(&mut self) -> Result<()> {
        let mut buffer = [0; 4096];
        loop {
            match self.socket.read(&mut buffer) {
                Ok(0) => return Err(QtestError::Closed),
                Ok(n) => {
                    self.understand(&buffer[..n])?;
                    // A short read has emptied the socket; asking again would cost a system call per answer.
                    if n < buffer.len() {
                        return Ok(());
                    }
                }
                Err(e) if e.kind() == ErrorKind::WouldBlock => return Ok(()),
                Err(e) if e.kind() == ErrorKind::Interrupted => {}
                Err(e) => return Err(closed_or(e)),
            }
        }
    }

    fn understand(&mut self, mut bytes: &[u8]) -> Result<()> {
        while let Some(end) = bytes.iter().position(|&b| b == b'\n') {
            let (head, rest) = bytes.split_at(end);
            bytes = &rest[1..];
            if self.partial.is_empty() {
                self.understand_line(&String::from_utf8_lossy(head))?;
            } else {
                let mut line = std::mem::take(&mut self.partial);
                line.extend_from_slice(head);
                self.understand_line(&String::from_utf8_lossy(&line))?;
            }
        }
        self.partial.extend_from_slice(bytes);
        Ok(())
    }

    fn understand_line(&mut self, line: &str) -> Result<()> {
        let mut words = line.split_ascii_whitespace();
        match (words.next(), words.next(), words.next()) {
            (Some("OK"), None, None) if self.owed > 0 => self.owed -= 1,
            (Some("OK"), value, None) if self.owed == 0 && self.answer.is_none() => {
                self.answer = Some(value.unwrap_or_default().to_owned());
            }
            (Some("IRQ"), Some(what @ ("raise" | "lower")), Some(number)) => {
                let number: u32 = number.parse().ok().filter(|n| *n < 64).ok_or_else(|| self.refused(line))?;
                match what {
                    "raise" => self.lines |= 1 << number,
                    _ => self.lines &= !(1 << number),
                }
            }
            _ => return Err(self.refused(line)),
        }
        Ok(())
    }
}

fn suffix(width: Width) -> char {
    match width {
        Width::B1 => 'b',
        Width::B2 => 'w',
        Width::B4 => 'l',
        Width::B8 => 'q',
    }
}

fn closed_or(error: io::Error) -> QtestError {
    match error.kind() {
        ErrorKind::BrokenPipe | ErrorKind::ConnectionReset => QtestError::Closed,
        _ => QtestError::Os(error),
    }
}

#[cfg(test)]
mod tests {
    use std::io::{BufRead, BufReader};
    use std::thread::{self, JoinHandle};

    use super::*;

    /// Creates a connection whose other end says `reply(command)` to each command, in pieces of `piece` bytes.
    fn with_server(piece: usize, reply: impl Fn(&str) -> String + Send + 'static) -> (Qtest, JoinHandle<Vec<String>>) {
        let (ours, mut theirs) = UnixStream::pair().unwrap();
        let server = thread::spawn(move || {
            let mut heard = Vec::new();
            for command in BufReader::new(theirs.try_clone().unwrap()).lines() {
                heard.push(command.unwrap());
                for bytes in reply(&heard[heard.len() - 1]).as_bytes().chunks(piece) {
                    // The client may have heard enough; what it said still counts.
                    let _ = theirs.write_all(bytes);
                }
            }
            heard
        });
        (Qtest::new(ours, Duration::from_secs(20)).unwrap(), server)
    }

    #[test]
    fn interrupt_lines_may_stand_before_an_answer_that_comes_byte_by_byte() {
        let (mut q, _server) = with_server(1, |_| "IRQ raise 21\nIRQ raise 3\nIRQ lower 3\nOK 0x2a\n".into());
        assert_eq!(q.read(Space::Memory, 0x10, Width::B4).unwrap(), 0x2a);
        assert!(q.line(21) && !q.line(3));
    }

    #[test]
    fn writes_are_posted_in_order_and_a_read_comes_after_them() {
        let (mut q, server) =
            with_server(usize::MAX, |c| if c.starts_with("read") { "OK 0x7\n" } else { "OK\n" }.into());
        q.write(Space::Memory, 0x100, Width::B8, 1).unwrap();
        q.write(Space::Io, 0xcf8, Width::B2, 0xff).unwrap();
        assert_eq!(q.read(Space::Memory, 0x104, Width::B1).unwrap(), 7);
        drop(q);
        assert_eq!(server.join().unwrap(), ["writeq 0x100 0x1", "outw 0xcf8 0xff", "readb 0x104"]);
    }

    #[test]
    fn ten_thousand_posted_writes_do_not_choke_either_side() {
        let (mut q, server) = with_server(usize::MAX, |_| "OK\n".into());
        for i in 0..10_000 {
            q.write(Space::Memory, 0x1000, Width::B4, i).unwrap();
        }
        q.finish().unwrap();
        drop(q);
        assert_eq!(server.join().unwrap().len(), 10_000);
    }

    #[test]
    fn service_sends_what_was_posted() {
        let (mut q, server) = with_server(usize::MAX, |_| "OK\n".into());
        q.write(Space::Memory, 0x3818, Width::B4, 1).unwrap();
        q.service().unwrap();
        drop(q);
        assert_eq!(server.join().unwrap(), ["writel 0x3818 0x1"]);
    }

    #[test]
    fn a_refused_command_is_an_error_that_names_it() {
        let (mut q, _server) = with_server(usize::MAX, |_| "FAIL Unknown command\n".into());
        let message = q.command("dance").unwrap_err().to_string();
        assert!(message.contains("dance") && message.contains("FAIL Unknown command"), "{message}");
    }

    #[test]
    fn an_answer_that_is_no_number_is_an_error() {
        let (mut q, _server) = with_server(usize::MAX, |_| "OK little\n".into());
        assert!(matches!(q.read(Space::Io, 0, Width::B1), Err(QtestError::Refused { .. })));
    }

    #[test]
    fn a_closed_socket_is_noticed_by_reads_and_by_service() {
        let (ours, theirs) = UnixStream::pair().unwrap();
        drop(theirs);
        let mut q = Qtest::new(ours, Duration::from_secs(20)).unwrap();
        // The read comes first, because it waits: a process that another test starts has the other end too, until it
        // becomes another program.
        assert!(matches!(q.read(Space::Memory, 0, Width::B4), Err(QtestError::Closed)));
        assert!(matches!(q.service(), Err(QtestError::Closed)));
    }

    #[test]
    fn silence_ends_with_a_timeout() {
        let (ours, _theirs) = UnixStream::pair().unwrap();
        let mut q = Qtest::new(ours, Duration::from_millis(20)).unwrap();
        assert!(matches!(q.read(Space::Memory, 0, Width::B4), Err(QtestError::Timeout { .. })));
    }
}
