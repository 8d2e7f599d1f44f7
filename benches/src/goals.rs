//! The goals, and whether a run reached them.

use crate::Report;
use crate::sample::Estimate;

/// One line of the table.
pub struct Goal {
    /// What is measured.
    pub what: &'static str,
    /// What others reached, or a prototype.
    pub reference: &'static str,
    /// What has limits.
    judged: &'static [Check],
    /// What is printed beside it: the usual name, and the names.
    beside: Option<(&'static str, &'static [&'static str])>,
}

/// One number that has a limit.
struct Check {
    /// In the report's ratios or figures.
    name: &'static str,
    limit: Limit,
}

enum Limit {
    AtMost(f64),
    AtLeast(f64),
}

use Limit::{AtLeast, AtMost};

macro_rules! goals {
    ($($what:literal, $reference:literal: $($name:literal $limit:expr),+ $(; beside $label:literal: $($beside:literal),+)?;)*) => {
        &[$(Goal {
            what: $what,
            reference: $reference,
            judged: &[$(Check { name: $name, limit: $limit }),+],
            beside: goals!(@beside $($label: $($beside),+)?),
        }),*]
    };
    (@beside) => { None };
    (@beside $label:literal: $($beside:literal),+) => { Some(($label, &[$($beside),+])) };
}

/// All of them. The names are the report's.
pub const GOALS: &[Goal] = goals! {
    "driver's call for a packet each way, against 959a374 at the same level, batch 255: native; sfi; sfi+txn", "":
        "against_959a374_poll_255_native" AtMost(0.62), "against_959a374_poll_255_sfi" AtMost(0.48),
        "against_959a374_poll_255_sfi_txn" AtMost(0.36);
        beside "a packet each way": "against_959a374_poll_255_native_pair", "against_959a374_poll_255_sfi_pair",
        "against_959a374_poll_255_sfi_txn_pair";
    "the same, batch 32", "":
        "against_959a374_poll_32_native" AtMost(0.65), "against_959a374_poll_32_sfi" AtMost(0.58),
        "against_959a374_poll_32_sfi_txn" AtMost(0.55);
        beside "a packet each way": "against_959a374_poll_32_native_pair", "against_959a374_poll_32_sfi_pair",
        "against_959a374_poll_32_sfi_txn_pair";
    "whole turn of 32 against 959a374, sfi+txn", "":
        "against_959a374_turn_32_sfi_txn" AtMost(0.65);
        beside "a packet each way": "against_959a374_turn_32_sfi_txn_pair";
    "poll, the driver's call alone: sfi / native, batch 32; 255", "stretch 1.40; 1.25":
        "poll_32_sfi_native" AtMost(1.45), "poll_255_sfi_native" AtMost(1.33);
        beside "a packet each way, native and sfi": "pair_32_native", "pair_32_sfi", "pair_255_native", "pair_255_sfi";
    "the same, sfi+txn / native", "":
        "poll_32_sfi_txn_native" AtMost(1.70), "poll_255_sfi_txn_native" AtMost(1.40);
        beside "a packet each way, sfi+txn": "pair_32_sfi_txn", "pair_255_sfi_txn";
    "behind a protection key: poll of 32 and of 255, mpk / native", "":
        "poll_32_mpk_native" AtMost(1.25), "poll_255_mpk_native" AtMost(1.05);
        beside "a packet each way": "pair_32_mpk", "pair_255_mpk";
    "the same: a null call; a stray store, until its call has ended; a restart without device time",
    "a prototype's gates 77 cycles, its stray store 2 µs":
        "null_call_mpk_cycles" AtMost(130.0), "stray_write_mpk" AtMost(10.0), "restart_mpk" AtMost(0.5);
    "null call into a driver, all checks on", "RedLeaf 124 cycles; a bare call of wasmtime 27 ns":
        "null_call_sfi_cycles" AtMost(85.0);
        beside "in time; what a transaction adds": "null_call_sfi", "null_call_transaction";
    "rollback under a stream with a crash each 50 ms, from the end of the call: median", "":
        "downtime_rollback_50ms_p50" AtMost(5.0);
        beside "99th percentile; with a crash each second": "downtime_rollback_50ms_p99", "downtime_rollback_1s_p50";
    "interrupt handling (irq and poll of 8), the driver's calls alone: sfi+txn / native",
    "Nooks 2.3, wrapping alone 1.8":
        "interrupt_sfi_txn_native" AtMost(1.7);
        beside "the whole turn of the loop": "interrupt_turn_sfi_txn_native";
    "start from the module cache at sfi+txn; restart without device time", "load 0.1 to 0.4 ms, instantiate 12 µs":
        "start_from_cache_sfi_txn" AtMost(2.0), "restart_sfi_txn" AtMost(0.3);
    "the paper's experiment: how far intervals reach from their medians, ±: stream; latency; CPU", "":
        "paper_width_stream" AtMost(0.05), "paper_width_latency" AtMost(0.05), "paper_width_cpu" AtMost(0.05);
        beside "after": "paper_rounds_stream", "paper_rounds_latency";
    "disk, the driver's calls for a request on the calm model, sfi+txn / native: reads of 4 KiB at depth 1; 8; 32; 127; \
     of 128 KiB at depth 8", "":
        "request_4k_1_sfi_txn_native" AtMost(1.6), "request_4k_8_sfi_txn_native" AtMost(1.6),
        "request_4k_32_sfi_txn_native" AtMost(1.6), "request_4k_127_sfi_txn_native" AtMost(1.6),
        "request_128k_8_sfi_txn_native" AtMost(1.6);
        beside "at depth 1; 32; 127": "request_4k_1_sfi_txn", "request_4k_32_sfi_txn", "request_4k_127_sfi_txn";
    "disk, whole requests through NBD, sfi+txn / native: reads of 4 KiB at depth 1; 8; 32; 128; of 128 KiB at depth 8", "":
        "nbd_4k_1_sfi_txn_native" AtMost(1.15), "nbd_4k_8_sfi_txn_native" AtMost(1.15),
        "nbd_4k_32_sfi_txn_native" AtMost(1.15), "nbd_4k_128_sfi_txn_native" AtMost(1.15),
        "nbd_128k_8_sfi_txn_native" AtMost(1.15);
        beside "at depth 32, and its CPU time": "nbd_4k_32_sfi_txn", "nbd_cpu_4k_32_sfi_txn";
    "reads of 4 KiB a second at depth 32 over those of `nbdkit memory`, sfi+txn", "it has no driver and no device":
        "nbd_4k_32_sfi_txn_nbdkit" AtLeast(0.8);
        beside "nbdkit's CPU time for each": "nbd_cpu_4k_32_nbdkit";
    "disk, a crash each 50 ms under reads and writes at depth 32, until the driver is ready again: rollback; restart, \
     calm model", "OpenHCL replaces a driver":
        "nbd_downtime_rollback_p50" AtMost(20.0), "nbd_downtime_restart_p50" AtMost(5000.0);
        beside "99th percentiles": "nbd_downtime_rollback_p99", "nbd_downtime_restart_p99";
    "checked register write, emulated; direct", "a bare import 7 ns, a shim 2 ns":
        "register_write_sfi" AtMost(10.0), "register_write_direct" AtMost(3.0);
    "TCP stream over TAP, sfi+txn / native", "Nooks 1.03, LVD 0.957":
        "paper_stream_sfi_txn_native" AtLeast(0.97);
    "request-response latency, sfi+txn / native", "Nooks 1.02":
        "paper_latency_sfi_txn_native" AtMost(1.02);
    "CPU at equal throughput, sfi+txn / native", "Nooks 1.18":
        "paper_cpu_sfi_txn_native" AtMost(1.10);
    "checksum over 1,500 B, sfi / native", "with SIMD 1.2":
        "checksum_1500_sfi_native" AtMost(1.5);
    "private memory of an idle nook among 1,000", "":
        "idle_nook_private_1000_sfi_txn" AtMost(1.0);
    "process that is woken / sfi+txn, touching 64 B", "polled beside it":
        "touch_64_process_sfi_txn" AtLeast(5.0);
        beside "polled": "touch_64_process_polled_sfi_txn";
    "TCP stream with a crash each second over one without: rolled back; restarted", "RedLeaf 0.84 to 0.95":
        "crash_rollback_1s" AtLeast(0.95), "crash_restart_1s" AtLeast(0.84);
        beside "restored from a snapshot": "crash_snapshot_1s";
    "from the end of the call until a fresh instance runs, without the device's reset: median", "":
        "downtime_restart_1s_without_reset" AtMost(5.0);
        beside "with it; 99th percentile": "downtime_restart_1s_p50", "downtime_restart_1s_p99";
};

/// What became of a goal.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// All that has a limit keeps it.
    Reached,
    /// Something does not.
    Missed,
    /// Something was not measured in this run.
    Unknown,
}

impl Verdict {
    /// In a word or three.
    pub fn text(self) -> &'static str {
        match self {
            Verdict::Reached => "reached",
            Verdict::Missed => "not reached",
            Verdict::Unknown => "not measured",
        }
    }
}

