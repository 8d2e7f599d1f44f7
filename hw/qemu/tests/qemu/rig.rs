//! A card with its cable, its window and two small descriptor rings, driven by hand.
//!
//! Registers and descriptors: Intel, "PCI/PCI-X Family of Gigabit Ethernet Controllers Software Developer's Manual"
//! (317453), sections 3 and 13. The 82574L keeps them at the same places.

use std::time::{Duration, Instant};

use nook_bus::{DmaWindow, PciDevice, Service, Width};
use nook_net_api::Wire;
use nook_qemu::{DeviceSpec, DgramWire, Model, QemuConfig, QemuDevice, QemuError, QemuNet, models};
use vm_memory::Bytes;

pub const CTRL: u32 = 0x0000;
pub const CTRL_RST: u64 = 1 << 26;
pub const STATUS: u32 = 0x0008;
pub const STATUS_LU: u64 = 1 << 1;
pub const ICR: u32 = 0x00c0;
pub const ICS: u32 = 0x00c8;
pub const IMS: u32 = 0x00d0;
pub const IMC: u32 = 0x00d8;
pub const CAUSE_TXDW: u64 = 1 << 0;
pub const CAUSE_LSC: u64 = 1 << 2;
pub const CAUSE_RXO: u64 = 1 << 6;
pub const RCTL: u32 = 0x0100;
const RCTL_EN: u64 = 1 << 1;
const RCTL_BAM: u64 = 1 << 15;
const RCTL_SECRC: u64 = 1 << 26;
const TCTL: u32 = 0x0400;
const TCTL_EN: u64 = 1 << 1;
const TCTL_PSP: u64 = 1 << 3;
pub const RDBAL: u32 = 0x2800;
pub const RDH: u32 = 0x2810;
const RDT: u32 = 0x2818;
pub const TDBAL: u32 = 0x3800;
pub const TDH: u32 = 0x3810;
const TDT: u32 = 0x3818;
pub const RAL: u32 = 0x5400;
pub const RAH: u32 = 0x5404;

/// Transmit descriptor: end of packet, insert FCS, report status.
const TX_COMMAND: u8 = 0x0b;
/// Either descriptor's status byte: done.
const DONE: u8 = 1 << 0;

const WINDOW_BYTES: u64 = 2 << 20;
const TX_RING: u64 = 0x0000;
const RX_RING: u64 = 0x1000;
const TX_BUFFER: u64 = 0x1_0000;
const RX_BUFFER: u64 = 0x2_0000;
const RING: u64 = 8;
const BUFFER: u64 = 2048;

pub const LOW: u64 = 0x4000_0000;
pub const HIGH: u64 = 0x12_3460_0000;

/// How long something that must happen may take on a busy machine. It is no measure of anything.
pub const PATIENCE: Duration = Duration::from_secs(20);

pub struct Rig {
    pub card: QemuDevice,
    pub window: DmaWindow,
    pub wire: DgramWire,
}

/// Returns the card, or the reason why there is none: a test without QEMU fails and says what to install.
pub fn started(result: Result<QemuDevice, QemuError>) -> QemuDevice {
    result.unwrap_or_else(|error| panic!("{error}"))
}

/// QEMU's model of this name.
pub fn model(name: &str) -> &'static Model {
    models().iter().find(|model| model.name == name).unwrap()
}

/// Returns the device that this text describes.
pub fn spec(text: &str) -> DeviceSpec {
    text.parse().unwrap_or_else(|error| panic!("{error}"))
}

pub fn window() -> DmaWindow {
    DmaWindow::new(WINDOW_BYTES).unwrap()
}

impl Rig {
    /// Creates a card on a cable of ours.
    pub fn new(model: &Model) -> Rig {
        let (wire, port) = DgramWire::pair().unwrap();
        let window = window();
        let card = started(QemuDevice::start(QemuConfig::new(spec(model.name), QemuNet::Datagram(port)), &window));
        Rig { card, window, wire }
    }

    pub fn read(&mut self, register: u32) -> u64 {
        self.card.bar_read(0, register, Width::B4).unwrap()
    }

    pub fn write(&mut self, register: u32, value: u64) {
        self.card.bar_write(0, register, Width::B4, value).unwrap()
    }

