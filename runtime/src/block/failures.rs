//! Looks whether all that a driver answers is that the device failed. Bad spots and regions of a disk are no fault of a
//! driver's, and neither is a disk that takes no more writes. When reads and writes both fail, in several places, and
//! none is done between, it may be the driver, or the state that it has brought its device into: a fresh one finds out.
//! So it is when one kind of request that changes the disk fails each time, while another is done: zeroes and no
//! writes, or writes that are to be durable at once and no others. If a fresh driver fails too it was the disk, and is
//! left alone: a restart an hour is all that this may cost, so that it never ends in quarantine by itself.

use nook_abi::block::BlockFault;
use nook_block_api::{Op, Request};

/// Failures in a row.
pub(super) const REQUESTS: u32 = 16;
/// Blocks that are one place. There is a failure in two of them at least.
const PLACE_BLOCKS: u64 = 64;
/// For how long nothing is reported again.
pub(super) const REST_NS: u64 = 3_600_000_000_000;

/// Failures since something was done.
#[derive(Clone, Copy, Debug, Default)]
struct InARow {
    requests: u32,
    /// Where the first was.
    place: Option<u64>,
    elsewhere: bool,
}

impl InARow {
    fn failed(&mut self, request: &Request) {
        self.requests += 1;
        let place = request.first / PLACE_BLOCKS;
        self.elsewhere |= *self.place.get_or_insert(place) != place;
    }

    fn are_many(&self) -> bool {
        self.requests >= REQUESTS && self.elsewhere
    }
}

/// Kinds of requests that change the disk: a driver asks for each in another way.
const CHANGES: usize = 5;

/// Returns which of them a request is.
fn change(request: &Request) -> Option<usize> {
    Some(match (request.op, request.fua) {
        (Op::Read | Op::Flush, _) => return None,
        (Op::Write, false) => 0,
        (Op::Write, true) => 1,
        (Op::WriteZeroes, false) => 2,
        (Op::WriteZeroes, true) => 3,
        (Op::Discard, _) => 4,
    })
}

/// What failed. It outlives drivers.
#[derive(Debug, Default)]
pub(super) struct Failures {
    /// Since something was read or written.
    all: InARow,
    reads: bool,
    writes: bool,
    /// Of each kind that changes the disk, since one of it was done; and whether another was done meanwhile.
    changes: [(InARow, bool); CHANGES],
    /// When that was a fault last.
    reported_ns: Option<u64>,
}

impl Failures {
    /// A request was done. A flush says nothing: there may have been nothing to be made durable.
    pub(super) fn done(&mut self, request: &Request) {
        if request.op == Op::Flush {
            return;
        }
        (self.all, self.reads, self.writes) = (InARow::default(), false, false);
        if let Some(done) = change(request) {
            self.changes.iter_mut().for_each(|(_, others)| *others = true);
            self.changes[done] = (InARow::default(), false);
        }
    }

    /// The device failed at one.
    pub(super) fn failed(&mut self, request: &Request) {
        if request.op == Op::Flush {
            return;
        }
        self.all.failed(request);
        self.reads |= request.op == Op::Read;
        self.writes |= request.op.writes();
        if let Some(failed) = change(request) {
            let (in_a_row, others) = &mut self.changes[failed];
            *others &= in_a_row.requests > 0;
            in_a_row.failed(request);
        }
    }

    /// Returns the fault, if that is one.
    pub(super) fn fault(&mut self, now_ns: u64) -> Option<BlockFault> {
        let rests = self.reported_ns.is_some_and(|reported_ns| now_ns.saturating_sub(reported_ns) < REST_NS);
        if rests {
            return None;
        }
        let all = Some(self.all).filter(|all| all.are_many() && self.reads && self.writes);
        let of_a_kind = self.changes.iter().find(|(failed, others)| failed.are_many() && *others);
        let InARow { requests, .. } = all.or(of_a_kind.map(|(failed, _)| *failed))?;
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
            failures.failed(&request(Op::WriteZeroes, 64 * at));
            failures.done(&request(Op::Read, 0));
            assert_eq!(failures.fault(at), None);
        }
    }

    #[test]
    fn a_kind_that_fails_each_time_while_another_is_done_is_found() {
        let durable = |first| Request { fua: true, ..request(Op::Write, first) };
        for kind in [|first| request(Op::WriteZeroes, first), |first| request(Op::Discard, first), durable] {
            let mut failures = Failures::default();
            // What was done before its first failure says nothing of the disk as it is.
            failures.done(&request(Op::Write, 0));
            for at in 0..100 {
                failures.failed(&kind(64 * at));
                assert_eq!(failures.fault(at), None);
            }
            failures.done(&request(Op::Write, 0));
            assert_eq!(failures.fault(100), Some(BlockFault::RequestsFail { requests: 100 }));
            // One that is done now and then is the disk's affair.
            let mut failures = Failures::default();
            for at in 0..1000 {
                failures.failed(&kind(64 * at));
                failures.done(&if at % 10 == 9 { kind(0) } else { request(Op::Write, 0) });
                assert_eq!(failures.fault(at), None);
            }
        }
    }

    #[test]
    fn it_is_reported_once_an_hour_whatever_is_done_between() {
        let mut failures = Failures::default();
        let mut reports = |from_ns: u64| {
            let found = |at: &u64| {
                failures.failed(&both(*at));
                failures.done(&request(if at % 50 == 49 { Op::Write } else { Op::Flush }, 0));
                failures.fault(from_ns + at).is_some()
            };
            (0..1000).filter(found).count()
        };
        assert_eq!((reports(0), reports(5000), reports(REST_NS + 20_000)), (1, 0, 1));
    }
}
