//! Medians, and how far they can be trusted.

use nook_seed::Rng;

/// Resamplings of a bootstrap.
const RESAMPLINGS: usize = 400;

/// Returns the value below which `share` of the sorted values lie, between neighbours in proportion; NaN of nothing.
pub fn quantile(sorted: &[f64], share: f64) -> f64 {
    let Some(last) = sorted.len().checked_sub(1) else { return f64::NAN };
    let at = share * last as f64;
    let (below, above) = (at.floor() as usize, at.ceil() as usize);
    sorted[below] + (sorted[above] - sorted[below]) * at.fract()
}

/// Returns the median; sorts.
pub fn median(values: &mut [f64]) -> f64 {
    values.sort_by(f64::total_cmp);
    quantile(values, 0.5)
}

/// Returns what `estimate` makes of this many rounds, resampled with replacement, again and again: one value for each
/// resampling.
pub fn resample<T>(rounds: usize, mut estimate: impl FnMut(&[usize]) -> T) -> Vec<T> {
    let mut rng = Rng::new(rounds as u64);
    let mut picks = vec![0; rounds];
    let mut once = |_| {
        picks.iter_mut().for_each(|pick| *pick = rng.index(rounds));
        estimate(&picks)
    };
    (0..RESAMPLINGS).map(&mut once).collect()
}

/// Returns the 95 % confidence interval of an estimate, by percentiles of the bootstrap.
pub fn bootstrap(rounds: usize, estimate: impl FnMut(&[usize]) -> f64) -> (f64, f64) {
    let mut estimates = resample(rounds, estimate);
    interval(&mut estimates)
}

/// Returns the 95 % that are in the middle.
pub fn interval(estimates: &mut [f64]) -> (f64, f64) {
    estimates.sort_by(f64::total_cmp);
    (quantile(estimates, 0.025), quantile(estimates, 0.975))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_median_lies_in_the_middle() {
        assert_eq!(median(&mut [3.0, 1.0, 2.0]), 2.0);
        assert_eq!(median(&mut [4.0, 1.0, 2.0, 3.0]), 2.5);
        assert_eq!(quantile(&[0.0, 10.0], 0.25), 2.5);
        assert!(median(&mut []).is_nan());
    }

    #[test]
    fn dice_fall_everywhere_and_the_same_each_time() {
        let throw = || {
            let mut rng = Rng::new(7);
            (0..6000).map(|_| rng.index(6)).collect::<Vec<_>>()
        };
        assert_eq!(throw(), throw());
        for side in 0..6 {
            let count = throw().iter().filter(|&&it| it == side).count();
            assert!((850..1150).contains(&count), "{side}: {count}");
        }
    }

    #[test]
    fn an_interval_of_a_known_spread_has_the_known_width() {
        // 400 numbers spread evenly over 0 to 1: the median's standard error is about 1 / (2 f √n) = 0.025.
        let values: Vec<f64> = (0..400).map(|i| f64::from((i * 37) % 400) / 400.0).collect();
        let (low, high) = bootstrap(values.len(), |picks| {
            let mut picked: Vec<f64> = picks.iter().map(|&at| values[at]).collect();
            median(&mut picked)
        });
        assert!((0.42..0.48).contains(&low) && (0.52..0.58).contains(&high), "{low} to {high}");
    }
}
