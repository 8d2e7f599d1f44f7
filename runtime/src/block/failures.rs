//! Looks whether all that a driver answers is that the device failed. One bad spot of a disk is no fault of a driver's,
//! and neither is a bad region that somebody reads from its beginning to its end. When reads and writes fail, or
//! requests in many places, and none is done between, it may be the driver, or the state that it has brought its device
//! into: a fresh one finds out. If that one fails too it was the disk, and is left alone until something is done again.

use nook_abi::block::BlockFault;
use nook_block_api::{Op, Request};

/// Failures in a row.
const REQUESTS: u32 = 16;
/// Places of which none is the one before it, or goes on where that one ends.
const PLACES: u32 = 8;

/// What failed since a request was done.
#[derive(Debug, Default)]
pub(super) struct Failures {
    requests: u32,
    places: u32,
    /// The blocks of the last one.
    last: Option<(u64, u64)>,
    reads: bool,
    writes: bool,
    /// A driver was ended for it.
    reported: bool,
}

impl Failures {
    /// A request was done.
    pub(super) fn done(&mut self) {
        *self = Failures::default();
    }

    /// The device failed at one.
    pub(super) fn failed(&mut self, request: &Request) {
        self.requests += 1;
        self.reads |= request.op == Op::Read;
        self.writes |= request.op.writes();
        if request.op != Op::Flush {
            let end = request.first.saturating_add(request.blocks.into());
            // One that is asked again, or goes on where the last one ended, is in no other place.
            let is_near = self.last.is_some_and(|(first, end)| (first..=end).contains(&request.first));
            self.places += u32::from(!is_near);
            self.last = Some((request.first, end));
        }
    }

    /// Returns the fault, once.
    pub(super) fn fault(&mut self) -> Option<BlockFault> {
        let is_wide = self.places >= PLACES || (self.reads && self.writes);
        if self.reported || self.requests < REQUESTS || !is_wide {
            return None;
        }
        let requests = self.requests;
        *self = Failures { reported: true, ..Failures::default() };
        Some(BlockFault::RequestsFail { requests })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn request(op: Op, first: u64) -> Request {
        Request { id: 0, op, first, blocks: 8, fua: false }
    }

    /// Returns after how many failures there is a fault, if there is one.
    fn found(requests: impl IntoIterator<Item = Request>) -> Option<u32> {
        let mut failures = Failures::default();
        (1..).zip(requests).find_map(|(number, request)| {
            failures.failed(&request);
            failures.fault().map(|fault| {
                assert_eq!(fault, BlockFault::RequestsFail { requests: number });
                number
            })
        })
    }

    #[test]
    fn reads_and_writes_that_all_fail_are_found_and_so_are_requests_in_many_places() {
        let both = (0..100).map(|at| request(if at % 2 == 0 { Op::Read } else { Op::Write }, 64));
        assert_eq!(found(both), Some(REQUESTS));
        assert_eq!(found((0..100).map(|at| request(Op::Read, 64 * at))), Some(REQUESTS));
    }

    #[test]
    fn one_bad_spot_or_region_and_flushes_are_the_disks() {
        assert_eq!(found((0..1000).map(|_| request(Op::Read, 64))), None);
        assert_eq!(found((0..1000).map(|at| request(Op::Read, 8 * at))), None);
        assert_eq!(found((0..1000).map(|_| request(Op::Flush, 0))), None);
    }

    #[test]
    fn it_reported_once_until_something_is_done_again() {
        let mut failures = Failures::default();
        let reports = |failures: &mut Failures| {
            (0..100)
                .filter(|at| {
                    failures.failed(&request(Op::Write, 64 * at));
                    failures.fault().is_some()
                })
                .count()
        };
        assert_eq!((reports(&mut failures), reports(&mut failures)), (1, 0));
        failures.done();
        assert_eq!(reports(&mut failures), 1);
    }
}
