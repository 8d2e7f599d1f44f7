//! Outcomes of a nook's turns, and its errors.

use std::io;

use nook_abi::{Class, Entry, Fault, Status};
use nook_bus::DeviceError;

/// Why a nook does not go on. After any of these but [`Refused`](NookError::Refused) of a setting and
/// [`Lacks`](NookError::Lacks), the driver instance is not called again: [`Nook::restart`](crate::Nook::restart) makes
/// another, [`Nook::shut`](crate::Nook::shut) ends it.
#[derive(Debug, thiserror::Error)]
pub enum NookError {
    /// The driver broke a rule, trapped, used up its time, or its device became unusable.
    #[error("{}", fault_text(*fault, detail.as_deref()))]
    Fault {
        /// What it was.
        fault: Fault,
        /// What the device said, where it is about the device; or which module it was, if the nook has two.
        detail: Option<String>,
    },
    /// The driver said no.
    #[error("{entry}: the driver says: {status}")]
    Refused {
        /// To which entry.
        entry: Entry,
        /// Why.
        status: Status,
    },
    /// The driver does not have some of the settings. The others are as wanted.
    #[error("the driver does not have {}", names(entries))]
    Lacks {
        /// The entries that it does not have.
        entries: Vec<Entry>,
    },
    /// The driver came up and serves nothing.
    #[error("probe: the driver returned success and attached nothing")]
    AttachedNothing,
    /// The driver is of another class than what it is to serve.
    #[error("the driver is of class {driver}; one of class {wanted} is required")]
    OtherClass {
        /// The driver's.
        driver: Class,
        /// The one that is wanted.
        wanted: Class,
    },
    /// No instance could be made.
    #[error("cannot start the driver: {0}")]
    Launch(String),
    /// There is no instance to be called.
    #[error("the driver was ended and not started again")]
    NotRunning,
    /// The snapshot is of another instance, or of other settings: there is no way back to it.
    #[error("the snapshot is of another instance, or of other settings")]
    OtherSnapshot,
    /// The instance cannot be restored from a snapshot, and must not be called again.
    #[error("cannot restore the driver from a snapshot: {0}")]
    NotRestored(String),
    /// The device refused something outside a call.
    #[error(transparent)]
    Device(#[from] DeviceError),
    /// What the driver serves is plugged into something that failed, or a wait for it did.
    #[error("{what}: {error}")]
    Above {
        /// What it is.
        what: &'static str,
        /// How it failed.
        #[source]
        error: io::Error,
    },
}

fn names(entries: &[Entry]) -> String {
    entries.iter().map(|entry| entry.info().name).collect::<Vec<_>>().join(", ")
}

/// Returns the fault, and what the device said unless that begins with the same words.
fn fault_text(fault: Fault, detail: Option<&str>) -> String {
    let fault = fault.to_string();
    match detail {
        Some(detail) if detail.starts_with(&fault) => detail.to_owned(),
        Some(detail) => format!("{fault} ({detail})"),
        None => fault,
    }
}

/// What a [`turn`](crate::Nook::turn) did.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Turn {
    /// Something: there may be more.
    Worked,
    /// Nothing was to be done, and it waited.
    Waited,
}
