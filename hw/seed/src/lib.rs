//! Numbers that look random and follow from one seed: SplitMix64 (Steele, Lea, Flood: *Fast splittable pseudorandom
//! number generators*, 2014).
//!
//! It is what everything here draws from that a run can be repeated with: the model's device, planned crashes, contents
//! of streams, resampling in the benchmarks, tests. It is not for secrets. Sequences are part of what a seed means, so
//! they do not change between versions without a line in the changelog.
#![no_std]
#![forbid(unsafe_code)]

/// What the state grows by with each number.
const STEP: u64 = 0x9e37_79b9_7f4a_7c15;

/// A sequence of numbers.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Rng(u64);

impl Rng {
    /// Begins the sequence of this seed; any number is one.
    pub const fn new(seed: u64) -> Self {
        Rng(seed)
    }

    /// Draws 64 bits.
    pub const fn word(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(STEP);
        mix(self.0)
    }

    /// Draws a number below `limit`; 0 if `limit` is 0.
    pub const fn below(&mut self, limit: u64) -> u64 {
        ((self.word() as u128 * limit as u128) >> 64) as u64
    }

    /// Draws a place in a list of `len` items; 0 if it has none.
    pub const fn index(&mut self, len: usize) -> usize {
        self.below(len as u64) as usize
    }

    /// Draws from 0 to `most`; both can come. Draws nothing if there is nothing to choose.
    pub const fn up_to(&mut self, most: u64) -> u64 {
        match most {
            0 => 0,
            u64::MAX => self.word(),
            _ => self.word() % (most + 1),
        }
    }

    /// Returns true in one of `n` draws; never, and without a draw, if `n` is 0.
    pub const fn one_in(&mut self, n: u32) -> bool {
        n != 0 && self.word().is_multiple_of(n as u64)
    }

    /// Returns true in `ppm` of a million draws; never, and without a draw, if `ppm` is 0.
    pub const fn in_a_million(&mut self, ppm: u32) -> bool {
        ppm != 0 && self.word() % 1_000_000 < ppm as u64
    }
}

/// Returns the number that [`Rng::word`] draws from `seed` after `before` others, without drawing these.
pub const fn word_at(seed: u64, before: u64) -> u64 {
    mix(seed.wrapping_add(before.wrapping_add(1).wrapping_mul(STEP)))
}

const fn mix(state: u64) -> u64 {
    let mut z = state;
    z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    z ^ (z >> 31)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_sequence_is_that_of_the_published_generator() {
        // The first outputs of the authors' generator for the seed 1234567.
        let mut rng = Rng::new(1_234_567);
        let words = [(); 5].map(|()| rng.word());
        assert_eq!(
            words,
            [
                6_457_827_717_110_365_317,
                3_203_168_211_198_807_973,
                9_817_491_932_198_370_423,
                4_593_380_528_125_082_431,
                16_408_922_859_458_223_821
            ]
        );
    }

    #[test]
    fn a_number_is_found_without_drawing_those_before() {
        let mut rng = Rng::new(42);
        for before in 0..100 {
            assert_eq!(word_at(42, before), rng.word());
        }
    }

    #[test]
    fn each_number_in_a_range_comes_and_none_outside() {
        let mut rng = Rng::new(1);
        let (mut below, mut up_to) = ([false; 7], [false; 4]);
        for _ in 0..1000 {
            below[rng.index(7)] = true;
            up_to[rng.up_to(3) as usize] = true;
        }
        assert_eq!((below, up_to), ([true; 7], [true; 4]));
        assert_eq!((rng.below(0), rng.up_to(0)), (0, 0));
    }

    #[test]
    fn what_can_never_come_draws_nothing() {
        let mut rng = Rng::new(9);
        assert!(!rng.one_in(0) && !rng.in_a_million(0) && rng.up_to(0) == 0);
        assert_eq!(rng, Rng::new(9));
        assert!(rng.one_in(1) && rng.in_a_million(1_000_000));
    }
}
