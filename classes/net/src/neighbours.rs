//! Whose Ethernet address the stack knows without asking: that of each host that has sent it something.
//!
//! smoltcp answers an echo request, and refuses a connection, at once or never: if it has to ask for the sender's
//! address first, the answer is lost. So before the first packet of a host it is shown an ARP reply of that host, which
//! says what the packet's frame says.

use smoltcp::time::{Duration, Instant};

/// Hosts that are remembered; smoltcp remembers twice as many.
const HOSTS: usize = 4;

/// For how long: half as long as smoltcp does.
const KNOWN: Duration = Duration::from_secs(30);

/// Where a frame has its destination, its source and its type, and an IPv4 header its addresses.
const ETHERNET_BYTES: usize = 14;
const IPV4: [u8; 2] = [0x08, 0x00];
const SOURCE_AT: usize = ETHERNET_BYTES + 12;
const IPV4_BYTES: usize = 20;

/// An Ethernet address and an IPv4 address.
type Host = ([u8; 6], [u8; 4]);

/// Hosts that the stack was shown.
#[derive(Default)]
pub(crate) struct Neighbours {
    /// The last one first.
    shown: Vec<(Host, Instant)>,
}

impl Neighbours {
    /// Returns the ARP reply that the stack is to see before this frame, if it is from a host that it does not know.
    #[inline]
    pub(crate) fn introduce(&mut self, frame: &[u8], now: Instant) -> Option<[u8; ETHERNET_BYTES + 28]> {
        let host = sender(frame)?;
        match self.shown.first() {
            Some(&(last, at)) if last == host && now - at < KNOWN => None,
            _ => self.look(host, frame, now),
        }
    }

    fn look(&mut self, host: Host, frame: &[u8], now: Instant) -> Option<[u8; ETHERNET_BYTES + 28]> {
        let place = self.shown.iter().position(|&(known, _)| known == host);
        let shown_at = place.map(|place| self.shown.remove(place).1).filter(|&at| now - at < KNOWN);
        self.shown.insert(0, (host, shown_at.unwrap_or(now)));
        self.shown.truncate(HOSTS);
        shown_at.is_none().then(|| reply(host, frame))
    }
}

/// Returns who sent a packet of IPv4 to one host.
fn sender(frame: &[u8]) -> Option<Host> {
    if frame.len() < ETHERNET_BYTES + IPV4_BYTES || frame[12..14] != IPV4 || (frame[0] | frame[6]) & 1 != 0 {
        return None;
    }
    Some((frame[6..12].try_into().ok()?, frame[SOURCE_AT..SOURCE_AT + 4].try_into().ok()?))
}

/// Returns the ARP reply (RFC 826) of the host that sent the frame.
fn reply((mac, ip): Host, frame: &[u8]) -> [u8; ETHERNET_BYTES + 28] {
    let mut reply = [0; ETHERNET_BYTES + 28];
    let to = (&frame[..6], &frame[SOURCE_AT + 4..SOURCE_AT + 8]);
    // Ethernet's type; Ethernet addresses for IPv4's, of 6 and 4 bytes; a reply.
    let parts: [&[u8]; 8] = [to.0, &mac, &[0x08, 0x06], &[0, 1, 0x08, 0x00, 6, 4, 0, 2], &mac, &ip, to.0, to.1];
    let mut at = 0;
    for part in parts {
        reply[at..at + part.len()].copy_from_slice(part);
        at += part.len();
    }
    reply
}

#[cfg(test)]
mod tests {
    use super::*;

    fn frame(last: u8) -> Vec<u8> {
        let mut frame = vec![2, 0, 0, 0, 0, 1, 2, 0, 0, 0, 0, last, 0x08, 0x00, 0x45];
        frame.resize(60, 0);
        frame[SOURCE_AT..SOURCE_AT + 8].copy_from_slice(&[10, 0, 2, last, 10, 0, 2, 2]);
        frame
    }

    #[test]
    fn a_host_is_introduced_once_and_again_after_a_while() {
        let mut neighbours = Neighbours::default();
        let mut shown = |last, at| neighbours.introduce(&frame(last), Instant::from_secs(at)).is_some();
        assert_eq!(
            [shown(9, 0), shown(9, 1), shown(8, 2), shown(9, 3), shown(8, 4)],
            [true, false, true, false, false]
        );
        assert_eq!([shown(9, 29), shown(9, 30), shown(9, 31)], [false, true, false]);
        for last in 10..14 {
            assert!(shown(last, 32));
        }
        assert!(shown(9, 33), "four others came");
    }

    #[test]
    fn a_frame_that_is_too_short_or_to_many_introduces_nobody() {
        let mut neighbours = Neighbours::default();
        for len in 0..34 {
            assert_eq!(neighbours.introduce(&frame(9)[..len], Instant::ZERO), None);
        }
        let mut to_all = frame(9);
        to_all[0] = 0xff;
        assert_eq!(neighbours.introduce(&to_all, Instant::ZERO), None);
    }
}
