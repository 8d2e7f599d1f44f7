//! The network class at a moment at which nothing moves, and back to it.

use nook_abi::net::NetStats;

use super::traffic::Traffic;
use super::{Interface, NetCounters, Settings};

/// An interface at such a moment. The driver had no frame to send.
#[derive(Clone, Debug)]
pub struct NetImage {
    pub(super) traffic: TrafficImage,
    pub(super) interface: Option<Interface>,
    /// What the interface was set to.
    pub(super) settings: Settings,
    /// Frames that the instance had moved, received and sent.
    pub(super) moved: (u64, u64),
    /// How often the host had had it change what its device must be reset for.
    pub(super) resets: u64,
    /// What the instance had reported of its named counters.
    pub(super) reported: Vec<u64>,
    /// What the device had counted, if the driver says.
    pub(super) device: Option<NetStats>,
}

/// What had moved when an instance was restored.
#[derive(Clone, Copy, Debug)]
pub(super) struct Restored {
    /// What had come out of its driver until then.
    pub(super) counters: NetCounters,
    /// Frames that the device had sent when the snapshot was taken.
    pub(super) sent: u64,
}

/// Who had what.
#[derive(Clone, Debug)]
pub(crate) struct TrafficImage {
    /// Of `rx_provide` and `tx_provide`.
    provided: [(u32, u32); 2],
    /// Of `rx_return` and `tx_return`.
    returned: [u32; 2],
    /// Receive buffers that the driver had, with their generations.
    receiving: Vec<(u32, u16)>,
}

impl Traffic {
    /// Returns a number that changes whenever packets change hands; `None` while the driver has frames to send, or
    /// returned something that was not accepted yet.
    pub(crate) fn idle_stamp(&self) -> Option<u64> {
        (self.received.is_empty() && self.sent.is_empty() && !self.packets.is_sending()).then_some(self.moves)
    }

    /// Captures who has what. Not before [`idle_stamp`](Self::idle_stamp) said that nothing moves.
    pub(crate) fn capture(&self) -> Option<TrafficImage> {
        let rings = self.rings.as_ref()?;
        Some(TrafficImage {
            provided: [rings.rx_provide.counts(), rings.tx_provide.counts()],
            returned: [rings.rx_return.count(), rings.tx_return.count()],
            receiving: self.packets.receiving(),
        })
    }

    /// Restores it, but for frames to be sent: those that the driver was given since are given to it again, or given
    /// up. Says how many were given up.
    pub(crate) fn restore(&mut self, image: &TrafficImage) -> u64 {
        let given_up = self.reclaim(false);
        self.packets.restore(&image.receiving);
        let Some(rings) = &mut self.rings else { return given_up };
        rings.rx_provide.restore(image.provided[0]);
        rings.tx_provide.restore(image.provided[1]);
        rings.rx_return.restore(image.returned[0]);
        rings.tx_return.restore(image.returned[1]);
        given_up
    }
}
