//! The four verbs: find the device, do operations at once, begin a factorial, finish it by interrupt.

use edu_regs::{ACKNOWLEDGE, CAUSES, FACTORIAL, IDENTIFICATION, LIVENESS, STATUS};
use nook_sdk::{Input, Irq, Kernel, MiscDriver, Nook, ProbeReason, Regs, Status, Ticket, error, info};

/// How long the longest factorial takes that a driver before this one may have begun.
const LONGEST_NS: u64 = 30_000_000_000;
const LOOK_EVERY_NS: u64 = 1_000_000;

/// A device, and what it computes.
pub struct Edu<K: Kernel> {
    nook: Nook<K>,
    regs: Regs<K>,
    /// Who waits for the factorial that is being computed.
    waits: Option<Ticket>,
}

impl<K: Kernel> MiscDriver<K> for Edu<K> {
    const OPERATIONS: &'static str = "\
identify - ed000001
invert 78563412 87a9cbed
factorial 05000000 78000000
";

    fn probe(nook: Nook<K>, _: ProbeReason) -> Result<Self, Status> {
        let regs = nook.regs(0);
        let found = regs.read(IDENTIFICATION);
        if IDENTIFICATION::EDU.get(found) != 0xed {
            error!(nook, "this is no edu: it identifies itself as {found:#010x}");
            return Err(Status::NoDevice);
        }
        info!(nook, "edu {}.{}", IDENTIFICATION::MAJOR.get(found), IDENTIFICATION::MINOR.get(found));
        // A driver before this one may have left it computing: what is asked meanwhile would be lost.
        nook.poll_until(LONGEST_NS, LOOK_EVERY_NS, || regs.read(STATUS) & STATUS::COMPUTING == 0)?;
        let edu = Edu { nook, regs, waits: None };
        edu.be_quiet();
        Ok(edu)
    }

    fn remove(self) {
        self.be_quiet();
    }

    fn open(&mut self) -> Result<(), Status> {
        self.nook.irq_enable(0)?;
        self.regs.write(STATUS, STATUS::INTERRUPTS);
        Ok(())
    }

    fn stop(&mut self) -> Result<(), Status> {
        if let Some(ticket) = self.waits.take() {
            self.nook.complete(ticket, Err(Status::Busy));
        }
        self.be_quiet();
        self.nook.irq_disable(0)
    }

    fn invoke(&mut self, ticket: Ticket, operation: u32, input: Input<'_>) -> Result<(), Status> {
        match operation {
            0 => {
                input.array::<0>()?;
                let found = self.regs.read(IDENTIFICATION);
                self.nook.complete(ticket, Ok(&found.to_le_bytes()));
            }
            1 => {
                self.regs.write(LIVENESS, u32::from_le_bytes(input.array()?));
                let inverse = self.regs.read(LIVENESS);
                self.nook.complete(ticket, Ok(&inverse.to_le_bytes()));
            }
            2 => {
                let number = u32::from_le_bytes(input.array()?);
                // It takes one at a time and loses others without a word.
                if self.waits.is_some() || self.regs.read(STATUS) & STATUS::COMPUTING != 0 {
                    return Err(Status::Busy);
                }
                self.regs.write(FACTORIAL, number);
                self.waits = Some(ticket);
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
        self.regs.write(ACKNOWLEDGE, causes);
        if causes & CAUSES::COMPUTED != 0
            && let Some(ticket) = self.waits.take()
        {
            let factorial = self.regs.read(FACTORIAL);
            self.nook.complete(ticket, Ok(&factorial.to_le_bytes()));
        }
        Irq::Handled
    }
}

impl<K: Kernel> Edu<K> {
    fn be_quiet(&self) {
        self.regs.write(STATUS, 0);
        self.regs.write(ACKNOWLEDGE, u32::MAX);
    }
}
