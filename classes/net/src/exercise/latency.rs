//! A histogram of times, of fixed size however long an exercise runs.

/// Sub-buckets of each power of two: a percentile is off by less than 1 in 64.
const STEPS: usize = 64;

/// Counts of times in buckets whose width is at most 1/64 of the time.
pub(super) struct Latencies {
    buckets: Vec<u64>,
    count: u64,
    min_ns: u64,
    max_ns: u64,
}

impl Latencies {
    pub(super) fn new() -> Self {
        // Times below 64 ns have a bucket each, then 64 buckets for each further power of two of a u64.
        Latencies { buckets: vec![0; STEPS * (64 - 5)], count: 0, min_ns: u64::MAX, max_ns: 0 }
    }

    pub(super) fn add(&mut self, ns: u64) {
        self.buckets[bucket(ns)] += 1;
        self.count += 1;
        self.min_ns = self.min_ns.min(ns);
        self.max_ns = self.max_ns.max(ns);
    }

    pub(super) fn count(&self) -> u64 {
        self.count
    }

    /// Returns the shortest time; 0 if there are none.
    pub(super) fn min_ns(&self) -> u64 {
        if self.count == 0 { 0 } else { self.min_ns }
    }

    pub(super) fn max_ns(&self) -> u64 {
        self.max_ns
    }

    /// Returns the time that this share of all does not exceed; 0 if there are none.
    pub(super) fn percentile_ns(&self, percent: u32) -> u64 {
        let rank = (self.count * u64::from(percent)).div_ceil(100).max(1);
        let mut below = 0;
        for (index, &count) in self.buckets.iter().enumerate() {
            below += count;
            if below >= rank {
                return last_of(index).clamp(self.min_ns, self.max_ns);
            }
        }
        0
    }
}

fn bucket(ns: u64) -> usize {
    if ns < STEPS as u64 {
        return ns as usize;
    }
    let shift = ns.ilog2() - STEPS.ilog2();
    (shift as usize + 1) * STEPS + (ns >> shift) as usize - STEPS
}

/// Returns the longest time that falls into a bucket.
fn last_of(bucket: usize) -> u64 {
    if bucket < STEPS {
        return bucket as u64;
    }
    let shift = bucket / STEPS - 1;
    let step = (bucket % STEPS + STEPS) as u64;
    (step << shift) + ((1 << shift) - 1)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_time_lies_in_its_bucket() {
        for ns in (0..1000).chain([4095, 4096, 1 << 40, u64::MAX / 2, u64::MAX - 1, u64::MAX]) {
            let last = last_of(bucket(ns));
            assert!(last >= ns && last - ns <= ns / STEPS as u64, "{ns} went to a bucket that ends at {last}");
        }
    }

    #[test]
    fn percentiles_of_a_uniform_spread_are_where_they_belong() {
        let mut times = Latencies::new();
        for us in 1..=1000 {
            times.add(us * 1000);
        }
        assert_eq!((times.min_ns(), times.max_ns()), (1000, 1_000_000));
        for percent in [50, 90, 99] {
            let right = u64::from(percent) * 10_000;
            let found = times.percentile_ns(percent);
            assert!(found.abs_diff(right) <= right / 60, "p{percent} is {found}");
        }
    }

    #[test]
    fn without_times_every_figure_is_zero() {
        let times = Latencies::new();
        assert_eq!((times.min_ns(), times.percentile_ns(50), times.max_ns()), (0, 0, 0));
    }
}
