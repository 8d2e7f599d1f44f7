//! A driver of few lines, on rings of few descriptors.

use e1000_model::{Behaviour, Model, ModelConfig};
use e1000_regs::*;
use nook_bus::{DmaWindow, PciDevice, Width};
use nook_regs::Register;
use vm_memory::Bytes;

use crate::cable::Cable;

/// Above 4 GiB, so that the upper halves of addresses count.
pub const IOVA: u64 = 0x12_3440_0000;
pub const MAC: [u8; 6] = [0x52, 0x54, 0x00, 0xab, 0xcd, 0xef];
/// Descriptors in each ring.
pub const RING: u32 = 16;
/// Bytes in each buffer.
pub const BUFFER: u32 = 2048;
const TX_RING: u32 = 0;
const RX_RING: u32 = 0x1000;
pub const TX_BUFFERS: u32 = 0x1_0000;
pub const RX_BUFFERS: u32 = 0x2_0000;
/// The first byte of the window that the rig has no use for.
pub const UNUSED: u32 = 0x4_0000;
/// RCTL as the rig sets it.
pub const RCTL_USUAL: u32 = RCTL::EN | RCTL::BAM | RCTL::SECRC;
/// A step of time in which a device of any behaviour gets on.
const STEP_NS: u64 = 10_000;

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Received {
    pub frame: Vec<u8>,
    /// Word 3 of the last descriptor.
    pub word3: u32,
}

pub struct Rig {
    pub model: Model,
    pub cable: Cable,
    pub window: DmaWindow,
    pub now_ns: u64,
    pub irqs: u32,
    tx_tail: u32,
    tx_head: u32,
    rx_next: u32,
    /// Parts of a frame that is not whole yet.
    rx_parts: Vec<u8>,
}

impl Rig {
    /// Powered up and mapped; nothing is programmed.
    pub fn cold(config: ModelConfig) -> Rig {
        let cable = Cable::default();
        let mut model = Model::new(config, Box::new(cable.clone()));
        let window = DmaWindow::new(1).unwrap();
        model.dma_map(&window, IOVA).unwrap();
        model.set_bus_master(true).unwrap();
        model.irq_enable(1).unwrap();
        let mut rig =
            Rig { model, cable, window, now_ns: 0, irqs: 0, tx_tail: 0, tx_head: 0, rx_next: 0, rx_parts: Vec::new() };
        rig.service();
        rig
    }

    pub fn calm() -> Rig {
        Rig::with(ModelConfig { mac: MAC, behaviour: Behaviour::calm(), ..Default::default() })
    }

    pub fn adversarial(seed: u64) -> Rig {
        Rig::with(ModelConfig { mac: MAC, seed, ..Default::default() })
    }

    /// Reset, programmed, link up, all receive descriptors given, statistics and causes cleared.
    pub fn with(config: ModelConfig) -> Rig {
        let mut rig = Rig::cold(config);
        rig.start();
        rig
    }

    pub fn start(&mut self) {
        self.write(IMC, !0);
        self.write(CTRL, CTRL::RST);
        while self.read(CTRL) & CTRL::RST != 0 {}
        self.write(CTRL, CTRL::SLU | CTRL::ASDE);
        (0..MTA.count()).for_each(|i| self.write(MTA.get(i), 0));
        (0..VFTA.count()).for_each(|i| self.write(VFTA.get(i), 0));
        for (low, high, len, head, tail, at) in
            [(TDBAL, TDBAH, TDLEN, TDH, TDT, TX_RING), (RDBAL, RDBAH, RDLEN, RDH, RDT, RX_RING)]
        {
            let base = IOVA + u64::from(at);
            self.write(low, base as u32);
            self.write(high, (base >> 32) as u32);
            self.write(len, RING * 16);
            self.write(head, 0);
            self.write(tail, 0);
        }
        (self.tx_tail, self.tx_head, self.rx_next) = (0, 0, 0);
        self.rx_parts.clear();
        self.write(TCTL, TCTL::EN | TCTL::PSP);
        self.write(RCTL, RCTL_USUAL | rctl_buffer_size(BUFFER).unwrap());
        (0..RING).for_each(|i| self.give(i));
        self.write(RDT, RING - 1);
        for _ in 0..10_000 {
            if self.read(STATUS) & STATUS::LU != 0 {
                break;
            }
            self.service();
        }
        assert_ne!(self.read(STATUS) & STATUS::LU, 0, "the link stays down");
        for at in (0x4000..0x4100).step_by(4) {
            self.model.bar_read(0, at, Width::B4).unwrap();
        }
        self.read(ICR);
        self.model.irq_unmask(0).unwrap();
    }

