//! Submission and completion queues as NVM Express has them (base specification 2.0, section 3.3): commands of 64 bytes
//! one way, completions of 16 bytes with a phase the other, in any order, each with how far the device has taken
//! commands.

use proptest::prelude::*;
use std::vec;
use std::vec::Vec;

use super::orders;
use crate::Status;
use crate::ring::{ByIndex, CompletionRing, DescriptorRing, Phase, Reap};
use crate::testing::{TestHost, TestKernel, Window};

const COMMANDS: usize = 8;
/// Fewer, so that the device has to wait for its head.
const COMPLETIONS: usize = 4;
const PHASE: u32 = 1 << 16;

type Submit = DescriptorRing<TestKernel, (), COMMANDS, 64, ByIndex>;
type Complete = CompletionRing<TestKernel, COMPLETIONS, 16, Phase<3, PHASE>>;

struct Device {
    window: Window,
    commands_iova: u64,
    completions_iova: u64,
    command_head: u32,
    command_tail: u32,
    completion_tail: u32,
    completion_head: u32,
    phase: bool,
    /// Commands that were taken and not completed: identifiers.
    pending: Vec<u32>,
    taken: u32,
}

impl Device {
    fn take(&mut self) {
        if self.command_head == self.command_tail {
            return;
        }
        let command = self.commands_iova + u64::from(self.command_head) * 64;
        let id = self.window.read(command);
        assert_eq!(id, self.taken, "commands are taken in order, each once");
        // All 64 bytes are this command's.
        for word in (0..64).step_by(8).skip(1) {
            assert_eq!(self.window.read(command + word), id * 64 + word as u32);
        }
        self.pending.push(id);
        self.taken += 1;
        self.command_head = (self.command_head + 1) % COMMANDS as u32;
    }

    /// Completes one of the pending commands, if the queue has room: it keeps one slot empty.
    fn complete(&mut self, which: usize) {
        let next = (self.completion_tail + 1) % COMPLETIONS as u32;
        if self.pending.is_empty() || next == self.completion_head {
            return;
        }
        let id = self.pending.swap_remove(which % self.pending.len());
        let completion = self.completions_iova + u64::from(self.completion_tail) * 16;
        self.window.write(completion, !id);
        self.window.write(completion + 8, self.command_head);
        self.window.write(completion + 12, id & 0xffff | if self.phase { PHASE } else { 0 });
        self.completion_tail = next;
        self.phase ^= next == 0;
    }
}

#[derive(Clone, Copy, Debug)]
enum Step {
    Submit(u32),
    Take(u32),
    Complete(usize),
    Reap(u32),
    Release,
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        (1..COMMANDS as u32 + 2).prop_map(Step::Submit),
        (1..COMMANDS as u32 + 2).prop_map(Step::Take),
        (0..COMMANDS).prop_map(Step::Complete),
        (0..COMMANDS).prop_map(Step::Complete),
        (1..COMMANDS as u32 + 2).prop_map(Step::Reap),
        Just(Step::Release),
    ]
}

struct Pair {
    submit: Submit,
    complete: Complete,
    device: Device,
    submitted: u32,
    /// How often each command was completed.
    completed: Vec<u32>,
}

impl Pair {
    fn new(host: &TestHost) -> Self {
        let (submit, complete) = (Submit::new(host.nook()).unwrap(), Complete::new(host.nook()).unwrap());
        let device = Device {
            window: host.window(),
            commands_iova: submit.iova(),
            completions_iova: complete.iova(),
            command_head: 0,
            command_tail: 0,
            completion_tail: 0,
            completion_head: 0,
            phase: true,
            pending: Vec::new(),
            taken: 0,
        };
        Pair { submit, complete, device, submitted: 0, completed: Vec::new() }
    }

