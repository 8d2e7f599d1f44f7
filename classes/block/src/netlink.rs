//! Requests to the kernel's network block devices: generic netlink (Linux, Documentation/userspace-api/netlink), family
//! `nbd` (include/uapi/linux/nbd-netlink.h). Numbers are in the machine's byte order.

use std::os::fd::{AsRawFd, BorrowedFd, OwnedFd};

use rustix::io::Errno;
use rustix::net::{AddressFamily, RecvFlags, SendFlags, SocketFlags, SocketType, netlink, recv, send, socket_with};

/// Message types: an error or an acknowledgement, and what controls families.
const NLMSG_ERROR: u16 = 2;
const GENL_ID_CTRL: u16 = 0x10;
/// Message flags: a request, to be acknowledged.
const REQUEST_AND_ACK: u16 = 1 | 4;
/// The type of an attribute that holds attributes.
const NESTED: u16 = 0x8000;

/// Bytes of a message's header and of the generic header after it.
const HEADER_BYTES: usize = 16;
const GENERIC_BYTES: usize = 4;

/// Controller: asks for a family by name.
const GET_FAMILY: u8 = 3;
const FAMILY_ID: u16 = 1;
const FAMILY_NAME: u16 = 2;

/// Family `nbd`.
const CONNECT: u8 = 1;
const DISCONNECT: u8 = 2;
const INDEX: u16 = 1;
const SIZE_BYTES: u16 = 2;
const BLOCK_SIZE_BYTES: u16 = 3;
const SERVER_FLAGS: u16 = 5;
const SOCKETS: u16 = 7;
const SOCKET_ITEM: u16 = 1;
const SOCKET_FD: u16 = 1;

/// What the kernel has to know of a disk.
#[derive(Clone, Copy, Debug)]
pub struct Disk {
    /// Its length.
    pub bytes: u64,
    /// Bytes of a block.
    pub block_bytes: u64,
    /// Transmission flags of the protocol.
    pub flags: u16,
}

/// The family, ready to be asked.
pub struct Nbd {
    socket: OwnedFd,
    family: u16,
    sequence: u32,
}

impl Nbd {
    /// Finds the family, which lets a kernel load it that can. [`Errno::NOENT`] if there is none.
    pub fn find() -> Result<Self, Errno> {
        let flags = SocketFlags::CLOEXEC;
        let socket = socket_with(AddressFamily::NETLINK, SocketType::RAW, flags, Some(netlink::GENERIC))?;
        let mut nbd = Nbd { socket, family: GENL_ID_CTRL, sequence: 0 };
        let answer = nbd.ask(GET_FAMILY, &attribute(FAMILY_NAME, b"nbd\0"))?;
        let id = find(&answer, FAMILY_ID).and_then(|id| Some(u16::from_ne_bytes(id.try_into().ok()?)));
        nbd.family = id.ok_or(Errno::NOENT)?;
        Ok(nbd)
    }

    /// Has device `index` send what is asked of it to `socket`, in the transmission phase of the protocol. The kernel
    /// keeps the socket.
    pub fn connect(&mut self, index: u32, disk: &Disk, socket: BorrowedFd<'_>) -> Result<(), Errno> {
        let fd = attribute(SOCKET_FD, &socket.as_raw_fd().to_ne_bytes());
        let attributes = [
            attribute(INDEX, &index.to_ne_bytes()),
            attribute(SIZE_BYTES, &disk.bytes.to_ne_bytes()),
            attribute(BLOCK_SIZE_BYTES, &disk.block_bytes.to_ne_bytes()),
            attribute(SERVER_FLAGS, &u64::from(disk.flags).to_ne_bytes()),
            attribute(SOCKETS | NESTED, &attribute(SOCKET_ITEM | NESTED, &fd)),
        ];
        self.ask(CONNECT, &attributes.concat()).map(drop)
    }

    /// Ends what device `index` has: what is asked of it and not answered fails. Waits for the socket to take a last
    /// message, if it is still connected.
    pub fn disconnect(&mut self, index: u32) -> Result<(), Errno> {
        self.ask(DISCONNECT, &attribute(INDEX, &index.to_ne_bytes())).map(drop)
    }

    /// Sends a command and returns the attributes of the answer, if there are some.
    fn ask(&mut self, command: u8, attributes: &[u8]) -> Result<Vec<u8>, Errno> {
        self.sequence += 1;
        let message = message(self.family, self.sequence, command, attributes);
        send(&self.socket, &message, SendFlags::empty())?;
        let (mut room, mut found) = ([0; 4096], Vec::new());
        loop {
            let (len, _) = match recv(&self.socket, &mut room[..], RecvFlags::empty()) {
                Err(Errno::INTR) => continue,
                other => other?,
            };
            for (kind, sequence, body) in Messages(room.get(..len).unwrap_or_default()) {
                match kind {
                    _ if sequence != self.sequence => {}
                    NLMSG_ERROR => {
                        let code = body.get(..4).and_then(|code| Some(i32::from_ne_bytes(code.try_into().ok()?)));
                        return match code {
                            Some(0) => Ok(found),
                            Some(code) => Err(Errno::from_raw_os_error(code.saturating_neg())),
                            None => Err(Errno::BADMSG),
                        };
                    }
                    _ => found = body.get(GENERIC_BYTES..).unwrap_or_default().to_vec(),
                }
            }
        }
    }
}