    pub fn read(&mut self, register: Register<u32>) -> u32 {
        self.model.bar_read(0, register.offset(), Width::B4).unwrap() as u32
    }

    pub fn write(&mut self, register: Register<u32>, value: u32) {
        self.model.bar_write(0, register.offset(), Width::B4, value.into()).unwrap();
    }

    /// Reads a PHY register.
    pub fn phy(&mut self, register: u32) -> u16 {
        self.write(MDIC, phy::read_command(register));
        self.mdic()
    }

    pub fn set_phy(&mut self, register: u32, value: u16) {
        self.write(MDIC, phy::write_command(register, value));
        self.mdic();
    }

    fn mdic(&mut self) -> u16 {
        let answer = (0..100).map(|_| self.read(MDIC)).find(|value| value & MDIC::R != 0);
        MDIC::DATA.get(answer.expect("MDIC never gets ready")) as u16
    }

    /// Lets time pass and the device work once.
    pub fn service(&mut self) -> bool {
        self.service_after(STEP_NS)
    }

    /// Returns the same, after a time. Whether the line fired.
    pub fn service_after(&mut self, ns: u64) -> bool {
        self.now_ns += ns;
        let fired = self.model.service(self.now_ns).unwrap().irqs;
        assert!(fired <= 1, "INTx is vector 0");
        self.irqs += fired;
        fired == 1
    }

    /// Calls the device only when it asks to be called, as long as it asks.
    pub fn service_when_due(&mut self) {
        for _ in 0..1000 {
            match self.model.service(self.now_ns).unwrap().due_ns {
                Some(due_ns) => self.now_ns = self.now_ns.max(due_ns),
                None => return,
            }
        }
        panic!("the device asks for ever");
    }

    /// Until nothing is under way in a device of any behaviour.
    pub fn settle(&mut self) {
        for _ in 0..200 {
            self.service();
        }
    }

    pub fn poke(&self, at: u32, words: [u32; 4]) {
        words.iter().enumerate().for_each(|(i, word)| {
            self.window.slice().write_obj(word.to_le(), at as usize + 4 * i).unwrap();
        });
    }

    pub fn peek(&self, at: u32) -> [u32; 4] {
        std::array::from_fn(|i| u32::from_le(self.window.slice().read_obj(at as usize + 4 * i).unwrap()))
    }

    pub fn bytes(&self, at: u32, len: usize) -> Vec<u8> {
        let mut bytes = vec![0; len];
        self.window.slice().read_slice(&mut bytes, at as usize).unwrap();
        bytes
    }

    /// Returns how many descriptors the device has for transmission.
    pub fn in_flight(&self) -> u32 {
        (self.tx_tail + RING - self.tx_head) % RING
    }

    /// Puts a descriptor at the transmit tail; the doorbell is the caller's.
    pub fn put(&mut self, words: [u32; 4]) -> u32 {
        assert!(self.in_flight() < RING - 1, "the transmit ring is full");
        let slot = self.tx_tail;
        self.poke(TX_RING + 16 * slot, words);
        self.tx_tail = (slot + 1) % RING;
        slot
    }

    pub fn doorbell(&mut self) {
        self.write(TDT, self.tx_tail);
    }

