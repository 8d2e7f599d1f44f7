//! How a trial settles: until when traffic is waited for, and what it came to. Apart from what runs it, so that each
//! order of reports and frames can be tried.

use nook_campaign::Outcome;

const SECOND: u64 = 1_000_000_000;

/// After the first report, a flow completes within this, or the driver was not recovered. A flow that begins later is
/// waited for as long.
pub const RECOVERED_NS: u64 = 5 * SECOND;
/// Traffic that failed is reported within this, or nobody noticed.
const NOTICED_NS: u64 = 30 * SECOND;
/// A driver that reports again and again, and never goes on for long enough, is given up so long after its first
/// report. Until then it may yet end in quarantine.
const GIVEN_UP_NS: u64 = 20 * SECOND;

/// What is seen of a trial at one time.
#[derive(Clone, Copy, Debug)]
pub struct Seen {
    pub now_ns: u64,
    /// Reports so far.
    pub reports: u64,
    /// When the first of them came.
    pub first_report_ns: Option<u64>,
    /// Whether the flow that is waited for has completed.
    pub is_complete: bool,
}

/// A wait for one flow.
#[derive(Clone, Copy, Debug)]
pub struct Settling(Seen);

impl Settling {
    /// Begins one, for a flow that begins now.
    pub fn new(seen: Seen) -> Self {
        Settling(seen)
    }

    /// Returns how many reports there were when the flow began: one more, and another flow is waited for.
    pub fn reports(&self) -> u64 {
        self.0.reports
    }

    /// Returns until when the flow is waited for.
    pub fn end_ns(&self) -> u64 {
        let Seen { now_ns, reports, first_report_ns, .. } = self.0;
        if reports == 0 {
            return now_ns + NOTICED_NS;
        }
        let first_ns = first_report_ns.unwrap_or(now_ns);
        (now_ns + RECOVERED_NS).min(now_ns.max(first_ns + GIVEN_UP_NS))
    }

    /// Judges what is seen when the wait is over; nothing, if another flow is to be waited for.
    pub fn judge(&self, seen: Seen) -> Option<Outcome> {
        let Seen { now_ns, reports, first_report_ns, is_complete } = seen;
        if reports == 0 {
            return Some(if is_complete { Outcome::NoEffect } else { Outcome::Undetected });
        }
        let since_ns = now_ns - first_report_ns.unwrap_or(now_ns);
        match reports != self.0.reports {
            true if since_ns < GIVEN_UP_NS => None,
            false if is_complete && since_ns <= RECOVERED_NS => Some(Outcome::Recovered),
            _ => Some(Outcome::NotRecovered),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// How long a flow takes.
    const FLOW_NS: u64 = SECOND / 4;
    const BEGUN_NS: u64 = 7 * SECOND;

    /// Settles with reports at these times after the beginning, and traffic that flows from `mended_ns` on.
    fn settled(reports_ns: &[u64], mended_ns: Option<u64>) -> (Outcome, u64) {
        let seen = |now_ns: u64, flow_ns: u64| {
            let reports: Vec<_> = reports_ns.iter().map(|ns| BEGUN_NS + ns).filter(|ns| *ns <= now_ns).collect();
            let complete_ns = mended_ns.map(|ns| flow_ns.max(BEGUN_NS + ns) + FLOW_NS);
            let (first_report_ns, reports) = (reports.first().copied(), reports.len() as u64);
            Seen { now_ns, reports, first_report_ns, is_complete: complete_ns.is_some_and(|ns| ns <= now_ns) }
        };
        let mut now_ns = BEGUN_NS;
        loop {
            let (flow_ns, settling) = (now_ns, Settling::new(seen(now_ns, now_ns)));
            while now_ns < settling.end_ns()
                && seen(now_ns, flow_ns).reports == settling.reports()
                && !seen(now_ns, flow_ns).is_complete
            {
                now_ns += SECOND / 100;
            }
            if let Some(outcome) = settling.judge(seen(now_ns, flow_ns)) {
                return (outcome, now_ns - BEGUN_NS);
            }
        }
    }

    #[test]
    fn traffic_that_goes_on_without_a_report_is_no_effect_and_traffic_that_does_not_is_undetected() {
        assert_eq!(settled(&[], Some(0)), (Outcome::NoEffect, FLOW_NS));
        assert_eq!(settled(&[], None), (Outcome::Undetected, NOTICED_NS));
        // Reported too late.
        assert_eq!(settled(&[NOTICED_NS + SECOND], None), (Outcome::Undetected, NOTICED_NS));
    }

    #[test]
    fn a_late_report_is_a_report_and_what_recovers_after_it_has_recovered() {
        let late = 25 * SECOND;
        assert_eq!(settled(&[late], Some(late)), (Outcome::Recovered, late + FLOW_NS));
        assert_eq!(settled(&[late], None), (Outcome::NotRecovered, late + RECOVERED_NS));
    }

    #[test]
    fn a_driver_that_reports_again_and_again_has_five_seconds_from_its_first_report() {
        let reports: Vec<_> = (0..6).map(|at| at * 3 * SECOND).collect();
        assert_eq!(settled(&reports[..2], Some(3 * SECOND)).0, Outcome::Recovered);
        assert_eq!(settled(&reports[..3], Some(6 * SECOND)).0, Outcome::NotRecovered);
        // It had settled by itself, later than is promised.
        assert_eq!(settled(&reports, Some(15 * SECOND)), (Outcome::NotRecovered, 15 * SECOND + FLOW_NS));
    }

    #[test]
    fn a_driver_that_never_stops_reporting_is_given_up() {
        let reports: Vec<_> = (0..100).map(|at| 2 * SECOND + at * SECOND).collect();
        assert_eq!(settled(&reports, None), (Outcome::NotRecovered, 2 * SECOND + GIVEN_UP_NS));
    }
}
