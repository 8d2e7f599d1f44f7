//! What happens after a fault: a policy that says how often a driver may come back, and a supervisor that carries it
//! out.
//!
//! Isolation holds without this crate: the runtime ends a faulty instance by itself and knows nothing of what follows.
//! The supervisor tries, in this order: rollback of the call, and another try; finding the one thing that ends the
//! driver and giving it up; snapshot restore, for faults that are older than the call; restart (a fresh instance on the
//! same device and window, while what is above keeps its place); and quarantine (the device quiet, what is above told
//! so). The first three need a driver whose calls can be rolled back, which the runtime sees to
//! ([`nook_runtime::RollbackMethod`]). `nook-run` and the tests call it.
#![forbid(unsafe_code)]

mod bundle;
mod downtime;
mod escalation;
mod log_limit;
mod no_rollback;
mod policy;
mod policy_file;
mod repeats;
mod search;
mod snapshots;
mod supervisor;

pub use bundle::{BUNDLE_FORMAT, BundleConfig, LAST_VALUES, RECORDING};
pub use downtime::Downtime;
pub use no_rollback::NoRollbackReport;
pub use policy::Policy;
pub use policy_file::{PolicyError, PolicyFile};
pub use supervisor::{Quarantine, Recovery, RecoveryOutcome, Supervisor};
