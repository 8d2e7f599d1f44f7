//! What the chip does to frames in the host's place (sections 3.2.9 and 3.3.5 to 3.5): checksums both ways, and cutting
//! TCP into segments.

use e1000_regs::tx::{self, Context, command};
use e1000_regs::{RXCSUM, rx};
use nook_sdk::{Fill, Packet, Pool, Provided, Side, offload};

use crate::verbs::{RING, SEND, halves};

/// What every chip of the family can do.
pub(crate) const ALL: u32 = offload::TX_CHECKSUM
    | offload::SEGMENT_V4
    | offload::SEGMENT_V6
    | offload::SEVERAL_BUFFERS
    | offload::RX_CHECKSUM
    | offload::RX_SEVERAL_BUFFERS;

/// RXCSUM: checksums of IPv4 headers, and of TCP and UDP, are looked at (section 13.4.47).
pub(crate) const CHECKS: u32 = RXCSUM::IPOFL | RXCSUM::TUOFL;

/// Where an IPv4 header has its checksum (RFC 791).
const IPV4_CHECKSUM: u8 = 10;
/// Where a checksum stands in TCP's header, and not in UDP's.
const TCP_CHECKSUM: u16 = 16;

/// Gives the chip the frame that comes next in the queue, which is in several buffers, or to which something is to be
/// done. Returns how many entries were taken: all of the frame or, while there is no room for it, 0. `None` if no
/// descriptors can be made of it.
#[inline(never)] // Others pass a short loop.
pub(crate) fn fill(fill: &mut Fill<'_, Packet, RING, 16>, provided: &mut Provided<'_>, pool: &Pool) -> Option<u32> {
    let (count, side) = (provided.frame_count()?, provided.side());
    let context = side.map(context);
    let slots = count + u32::from(context.is_some());
    if slots > RING as u32 / 2 {
        return None;
    }
    if fill.packets_room() < count || fill.room() < slots {
        return Some(0);
    }
    let (mut command, options) = side.map_or((SEND, 0), |side| data_of(&side));
    // It applies to the frames that follow it, up to the next one (section 3.3.5). One for each frame: a chip that was
    // reset has forgotten the last.
    if let Some(context) = context {
        fill.vacant()?.put(halves(context.to_words()), Packet::NONE);
    }
    for at in 0..count {
        let packet = Packet::from(&provided.next()?);
        // What lies outside the pool is sent as nothing.
        let (iova, len_bytes) = pool.frame_iova(&packet).map_or((0, 0), |iova| (iova, packet.len_bytes));
        if at + 1 == count {
            command |= command::EOP;
        }
        let words = match side {
            Some(_) => tx::data(iova, len_bytes, command, options),
            None => tx::legacy(iova, len_bytes as u16, command),
        };
        fill.vacant()?.put(halves(words), packet);
    }
    Some(count)
}

/// Returns the command of the data descriptors of a frame, and their options.
fn data_of(side: &Side) -> (u32, u32) {
    if !side.is_segmented() {
        return (SEND, tx::status::TXSM);
    }
    let ip = if side.is_ipv6() { 0 } else { tx::status::IXSM };
    (SEND | command::TSE, tx::status::TXSM | ip)
}

/// Returns the context of a frame (sections 3.3.6 and 3.5.3). The host has checked that each number fits.
fn context(side: Side) -> Context {
    let (ip_start, l4_start) = (side.network_start as u8, side.checksum_start as u8);
    let is_tcp = side.checksum_offset == TCP_CHECKSUM;
    let mut context = Context {
        ip_start,
        l4_start,
        l4_put: (side.checksum_start + side.checksum_offset) as u8,
        l4_end: 0,
        command: command::RS | command::IDE | if is_tcp { command::TCP } else { 0 },
        ..Context::default()
    };
    if !side.is_ipv6() {
        context.ip_put = ip_start.wrapping_add(IPV4_CHECKSUM);
        context.ip_end = side.checksum_start.wrapping_sub(1);
        context.command |= command::IP;
    }
    if side.is_segmented() {
        context.payload_bytes = side.frame_bytes.wrapping_sub(side.header_bytes.into());
        context.header_bytes = side.header_bytes as u8;
        context.mss = side.segment_bytes;
        context.command |= command::TSE;
    }
    context
}

/// Returns whether the chip found the frame's checksum of TCP or UDP right, from the last word of its descriptor
/// (section 3.2.9).
#[inline(always)]
pub(crate) fn is_checked(word3: u32) -> bool {
    const LOOKED: u32 = rx::status::TCPCS;
    word3 & (rx::status::IXSM | rx::status::TCPCS | rx::error::TCPE | rx::error::IPE) == LOOKED
}
