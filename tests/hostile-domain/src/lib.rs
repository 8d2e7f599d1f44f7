//! A native driver that does one thing wrong once it is polled: which one, and where, say registers of its device. For
//! the tests of `--isolation mpk` only.
#![no_std]
#![deny(unsafe_code)]

mod copies;
mod wild;

use e1000_regs::{FCAH, FCAL, FCT, TIPG, VET};
use nook_sdk::{Irq, Kernel, LinkState, NetDriver, NetStats, Nook, Poll, ProbeReason, RxMode, Status};

/// What it can do.
pub mod wrong {
    /// Nothing.
    pub const NOTHING: u32 = 0;
    /// Stores a word at the address.
    pub const STORES: u32 = 1;
    /// Jumps there.
    pub const JUMPS: u32 = 2;
    /// Runs for ever.
    pub const SPINS: u32 = 3;
    /// Runs for ever and asks for the time each round.
    pub const ASKS: u32 = 4;
    /// Calls itself for ever.
    pub const RECURSES: u32 = 5;
    /// Executes no instruction.
    pub const ILLEGAL: u32 = 6;
    /// Divides by zero.
    pub const DIVIDES: u32 = 7;
    /// Panics.
    pub const PANICS: u32 = 8;
    /// Returns to its host with its registers in disorder: direction, alignment checks, SSE and x87 control, and those
    /// that a function keeps.
    pub const MESSES: u32 = 9;
    /// Loads a word from the address, and stores it where the test finds it: that is no fault.
    pub const LOADS: u32 = 10;
    /// Runs for a while, a million rounds of two instructions, and stores a word at the address then.
    pub const SPINS_AND_STORES: u32 = 11;
    /// Jumps to the address with pointers to zeros in its memory where gates expect their context, and zeros for
    /// rights; if that comes back, stores a word at another address.
    pub const JUMPS_WITH_ZEROS: u32 = 12;
    /// Makes a hostcall in disorder.
    pub const ASKS_IN_DISORDER: u32 = 13;
    /// Executes no instruction, in disorder.
    pub const ILLEGAL_IN_DISORDER: u32 = 14;
    /// Runs for ever, in disorder.
    pub const SPINS_IN_DISORDER: u32 = 15;
    /// Has a local variable that is longer than the stack.
    pub const LONG_FRAME: u32 = 16;
    /// Calls a function with no room left for the address to return to.
    pub const CALLS_WITHOUT_STACK: u32 = 17;
    /// Executes no instruction, and its stack is nowhere.
    pub const ILLEGAL_WITHOUT_STACK: u32 = 18;
    /// Runs for ever, and its stack is nowhere.
    pub const SPINS_WITHOUT_STACK: u32 = 19;
    /// Jumps to its own stack.
    pub const JUMPS_TO_STACK: u32 = 20;
    /// Copies, moves, fills and compares by what its object has in place of a C library, and panics if that is wrong.
    pub const COPIES: u32 = 21;
    /// Asks for a poll of a queue that there is not.
    pub const ASKS_WRONGLY: u32 = 22;
    /// Attaches its interface once more, where that cannot be done.
    pub const ASKS_ELSEWHERE: u32 = 23;
    /// Reads and writes a register for ever: that is no fault.
    pub const USES_REGISTERS: u32 = 24;
}

/// A bit that the driver sets in the register `TIPG` when it uses registers.
pub const USED: u32 = 1 << 29;

/// Does one thing wrong.
pub struct Hostile<K: Kernel> {
    nook: Nook<K>,
    wrong: u32,
    address: u64,
    then: u64,
}

impl<K: Kernel> NetDriver<K> for Hostile<K> {
    fn probe(nook: Nook<K>, _: ProbeReason) -> Result<Self, Status> {
        let registers = nook.regs(0);
        let (wrong, low, high) = (registers.read(TIPG), registers.read(FCAL), registers.read(FCAH));
        nook.net_attach([2, 0, 0, 0, 0, 1], 1500)?;
        let (then_low, then_high) = (registers.read(FCT), registers.read(VET));
        let address = |high: u32, low: u32| u64::from(high) << 32 | u64::from(low);
        Ok(Hostile { nook, wrong, address: address(high, low), then: address(then_high, then_low) })
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
            wrong::STORES => wild::store(self.address),
            wrong::JUMPS => wild::jump(self.address),
            wrong::SPINS => wild::spin(),
            wrong::ASKS => loop {
                self.nook.clock_ns();
            },
            wrong::RECURSES => wild::recurse(0),
            wrong::ILLEGAL => wild::illegal(),
            wrong::DIVIDES => wild::divide(),
            wrong::PANICS => panic!("on purpose"),
            wrong::MESSES => wild::mess(),
            wrong::LOADS => {
                wild::load(self.address);
            }
            wrong::SPINS_AND_STORES => {
                wild::spin_for(1_000_000);
                wild::store(self.address);
            }
            wrong::JUMPS_WITH_ZEROS => {
                wild::jump_with_zeros(self.address);
                wild::store(self.then);
            }
            wrong::ASKS_IN_DISORDER => {
                wild::disorder();
                self.nook.clock_ns();
                wild::order();
            }
            wrong::ILLEGAL_IN_DISORDER => {
                wild::disorder();
                wild::illegal();
            }
            wrong::SPINS_IN_DISORDER => {
                wild::disorder();
                wild::spin();
            }
            wrong::LONG_FRAME => wild::long_frame(),
            wrong::CALLS_WITHOUT_STACK => wild::call_without_stack(),
            wrong::ILLEGAL_WITHOUT_STACK => wild::illegal_nowhere(),
            wrong::SPINS_WITHOUT_STACK => wild::spin_nowhere(),
            wrong::ASKS_WRONGLY => {
                self.nook.poll_schedule(99);
            }
            wrong::ASKS_ELSEWHERE => {
                let _ = self.nook.net_attach([2, 0, 0, 0, 0, 1], 1500);
            }
            wrong::USES_REGISTERS => loop {
                let registers = self.nook.regs(0);
                registers.write(TIPG, registers.read(TIPG) | USED);
            },
            wrong::COPIES => copies::check(),
            wrong::JUMPS_TO_STACK => wild::jump(wild::on_stack()),
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
        Some(NetStats::default())
    }
}

nook_sdk::nook_driver! {
    Hostile,
    class: net,
    name: "stray",
    pci: "8086:100e",
    registers: "e1000",
    dma_bytes: 8192,
    dma_mask_bits: 64,
}
