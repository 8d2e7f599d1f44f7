//! What the kernel says of one of its interfaces (rtnetlink(7)), and which multicast groups are joined on it
//! (/proc/net/dev_mcast).
#![expect(unsafe_code, reason = "a thread enters the namespace to which the interface was moved")]

use std::fs::File;
use std::io;
use std::os::fd::{AsRawFd, RawFd};
use std::os::unix::fs::FileExt;

use netlink_packet_core::{
    ErrorBuffer, NLA_HEADER_SIZE, NLM_F_ACK, NLM_F_REQUEST, NLMSG_ERROR, NetlinkBuffer, NetlinkHeader, NetlinkMessage,
    NetlinkPayload, NetlinkSerializable, NlasIterator, emit_u32, parse_u32,
};
use netlink_sys::protocols::NETLINK_ROUTE;
use netlink_sys::{Socket, SocketAddr};
use rustix::fs::fstat;
use rustix::net::netdevice::name_to_index;

use super::device::Device;

/// Bytes of a `struct ifinfomsg`: family, type, index, flags, and which flags change.
const INFO_BYTES: usize = 16;
const INDEX_AT: usize = 4;
const FLAGS_AT: usize = 8;

// linux/if_link.h
const IFLA_ADDRESS: u16 = 1;
const IFLA_MTU: u16 = 4;
const IFLA_EXT_MASK: u16 = 29;
const IFLA_PROMISCUITY: u16 = 30;
const IFLA_ALLMULTI: u16 = 61;

/// Who joins and leaves groups of IPv4 and IPv6 (linux/rtnetlink.h); older kernels have no such messages.
const RTNLGRP_IPV4_MCADDR: u32 = 37;
const RTNLGRP_IPV6_MCADDR: u32 = 38;

/// Room for an answer. One about a TAP interface has about 1 KiB.
const ANSWER_BYTES: usize = 32 * 1024;

/// An interface, as the kernel has it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct State {
    pub(super) mac: Option<[u8; 6]>,
    pub(super) mtu_bytes: u32,
    pub(super) up: bool,
    pub(super) promiscuous: bool,
    pub(super) all_multicast: bool,
    /// Multicast addresses that are received; none if the kernel does not say.
    pub(super) groups: Option<Vec<[u8; 6]>>,
}

/// The way to one interface, wherever it was moved to.
pub(super) struct Link {
    requests: Socket,
    events: Socket,
    groups: Option<File>,
    index: u32,
}

/// A request about an interface, as it is sent.
struct Request {
    kind: u16,
    bytes: Vec<u8>,
}

impl NetlinkSerializable for Request {
    fn message_type(&self) -> u16 {
        self.kind
    }

    fn buffer_len(&self) -> usize {
        self.bytes.len()
    }

    fn serialize(&self, buffer: &mut [u8]) {
        buffer.copy_from_slice(&self.bytes);
    }
}

impl Link {
    /// Finds the interface that this descriptor is of.
    ///
    /// # Errors
    /// If it is gone, or lies in a namespace that this process may not enter.
    pub(super) fn find(device: &Device) -> io::Result<Link> {
        let name = device.name()?;
        // Where it is may be asked with CAP_NET_ADMIN only; without it, it is assumed to be here.
        let Ok(namespace) = device.namespace() else { return Link::open(&name) };
        let (there, here) = (fstat(&namespace)?, fstat(File::open("/proc/thread-self/ns/net")?)?);
        if (there.st_dev, there.st_ino) == (here.st_dev, here.st_ino) {
            return Link::open(&name);
        }
        let enter_and_open = || {
            // SAFETY: a plain system call on our own descriptor; it concerns this thread, which ends soon.
            match unsafe { libc::setns(namespace.as_raw_fd(), libc::CLONE_NEWNET) } {
                0 => Link::open(&name),
                _ => Err(io::Error::last_os_error()),
            }
        };
        let outcome = std::thread::scope(|scope| scope.spawn(enter_and_open).join());
        outcome.unwrap_or_else(|_| Err(io::Error::other("the thread in the interface's namespace panicked")))
    }

