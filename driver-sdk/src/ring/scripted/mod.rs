//! Each kind of ring with a device that a test plays: steps of driver and device come in any order, and nothing is
//! lost, comes twice or out of order. The orders are random, from a fixed seed.

mod bytes;
mod counted;
mod owned;
mod pairs;

use proptest::test_runner::{Config, RngSeed};

/// Returns `count` orders, the same in each run.
fn orders() -> Config {
    Config { cases: 256, failure_persistence: None, rng_seed: RngSeed::Fixed(0x6e6f_6f6b), ..Config::default() }
}
