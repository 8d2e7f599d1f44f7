//! What is left to a driver's device of the work that the kernel left undone: said beside the frame, once the header in
//! front of the packet and the packet's own headers agree about it.

use nook_abi::net::{Side, offload, side_flags};
use nook_net_api::Room;

use super::chain::Chain;
use super::checksum::add;
use super::headers::{TCP, TCP_BYTES, UDP, Version, word};
use super::{Gso, VnetHeader};

/// Where the checksum stands in the headers of TCP (RFC 9293, 3.1) and UDP (RFC 768).
const TCP_CHECKSUM: usize = 16;
const UDP_CHECKSUM: usize = 6;

/// What a checksum of less than this is of is summed up here: sooner done than said.
const SHORT_BYTES: usize = 256;

/// Bytes of a packet's beginning in which its headers are looked for. Those of a packet whose headers are longer are
/// not left to a device.
const HEAD_BYTES: usize = 320;

/// A VLAN tag, for which a frame may be longer.
const TAG_BYTES: usize = 4;
const ETHERNET_BYTES: usize = 14;

/// Returns what is to be done to a packet of `len` bytes whose beginning is in `room`, if the driver's device can do
/// it; then its headers are what such a device begins with.
pub(super) fn leave(vnet: VnetHeader, room: &Room<'_>, len: usize) -> Option<Side> {
    if !vnet.needs_checksum || room.offloads & offload::TX_CHECKSUM == 0 || len > room.total_bytes() {
        return None;
    }
    let mut head = [0; HEAD_BYTES];
    let head_bytes = room.copy_to(0, &mut head[..len.min(HEAD_BYTES)]);
    let head = &mut head[..head_bytes];
    let (protocol, checksum_at) = match usize::from(vnet.csum_offset) {
        TCP_CHECKSUM => (TCP, TCP_CHECKSUM),
        UDP_CHECKSUM => (UDP, UDP_CHECKSUM),
        _ => return None,
    };
    let chain = Chain::of(head, len, protocol).ok()?;
    let Chain { version, ip, upper, end } = chain;
    // A device sums up to the frame's end.
    let agrees = usize::from(vnet.csum_start) == upper && end == len && upper + checksum_at + 2 <= head.len();
    if !agrees || ip > Side::MOST_NETWORK_START || upper + checksum_at > Side::MOST_HEADER_BYTES {
        return None;
    }
    let ipv6 = if version == Version::V6 { side_flags::IPV6 } else { 0 };
    let side = Side {
        flags: side_flags::CHECKSUM | ipv6,
        network_start: ip as u16,
        checksum_start: upper as u16,
        checksum_offset: checksum_at as u16,
        frame_bytes: len as u32,
        ..Side::default()
    };
    let (wanted, can) = match vnet.gso {
        Gso::One => return (len <= room.longest_bytes && len - upper >= SHORT_BYTES).then_some(side),
        Gso::TcpV4 => (Version::V4, offload::SEGMENT_V4),
        Gso::TcpV6 => (Version::V6, offload::SEGMENT_V6),
        Gso::Other(_) => return None,
    };
    let header_bytes = upper + usize::from(head.get(upper + 12)? >> 4) * 4;
    let is_header = protocol == TCP && header_bytes >= upper + TCP_BYTES && header_bytes <= head.len().min(len);
    let longest = room.longest_bytes - if ip > ETHERNET_BYTES { 0 } else { TAG_BYTES };
    let segment_bytes = usize::from(vnet.gso_bytes);
    let fits = header_bytes <= Side::MOST_HEADER_BYTES && header_bytes + segment_bytes <= longest;
    let several = segment_bytes > 0 && len > header_bytes + segment_bytes;
    if !is_header || version != wanted || room.offloads & can == 0 || !fits || !several {
        return None;
    }
    prepare(room, head, chain);
    Some(Side {
        flags: side.flags | side_flags::SEGMENT,
        header_bytes: header_bytes as u16,
        segment_bytes: segment_bytes as u16,
        ..side
    })
}

/// Makes a packet's headers those with which a device begins that cuts it: without the lengths, also in what the kernel
/// left of TCP's checksum, and without IPv4's checksum. Each segment has its own.
fn prepare(room: &Room<'_>, head: &[u8], Chain { version, ip, upper, end }: Chain) {
    let pseudo = add(word(head, upper + TCP_CHECKSUM), !((end - upper) as u16));
    room.copy_from(upper + TCP_CHECKSUM, &pseudo.to_be_bytes());
    match version {
        Version::V4 => {
            room.copy_from(ip + 2, &[0, 0]);
            room.copy_from(ip + 10, &[0, 0]);
        }
        Version::V6 => room.copy_from(ip + 4, &[0, 0]),
    }
}
