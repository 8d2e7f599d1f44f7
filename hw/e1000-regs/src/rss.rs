//! The hash by which the 82574 spreads flows over its receive queues (82574, section 7.1.11): Toeplitz', as Microsoft
//! defined it for receive side scaling.

/// The key that Microsoft published with the definition, and with results to check an implementation by (*Verifying the
/// RSS Hash Calculation*).
pub const RSS_KEY: [u8; 40] = [
    0x6d, 0x5a, 0x56, 0xda, 0x25, 0x5b, 0x0e, 0xc2, 0x41, 0x67, 0x25, 0x3d, 0x43, 0xa3, 0x8f, 0xb0, 0xd0, 0xca, 0x2b,
    0xcb, 0xae, 0x7b, 0x30, 0xb4, 0x77, 0xcb, 0x2d, 0xa3, 0x80, 0x30, 0xf2, 0x0c, 0x6a, 0x42, 0xb7, 0x3b, 0xbe, 0xac,
    0x01, 0xfa,
];

/// Bytes that are hashed at most: of IPv6, both addresses and both ports.
pub const RSS_INPUT_BYTES: usize = 36;

/// Returns the hash of the bytes of source address, destination address and, of TCP, source and destination port, as
/// they are on the wire. What is beyond [`RSS_INPUT_BYTES`] does not count.
pub fn rss_hash(key: &[u8; 40], input: &[u8]) -> u32 {
    let mut hash = 0;
    for (at, byte) in input.iter().take(RSS_INPUT_BYTES).enumerate() {
        let window = key[at..at + 5].iter().fold(0, |window, byte| window << 8 | u64::from(*byte));
        for bit in 0..8 {
            if byte << bit & 0x80 != 0 {
                hash ^= (window >> (8 - bit)) as u32;
            }
        }
    }
    hash
}

/// Returns the queue that the [`RETA`](const@crate::RETA) registers have for a hash: its lowest 7 bits choose a byte,
/// whose highest bit is the queue.
pub fn rss_queue(reta: impl Fn(u32) -> u32, hash: u32) -> usize {
    let at = hash & 0x7f;
    (reta(at / 4) >> (at % 4 * 8 + 7) & 1) as usize
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::net::{Ipv4Addr, Ipv6Addr};
    use std::vec::Vec;

    fn check(source: &[u8], destination: &[u8], ports: [u16; 2], addresses: u32, all: u32) {
        let mut input: Vec<u8> = [source, destination].concat();
        assert_eq!(rss_hash(&RSS_KEY, &input), addresses, "{input:?}");
        input.extend(ports.map(u16::to_be_bytes).as_flattened());
        assert_eq!(rss_hash(&RSS_KEY, &input), all, "{input:?}");
    }

    #[test]
    fn the_published_flows_have_the_published_hashes() {
        for (source, from, destination, to, addresses, all) in [
            ([66, 9, 149, 187], 2794, [161, 142, 100, 80], 1766, 0x323e_8fc2, 0x51cc_c178),
            ([199, 92, 111, 2], 14230, [65, 69, 140, 83], 4739, 0xd718_262a, 0xc626_b0ea),
            ([24, 19, 198, 95], 12898, [12, 22, 207, 184], 38024, 0xd2d0_a5de, 0x5c2b_394a),
            ([38, 27, 205, 30], 48228, [209, 142, 163, 6], 2217, 0x8298_9176, 0xafc7_327f),
            ([153, 39, 163, 191], 44251, [202, 188, 127, 2], 1303, 0x5d18_09c5, 0x10e8_28a2),
        ] {
            let [source, destination] = [source, destination].map(|address| Ipv4Addr::from(address).octets());
            check(&source, &destination, [from, to], addresses, all);
        }
        for (source, from, destination, to, addresses, all) in [
            ("3ffe:2501:200:1fff::7", 2794, "3ffe:2501:200:3::1", 1766, 0x2cc1_8cd5, 0x4020_7d3d),
            ("3ffe:501:8::260:97ff:fe40:efab", 14230, "ff02::1", 4739, 0x0f0c_461c, 0xdde5_1bbf),
            ("3ffe:1900:4545:3:200:f8ff:fe21:67cf", 44251, "fe80::200:f8ff:fe21:67cf", 38024, 0x4b61_e985, 0x02d1_feef),
        ] {
            let [source, destination] = [source, destination].map(|text| text.parse::<Ipv6Addr>().unwrap().octets());
            check(&source, &destination, [from, to], addresses, all);
        }
    }

    #[test]
    fn a_byte_of_the_table_is_for_each_of_the_hashs_lowest_7_bits() {
        let reta = |at| if at == 31 { 0x7f80_7f7f } else { 0x8000 * u32::from(at == 0) };
        let queues: Vec<u32> = (0..256).filter(|&hash| rss_queue(reta, hash) == 1).collect();
        assert_eq!(queues, [1, 126, 129, 254]);
    }
}
