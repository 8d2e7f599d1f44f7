//! Starting, resetting and shutting down a controller (sections 3.5 to 3.7).

use nook_sdk::{DmaRegion, Kernel, Nook, Regs, Status, error};
use nvme_regs::command::{self, Command};
use nvme_regs::{ACQ, AQA, ASQ, CAP, CC, CSTS, INTMC, INTMS, PAGE_BYTES, TIMEOUT_STEP_NS, admin, completion};

use crate::admin::{Admin, ENTRIES};
use crate::io::IO_ENTRIES;
use crate::pairs::Queue;

/// How often a change of status is looked for.
const LOOK_NS: u64 = 1_000_000;
/// How long a shutdown may take: as long as a controller gets that says nothing (section 5.17.2.1, RTD3E).
const SHUTDOWN_NS: u64 = 5_000_000_000;
/// [`CAP`](const@CAP): the NVM command set.
const CSS_NVM: u64 = 1 << 0;

/// A controller, its admin queue and a page for what commands return.
pub(crate) struct Controller<K: Kernel> {
    nook: Nook<K>,
    pub(crate) regs: Regs<K>,
    pub(crate) admin: Admin<K>,
    /// Where commands put what they return.
    page: DmaRegion<K>,
    /// How long a change of `CC::EN` may take.
    timeout_ns: u64,
}

impl<K: Kernel> Controller<K> {
    /// Looks at what the controller is, and refuses what the driver cannot do.
    pub(crate) fn new(nook: Nook<K>, regs: Regs<K>) -> Result<Self, Status> {
        let cap = regs.read(CAP);
        if cap == u64::MAX {
            error!(nook, "the controller does not answer");
            return Err(Status::NoDevice);
        }
        let (entries, stride) = (CAP::MQES.get(cap) + 1, CAP::DSTRD.get(cap));
        let refusals = [
            (CAP::CSS.get(cap) & CSS_NVM == 0, "it has no NVM command set"),
            (CAP::MPSMIN.get(cap) != 0, "its pages are larger than 4096 bytes"),
            (stride != 0, "its doorbells are further apart than 4 bytes"),
            (entries < IO_ENTRIES as u64, "its queues are shorter than 256 entries"),
        ];
        if let Some((_, why)) = refusals.iter().find(|(refused, _)| *refused) {
            error!(nook, "this controller cannot be used: {why} (CAP {cap:#x})");
            return Err(Status::Unsupported);
        }
        let timeout_ns = CAP::TO.get(cap).max(1) * TIMEOUT_STEP_NS;
        let page = nook.dma_alloc(PAGE_BYTES, PAGE_BYTES)?;
        Ok(Controller { nook, regs, admin: Admin::new(nook, regs)?, page, timeout_ns })
    }

    /// Waits until `CSTS::RDY` is as wanted, or the controller has failed.
    fn settled(&self, ready: bool) -> Result<(), Status> {
        let as_wanted = |csts: u32| csts & CSTS::RDY == if ready { CSTS::RDY } else { 0 };
        let gone = |csts: u32| csts == u32::MAX;
        let mut csts = 0;
        let waited = self.nook.poll_until(self.timeout_ns, LOOK_NS, || {
            csts = self.regs.read(CSTS);
            gone(csts) || as_wanted(csts) || ready && csts & CSTS::CFS != 0
        });
        if waited.is_ok() && as_wanted(csts) && !gone(csts) {
            return Ok(());
        }
        error!(self.nook, "the controller does not become {}: CSTS {csts:#x}", if ready { "ready" } else { "idle" });
        Err(if gone(csts) { Status::NoDevice } else { waited.err().unwrap_or(Status::DeviceFailed) })
    }

    /// Resets the controller (section 3.7.2). When this returns it uses no memory and has forgotten all commands.
    pub(crate) fn reset(&self) -> Result<(), Status> {
        let cc = self.regs.read(CC);
        // One that is on its way to ready has to arrive there first (section 3.5.1); one that failed does not.
        if cc & CC::EN != 0 && self.regs.read(CSTS) & (CSTS::RDY | CSTS::CFS) == 0 {
            self.settled(true).or_else(|status| if status == Status::NoDevice { Err(status) } else { Ok(()) })?;
        }
        self.regs.write(CC, cc & !CC::EN & !CC::SHN.mask());
        self.settled(false)
    }

