//! The network class, host's side: the interface that a driver attached, its four queues, the packets in them, and
//! what the interface is plugged into.
//!
//! It is not what an interface is plugged into (that is `classes/net`, through [`NetBackend`]) and knows no card and no
//! descriptor. The loop calls it as a [`Class`].

mod beside;
mod bisect;
mod chain;
mod counters;
pub(crate) mod filter;
mod image;
mod layout;
mod named;
#[cfg(test)]
mod numbers;
mod packets;
mod port;
mod returned;
mod serve;
mod settings;
mod stall;
mod stats;
mod switches;
mod traffic;
mod traffic_monitor;

use std::os::fd::RawFd;

use nook_abi::net::{EntryWords, LinkState, NetFault, NetKeys, NetStats, offload, poll_flags};
use nook_abi::{ClassFault, Fault, QUEUE_CAPACITY, poll_result};
use nook_bus::PciDevice;
use nook_net_api::NetBackend;

use bisect::PollRestrictions;
pub use counters::NetCounters;
pub use filter::FilterModule;
pub use image::NetImage;
use image::Restored;
pub use layout::pool_of;
pub(crate) use layout::{page, ring_bytes, window_bytes};
pub use port::Interface;
pub(crate) use port::Port;
pub(crate) use serve::Hostcalls;
pub use settings::Settings;
use settings::{Followed, USUAL_MTU_BYTES};
use stall::StallMonitor;
use switches::SwitchMonitor;
use traffic::{Frames, Traffic};
use traffic_monitor::TrafficMonitor;

use crate::{CallOutcome, Class, Driver, Host, Launcher, Named, Nook, NookError, class, ring};

/// How long a restarted driver may take to find the link before the interface's other side sees it go down.
/// Copper gigabit negotiation takes up to about 3 s.
const KEEP_CARRIER_NS: u64 = 6_000_000_000;

/// Minimum time between two link reports to the interface's other side: a driver that reports it up and down all the
/// time fills no log, and gives the system no work without end.
const LINK_REST_NS: u64 = 10_000_000;

/// An Ethernet header.
const ETHERNET_BYTES: usize = 14;
/// A VLAN tag in it, which does not count for the MTU (IEEE 802.3, 3.2.7).
const TAG_BYTES: usize = 4;

type HostProducer = ring::HostProducer<{ size_of::<EntryWords>() / size_of::<u64>() }>;
type HostConsumer = ring::HostConsumer<{ size_of::<EntryWords>() / size_of::<u64>() }>;

/// Packets that one `poll` may move each way.
const BUDGET: u32 = QUEUE_CAPACITY;

/// One interface: what is in its driver's queues, and what it is plugged into.
pub struct Net<U> {
    backend: U,
    traffic: Traffic,
    counters: NetCounters,
    monitor: TrafficMonitor,
    stalls: StallMonitor,
    /// What the device had counted when a snapshot was taken last.
    at_snapshot: Option<NetStats>,
    /// What had moved when the instance that runs was restored last.
    restored: Option<Restored>,
    switches: SwitchMonitor,
    settings: Settings,
    followed: Followed,
    /// `set_mac` was called, on this or an earlier instance: a restart must repeat it.
    mac_was_set: bool,
    /// The same of `set_mtu`.
    mtu_was_set: bool,
    /// What the interface's other side believes of the link.
    reported_up: bool,
    /// When the link was reported last.
    reported_at_ns: u64,
    keep_carrier_until_ns: u64,
    restrictions: PollRestrictions,
    last: LastPoll,
    /// What the device can do to frames to be sent is left to it.
    leaves_offloads: bool,
}

/// The `poll` that ran last.
#[derive(Clone, Copy, Debug, Default)]
struct LastPoll {
    budget: u32,
    flags: u32,
    answer: u32,
    /// Received frames until then, and those that the driver had given back as failed.
    received: u64,
    failed: u64,
}

impl<U: NetBackend> Net<U> {
    /// Creates it for the driver that this host serves.
    pub fn new(host: &Host, backend: U) -> Self {
        Net {
            backend,
            traffic: Traffic::new(
                host.window().clone(),
                pool_of(host.manifest()),
                NetKeys::of(host.manifest()).unwrap_or_default().rx_buffers,
            ),
            counters: NetCounters::default(),
            monitor: TrafficMonitor::default(),
            stalls: StallMonitor::default(),
            at_snapshot: None,
            restored: None,
            switches: SwitchMonitor::default(),
            settings: Settings::default(),
            followed: Followed::default(),
            mac_was_set: false,
            mtu_was_set: false,
            reported_up: false,
            reported_at_ns: 0,
            keep_carrier_until_ns: 0,
            restrictions: PollRestrictions::default(),
            last: LastPoll::default(),
            leaves_offloads: true,
        }
    }

