//! A driver of Realtek's RTL8139 (RTL8139(A/B) programming guide, 1999), written with the documents alone: the path
//! of a new author, kept.
//!
//! It sends from four slots with a buffer each, into which frames are copied, because the chip wants them at multiples
//! of 4; and it receives into one ring of bytes, out of which they are copied.
#![cfg_attr(not(test), no_std)]
#![forbid(unsafe_code)]

use nook_sdk::{
    ByteRing, DmaRegion, Irq, Kernel, LinkState, MacAddress, NetDriver, NetQueues, NetStats, Nook, Packet,
    PacketStatus, Poll, ProbeReason, Regs, RxMode, Status, error, info, warn,
};

mod registers;

use registers::*;

const MTU_BYTES: u32 = 1500;
/// Header, tag and payload, without the check sequence.
const FRAME_BYTES: u32 = 14 + 4 + MTU_BYTES;
const CRC_BYTES: u32 = 4;
/// What a cable wants of a frame, without its check sequence.
const SHORTEST: u32 = 60;

/// Transmit slots.
const SLOTS: usize = 4;
const SLOT_BYTES: u32 = 2048;
/// Buffers to receive into that are kept at hand.
const AT_HAND: usize = 64;
/// The receive ring, and what lies behind it.
const RING_BYTES: u32 = 32 * 1024;
const BEYOND_BYTES: u32 = 16;

/// Bits 8 to 10 are the largest burst (7: no limit), 24 and 25 the gap between frames.
const TCR_BASE: u32 = 7 << 8 | 3 << 24;
const TCR_LOOPBACK: u32 = 3 << 17;
/// No threshold, a ring of 32 KiB that wraps round within a frame, bursts without limit, broadcast, own address.
const RCR_BASE: u32 = 7 << 13 | 2 << 11 | 7 << 8 | RCR_AB | RCR_APM;
const RCR_AAP: u32 = 1;
const RCR_APM: u32 = 1 << 1;
const RCR_AM: u32 = 1 << 2;
const RCR_AB: u32 = 1 << 3;

/// What interrupts. The timer is not used.
const CAUSES: u16 = ISR::ROK | ISR::RER | ISR::TOK | ISR::TER | ISR::RXOVW | ISR::LINK | ISR::FOVW | ISR::SERR;
/// What asks for `poll`.
const WORK: u16 = CAUSES & !ISR::LINK;

/// The chip writes this as a length while the frame still comes in.
const UNFINISHED: u32 = 0xfff0;
const HEADER_ROK: u32 = 1;

/// The device.
pub struct Driver<K: Kernel> {
    nook: Nook<K>,
    regs: Regs<K>,
    queues: NetQueues,
    rx: ByteRing<K>,
    tx: DmaRegion<K>,
    /// Buffers for the next frames, and how many there are.
    empty: [Packet; AT_HAND],
    empties: usize,
    /// The packets that the slots send.
    sending: [Packet; SLOTS],
    /// The slot that is sent first, and how many are.
    first: usize,
    used: usize,
    mac: MacAddress,
    tcr: u32,
    rcr: u32,
    multicast: [u32; 2],
    open: bool,
    masked: bool,
    stats: NetStats,
    /// What `MPC` held when it was last looked at.
    missed: u32,
}

impl<K: Kernel> NetDriver<K> for Driver<K> {
    fn probe(nook: Nook<K>, _: ProbeReason) -> Result<Self, Status> {
        let regs = nook.regs(1);
        reset(nook)?;
        let [a, b, c, d] = regs.read(IDR0).to_le_bytes();
        let [e, f, ..] = regs.read(IDR4).to_le_bytes();
        let mac = [a, b, c, d, e, f];
        if mac == [0xff; 6] {
            error!(nook, "the device does not answer");
            return Err(Status::NoDevice);
        }
        let rx = ByteRing::new(nook, RING_BYTES, BEYOND_BYTES)?;
        let tx = nook.dma_alloc(SLOTS as u32 * SLOT_BYTES, 4096)?;
        nook.net_attach(mac, MTU_BYTES)?;
        info!(nook, "RTL8139, address {mac:02x?}");
        Ok(Driver {
            nook,
            regs,
            queues: nook.queues(),
            rx,
            tx,
            empty: [Packet::NONE; AT_HAND],
            empties: 0,
            sending: [Packet::NONE; SLOTS],
            first: 0,
            used: 0,
            mac,
            tcr: TCR_BASE,
            rcr: RCR_BASE | RCR_AM,
            multicast: [u32::MAX; 2],
            open: false,
            masked: true,
            stats: NetStats::default(),
            missed: 0,
        })
    }

