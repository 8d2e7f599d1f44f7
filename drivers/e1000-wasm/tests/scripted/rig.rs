//! A driver between a test host and a scripted chip, and the host's record of which side has which packet.

use std::cell::{RefCell, RefMut};
use std::rc::Rc;

use e1000_regs::STATUS;
use e1000_wasm::E1000;
use nook_sdk::abi::QUEUE_CAPACITY;
use nook_sdk::abi::net::{NetStats, PacketStatus, Queue, QueueEntry, entry_flags};
use nook_sdk::testing::{TestHost, TestKernel};
use nook_sdk::{Irq, NetDriver, Poll, ProbeReason, Register, Status};

use crate::chip::Chip;

/// Buffers 0 to 299 are for receiving, the others for sending.
const RX_BUFFERS: u32 = 300;
const BUFFERS: u32 = 600;

pub struct Rig {
    pub host: TestHost,
    chip: Rc<RefCell<Chip>>,
    pub driver: E1000<TestKernel>,
    /// Which packets the host has, and how often each was given.
    with_host: Vec<bool>,
    generation: Vec<u16>,
    /// How many packets came back, by queue and status.
    pub rx: Tally,
    pub tx: Tally,
}

/// What came back.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Tally {
    pub done: u32,
    pub failed: u32,
    pub unused: u32,
}

pub fn tally(done: u32, failed: u32, unused: u32) -> Tally {
    Tally { done, failed, unused }
}

/// Returns a host and a chip, before anything happens.
pub fn bench() -> (TestHost, Rc<RefCell<Chip>>) {
    let host = TestHost::new();
    let chip = Rc::new(RefCell::new(Chip::new(host.window())));
    host.plug(&chip);
    (host, chip)
}

/// Returns what `probe` says about a chip that the test has prepared.
pub fn probe(prepare: impl FnOnce(&mut Chip)) -> (TestHost, Rc<RefCell<Chip>>, Result<E1000<TestKernel>, Status>) {
    let (host, chip) = bench();
    prepare(&mut chip.borrow_mut());
    let driver = E1000::probe(host.nook(), ProbeReason::Cold);
    (host, chip, driver)
}

impl Rig {
    /// Returns what the driver has counted.
    pub fn stats(&mut self) -> NetStats {
        self.driver.stats().expect("it counts")
    }

    /// Returns a driver that has probed a chip and waits to be opened.
    pub fn probed(prepare: impl FnOnce(&mut Chip)) -> Rig {
        let (host, chip, driver) = probe(prepare);
        let driver = driver.unwrap_or_else(|status| panic!("probe: {status}"));
        host.take_calls();
        Rig {
            host,
            chip,
            driver,
            with_host: vec![true; BUFFERS as usize],
            generation: vec![0; BUFFERS as usize],
            rx: Tally::default(),
            tx: Tally::default(),
        }
    }

    /// Returns a driver that is open, with a link, a full receive ring, and nothing left to do.
    pub fn open() -> Rig {
        let mut rig = Rig::probed(|_| ());
        rig.provide_rx(QUEUE_CAPACITY);
        rig.driver.open().unwrap();
        rig.chip().set(STATUS, STATUS::LU | STATUS::FD | STATUS::SPEED.put(2));
        rig.chip().causes |= e1000_regs::ICR::LSC;
        assert_eq!(rig.irq(), Irq::Handled);
        assert_eq!(rig.poll(256), Poll::Idle);
        // The link's partner offers nothing.
        assert!(rig.deferred().0);
        rig.host.take_calls();
        rig.chip().take_reads();
        rig
    }