    fn link(host: &Host) -> LinkState {
        host.port.net().and_then(|port| port.interface).map(|interface| interface.link).unwrap_or_default()
    }

    /// Returns what the driver said of its frames, with these settings in effect. The longest has a VLAN tag.
    fn frames(&self, interface: &Interface, settings: &Settings) -> Frames {
        let frame = |mtu_bytes: u32| mtu_bytes as usize + ETHERNET_BYTES + TAG_BYTES;
        let most = interface.max_mtu_bytes;
        let mut offloads = interface.offloads;
        if !self.leaves_offloads {
            offloads &= offload::SEVERAL_BUFFERS | offload::RX_CHECKSUM | offload::RX_SEVERAL_BUFFERS;
        }
        let mtu_bytes = settings.mtu_bytes.unwrap_or(USUAL_MTU_BYTES).min(most);
        Frames { longest_bytes: frame(most), sent_bytes: frame(mtu_bytes), offloads }
    }

    fn link_is_up(host: &Host) -> bool {
        Self::link(host).up
    }

    /// Tells the interface's other side about the link, if it changed and is due. Returns when it is due otherwise. A
    /// driver that was restarted gets a while to find the link again, so that a connection does not notice.
    fn report_link(&mut self, host: &Host, now_ns: u64, rest_ns: u64) -> Result<Option<u64>, NookError> {
        let link = Self::link(host);
        if link.up == self.reported_up {
            return Ok(None);
        }
        let rested_ns = self.reported_at_ns + rest_ns;
        let due_ns = if link.up { rested_ns } else { rested_ns.max(self.keep_carrier_until_ns) };
        if now_ns < due_ns {
            return Ok(Some(due_ns));
        }
        self.reported_at_ns = now_ns;
        self.report(link).map(|()| None)
    }

    fn report(&mut self, link: LinkState) -> Result<(), NookError> {
        if link.up {
            let duplex = if link.full_duplex { "full" } else { "half" };
            match link.speed_mbps {
                0 => tracing::info!("link up, {duplex} duplex; the device does not know its speed"),
                mbps => tracing::info!("link up, {mbps} Mbit/s, {duplex} duplex"),
            }
        } else {
            tracing::info!("link down");
        }
        self.reported_up = link.up;
        self.backend.link(link.up).map_err(above)
    }
}

/// Wraps an error of the interface's other side.
#[cold]
fn above(error: std::io::Error) -> NookError {
    NookError::Above { what: "the network interface", error }
}

impl<U: NetBackend> Class for Net<U> {
    const CLASS: nook_abi::Class = nook_abi::Class::Net;
    type Image = NetImage;

    fn begin(&mut self, host: &Host) {
        self.traffic.begin(host.space.as_ref());
        self.monitor = TrafficMonitor::new(&self.counters);
        self.stalls = StallMonitor::default();
        self.restored = None;
        self.switches = SwitchMonitor::default();
        // It was taken with the instance that went.
        self.restrictions = PollRestrictions::default();
    }

    fn set_up(&mut self, driver: &mut dyn Driver) -> Result<(), NookError> {
        // Before `open`, so that a device whose receiver is slow to change is set up once.
        if let Some(wanted) = self.backend.wanted() {
            self.take_wanted(driver.host(), wanted);
        }
        let settings = self.in_effect();
        if let Some(interface) = driver.host().port.net().and_then(|port| port.interface) {
            self.counters.tx_given_up += self.traffic.set_frames(self.frames(&interface, &settings));
        }
        let lacking = self.apply(driver, &settings, None)?;
        if !lacking.is_empty() {
            tracing::warn!("{}; the other settings are in effect", NookError::Lacks { entries: lacking });
        }
        // The receiver finds buffers as soon as it is on.
        self.traffic.provide_rx().map_err(|fault| driver.host().error(fault))
    }

    fn end(&mut self, _: &Host) {
        self.counters.tx_given_up += self.traffic.end();
        self.restrictions = PollRestrictions::default();
    }

    fn expect_recovery(&mut self, now_ns: u64) {
        self.keep_carrier_until_ns = now_ns + KEEP_CARRIER_NS;
    }

    fn stopped(&mut self) {
        if let Ok(kept @ 1..) = self.traffic.packets_with_driver() {
            tracing::warn!("stop: the driver kept {kept} packet buffers");
        }
    }

    fn shut(&mut self, host: &mut Host) -> Result<(), NookError> {
        // No later instance could send what was kept.
        while self.traffic.drop_withheld_tx() {
            self.counters.tx_given_up += 1;
        }
        self.keep_carrier_until_ns = 0;
        let link = Self::link(host);
        if link.up == self.reported_up { Ok(()) } else { self.report(link) }
    }

