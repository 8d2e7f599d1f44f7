//! Where IP and what it carries are in a packet that the kernel left whole: behind VLAN tags, with IPv4 options or IPv6
//! extension headers, as they come.

use super::Unfit;
use super::headers::{IPV4, IPV6, IPV6_BYTES, Version, behind_tags, word};

/// IPv6's extension headers that say in the same way how long they are (RFC 6564): hop-by-hop options, routing,
/// destination options, mobility, host identity, shim6. A fragment's is not among them: it is no whole packet.
const EXTENSIONS: [u8; 6] = [0, 43, 60, 135, 139, 140];

/// Where the parts of a packet begin, in bytes from its first.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Chain {
    pub(super) version: Version,
    pub(super) ip: usize,
    /// Where IP's headers end, and TCP's or UDP's begins.
    pub(super) upper: usize,
    /// Where it ends, as IP says.
    pub(super) end: usize,
}

impl Chain {
    /// Walks through the headers of a packet of `len` bytes that carries `protocol`; `packet` is all of it, or its
    /// beginning with the headers.
    ///
    /// # Errors
    /// If one is not known, is cut off, or says that the packet is a fragment or longer than it is.
    pub(super) fn of(packet: &[u8], len: usize, protocol: u8) -> Result<Chain, Unfit> {
        let (ip, kind) = behind_tags(packet).ok_or(Unfit::Headers)?;
        let chain = match (kind, packet.get(ip).map(|first| first >> 4)) {
            (IPV4, Some(4)) => ipv4(packet, ip, protocol)?,
            (IPV6, Some(6)) => ipv6(packet, ip, protocol)?,
            _ => return Err(Unfit::Headers),
        };
        if chain.end < chain.upper || chain.end > len { Err(Unfit::Length) } else { Ok(chain) }
    }
}

fn word_at(packet: &[u8], at: usize) -> Result<u16, Unfit> {
    if at + 2 <= packet.len() { Ok(word(packet, at)) } else { Err(Unfit::Headers) }
}

fn byte_at(packet: &[u8], at: usize) -> Result<u8, Unfit> {
    packet.get(at).copied().ok_or(Unfit::Headers)
}

fn ipv4(packet: &[u8], ip: usize, protocol: u8) -> Result<Chain, Unfit> {
    let header_bytes = usize::from(byte_at(packet, ip)? & 15) * 4;
    let fragment = word_at(packet, ip + 6)? & 0x3fff;
    if header_bytes < 20 || fragment != 0 || byte_at(packet, ip + 9)? != protocol {
        return Err(Unfit::Headers);
    }
    let end = ip + usize::from(word_at(packet, ip + 2)?);
    Ok(Chain { version: Version::V4, ip, upper: ip + header_bytes, end })
}

fn ipv6(packet: &[u8], ip: usize, protocol: u8) -> Result<Chain, Unfit> {
    let end = ip + IPV6_BYTES + usize::from(word_at(packet, ip + 4)?);
    let (mut next, mut at) = (byte_at(packet, ip + 6)?, ip + IPV6_BYTES);
    while EXTENSIONS.contains(&next) {
        next = byte_at(packet, at)?;
        at += (usize::from(byte_at(packet, at + 1)?) + 1) * 8;
    }
    if next == protocol { Ok(Chain { version: Version::V6, ip, upper: at, end }) } else { Err(Unfit::Headers) }
}
