//! What a run of a network driver has to tell.

use nook_abi::net::NetStats;
use nook_net::ExerciseReport;
use nook_runtime::{Counters, NetCounters};
use serde::Serialize;

use crate::report::{CountersReport, ModuleReport, RecoveryReport, Report};

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
    pub counters: CountersReport<NetCounts>,
    /// What driver and device counted, if they could be asked.
    pub device_counters: Option<DeviceCounters>,
    /// What was done about faults.
    pub recovery: RecoveryReport<GivenUp>,
}

/// Counters of the interface.
#[derive(Debug, Serialize)]
pub struct NetCounts {
    /// Frames, both ways.
    pub packets: u64,
    /// Frames received.
    pub rx_packets: u64,
    /// Frames sent.
    pub tx_packets: u64,
    /// Frames that the interface's other side had no room for.
    pub rx_no_room: u64,
    /// Received buffers that came back as failed.
    pub rx_failed: u64,
    /// Frames that came back as not sent.
    pub tx_failed: u64,
    /// Received frames that the filter dropped.
    pub rx_dropped: u64,
    /// Frames to be sent that the filter dropped.
    pub tx_dropped: u64,
    /// Packets per interrupt.
    pub packets_per_irq: Option<f64>,
    /// Hostcalls per packet.
    pub hostcalls_per_packet: Option<f64>,
    /// Register accesses per packet.
    pub registers_per_packet: Option<f64>,
}

/// Frames that were given up.
#[derive(Debug, Serialize)]
pub struct GivenUp {
    /// Received frames that were given up because the driver faulted at them.
    pub rx_poison: u64,
    /// Frames to be sent that were given up because the driver faulted at them.
    pub tx_poison: u64,
    /// Frames to be sent that the driver had when it ended, and that were not sent again.
    pub tx_given_up: u64,
}

/// Counters of the device, as the driver gave them.
#[derive(Debug, Serialize)]
#[allow(missing_docs)] // The fields are those of nook_abi::net::NetStats.
pub struct DeviceCounters {
    pub rx_packets: u64,
    pub rx_bytes: u64,
    pub rx_errors: u64,
    pub rx_missed: u64,
    pub tx_packets: u64,
    pub tx_bytes: u64,
    pub tx_errors: u64,
    pub tx_timeouts: u64,
}

fn ratio(of: u64, to: u64) -> Option<f64> {
    (to != 0).then(|| of as f64 / to as f64)
}

impl NetCounts {
    /// Of what was counted about a nook and its interface.
    pub fn new(c: &Counters, net: &NetCounters) -> Self {
        NetCounts {
            packets: net.packets(),
            rx_packets: net.rx_packets,
            tx_packets: net.tx_packets,
            rx_no_room: net.rx_no_room,
            rx_failed: net.rx_failed,
            tx_failed: net.tx_failed,
            rx_dropped: net.rx_dropped,
            tx_dropped: net.tx_dropped,
            packets_per_irq: ratio(net.packets(), c.irqs),
            hostcalls_per_packet: ratio(c.hostcalls, net.packets()),
            registers_per_packet: ratio(c.reg_reads + c.reg_writes, net.packets()),
        }
    }
}

impl From<&NetCounters> for GivenUp {
    fn from(net: &NetCounters) -> Self {
        GivenUp { rx_poison: net.rx_poison, tx_poison: net.tx_poison, tx_given_up: net.tx_given_up }
    }
}

impl From<&NetStats> for DeviceCounters {
    fn from(s: &NetStats) -> Self {
        DeviceCounters {
            rx_packets: s.rx_packets,
            rx_bytes: s.rx_bytes,
            rx_errors: s.rx_errors,
            rx_missed: s.rx_missed,
            tx_packets: s.tx_packets,
            tx_bytes: s.tx_bytes,
            tx_errors: s.tx_errors,
            tx_timeouts: s.tx_timeouts,
        }
    }
}

impl NetReport {
    /// In words.
    pub fn text(&self, run: &Report) -> String {
        self.exercise.as_ref().map(ExerciseReport::to_string).unwrap_or_default() + &self.summary(run)
    }

    fn summary(&self, run: &Report) -> String {
        let c = &self.counters.class;
        let number = |value: Option<f64>| value.map_or("-".to_owned(), |value| format!("{value:.2}"));
        let mut text = format!(
            "{} packets in {}; per packet: {} hostcalls, {} register accesses; {} packets per interrupt\n",
            c.packets,
            run.duration(),
            number(c.hostcalls_per_packet),
            number(c.registers_per_packet),
            number(c.packets_per_irq),
        );
        if let Some(filter) = &self.filter {
            let (name, rx, tx) = (&filter.name, c.rx_dropped, c.tx_dropped);
            text += &format!("the filter `{name}` dropped {rx} received frames and {tx} frames to be sent\n");
        }
        if run.fault_count > 0 {
            let GivenUp { rx_poison, tx_poison, tx_given_up } = self.recovery.class;
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