    /// Maps the window at `iova`, lets the card do DMA and gives it both rings: all receive buffers are the card's.
    pub fn bring_up(&mut self, iova: u64) {
        self.card.dma_map(&self.window.clone(), iova).unwrap();
        self.card.set_bus_master(true).unwrap();
        for i in 0..RING {
            self.put(RX_RING + 16 * i, &(iova + RX_BUFFER + BUFFER * i).to_le_bytes());
            self.put(RX_RING + 16 * i + 8, &[0; 8]);
        }
        for (base, ring) in [(TDBAL, TX_RING), (RDBAL, RX_RING)] {
            self.write(base, (iova + ring) & 0xffff_ffff);
            self.write(base + 4, (iova + ring) >> 32);
            self.write(base + 8, RING * 16);
            self.write(base + 0x10, 0);
            self.write(base + 0x18, 0);
        }
        self.write(TCTL, TCTL_EN | TCTL_PSP);
        self.write(RDT, RING - 1);
        self.write(RCTL, RCTL_EN | RCTL_BAM | RCTL_SECRC);
    }

    /// Fills transmit descriptor `slot` for `frame` and rings the doorbell. The addresses are of a window at `iova`.
    pub fn transmit(&mut self, iova: u64, slot: u64, frame: &[u8]) {
        self.put(TX_BUFFER, frame);
        self.put(TX_RING + 16 * slot, &(iova + TX_BUFFER).to_le_bytes());
        self.put(TX_RING + 16 * slot + 8, &[frame.len() as u8, (frame.len() >> 8) as u8, 0, TX_COMMAND, 0, 0, 0, 0]);
        self.write(TDT, (slot + 1) % RING);
    }

    pub fn transmitted(&self, slot: u64) -> bool {
        self.get(TX_RING + 16 * slot + 12, 1)[0] & DONE != 0
    }

    /// Returns the frame that the card has put into receive slot `slot`, if it has.
    pub fn received(&self, slot: u64) -> Option<Vec<u8>> {
        let descriptor = self.get(RX_RING + 16 * slot, 16);
        let len = usize::from(u16::from_le_bytes([descriptor[8], descriptor[9]]));
        (descriptor[12] & DONE != 0).then(|| self.get(RX_BUFFER + BUFFER * slot, len))
    }

    /// Returns the next frame at the far end of the cable, once all doorbells have been rung.
    pub fn arrives(&mut self) -> Vec<u8> {
        self.card.flush().unwrap();
        let mut buffer = [0; 2048];
        let mut len = None;
        wait("a frame at the far end of the cable", || {
            len = self.wire.recv(&mut buffer).unwrap();
            len.is_some()
        });
        buffer[..len.unwrap()].to_vec()
    }

    pub fn service(&mut self) -> Service {
        self.card.service(0).unwrap()
    }

    /// Returns all of the window's memory.
    pub fn memory(&self) -> Vec<u8> {
        self.get(0, WINDOW_BYTES as usize)
    }

    pub fn put(&self, at: u64, bytes: &[u8]) {
        self.window.slice().write_slice(bytes, at as usize).unwrap();
    }

    fn get(&self, at: u64, len: usize) -> Vec<u8> {
        let mut bytes = vec![0; len];
        self.window.slice().read_slice(&mut bytes, at as usize).unwrap();
        bytes
    }
}

/// Returns a broadcast frame of 60 bytes of a private protocol, told apart by `tag`.
pub fn frame(tag: u8) -> Vec<u8> {
    let mut frame = vec![0xff; 6];
    frame.extend([0x02, 0, 0, 0, 0, 1, 0x88, 0xb5]);
    frame.extend((0..46).map(|i| i ^ tag));
    frame
}

/// Waits until `done`; a test in which it never is fails and says what was waited for.
pub fn wait(what: &str, mut done: impl FnMut() -> bool) {
    let deadline = Instant::now() + PATIENCE;
    while !done() {
        assert!(Instant::now() < deadline, "waited in vain for {what}");
        std::thread::sleep(Duration::from_millis(1));
    }
}

/// Returns whether a sleeper on the card's descriptors would wake up.
pub fn readable(rig: &Rig) -> bool {
    let mut fds = Vec::new();
    rig.card.event_fds(&mut fds);
    let mut polls: Vec<_> = fds.iter().map(|&fd| libc::pollfd { fd, events: libc::POLLIN, revents: 0 }).collect();
    // SAFETY: as many pollfds as are said, alive through the call.
    let ready = unsafe { libc::poll(polls.as_mut_ptr(), polls.len() as libc::nfds_t, 0) };
    ready > 0
}
