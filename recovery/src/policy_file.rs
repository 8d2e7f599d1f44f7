//! The policy as an operator writes it down: TOML, every key optional, none unknown.

use std::path::{Path, PathBuf};

use serde::{Deserialize, Deserializer, de};

use nook_abi::Class;
use nook_runtime::{Budgets, MemoryDump, RollbackMethod};

use crate::{BundleConfig, Policy};

mod renamed;

/// The largest file that is read.
const MAX_BYTES: u64 = 1 << 20;
/// The longest time that a key may have: a week.
const MOST_NS: u64 = 7 * 24 * 3_600_000_000_000;

/// The most memory for sums of blocks, in MiB.
const MOST_VERIFY_MIB: u32 = 4096;

/// The shortest time that a request to a disk may be given.
const LEAST_REQUEST_NS: u64 = 100_000_000;
/// And how often a block is read at the most, if nobody asks for one.
const LEAST_PROBE_NS: u64 = 10_000_000;

/// Why a policy file is not used.
#[derive(Debug, thiserror::Error)]
pub enum PolicyError {
    /// It cannot be read.
    #[error("cannot read the policy file {}: {source}", path.display())]
    Unreadable {
        /// The file.
        path: PathBuf,
        /// Why.
        #[source]
        source: std::io::Error,
    },
    /// It is not TOML, or has a key or a value that it cannot have.
    #[error("line {line}, `{text}`: {why}")]
    Malformed {
        /// Which line, from 1.
        line: usize,
        /// What stands there.
        text: String,
        /// What is wrong, and what is allowed.
        why: String,
    },
    /// A key of an older version.
    #[error("line {line}: `{old}` was renamed: write `{new}`")]
    Renamed {
        /// Which line, from 1.
        line: usize,
        /// The old key.
        old: String,
        /// The new one.
        new: &'static str,
    },
    /// A value that does not go together with another, or is out of range.
    #[error("{key}: {rule}")]
    Rule {
        /// The key.
        key: &'static str,
        /// What is allowed.
        rule: String,
    },
}

/// All that a policy file can say. What it leaves out is as [`Policy::default`] has it.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct PolicyFile {
    isolation: Isolation,
    rollback: Rollback,
    restart: Restart,
    snapshots: Snapshots,
    bundles: Bundles,
    block: Block,
    net: Net,
    compiler: Compiler,
}

