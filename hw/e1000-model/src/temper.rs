//! How difficult the device is, and where its whims come from.

/// What the device makes of the freedom that the manual leaves it. Numbers are limits: what happens below them is
/// drawn from the seed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Temper {
    /// How long it leaves work lying before it does the next part of it: taking descriptors, writing them back,
    /// handing frames to memory. 0 is none: work is done, in order, in the next call of `service`.
    pub late_ns: u64,
    /// How often a register access that takes time (EEPROM, PHY, reset) is still busy when it is read.
    pub busy_reads: u32,
    /// How long negotiating a link takes.
    pub negotiation_ns: u64,
    /// Another device on the interrupt line fires in one of so many calls of `service`; 0 is never.
    pub spurious_one_in: u32,
    /// Frames of a million that arrive with a bad frame check sequence. The only way in which this device loses
    /// frames that it could take, so it is never on by default.
    pub receive_errors_ppm: u32,
    /// Whether the cable waits while the receive FIFO is full, as a link partner does that obeys PAUSE frames. If not,
    /// frames are lost then.
    pub full_fifo_waits: bool,
    /// Whether registers that power-up leaves undefined hold garbage instead of zero.
    pub garbage: bool,
}

impl Temper {
    /// A device that does everything at once and in order, for measurements.
    pub const fn calm() -> Self {
        Temper {
            late_ns: 0,
            busy_reads: 0,
            negotiation_ns: 0,
            spurious_one_in: 0,
            receive_errors_ppm: 0,
            full_fifo_waits: true,
            garbage: false,
        }
    }

    /// A device that uses what the manual allows it, without losing a frame.
    pub const fn adversarial() -> Self {
        Temper {
            late_ns: 40_000,
            busy_reads: 4,
            negotiation_ns: 20_000_000,
            spurious_one_in: 200,
            receive_errors_ppm: 0,
            full_fifo_waits: true,
            garbage: true,
        }
    }
}

/// Repeatable whims: SplitMix64 (Steele, Lea, Flood: *Fast splittable pseudorandom number generators*, 2014).
#[derive(Debug)]
pub(crate) struct Rng(u64);

impl Rng {
    pub(crate) const fn new(seed: u64) -> Self {
        Rng(seed)
    }

    pub(crate) fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    /// From 0 to `most`; both can come. Draws nothing if there is nothing to choose.
    pub(crate) fn up_to(&mut self, most: u64) -> u64 {
        match most {
            0 => 0,
            u64::MAX => self.next(),
            _ => self.next() % (most + 1),
        }
    }

    /// True in one of `n` calls; never if `n` is 0.
    pub(crate) fn one_in(&mut self, n: u32) -> bool {
        n != 0 && self.next().is_multiple_of(u64::from(n))
    }

    /// True in `ppm` of a million calls.
    pub(crate) fn in_a_million(&mut self, ppm: u32) -> bool {
        ppm != 0 && self.next() % 1_000_000 < u64::from(ppm)
    }
}
