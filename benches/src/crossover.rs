//! Where one level overtakes another as calls get larger.

use serde::{Deserialize, Serialize};

use crate::sample::Estimate;
use crate::stats;

/// What is known of two levels over a sweep.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Crossover {
    /// Of which sweep.
    pub sweep: String,
    /// The level that is faster for small calls; if there is no such point, over most of the sweep.
    pub small: String,
    /// The other one.
    pub large: String,
    /// Where `large` overtakes, in the sweep's unit: the point and its 95 % confidence interval. None if neither does.
    pub point: Option<[f64; 3]>,
    /// The ratio `large` / `small` at the sweep's beginning and at its end.
    pub ratios: [f64; 2],
}

/// Levels that differ by less are taken to be level, however sure the difference is: where the linker and the compiler
/// put their code moves as much.
const LEVEL: f64 = 0.03;

/// One level's costs: for each size a value for each round.
pub type Costs<'a> = &'a [Vec<f64>];

/// Compares two levels at sizes `xs`. They are said to cross if one is surely faster somewhere and surely slower at a
/// larger size (by more than 3 %, with 95 % confidence at each of the two), and the point is where the median of the
/// ratios passes 1, interpolated between sizes on logarithmic scales.
pub fn find(sweep: &str, xs: &[f64], (a, of_a): (&str, Costs<'_>), (b, of_b): (&str, Costs<'_>)) -> Crossover {
    let logs: Vec<Vec<f64>> = of_a
        .iter()
        .zip(of_b)
        .map(|(of_a, of_b)| of_a.iter().zip(of_b).map(|(of_a, of_b)| (of_b / of_a).ln()).collect())
        .collect();
    let rounds = logs.iter().map(Vec::len).min().unwrap_or(0);
    let estimates: Vec<Estimate> = logs.iter().map(|logs| Estimate::of(logs)).collect();
    // -1 where b is surely faster, 1 where a is, 0 where one cannot say.
    let sure: Vec<i32> = estimates
        .iter()
        .map(|estimate| if estimate.low > LEVEL { 1 } else { -i32::from(estimate.high < -LEVEL) })
        .collect();
    let first = sure.iter().copied().find(|&sign| sign != 0).unwrap_or(0);
    let last = sure.iter().copied().rfind(|&sign| sign != 0).unwrap_or(0);
    let sum: f64 = estimates.iter().map(|estimate| estimate.value).sum();
    let a_is_small = if first != 0 { first > 0 } else { sum >= 0.0 };
    let ends = [estimates.first(), estimates.last()].map(|end| end.map_or(f64::NAN, |end| end.value.exp()));
    let crosses = first != 0 && last == -first;
    let point = crosses.then(|| {
        let at = |picks: &[usize]| {
            let medians: Vec<f64> = logs
                .iter()
                .map(|logs| stats::median(&mut picks.iter().map(|&pick| logs[pick]).collect::<Vec<_>>()))
                .collect();
            passes_zero(xs, &medians)
        };
        let mut points: Vec<f64> = stats::resample(rounds, at).into_iter().flatten().collect();
        let (low, high) = stats::interval(&mut points);
        let all: Vec<usize> = (0..rounds).collect();
        at(&all).map(|point| [point, low, high])
    });
    let (small, large) = if a_is_small { (a, b) } else { (b, a) };
    let ratios = if a_is_small { ends } else { ends.map(f64::recip) };
    Crossover { sweep: sweep.into(), small: small.into(), large: large.into(), point: point.flatten(), ratios }
}

/// Returns the last size at which the values change their sign, for good; on a logarithmic scale between sizes.
fn passes_zero(xs: &[f64], values: &[f64]) -> Option<f64> {
    let last = *values.last()?;
    let before = values.iter().rposition(|value| value.signum() != last.signum())?;
    let (from, to) = (values[before], values[before + 1]);
    let share = from / (from - to);
    Some((xs[before].ln() + share * (xs[before + 1].ln() - xs[before].ln())).exp())
}

#[cfg(test)]
mod tests {
    use super::*;

    const XS: [f64; 5] = [1.0, 4.0, 16.0, 64.0, 256.0];

    /// `fixed + each * x`, with noise of ±1 %.
    fn costs(fixed: f64, each: f64, seed: u64) -> Vec<Vec<f64>> {
        let mut rng = nook_seed::Rng::new(seed);
        let mut noisy = |cost: f64| cost * (0.99 + rng.index(1000) as f64 / 50_000.0);
        XS.iter().map(|x| (0..50).map(|_| noisy(fixed + each * x)).collect()).collect()
    }

    #[test]
    fn two_lines_cross_where_they_do() {
        // 100 + 10 x = 1000 + x at x = 100.
        let found = find("s", &XS, ("a", &costs(100.0, 10.0, 1)), ("b", &costs(1000.0, 1.0, 2)));
        assert_eq!((found.small.as_str(), found.large.as_str()), ("a", "b"));
        let [point, low, high] = found.point.unwrap();
        assert!((85.0..115.0).contains(&point) && low <= point && point <= high, "{found:?}");
        // Named the other way round, it is the same point.
        let found = find("s", &XS, ("b", &costs(1000.0, 1.0, 2)), ("a", &costs(100.0, 10.0, 1)));
        assert_eq!((found.small.as_str(), found.point), ("a", Some([point, low, high])));
    }

    #[test]
    fn who_is_always_faster_is_never_overtaken() {
        let found = find("s", &XS, ("slow", &costs(200.0, 20.0, 1)), ("fast", &costs(100.0, 10.0, 2)));
        assert_eq!((found.small.as_str(), found.point), ("fast", None));
        assert!(found.ratios.iter().all(|ratio| (1.9..2.1).contains(ratio)), "{found:?}");
    }

    #[test]
    fn two_that_cannot_be_distinguished_do_not_cross() {
        let found = find("s", &XS, ("a", &costs(100.0, 10.0, 1)), ("b", &costs(100.0, 10.0, 2)));
        assert_eq!(found.point, None, "{found:?}");
    }
}
