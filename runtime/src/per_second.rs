//! [`PerSecond`]: a count that begins again with each second, for limits to what is logged.

/// Counts events, in each second from 1.
#[derive(Clone, Copy, Debug, Default)]
pub struct PerSecond {
    second: u64,
    count: u32,
}

impl PerSecond {
    /// Counts an event of `now_ns`, nanoseconds of the nook's clock. Returns how many there were in its second, with
    /// it.
    pub fn count(&mut self, now_ns: u64) -> u32 {
        let second = now_ns / 1_000_000_000;
        if second != self.second {
            *self = PerSecond { second, count: 0 };
        }
        self.count = self.count.saturating_add(1);
        self.count
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_count_begins_again_with_each_second() {
        let mut count = PerSecond::default();
        let at = [0, 999_999_999, 1_000_000_000, 1_000_000_001, 9_000_000_000];
        assert_eq!(at.map(|now_ns| count.count(now_ns)), [1, 2, 1, 2, 1]);
    }
}