    /// Opens the interface of this name, in the namespace of this thread.
    fn open(name: &str) -> io::Result<Link> {
        let mut requests = Socket::new(NETLINK_ROUTE)?;
        requests.bind_auto()?;
        requests.connect(&SocketAddr::new(0, 0))?;
        let mut events = Socket::new(NETLINK_ROUTE)?;
        events.bind_auto()?;
        events.set_non_blocking(true)?;
        events.add_membership(libc::RTNLGRP_LINK)?;
        let told = [RTNLGRP_IPV4_MCADDR, RTNLGRP_IPV6_MCADDR].map(|group| events.add_membership(group).is_ok());
        // Where joining a group brings no message, the first frames to it would be lost: then all groups are received.
        let groups = (told == [true; 2]).then(|| File::open("/proc/thread-self/net/dev_mcast").ok()).flatten();
        let index = name_to_index(&requests, name)?;
        Ok(Link { requests, events, groups, index })
    }

    /// Returns the descriptor that becomes readable when something changes.
    pub(super) fn event_fd(&self) -> RawFd {
        self.events.as_raw_fd()
    }

    /// Takes the messages that came. Returns whether there was one: about which interface and what does not matter,
    /// for the kernel is asked then.
    pub(super) fn happened(&self) -> bool {
        let mut any = false;
        loop {
            match self.events.recv(&mut &mut [0_u8; 16][..], libc::MSG_DONTWAIT) {
                Ok(_) => any = true,
                // Some were lost.
                Err(error) if error.raw_os_error() == Some(libc::ENOBUFS) => any = true,
                Err(_) => return any,
            }
        }
    }

    /// Asks what the interface is set to.
    ///
    /// # Errors
    /// `ENODEV` if it is not there any more.
    pub(super) fn ask(&self) -> io::Result<State> {
        let mask = libc::RTEXT_FILTER_SKIP_STATS as u32;
        let answer = self.request(libc::RTM_GETLINK, 0, IFLA_EXT_MASK, mask)?;
        let mut state = state(&answer)?;
        if let Some(file) = &self.groups {
            state.groups = Some(self.groups_in(&read_again(file)?));
        }
        Ok(state)
    }

    /// Sets the interface's MTU.
    ///
    /// # Errors
    /// If the kernel refuses, as without CAP_NET_ADMIN.
    pub(super) fn set_mtu(&self, mtu_bytes: u32) -> io::Result<()> {
        self.request(libc::RTM_SETLINK, NLM_F_ACK, IFLA_MTU, mtu_bytes).map(drop)
    }

    /// Makes a request with one attribute, and returns what the answer says of the interface.
    fn request(&self, kind: u16, flags: u16, attribute: u16, value: u32) -> io::Result<Vec<u8>> {
        let mut bytes = vec![0; INFO_BYTES + NLA_HEADER_SIZE + 4];
        bytes[INDEX_AT..INDEX_AT + 4].copy_from_slice(&self.index.to_ne_bytes());
        bytes[INFO_BYTES..INFO_BYTES + 2].copy_from_slice(&(NLA_HEADER_SIZE as u16 + 4).to_ne_bytes());
        bytes[INFO_BYTES + 2..INFO_BYTES + 4].copy_from_slice(&attribute.to_ne_bytes());
        emit_u32(&mut bytes[INFO_BYTES + NLA_HEADER_SIZE..], value).map_err(io::Error::other)?;
        let mut header = NetlinkHeader::default();
        header.flags = NLM_F_REQUEST | flags;
        let mut message = NetlinkMessage::new(header, NetlinkPayload::InnerMessage(Request { kind, bytes }));
        message.finalize();
        let mut bytes = vec![0; message.buffer_len()];
        message.serialize(&mut bytes);
        self.requests.send(&bytes, 0)?;
        let mut answer = Vec::with_capacity(ANSWER_BYTES);
        // The kernel answers while the request is sent.
        self.requests.recv(&mut answer, libc::MSG_DONTWAIT)?;
        let answer = NetlinkBuffer::new_checked(&answer[..]).map_err(io::Error::other)?;
        if answer.message_type() == NLMSG_ERROR {
            let error = ErrorBuffer::new_checked(answer.payload()).map_err(io::Error::other)?;
            if let Some(code) = error.code() {
                return Err(io::Error::from_raw_os_error(code.get().wrapping_neg()));
            }
        }
        Ok(answer.payload().to_vec())
    }

