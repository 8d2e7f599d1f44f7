//! A driver that has its card send memory that is not the driver's. Its ring is where it should be, because the host
//! checks that address, but each descriptor in it points outside the window. What stops that is the IOMMU and
//! nothing else: `tests/guest/cases.sh` shows that it does, and what the host makes of it.
//!
//! It is test equipment, and as little of a driver for QEMU's three cards as will do: it receives nothing, has no
//! interrupts and keeps no statistics.
#![cfg_attr(target_arch = "wasm32", no_std)] // A native cdylib would have to bring its own panic handler.
#![forbid(unsafe_code)]

use e1000_regs::{CTRL, IMC, TCTL, TDBAH, TDBAL, TDH, TDLEN, TDT, tx};
use nook_sdk::{
    DescriptorRing, DoneBit, Irq, Kernel, LinkState, NetDriver, NetQueues, Nook, Packet, PacketStatus, Poll,
    ProbeReason, Regs, RxMode, Status,
};

/// Where it points: at Linux's own code, which an uncompressed kernel on x86-64 has from 16 MiB on.
const ELSEWHERE: u64 = 0x100_0000;
/// Descriptors in the ring.
const RING: usize = 64;
/// How often it looks at its ring.
const LOOK_NS: u64 = 10_000_000;

/// The driver.
pub struct StrayDma<K: Kernel> {
    nook: Nook<K>,
    regs: Regs<K>,
    queues: NetQueues,
    tx: DescriptorRing<K, Packet, RING, 16, DoneBit<3, { tx::status::DD }>>,
}

impl<K: Kernel> NetDriver<K> for StrayDma<K> {
    fn probe(nook: Nook<K>, _reason: ProbeReason) -> Result<Self, Status> {
        let regs = nook.regs(0);
        regs.write(IMC, u32::MAX);
        regs.write(CTRL, CTRL::RST);
        nook.sleep_ns(20_000_000);
        regs.write(IMC, u32::MAX);
        nook.net_attach([2, 0, 0, 0, 0, 1], 1500)?;
        Ok(StrayDma { nook, regs, queues: nook.queues(), tx: DescriptorRing::new(nook)? })
    }

    fn remove(self) {}

    fn open(&mut self) -> Result<(), Status> {
        self.regs.write(CTRL, CTRL::SLU);
        self.regs.write(TDH, 0);
        self.regs.write(TDT, 0);
        let iova = self.tx.iova();
        self.regs.write(TDBAL, iova as u32);
        self.regs.write(TDBAH, (iova >> 32) as u32);
        self.regs.write(TDLEN, self.tx.len_bytes());
        self.nook.dma_enable()?;
        self.regs.write(TCTL, TCTL::EN | TCTL::PSP);
        self.nook.net_link(LinkState { up: true, speed_mbps: 1000, full_duplex: true });
        self.nook.timer_set(self.nook.now_ns() + LOOK_NS);
        Ok(())
    }

    fn stop(&mut self) -> Result<(), Status> {
        self.regs.write(TCTL, 0);
        self.nook.timer_set(0);
        self.nook.dma_disable()
    }

    // Nothing is received.
    fn discard_rx(&mut self, _queue: u32) {}

    fn poll(&mut self, _queue: u32, _budget: u32) -> Poll {
        let (mut sent, mut returning) = (self.tx.reap(), self.queues.tx_return.begin());
        while let (Some(place), Some(done)) = (returning.vacant(), sent.next()) {
            place.put(done.kept.returned(done.kept.len_bytes, PacketStatus::Done));
        }
        drop((sent, returning));
        let (mut fill, mut provided) = (self.tx.fill(), self.queues.tx_provide.begin());
        while let Some(slot) = fill.vacant()
            && let Some(entry) = provided.next()
        {
            let packet = Packet::from(&entry);
            let send = tx::command::EOP | tx::command::IFCS | tx::command::RS;
            let [a, b, c, d] = tx::legacy(ELSEWHERE, packet.len_bytes as u16, send);
            slot.put([u64::from(a) | u64::from(b) << 32, u64::from(c) | u64::from(d) << 32], packet);
        }
        drop((fill, provided));
        if let Some(tail) = self.tx.publish() {
            self.regs.write(TDT, tail);
        }
        Poll::Idle
    }

    fn irq(&mut self, _vector: u32) -> Irq {
        Irq::NotMine
    }

    fn timer(&mut self) {
        self.nook.timer_set(self.nook.now_ns() + LOOK_NS);
        self.nook.poll_schedule(0);
    }

    fn set_rx_mode(&mut self, _mode: RxMode<'_>) -> Result<(), Status> {
        Ok(())
    }
}

nook_sdk::nook_driver! {
    StrayDma,
    class: net,
    name: "stray-dma",
    pci: "8086:100e 8086:100f 8086:10d3",
    registers: "e1000",
    buffer_bytes: 1984,
    dma_bytes: 8192,
    dma_mask_bits: 64,
}
