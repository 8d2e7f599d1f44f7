//! The machine, as far as it matters for the figures.

use std::fs;

use serde::{Deserialize, Serialize};

use crate::ticks;

/// Where a report was made.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Machine {
    /// The CPU's name.
    pub cpu: String,
    /// Cores that this process may use.
    pub cores: usize,
    /// Whether it is a virtual machine.
    pub virtualised: bool,
    /// The kernel.
    pub kernel: String,
    /// What sets the clock rate, if the kernel does.
    pub governor: String,
    /// Ticks of the time stamp counter in a nanosecond.
    pub ticks_per_ns: f64,
    /// Work that waited for a core when the run began, averaged over a minute: whether others were busy.
    pub load: f64,
    /// The instructions that drivers are compiled to.
    pub target: String,
}

impl Machine {
    /// This one.
    pub fn this() -> Self {
        let read = |path: &str| fs::read_to_string(path).unwrap_or_default().trim().to_owned();
        let cpuinfo = read("/proc/cpuinfo");
        let line = |key: &str| cpuinfo.lines().find(|line| line.starts_with(key)).and_then(|line| line.split_once(':'));
        let governor = read("/sys/devices/system/cpu/cpu0/cpufreq/scaling_governor");
        Machine {
            cpu: line("model name").map(|(_, name)| name.trim().to_owned()).unwrap_or_default(),
            cores: std::thread::available_parallelism().map_or(1, usize::from),
            virtualised: line("flags").is_some_and(|(_, flags)| flags.split(' ').any(|flag| flag == "hypervisor")),
            kernel: read("/proc/sys/kernel/osrelease"),
            governor: if governor.is_empty() { "not the kernel's to set".into() } else { governor },
            ticks_per_ns: ticks::per_ns(),
            load: read("/proc/loadavg").split(' ').next().and_then(|load| load.parse().ok()).unwrap_or(0.0),
            target: nook_runtime::target_description().to_owned(),
        }
    }

    /// In a line.
    pub fn describe(&self) -> String {
        let Machine { cpu, cores, kernel, governor, ticks_per_ns, load, .. } = self;
        let kind = if self.virtualised { "virtual machine" } else { "machine" };
        format!(
            "{kind} with {cores} cores of {cpu} (time stamp counter {ticks_per_ns:.2} GHz, governor {governor}), Linux \
             {kernel}, load {load:.1} when it began"
        )
    }
}