impl Goal {
    /// Returns whether this run reached it.
    pub fn verdict(&self, report: &Report) -> Verdict {
        let keeps = |check: &Check| {
            let (estimate, _) = find(report, check.name)?;
            Some(match check.limit {
                AtMost(limit) => estimate.value <= limit,
                AtLeast(limit) => estimate.value >= limit,
            })
        };
        let kept: Vec<_> = self.judged.iter().map(keeps).collect();
        match kept {
            kept if kept.contains(&Some(false)) => Verdict::Missed,
            kept if kept.contains(&None) => Verdict::Unknown,
            _ => Verdict::Reached,
        }
    }

    /// Returns the limits, in words.
    pub fn limits(&self) -> String {
        let texts = self.judged.iter().map(|check| {
            let unit = unit(check.name);
            match check.limit {
                AtMost(limit) => format!("≤ {limit}{unit}"),
                AtLeast(limit) => format!("≥ {limit}{unit}"),
            }
        });
        texts.collect::<Vec<_>>().join("; ")
    }

    /// Returns what was found, in words.
    pub fn found(&self, report: &Report) -> String {
        let one = |name: &str| find(report, name).map_or("-".into(), |(estimate, unit)| text(&estimate, &unit));
        let judged = self.judged.iter().map(|check| one(check.name)).collect::<Vec<_>>().join("; ");
        match self.beside {
            None => judged,
            Some((label, names)) => {
                let beside = names.iter().map(|name| one(name)).collect::<Vec<_>>().join("; ");
                format!("{judged} ({label}: {beside})")
            }
        }
    }

