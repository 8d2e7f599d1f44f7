//! The Internet's checksums, inserted and looked at (sections 3.2.9, 3.3.3.1 and 3.5.5).

use e1000_regs::RXCSUM;
use e1000_regs::rx::{error, status};
use e1000_regs::tx::Context;

const TCP: u8 = 6;
const UDP: u8 = 17;

/// Computes the sum that the Internet's checksums are made of (RFC 1071).
pub(crate) fn ones_sum(bytes: &[u8]) -> u16 {
    let (pairs, odd) = bytes.as_chunks::<2>();
    let sum: u64 = pairs.iter().map(|&pair| u64::from(u16::from_be_bytes(pair))).sum();
    let mut sum = sum + odd.first().map_or(0, |&last| u64::from(last) << 8);
    while sum > 0xffff {
        sum = (sum & 0xffff) + (sum >> 16);
    }
    sum as u16
}

/// Inserts at `put` the ones' complement of the sum of everything from `start` on (section 3.3.3.1). Offsets past the
/// end insert nothing.
pub(crate) fn insert(frame: &mut [u8], start: usize, put: usize) {
    if start < frame.len() && put + 2 <= frame.len() {
        let sum = ones_sum(&frame[start..]);
        frame[put..put + 2].copy_from_slice(&(!sum).to_be_bytes());
    }
}

/// Inserts what a data descriptor's options ask for, as the context says where (section 3.3.7.2).
pub(crate) fn insert_by_context(frame: &mut [u8], context: &Context, ip: bool, upper: bool) {
    let end_of = |last: u16, len: usize| if last == 0 { len } else { len.min(usize::from(last) + 1) };
    if ip {
        let end = end_of(context.ip_end, frame.len());
        insert(&mut frame[..end], context.ip_start.into(), context.ip_put.into());
    }
    if upper {
        let end = end_of(context.l4_end, frame.len());
        insert(&mut frame[..end], context.l4_start.into(), context.l4_put.into());
    }
}

/// Returns what the status and error bits of a received frame say about its checksums, for this value of RXCSUM: of
/// IPv4 headers, and of TCP and UDP in packets of IPv4 and IPv6 that are whole and without extension headers (table
/// 3-5). [`status::IXSM`] if nothing is looked at.
pub(crate) fn received(frame: &[u8], rxcsum: u32) -> u32 {
    if rxcsum & (RXCSUM::IPOFL | RXCSUM::TUOFL) == 0 {
        return status::IXSM;
    }
    look(frame, rxcsum).unwrap_or(0)
}

fn word(bytes: &[u8], at: usize) -> Option<u16> {
    Some(u16::from_be_bytes([*bytes.get(at)?, *bytes.get(at + 1)?]))
}

fn look(frame: &[u8], rxcsum: u32) -> Option<u32> {
    let mut ip = 14;
    if word(frame, 12)? == 0x8100 {
        ip += 4;
    }
    let (mut bits, protocol, addresses, upper) = match word(frame, ip - 2)? {
        0x0800 => {
            let header_bytes = usize::from(*frame.get(ip)? & 15) * 4;
            let header = frame.get(ip..ip + header_bytes).filter(|header| header.len() >= 20)?;
            let mut bits = 0;
            if rxcsum & RXCSUM::IPOFL != 0 {
                bits |= status::IPCS | if ones_sum(header) == 0xffff { 0 } else { error::IPE };
            }
            if word(header, 6)? & 0x3fff != 0 {
                return Some(bits);
            }
            let end = ip + usize::from(word(header, 2)?);
            (bits, header[9], &header[12..20], frame.get(ip + header_bytes..end)?)
        }
        0x86dd => {
            let header = frame.get(ip..ip + 40)?;
            let end = ip + 40 + usize::from(word(header, 4)?);
            (0, header[6], &header[8..40], frame.get(ip + 40..end)?)
        }
        _ => return None,
    };
    // A datagram of UDP may have none.
    let has_one = protocol == TCP || protocol == UDP && word(upper, 6)? != 0;
    if rxcsum & RXCSUM::TUOFL != 0 && has_one {
        let pseudo = [&[0, protocol][..], &(upper.len() as u16).to_be_bytes(), addresses].concat();
        let sums = [ones_sum(&pseudo).to_be_bytes(), ones_sum(upper).to_be_bytes()];
        let right = ones_sum(sums.as_flattened()) == 0xffff;
        bits |= status::TCPCS | if right { 0 } else { error::TCPE };
    }
    Some(bits)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_checksum_makes_the_sum_of_what_it_covers_all_ones() {
        let mut frame: Vec<u8> = (0..61).collect();
        frame[20..22].fill(0);
        insert(&mut frame, 14, 20);
        assert_eq!(ones_sum(&frame[14..]), 0xffff);
    }

    #[test]
    fn a_checksum_past_the_end_is_not_inserted() {
        let mut frame = [7; 20];
        insert(&mut frame, 14, 19);
        insert(&mut frame, 20, 2);
        assert_eq!(frame, [7; 20]);
    }

    #[test]
    fn what_is_cut_off_anywhere_is_looked_at_without_harm() {
        let mut frame = [0; 60];
        frame[12..16].copy_from_slice(&[8, 0, 0x4f, 0]);
        for (at, kind) in [(12, [0x08, 0x00]), (12, [0x86, 0xdd]), (12, [0x81, 0x00])] {
            frame[at..at + 2].copy_from_slice(&kind);
            for len in 0..=frame.len() {
                received(&frame[..len], RXCSUM::IPOFL | RXCSUM::TUOFL);
            }
        }
    }
}
