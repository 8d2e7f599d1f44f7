//! A native driver that does one thing wrong once it is polled: which one, says a register of its device when it is
//! probed. For the tests of `--isolation native` and `wrapped` only.
#![deny(unsafe_code)]

mod system;

use std::cell::Cell;
use std::sync::atomic::{AtomicU32, Ordering};

use e1000_regs::{CTRL, ITR, STATUS, TIPG};
use nook_sdk::{
    Irq, Kernel, LinkState, NetDriver, NetQueues, NetStats, Nook, Packet, Poll, ProbeReason, RxMode, Status,
};

/// What it can do.
pub mod wrong {
    /// Nothing.
    pub const NOTHING: u32 = 0;
    /// Reads a BAR that no map describes.
    pub const OTHER_BAR: u32 = 1;
    /// Sleeps where it must not.
    pub const SLEEPS: u32 = 2;
    /// Asks for a delay that is too long.
    pub const DELAYS: u32 = 3;
    /// Returns a received frame twice.
    pub const RETURNS_TWICE: u32 = 4;
    /// Counts frames that there were not.
    pub const LIES: u32 = 5;
    /// Panics.
    pub const PANICS: u32 = 6;
    /// Panics once more while it is dropped.
    pub const PANICS_AT_THE_END: u32 = 7;
    /// Keeps something in a thread-local that has a destructor.
    pub const KEEPS_IN_A_THREAD: u32 = 8;
    /// Has the C library run something when the thread ends, past what its table of imports says.
    pub const STAYS: u32 = 9;
}

/// How often something of this copy was probed.
static PROBES: AtomicU32 = AtomicU32::new(0);

/// What is dropped when the thread ends, or before.
struct Kept(Cell<u32>);

impl Drop for Kept {
    fn drop(&mut self) {
        // Not compiled away, and it says nothing: the object may be gone a moment later.
        std::hint::black_box(self.0.get());
    }
}

thread_local! {
    static KEPT: Kept = const { Kept(Cell::new(0)) };
}

/// Does one thing wrong.
pub struct Odd<K: Kernel> {
    nook: Nook<K>,
    queues: NetQueues,
    wrong: u32,
}

impl<K: Kernel> NetDriver<K> for Odd<K> {
    fn probe(nook: Nook<K>, _: ProbeReason) -> Result<Self, Status> {
        let wrong = nook.regs(0).read(TIPG);
        // Where a test finds it.
        nook.regs(0).write(ITR, PROBES.fetch_add(1, Ordering::Relaxed) + 1);
        nook.net_attach([2, 0, 0, 0, 0, 1], 1500)?;
        Ok(Odd { nook, queues: nook.queues(), wrong })
    }

    fn remove(self) {}

    fn open(&mut self) -> Result<(), Status> {
        self.nook.net_link(LinkState { up: true, speed_mbps: 1000, full_duplex: true });
        Ok(())
    }

    fn stop(&mut self) -> Result<(), Status> {
        Ok(())
    }

    // Nothing is received.
    fn discard_rx(&mut self, _queue: u32) {}

    fn poll(&mut self, _: u32, _: u32) -> Poll {
        match self.wrong {
            wrong::OTHER_BAR => {
                self.nook.regs(3).read(STATUS);
            }
            wrong::SLEEPS => self.nook.sleep_ns(1),
            wrong::DELAYS => self.nook.delay_ns(u32::MAX),
            wrong::RETURNS_TWICE => {
                if let Some(entry) = self.queues.rx_provide.begin().next() {
                    let mut returning = self.queues.rx_return.begin();
                    for _ in 0..2 {
                        if let Some(place) = returning.vacant() {
                            place.put(Packet::from(&entry).received(60, false));
                        }
                    }
                }
            }
            wrong::LIES => self.nook.regs(0).modify(CTRL, |value| value),
            wrong::KEEPS_IN_A_THREAD => KEPT.with(|kept| kept.0.set(kept.0.get() + 1)),
            wrong::STAYS => system::stay(),
            wrong::PANICS | wrong::PANICS_AT_THE_END => panic!("on purpose"),
            _ => {}
        }
        Poll::Idle
    }

    fn irq(&mut self, _: u32) -> Irq {
        Irq::NotMine
    }

    fn set_rx_mode(&mut self, _: RxMode<'_>) -> Result<(), Status> {
        Ok(())
    }

    fn stats(&mut self) -> Option<NetStats> {
        let rx_packets = if self.wrong == wrong::LIES { 1_000_000 } else { 0 };
        Some(NetStats { rx_packets, ..NetStats::default() })
    }
}

impl<K: Kernel> Drop for Odd<K> {
    fn drop(&mut self) {
        if self.wrong == wrong::PANICS_AT_THE_END {
            panic!("once more");
        }
    }
}

nook_sdk::nook_driver! {
    Odd,
    class: net,
    name: "odd",
    pci: "8086:100e",
    registers: "e1000",
    dma_bytes: 8192,
    dma_mask_bits: 64,
}