    /// Returns the names of all its numbers.
    pub fn names(&self) -> impl Iterator<Item = &'static str> {
        let beside = self.beside.iter().flat_map(|(_, names)| names.iter().copied());
        self.judged.iter().map(|check| check.name).chain(beside)
    }
}

fn find(report: &Report, name: &str) -> Option<(Estimate, String)> {
    let ratio = report.spreads.get(name).map(|spread| (spread.estimate, String::new()));
    ratio.or_else(|| report.figures.get(name).map(|figure| (figure.estimate, figure.unit.clone())))
}

/// Of a figure that has a goal, for when it was not measured.
fn unit(name: &str) -> &'static str {
    match name {
        "start_from_cache_sfi_txn" | "restart_sfi_txn" => " ms",
        "idle_nook_private_1000_sfi_txn" => " MiB",
        "downtime_rollback_50ms_p50" => " µs",
        "downtime_restart_1s_without_reset" => " ms",
        "null_call_sfi_cycles" => " cycles",
        "register_write_sfi" | "register_write_direct" => " ns",
        _ => "",
    }
}

/// Returns a number as people write it, with its confidence interval if it has one.
pub fn text(estimate: &Estimate, unit: &str) -> String {
    let Estimate { value, low, high, .. } = *estimate;
    let space = if unit.is_empty() { "" } else { " " };
    let interval = if low == high { String::new() } else { format!(" [{}, {}]", short(low), short(high)) };
    format!("{}{interval}{space}{unit}", short(value))
}

/// Three digits that count.
pub fn short(value: f64) -> String {
    match value.abs() {
        _ if !value.is_finite() => "-".into(),
        size if size >= 1000.0 => format!("{value:.0}"),
        size if size >= 100.0 => format!("{value:.0}"),
        size if size >= 10.0 => format!("{value:.1}"),
        _ => format!("{value:.2}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn goal_about(name: &str) -> &'static Goal {
        GOALS.iter().find(|goal| goal.names().any(|it| it == name)).expect("a goal has this number")
    }

    #[test]
    fn a_goal_is_reached_if_all_its_limits_are_kept() {
        let goal = goal_about("restart_sfi_txn");
        let mut report = Report::default();
        assert_eq!(goal.verdict(&report), Verdict::Unknown);
        report.figure("start_from_cache_sfi_txn", Estimate::exactly(1.5), "ms");
        assert_eq!(goal.verdict(&report), Verdict::Unknown);
        report.figure("restart_sfi_txn", Estimate::exactly(0.2), "ms");
        assert_eq!(goal.verdict(&report), Verdict::Reached);
        report.figure("restart_sfi_txn", Estimate::exactly(0.4), "ms");
        assert_eq!(goal.verdict(&report), Verdict::Missed);
    }

    #[test]
    fn what_is_printed_beside_a_goal_has_the_label_of_its_row() {
        let mut report = Report::default();
        for (name, value) in [("interrupt", 1.6), ("interrupt_turn", 1.25)] {
            report.note_ratio(&format!("{name}_sfi_txn_native"), Estimate::exactly(value), false);
        }
        let goal = goal_about("interrupt_turn_sfi_txn_native");
        assert_eq!(goal.found(&report), "1.60 (the whole turn of the loop: 1.25)");
        assert_eq!(goal.verdict(&report), Verdict::Reached);
    }

    #[test]
    fn what_was_found_once_has_no_interval() {
        let spread = Estimate { low: 1.0, high: 1.2, ..Estimate::exactly(1.1) };
        assert_eq!([text(&spread, "ns"), text(&Estimate::exactly(1.1), "")], ["1.10 [1.00, 1.20] ns", "1.10"]);
    }

    #[test]
    fn numbers_have_as_many_digits_as_they_deserve() {
        assert_eq!([1234.5, 123.4, 12.34, 1.234, 0.0].map(short), ["1234", "123", "12.3", "1.23", "0.00"]);
    }
}
