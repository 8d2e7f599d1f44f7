//! What the card's cable is plugged into.

use std::io;
use std::os::fd::{AsRawFd, OwnedFd, RawFd};
use std::os::unix::net::UnixDatagram;

use nook_net_api::Wire;
use rustix::io::Errno;
use rustix::net::sockopt::set_socket_send_buffer_size;

/// The far end of the card's cable.
#[derive(Debug)]
pub enum QemuNet {
    /// QEMU's own user-mode network: DHCP, gateway and host at 10.0.2.2, name server at 10.0.2.3, the card's side
    /// is 10.0.2.15. Connections to 10.0.2.2 arrive at the host's loopback. No IPv6.
    User {
        /// Nothing outside QEMU can be reached: no host, no internet.
        restrict: bool,
    },
    /// A socket of ours, one frame per datagram: the other half of [`DgramWire::pair`].
    Datagram(DgramPort),
}

impl QemuNet {
    /// Returns the value of `-netdev`, for a backend with this id.
    pub(crate) fn argument(&self, id: &str) -> String {
        match self {
            QemuNet::User { restrict } => {
                format!("user,id={id},ipv6=off,restrict={}", if *restrict { "on" } else { "off" })
            }
            QemuNet::Datagram(port) => {
                format!("dgram,id={id},local.type=fd,local.str={}", port.socket.as_raw_fd())
            }
        }
    }

    /// Returns what QEMU must inherit for it.
    pub(crate) fn descriptor(&self) -> Option<RawFd> {
        match self {
            QemuNet::User { .. } => None,
            QemuNet::Datagram(port) => Some(port.socket.as_raw_fd()),
        }
    }
}

/// The end of a [`DgramWire`] that QEMU gets, in [`QemuNet::Datagram`].
#[derive(Debug)]
pub struct DgramPort {
    socket: OwnedFd,
}

/// Our end of the card's cable: whole Ethernet frames, without the frame check sequence, one per datagram.
///
/// While the card cannot receive, frames wait in the socket: a few hundred kilobytes of them, after which
/// [`send`](Wire::send) answers `false`.
#[derive(Debug)]
pub struct DgramWire {
    socket: UnixDatagram,
}

/// What is asked of the kernel for each direction; it gives what its `wmem_max` allows.
const QUEUE_BYTES: usize = 4 << 20;

impl DgramWire {
    /// Creates a cable: our end, and the one for QEMU.
    pub fn pair() -> io::Result<(DgramWire, DgramPort)> {
        let (ours, theirs) = UnixDatagram::pair()?;
        ours.set_nonblocking(true)?;
        for socket in [&ours, &theirs] {
            // A refusal is harmless.
            let _ = set_socket_send_buffer_size(socket, QUEUE_BYTES);
        }
        Ok((DgramWire { socket: ours }, DgramPort { socket: theirs.into() }))
    }
}

impl Wire for DgramWire {
    fn send(&mut self, frame: &[u8]) -> io::Result<bool> {
        match self.socket.send(frame) {
            Ok(_) => Ok(true),
            Err(e) if matches!(Errno::from_io_error(&e), Some(Errno::AGAIN | Errno::NOBUFS)) => Ok(false),
            Err(e) => Err(e),
        }
    }

    fn recv(&mut self, buffer: &mut [u8]) -> io::Result<Option<usize>> {
        match self.socket.recv(buffer) {
            Ok(len) => Ok(Some(len)),
            Err(e) if e.kind() == io::ErrorKind::WouldBlock => Ok(None),
            Err(e) => Err(e),
        }
    }

    fn event_fds(&self, fds: &mut Vec<RawFd>) {
        fds.push(self.socket.as_raw_fd());
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_cable_that_nobody_reads_holds_a_burst_of_full_frames_and_then_loses_them() {
        let (mut wire, _port) = DgramWire::pair().unwrap();
        let mut held = 0;
        while wire.send(&[0; 1514]).unwrap() {
            held += 1;
        }
        assert!(held >= 32, "only {held} frames fit");
    }

    #[test]
    fn an_idle_cable_has_no_frame() {
        let (mut wire, _port) = DgramWire::pair().unwrap();
        assert_eq!(wire.recv(&mut [0; 64]).unwrap(), None);
    }

    #[test]
    fn a_cable_whose_card_is_gone_is_an_error() {
        let (mut wire, port) = DgramWire::pair().unwrap();
        drop(port);
        assert!(wire.send(&[0; 60]).is_err());
    }
}
