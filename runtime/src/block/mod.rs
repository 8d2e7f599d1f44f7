//! The block class, host's side: the disk that a driver attached, the requests that it is given, and who asks for them.
//!
//! It is not what a disk is plugged into (that is `classes/block`, through [`BlockBackend`]) and knows no controller
//! and no descriptor. The loop calls it as a [`Class`].
//!
//! **What is asked is answered once, however the driver ends, and what was acknowledged is on the disk** as
//! docs/block.md says. What a driver had when it ended is given to the next one when the device is quiet, so that
//! nothing of the old one is still on its way; what ends every driver is answered with an error and counted. A snapshot
//! is never restored: a controller's queues come from commands, of which the device's registers know nothing.

mod bisect;
mod counters;
mod failures;
mod layout;
#[cfg(test)]
mod numbers;
mod port;
mod probe;
mod requests;
mod serve;
mod sums;

use std::os::fd::RawFd;

use nook_abi::block::{BlockFault, BlockQueue, BlockStatus, Disk, disk_flags};
use nook_abi::{Entry, Fault, QUEUE_CAPACITY, poll_result};
use nook_block_api::{BlockBackend, Geometry, Op, Outcome, Request};

use bisect::PollRestrictions;
pub use counters::BlockCounters;
use failures::Failures;
use layout::Buffers;
pub(crate) use layout::{page, ring_bytes, window_bytes};
pub use port::DiskChoice;
pub(crate) use port::Port;
use probe::{PROBE_ID, Probe};
use requests::{Answered, Handled, Requests, Verdict};
pub(crate) use serve::Hostcalls;
use sums::{Mismatch, Sums};

use crate::{CallOutcome, Class, Driver, Host, Launcher, Named, Nook, NookError};

/// Entries that one `poll` may move each way.
const BUDGET: u32 = QUEUE_CAPACITY;

/// One disk: what its driver has been given, and what it is plugged into.
pub struct Block<U> {
    backend: U,
    requests: Requests,
    counters: BlockCounters,
    /// The backend knows the disk.
    attached: bool,
    restrictions: PollRestrictions,
    last: LastPoll,
    /// When it is looked next whether the driver keeps something for too long, and whether the last look found that.
    next_look_ns: u64,
    suspect: bool,
    /// Completions of drivers, ever.
    returned: u64,
    resubmits: bool,
    /// No more requests are taken.
    closing: bool,
    /// What was written, if reads are compared with it, and what was found that ends the driver.
    sums: Option<Sums>,
    mismatch: Option<Mismatch>,
    failures: Failures,
    probe: Option<Probe>,
}

/// The `poll` that ran last.
#[derive(Clone, Copy, Debug, Default)]
struct LastPoll {
    budget: u32,
    answer: u32,
    /// Completions until then.
    returned: u64,
}

impl<U: BlockBackend> Block<U> {
    /// Creates it for the driver that this host serves.
    pub fn new(host: &Host, backend: U) -> Self {
        Block {
            backend,
            requests: Requests::new(Buffers::of(host.manifest())),
            counters: BlockCounters::default(),
            attached: false,
            restrictions: PollRestrictions::default(),
            last: LastPoll::default(),
            next_look_ns: 0,
            suspect: false,
            returned: 0,
            resubmits: true,
            closing: false,
            sums: None,
            mismatch: None,
            failures: Failures::default(),
            probe: None,
        }
    }

    fn disk(host: &Host) -> Option<&Disk> {
        host.port.block()?.disk.as_ref()
    }

    fn geometry(&self, disk: &Disk) -> Geometry {
        let has = |flag: u32| disk.flags & flag != 0;
        Geometry {
            block_bytes: disk.block_bytes,
            blocks: disk.blocks,
            max_blocks: self.requests.max_blocks(disk),
            read_only: has(disk_flags::READ_ONLY),
            volatile_cache: has(disk_flags::VOLATILE_CACHE),
            discard: has(disk_flags::DISCARD),
            write_zeroes: has(disk_flags::WRITE_ZEROES),
            serial: disk.serial_text().to_owned(),
        }
    }

    fn count_fault_at_work(&mut self) {
        self.counters.faults_at_work += u64::from(self.requests.are_given());
    }

