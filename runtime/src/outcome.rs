//! What a nook says of itself: settings, outcomes of its turns, and why it does not go on.

use std::io;

use nook_abi::{Entry, Fault, Status};
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
    /// The driver came up without an interface.
    #[error("probe: the driver returned success and attached no interface")]
    NoInterface,
    /// No instance could be made.
    #[error("cannot start the driver: {0}")]
    Launch(String),
    /// There is no instance to be called.
    #[error("the driver was ended and not started again")]
    NotRunning,
    /// The snapshot is of another instance, or of other settings: there is no way back to it.
    #[error("the snapshot is of another instance, or of other settings")]
    OtherSnapshot,
    /// The instance cannot be brought back to a snapshot, and must not be called again.
    #[error("cannot bring the driver back to a snapshot: {0}")]
    NotBack(String),
    /// The device refused something outside of a call.
    #[error(transparent)]
    Device(#[from] DeviceError),
    /// The interface's other side failed.
    #[error("the network interface: {0}")]
    Uplink(#[source] io::Error),
}

fn names(entries: &[Entry]) -> String {
    entries.iter().map(|entry| entry.info().name).collect::<Vec<_>>().join(", ")
}

/// Why packets were not moved.
pub(crate) enum ClassError {
    /// The driver's doing.
    Fault(Fault),
    /// The other side's.
    Backend(io::Error),
}

impl From<Fault> for ClassError {
    fn from(fault: Fault) -> Self {
        ClassError::Fault(fault)
    }
}

/// The fault, and what the device said unless that begins with the same words.
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

/// What the interface was set to. It holds across restarts.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Settings {
    /// Another address than the device's own.
    pub mac: Option<[u8; 6]>,
    /// The largest payload in bytes, without the Ethernet header.
    pub mtu_bytes: Option<u32>,
    /// Receives everything on the wire.
    pub promiscuous: bool,
    /// Receives all multicast frames.
    pub all_multicast: bool,
    /// Multicast addresses to receive, at most 256.
    pub multicast: Vec<[u8; 6]>,
    /// Frames turn round inside of the device instead of passing the cable.
    pub loopback: bool,
}

impl Default for Settings {
    /// All multicast frames are received: the interface's other side does not tell which groups it joined.
    fn default() -> Self {
        Settings {
            mac: None,
            mtu_bytes: None,
            promiscuous: false,
            all_multicast: true,
            multicast: Vec::new(),
            loopback: false,
        }
    }
}
