//! How long recoveries took.

/// Times that are kept; of more, these are the first.
const KEPT: usize = 1 << 16;

/// A distribution of times, in nanoseconds.
#[derive(Clone, Debug, Default)]
pub struct Downtime {
    times: Vec<u64>,
    count: u64,
}

impl Downtime {
    pub(crate) fn note(&mut self, ns: u64) {
        self.count += 1;
        if self.times.len() < KEPT {
            self.times.push(ns);
        }
    }

    /// Returns how many there were.
    pub fn count(&self) -> u64 {
        self.count
    }

    /// Returns the given permille of the recorded times, or `None` if there are none.
    pub fn quantile_ns(&self, thousandths: usize) -> Option<u64> {
        let mut sorted = self.times.clone();
        sorted.sort_unstable();
        let last = sorted.len().checked_sub(1)?;
        sorted.get(last * thousandths.min(1000) / 1000).copied()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn quantiles_are_times_that_occurred() {
        let mut downtime = Downtime::default();
        assert_eq!(downtime.quantile_ns(500), None);
        (1..=100).rev().for_each(|ns| downtime.note(ns));
        assert_eq!(downtime.quantile_ns(0), Some(1));
        assert_eq!(downtime.quantile_ns(500), Some(50));
        assert_eq!(downtime.quantile_ns(1000), Some(100));
        assert_eq!(downtime.count(), 100);
    }
}