    fn remove(mut self) {
        let _ = self.stop();
    }

    fn open(&mut self) -> Result<(), Status> {
        self.begin()?;
        self.nook.irq_enable(0)?;
        self.open = true;
        self.follow_link();
        // It lets the chip interrupt.
        self.nook.poll_schedule(0);
        Ok(())
    }

    fn stop(&mut self) -> Result<(), Status> {
        if !self.open {
            return Ok(());
        }
        self.open = false;
        let quiet = reset(self.nook);
        self.nook.irq_disable(0)?;
        self.nook.dma_disable()?;
        self.give_back(PacketStatus::Unused);
        let mut returning = self.queues.rx_return.begin();
        while self.empties > 0 {
            self.empties -= 1;
            if let Some(place) = returning.vacant() {
                place.put(self.empty[self.empties].returned(0, PacketStatus::Unused));
            }
        }
        drop(returning);
        self.nook.net_link(LinkState::default());
        quiet
    }

    /// Reads first, and writes last, so that it can be rolled back.
    fn poll(&mut self, _queue: u32, budget: u32) -> Poll {
        if !self.open {
            return Poll::Idle;
        }
        let slots = if self.used > 0 { self.regs.read(TSAS) } else { 0 };
        let at = self.regs.read(CBR);
        let sound = self.rx.written_to(at.into()).and_then(|()| self.received(budget));
        self.sent(slots);
        let Ok(more) = sound else {
            // What the ring holds makes no sense: begin again, where that may be waited for.
            self.nook.work_schedule();
            return Poll::Idle;
        };
        self.refill();
        let waits = self.send(budget);
        if more || waits {
            return Poll::Again;
        }
        if self.masked {
            self.masked = false;
            self.regs.write(IMR, CAUSES);
        }
        Poll::Idle
    }

    fn irq(&mut self, _vector: u32) -> Irq {
        let causes = self.regs.read(ISR);
        if causes & CAUSES == 0 {
            return Irq::NotMine;
        }
        if causes & ISR::LINK != 0 {
            self.follow_link();
        }
        self.regs.write(ISR, causes);
        if causes & WORK == 0 {
            return Irq::Handled;
        }
        self.masked = true;
        self.regs.write(IMR, 0);
        Irq::HandledPoll
    }

    /// Begins again, after the chip said what cannot be.
    fn work(&mut self) {
        if !self.open {
            return;
        }
        warn!(self.nook, "the receive ring makes no sense: the chip is reset");
        self.stats.tx_timeouts += 1;
        self.stats.rx_errors += 1;
        let begun = reset(self.nook).and_then(|()| {
            self.give_back(PacketStatus::Failed);
            self.begin()
        });
        if begun.is_err() {
            error!(self.nook, "the chip cannot be reset");
        }
        self.nook.poll_schedule(0);
    }

    /// The length of a frame is in the ring and has to be looked at; if it cannot be, all that is there is left out.
    fn discard_rx(&mut self, _queue: u32) {
        if !self.open || self.rx.written_to(self.regs.read(CBR).into()).is_err() {
            return;
        }
        let available = self.rx.available_bytes();
        let Ok(header) = self.rx.read::<u32>(0) else { return };
        let mut returning = self.queues.rx_return.begin();
        let Some(place) = returning.vacant() else { return };
        if self.empties == 0 {
            return;
        }
        self.empties -= 1;
        place.put(self.empty[self.empties].returned(0, PacketStatus::Failed));
        drop(returning);
        let whole = in_ring(header >> 16);
        let _ = self.rx.consume(if whole <= available { whole } else { available });
        self.regs.write(CAPR, (self.rx.position() as u16).wrapping_sub(16));
    }

    fn set_mac(&mut self, mac: MacAddress) -> Result<(), Status> {
        self.mac = mac;
        self.write_address();
        Ok(())
    }

    fn set_rx_mode(&mut self, mode: RxMode<'_>) -> Result<(), Status> {
        self.rcr = RCR_BASE | RCR_AM;
        self.multicast = [0; 2];
        if mode.promiscuous {
            self.rcr |= RCR_AAP;
        }
        if mode.promiscuous || mode.all_multicast {
            self.multicast = [u32::MAX; 2];
        }
        for address in mode.multicast {
            let hash = hash(address);
            self.multicast[(hash >> 5) as usize & 1] |= 1 << (hash & 31);
        }
        if self.open {
            self.write_filter();
        }
        Ok(())
    }

    fn set_loopback(&mut self, on: bool) -> Result<(), Status> {
        self.tcr = if on { TCR_BASE | TCR_LOOPBACK } else { TCR_BASE };
        if self.open {
            self.regs.write(TCR, self.tcr);
            self.follow_link();
        }
        Ok(())
    }

