//! Cases of one test, several at once.

use rayon::ThreadPoolBuilder;
use rayon::prelude::*;

/// Runs `case` for each item, as many at once as there are processors, and returns what they return, in the order of
/// the items.
///
/// The pool is the calling test's own, and so is what its threads print. With the pool that all tests share, what a
/// case says when it fails would be shown with the test that was the first to use the pool, which may have passed.
///
/// # Panics
/// If a case does, or if no thread can be started.
pub fn side_by_side<T: Send, R: Send>(
    items: impl IntoIterator<Item = T>,
    case: impl Fn(T) -> R + Send + Sync,
) -> Vec<R> {
    let items = items.into_iter().collect::<Vec<_>>();
    let pool = ThreadPoolBuilder::new().build().expect("threads for the cases");
    pool.install(|| items.into_par_iter().map(case).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_case_runs_once() {
        assert_eq!(side_by_side(0..100, |n| n * n), (0..100).map(|n| n * n).collect::<Vec<_>>());
    }

    #[test]
    #[should_panic(expected = "7 is the one")]
    fn what_a_case_says_when_it_fails_is_the_tests() {
        side_by_side(0..20, |n| assert!(n != 7, "{n} is the one"));
    }
}
