//! Whole requests of a disk, through NBD: fio in front of `nook-run` at every level, and in front of nbdkit's plugin
//! `memory`, which has a server's work and no driver's, in the same rounds. And how long the disk is gone when its
//! driver crashes under that load.
//!
//! It needs fio and nbdkit, and no root.

mod server;

use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};

use crate::cpus::Awake;
use crate::levels::{Level, SFI, SFI_TXN, levels};
use crate::paper::Programs;
use crate::sample::{Estimate, orders};
use crate::{Report, processes};
use server::{Server, Slice};

/// What it is called where something was left out.
pub const NAME: &str = "a disk through NBD";

/// How much is measured.
#[derive(Clone, Copy, Debug)]
pub struct Plan {
    /// No more rounds are begun after this time.
    pub time: Duration,
    /// How long each of fio's slices is.
    pub slice: Duration,
    /// How long the load is under which a driver crashes.
    pub crashes: Duration,
}

impl Default for Plan {
    fn default() -> Self {
        let [time, slice, crashes] = [200_000, 300, 5_000].map(Duration::from_millis);
        Plan { time, slice, crashes }
    }
}

impl Plan {
    /// Returns a plan that only shows whether everything works.
    pub fn short() -> Self {
        Plan { time: Duration::ZERO, slice: Duration::from_millis(100), crashes: Duration::from_secs(1) }
    }
}

/// What fio asks for.
pub(crate) struct Load {
    /// In the report's names.
    pub(crate) name: &'static str,
    /// For people.
    pub(crate) what: &'static str,
    write: bool,
    bytes: u32,
    depth: u32,
}

const READS: Load = Load { name: "4k_32", what: "reads of 4 KiB at depth 32", write: false, bytes: 4096, depth: 32 };

pub(crate) const LOADS: &[Load] = &[
    Load { name: "4k_1", what: "reads of 4 KiB at depth 1", depth: 1, ..READS },
    Load { name: "4k_8", what: "at depth 8", depth: 8, ..READS },
    Load { what: "at depth 32", ..READS },
    Load { name: "4k_128", what: "at depth 128", depth: 128, ..READS },
    Load { name: "4k_32_write", what: "writes of 4 KiB at depth 32", write: true, ..READS },
    Load { name: "128k_8", what: "reads of 128 KiB at depth 8", bytes: 128 << 10, depth: 8, ..READS },
];

/// Who serves: each level, and a program of others.
pub(crate) const PEER: &str = "nbdkit";

/// Returns why it cannot be measured here, if it cannot.
pub fn obstacle(programs: &Programs) -> Option<String> {
    if let Some(missing) = ["fio", PEER].into_iter().find(|program| !processes::has(program)) {
        return Some(format!("{NAME}: {missing} is not installed (`cargo xtask setup` installs it)"));
    }
    let missing = [&programs.nook_run, &programs.driver].into_iter().find(|path| !path.exists());
    missing.map(|path| format!("{NAME}: {} is missing", path.display()))
}

/// One of the values of a slice.
type Of = fn(&Slice) -> f64;
const TIME: Of = |slice| slice.ns;
const CPU: Of = |slice| slice.cpu_ns;

/// Measures whole requests: notes `nbd_<load>_<level>`, `nbd_cpu_<load>_<level>` and their ratios to native; and of
/// each level `nbd_<load>_<level>_nbdkit`, its requests a second over those of nbdkit.
///
/// # Errors
/// If a program fails.
pub fn measure(report: &mut Report, programs: &Programs, plan: &Plan, tell: impl Fn(&str)) -> Result<()> {
    let _awake = Awake::keep();
    let servers = levels().iter().map(|level| Server::nook(programs, level, &[]));
    let servers = servers.chain([Server::nbdkit()]).collect::<Result<Vec<_>>>()?;
    let name = |at: usize| levels().get(at).map_or(PEER.to_owned(), Level::key);
    let pairs = servers.len() * LOADS.len();
    let mut found: Vec<Vec<Slice>> = vec![Vec::new(); pairs];
    let begin = Instant::now();
    for order in orders(pairs) {
        for at in order {
            let (server, load) = (at / LOADS.len(), &LOADS[at % LOADS.len()]);
            let slice = servers[server].slice(load, plan.slice).with_context(|| name(server))?;
            tell(&format!(
                "{}, {}: {:.2} µs, CPU {:.2} µs",
                name(server),
                load.name,
                slice.ns / 1e3,
                slice.cpu_ns / 1e3
            ));
            found[at].push(slice);
        }
        if begin.elapsed() >= plan.time {
            break;
        }
    }
    drop(servers);
    for (load_at, Load { name: load, .. }) in LOADS.iter().enumerate() {
        let of = |server: usize, value: Of| -> Vec<f64> {
            found[server * LOADS.len() + load_at].iter().map(value).collect()
        };
        for (what, value) in [("nbd", TIME), ("nbd_cpu", CPU)] {
            for server in 0..=levels().len() {
                report.figure(&format!("{what}_{load}_{}", name(server)), Estimate::of(&of(server, value)), "ns");
            }
            for level in 1..levels().len() {
                let key = format!("{what}_{load}_{}_{}", name(level), name(0));
                report.ratio(&key, &of(level, value), &of(0, value));
            }
        }
        for level in 0..levels().len() {
            // Requests a second are the inverse of a request's time.
            let ratio = Estimate::ratio(&of(levels().len(), TIME), &of(level, TIME));
            report.note_ratio(&format!("nbd_{load}_{}_{PEER}", name(level)), ratio, true);
        }
    }
    Ok(())
}

/// The ways of coming back: how it is called, at which level, under which policy, and the report's key for how long
/// that took.
const WAYS: [(&str, Level, &str, &str); 2] = [
    ("rollback", SFI_TXN, "[bundles]\nkeep = 0\n", "rollback_ns"),
    (
        "restart",
        SFI,
        "[bundles]\nkeep = 0\n[restart]\nbudget = 1000000\nbackoff_first = \"1us\"\nbackoff_most = \"1us\"\n",
        "restart_ns",
    ),
];
/// The time between two crashes.
const PERIOD: &str = "50ms";

/// Lets the driver crash under reads and writes at depth 32; notes how long it was gone each time:
/// `nbd_downtime_<way>_<p50, p90, p99 or max>`, in µs.
///
/// # Errors
/// If a program fails, or a client saw an error.
pub fn crashes(report: &mut Report, programs: &Programs, plan: &Plan, tell: impl Fn(&str)) -> Result<()> {
    let _awake = Awake::keep();
    for (way, level, policy, key) in WAYS {
        let file = tempfile::NamedTempFile::new().context("a file for a policy")?;
        std::fs::write(file.path(), policy).context("writing a policy")?;
        let path = file.path().to_str().context("a folder whose name is text")?;
        let server = Server::nook(programs, &level, &["--policy", path, "--crash-every", PERIOD])?;
        for write in [false, true] {
            server.slice(&Load { write, ..READS }, plan.crashes / 2)?;
        }
        let told = server.end()?;
        let faults = told["fault_count"].as_u64().unwrap_or(0);
        ensure!(faults > 0, "nothing crashed: {told}");
        tell(&format!("{way}: {faults} crashes, {}", told["recovery"][key]));
        for share in ["p50", "p90", "p99", "max"] {
            let time = told["recovery"][key][share].as_f64();
            let time = time.with_context(|| format!("no times of a {way}: {told}"))?;
            report.figure(&format!("nbd_downtime_{way}_{share}"), Estimate::exactly(time / 1e3), "µs");
        }
    }
    Ok(())
}
