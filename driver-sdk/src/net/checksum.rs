//! The Internet checksum (RFC 1071), for drivers whose device computes none.
//!
//! Written with vectors: left with a plain loop, the compiler vectorizes across the rounds and gathers every word by
//! itself, for wasm and natively.

/// Bytes in a vector.
const VECTOR: usize = 16;
/// Sums that do not wait for each other. More of them would be kept on the stack of a module that checks its deadline.
const SUMS: usize = 4;
/// Vectors in a round of the loop. Neither compiler unrolls loops of wasm, and each round checks its deadline.
const ROUND: usize = 4 * SUMS;
/// Bytes after which sums of 32 bits are collected: each vector adds at most 2¹⁶ to one, so each holds 2¹⁵ of them.
const COLLECTED: usize = (VECTOR * SUMS) << 14;

/// Returns the ones' complement sum of `start` and the big-endian 16-bit words of `bytes`; an odd byte at the end
/// counts as if a zero followed. A checksum is the complement of it; parts of even length are added one after the
/// other, with the sum so far as `start`.
///
/// ```
/// // The example of RFC 1071, section 3.
/// assert_eq!(nook_sdk::checksum(0, &[0x00, 0x01, 0xf2, 0x03, 0xf4, 0xf5, 0xf6, 0xf7]), 0xddf2);
/// ```
#[inline]
pub fn checksum(start: u16, bytes: &[u8]) -> u16 {
    let mut sum = u64::from(start.swap_bytes());
    // The sum of words that were read with their bytes exchanged is the sum with its bytes exchanged (section 2(B)).
    for part in bytes.chunks(COLLECTED) {
        let (vectors, rest) = part.as_chunks::<VECTOR>();
        sum += sum_of_vectors(vectors) + sum_of_rest(rest);
    }
    while sum > 0xffff {
        sum = (sum & 0xffff) + (sum >> 16);
    }
    (sum as u16).swap_bytes()
}

/// Returns the sum of all little-endian 16-bit words.
#[inline(always)]
fn sum_of_vectors(vectors: &[[u8; VECTOR]]) -> u64 {
    let (rounds, rest) = vectors.as_chunks::<ROUND>();
    let (groups, rest) = rest.as_chunks::<SUMS>();
    let mut sums = [lanes::ZERO; SUMS];
    let mut add = |group: &[[u8; VECTOR]; SUMS]| {
        for (sum, vector) in sums.iter_mut().zip(group) {
            *sum = lanes::add(*sum, vector);
        }
    };
    for round in rounds {
        round.as_chunks().0.iter().for_each(&mut add);
    }
    groups.iter().for_each(add);
    for vector in rest {
        sums[0] = lanes::add(sums[0], vector);
    }
    let signed: i64 = sums.into_iter().flat_map(lanes::split).map(i64::from).sum();
    // Each of the words was taken less by this much.
    (signed + (vectors.len() * VECTOR / 2) as i64 * 0x8000) as u64
}

/// Returns the sum of less than a vector, in parts of 16 bits and more: what is above them is folded later.
#[inline(always)]
fn sum_of_rest(mut rest: &[u8]) -> u64 {
    let mut sum = 0;
    if let Some((part, more)) = rest.split_first_chunk::<8>() {
        let part = u64::from_le_bytes(*part);
        sum += (part & 0xffff_ffff) + (part >> 32);
        rest = more;
    }
    if let Some((part, more)) = rest.split_first_chunk::<4>() {
        sum += u64::from(u32::from_le_bytes(*part));
        rest = more;
    }
    if let Some((part, more)) = rest.split_first_chunk::<2>() {
        sum += u64::from(u16::from_le_bytes(*part));
        rest = more;
    }
    sum + rest.first().map_or(0, |&byte| u64::from(byte))
}

/// Four sums of 32 bits, to which a vector's words are added in pairs. Words are taken as signed, which is what there
/// are instructions for, and so less by 0x8000 than they are.
#[cfg(all(target_arch = "wasm32", target_feature = "simd128"))]
mod lanes {
    use core::arch::wasm32::{i16x8_splat, i32x4_add, i32x4_dot_i16x8, u32x4, v128, v128_xor};