    fn stats(&mut self) -> Option<NetStats> {
        if self.open {
            self.count_missed();
        }
        Some(self.stats)
    }
}

/// Resets the chip and waits for it.
fn reset<K: Kernel>(nook: Nook<K>) -> Result<(), Status> {
    let regs = nook.regs(1);
    regs.write(CR, CR::RST);
    nook.poll_until(10_000_000, 100_000, || regs.read(CR) & CR::RST == 0)?;
    regs.write(IMR, 0);
    regs.write(ISR, u16::MAX);
    Ok(())
}

/// Returns how many bytes a frame of this length takes in the ring, with its header.
fn in_ring(len_bytes: u32) -> u32 {
    (len_bytes + 4).next_multiple_of(4)
}

/// The chip's hash of a multicast address: the upper six bits of its CRC, most significant bit first.
fn hash(address: &MacAddress) -> u32 {
    let mut crc = u32::MAX;
    for &byte in address {
        for bit in 0..8 {
            let carry = crc >> 31 ^ u32::from(byte >> bit & 1);
            crc <<= 1;
            if carry != 0 {
                crc ^= 0x04c1_1db7;
            }
        }
    }
    crc >> 26
}

impl<K: Kernel> Driver<K> {
    /// Sets up a chip that was reset, with its receiver and transmitter on and its interrupts off.
    fn begin(&mut self) -> Result<(), Status> {
        self.rx.clear();
        (self.first, self.used, self.masked) = (0, 0, true);
        self.nook.dma_enable()?;
        self.write_address();
        self.regs.write(RBSTART, self.rx.iova() as u32);
        for slot in 0..SLOTS as u32 {
            self.regs.write(TSAD.get(slot), self.tx.iova() as u32 + slot * SLOT_BYTES);
        }
        // Configuration is taken only by what is on.
        self.regs.write(CR, CR::TE | CR::RE);
        self.regs.write(TCR, self.tcr);
        self.write_filter();
        self.regs.write(CAPR, 0u16.wrapping_sub(16));
        self.missed = self.regs.read(MPC);
        Ok(())
    }

    fn write_address(&self) {
        let [a, b, c, d, e, f] = self.mac;
        self.regs.write(CR9346, 0xc0);
        self.regs.write(IDR0, u32::from_le_bytes([a, b, c, d]));
        self.regs.write(IDR4, u32::from_le_bytes([e, f, 0, 0]));
        self.regs.write(CR9346, 0);
    }

    fn write_filter(&self) {
        self.regs.write(RCR, self.rcr);
        self.regs.write(MAR.get(0), self.multicast[0]);
        self.regs.write(MAR.get(1), self.multicast[1]);
    }

    fn count_missed(&mut self) {
        let now = self.regs.read(MPC);
        self.stats.rx_missed += u64::from(now.wrapping_sub(self.missed) & 0xff_ffff);
        self.missed = now;
    }

    fn follow_link(&self) {
        let state = self.regs.read(MSR);
        let common = self.regs.read(ANAR) & self.regs.read(ANLPAR);
        let up = state & MSR::LINKB == 0 || self.tcr & TCR_LOOPBACK != 0;
        let speed_mbps = if state & MSR::SPEED_10 == 0 { 100 } else { 10 };
        // Bits 8 and 6: 100 and 10 Mbit/s in full duplex.
        let full_duplex = common & (1 << 8 | 1 << 6) != 0;
        self.nook.net_link(if up { LinkState { up, speed_mbps, full_duplex } } else { LinkState::default() });
    }

    /// Gives all frames back that are in slots.
    fn give_back(&mut self, status: PacketStatus) {
        let mut returning = self.queues.tx_return.begin();
        while self.used > 0 {
            if let Some(place) = returning.vacant() {
                place.put(self.sending[self.first].returned(0, status));
            }
            self.first = (self.first + 1) % SLOTS;
            self.used -= 1;
        }
    }

    /// Gives frames that were sent back to the host.
    fn sent(&mut self, slots: u16) {
        let mut returning = self.queues.tx_return.begin();
        while self.used > 0 {
            let bit = 1u16 << self.first;
            let (sent, under, aborted) = (slots & bit << 12, slots & bit << 8, slots & bit << 4);
            if sent | under | aborted == 0 {
                return;
            }
            let Some(place) = returning.vacant() else { return };
            let packet = self.sending[self.first];
            if aborted == 0 {
                self.stats.tx_packets += 1;
                self.stats.tx_bytes += u64::from(packet.len_bytes);
                place.put(packet.returned(packet.len_bytes, PacketStatus::Done));
            } else {
                self.stats.tx_errors += 1;
                place.put(packet.returned(0, PacketStatus::Failed));
                // It waits for this after an abort.
                self.regs.write(TCR, self.tcr | 1);
            }
            self.first = (self.first + 1) % SLOTS;
            self.used -= 1;
        }
    }

