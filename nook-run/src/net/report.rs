//! What a run of a network driver has to tell.

use nook_abi::net::NetStats;
use nook_net::{ExerciseReport, FarEnd};
use nook_runtime::{Counters, Named, NetCounters};
use serde::{Serialize, Serializer};

use crate::report::{CountersReport, ModuleReport, RecoveryReport, Report, by_name};

/// Of an interface.
#[derive(Debug, Serialize)]
pub struct NetReport {
    /// The filter beside the driver, if there was one.
    pub filter: Option<ModuleReport>,
    /// "up" or "down", at the end of the run.
    pub link: &'static str,
    /// The interface's address, if the driver came so far.
    pub mac: Option<String>,
    /// What the exercise found, if there was one.
    pub exercise: Option<ExerciseReport>,
    /// What was counted on the way through the boundary.
    pub counters: NetCountersReport,
    /// What driver and device counted, if they could be asked.
    #[serde(serialize_with = "stats")]
    pub device_counters: Option<NetStats>,
    /// What the counters that the driver names have counted, over its restarts.
    #[serde(serialize_with = "pairs")]
    pub named_counters: Vec<(String, u64)>,
    /// All of them are in the text too.
    #[serde(skip)]
    pub shows_counters: bool,
    /// What became of the cable, if its far end is a TAP interface.
    pub cable: Option<CableReport>,
    /// What was done about faults.
    pub recovery: RecoveryReport,
}

/// Of a cable to a TAP interface.
#[derive(Debug, Serialize)]
pub struct CableReport {
    /// Frames of the device that the interface did not take: it was down, or removed.
    pub lost: u64,
    /// Frames of the interface that are longer than any that the device takes.
    pub too_long: u64,
}

impl CableReport {
    /// Of this far end, up to now.
    pub fn of(far_end: &FarEnd) -> Self {
        CableReport { lost: far_end.lost(), too_long: far_end.too_long() }
    }
}

/// What follows from the counters.
#[derive(Debug, Serialize)]
pub struct NetRates {
    /// Frames, both ways.
    pub packets: u64,
    /// Packets per interrupt.
    pub packets_per_irq: Option<f64>,
    /// Hostcalls per packet.
    pub hostcalls_per_packet: Option<f64>,
    /// Register accesses per packet.
    pub registers_per_packet: Option<f64>,
}

/// What was counted about an interface.
pub type NetCountersReport = CountersReport<NetCounters, NetRates>;

fn ratio(of: u64, to: u64) -> Option<f64> {
    (to != 0).then(|| of as f64 / to as f64)
}

impl NetCountersReport {
    /// Of a nook and its interface.
    pub fn of(c: &Counters, net: &NetCounters) -> Self {
        let rates = NetRates {
            packets: net.packets(),
            packets_per_irq: ratio(net.packets(), c.irqs),
            hostcalls_per_packet: ratio(c.hostcalls, net.packets()),
            registers_per_packet: ratio(c.reg_reads + c.reg_writes, net.packets()),
        };
        CountersReport::new(c, *net, rates)
    }
}

fn stats<S: Serializer>(stats: &Option<NetStats>, serializer: S) -> Result<S::Ok, S::Error> {
    match stats {
        Some(stats) => by_name(stats, serializer),
        None => serializer.serialize_none(),
    }
}

fn pairs<S: Serializer>(pairs: &[(String, u64)], serializer: S) -> Result<S::Ok, S::Error> {
    serializer.collect_map(pairs.iter().map(|(name, value)| (name, value)))
}

/// Returns a table of counters, a line each.
fn table(head: &str, counters: impl IntoIterator<Item = (impl AsRef<str>, u64)>) -> String {
    let line = |(name, value): (_, u64)| format!("  {:<31} {value:>16}\n", AsRef::<str>::as_ref(&name));
    format!("{head}\n") + &counters.into_iter().map(line).collect::<String>()
}

impl NetReport {
    /// Describes it in words.
    pub fn text(&self, run: &Report) -> String {
        let counted = if self.shows_counters { self.tables() } else { String::new() };
        self.exercise.as_ref().map(ExerciseReport::to_string).unwrap_or_default() + &self.summary(run) + &counted
    }

    /// Returns everything that was counted.
    fn tables(&self) -> String {
        let mut text = table("counted by the host:", self.counters.class.named());
        match &self.device_counters {
            Some(stats) => text += &table("counted by driver and device, since its start:", stats.named()),
            None => text += "driver and device could not be asked for counters\n",
        }
        if !self.named_counters.is_empty() {
            let named = self.named_counters.iter().map(|(name, value)| (name, *value));
            text += &table("counted by driver and device, by the driver's names:", named);
        }
        text
    }

    fn summary(&self, run: &Report) -> String {
        let (c, rates) = (&self.counters.class, &self.counters.rates);
        let number = |value: Option<f64>| value.map_or("-".to_owned(), |value| format!("{value:.2}"));
        let mut text = format!(
            "{} packets in {}; per packet: {} hostcalls, {} register accesses; {} packets per interrupt\n",
            rates.packets,
            run.duration(),
            number(rates.hostcalls_per_packet),
            number(rates.registers_per_packet),
            number(rates.packets_per_irq),
        );
        if let Some(filter) = &self.filter {
            let (name, rx, tx) = (&filter.name, c.rx_dropped, c.tx_dropped);
            text += &format!("the filter `{name}` dropped {rx} received frames and {tx} frames to be sent\n");
        }
        if c.tx_unfit > 0 {
            text += &format!("packets to be sent of which no frame for the driver could be made: {}\n", c.tx_unfit);
        }
        if let Some(CableReport { lost, too_long }) =
            self.cable.as_ref().filter(|cable| cable.lost + cable.too_long > 0)
        {
            text += &format!("frames lost at the cable's far end: {lost} to it, {too_long} too long from it\n");
        }
        if run.fault_count > 0 {
            let NetCounters { rx_poison, tx_poison, tx_given_up, .. } = *c;
            text += &self.recovery.text(run.fault_count);
            if tx_given_up > 0 {
                text += &format!("frames to be sent given up because the driver ended with them: {tx_given_up}\n");
            }
            if rx_poison + tx_poison > 0 {
                text += &format!(
                    "frames given up because the driver faulted at them: {rx_poison} received, {tx_poison} to be sent\n"
                );
            }
        }
        text
    }
}
