//! The format pcapng (draft-ietf-opsawg-pcapng): blocks with options, in this machine's byte order.

use super::{LINK_ETHERNET, Passed, SNAPSHOT_BYTES};

/// Types of blocks (section 10.1).
const SECTION_HEADER: u32 = 0x0a0d_0d0a;
const INTERFACE_DESCRIPTION: u32 = 1;
const ENHANCED_PACKET: u32 = 6;

/// What a section begins with says in which byte order it is (4.1).
const BYTE_ORDER_MAGIC: u32 = 0x1a2b_3c4d;
/// Of the format: 1.0.
const VERSION: (u16, u16) = (1, 0);
/// The section's length is not known.
const UNKNOWN_BYTES: u64 = u64::MAX;

/// Options (3.5, 4.1 to 4.3).
const END: u16 = 0;
const COMMENT: u16 = 1;
const SECTION_PROGRAM: u16 = 4;
const INTERFACE_RESOLUTION: u16 = 9;
const PACKET_FLAGS: u16 = 2;

/// Times count 10^-9 seconds.
const NANOSECONDS: u8 = 9;
/// Bits 0 and 1 of a packet's flags (4.3.1).
const INBOUND: u32 = 1;
const OUTBOUND: u32 = 2;

/// Appends what a file begins with: one section, with one interface.
pub fn begin(buffer: &mut Vec<u8>) {
    block(buffer, SECTION_HEADER, |buffer| {
        buffer.extend(BYTE_ORDER_MAGIC.to_ne_bytes());
        buffer.extend(VERSION.0.to_ne_bytes());
        buffer.extend(VERSION.1.to_ne_bytes());
        buffer.extend(UNKNOWN_BYTES.to_ne_bytes());
        option(buffer, SECTION_PROGRAM, b"nook-run");
        option(buffer, END, &[]);
    });
    block(buffer, INTERFACE_DESCRIPTION, |buffer| {
        buffer.extend((LINK_ETHERNET as u16).to_ne_bytes());
        buffer.extend([0; 2]);
        buffer.extend(SNAPSHOT_BYTES.to_ne_bytes());
        option(buffer, INTERFACE_RESOLUTION, &[NANOSECONDS]);
        option(buffer, END, &[]);
    });
}

/// Appends a packet of `len` bytes, of which these are kept.
pub fn add(buffer: &mut Vec<u8>, at_ns: u64, kept: &[u8], len: usize, passed: Passed) {
    let (direction, comment) = match passed {
        Passed::In => (INBOUND, None),
        Passed::Refused => (INBOUND, Some("dropped: the interface did not take it")),
        Passed::Out => (OUTBOUND, None),
    };
    block(buffer, ENHANCED_PACKET, |buffer| {
        // Of the first interface.
        buffer.extend(0u32.to_ne_bytes());
        buffer.extend(((at_ns >> 32) as u32).to_ne_bytes());
        buffer.extend((at_ns as u32).to_ne_bytes());
        buffer.extend((kept.len() as u32).to_ne_bytes());
        buffer.extend((len as u32).to_ne_bytes());
        padded(buffer, kept);
        option(buffer, PACKET_FLAGS, &direction.to_ne_bytes());
        comment.into_iter().for_each(|comment| option(buffer, COMMENT, comment.as_bytes()));
        option(buffer, END, &[]);
    });
}

/// Appends a block: its type, its length before and behind it, and what `body` appends, a multiple of four bytes.
fn block(buffer: &mut Vec<u8>, kind: u32, body: impl FnOnce(&mut Vec<u8>)) {
    let begin = buffer.len();
    buffer.extend(kind.to_ne_bytes());
    buffer.extend([0; 4]);
    body(buffer);
    let len = (buffer.len() - begin + 4) as u32;
    buffer[begin + 4..begin + 8].copy_from_slice(&len.to_ne_bytes());
    buffer.extend(len.to_ne_bytes());
}

fn option(buffer: &mut Vec<u8>, code: u16, value: &[u8]) {
    buffer.extend(code.to_ne_bytes());
    buffer.extend((value.len() as u16).to_ne_bytes());
    padded(buffer, value);
}

/// Appends bytes, and zeros up to a multiple of four.
fn padded(buffer: &mut Vec<u8>, bytes: &[u8]) {
    buffer.extend_from_slice(bytes);
    buffer.resize(buffer.len().next_multiple_of(4), 0);
}
