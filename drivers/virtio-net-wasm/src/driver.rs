//! [`VirtioNet`]: the driver of one card.

use nook_sdk::{
    DmaBytes, DmaRegion, Irq, Kernel, LinkState, MacAddress, NetDriver, NetQueues, NetStats, Nook, PacketStatus, Poll,
    ProbeReason, RxMode, Status, error, info,
};
use nook_virtio::{Device, DeviceType};
use virtio_regs::net::{self, command, feature, queue};

use crate::control::{COMMAND_BYTES, Control, Filter};
use crate::frames::{FRAMES, HEADER_ROOM_BYTES, LONGEST_BYTES, Way, Ways};

/// The driver's own memory: a header for each frame that is received, one for all that are sent, and a command.
const SENT_HEADER_AT: u32 = FRAMES as u32 * HEADER_ROOM_BYTES;
const COMMAND_AT: u32 = SENT_HEADER_AT + HEADER_ROOM_BYTES;
const OWN_BYTES: u32 = COMMAND_AT + COMMAND_BYTES;

/// The smallest and the largest payload of a frame: what IPv4 works with (RFC 791), and what fits into one buffer.
const MIN_MTU_BYTES: u32 = 68;
const MAX_MTU_BYTES: u32 = 1500;

/// The fastest that SPEED says; more is not known (5.1.4).
const MOST_MBPS: u32 = i32::MAX as u32;

/// Not MTU: who agrees on it has buffers for frames of that length (5.1.4.2).
const WANTED: u64 = feature::MAC
    | feature::STATUS
    | feature::CTRL_VQ
    | feature::CTRL_RX
    | feature::CTRL_MAC_ADDR
    | feature::SPEED_DUPLEX;

/// The driver of one card.
pub struct VirtioNet<K: Kernel> {
    nook: Nook<K>,
    device: Device<K>,
    queues: NetQueues,
    own: DmaRegion<K>,
    /// There while the card is on.
    ways: Option<Ways>,
    /// There while the card is on and takes commands.
    control: Option<Control>,
    /// What was agreed on.
    features: u64,
    /// Another address than the card's own.
    mac: Option<MacAddress>,
    filter: Filter,
    /// As it was last reported.
    link: LinkState,
    stats: NetStats,
}

impl<K: Kernel> NetDriver<K> for VirtioNet<K> {
    fn probe(nook: Nook<K>, _reason: ProbeReason) -> Result<Self, Status> {
        let queues = nook.queues();
        if queues.pool.room_bytes() < LONGEST_BYTES {
            error!(nook, "packet buffers have {} bytes, and frames up to {LONGEST_BYTES}", queues.pool.room_bytes());
            return Err(Status::Invalid);
        }
        let mut device = Device::new(nook, DeviceType::Network)?;
        let own = nook.dma_alloc(OWN_BYTES, 4096)?;
        let features = negotiate(&mut device)?;
        let (regs, has) = (device.regs(), |feature| features & feature != 0);
        if !has(feature::MAC) {
            error!(nook, "the card has no address");
            return Err(Status::Unsupported);
        }
        let mac: MacAddress = core::array::from_fn(|at| regs.read(net::MAC.get(at as u32)));
        device.reset()?;
        nook.net_attach(mac, MAX_MTU_BYTES)?;
        let [a, b, c, d, e, f] = mac;
        info!(nook, "virtio network card at {a:02x}:{b:02x}:{c:02x}:{d:02x}:{e:02x}:{f:02x}");
        Ok(VirtioNet {
            nook,
            device,
            queues,
            own,
            ways: None,
            control: None,
            features,
            mac: None,
            filter: Filter::NONE,
            link: LinkState::default(),
            stats: NetStats::default(),
        })
    }

    fn remove(mut self) {
        // It says why it cannot.
        let _ = self.device.reset();
    }

    fn open(&mut self) -> Result<(), Status> {
        if self.ways.is_some() {
            return Err(Status::Busy);
        }
        self.device.enable_interrupts()?;
        if let Err(status) = self.turn_on() {
            let _ = self.turn_off();
            self.device.disable_interrupts()?;
            return Err(status);
        }
        self.follow_link();
        // Gives the card its first buffers.
        self.nook.poll_schedule(0);
        Ok(())
    }

    fn stop(&mut self) -> Result<(), Status> {
        if self.ways.is_none() {
            return Ok(());
        }
        let silent = self.turn_off();
        self.report(LinkState::default());
        silent.and(self.device.disable_interrupts())
    }

    fn poll(&mut self, _queue: u32, budget: u32) -> Poll {
        let Some(ways) = &mut self.ways else { return Poll::Idle };
        ways.receive.queue.begin(&self.device);
        ways.transmit.queue.begin(&self.device);
        let NetQueues { rx_provide, rx_return, tx_provide, tx_return, pool } = &mut self.queues;
        let (stats, own) = (&mut self.stats, self.own.bytes());
        // The parts are the driver's own: they are there.
        let sent_header = own.part(SENT_HEADER_AT, net::HEADER_BYTES).expect("its own memory");
        // Each of them runs, whatever the others say. Sent buffers first, so that there is room to send.
        let more = ways.tx_return(tx_return, budget, stats)
            | ways.rx_return(rx_return, pool, budget, stats)
            | ways.rx_provide(own, pool, rx_provide, rx_return, budget)
            | ways.tx_provide(sent_header, pool, tx_provide, tx_return, budget);
        let waiting = ways.receive.queue.end(&self.device) | ways.transmit.queue.end(&self.device);
        if more || waiting { Poll::Again } else { Poll::Idle }
    }

