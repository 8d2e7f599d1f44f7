//! Cases of one test, several at once.

use std::num::NonZero;
use std::panic::resume_unwind;
use std::sync::{Mutex, PoisonError};
use std::thread;

/// Runs `case` for each item, as many at once as there are processors, and returns what they return, in any order.
///
/// The threads are the calling test's own, and so is their output. With a pool that all tests share, what a case says
/// when it fails would be shown with the test that was the first to use the pool, which may have passed.
///
/// # Panics
/// If a case does.
pub fn side_by_side<T: Send, R: Send>(items: impl IntoIterator<Item = T>, case: impl Fn(T) -> R + Sync) -> Vec<R> {
    let waiting = Mutex::new(items.into_iter().collect::<Vec<_>>());
    let next = || waiting.lock().unwrap_or_else(PoisonError::into_inner).pop();
    let work = || std::iter::from_fn(next).map(&case).collect::<Vec<_>>();
    thread::scope(|scope| {
        let count = thread::available_parallelism().map_or(1, NonZero::get);
        let workers: Vec<_> = (0..count).map(|_| scope.spawn(work)).collect();
        workers.into_iter().flat_map(|worker| worker.join().unwrap_or_else(|panic| resume_unwind(panic))).collect()
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_case_runs_once() {
        let mut squares = side_by_side(0..100, |n| n * n);
        squares.sort_unstable();
        assert_eq!(squares, (0..100).map(|n| n * n).collect::<Vec<_>>());
    }

    #[test]
    #[should_panic(expected = "7 is the one")]
    fn what_a_case_says_when_it_fails_is_the_tests() {
        side_by_side(0..20, |n| assert!(n != 7, "{n} is the one"));
    }
}