    /// Answers what is over. A read that is not what was written ends the driver and is given again; the second time it
    /// is answered with an error. Failures of the device's may end the driver too ([`Failures`]).
    fn answer(&mut self, host: &Host) -> Result<(), NookError> {
        let Block { backend, requests, counters, sums, mismatch, failures, .. } = self;
        let window = host.window().slice();
        let answered = requests.answer(|answered, (offset, len_bytes)| {
            let Answered { id, request, verdict, .. } = *answered;
            // Where buffers lie follows from the layout, by which the window was made.
            let mut data = window.subslice(offset as usize, len_bytes as usize).ok();
            let mut verdict = verdict;
            if let (Some(sums), Verdict::Done) = (&mut *sums, verdict) {
                match (request.op, data) {
                    (Op::Write, _) => sums.wrote(id, &request),
                    (Op::WriteZeroes, _) => sums.zeroed(&request),
                    (Op::Read, Some(read)) if answered.settled => match sums.check(&request, &read) {
                        Ok(()) => data = Some(sums.checked()),
                        Err(found) if !found.known_bad && !answered.differed => {
                            mismatch.get_or_insert(found);
                            return Ok(Handled::Again);
                        }
                        Err(_) => {
                            sums.condemn(&request);
                            verdict = Verdict::Differs;
                        }
                    },
                    _ => {}
                }
            }
            match verdict {
                Verdict::Done => failures.done(&request),
                Verdict::Failed(_) => failures.failed(&request),
                _ => {}
            }
            if request.id == PROBE_ID {
                return Ok(Handled::Answered);
            }
            count(counters, &request, verdict, len_bytes);
            let outcome = if verdict == Verdict::Done { Outcome::Done } else { Outcome::IoError };
            let data = data.filter(|_| request.op == Op::Read && outcome == Outcome::Done);
            backend.complete(request.id, outcome, data).map(|()| Handled::Answered)
        });
        if let Some(sums) = sums {
            (counters.compared_blocks, counters.sums_given_up) = (sums.compared, sums.given_up);
        }
        if answered.map_err(above)? {
            self.backend.flush().map_err(above)?;
        }
        if let Some(Mismatch { block, written, read, .. }) = self.mismatch.take() {
            return Err(host.error(BlockFault::ReadDiffers { block, written, read }.into()));
        }
        let fault = self.failures.fault(host.clock.now_ns());
        fault.map_or(Ok(()), |fault| Err(host.error(fault.into())))
    }

    /// Takes what is asked, as far as there is room.
    fn take_requests(&mut self, host: &Host) -> Result<(), NookError> {
        let Block { backend, requests, sums, probe, .. } = self;
        let window = host.window().slice();
        if requests.has_room() && !self.closing {
            let read = probe.as_mut().and_then(Probe::take);
            read.map(|read| requests.ask(read));
        }
        while requests.has_room() && !self.closing {
            let Some(request) = backend.next().map_err(above)? else { break };
            let Some(id) = requests.ask(request) else { continue };
            let (offset, len_bytes) = requests.data(id, &request);
            if let Ok(buffer) = window.subslice(offset as usize, len_bytes as usize) {
                let filled = match sums {
                    Some(sums) => sums.fill(id, &buffer, |copy| backend.fill(request.id, copy)),
                    None => backend.fill(request.id, buffer),
                };
                filled.map_err(above)?;
            }
        }
        Ok(())
    }
}

/// Counts an answer; `len_bytes` is its data's length.
fn count(counters: &mut BlockCounters, request: &Request, verdict: Verdict, len_bytes: u32) {
    let Request { first, blocks, op, .. } = *request;
    match verdict {
        Verdict::Done => {
            let counter = match op {
                Op::Read => &mut counters.reads,
                Op::Write => &mut counters.writes,
                Op::Flush => &mut counters.flushes,
                Op::Discard => &mut counters.discards,
                Op::WriteZeroes => &mut counters.zeroes,
            };
            *counter += 1;
            match op {
                Op::Read => counters.read_bytes += u64::from(len_bytes),
                Op::Write => counters.written_bytes += u64::from(len_bytes),
                _ => {}
            }
            return;
        }
        Verdict::Failed(detail) => {
            counters.device_errors += 1;
            tracing::warn!("{op:?} of {blocks} blocks at {first}: the device says {detail:#x}");
        }
        Verdict::Abandoned => counters.abandoned += 1,
        Verdict::Poison => {
            counters.poison += 1;
            tracing::warn!("{op:?} of {blocks} blocks at {first}: given up, because drivers ended at it");
        }
        Verdict::Differs => {
            counters.differing += 1;
            tracing::error!("{op:?} of {blocks} blocks at {first}: what two drivers read is not what was written");
        }
        Verdict::Refused => counters.refused += 1,
    }
    counters.errors += 1;
}

/// Wraps an error of what a disk is plugged into.
#[cold]
fn above(error: std::io::Error) -> NookError {
    NookError::Above { what: "what the disk is plugged into", error }
}

