//! Admin commands (section 5).

use nvme_regs::{admin, command::Command, status};

use crate::model::Model;
use crate::prp;
use crate::queues::{Completions, Submission};
use crate::registers::MQES;
use crate::work::Outcome;

/// I/O queues of each kind that are granted at most.
const MOST_QUEUES: u32 = 8;

const REFUSED: u16 = status::DO_NOT_RETRY;

impl Model {
    /// Does a command; `None` if it waits for an event.
    pub(crate) fn admin(&mut self, command: &Command) -> Outcome {
        let done = match command.opcode() {
            admin::DELETE_SQ => self.delete_sq(command),
            admin::CREATE_SQ => self.create_sq(command),
            admin::GET_LOG_PAGE => self.log_page(command),
            admin::DELETE_CQ => self.delete_cq(command),
            admin::CREATE_CQ => self.create_cq(command),
            admin::IDENTIFY => self.tell(command),
            admin::ABORT => return self.abort_any(command.0[10]),
            admin::SET_FEATURES => self.set_feature(command),
            admin::GET_FEATURES => self.feature(command),
            admin::ASYNC_EVENT => return self.events.request(command.cid()),
            _ => Err(status::INVALID_OPCODE | REFUSED),
        };
        Some(match done {
            Ok(result) => (result, status::SUCCESS),
            Err(status) => (0, status),
        })
    }

    fn abort_any(&mut self, dword10: u32) -> Outcome {
        let cid = admin::ABORT_CID.get(dword10) as u16;
        if admin::ABORT_SQ.get(dword10) == 0 && self.events.abort(cid) {
            self.post(0, cid, 0, status::ABORT_REQUESTED);
            return Some((0, status::SUCCESS));
        }
        self.abort(dword10)
    }

    /// Checks identifier and length of a new I/O queue.
    fn new_queue(&self, command: &Command, taken: bool) -> Result<(u16, u32), u16> {
        let (id, last) = (admin::QUEUE_ID.get(command.0[10]), admin::QUEUE_SIZE.get(command.0[10]));
        if id == 0 || id > self.granted.max(1) || taken {
            return Err(status::INVALID_QUEUE_ID | REFUSED);
        }
        if last == 0 || u64::from(last) > MQES {
            return Err(status::INVALID_QUEUE_SIZE | REFUSED);
        }
        let sizes = (nvme_regs::CC::IOSQES.get(self.registers.cc), nvme_regs::CC::IOCQES.get(self.registers.cc));
        if sizes != (nvme_regs::command::LOG_BYTES, nvme_regs::completion::LOG_BYTES) {
            return Err(status::INVALID_QUEUE_SIZE | REFUSED);
        }
        if command.0[11] & admin::CONTIGUOUS == 0 {
            return Err(status::INVALID_FIELD | REFUSED);
        }
        if !command.prps()[0].is_multiple_of(nvme_regs::PAGE_BYTES.into()) {
            return Err(status::PRP_OFFSET | REFUSED);
        }
        Ok((id as u16, last + 1))
    }

    fn create_cq(&mut self, command: &Command) -> Result<u32, u16> {
        let id = admin::QUEUE_ID.get(command.0[10]) as u16;
        let (id, entries) = self.new_queue(command, self.completions.iter().any(|queue| queue.id == id))?;
        let vector = admin::VECTOR.get(command.0[11]);
        if vector >= self.irq.vectors() {
            return Err(status::INVALID_VECTOR | REFUSED);
        }
        let vector = (command.0[11] & admin::INTERRUPTS != 0).then_some(vector as u16);
        self.completions.push(Completions::new(id, command.prps()[0], entries, vector));
        Ok(0)
    }

    fn create_sq(&mut self, command: &Command) -> Result<u32, u16> {
        let id = admin::QUEUE_ID.get(command.0[10]) as u16;
        let (id, entries) = self.new_queue(command, self.submissions.iter().any(|queue| queue.id == id))?;
        let cq = admin::CQ_ID.get(command.0[11]) as u16;
        if cq == 0 || !self.completions.iter().any(|queue| queue.id == cq) {
            return Err(status::INVALID_CQ | REFUSED);
        }
        self.submissions.push(Submission::new(id, command.prps()[0], entries, cq));
        Ok(0)
    }