    /// Gives frames that came to the host. Returns whether there may be more; an error if the ring makes no sense.
    fn received(&mut self, budget: u32) -> Result<bool, Status> {
        let NetQueues { rx_provide, rx_return, pool, .. } = &mut self.queues;
        let (mut provided, mut returning) = (rx_provide.begin(), rx_return.begin());
        let (empty, empties) = (&mut self.empty, &mut self.empties);
        let (mut taken, mut moved) = (0, 0);
        let mut frame = [0u8; FRAME_BYTES as usize];
        while taken < budget && self.rx.available_bytes() >= 4 {
            let header: u32 = self.rx.read(0)?;
            let len = header >> 16;
            if len == UNFINISHED || in_ring(len) > self.rx.available_bytes() {
                break;
            }
            let good = header & HEADER_ROK != 0 && (14 + CRC_BYTES..=FRAME_BYTES + CRC_BYTES).contains(&len);
            if good {
                let len = len - CRC_BYTES;
                let Some(place) = returning.vacant() else { break };
                let packet = if *empties > 0 {
                    *empties -= 1;
                    empty[*empties]
                } else if let Some(entry) = provided.next() {
                    Packet::from(&entry)
                } else {
                    break;
                };
                let content = frame.get_mut(..len as usize).ok_or(Status::DeviceFailed)?;
                self.rx.read_bytes(4, content)?;
                let written = pool.bytes(&packet).ok_or(Status::Invalid).and_then(|room| room.write_bytes(0, content));
                if written.is_ok() {
                    self.stats.rx_packets += 1;
                    self.stats.rx_bytes += u64::from(len);
                    self.stats.multicast += u64::from(header >> 15 & 1);
                    place.put(packet.received(len, false));
                } else {
                    place.put(packet.returned(0, PacketStatus::Failed));
                }
            } else if header & HEADER_ROK != 0 && len > FRAME_BYTES + CRC_BYTES && len <= 4096 {
                // Longer than what we take, but whole.
                self.stats.rx_length_errors += 1;
                self.stats.rx_errors += 1;
            } else {
                return Err(Status::DeviceFailed);
            }
            self.rx.consume(in_ring(len))?;
            taken += 1;
            moved += in_ring(len);
        }
        if moved > 0 {
            self.regs.write(CAPR, (self.rx.position() as u16).wrapping_sub(16));
        }
        Ok(taken == budget)
    }

    /// Takes buffers for the next frames.
    fn refill(&mut self) {
        let mut provided = self.queues.rx_provide.begin();
        while self.empties < AT_HAND {
            let Some(entry) = provided.next() else { return };
            self.empty[self.empties] = Packet::from(&entry);
            self.empties += 1;
        }
    }

    /// Gives the host's frames to the chip. Returns whether some are left.
    fn send(&mut self, budget: u32) -> bool {
        let NetQueues { tx_provide, tx_return, pool, .. } = &mut self.queues;
        let mut provided = tx_provide.begin();
        let mut taken = 0;
        while self.used < SLOTS && taken < budget {
            let Some(entry) = provided.next() else { break };
            taken += 1;
            let packet = Packet::from(&entry);
            let slot = (self.first + self.used) % SLOTS;
            let at = slot as u32 * SLOT_BYTES;
            let room = self.tx.bytes();
            let copied = pool.bytes(&packet).ok_or(Status::Invalid).and_then(|from| {
                let len = packet.len_bytes;
                if len > FRAME_BYTES {
                    return Err(Status::Invalid);
                }
                room.copy(at, from.part(0, len)?)?;
                let missing = SHORTEST.saturating_sub(len);
                room.fill(at + len, missing, 0)?;
                Ok(len + missing)
            });
            let Ok(len) = copied else {
                if let Some(place) = tx_return.begin().vacant() {
                    place.put(packet.returned(0, PacketStatus::Failed));
                }
                continue;
            };
            self.sending[slot] = packet;
            self.used += 1;
            self.regs.write(TSD.get(slot as u32), TSD::SIZE.put(len) | TSD::ERTXTH.put(8));
        }
        provided.left() > 0
    }
}

nook_sdk::nook_driver! {
    Driver,
    class: net,
    name: "rtl8139",
    pci: "10ec:8139",
    registers: "rtl8139",
    // The ring with what lies behind it, and four slots.
    dma_bytes: 49152,
    dma_mask_bits: 32,
}