impl<U: BlockBackend> Class for Block<U> {
    const CLASS: nook_abi::Class = nook_abi::Class::Block;
    type Image = ();

    fn begin(&mut self, host: &Host) {
        let rings = host.space.as_ref().map(|space| {
            (space.producer(BlockQueue::Requests as usize), space.consumer(BlockQueue::Completions as usize))
        });
        self.requests.begin(rings);
        self.restrictions = PollRestrictions::default();
        self.suspect = false;
    }

    fn set_up(&mut self, driver: &mut dyn Driver) -> Result<(), NookError> {
        let disk = *Self::disk(driver.host()).ok_or(NookError::AttachedNothing)?;
        self.requests.attach(disk);
        if let Some(sums) = &mut self.sums {
            sums.attach(disk.block_bytes);
        }
        if !self.attached {
            let geometry = self.geometry(&disk);
            self.backend.attach(&geometry).map_err(above)?;
            self.attached = true;
        }
        Ok(())
    }

    fn end(&mut self, _: &Host) {
        self.count_fault_at_work();
        self.requests.end(self.resubmits);
        self.restrictions = PollRestrictions::default();
    }

    fn expect_recovery(&mut self, _: u64) {}

    fn stopped(&mut self) {
        if let kept @ 1.. = self.requests.count_given() {
            tracing::warn!("stop: the driver kept {kept} requests");
        }
    }

    fn shut(&mut self, host: &mut Host) -> Result<(), NookError> {
        self.requests.abandon();
        let answered = self.answer(host);
        self.closing = false;
        if let Some(sums) = &mut self.sums {
            sums.clear();
        }
        // Also if an answer could not be given: the backend has to know that there is no disk any more.
        let detached = if std::mem::take(&mut self.attached) { self.backend.detach().map_err(above) } else { Ok(()) };
        answered.and(detached)
    }

    fn service(&mut self, host: &Host, now_ns: u64) -> Result<Option<u64>, NookError> {
        self.answer(host)?;
        let due = self.backend.service(now_ns).map_err(above)?;
        let look = self.requests.are_given().then_some(self.next_look_ns.max(now_ns));
        let (returned, open) = (self.returned, self.requests.count_open() > 0);
        let probe = self.probe.as_mut().map(|probe| probe.look(returned, open, now_ns));
        Ok([due, look, probe].into_iter().flatten().min())
    }

    fn check_health(&mut self, driver: &mut dyn Driver, now_ns: u64) -> Result<Option<u64>, NookError> {
        if now_ns < self.next_look_ns {
            return Ok(None);
        }
        let host = driver.host_mut();
        let limit_ns = host.call.budget.limits().transmit_ns;
        self.next_look_ns = now_ns + limit_ns / 20;
        let Some(before_ns) = now_ns.checked_sub(limit_ns) else { return Ok(None) };
        let overdue = self.requests.overdue(before_ns);
        // The first time, the driver is polled once more: an interrupt may have been lost.
        if std::mem::replace(&mut self.suspect, overdue > 0) && overdue > 0 {
            self.requests.note_stuck(before_ns);
            return Err(host.error(BlockFault::RequestStuck { requests: overdue, limit_ns }.into()));
        }
        if overdue > 0 {
            host.call.due.poll();
        }
        Ok(None)
    }

    #[inline]
    fn is_ready(&self, host: &Host) -> bool {
        Self::disk(host).is_some()
    }

    fn event_fds(&self, _: &Host, fds: &mut Vec<RawFd>) {
        // What is readable and cannot be taken now would end the wait at once, again and again.
        if self.requests.has_room() && !self.closing {
            self.backend.event_fds(fds);
        }
    }

    fn provide(&mut self, host: &mut Host, now_ns: u64) -> Result<u32, NookError> {
        if self.restrictions.withhold {
            return Ok(0);
        }
        self.requests.sync().map_err(|fault| host.error(fault))?;
        self.take_requests(host)?;
        let given = self.requests.give(now_ns);
        if let Some(sums) = &mut self.sums {
            let changes = |request: &Request| request.op.writes();
            self.requests.note_given(given, |request| {
                if changes(request) {
                    sums.forget(request)
                }
            });
        }
        self.counters.given_again = self.requests.given_again;
        self.answer(host)?;
        Ok(given)
    }