    /// Reads the lines about this interface: its index, its name, two counts, and the address.
    fn groups_in(&self, table: &str) -> Vec<[u8; 6]> {
        let group = |line: &str| {
            let mut fields = line.split_whitespace();
            let is_this = fields.next()?.parse() == Ok(self.index);
            is_this.then(|| hex_address(fields.nth(3)?)).flatten()
        };
        let mut groups: Vec<_> = table.lines().filter_map(group).collect();
        groups.sort_unstable();
        groups
    }
}

fn hex_address(text: &str) -> Option<[u8; 6]> {
    let mut address = [0; 6];
    for (at, byte) in address.iter_mut().enumerate() {
        *byte = u8::from_str_radix(text.get(2 * at..2 * at + 2)?, 16).ok()?;
    }
    (text.len() == 12).then_some(address)
}

/// Reads a file from its beginning.
fn read_again(file: &File) -> io::Result<String> {
    let mut bytes = Vec::new();
    loop {
        let at = bytes.len();
        bytes.resize(at + 4096, 0);
        let read = file.read_at(&mut bytes[at..], at as u64)?;
        bytes.truncate(at + read);
        if read == 0 {
            return Ok(String::from_utf8_lossy(&bytes).into_owned());
        }
    }
}

/// Reads what a message says of an interface.
fn state(message: &[u8]) -> io::Result<State> {
    let (Some(flags), Some(attributes)) = (message.get(FLAGS_AT..FLAGS_AT + 4), message.get(INFO_BYTES..)) else {
        return Err(io::Error::other("an answer about an interface is too short"));
    };
    let flags = parse_u32(flags).map_err(io::Error::other)?;
    let mut state = State {
        mac: None,
        mtu_bytes: 0,
        up: flags & libc::IFF_UP as u32 != 0,
        promiscuous: flags & libc::IFF_PROMISC as u32 != 0,
        all_multicast: flags & libc::IFF_ALLMULTI as u32 != 0,
        groups: None,
    };
    for attribute in NlasIterator::new(attributes) {
        let attribute = attribute.map_err(io::Error::other)?;
        let number = || parse_u32(attribute.value()).map_err(io::Error::other);
        match attribute.kind() {
            IFLA_ADDRESS => state.mac = attribute.value().try_into().ok(),
            IFLA_MTU => state.mtu_bytes = number()?,
            // How often it was asked for; the flags have the operator's own wish only.
            IFLA_PROMISCUITY => state.promiscuous |= number()? != 0,
            IFLA_ALLMULTI => state.all_multicast |= number()? != 0,
            _ => {}
        }
    }
    Ok(state)
}

#[cfg(test)]
mod tests {
    use nook_seed::Rng;

    use super::*;

    #[test]
    fn an_answer_that_was_cut_off_or_damaged_is_an_error_or_a_state_and_no_panic() {
        let mut whole = vec![0; INFO_BYTES];
        whole[FLAGS_AT] = libc::IFF_UP as u8;
        let attributes: [(u16, &[u8]); 3] = [
            (IFLA_ADDRESS, &[2, 0, 0, 0, 0, 1]),
            (IFLA_MTU, &1500_u32.to_ne_bytes()),
            (IFLA_PROMISCUITY, &1_u32.to_ne_bytes()),
        ];
        for (kind, value) in attributes {
            whole.extend((NLA_HEADER_SIZE as u16 + value.len() as u16).to_ne_bytes());
            whole.extend(kind.to_ne_bytes());
            whole.extend(value);
            whole.resize(whole.len().next_multiple_of(4), 0);
        }
        let read = state(&whole).unwrap();
        assert_eq!((read.mac, read.mtu_bytes), (Some([2, 0, 0, 0, 0, 1]), 1500));
        assert!(read.up && read.promiscuous && !read.all_multicast);
        let mut rng = Rng::new(3);
        for _ in 0..20_000 {
            let mut bytes = whole.clone();
            let at = rng.index(bytes.len());
            bytes[at] = rng.word() as u8;
            bytes.truncate(rng.index(bytes.len() + 1));
            let _ = state(&bytes);
        }
        assert!(state(&whole[..INFO_BYTES - 1]).is_err());
    }

    #[test]
    fn an_address_in_hexadecimal_digits_is_read_and_nothing_else() {
        assert_eq!(hex_address("333300000001"), Some([0x33, 0x33, 0, 0, 0, 1]));
        for text in ["", "33330000000", "3333000000012", "33330000000g", "ä33300000001"] {
            assert_eq!(hex_address(text), None, "{text}");
        }
    }
}