    pub fn chip(&self) -> RefMut<'_, Chip> {
        self.chip.borrow_mut()
    }

    /// Returns the value of a register.
    pub fn get(&self, register: Register<u32>) -> u32 {
        self.chip.borrow().get(register)
    }

    fn give(&mut self, queue: Queue, id: u32, len_bytes: u32, flags: u16) {
        self.with_host[id as usize] = false;
        let generation = self.generation[id as usize];
        self.host.provide(queue, QueueEntry { id, generation, flags, len_bytes, ..QueueEntry::default() });
    }

    fn free(&self, ids: std::ops::Range<u32>) -> Vec<u32> {
        ids.filter(|&id| self.with_host[id as usize]).collect()
    }

    /// Provides up to `count` empty buffers; how many it were.
    pub fn provide_rx(&mut self, count: u32) -> u32 {
        let room = (QUEUE_CAPACITY - self.host.waiting(Queue::RxProvide)).min(count);
        let ids: Vec<u32> = self.free(0..RX_BUFFERS).into_iter().take(room as usize).collect();
        ids.iter().for_each(|&id| self.give(Queue::RxProvide, id, 2048, 0));
        ids.len() as u32
    }

    /// Provides up to `count` frames to send.
    pub fn provide_tx(&mut self, count: u32) -> u32 {
        self.provide_buffers(count, entry_flags::FIRST | entry_flags::LAST)
    }

    /// Provides up to `count` buffers of frames to send, with these flags.
    pub fn provide_buffers(&mut self, count: u32, flags: u16) -> u32 {
        let room = (QUEUE_CAPACITY - self.host.waiting(Queue::TxProvide)).min(count);
        let ids: Vec<u32> = self.free(RX_BUFFERS..BUFFERS).into_iter().take(room as usize).collect();
        ids.iter().for_each(|&id| self.give(Queue::TxProvide, id, 60 + id, flags));
        ids.len() as u32
    }

    /// Reclaims what the driver returned, and sees to it that each packet was the driver's.
    pub fn collect(&mut self) {
        for (queue, ids) in [(Queue::RxReturn, 0..RX_BUFFERS), (Queue::TxReturn, RX_BUFFERS..BUFFERS)] {
            for entry in self.host.returned(queue) {
                let id = entry.id as usize;
                assert!(ids.contains(&entry.id), "{queue}: packet {id} is of the other queue");
                assert!(!self.with_host[id], "{queue}: packet {id} was returned twice");
                assert_eq!(entry.generation, self.generation[id], "{queue}: packet {id}");
                assert_eq!(entry.reserved, 0);
                self.with_host[id] = true;
                self.generation[id] += 1;
                let tally = if queue == Queue::RxReturn { &mut self.rx } else { &mut self.tx };
                match PacketStatus::from_u16(entry.status).expect("a status") {
                    PacketStatus::Done => tally.done += 1,
                    PacketStatus::Failed => tally.failed += 1,
                    PacketStatus::Unused => tally.unused += 1,
                    PacketStatus::Dropped => panic!("{queue}: packet {id} was dropped without a filter"),
                }
            }
        }
    }

    pub fn poll(&mut self, budget: u32) -> Poll {
        let answer = self.driver.poll(0, budget);
        self.collect();
        answer
    }

    pub fn irq(&mut self) -> Irq {
        self.driver.irq(0)
    }

    /// Does what the host does when it is asked for `poll` and `work`, and says whether it was asked for either.
    pub fn deferred(&mut self) -> (bool, bool) {
        let asked = |calls: &[String], name| calls.iter().any(|call| call.starts_with(name));
        let work = asked(&self.host.calls(), "work_schedule");
        if work {
            self.driver.work();
        }
        let poll = asked(&self.host.take_calls(), "poll_schedule");
        if poll {
            while self.poll(256) == Poll::Again {}
        }
        (work, poll)
    }

    /// Lets a second pass and does what the driver asks for then.
    pub fn tick(&mut self) -> (bool, bool) {
        self.host.advance(1_000_000_000);
        self.driver.timer();
        self.deferred()
    }

    /// Returns how many packets the driver and its queues have: receive and transmit buffers.
    pub fn with_driver(&self) -> (usize, usize) {
        let away = |ids: std::ops::Range<u32>| ids.len() - self.free(ids).len();
        (away(0..RX_BUFFERS), away(RX_BUFFERS..BUFFERS))
    }

    /// Returns how many of them wait in the queues to the driver.
    pub fn waiting(&self) -> (usize, usize) {
        (self.host.waiting(Queue::RxProvide) as usize, self.host.waiting(Queue::TxProvide) as usize)
    }
}