    /// Starts a controller that was [`reset`](Self::reset) (section 3.5.1). All fields of the configuration are written
    /// each time: a reset has zeroed them.
    pub(crate) fn start(&mut self) -> Result<(), Status> {
        self.admin.clear()?;
        let last = ENTRIES as u32 - 1;
        self.regs.write(AQA, AQA::ASQS.put(last) | AQA::ACQS.put(last));
        self.regs.write(ASQ, self.admin.sq.iova());
        self.regs.write(ACQ, self.admin.cq.iova());
        self.nook.dma_enable()?;
        let sizes = CC::IOSQES.put(command::LOG_BYTES) | CC::IOCQES.put(completion::LOG_BYTES);
        self.regs.write(CC, sizes | CC::EN);
        self.settled(true)
    }

    /// Asks for I/O queues, as many of each kind, and returns how many are granted, which may be fewer (section
    /// 5.27.1.5).
    pub(crate) fn ask_for_queues(&mut self, wanted: u32) -> Result<u32, Status> {
        let last = wanted - 1;
        let numbers = admin::SUBMISSION_QUEUES.put(last) | admin::COMPLETION_QUEUES.put(last);
        let ask = Command::new(admin::SET_FEATURES, 0).dword(10, admin::FEATURE_QUEUES).dword(11, numbers);
        let granted = self.admin.command("Set Features (number of queues)", ask)?;
        let fewer = admin::SUBMISSION_QUEUES.get(granted).min(admin::COMPLETION_QUEUES.get(granted));
        Ok(wanted.min(fewer + 1))
    }

    /// Creates a pair of I/O queues, whose completions interrupt with `vector` (sections 5.4 and 5.5).
    pub(crate) fn create_queues(&mut self, queue: &Queue<K>, number: u32, vector: u32) -> Result<(), Status> {
        let size = admin::QUEUE_ID.put(number) | admin::QUEUE_SIZE.put(IO_ENTRIES as u32 - 1);
        let how = admin::CONTIGUOUS | admin::INTERRUPTS | admin::VECTOR.put(vector);
        let cq = Command::new(admin::CREATE_CQ, 0).data(queue.cq.iova(), 0).dword(10, size).dword(11, how);
        self.admin.command("Create I/O Completion Queue", cq)?;
        let how = admin::CONTIGUOUS | admin::CQ_ID.put(number);
        let sq = Command::new(admin::CREATE_SQ, 0).data(queue.sq.iova(), 0).dword(10, size).dword(11, how);
        self.admin.command("Create I/O Submission Queue", sq)?;
        Ok(())
    }

    /// Deletes a pair of I/O queues (sections 5.6 and 5.7). Commands that were in it are completed before.
    pub(crate) fn delete_queues(&mut self, number: u32) -> Result<(), Status> {
        let which = admin::QUEUE_ID.put(number);
        self.admin.command("Delete I/O Submission Queue", Command::new(admin::DELETE_SQ, 0).dword(10, which))?;
        self.admin.command("Delete I/O Completion Queue", Command::new(admin::DELETE_CQ, 0).dword(10, which))?;
        Ok(())
    }

    /// Announces a shutdown and waits until it is complete: what was cached is durable then (section 3.6.1).
    pub(crate) fn shut_down(&self) -> Result<(), Status> {
        self.regs.modify(CC, |cc| cc & !CC::SHN.mask() | CC::SHN.put(1));
        self.nook.poll_until(SHUTDOWN_NS, LOOK_NS, || CSTS::SHST.get(self.regs.read(CSTS)) == 2)
    }

    /// Reads what a command with a page of data returns.
    pub(crate) fn page(&mut self, what: &str, command: Command) -> Result<&DmaRegion<K>, Status> {
        self.admin.command(what, command.data(self.page.iova(), 0))?;
        Ok(&self.page)
    }

    /// Masks the one interrupt that there is, or opens it. Not with MSI-X (section 3.1.3.3).
    pub(crate) fn mask(&self, masked: bool) {
        if masked {
            self.regs.write(INTMS, 1);
        } else {
            self.regs.write(INTMC, 1);
        }
    }
}
