//! [`LogLimit`]: a limit to the lines that rollbacks leave in the log. A driver may fault as often as it is called, and
//! go on each time.

use nook_runtime::PerSecond;

/// Lines in one second.
const LINES_PER_S: u32 = 100;

/// Counts lines, and says which of them are logged.
#[derive(Debug, Default)]
pub(crate) struct LogLimit {
    lines: PerSecond,
    left_out: u64,
}

impl LogLimit {
    /// Counts a line of `now_ns`. Returns how many were left out before it, if it is to be logged.
    pub(crate) fn admit(&mut self, now_ns: u64) -> Option<u64> {
        if self.lines.count(now_ns) > LINES_PER_S {
            self.left_out += 1;
            return None;
        }
        Some(std::mem::take(&mut self.left_out))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_too_much_for_one_second_is_left_out_and_counted() {
        let mut limit = LogLimit::default();
        let second = 7_000_000_000;
        let logged = (0..1000).filter_map(|at| limit.admit(second + at)).collect::<Vec<_>>();
        assert_eq!(logged, [0; LINES_PER_S as usize]);
        assert_eq!(limit.admit(second + 1_000_000_000), Some(1000 - u64::from(LINES_PER_S)));
        assert_eq!(limit.admit(second + 1_000_000_001), Some(0));
    }
}
