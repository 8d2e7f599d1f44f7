//! What the class adds to the manifest.

use crate::ClassKeys;
use crate::manifest::{Find, Manifest, ManifestError, number};

/// The keys of a network driver.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct NetKeys {
    /// `rx_buffers`: packet buffers for receiving, up to 4096. Default 512.
    pub rx_buffers: u32,
    /// `tx_buffers`: packet buffers for sending, up to 4096. Default 512.
    pub tx_buffers: u32,
    /// `buffer_bytes`: room for a frame in each. Default 2048.
    pub buffer_bytes: u32,
    /// `headroom_bytes`: room that the driver wants before each frame, up to 256. Default 0.
    pub headroom_bytes: u32,
}

impl NetKeys {
    pub(crate) const HAS_DEVICE: bool = true;
    pub(crate) const NAMES: &'static [&'static str] = &["rx_buffers", "tx_buffers", "buffer_bytes", "headroom_bytes"];

    pub(crate) fn parse<'a>(find: Find<'_, 'a>) -> Result<Self, ManifestError<'a>> {
        let count = |key, default, range, expected| number(key, find(key), Some(default), range, expected);
        Ok(NetKeys {
            rx_buffers: count("rx_buffers", 512, 1..=4096, "1 to 4096")?,
            tx_buffers: count("tx_buffers", 512, 1..=4096, "1 to 4096")?,
            buffer_bytes: count("buffer_bytes", 2048, 256..=16384, "256 to 16384")?,
            headroom_bytes: count("headroom_bytes", 0, 0..=256, "0 to 256")?,
        })
    }

    /// Returns the keys of a network driver's manifest.
    pub const fn of<S>(manifest: &Manifest<S>) -> Option<NetKeys> {
        match manifest.keys {
            ClassKeys::Net(keys) => Some(keys),
            _ => None,
        }
    }
}