    pub(super) type Lanes = v128;
    pub(super) const ZERO: Lanes = u32x4(0, 0, 0, 0);

    #[inline(always)]
    pub(super) fn add(sums: Lanes, vector: &[u8; 16]) -> Lanes {
        // SAFETY: both are 16 bytes without padding, in the order of memory.
        let words: v128 = unsafe { core::mem::transmute::<[u8; 16], v128>(*vector) };
        let signed = v128_xor(words, i16x8_splat(i16::MIN));
        i32x4_add(sums, i32x4_dot_i16x8(signed, i16x8_splat(1)))
    }

    pub(super) fn split(sums: Lanes) -> [i32; 4] {
        // SAFETY: both are 16 bytes without padding.
        unsafe { core::mem::transmute::<v128, [i32; 4]>(sums) }
    }
}

#[cfg(target_arch = "x86_64")]
mod lanes {
    use core::arch::x86_64::{__m128i, _mm_add_epi32, _mm_madd_epi16, _mm_set1_epi16, _mm_xor_si128};

    pub(super) type Lanes = __m128i;
    // SAFETY: both are 16 bytes without padding.
    pub(super) const ZERO: Lanes = unsafe { core::mem::transmute::<[u8; 16], __m128i>([0; 16]) };

    #[inline(always)]
    pub(super) fn add(sums: Lanes, vector: &[u8; 16]) -> Lanes {
        // SAFETY: both are 16 bytes without padding, in the order of memory.
        let words = unsafe { core::mem::transmute::<[u8; 16], __m128i>(*vector) };
        // SAFETY: every CPU of this architecture has SSE2.
        unsafe {
            let signed = _mm_xor_si128(words, _mm_set1_epi16(i16::MIN));
            _mm_add_epi32(sums, _mm_madd_epi16(signed, _mm_set1_epi16(1)))
        }
    }

    pub(super) fn split(sums: Lanes) -> [i32; 4] {
        // SAFETY: both are 16 bytes without padding.
        unsafe { core::mem::transmute::<__m128i, [i32; 4]>(sums) }
    }
}

#[cfg(not(any(target_arch = "x86_64", all(target_arch = "wasm32", target_feature = "simd128"))))]
mod lanes {
    pub(super) type Lanes = [i32; 4];
    pub(super) const ZERO: Lanes = [0; 4];

    #[inline(always)]
    pub(super) fn add(mut sums: Lanes, vector: &[u8; 16]) -> Lanes {
        for (sum, pair) in sums.iter_mut().zip(vector.as_chunks::<4>().0) {
            let pair = u32::from_le_bytes(*pair);
            *sum += (pair & 0xffff) as i32 + (pair >> 16) as i32 - 0x10000;
        }
        sums
    }

    pub(super) fn split(sums: Lanes) -> [i32; 4] {
        sums
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::vec::Vec;

    /// Computes it as RFC 1071 states it.
    fn plainly(start: u16, bytes: &[u8]) -> u16 {
        let words = bytes.chunks(2).map(|word| u16::from_be_bytes([word[0], word.get(1).copied().unwrap_or(0)]));
        words.fold(start, |sum, word| {
            let (sum, carry) = sum.overflowing_add(word);
            sum + u16::from(carry)
        })
    }

    #[test]
    fn every_length_and_place_adds_up_as_the_rfc_says() {
        let bytes: Vec<u8> = (0..700u32).map(|at| (at.wrapping_mul(0x9e37_79b9) >> 23) as u8).collect();
        for from in 0..20 {
            for to in from..bytes.len() {
                let start = (from * 4099 + to * 31) as u16;
                assert_eq!(checksum(start, &bytes[from..to]), plainly(start, &bytes[from..to]), "{from}..{to}");
            }
        }
    }

    #[test]
    fn sums_do_not_overflow_however_much_there_is() {
        for byte in [0u8, 0x7f, 0x80, 0xff] {
            let bytes = std::vec![byte; 2 * COLLECTED + 2 * VECTOR * ROUND + 37];
            assert_eq!(checksum(0, &bytes), plainly(0, &bytes), "{byte:#x}");
        }
    }
}