    fn step(&mut self, step: Step) {
        match step {
            Step::Submit(count) => {
                let mut fill = self.submit.fill();
                for _ in 0..count {
                    let Some(slot) = fill.vacant() else { break };
                    let id = self.submitted;
                    let mut words: [u64; 8] = core::array::from_fn(|word| u64::from(id * 64 + word as u32 * 8));
                    words[0] = id.into();
                    slot.put(words, ());
                    self.submitted += 1;
                }
                drop(fill);
                self.completed.resize(self.submitted as usize, 0);
                self.device.command_tail = self.submit.publish().unwrap_or(self.device.command_tail);
            }
            Step::Take(count) => (0..count).for_each(|_| self.device.take()),
            Step::Complete(which) => self.device.complete(which),
            Step::Reap(count) => {
                let mut taken = self.complete.take();
                for _ in 0..count {
                    let Some(done) = taken.next() else { break };
                    let id = !done.word(0);
                    assert_eq!(done.done_word() & 0xffff, id & 0xffff);
                    self.completed[id as usize] += 1;
                    take_all(self.submit.reap_to(done.word(2)).unwrap());
                }
            }
            Step::Release => {
                self.device.completion_head = self.complete.release().unwrap_or(self.device.completion_head)
            }
        }
    }
}

fn take_all(mut reap: Reap<'_, (), COMMANDS, 64, ByIndex>) -> usize {
    let mut count = 0;
    while reap.next().is_some() {
        count += 1;
    }
    count
}

proptest! {
    #![proptest_config(orders())]

    #[test]
    fn every_command_is_completed_once_whatever_the_order(steps in prop::collection::vec(step(), 1..200)) {
        let host = TestHost::new();
        let mut pair = Pair::new(&host);
        steps.into_iter().for_each(|it| pair.step(it));
        for _ in 0..pair.submitted {
            [Step::Take(1), Step::Complete(0), Step::Reap(1), Step::Release].into_iter().for_each(|it| pair.step(it));
        }
        let submitted = pair.submitted as usize;
        assert_eq!(pair.completed, vec![1; submitted]);
        assert_eq!((pair.complete.taken() as usize, pair.submit.in_flight()), (submitted, 0));
    }
}

#[test]
fn a_phase_is_distinguished_from_that_of_the_lap_before_over_many_laps() {
    let host = TestHost::new();
    let mut pair = Pair::new(&host);
    for round in 0..100 {
        assert!(pair.complete.take().next().is_none(), "nothing is there in round {round}");
        let steps = [Step::Submit(1), Step::Take(1), Step::Complete(0), Step::Reap(2), Step::Release];
        steps.into_iter().for_each(|it| pair.step(it));
        assert_eq!(pair.complete.taken(), round + 1);
    }
}

#[test]
fn no_more_than_a_whole_ring_is_taken_before_it_is_released() {
    let host = TestHost::new();
    let mut ring = Complete::new(host.nook()).unwrap();
    // A device that does not care about its head.
    for slot in 0..COMPLETIONS as u64 {
        host.window().write(ring.iova() + slot * 16 + 12, PHASE);
    }
    let mut taken = ring.take();
    assert_eq!((0..20).filter(|_| taken.next().is_some()).count(), COMPLETIONS);
    drop(taken);
    host.window().write(ring.iova() + 12, 0);
    assert!(ring.take().next().is_none());
    assert_eq!((ring.release(), ring.release()), (Some(0), None));
    assert!(ring.take().next().is_some());
}

#[test]
fn what_an_earlier_life_of_the_device_left_is_not_taken_after_clearing() {
    let host = TestHost::new();
    let mut pair = Pair::new(&host);
    for step in [Step::Submit(3), Step::Take(3), Step::Complete(0), Step::Complete(0), Step::Reap(1)] {
        pair.step(step);
    }
    assert_eq!(pair.complete.clear(), Ok(()));
    assert!(pair.complete.take().next().is_none());
    assert_eq!((pair.complete.taken(), pair.complete.release()), (0, None));
    host.window().write(pair.complete.iova() + 12, PHASE);
    assert!(pair.complete.take().next().is_some());
}

#[test]
fn an_index_that_cannot_be_is_the_devices_failure_and_nothing_is_reclaimed() {
    let host = TestHost::new();
    let mut pair = Pair::new(&host);
    pair.step(Step::Submit(3));
    for index in [4, 7, 8, u32::MAX] {
        assert_eq!(pair.submit.reap_to(index).err(), Some(Status::DeviceFailed), "{index}");
    }
    assert_eq!((take_all(pair.submit.reap_to(0).unwrap()), pair.submit.in_flight()), (0, 3));
    assert_eq!((take_all(pair.submit.reap_to(2).unwrap()), pair.submit.in_flight()), (2, 1));
    // It does not move backwards either.
    assert_eq!(pair.submit.reap_to(1).err(), Some(Status::DeviceFailed));
}
