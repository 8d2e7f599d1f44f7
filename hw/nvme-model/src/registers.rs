//! Registers (section 3.1.3), and what it takes to start, to reset and to shut down a controller (sections 3.5 to 3.7).

use nvme_regs::{ACQ, AQA, ASQ, CAP, CC, CQHDBL, CSTS, INTMC, INTMS, PAGE_BYTES, QUEUES, SQTDBL, VS, admin};

use crate::NEVER;
use crate::model::Model;
use crate::queues::{Completions, Submission};

/// Entries of an I/O queue at most, less one.
pub(crate) const MQES: u64 = 1023;
/// How long starting and stopping may take, in units of 500 ms.
const TIMEOUT: u64 = 4;
/// Version 1.4.
pub(crate) const VERSION: u32 = 0x0001_0400;
/// [`CAP`](const@CAP): the NVM command set.
const CSS_NVM: u64 = 1;

/// Whether the controller runs.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) enum State {
    #[default]
    Off,
    Starting {
        until_ns: u64,
    },
    Ready,
    /// It is being reset: what it had taken may still reach memory.
    Stopping {
        until_ns: u64,
    },
}

/// How far a shutdown is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) enum Shutdown {
    #[default]
    None,
    UnderWay {
        until_ns: u64,
    },
    Complete,
}

#[derive(Debug, Default)]
pub(crate) struct Registers {
    pub(crate) cc: u32,
    aqa: u32,
    asq: u64,
    acq: u64,
    pub(crate) state: State,
    pub(crate) shutdown: Shutdown,
    /// Controller fatal status.
    pub(crate) failed: bool,
}

impl Registers {
    /// Returns when something changes by itself.
    pub(crate) fn due_ns(&self) -> u64 {
        let state = match self.state {
            State::Starting { until_ns } | State::Stopping { until_ns } => until_ns,
            State::Off | State::Ready => NEVER,
        };
        match self.shutdown {
            Shutdown::UnderWay { until_ns } => state.min(until_ns),
            Shutdown::None | Shutdown::Complete => state,
        }
    }

    fn csts(&self) -> u32 {
        let ready = matches!(self.state, State::Ready | State::Stopping { .. });
        let shutdown = match self.shutdown {
            Shutdown::None => 0,
            Shutdown::UnderWay { .. } => 1,
            Shutdown::Complete => 2,
        };
        (CSTS::RDY * u32::from(ready)) | (CSTS::CFS * u32::from(self.failed)) | CSTS::SHST.put(shutdown)
    }
}

/// Puts `value` into the half of `of` that lies at `offset`.
fn put_half(of: &mut u64, offset: u32, value: u32) {
    let shift = offset % 8 * 8;
    *of = *of & !(u64::from(u32::MAX) << shift) | u64::from(value) << shift;
}

fn half(of: u64, offset: u32) -> u32 {
    (of >> (offset % 8 * 8)) as u32
}

const CAP_AT: u32 = CAP.offset();
const CAP_HIGH_AT: u32 = CAP.offset() + 4;
const VS_AT: u32 = VS.offset();
const INTMS_AT: u32 = INTMS.offset();
const INTMC_AT: u32 = INTMC.offset();
const CC_AT: u32 = CC.offset();
const CSTS_AT: u32 = CSTS.offset();
const AQA_AT: u32 = AQA.offset();
const ASQ_AT: u32 = ASQ.offset();
const ASQ_HIGH_AT: u32 = ASQ.offset() + 4;
const ACQ_AT: u32 = ACQ.offset();
const ACQ_HIGH_AT: u32 = ACQ.offset() + 4;
const DOORBELLS_AT: u32 = SQTDBL.offset();
const DOORBELLS_END: u32 = SQTDBL.offset() + QUEUES * SQTDBL.stride();
const HEADS: u32 = CQHDBL.offset() - SQTDBL.offset();

impl Model {
    pub(crate) fn read_register(&mut self, offset: u32) -> u32 {
        let registers = &self.registers;
        match offset {
            CAP_AT | CAP_HIGH_AT => {
                let cap = CAP::MQES.put(MQES) | CAP::CQR | CAP::TO.put(TIMEOUT) | CAP::CSS.put(CSS_NVM);
                half(cap, offset)
            }
            VS_AT => VERSION,
            INTMS_AT | INTMC_AT => self.irq.mask(),
            CC_AT => registers.cc,
            CSTS_AT => registers.csts(),
            AQA_AT => registers.aqa,
            ASQ_AT | ASQ_HIGH_AT => half(registers.asq, offset),
            ACQ_AT | ACQ_HIGH_AT => half(registers.acq, offset),
            _ => 0,
        }
    }

