//! Looks whether all that a driver answers is that the device failed. Bad spots and regions of a disk are no fault of a
//! driver's, and neither is a disk that takes no more writes. When reads and writes both fail, in several places, and
//! none is done between, it may be the driver, or the state that it has brought its device into: a fresh one finds out.
//! If that one fails too it was the disk, and is left alone: a restart an hour is all that this may cost, so that it
//! never ends in quarantine by itself.

use nook_abi::block::BlockFault;
use nook_block_api::{Op, Request};

/// Failures in a row.
pub(super) const REQUESTS: u32 = 16;
/// Blocks that are one place. There is a failure in two of them at least.
const PLACE_BLOCKS: u64 = 64;
/// For how long nothing is reported again.
pub(super) const REST_NS: u64 = 3_600_000_000_000;

/// What failed since something was read or written. It outlives drivers.
#[derive(Debug, Default)]
pub(super) struct Failures {
    requests: u32,
    /// Where the first was.
    place: Option<u64>,
    elsewhere: bool,
    reads: bool,
    writes: bool,
    /// When that was a fault last.
    reported_ns: Option<u64>,
}

impl Failures {
    /// A request was done. A flush says nothing: there may have been nothing to be made durable.
    pub(super) fn done(&mut self, op: Op) {
        if op != Op::Flush {
            *self = Failures { reported_ns: self.reported_ns, ..Failures::default() };
        }
    }

    /// The device failed at one.
    pub(super) fn failed(&mut self, request: &Request) {
        if request.op == Op::Flush {
            return;
        }
        self.requests += 1;
        self.reads |= request.op == Op::Read;
        self.writes |= request.op.writes();
        let place = request.first / PLACE_BLOCKS;
        self.elsewhere |= *self.place.get_or_insert(place) != place;
    }

    /// Returns the fault, if that is one.
    pub(super) fn fault(&mut self, now_ns: u64) -> Option<BlockFault> {
        let Failures { requests, reads, writes, elsewhere, reported_ns, .. } = *self;
        let rests = reported_ns.is_some_and(|reported_ns| now_ns.saturating_sub(reported_ns) < REST_NS);
        if requests < REQUESTS || !(reads && writes && elsewhere) || rests {
            return None;
        }
        *self = Failures { reported_ns: Some(now_ns), ..Failures::default() };
        Some(BlockFault::RequestsFail { requests })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn request(op: Op, first: u64) -> Request {
        Request { id: 0, op, first, blocks: 8, fua: false }
    }

    /// Returns after how many failures there is a fault.
    fn found(requests: impl IntoIterator<Item = Request>) -> Option<u32> {
        let mut failures = Failures::default();
        (1..).zip(requests).find_map(|(number, request)| {
            failures.failed(&request);
            failures.fault(number.into()).map(|fault| {
                assert_eq!(fault, BlockFault::RequestsFail { requests: number });
                number
            })
        })
    }

    fn both(at: u64) -> Request {
        request(if at.is_multiple_of(2) { Op::Read } else { Op::Write }, 64 * at)
    }

    #[test]
    fn reads_and_writes_that_fail_in_several_places_are_found() {
        assert_eq!(found((0..100).map(both)), Some(REQUESTS));
    }

    #[test]
    fn a_bad_spot_a_bad_region_and_a_disk_that_takes_no_writes_are_the_disks() {
        let one = |at: u64| request(if at.is_multiple_of(2) { Op::Read } else { Op::Write }, 64);
        assert_eq!(found((0..1000).map(one)), None);
        // Answers come in any order.
        assert_eq!(found((0..1000).map(|at| request(Op::Read, 8 * (at * 7 % 1000)))), None);
        assert_eq!(found((0..1000).map(|at| request(Op::Write, 64 * at))), None);
        assert_eq!(found((0..1000).map(|_| request(Op::Flush, 0))), None);
        let mut failures = Failures::default();
        for at in 0..1000 {
            failures.failed(&request(Op::Write, 64 * at));
            failures.done(Op::Read);
            assert_eq!(failures.fault(at), None);
        }
    }

    #[test]
    fn it_is_reported_once_an_hour_whatever_is_done_between() {
        let mut failures = Failures::default();
        let mut reports = |from_ns: u64| {
            let found = |at: &u64| {
                failures.failed(&both(*at));
                failures.done(if at % 50 == 49 { Op::Write } else { Op::Flush });
                failures.fault(from_ns + at).is_some()
            };
            (0..1000).filter(found).count()
        };
        assert_eq!((reports(0), reports(5000), reports(REST_NS + 20_000)), (1, 0, 1));
    }
}