    fn call(&mut self, driver: &mut dyn Driver) -> Result<(), NookError> {
        // Whatever becomes of this call, the next one is an ordinary one unless somebody says otherwise again.
        let PollRestrictions { single, .. } = self.restrictions.take();
        let budget = if single > 0 { 1 } else { BUDGET };
        self.last = LastPoll { budget, answer: 0, returned: self.returned };
        self.last.answer = crate::class::poll(driver, budget, 0)?;
        Ok(())
    }

    fn check(&mut self) -> Result<(), Fault> {
        self.requests.check()
    }

    fn accept(&mut self, host: &mut Host) -> Result<(), NookError> {
        let (accepted, unused) = self.requests.accept();
        self.returned += u64::from(accepted);
        self.answer(host)?;
        match unused {
            // It would be given again at once, for ever.
            Some(id) if host.call.budget.entry() != Entry::Stop => {
                let (field, rule) = ("status", "unused, and the driver is not stopped");
                let value = BlockStatus::Unused as u64;
                Err(host.error(BlockFault::CompletionMalformed { id, field, value, rule }.into()))
            }
            _ => Ok(()),
        }
    }

    fn finish_call(&mut self, _: &mut Host) -> Result<CallOutcome, NookError> {
        let LastPoll { budget, answer, returned } = self.last;
        let arrived = self.returned - returned;
        Ok(CallOutcome { arrived, again: answer == poll_result::AGAIN, more: budget < BUDGET })
    }

    fn abort(&mut self) {
        self.count_fault_at_work();
        self.requests.disregard();
    }

    fn returned(&self) -> u64 {
        self.returned
    }

    fn idle_stamp(&self) -> Option<u64> {
        self.requests.idle_stamp()
    }

    fn before_snapshot(&mut self, _: &mut dyn Driver, _: u64) -> Result<(), NookError> {
        Ok(())
    }

    /// Returns nothing: a controller's queues, and what it was asked to report, come from commands, which no journal of
    /// registers repeats.
    fn capture(&self, _: &Host) -> Option<()> {
        None
    }

    fn fits(&self, (): &()) -> bool {
        false
    }

    fn restore(&mut self, _: &mut Host, (): &()) {}

    fn resubmit(&mut self, resubmits: bool) {
        self.resubmits = resubmits;
    }

    fn counts(&self) -> Vec<(&'static str, u64)> {
        self.counters.named()
    }
}

impl Host {
    /// Says which disk of the device is wanted, and how: before an instance is launched.
    pub fn choose_disk(&mut self, choice: DiskChoice) {
        if let crate::class::Port::Block(port) = &mut self.port {
            port.choice = choice;
        }
    }
}

impl<U: BlockBackend> Nook<Block<U>> {
    /// Creates a nook for a disk's driver: its disk is plugged into `backend`. Nothing runs yet.
    pub fn block(host: Host, launcher: Box<dyn Launcher>, backend: U) -> Self {
        let class = Block::new(&host, backend);
        Nook::new(host, launcher, class)
    }

    /// Returns the disk, once the driver has attached it.
    pub fn disk(&self) -> Option<&Disk> {
        Block::<U>::disk(self.host())
    }

    /// Returns what the disk is plugged into.
    pub fn backend(&self) -> &U {
        &self.class().backend
    }

    /// Mutable access to it.
    pub fn backend_mut(&mut self) -> &mut U {
        &mut self.class_mut().backend
    }

    /// Returns what is counted about the disk.
    pub fn block_counters(&self) -> &BlockCounters {
        &self.class().counters
    }

    /// Has reads compared with what was written, from here on: of each block that is written, a sum is kept, in
    /// `most_bytes` of memory at most. Before the driver is started.
    pub fn verify(&mut self, most_bytes: usize) {
        let requests = Buffers::of(self.host().manifest()).count;
        self.class_mut().sums = Some(Sums::new(most_bytes, requests));
    }

    /// Has a block read whenever nothing was completed for this long, so that a driver or a disk that does nothing any
    /// more is seen before somebody wants something of it. What comes of it goes nowhere. Before the driver is started.
    pub fn probe(&mut self, every_ns: u64) {
        self.class_mut().probe = Some(Probe::new(every_ns));
    }

    /// Takes no more requests from what the disk is plugged into, until it is shut and started again: what was taken
    /// can be waited for before the driver is stopped, by turns until [`open_requests`](Self::open_requests) is 0.
    pub fn take_no_more(&mut self) {
        self.class_mut().closing = true;
    }

    /// Returns how many requests were taken and are not answered.
    pub fn open_requests(&self) -> usize {
        self.class().requests.count_open()
    }

    /// Returns how many requests the driver has; what waits in the ring to it counts.
    pub fn requests_with_driver(&self) -> usize {
        self.class().requests.count_given()
    }
}
