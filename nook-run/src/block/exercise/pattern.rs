//! What the exercise writes: content that says which unit it is, and which generation of it.

/// What each unit begins with.
const MAGIC: u64 = u64::from_le_bytes(*b"nookdisk");

/// Words before the content that only looks random: magic, unit, generation.
const HEAD: usize = 3;

/// Why what was read is not what was written.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Wrong {
    /// It is whole, and another one.
    Other {
        /// Which unit it says it is.
        unit: u64,
        /// Of which generation.
        generation: u64,
    },
    /// It is no unit of this exercise, or two of them in parts; this is the first byte that differs.
    Content(usize),
}

fn word(seed: u64, unit: u64, generation: u64, at: u64) -> u64 {
    // The finaliser of splitmix64: each bit of what goes in changes half of what comes out.
    let mut z = seed ^ unit.rotate_left(40) ^ generation.rotate_left(20) ^ at.wrapping_mul(0x9e37_79b9_7f4a_7c15);
    z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    z ^ (z >> 31)
}

/// Fills a unit, whose length is a multiple of 8 bytes.
pub fn fill(bytes: &mut [u8], seed: u64, unit: u64, generation: u64) {
    for (at, place) in bytes.as_chunks_mut::<8>().0.iter_mut().enumerate() {
        *place = content(seed, unit, generation, at).to_le_bytes();
    }
}

fn content(seed: u64, unit: u64, generation: u64, at: usize) -> u64 {
    match at {
        0 => MAGIC ^ seed,
        1 => unit,
        2 => generation,
        _ => word(seed, unit, generation, at as u64),
    }
}

/// Checks a unit that was read.
pub fn check(bytes: &[u8], seed: u64, unit: u64, generation: u64) -> Result<(), Wrong> {
    let words = bytes.as_chunks::<8>().0;
    let Some(at) = differs(words, seed, unit, generation) else { return Ok(()) };
    let [magic, found_unit, found_generation] = [0, 1, 2].map(|at| words.get(at).map_or(0, |w| u64::from_le_bytes(*w)));
    let whole = words.len() > HEAD && magic == MAGIC ^ seed;
    if whole && differs(words, seed, found_unit, found_generation).is_none() {
        return Err(Wrong::Other { unit: found_unit, generation: found_generation });
    }
    Err(Wrong::Content(at * 8))
}

fn differs(words: &[[u8; 8]], seed: u64, unit: u64, generation: u64) -> Option<usize> {
    words.iter().enumerate().position(|(at, word)| u64::from_le_bytes(*word) != content(seed, unit, generation, at))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_unit_is_not_taken_for_another_one_an_older_one_or_one_in_two_parts() {
        let unit = |unit, generation| {
            let mut bytes = vec![0; 4096];
            fill(&mut bytes, 7, unit, generation);
            bytes
        };
        assert_eq!(check(&unit(3, 5), 7, 3, 5), Ok(()));
        assert_eq!(check(&unit(4, 5), 7, 3, 5), Err(Wrong::Other { unit: 4, generation: 5 }));
        assert_eq!(check(&unit(3, 4), 7, 3, 5), Err(Wrong::Other { unit: 3, generation: 4 }));
        let torn = [&unit(3, 5)[..2048], &unit(3, 4)[2048..]].concat();
        assert_eq!(check(&torn, 7, 3, 5), Err(Wrong::Content(2048)));
        assert_eq!(check(&[0; 4096], 7, 3, 5), Err(Wrong::Content(0)));
        assert_eq!(check(&unit(3, 5), 8, 3, 5), Err(Wrong::Content(0)));
    }
}