    #[inline]
    fn service(&mut self, host: &Host, now_ns: u64) -> Result<Option<u64>, NookError> {
        let link_due = self.report_link(host, now_ns, LINK_REST_NS)?;
        let due = self.backend.service(now_ns).map_err(above)?;
        Ok([due, link_due].into_iter().flatten().min())
    }

    fn check_health(&mut self, driver: &mut dyn Driver, now_ns: u64) -> Result<Option<u64>, NookError> {
        self.follow(driver)?;
        let host = driver.host_mut();
        let link_is_up = Self::link_is_up(host);
        let limits = *host.call.budget.limits();
        if let Some(given_before_ns) = self.monitor.transmit_due(now_ns, link_is_up, limits.transmit_ns) {
            let mut overdue = self.traffic.overdue_tx(given_before_ns);
            if overdue > 0 && Self::held_up(host)? == Some(true) {
                // It may last as long as it likes; `stall.rs` says so.
                overdue = 0;
            }
            if self.monitor.overdue(overdue, limits.transmit_ns).map_err(|fault| host.error(fault))? {
                host.call.due.poll();
            }
        }
        let switches_due = self.look_for_switches(driver, link_is_up, now_ns)?;
        if !link_is_up {
            self.stalls = StallMonitor::default();
            return Ok(switches_due);
        }
        if self.monitor.counters_due(now_ns, &self.counters, limits.counters_ns) {
            self.fresh_stats(driver)?;
        }
        self.look_for_stalls(driver, now_ns)?;
        Ok([switches_due, Some(self.stalls.due_ns())].into_iter().flatten().min())
    }

    #[inline]
    fn is_ready(&self, host: &Host) -> bool {
        Self::link_is_up(host)
    }

    fn event_fds(&self, host: &Host, fds: &mut Vec<RawFd>) {
        // A readable interface whose frames cannot be taken now would end the wait at once, again and again.
        if Self::link_is_up(host) && self.traffic.has_tx_room() {
            self.backend.event_fds(fds);
        }
    }

    /// Gives the driver frames to send.
    #[inline]
    fn provide(&mut self, host: &mut Host, now_ns: u64) -> Result<u32, NookError> {
        if self.restrictions.withhold_tx || !Self::link_is_up(host) {
            return Ok(0);
        }
        match self.traffic.provide_tx(&mut self.backend, &mut self.counters, now_ns) {
            Ok(outcome) => outcome.map_err(above),
            Err(fault) => Err(host.error(fault)),
        }
    }

    #[inline]
    fn call(&mut self, driver: &mut dyn Driver) -> Result<(), NookError> {
        // Whatever becomes of this call, the next one is an ordinary one unless somebody says otherwise again.
        let (budget, flags) = match self.restrictions.take() {
            PollRestrictions { discard_rx: true, .. } => (1, poll_flags::DISCARD_NEXT_RX),
            PollRestrictions { single: 1.., .. } => (1, 0),
            PollRestrictions { .. } => (BUDGET, 0),
        };
        let NetCounters { rx_packets: received, rx_failed: failed, .. } = self.counters;
        self.last = LastPoll { budget, flags, answer: 0, received, failed };
        self.traffic.provide_rx().map_err(|fault| driver.host().error(fault))?;
        self.last.answer = class::poll(driver, budget, flags)?;
        Ok(())
    }

    #[inline]
    fn check(&mut self) -> Result<(), Fault> {
        self.traffic.check()
    }

    #[inline]
    fn accept(&mut self, _: &mut Host) -> Result<(), NookError> {
        self.traffic.accept(&mut self.backend, &mut self.counters).map_err(above)
    }

    #[inline]
    fn finish_call(&mut self, host: &mut Host) -> Result<CallOutcome, NookError> {
        let LastPoll { budget, flags, answer, received, failed } = self.last;
        if flags & poll_flags::DISCARD_NEXT_RX != 0 {
            self.counters.rx_poison += self.counters.rx_failed - failed;
        }
        let dry = self.traffic.rx_runs_dry().map_err(|fault| host.error(fault))?;
        Ok(CallOutcome {
            arrived: self.counters.rx_packets - received,
            again: dry || answer == poll_result::AGAIN,
            more: budget < BUDGET,
        })
    }

    fn abort(&mut self) {
        self.traffic.disregard();
    }

    #[inline]
    fn returned(&self) -> u64 {
        self.counters.returned()
    }

    fn idle_stamp(&self) -> Option<u64> {
        self.traffic.idle_stamp().filter(|_| self.restrictions.is_none())
    }

    /// Has the driver read the device's counters, so that none of them is missing after a restore.
    fn before_snapshot(&mut self, driver: &mut dyn Driver, now_ns: u64) -> Result<(), NookError> {
        // A frame that comes now finds an interface whose other side knows that the link is up. That it is down may
        // wait until the carrier was kept for long enough.
        let _due = self.report_link(driver.host(), now_ns, 0)?;
        self.at_snapshot = self.fresh_stats(driver)?;
        Ok(())
    }