    fn discard_rx(&mut self, _queue: u32) {
        if let Some(ways) = &mut self.ways {
            ways.rx_discard(&mut self.queues.rx_return);
        }
    }

    fn irq(&mut self, vector: u32) -> Irq {
        if self.ways.is_none() {
            return Irq::NotMine;
        }
        let causes = self.device.causes(vector);
        if causes.config {
            // Ends the driver: the next one resets the card.
            assert!(!self.device.needs_reset(), "the card says that it needs a reset");
            self.follow_link();
        }
        match causes.queues {
            true => Irq::HandledPoll,
            false if causes.config => Irq::Handled,
            false => Irq::NotMine,
        }
    }

    fn set_mac(&mut self, mac: MacAddress) -> Result<(), Status> {
        if mac[0] & 1 != 0 || mac == [0; 6] {
            return Err(Status::Invalid);
        }
        if !self.has(feature::CTRL_MAC_ADDR) {
            return Err(Status::Unsupported);
        }
        self.command(command::MAC_ADDR_SET, &mac)?;
        self.mac = Some(mac);
        Ok(())
    }

    fn set_mtu(&mut self, mtu_bytes: u32) -> Result<(), Status> {
        // The card passes on what fits into a buffer.
        if (MIN_MTU_BYTES..=MAX_MTU_BYTES).contains(&mtu_bytes) { Ok(()) } else { Err(Status::Invalid) }
    }

    fn set_rx_mode(&mut self, mode: RxMode<'_>) -> Result<(), Status> {
        let filter = Filter::of(mode)?;
        if !self.has(feature::CTRL_RX) {
            return Err(Status::Unsupported);
        }
        let before = core::mem::replace(&mut self.filter, filter);
        let written = self.write_filter();
        if written.is_err() {
            self.filter = before;
        }
        written
    }

    fn stats(&mut self) -> Option<NetStats> {
        Some(self.stats)
    }
}

impl<K: Kernel> VirtioNet<K> {
    fn has(&self, feature: u64) -> bool {
        self.features & feature != 0
    }

    /// Negotiates, takes the queues into use and tells the card what to receive.
    fn turn_on(&mut self) -> Result<(), Status> {
        let device = &mut self.device;
        self.features = negotiate(device)?;
        self.own.bytes().write_bytes(SENT_HEADER_AT, &[0; net::HEADER_BYTES as usize])?;
        let receive = Way::new(device, queue::RECEIVE)?;
        self.ways = Some(Ways { receive, transmit: Way::new(device, queue::TRANSMIT)? });
        let commands = self.features & feature::CTRL_VQ != 0;
        self.control = if commands { Some(Control::new(device)?) } else { None };
        // QEMU takes a device whose DMA is off for one that is not started.
        self.nook.dma_enable()?;
        device.start();
        if let Some(mac) = self.mac {
            self.command(command::MAC_ADDR_SET, &mac)?;
        }
        // Without commands a card hands up everything.
        if self.has(feature::CTRL_RX) { self.write_filter() } else { Ok(()) }
    }

    /// Resets the card, which touches no memory any more, and gives every packet back.
    fn turn_off(&mut self) -> Result<(), Status> {
        let silent = self.device.reset();
        self.nook.dma_disable()?;
        self.control = None;
        if let Some(mut ways) = self.ways.take() {
            let NetQueues { rx_return, tx_return, pool, .. } = &mut self.queues;
            ways.rx_return(rx_return, pool, u32::MAX, &mut self.stats);
            ways.tx_return(tx_return, u32::MAX, &mut self.stats);
            ways.receive.clear(rx_return, |packet| packet.returned(0, PacketStatus::Unused));
            ways.transmit.clear(tx_return, |packet| packet.returned(packet.len_bytes, PacketStatus::Unused));
        }
        silent
    }

    /// Has the card do a command, if it is on.
    fn command(&mut self, command: [u8; 2], data: &[u8]) -> Result<(), Status> {
        let Some(control) = &mut self.control else { return Ok(()) };
        control.run(self.nook, &self.device, command_memory(&self.own)?, command, data)
    }

    fn write_filter(&mut self) -> Result<(), Status> {
        let Some(control) = &mut self.control else { return Ok(()) };
        let (nook, device, memory) = (self.nook, &self.device, command_memory(&self.own)?);
        self.filter.commands(|command, data| control.run(nook, device, memory, command, data))
    }

    #[cold]
    fn follow_link(&mut self) {
        let regs = self.device.regs();
        let up = !self.has(feature::STATUS) || regs.read(net::STATUS) & net::STATUS::LINK_UP != 0;
        let mut link = LinkState { up, speed_mbps: 0, full_duplex: up };
        if up && self.has(feature::SPEED_DUPLEX) {
            let mbps = regs.read(net::SPEED);
            link.speed_mbps = if mbps <= MOST_MBPS { mbps } else { 0 };
            link.full_duplex = regs.read(net::DUPLEX) == 1;
        }
        self.report(link);
    }

    fn report(&mut self, link: LinkState) {
        if link != self.link {
            self.link = link;
            self.nook.net_link(link);
        }
    }
}

/// Negotiates. Returns what was agreed on, without what hangs on commands (5.1.3.1) if there are none.
fn negotiate<K: Kernel>(device: &mut Device<K>) -> Result<u64, Status> {
    let agreed = device.negotiate(WANTED)?;
    let commands = agreed & feature::CTRL_VQ != 0;
    Ok(if commands { agreed } else { agreed & !(feature::CTRL_RX | feature::CTRL_MAC_ADDR) })
}

fn command_memory<K: Kernel>(own: &DmaRegion<K>) -> Result<DmaBytes<'_>, Status> {
    own.bytes().part(COMMAND_AT, COMMAND_BYTES)
}
