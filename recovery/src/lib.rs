//! What happens after a fault: a policy that says how often a driver may come back, and a supervisor that brings it
//! back.
//!
//! Isolation holds without this crate: the runtime ends a faulty instance by itself and knows nothing of what follows.
//! The supervisor has the two levels that need no help from the driver's memory: restart (a fresh instance on the
//! same device and window, while the interface above keeps its carrier) and quarantine (the device quiet, the
//! interface down). `nook-run` and the tests call it.
#![forbid(unsafe_code)]

mod bundle;
mod downtime;
mod policy;
mod policy_file;
mod supervisor;
mod trouble;

pub use bundle::{BUNDLE_FORMAT, BundleConfig};
pub use downtime::Downtime;
pub use policy::Policy;
pub use policy_file::{PolicyError, PolicyFile};
pub use supervisor::{Outcome, Quarantine, Recovery, Supervisor};