    fn capture(&self, host: &Host) -> Option<NetImage> {
        let port = host.port.net()?;
        Some(NetImage {
            traffic: self.traffic.capture()?,
            interface: port.interface,
            settings: self.in_effect(),
            moved: self.monitor.moved(&self.counters),
            resets: self.monitor.resets(),
            reported: port.counters.reported().to_vec(),
            device: self.at_snapshot,
        })
    }

    fn snapshot_helps(&self, fault: &Fault) -> bool {
        let Fault::Class(ClassFault::Net(fault)) = fault else { return true };
        // What a snapshot did not mend, another one does not, nor the same one again.
        let (received, sent) = match self.restored {
            None => self.monitor.moved(&self.counters),
            Some(Restored { counters, .. }) => {
                (self.counters.good() - counters.good(), self.counters.tx_done - counters.tx_done)
            }
        };
        match *fault {
            NetFault::ReceiveStuck { .. } | NetFault::BuffersNotTaken { .. } => received > 0,
            NetFault::TransmitStuck { .. } | NetFault::TransmitFails { .. } => sent > 0,
            // If the one is off, the other may have worked.
            NetFault::SwitchedOff { .. } | NetFault::LinkDisagrees { .. } => received > 0 && sent > 0,
            NetFault::CountersDisagree { counter: "tx_packets", device, .. } => {
                device > self.restored.map_or(0, |restored| restored.sent)
            }
            _ => true,
        }
    }

    fn fits(&self, image: &NetImage) -> bool {
        self.in_effect() == image.settings
    }

    fn restore(&mut self, host: &mut Host, image: &NetImage) {
        self.restrictions = PollRestrictions::default();
        self.counters.tx_given_up += self.traffic.restore(&image.traffic);
        self.monitor = TrafficMonitor::moved_before(image.moved, image.resets, &self.counters);
        let mut device = image.device;
        if host.device.device.identity().keeps_misses() {
            device.iter_mut().for_each(|device| device.rx_missed = 0);
        }
        self.stalls =
            device.map_or_else(StallMonitor::default, |device| StallMonitor::restored(&device, &self.counters));
        self.restored =
            Some(Restored { counters: self.counters, sent: image.device.map_or(0, |device| device.tx_packets) });
        self.switches = SwitchMonitor::default();
        if let class::Port::Net(port) = &mut host.port {
            port.interface = image.interface;
            port.counters.restore(&image.reported);
        }
    }

    fn resubmit(&mut self, resubmits: bool) {
        self.traffic.resubmits = resubmits;
    }

    fn counts(&self) -> Vec<(&'static str, u64)> {
        self.counters.named()
    }
}

impl Host {
    /// Says how many queues the driver is to use, at most: before an instance is launched. One is what it uses at
    /// first, and more than its manifest names are never used.
    pub fn choose_queues(&mut self, queues: u32) {
        self.device.queues = queues.clamp(1, self.manifest.queues.into());
        if let class::Port::Net(port) = &mut self.port {
            port.queues = self.device.queues;
        }
    }
}

impl<U: NetBackend> Nook<Net<U>> {
    /// Creates a nook for a network driver: its interface is plugged into `backend`. Nothing runs yet.
    pub fn net(host: Host, launcher: Box<dyn Launcher>, backend: U) -> Self {
        let class = Net::new(&host, backend);
        Nook::new(host, launcher, class)
    }

    /// Returns the network interface, once the driver has attached it.
    pub fn interface(&self) -> Option<&Interface> {
        self.host().port.net()?.interface.as_ref()
    }

    /// Returns what the interface is plugged into.
    pub fn backend(&self) -> &U {
        &self.class().backend
    }

    /// Mutable access to it.
    pub fn backend_mut(&mut self) -> &mut U {
        &mut self.class_mut().backend
    }

    /// Sets whether a device's word counts that the checksum of a received frame is right. It does at first; if not,
    /// the frame is handed up as if nobody had looked.
    pub fn believe_checksums(&mut self, believes: bool) {
        self.class_mut().traffic.believes = believes;
    }

    /// Sets whether what the device can do to frames to be sent is left to it, from the next start on. It is at first.
    pub fn leave_offloads(&mut self, leaves: bool) {
        self.class_mut().leaves_offloads = leaves;
    }

    /// Returns what is counted about the interface.
    pub fn net_counters(&self) -> &NetCounters {
        &self.class().counters
    }

    /// Returns how many packet buffers the driver has; what still waits in a queue to it does not count.
    ///
    /// # Errors
    /// If a queue's counter makes no sense.
    pub fn packets_with_driver(&mut self) -> Result<usize, Fault> {
        self.class_mut().traffic.packets_with_driver()
    }
}
