//! [`NetDriver`]: what a network driver is.

use nook_abi::net::{NetStats, rx_mode};
use nook_abi::{ProbeReason, Status};

use crate::{Irq, Kernel, Nook, Poll};

/// An Ethernet address, first byte on the wire first.
pub type MacAddress = [u8; 6];

/// What the host wants to receive.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RxMode<'a> {
    /// Everything on the wire.
    pub promiscuous: bool,
    /// All multicast frames, whatever the list says.
    pub all_multicast: bool,
    /// Multicast addresses to receive, at most 256.
    pub multicast: &'a [MacAddress],
}

impl<'a> RxMode<'a> {
    /// Decodes `rx_mode` bits; `Invalid` if one is unknown.
    pub(crate) fn from_bits(bits: u32, multicast: &'a [MacAddress]) -> Result<Self, Status> {
        if bits & !rx_mode::ALL != 0 {
            return Err(Status::Invalid);
        }
        let (promiscuous, all_multicast) = (bits & rx_mode::PROMISCUOUS != 0, bits & rx_mode::ALL_MULTICAST != 0);
        Ok(RxMode { promiscuous, all_multicast, multicast })
    }
}

/// A driver of a network interface, generic over what answers its hostcalls. The methods are the entries of the
/// contract's table; the table says in which context each runs. They never overlap.
///
/// A driver of one whose frames all come back as not sent. The guide, docs/writing-a-driver.md, has a whole one with
/// rings; [`Fill::fill_from`](crate::Fill::fill_from) and [`Reap::return_to`](crate::Reap::return_to) are its loops.
///
/// ```
/// use nook_sdk::{
///     Irq, Kernel, LinkState, NetDriver, NetQueues, Nook, Packet, PacketStatus, Poll, ProbeReason, Status,
/// };
///
/// struct Nowhere<K: Kernel> {
///     nook: Nook<K>,
///     queues: NetQueues,
/// }
///
/// impl<K: Kernel> NetDriver<K> for Nowhere<K> {
///     fn probe(nook: Nook<K>, _: ProbeReason) -> Result<Self, Status> {
///         nook.net_attach([0x02, 0, 0, 0, 0, 1], 1500)?;
///         Ok(Nowhere { nook, queues: nook.queues() })
///     }
///
///     fn open(&mut self) -> Result<(), Status> {
///         self.nook.net_link(LinkState { up: true, speed_mbps: 10, full_duplex: true });
///         Ok(())
///     }
///
///     fn poll(&mut self, _queue: u32, budget: u32) -> Poll {
///         let (mut given, mut back) = (self.queues.tx_provide.begin(), self.queues.tx_return.begin());
///         for _ in 0..budget {
///             // A place first: what is taken out of one queue has to go into the other.
///             let Some(place) = back.vacant() else { return Poll::Again };
///             let Some(entry) = given.next() else { return Poll::Idle };
///             place.put(Packet::from(&entry).returned(0, PacketStatus::Failed));
///         }
///         Poll::Again
///     }
///
///     fn stop(&mut self) -> Result<(), Status> {
///         self.nook.net_link(LinkState::default());
///         Ok(())
///     }
///
///     fn discard_rx(&mut self, _queue: u32) {
///         // Nothing is received.
///     }
///
///     fn irq(&mut self, _vector: u32) -> Irq {
///         Irq::NotMine
///     }
///
///     fn remove(self) {}
/// }
/// ```
pub trait NetDriver<K: Kernel>: Sized {
    /// The names of what the driver counts besides [`NetStats`]: its device's own statistics, and what else somebody
    /// may ask for who looks for a mistake. Lower-case letters, digits and `_`, at most 31; at most 128 names, all
    /// different. A list that breaks a rule does not compile.
    const COUNTERS: &'static [&'static str] = &[];

    /// Finds out what the device is, brings it to a known state and attaches the interface. After
    /// [`ProbeReason::Restart`] the device may be in any state, and DMA is off.
    fn probe(nook: Nook<K>, reason: ProbeReason) -> Result<Self, Status>;

    /// Removes the driver. The device must be quiet when this returns; DMA memory that the driver holds is
    /// freed as it is dropped.
    fn remove(self);

    /// Takes the interface up: rings, receiver, transmitter, interrupts.
    fn open(&mut self) -> Result<(), Status>;

    /// Takes the interface down: DMA and interrupts stop, and every packet is returned.
    fn stop(&mut self) -> Result<(), Status>;

    /// Moves at most `budget` packets each way between the host's queues and the device.
    fn poll(&mut self, queue: u32, budget: u32) -> Poll;

    /// Completes the next received frame, if one is there, as failed and without looking at what is in it, and does
    /// nothing else: the driver faulted at it before, and that call was rolled back.
    fn discard_rx(&mut self, queue: u32);

    /// Handles an interrupt on `vector`, perhaps another device's.
    fn irq(&mut self, vector: u32) -> Irq;

    /// Runs when the time asked for by [`Nook::timer_set`] has come. Must not sleep.
    fn timer(&mut self) {}

    /// Does what [`Nook::work_schedule`] asked for. May sleep.
    fn work(&mut self) {}

    /// Changes the interface's address.
    fn set_mac(&mut self, _mac: MacAddress) -> Result<(), Status> {
        Err(Status::Unsupported)
    }

    /// Changes the largest payload, in bytes, without the Ethernet header.
    fn set_mtu(&mut self, _mtu_bytes: u32) -> Result<(), Status> {
        Err(Status::Unsupported)
    }

    /// Changes what is received.
    fn set_rx_mode(&mut self, _mode: RxMode<'_>) -> Result<(), Status> {
        Err(Status::Unsupported)
    }

    /// Turns loopback inside the device on or off. While it is on, what is sent is received and nothing passes the
    /// cable; the driver reports a link, because frames can pass.
    fn set_loopback(&mut self, _on: bool) -> Result<(), Status> {
        Err(Status::Unsupported)
    }

    /// Returns fresh counters, since the driver's start; nothing if it counts nothing. They are compared with the
    /// frames that the driver returns, so that a device that sends nothing, or has frames that never come, is noticed.
    fn stats(&mut self) -> Option<NetStats> {
        None
    }

    /// Returns what each of [`COUNTERS`](Self::COUNTERS) has counted since the driver's start, in their order, when
    /// [`stats`](Self::stats) was last called. None of them ever goes down; the host sums them up over restarts.
    fn counts(&self) -> &[u64] {
        &[]
    }
}