/// Returns a message: header, generic header, attributes.
fn message(family: u16, sequence: u32, command: u8, attributes: &[u8]) -> Vec<u8> {
    let len = (HEADER_BYTES + GENERIC_BYTES + attributes.len()) as u32;
    let mut bytes = len.to_ne_bytes().to_vec();
    bytes.extend(family.to_ne_bytes());
    bytes.extend(REQUEST_AND_ACK.to_ne_bytes());
    bytes.extend(sequence.to_ne_bytes());
    // The sender's port is the kernel's to fill in.
    bytes.extend(0_u32.to_ne_bytes());
    // Version 1 of either family, and two bytes that are reserved.
    bytes.extend([command, 1, 0, 0]);
    bytes.extend(attributes);
    bytes
}

/// Returns an attribute: its length, its type, its value, and zeroes up to a multiple of four.
fn attribute(kind: u16, value: &[u8]) -> Vec<u8> {
    let len = (value.len() + 4) as u16;
    let mut bytes = [len.to_ne_bytes(), kind.to_ne_bytes()].concat();
    bytes.extend(value);
    bytes.resize(bytes.len().next_multiple_of(4), 0);
    bytes
}

/// Returns the value of the first attribute of this type.
fn find(mut attributes: &[u8], wanted: u16) -> Option<&[u8]> {
    loop {
        let len = usize::from(u16::from_ne_bytes(attributes.get(..2)?.try_into().ok()?));
        let kind = u16::from_ne_bytes(attributes.get(2..4)?.try_into().ok()?);
        let value = attributes.get(4..len)?;
        if kind & !NESTED == wanted {
            return Some(value);
        }
        attributes = attributes.get(len.next_multiple_of(4)..)?;
    }
}

/// The messages of a datagram: type, sequence number, and what follows the header.
struct Messages<'a>(&'a [u8]);

impl<'a> Iterator for Messages<'a> {
    type Item = (u16, u32, &'a [u8]);

    fn next(&mut self) -> Option<Self::Item> {
        let bytes = self.0;
        let len = u32::from_ne_bytes(bytes.get(..4)?.try_into().ok()?) as usize;
        let kind = u16::from_ne_bytes(bytes.get(4..6)?.try_into().ok()?);
        let sequence = u32::from_ne_bytes(bytes.get(8..12)?.try_into().ok()?);
        let body = bytes.get(HEADER_BYTES..len)?;
        self.0 = bytes.get(len.next_multiple_of(4)..).unwrap_or_default();
        Some((kind, sequence, body))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn attributes_are_padded_and_found_again() {
        let both = [attribute(FAMILY_NAME, b"nbd\0x"), attribute(FAMILY_ID | NESTED, &7_u16.to_ne_bytes())].concat();
        assert_eq!(both.len(), 12 + 8);
        assert_eq!(find(&both, FAMILY_ID), Some(&7_u16.to_ne_bytes()[..]));
        assert_eq!(find(&both, FAMILY_NAME), Some(&b"nbd\0x"[..]));
        assert_eq!(find(&both, 9), None);
        assert_eq!(find(&both[..10], FAMILY_ID), None);
    }

    #[test]
    fn messages_of_a_datagram_are_taken_one_after_the_other_and_half_a_one_is_none() {
        let first = message(0x1c, 1, CONNECT, &attribute(INDEX, &3_u32.to_ne_bytes()));
        let second = message(NLMSG_ERROR, 2, 0, &[]);
        let both = [first.clone(), second.clone()].concat();
        let read: Vec<_> = Messages(&both).map(|(kind, sequence, body)| (kind, sequence, body.len())).collect();
        assert_eq!(read, [(0x1c, 1, 12), (NLMSG_ERROR, 2, 4)]);
        assert_eq!(Messages(&both[..first.len() + 10]).count(), 1);
        assert_eq!(Messages(&[0; 16]).count(), 0);
    }

    #[test]
    fn the_kernel_is_asked_for_the_family_and_a_device_that_it_does_not_have_is_refused() {
        match Nbd::find() {
            Ok(mut nbd) => {
                // The largest index is no device of anybody's.
                let error = nbd.disconnect(u32::MAX >> 1).unwrap_err();
                assert!(matches!(error, Errno::INVAL | Errno::PERM | Errno::NOENT), "{error}");
            }
            Err(error) => assert_eq!(error, Errno::NOENT),
        }
    }
}