    /// Copies a packet into the first transmit buffer; the descriptors are the caller's.
    pub fn fill_buffer(&self, packet: &[u8]) {
        self.window.slice().write_slice(packet, TX_BUFFERS as usize).unwrap();
    }

    /// Copies a frame into the next slot's buffer and sends it with `command` besides EOP and RS.
    pub fn send_with(&mut self, frame: &[u8], command: u32) -> u32 {
        let at = TX_BUFFERS + BUFFER * self.tx_tail;
        self.window.slice().write_slice(frame, at as usize).unwrap();
        let command = command | tx::command::EOP | tx::command::RS;
        let slot = self.put(tx::legacy(IOVA + u64::from(at), frame.len() as u16, command));
        self.doorbell();
        slot
    }

    pub fn send(&mut self, frame: &[u8]) -> u32 {
        self.send_with(frame, tx::command::IFCS)
    }

    /// Returns whether a transmit descriptor was written back.
    pub fn is_done(&self, slot: u32) -> bool {
        self.peek(TX_RING + 16 * slot)[tx::STATUS_WORD] & tx::status::DD != 0
    }

    /// Reclaims what is done.
    pub fn reap(&mut self) -> u32 {
        let before = self.in_flight();
        while self.in_flight() != 0 && self.is_done(self.tx_head) {
            self.poke(TX_RING + 16 * self.tx_head, [0; 4]);
            self.tx_head = (self.tx_head + 1) % RING;
        }
        before - self.in_flight()
    }

    /// Reclaims all transmit descriptors, which the device has passed, done or not.
    pub fn forget(&mut self) {
        assert_eq!(self.read(TDH), self.tx_tail);
        self.tx_head = self.tx_tail;
    }

    fn give(&mut self, slot: u32) {
        self.poke(RX_RING + 16 * slot, rx::fresh(IOVA + u64::from(RX_BUFFERS + BUFFER * slot)));
    }

    /// Returns whether a frame has begun and not ended.
    pub fn has_part(&self) -> bool {
        !self.rx_parts.is_empty()
    }

    /// Frames that are whole, with their descriptors given back only if `refill`.
    pub fn harvest(&mut self, refill: bool) -> Vec<Received> {
        let mut frames = Vec::new();
        loop {
            let words = self.peek(RX_RING + 16 * self.rx_next);
            let word3 = words[rx::STATUS_WORD];
            if word3 & rx::status::DD == 0 {
                return frames;
            }
            let len = rx::length_bytes(words[rx::LENGTH_WORD]) as usize;
            let part = self.bytes(RX_BUFFERS + BUFFER * self.rx_next, len);
            self.rx_parts.extend(part);
            if word3 & rx::status::EOP != 0 {
                frames.push(Received { frame: std::mem::take(&mut self.rx_parts), word3 });
            }
            if refill {
                self.give(self.rx_next);
                self.write(RDT, self.rx_next);
            } else {
                self.poke(RX_RING + 16 * self.rx_next, [0; 4]);
            }
            self.rx_next = (self.rx_next + 1) % RING;
        }
    }

    /// Sends a frame over the cable and says what came of it.
    pub fn receive(&mut self, frame: &[u8]) -> Option<Received> {
        self.cable.push(frame.to_vec());
        self.settle();
        let mut frames = self.harvest(true);
        assert!(frames.len() <= 1);
        frames.pop()
    }
}

/// Returns a frame of `len` bytes whose content depends on `number`.
pub fn frame_to(destination: [u8; 6], len: usize, number: u32) -> Vec<u8> {
    let mut frame = destination.to_vec();
    frame.extend([2, 0, 0, 0, 0, 1, 0x88, 0xb5]);
    frame.extend(number.to_be_bytes());
    frame.extend((frame.len()..len).map(|i| (i as u32 ^ number) as u8));
    frame
}

/// To the rig's own address.
pub fn frame(len: usize, number: u32) -> Vec<u8> {
    frame_to(MAC, len, number)
}
