//! The four verbs: find the device, do operations at once, begin a factorial or a transfer, finish it by interrupt.

use edu_regs::*;
use nook_sdk::{DmaRegion, Input, Irq, Kernel, MiscDriver, Nook, ProbeReason, Regs, Status, Ticket, error, info};

/// How long the longest factorial takes that a driver before this one may have begun.
const LONGEST_NS: u64 = 30_000_000_000;
const LOOK_EVERY_NS: u64 = 1_000_000;
/// The most that an operation takes or gives.
const MOST_BYTES: usize = 2048;

/// A device, and what it does.
pub struct Edu<K: Kernel> {
    nook: Nook<K>,
    regs: Regs<K>,
    /// Memory from which and to which the device moves bytes.
    buffer: DmaRegion<K>,
    /// Who waits for the factorial that is being computed.
    computes: Option<Ticket>,
    /// Who waits for the transfer that is under way, and how many bytes it brings.
    moves: Option<(Ticket, usize)>,
}

impl<K: Kernel> MiscDriver<K> for Edu<K> {
    const OPERATIONS: &'static str = "\
identify - ed000001
invert 78563412 87a9cbed
factorial 05000000 78000000
store 100000006e6f6f6b -
load 1000000004000000 6e6f6f6b
";

    fn probe(nook: Nook<K>, _: ProbeReason) -> Result<Self, Status> {
        let regs = nook.regs(0);
        let found = regs.read(IDENTIFICATION);
        if IDENTIFICATION::EDU.get(found) != 0xed {
            error!(nook, "this is no edu: it identifies itself as {found:#010x}");
            return Err(Status::NoDevice);
        }
        info!(nook, "edu {}.{}", IDENTIFICATION::MAJOR.get(found), IDENTIFICATION::MINOR.get(found));
        let edu = Edu { nook, regs, buffer: nook.dma_alloc(4096, 4096)?, computes: None, moves: None };
        // A driver before this one may have left it at work: what is asked meanwhile would be lost.
        nook.poll_until(LONGEST_NS, LOOK_EVERY_NS, || regs.read(STATUS) & STATUS::COMPUTING == 0 && !edu.is_moving())?;
        edu.be_quiet();
        Ok(edu)
    }

    fn remove(self) {
        self.be_quiet();
    }

    fn open(&mut self) -> Result<(), Status> {
        self.nook.dma_enable()?;
        self.nook.irq_enable(0)?;
        self.regs.write(STATUS, STATUS::INTERRUPTS);
        Ok(())
    }

    fn stop(&mut self) -> Result<(), Status> {
        for ticket in [self.computes.take(), self.moves.take().map(|(ticket, _)| ticket)].into_iter().flatten() {
            self.nook.complete(ticket, Err(Status::Busy));
        }
        // The buffer is the device's until then.
        let quiet = self.nook.poll_until(LONGEST_NS, LOOK_EVERY_NS, || !self.is_moving());
        self.be_quiet();
        self.nook.irq_disable(0)?;
        self.nook.dma_disable()?;
        quiet
    }

    fn invoke(&mut self, ticket: Ticket, operation: u32, input: Input<'_>) -> Result<(), Status> {
        match operation {
            0 => {
                input.array::<0>()?;
                self.nook.complete(ticket, Ok(&self.regs.read(IDENTIFICATION).to_le_bytes()));
            }
            1 => {
                self.regs.write(LIVENESS, u32::from_le_bytes(input.array()?));
                self.nook.complete(ticket, Ok(&self.regs.read(LIVENESS).to_le_bytes()));
            }
            2 => {
                let number = u32::from_le_bytes(input.array()?);
                // It takes one at a time and loses others without a word.
                if self.computes.is_some() || self.regs.read(STATUS) & STATUS::COMPUTING != 0 {
                    return Err(Status::Busy);
                }
                self.regs.write(FACTORIAL, number);
                self.computes = Some(ticket);
            }
            3 => {
                let mut bytes = [0; MOST_BYTES];
                let bytes = bytes.get_mut(..input.len_bytes() as usize).ok_or(Status::Invalid)?;
                input.read(0, bytes)?;
                let (at, content) = bytes.split_first_chunk().ok_or(Status::Invalid)?;
                let at = self.place(u32::from_le_bytes(*at), content.len())?;
                self.buffer.bytes().write_bytes(0, content)?;
                self.start(self.buffer.iova(), at, content.len(), 0);
                self.moves = Some((ticket, 0));
            }
            4 => {
                let [a, b, c, d, len @ ..] = input.array::<8>()?;
                let len = u32::from_le_bytes(len) as usize;
                let at = self.place(u32::from_le_bytes([a, b, c, d]), len)?;
                self.start(at, self.buffer.iova(), len, DMA_COMMAND::TO_MEMORY);
                self.moves = Some((ticket, len));
            }
            _ => return Err(Status::Unsupported),
        }
        Ok(())
    }

    fn irq(&mut self, _: u32) -> Irq {
        let causes = self.regs.read(CAUSES);
        if causes == 0 {
            return Irq::NotMine;
        }
        // Read first, write last: so that the call can be rolled back.
        let factorial = self.regs.read(FACTORIAL);
        self.regs.write(ACKNOWLEDGE, causes);
        if let Some(ticket) = self.computes.take_if(|_| causes & CAUSES::COMPUTED != 0) {
            self.nook.complete(ticket, Ok(&factorial.to_le_bytes()));
        }
        if let Some((ticket, len)) = self.moves.take_if(|_| causes & CAUSES::MOVED != 0) {
            let mut bytes = [0; MOST_BYTES];
            let read = self.buffer.bytes().read_bytes(0, &mut bytes[..len]);
            self.nook.complete(ticket, read.map(|()| &bytes[..len]));
        }
        Irq::Handled
    }
}

impl<K: Kernel> Edu<K> {
    fn is_moving(&self) -> bool {
        self.regs.read(DMA_COMMAND) & DMA_COMMAND::RUNS != 0
    }

    /// Returns where the device's DMA addresses a part of its memory, if nothing is being moved.
    fn place(&self, at: u32, len: usize) -> Result<u64, Status> {
        if !(1..=MOST_BYTES).contains(&len) || at > MEMORY_BYTES - len as u32 {
            return Err(Status::Invalid);
        }
        if self.moves.is_some() || self.is_moving() { Err(Status::Busy) } else { Ok(MEMORY + u64::from(at)) }
    }

    fn start(&self, source: u64, destination: u64, len: usize, direction: u64) {
        self.regs.write(DMA_SOURCE, source);
        self.regs.write(DMA_DESTINATION, destination);
        self.regs.write(DMA_COUNT, len as u64);
        self.regs.write(DMA_COMMAND, direction | DMA_COMMAND::RUNS | DMA_COMMAND::INTERRUPTS);
    }

    fn be_quiet(&self) {
        self.regs.write(STATUS, 0);
        self.regs.write(ACKNOWLEDGE, u32::MAX);
    }
}