    fn delete_sq(&mut self, command: &Command) -> Result<u32, u16> {
        let id = admin::QUEUE_ID.get(command.0[10]) as u16;
        if id == 0 || !self.submissions.iter().any(|queue| queue.id == id) {
            return Err(status::INVALID_QUEUE_ID | REFUSED);
        }
        self.end_commands_of(id);
        self.submissions.retain(|queue| queue.id != id);
        Ok(0)
    }

    fn delete_cq(&mut self, command: &Command) -> Result<u32, u16> {
        let id = admin::QUEUE_ID.get(command.0[10]) as u16;
        if id == 0 || !self.completions.iter().any(|queue| queue.id == id) {
            return Err(status::INVALID_QUEUE_ID | REFUSED);
        }
        if self.submissions.iter().any(|queue| queue.cq == id) {
            return Err(status::QUEUE_IN_USE | REFUSED);
        }
        self.completions.retain(|queue| queue.id != id);
        Ok(0)
    }

    fn tell(&mut self, command: &Command) -> Result<u32, u16> {
        let page = self.identify(admin::CNS.get(command.0[10]), command.namespace());
        prp::store(&mut self.reach, command.prps(), &page.ok_or(status::INVALID_FIELD | REFUSED)?)?;
        Ok(0)
    }

    fn log_page(&mut self, command: &Command) -> Result<u32, u16> {
        let [page, upper, low, high] = [10, 11, 12, 13].map(|at| command.0[at]);
        let words = (admin::LOG_WORDS.get(page) | upper << 16).saturating_add(1);
        // No page is longer, and none is read from its middle.
        if words > 1024 || (low, high) != (0, 0) {
            return Err(status::INVALID_FIELD | REFUSED);
        }
        let bytes = self.events.log(admin::LOG.get(page), page & admin::LOG_RETAINS != 0, self.namespaces.disk);
        let bytes = bytes.ok_or(status::INVALID_LOG | REFUSED)?;
        prp::store(&mut self.reach, command.prps(), &bytes[..words as usize * 4])?;
        Ok(0)
    }

    fn set_feature(&mut self, command: &Command) -> Result<u32, u16> {
        let value = command.0[11];
        match admin::FEATURE.get(command.0[10]) {
            admin::FEATURE_CACHE if self.disk.has_cache() => {
                self.cache_on = value & 1 != 0;
                if !self.cache_on && self.disk.flush().is_err() {
                    return Err(status::INTERNAL);
                }
                Ok(0)
            }
            admin::FEATURE_QUEUES if self.submissions.len() > 1 || self.completions.len() > 1 => {
                Err(status::SEQUENCE_ERROR | REFUSED)
            }
            admin::FEATURE_QUEUES => {
                let wanted = (value & 0xffff).max(value >> 16) + 1;
                // It may grant fewer than it has (section 5.27.1.5).
                let fewer = self.behaviour.late_ns != 0 && wanted > 1 && self.rng.one_in(3);
                let most = if fewer { 1 + self.rng.below(wanted.into()) as u32 } else { wanted };
                self.granted = most.min(MOST_QUEUES);
                Ok((self.granted - 1) | (self.granted - 1) << 16)
            }
            admin::FEATURE_EVENTS => {
                self.events.enabled = value;
                Ok(0)
            }
            _ => Err(status::INVALID_FIELD | REFUSED),
        }
    }

    fn feature(&mut self, command: &Command) -> Result<u32, u16> {
        match admin::FEATURE.get(command.0[10]) {
            admin::FEATURE_CACHE if self.disk.has_cache() => Ok(u32::from(self.cache_on)),
            admin::FEATURE_QUEUES => Ok(self.granted.saturating_sub(1) * 0x1_0001),
            admin::FEATURE_EVENTS => Ok(self.events.enabled),
            _ => Err(status::INVALID_FIELD | REFUSED),
        }
    }
}
