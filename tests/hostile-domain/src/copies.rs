//! Whether memory is copied, moved, filled and compared as it should be: an object of this kind has its own functions
//! for that, which the compiler calls.

use core::hint::black_box;

const BYTES: usize = 700;

/// Returns bytes that differ from their neighbours.
fn pattern(seed: u8) -> [u8; BYTES] {
    let mut bytes = [0; BYTES];
    for (index, byte) in bytes.iter_mut().enumerate() {
        *byte = (index as u8).wrapping_mul(31) ^ seed ^ (index >> 8) as u8;
    }
    bytes
}

/// Panics unless, behind `to`, `len` bytes of `now` are what is expected, and all others as before.
fn expect(now: &[u8; BYTES], before: &[u8; BYTES], to: usize, len: usize, expected: impl Fn(usize) -> u8) {
    for index in 0..BYTES {
        let is_part = index >= to && index < to + len;
        let wanted = if is_part { expected(index - to) } else { before[index] };
        assert!(now[index] == wanted, "byte {index} of {len} at {to}");
    }
}

pub(crate) fn check() {
    let (one, other) = (pattern(1), pattern(2));
    for len in (0..=36).chain([47, 64, 65, 255, 256, 257, 600]) {
        for (from, to) in [(0, 0), (1, 8), (13, 5)] {
            let (from, to, len) = (black_box(from), black_box(to), black_box(len));
            let mut copied = other;
            copied[to..to + len].copy_from_slice(&one[from..from + len]);
            expect(&copied, &other, to, len, |index| one[from + index]);
            let mut moved = one;
            moved.copy_within(from..from + len, to);
            expect(&moved, &one, to, len, |index| one[from + index]);
            let mut filled = one;
            filled[to..to + len].fill(black_box(7));
            expect(&filled, &one, to, len, |_| 7);
            let same = copied[to..to + len] == one[from..from + len];
            assert!(same, "{len} bytes are the same");
            if len > 0 {
                copied[to + len - 1] ^= 0x80;
                let order = copied[to..to + len].cmp(&one[from..from + len]);
                assert!(order == copied[to + len - 1].cmp(&one[from + len - 1]), "{len} bytes differ in the last");
            }
        }
    }
}
