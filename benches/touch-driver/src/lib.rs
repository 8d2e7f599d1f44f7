//! A driver that does one thing a given number of times: touches bytes, reads or writes a register, calls the host. All
//! that the benchmarks run is compiled from this one source, so that every isolation level does the same work.
//!
//! It drives no device and moves no packets; benches/ is its only user. Its `poll` takes the job ([`job`]) in place of
//! a queue's number, and how much of it in place of a budget.
#![deny(unsafe_code)]
#![cfg_attr(not(test), no_std)]

#[expect(unsafe_code, reason = "statics that one value at a time may borrow, for a stack is too small for them")]
mod area;

use core::hint::black_box;

use e1000_regs::{STATUS, TIPG};
use nook_sdk::{Irq, Kernel, NetDriver, Nook, Poll, ProbeReason, Regs, RxMode, Status, checksum};

pub use area::AREA_BYTES;
use area::Area;

/// What `poll` is asked to do.
pub mod job {
    /// Nothing: the call itself.
    pub const NOTHING: u32 = 0;
    /// Computes the Internet checksum over this many bytes.
    pub const CHECKSUM: u32 = 1;
    /// Copies this many bytes, as a whole.
    pub const COPY: u32 = 2;
    /// Copies this many bytes word by word and adds them up, as a driver does that moves frames itself.
    pub const TOUCH: u32 = 3;
    /// Reads a register this many times.
    pub const READ_REGISTER: u32 = 4;
    /// Writes a register this many times.
    pub const WRITE_REGISTER: u32 = 5;
    /// Makes this many calls that cost the host next to nothing.
    pub const HOSTCALL: u32 = 6;
    /// Reads this many bytes out of a register, four at a time: programmed I/O.
    pub const PIO: u32 = 7;
    /// Writes the last sum into the register that [`WRITE_REGISTER`] writes, to check the work.
    pub const TELL: u32 = 8;
    /// Stores a byte where [`AIM`] says, and nobody but the host may: a mistake, for levels that catch it.
    pub const STRAY: u32 = 9;
    /// Half an address of this process, for [`STRAY`]: the upper half first, and then the lower.
    pub const AIM: u32 = 10;
}

/// The driver.
pub struct Touch<K: Kernel> {
    nook: Nook<K>,
    regs: Regs<K>,
    area: Area,
    sum: u32,
    aim: u64,
}

/// Bytes in a round of a loop. Neither compiler unrolls loops of wasm, and each round checks its deadline: with a round
/// for every 8 bytes, which is what one gets from a plain loop, that look was three quarters of a checksum's cost.
const BLOCK: usize = 64;

/// Copies the block's words and adds them up.
#[inline(always)]
fn copy_and_sum(block: &[u8], to: &mut [u8], sums: &mut [u32; BLOCK / 4]) {
    let words = block.as_chunks().0.iter().zip(to.as_chunks_mut().0);
    for ((word, to), sum) in words.zip(sums) {
        let word = u32::from_le_bytes(*word);
        *to = word.to_le_bytes();
        *sum = sum.wrapping_add(word);
    }
}

impl<K: Kernel> Touch<K> {
    fn copy(&mut self, bytes: usize) -> u32 {
        let (source, sink) = self.area.both();
        sink[..bytes].copy_from_slice(&source[..bytes]);
        bytes as u32
    }

    fn touch(&mut self, bytes: usize) -> u32 {
        let (source, sink) = self.area.both();
        let (blocks, rest) = source[..bytes].as_chunks::<BLOCK>();
        let (to_blocks, to_rest) = sink[..bytes].as_chunks_mut::<BLOCK>();
        let mut sums = [0; BLOCK / 4];
        for (to, block) in to_blocks.iter_mut().zip(blocks) {
            copy_and_sum(block, to, &mut sums);
        }
        copy_and_sum(rest, to_rest, &mut sums);
        sums.iter().fold(0, |all, sum| all.wrapping_add(*sum))
    }

    fn pio(&mut self, bytes: usize) -> u32 {
        let (_, sink) = self.area.both();
        let to = sink[..bytes].as_chunks_mut::<4>().0;
        let count = to.len() as u32;
        to.iter_mut().for_each(|to| *to = self.regs.read(STATUS).to_le_bytes());
        count
    }
}

impl<K: Kernel> NetDriver<K> for Touch<K> {
    fn probe(nook: Nook<K>, _reason: ProbeReason) -> Result<Self, Status> {
        let area = Area::claim().ok_or(Status::NoMemory)?;
        nook.net_attach([2, 0, 0, 0, 0, 1], 1500)?;
        Ok(Touch { nook, regs: nook.regs(0), area, sum: 0, aim: 0 })
    }

    fn remove(self) {}

    fn open(&mut self) -> Result<(), Status> {
        Ok(())
    }

    fn stop(&mut self) -> Result<(), Status> {
        Ok(())
    }

    #[inline]
    // Nothing is received.
    fn discard_rx(&mut self, _queue: u32) {}

    fn poll(&mut self, what: u32, amount: u32) -> Poll {
        let bytes = (amount as usize).min(AREA_BYTES);
        match what {
            job::NOTHING => {}
            job::CHECKSUM => self.sum = checksum(0, &self.area.source()[..bytes]).into(),
            job::COPY => self.sum = self.copy(bytes),
            job::TOUCH => self.sum = self.touch(bytes),
            job::READ_REGISTER => (0..amount).for_each(|_| self.sum = black_box(self.regs.read(STATUS))),
            job::WRITE_REGISTER => (0..amount).for_each(|value| self.regs.write(TIPG, value)),
            job::HOSTCALL => (0..amount).for_each(|_| self.nook.poll_schedule(0)),
            job::STRAY => area::stray(self.aim),
            job::AIM => self.aim = self.aim << 32 | u64::from(amount),
            job::PIO => self.sum = self.pio(bytes),
            _ => self.regs.write(TIPG, self.sum),
        }
        Poll::Idle
    }

    fn irq(&mut self, _vector: u32) -> Irq {
        Irq::Handled
    }

    fn set_rx_mode(&mut self, _mode: RxMode<'_>) -> Result<(), Status> {
        Ok(())
    }
}

nook_sdk::nook_driver! {
    Touch,
    class: net,
    name: "touch",
    pci: "8086:100e",
    registers: "e1000",
    dma_bytes: 4096,
    dma_mask_bits: 64,
}
