//! The Internet checksum (RFC 1071).

/// Returns the ones' complement sum of big-endian 16-bit words, folded to 16 bits; an odd last byte is the high half of
/// a word.
pub(super) fn sum(bytes: &[u8]) -> u16 {
    // Sums in the machine's order come out with their bytes in that order (RFC 1071, 2.B), so that whole words are
    // read. Additions with carry keep up with vector instructions, and an emulated machine has only the former.
    let (words, rest) = bytes.as_chunks::<8>();
    let mut last = [0; 8];
    last[..rest.len()].copy_from_slice(rest);
    let total: u128 = words.iter().chain([&last]).map(|word| u128::from(u64::from_ne_bytes(*word))).sum();
    let mut total = (total >> 64) + u128::from(total as u64);
    while total > 0xffff {
        total = (total & 0xffff) + (total >> 16);
    }
    u16::from_be(total as u16)
}

/// Returns the sum of two sums.
pub(super) fn add(a: u16, b: u16) -> u16 {
    let (sum, carry) = a.overflowing_add(b);
    sum + u16::from(carry)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_example_of_rfc_1071_comes_out() {
        assert_eq!(sum(&[0x00, 0x01, 0xf2, 0x03, 0xf4, 0xf5, 0xf6, 0xf7]), 0xddf2);
    }

    #[test]
    fn parts_of_even_length_add_up_to_the_whole() {
        let bytes: Vec<u8> = (0..1499u32).map(|at| ((at * 37) >> 2) as u8).collect();
        for cut in (0..bytes.len()).step_by(2) {
            assert_eq!(add(sum(&bytes[..cut]), sum(&bytes[cut..])), sum(&bytes), "{cut}");
        }
        assert_eq!(sum(&[0x12]), 0x1200);
        assert_eq!(sum(&[]), 0);
    }
}
