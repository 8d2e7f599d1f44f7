//! What got slower since an earlier report.

use crate::goals::short;
use crate::{Report, Spread};

/// Changes below this are not told: code placement alone moves a ratio by some percent.
const LEAST_CHANGE: f64 = 0.05;

/// One line for each ratio that got worse beyond its spread: the new median lies outside the old quartiles, the old
/// one outside the new quartiles, and they differ by more than 5 %.
pub fn slower(old: &Report, new: &Report) -> Vec<String> {
    let worse = |name: &String, new: &Spread| {
        let old = old.spreads.get(name)?;
        let (before, now) = (&old.estimate, &new.estimate);
        let (is_worse, change) = match new.more_is_better {
            false => (now.value > before.q3 && before.value < now.q1, now.value / before.value - 1.0),
            true => (now.value < before.q1 && before.value > now.q3, before.value / now.value - 1.0),
        };
        (is_worse && change > LEAST_CHANGE).then(|| {
            let (from, to) = (short(before.value), short(now.value));
            format!(
                "{name}: {from} [{}, {}] is now {to} [{}, {}], {:.0} % worse",
                short(before.q1),
                short(before.q3),
                short(now.q1),
                short(now.q3),
                change * 100.0
            )
        })
    };
    new.spreads.iter().filter_map(|(name, spread)| worse(name, spread)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sample::Estimate;

    fn report(value: f64, spread: f64, more_is_better: bool) -> Report {
        let (low, high) = (value - spread, value + spread);
        let mut report = Report::default();
        report.note_ratio("r", Estimate { value, low, high, q1: low, q3: high }, more_is_better);
        report
    }

    #[test]
    fn what_lies_within_the_spread_did_not_get_slower() {
        assert!(slower(&report(1.0, 0.2, false), &report(1.15, 0.2, false)).is_empty());
        assert!(slower(&report(1.0, 0.001, false), &report(1.02, 0.001, false)).is_empty(), "2 % are placement");
        assert_eq!(slower(&report(1.0, 0.02, false), &report(1.15, 0.02, false)).len(), 1);
        assert!(slower(&report(1.15, 0.02, false), &report(1.0, 0.02, false)).is_empty(), "it got faster");
    }

    #[test]
    fn of_a_throughput_less_is_worse() {
        assert_eq!(slower(&report(1.0, 0.02, true), &report(0.8, 0.02, true)).len(), 1);
        assert!(slower(&report(0.8, 0.02, true), &report(1.0, 0.02, true)).is_empty());
    }

    #[test]
    fn a_ratio_that_is_new_is_not_slower() {
        assert!(slower(&Report::default(), &report(9.0, 0.0, false)).is_empty());
    }
}
