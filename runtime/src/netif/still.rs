//! The network class at a moment at which nothing moves, and back to it.

use super::{Interface, NetClass};

/// Who had what at such a moment. The driver had no frame to send.
#[derive(Clone, Debug)]
pub(crate) struct NetImage {
    /// Of `rx_provide` and `tx_provide`.
    provided: [(u32, u32); 2],
    /// Of `rx_return` and `tx_return`.
    returned: [u32; 2],
    /// Receive buffers that the driver had, with their generations.
    receiving: Vec<(u32, u16)>,
    interface: Option<Interface>,
}

impl NetClass {
    /// A number that changes whenever packets change hands; `None` while the driver has frames to send, or returned
    /// something that was not accepted yet.
    pub(crate) fn stillness(&self) -> Option<u64> {
        (self.returned.is_empty() && self.packets.overdue_tx(u64::MAX) == 0).then_some(self.moves)
    }

    /// Who has what. Not before [`stillness`](Self::stillness) said that nobody moves.
    pub(crate) fn keep(&self) -> Option<NetImage> {
        let rings = self.rings.as_ref()?;
        Some(NetImage {
            provided: [rings.rx_provide.counts(), rings.tx_provide.counts()],
            returned: [rings.rx_return.count(), rings.tx_return.count()],
            receiving: self.packets.receiving(),
            interface: self.interface,
        })
    }

    /// As it was, but for frames to be sent: those that the driver was given since are given to it again, or given up.
    /// Says how many were given up.
    pub(crate) fn bring_back(&mut self, image: &NetImage) -> u64 {
        let given_up = self.reclaim(false);
        self.packets.bring_back(&image.receiving);
        self.interface = image.interface;
        let Some(rings) = &mut self.rings else { return given_up };
        rings.rx_provide.bring_back(image.provided[0]);
        rings.tx_provide.bring_back(image.provided[1]);
        rings.rx_return.bring_back(image.returned[0]);
        rings.tx_return.bring_back(image.returned[1]);
        given_up
    }
}
