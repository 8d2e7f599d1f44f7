//! The admin queue: commands that are waited for, and those that are not.

use nook_sdk::{ByIndex, CompletionRing, DescriptorRing, Kernel, Nook, Phase, Regs, Status, error};
use nvme_regs::command::{self, Command};
use nvme_regs::{CQHDBL, CSTS, SQTDBL, completion, status};

/// Entries of each admin queue.
pub(crate) const ENTRIES: usize = 32;
/// How long a command may take that is waited for.
const PATIENCE_NS: u64 = 5_000_000_000;
/// How often its completion is looked for.
const LOOK_NS: u64 = 100_000;

/// Identifiers of commands that are not waited for, above all others: a request for an event,
const EVENT_CID: u16 = 0x8000;
/// and the Abort of an I/O command, whose identifier is added.
const ABORT_CID: u16 = 0x4000;

/// The ring of commands of 64 bytes: the other ring says how many were taken.
pub(crate) type Submissions<K, const N: usize> = DescriptorRing<K, (), N, { command::BYTES as usize }, ByIndex>;
/// The ring of completions of 16 bytes: bit 16 of the last word is the phase (section 3.3.3.2.2).
pub(crate) type Completions<K, const N: usize> =
    CompletionRing<K, N, { completion::BYTES as usize }, Phase<{ completion::STATUS_WORD }, { completion::PHASE }>>;

/// Packs a command's words into the slot's halves.
#[inline(always)]
pub(crate) fn halves(Command(words): Command) -> [u64; 8] {
    core::array::from_fn(|at| u64::from(words[2 * at]) | u64::from(words[2 * at + 1]) << 32)
}

/// Forgets the commands that the controller has taken, as a completion says (section 3.3.1.2).
pub(crate) fn taken_to<K: Kernel, const N: usize>(ring: &mut Submissions<K, N>, head: u32) -> Result<(), Status> {
    let mut taken = ring.reap_to(head)?;
    while taken.next().is_some() {}
    Ok(())
}

/// A completion.
#[derive(Clone, Copy, Debug)]
struct Answer {
    cid: u16,
    result: u32,
    status: u16,
}

/// The admin queue pair.
pub(crate) struct Admin<K: Kernel> {
    nook: Nook<K>,
    regs: Regs<K>,
    pub(crate) sq: Submissions<K, ENTRIES>,
    pub(crate) cq: Completions<K, ENTRIES>,
    next_cid: u16,
    /// What the controller has reported and nobody has looked at.
    pub(crate) event: Option<u32>,
    /// Abort commands that are not complete.
    pub(crate) aborts: u32,
}

impl<K: Kernel> Admin<K> {
    pub(crate) fn new(nook: Nook<K>, regs: Regs<K>) -> Result<Self, Status> {
        let (sq, cq) = (DescriptorRing::new(nook)?, CompletionRing::new(nook)?);
        Ok(Admin { nook, regs, sq, cq, next_cid: 0, event: None, aborts: 0 })
    }

    /// Begins with empty queues. The controller must be off. What it completed while it was reset is still in memory,
    /// and would pass for new.
    pub(crate) fn clear(&mut self) -> Result<(), Status> {
        self.sq.clear(|()| ());
        (self.event, self.aborts) = (None, 0);
        self.cq.clear()
    }

    fn send(&mut self, command: Command) -> Result<(), Status> {
        self.sq.fill().vacant().ok_or(Status::Busy)?.put(halves(command), ());
        if let Some(tail) = self.sq.publish() {
            self.regs.write(SQTDBL.get(0), tail);
        }
        Ok(())
    }

    /// Takes the next completion.
    fn taken(&mut self) -> Result<Option<Answer>, Status> {
        let (answer, head) = {
            let mut taken = self.cq.take();
            let Some(done) = taken.next() else { return Ok(None) };
            let last = done.done_word();
            let answer = Answer {
                cid: completion::CID.get(last) as u16,
                result: done.word(completion::RESULT_WORD),
                status: completion::STATUS.get(last) as u16,
            };
            (answer, completion::SQHD.get(done.word(completion::QUEUE_WORD)))
        };
        if let Some(head) = self.cq.release() {
            self.regs.write(CQHDBL.get(0), head);
        }
        taken_to(&mut self.sq, head)?;
        Ok(Some(answer))
    }

    /// Notes a completion that nobody waits for.
    fn note(&mut self, answer: Answer) {
        if answer.cid == EVENT_CID && answer.status == status::SUCCESS {
            self.event = Some(answer.result);
        } else if answer.cid & ABORT_CID != 0 {
            // Whatever it says, it does not say what the disk holds: the command's own completion decides.
            self.aborts = self.aborts.saturating_sub(1);
        }
    }

    /// Takes what is complete of the commands that are not waited for. [`Status::DeviceFailed`] if the queue makes no
    /// sense any more.
    pub(crate) fn look(&mut self) -> Result<(), Status> {
        while let Some(answer) = self.taken()? {
            self.note(answer);
        }
        Ok(())
    }

    /// Sends a command and waits for it; `what` names it in the log. Process context only.
    pub(crate) fn command(&mut self, what: &str, command: Command) -> Result<u32, Status> {
        match self.try_command(what, command)? {
            (result, status::SUCCESS) => Ok(result),
            (_, status) => {
                error!(self.nook, "{what}: the controller refuses, status {status:#x}");
                Err(Status::DeviceFailed)
            }
        }
    }

    /// The same, for a command that may be refused: its result and status.
    pub(crate) fn try_command(&mut self, what: &str, command: Command) -> Result<(u32, u16), Status> {
        let cid = self.next_cid;
        self.next_cid = (cid + 1) % ABORT_CID;
        self.send(command.id(cid))?;
        let (mut found, mut failed) = (None, Ok(()));
        let nook = self.nook;
        let waited = nook.poll_until(PATIENCE_NS, LOOK_NS, || {
            loop {
                match self.taken() {
                    Ok(None) => break,
                    Ok(Some(answer)) if answer.cid == cid => found = Some((answer.result, answer.status)),
                    Ok(Some(answer)) => self.note(answer),
                    Err(status) => {
                        failed = Err(status);
                        break;
                    }
                }
            }
            found.is_some() || failed.is_err() || self.regs.read(CSTS) & CSTS::CFS != 0
        });
        failed?;
        found.ok_or_else(|| {
            let why = if waited.is_ok() { "the controller has failed" } else { "no answer" };
            error!(self.nook, "{what}: {why}");
            waited.err().unwrap_or(Status::DeviceFailed)
        })
    }

    /// Asks for the next event (section 5.2).
    pub(crate) fn request_event(&mut self) -> Result<(), Status> {
        self.send(Command::new(nvme_regs::admin::ASYNC_EVENT, 0).id(EVENT_CID))
    }

    /// Asks to abort an I/O command of the queue with this number (section 5.1).
    pub(crate) fn abort(&mut self, queue: u32, cid: u16) -> Result<(), Status> {
        let which = nvme_regs::admin::ABORT_SQ.put(queue) | nvme_regs::admin::ABORT_CID.put(cid.into());
        self.send(Command::new(nvme_regs::admin::ABORT, 0).id(ABORT_CID | cid).dword(10, which))?;
        self.aborts += 1;
        Ok(())
    }
}
