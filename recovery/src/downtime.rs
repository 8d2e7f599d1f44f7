//! How long recoveries took.

use serde::{Serialize, Serializer};

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

/// The distribution as reports have it, in nanoseconds.
#[derive(Serialize)]
struct Times {
    p50: u64,
    p90: u64,
    p99: u64,
    max: u64,
}

/// As its 50th, 90th and 99th percentile and its maximum, in nanoseconds, or as null if there was none.
impl Serialize for Downtime {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let [p50, p90, p99, max] = [500, 900, 990, 1000].map(|thousandths| self.quantile_ns(thousandths));
        let times = || Some(Times { p50: p50?, p90: p90?, p99: p99?, max: max? });
        times().serialize(serializer)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_report_has_its_percentiles_or_null() {
        let mut downtime = Downtime::default();
        assert_eq!(serde_json::to_value(&downtime).unwrap(), serde_json::Value::Null);
        (1..=100).for_each(|ns| downtime.note(ns));
        let expected = serde_json::json!({ "p50": 50, "p90": 90, "p99": 99, "max": 100 });
        assert_eq!(serde_json::to_value(&downtime).unwrap(), expected);
    }

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
