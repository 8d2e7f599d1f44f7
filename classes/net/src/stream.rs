//! A smoltcp TCP socket as a stream that does not wait.

use std::io::{self, ErrorKind, Read, Write};

use smoltcp::socket::tcp::{RecvError, SendError, Socket, State};

/// Reads and writes a socket; says `WouldBlock` when it would have to wait.
pub(crate) struct Stream<'a> {
    socket: &'a mut Socket<'static>,
    moved: bool,
}

impl<'a> Stream<'a> {
    pub(crate) fn new(socket: &'a mut Socket<'static>) -> Self {
        Stream { socket, moved: false }
    }

    /// Returns whether a byte went in or out, so that the socket has something to tell its other end.
    pub(crate) fn moved(&self) -> bool {
        self.moved
    }

    fn is_opening(&self) -> bool {
        matches!(self.socket.state(), State::SynSent | State::SynReceived)
    }

    fn count(&mut self, len: usize) -> io::Result<usize> {
        if len == 0 {
            return Err(ErrorKind::WouldBlock.into());
        }
        self.moved = true;
        Ok(len)
    }
}

impl Read for Stream<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        match self.socket.recv_slice(buffer) {
            Ok(len) => self.count(len),
            Err(RecvError::Finished) => Ok(0),
            Err(RecvError::InvalidState) if self.is_opening() => Err(ErrorKind::WouldBlock.into()),
            Err(RecvError::InvalidState) => Err(ErrorKind::ConnectionReset.into()),
        }
    }
}

impl Write for Stream<'_> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        match self.socket.send_slice(bytes) {
            Ok(len) => self.count(len),
            Err(SendError::InvalidState) if self.is_opening() => Err(ErrorKind::WouldBlock.into()),
            Err(SendError::InvalidState) => Err(ErrorKind::ConnectionReset.into()),
        }
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}