/// `[isolation]`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(default, deny_unknown_fields)]
struct Isolation {
    begin: Begin,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
enum Begin {
    #[serde(rename = "sfi")]
    Sfi,
    #[default]
    #[serde(rename = "sfi+txn")]
    SfiTxn,
}

/// `[rollback]`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(default, deny_unknown_fields)]
struct Rollback {
    enabled: bool,
    retries: u16,
    method: Method,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
enum Method {
    #[default]
    Log,
    Pages,
}

impl Default for Rollback {
    fn default() -> Self {
        Rollback { enabled: Policy::DEFAULT.rollback, retries: Policy::DEFAULT.retries, method: Method::default() }
    }
}

/// `[bundles]`.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(default, deny_unknown_fields)]
struct Bundles {
    folder: Option<PathBuf>,
    keep: u16,
    every: Time,
    rollbacks: u16,
    memory: Memory,
    record: Time,
}

impl Default for Bundles {
    fn default() -> Self {
        Bundles {
            folder: None,
            keep: 8,
            every: Time(1_000_000_000),
            rollbacks: 4,
            memory: Memory::Private,
            record: Time(0),
        }
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
enum Memory {
    Nothing,
    Private,
    All,
}

/// `[net]`.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(default, deny_unknown_fields)]
struct Net {
    offloads: Who,
    checksums: Who,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
enum Who {
    Device,
    Host,
}

impl Default for Net {
    fn default() -> Self {
        Net { offloads: Who::Device, checksums: Who::Device }
    }
}

/// `[block]`.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(default, deny_unknown_fields)]
struct Block {
    verify: Verify,
    verify_mib: u32,
    request: Time,
    probe: Time,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
enum Verify {
    Off,
    Crc,
}

impl Default for Block {
    fn default() -> Self {
        Block { verify: Verify::Off, verify_mib: 64, request: Time(10_000_000_000), probe: Time(0) }
    }
}

/// `[compiler]`.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(default, deny_unknown_fields)]
struct Compiler {
    time: Time,
    memory_mib: u32,
}

impl Default for Compiler {
    fn default() -> Self {
        Compiler { time: Time(60_000_000_000), memory_mib: 1024 }
    }
}

/// `[restart]`.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(default, deny_unknown_fields)]
struct Restart {
    budget: u32,
    window: Time,
    backoff_first: Time,
    backoff_most: Time,
    resubmit: Resubmit,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
enum Resubmit {
    #[default]
    Again,
    Never,
}

impl Default for Restart {
    fn default() -> Self {
        let policy = Policy::default();
        Restart {
            budget: policy.restarts,
            window: Time(policy.window_ns),
            backoff_first: Time(policy.backoff_first_ns),
            backoff_most: Time(policy.backoff_most_ns),
            resubmit: Resubmit::default(),
        }
    }
}

/// `[snapshots]`.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(default, deny_unknown_fields)]
struct Snapshots {
    keep: u16,
    every: Time,
}

impl Default for Snapshots {
    fn default() -> Self {
        Snapshots { keep: Policy::DEFAULT.snapshots, every: Time(Policy::DEFAULT.snapshot_every_ns) }
    }
}

impl PolicyFile {
    /// Reads and checks a file.
    ///
    /// # Errors
    /// If it cannot be read or breaks a rule; the message names the file and the key.
    pub fn read(path: &Path) -> Result<Self, PolicyError> {
        let unreadable = |source| PolicyError::Unreadable { path: path.to_owned(), source };
        let meta = std::fs::metadata(path).map_err(unreadable)?;
        if !meta.is_file() {
            return Err(unreadable(std::io::Error::other("it is not a regular file")));
        }
        if meta.len() > MAX_BYTES {
            return Err(unreadable(std::io::Error::other("it is longer than 1 MiB")));
        }
        Self::parse(&std::fs::read_to_string(path).map_err(unreadable)?)
    }

    /// Reads and checks a file's text.
    ///
    /// # Errors
    /// With the key, and what it may be.
    pub fn parse(text: &str) -> Result<Self, PolicyError> {
        renamed::check(text)?;
        let file: PolicyFile = toml::from_str(text).map_err(|error| malformed(text, &error))?;
        file.check()?;
        Ok(file)
    }

    fn check(&self) -> Result<(), PolicyError> {
        let Restart { window, backoff_first, backoff_most, .. } = &self.restart;
        if window.0 == 0 {
            let rule = "restarts are counted within this time, so it is longer than nothing".into();
            return Err(PolicyError::Rule { key: "restart.window", rule });
        }
        if backoff_first > backoff_most {
            let rule = "not longer than restart.backoff_most".into();
            return Err(PolicyError::Rule { key: "restart.backoff_first", rule });
        }
        if !(1..=MOST_VERIFY_MIB).contains(&self.block.verify_mib) {
            return Err(PolicyError::Rule { key: "block.verify_mib", rule: format!("from 1 to {MOST_VERIFY_MIB}") });
        }
        if self.block.request.0 < LEAST_REQUEST_NS {
            return Err(PolicyError::Rule { key: "block.request", rule: "at least 100 ms".into() });
        }
        if (1..LEAST_PROBE_NS).contains(&self.block.probe.0) {
            return Err(PolicyError::Rule { key: "block.probe", rule: "0 s, or at least 10 ms".into() });
        }
        Ok(())
    }

    /// Says where crash bundles of this driver go, if any are to be written: `crashes` in the folder `state`, unless
    /// the policy names another. `registers` is the text of the driver's register map's file.
    pub fn bundles(
        &self,
        state: Option<&Path>,
        driver_file: &Path,
        driver_sha256: [u8; 32],
        registers: String,
    ) -> Option<BundleConfig> {
        let Bundles { folder, keep, every, rollbacks, memory, record: _ } = &self.bundles;
        let folder = folder.clone().or_else(|| state.map(|state| state.join("crashes")))?;
        (*keep > 0).then(|| BundleConfig {
            folder,
            keep: (*keep).into(),
            every_ns: every.0,
            rollbacks: (*rollbacks).into(),
            memory: match memory {
                Memory::Nothing => MemoryDump::Nothing,
                Memory::Private => MemoryDump::Private,
                Memory::All => MemoryDump::All,
            },
            driver_file: std::path::absolute(driver_file).unwrap_or_else(|_| driver_file.to_owned()),
            driver_sha256,
            registers,
        })
    }

    /// Returns what compiling one module may use: processor time in nanoseconds, and memory in bytes.
    pub fn compiler(&self) -> (u64, u64) {
        let Compiler { time, memory_mib } = self.compiler;
        (time.0, u64::from(memory_mib) << 20)
    }

    /// Returns in how many bytes of memory sums are kept of what is written to a disk, with which reads are compared;
    /// nothing, if they are not.
    pub fn verify_bytes(&self) -> Option<usize> {
        let Block { verify, verify_mib, .. } = self.block;
        (verify == Verify::Crc).then_some((verify_mib as usize) << 20)
    }

    /// Returns after how long without a completion a disk's block is read, to see whether one can be; nothing, if none
    /// is.
    pub fn probe_ns(&self) -> Option<u64> {
        let Time(probe_ns) = self.block.probe;
        (probe_ns > 0).then_some(probe_ns)
    }

    /// Returns whether a network device's word counts that the checksum of what it received is right.
    pub fn believes_checksums(&self) -> bool {
        self.net.checksums == Who::Device
    }

    /// Returns whether what a network device can do to what is to be sent is left to it.
    pub fn leaves_offloads(&self) -> bool {
        self.net.offloads == Who::Device
    }

    /// Returns what calls of a driver of this class may take: a disk's has as long for a request as the file says.
    pub fn budgets(&self, class: Class) -> Budgets {
        match class {
            Class::Block => Budgets { transmit_ns: self.block.request.0, ..Budgets::default() },
            _ => Budgets::default(),
        }
    }

    /// Returns how calls are rolled back.
    pub fn method(&self) -> RollbackMethod {
        match self.rollback.method {
            Method::Log => RollbackMethod::Log,
            Method::Pages => RollbackMethod::Pages,
        }
    }

    /// Returns how much of the time before a fault crash bundles hold at least, so that it can be run again, in
    /// nanoseconds; nothing, if none of it.
    pub fn recorded_ns(&self) -> Option<u64> {
        let Bundles { keep, record: Time(record_ns), .. } = self.bundles;
        Some(record_ns).filter(|&record_ns| record_ns > 0 && keep > 0)
    }

    /// Returns whether a driver for `sfi+txn` is to run at `sfi` until its first fault.
    pub fn begins_with_sfi(&self) -> bool {
        self.isolation.begin == Begin::Sfi
    }

    /// Returns what happens after a fault.
    pub fn policy(&self) -> Policy {
        Policy {
            rollback: self.rollback.enabled,
            retries: self.rollback.retries,
            restarts: self.restart.budget,
            window_ns: self.restart.window.0,
            backoff_first_ns: self.restart.backoff_first.0,
            backoff_most_ns: self.restart.backoff_most.0,
            resubmit: self.restart.resubmit == Resubmit::Again,
            snapshots: self.snapshots.keep,
            snapshot_every_ns: self.snapshots.every.0,
        }
    }
}

fn malformed(text: &str, error: &toml::de::Error) -> PolicyError {
    let start = error.span().map_or(0, |span| span.start.min(text.len()));
    let before = text.get(..start).unwrap_or_default();
    let line = before.matches('\n').count();
    PolicyError::Malformed {
        line: line + 1,
        text: text.lines().nth(line).unwrap_or_default().trim().to_owned(),
        why: error.message().lines().collect::<Vec<_>>().join(", "),
    }
}

/// A time in nanoseconds, written with its unit.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Time(u64);

impl<'de> Deserialize<'de> for Time {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Visitor;
        impl de::Visitor<'_> for Visitor {
            type Value = Time;
            fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                f.write_str("a time with its unit (us, ms, s, m or h) of at most a week, such as \"250ms\"")
            }
            fn visit_str<E: de::Error>(self, text: &str) -> Result<Time, E> {
                time(text).ok_or_else(|| E::invalid_value(de::Unexpected::Str(text), &self))
            }
        }
        deserializer.deserialize_str(Visitor)
    }
}

fn time(text: &str) -> Option<Time> {
    let (number, unit) = text.split_at(text.find(|c: char| !c.is_ascii_digit())?);
    let unit_ns = match unit {
        "us" => 1_000,
        "ms" => 1_000_000,
        "s" => 1_000_000_000,
        "m" => 60_000_000_000,
        "h" => 3_600_000_000_000,
        _ => return None,
    };
    let ns = number.parse::<u64>().ok()?.checked_mul(unit_ns)?;
    (ns <= MOST_NS).then_some(Time(ns))
}

#[cfg(test)]
mod tests;
