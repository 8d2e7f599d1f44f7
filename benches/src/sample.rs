//! Taking samples so that a noisy machine does not decide: short ones, of all subjects in turn.
//!
//! In each round every subject is measured once, in a newly drawn order, and the next round goes the same way
//! back. So slow drifts cancel, and what others do regularly hits everybody alike: with a fixed order, some other
//! program's time slices were seen to fall on the same subject again and again. What is reported is the median of
//! ratios within rounds.

use crate::{stats, ticks};
use nook_seed::Rng;

/// Something to measure.
pub struct Subject<'a> {
    runs: Vec<Box<dyn FnMut(u32) -> u64 + 'a>>,
}

impl<'a> Subject<'a> {
    /// Creates a subject. Each of `runs` is one instance of what is measured; rounds take them in turn, because where
    /// in memory an instance happens to lie was seen to move its times by half. It does its work this many times and
    /// returns how many ticks of that were spent inside what is of interest; zero if it does not tell the two apart.
    ///
    /// # Panics
    /// Later, if there is none.
    pub fn new<R: FnMut(u32) -> u64 + 'a>(runs: impl IntoIterator<Item = R>) -> Self {
        Subject { runs: runs.into_iter().map(|run| Box::new(run) as Box<_>).collect() }
    }

    fn sample(&mut self, round: usize, times: u32) -> (u64, u64) {
        let at = round % self.runs.len();
        // Who has not been called for a while has cold caches, or sleeps.
        (self.runs[at])(1);
        let begin = ticks::now();
        let inside = (self.runs[at])(times);
        (ticks::now() - begin, inside)
    }

    /// Returns how often it must run for a sample of this length. The quickest of some tries counts: one that somebody
    /// interrupted would make all samples too short, and short ones find cold caches.
    fn calibrate(&mut self, sample_ticks: u64) -> u32 {
        let (mut times, tries) = (1, self.runs.len().max(3));
        loop {
            let spent = (0..tries).map(|round| self.sample(round, times).0).min().unwrap_or(0);
            if spent >= sample_ticks / 2 || times >= 1 << 28 {
                let wanted = f64::from(times) * sample_ticks as f64 / spent.max(1) as f64;
                return (wanted as u32).max(1);
            }
            times *= 2;
        }
    }
}

/// How much is measured.
#[derive(Clone, Copy, Debug)]
pub struct Effort {
    /// Rounds, each of which measures every subject once.
    pub rounds: usize,
    /// How long one sample is.
    pub sample_ns: u64,
}

/// What was measured, in ticks a run: for each subject a value for each round.
#[derive(Clone, Debug, Default)]
pub struct Samples {
    /// All of it.
    pub whole: Vec<Vec<f64>>,
    /// Inside what is of interest.
    pub inside: Vec<Vec<f64>>,
}

/// Measures all subjects, interleaved. Each is warmed up first: finding out how often it must run does that.
pub fn interleave(subjects: &mut [Subject<'_>], effort: Effort) -> Samples {
    let sample_ticks = (effort.sample_ns as f64 * ticks::per_ns()) as u64;
    let times: Vec<u32> = subjects.iter_mut().map(|subject| subject.calibrate(sample_ticks)).collect();
    let mut samples = Samples { whole: vec![Vec::new(); times.len()], inside: vec![Vec::new(); times.len()] };
    for (round, order) in orders(times.len()).take(effort.rounds).enumerate() {
        for at in order {
            let (whole, inside) = subjects[at].sample(round, times[at]);
            let each = f64::from(times[at]);
            samples.whole[at].push(whole as f64 / each);
            samples.inside[at].push(inside as f64 / each);
        }
    }
    samples
}

/// Returns an order of `count` subjects for each round: newly drawn, and the next round goes the same way back.
pub(crate) fn orders(count: usize) -> impl Iterator<Item = Vec<usize>> {
    let mut rng = Rng::new(count as u64);
    let mut order: Vec<usize> = (0..count).collect();
    let mut back = true;
    std::iter::repeat_with(move || {
        back = !back;
        match back {
            true => order.reverse(),
            false => (1..count).for_each(|at| order.swap(at, rng.index(at + 1))),
        }
        order.clone()
    })
}

/// An estimate with what is known of its uncertainty.
#[derive(Clone, Copy, Debug, Default, PartialEq, serde::Serialize, serde::Deserialize)]
pub struct Estimate {
    /// The median.
    pub value: f64,
    /// The median's 95 % confidence interval, by bootstrap over rounds.
    pub low: f64,
    /// Its upper end.
    pub high: f64,
    /// The samples' lower quartile.
    pub q1: f64,
    /// Their upper quartile.
    pub q3: f64,
}

impl Estimate {
    /// Of samples.
    pub fn of(samples: &[f64]) -> Self {
        let mut sorted = samples.to_vec();
        sorted.sort_by(f64::total_cmp);
        let (low, high) = stats::bootstrap(samples.len(), |picks| {
            let mut picked: Vec<f64> = picks.iter().map(|&at| samples[at]).collect();
            stats::median(&mut picked)
        });
        let at = |share: f64| stats::quantile(&sorted, share);
        Estimate { value: at(0.5), low, high, q1: at(0.25), q3: at(0.75) }
    }

    /// Of what was counted, or is known only once: it has no spread.
    pub fn exactly(value: f64) -> Self {
        Estimate { value, low: value, high: value, q1: value, q3: value }
    }

    /// Of the ratio of two subjects, round by round.
    pub fn ratio(of: &[f64], to: &[f64]) -> Self {
        let ratios: Vec<f64> = of.iter().zip(to).map(|(of, to)| of / to).collect();
        Self::of(&ratios)
    }

    /// In another unit.
    pub fn scaled(self, by: f64) -> Self {
        let Estimate { value, low, high, q1, q3 } = self;
        Estimate { value: value * by, low: low * by, high: high * by, q1: q1 * by, q3: q3 * by }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::cell::RefCell;

    #[test]
    fn each_round_measures_every_subject_and_every_second_one_in_reverse() {
        let order = RefCell::new(Vec::new());
        let mut subjects: Vec<_> = (0..3)
            .map(|number| {
                let order = &order;
                Subject::new([move |_| {
                    order.borrow_mut().push(number);
                    1
                }])
            })
            .collect();
        let samples = interleave(&mut subjects, Effort { rounds: 2, sample_ns: 1 });
        drop(subjects);
        let order = order.into_inner();
        // Each is called once more before it is measured.
        let measured: Vec<_> = order[order.len() - 12..].iter().step_by(2).collect();
        let (forth, back) = measured.split_at(3);
        assert!(forth.iter().eq(back.iter().rev()), "{order:?}");
        assert!((0..3).all(|number| forth.contains(&&number)), "{order:?}");
        assert!(samples.whole.iter().all(|subject| subject.len() == 2));
    }

    #[test]
    fn a_ratio_is_that_of_rounds_and_not_of_medians() {
        // Both are twice as slow in half of the rounds, together.
        let (of, to): (Vec<_>, Vec<_>) =
            (0..40).map(|round| if round % 2 == 0 { (3.0, 2.0) } else { (6.0, 4.0) }).unzip();
        let ratio = Estimate::ratio(&of, &to);
        assert_eq!((ratio.value, ratio.low, ratio.high), (1.5, 1.5, 1.5));
    }
}