    pub(crate) fn write_register(&mut self, offset: u32, value: u32) {
        match offset {
            INTMS_AT => self.irq.set_mask(value, true),
            INTMC_AT => self.irq.set_mask(value, false),
            CC_AT => self.write_cc(value),
            AQA_AT => self.registers.aqa = value & (AQA::ASQS.mask() | AQA::ACQS.mask()),
            ASQ_AT | ASQ_HIGH_AT => put_half(&mut self.registers.asq, offset, value),
            ACQ_AT | ACQ_HIGH_AT => put_half(&mut self.registers.acq, offset, value),
            DOORBELLS_AT..DOORBELLS_END if self.works() => self.ring(offset, value),
            _ => {}
        }
    }

    fn ring(&mut self, offset: u32, value: u32) {
        let (queue, rest) = ((offset - DOORBELLS_AT) / SQTDBL.stride(), (offset - DOORBELLS_AT) % SQTDBL.stride());
        let valid = if rest == HEADS {
            let found = self.completions.iter_mut().find(|found| u32::from(found.id) == queue);
            found.map(|found| found.ring(value))
        } else {
            let found = self.submissions.iter_mut().find(|found| u32::from(found.id) == queue);
            found.map(|found| found.ring(value))
        };
        match valid {
            Some(true) => {}
            Some(false) => self.events.error(admin::ERROR_DOORBELL_VALUE),
            None => self.events.error(admin::ERROR_DOORBELL_REGISTER),
        }
    }

    fn write_cc(&mut self, value: u32) {
        let before = std::mem::replace(&mut self.registers.cc, value);
        let (was_on, on) = (before & CC::EN != 0, value & CC::EN != 0);
        if on && !was_on {
            self.start();
        } else if was_on && !on {
            let until_ns = self.now_ns + self.settle_ns();
            self.registers.state = State::Stopping { until_ns };
        }
        if CC::SHN.get(value) != 0 && self.registers.shutdown == Shutdown::None {
            let until_ns = self.now_ns + self.settle_ns();
            self.registers.shutdown = Shutdown::UnderWay { until_ns };
        }
        self.settle();
    }

    fn start(&mut self) {
        let Registers { cc, aqa, asq, acq, .. } = self.registers;
        if self.registers.state != State::Off {
            return self.fail("started before the last reset was over");
        }
        let entries = [AQA::ASQS.get(aqa), AQA::ACQS.get(aqa)].map(|last| last + 1);
        let strange = CC::CSS.get(cc) != 0 || CC::MPS.get(cc) != 0 || CC::AMS.get(cc) != 0;
        let whole_pages = [asq, acq].iter().all(|base| base.is_multiple_of(PAGE_BYTES.into()));
        if strange || entries.contains(&1) || !whole_pages {
            return self.fail("started with a configuration that is not offered");
        }
        self.submissions.push(Submission::new(0, asq, entries[0], 0));
        self.completions.push(Completions::new(0, acq, entries[1], Some(0)));
        let until_ns = self.now_ns + self.settle_ns();
        self.registers.state = State::Starting { until_ns };
    }

    /// Does what time does.
    pub(crate) fn settle(&mut self) {
        let now_ns = self.now_ns;
        match self.registers.state {
            State::Starting { until_ns } if until_ns <= now_ns && !self.registers.failed => {
                self.registers.state = State::Ready;
            }
            State::Stopping { until_ns } if until_ns <= now_ns => {
                self.finish_before_reset();
                self.forget_queues();
                // The admin queues' registers stay (section 3.7.2).
                let Registers { aqa, asq, acq, .. } = self.registers;
                self.registers = Registers { aqa, asq, acq, ..Registers::default() };
            }
            _ => {}
        }
        if let Shutdown::UnderWay { until_ns } = self.registers.shutdown
            && until_ns <= now_ns
        {
            match self.disk.flush() {
                Ok(()) => self.registers.shutdown = Shutdown::Complete,
                Err(error) => self.fail(&error.to_string()),
            }
        }
    }
}
