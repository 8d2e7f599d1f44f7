//! A driver of a disk in memory, behind the raw calls.
#![expect(unsafe_code, reason = "the tests probe a driver, whose memory is leaked")]

use std::vec;
use std::vec::Vec;

use nook_abi::block::{BlockCompletion, BlockRequest, request_flags};
use nook_abi::{ProbeReason, QUEUE_CAPACITY, Status};

use super::driver::BlockDriver;
use super::queues::{Completing, RequestTicket, Requested};
use super::{BlockOp, BlockStatus, Disk, Running, disk_flags};
use crate::testing::{TestHost, TestKernel};
use crate::{Instance, Irq, Kernel, Nook, Poll};

const BLOCKS: u64 = 64;

type InMemory = Instance<TestKernel, Running<TestKernel, Memory>>;

/// Reads and writes at once, but for discards, which it keeps until it is stopped.
struct Memory {
    content: Vec<u8>,
    kept: Vec<RequestTicket>,
}

impl<K: Kernel> BlockDriver<K> for Memory {
    fn probe(nook: Nook<K>, _: ProbeReason) -> Result<Self, Status> {
        assert_eq!((nook.most_requests(), nook.transfer_bytes()), (16, 65536));
        Ok(Memory { content: vec![0; BLOCKS as usize * 512], kept: Vec::new() })
    }
    fn disk(&self) -> Disk {
        Disk {
            blocks: BLOCKS,
            block_bytes: 512,
            max_blocks: 8,
            max_zeroes: BLOCKS as u32,
            flags: disk_flags::DISCARD | disk_flags::FUA,
            serial: [0; 40],
        }
    }
    fn remove(self) {}
    fn open(&mut self) -> Result<(), Status> {
        Ok(())
    }
    fn stop(&mut self, completing: &mut Completing<'_>) -> Result<(), Status> {
        for ticket in self.kept.drain(..) {
            completing.vacant().ok_or(Status::NoMemory)?.unused(ticket);
        }
        Ok(())
    }
    fn poll(&mut self, requested: &mut Requested<'_>, completing: &mut Completing<'_>) -> Poll {
        while let Some(place) = completing.vacant() {
            let Some(request) = requested.next() else { return Poll::Idle };
            let from = request.first as usize * 512;
            let content = self.content.get_mut(from..from + request.data.len_bytes() as usize);
            let moved = match (request.op, content) {
                (BlockOp::Discard, _) => {
                    self.kept.push(request.ticket);
                    continue;
                }
                (BlockOp::Read, Some(content)) => request.data.write_bytes(0, content),
                (BlockOp::Write, Some(content)) => request.data.read_bytes(0, content),
                _ => Err(Status::Invalid),
            };
            match moved {
                Ok(()) => place.done(request.ticket),
                Err(_) => place.failed(request.ticket, 0x4080),
            }
        }
        Poll::Again
    }
    fn irq(&mut self, _: u32) -> Irq {
        Irq::NotMine
    }
}

fn probed() -> (TestHost, InMemory) {
    let host = TestHost::new().with_disk();
    let mut instance = Instance::new(host.kernel());
    // SAFETY: the page and what it names is leaked memory.
    assert_eq!(unsafe { instance.probe(0, host.page()) }, 0);
    (host, instance)
}

fn request(host: &TestHost, id: u32, op: BlockOp, first: u64, blocks: u32) -> BlockRequest {
    let len_bytes = if matches!(op, BlockOp::Read | BlockOp::Write) { blocks * 512 } else { 0 };
    let offset = host.transfer_offset(id);
    BlockRequest { id, generation: 7, op: op as u8, first, blocks, len_bytes, offset, ..BlockRequest::default() }
}

fn statuses(completed: &[BlockCompletion]) -> Vec<(u32, u16, u32)> {
    completed.iter().map(|it| (it.id, it.status, it.detail)).collect()
}

#[test]
fn the_disk_is_attached_when_the_device_was_found() {
    let (host, _instance) = probed();
    assert_eq!(host.calls(), ["block_attach [64]"]);
    let bytes = host.mailbox(Disk::BYTES);
    let disk = Disk::from_bytes(bytes[..].try_into().unwrap());
    assert_eq!((disk.blocks, disk.max_blocks, disk.broken_rule()), (BLOCKS, 8, None));
}

#[test]
fn what_is_written_is_read_from_the_buffer_that_the_request_names() {
    let (host, mut instance) = probed();
    let window = host.window();
    let iova = |id| host.page_now().window_iova + u64::from(host.transfer_offset(id));
    window.write_bytes(iova(3), &[0xa5; 1024]);
    host.request(request(&host, 3, BlockOp::Write, 10, 2));
    host.request(request(&host, 5, BlockOp::Read, 9, 3));
    assert_eq!(instance.poll(0, QUEUE_CAPACITY, 0), Poll::Idle as u32);
    let completed = host.completed();
    assert_eq!(statuses(&completed), [(3, 0, 0), (5, 0, 0)]);
    assert!(completed.iter().all(|completion| (completion.generation, completion.reserved) == (7, 0)));
    let mut read = [1; 1536];
    window.read_bytes(iova(5), &mut read);
    assert!(read[..512].iter().all(|&byte| byte == 0) && read[512..].iter().all(|&byte| byte == 0xa5));
}

#[test]
fn a_call_moves_no_more_each_way_than_its_budget() {
    let (host, mut instance) = probed();
    (0..5).for_each(|id| host.request(request(&host, id, BlockOp::Read, 0, 1)));
    for (budget, done, left) in [(1, 1, 4), (3, 3, 1), (256, 1, 0)] {
        instance.poll(0, budget, 0);
        assert_eq!((host.completed().len(), host.requests_waiting()), (done, left));
    }
}

#[test]
fn what_a_driver_has_when_it_is_stopped_is_returned_unused() {
    let (host, mut instance) = probed();
    (0..16).for_each(|id| host.request(request(&host, id, BlockOp::Discard, 0, 64)));
    instance.poll(0, QUEUE_CAPACITY, 0);
    assert_eq!(host.completed(), []);
    assert_eq!(instance.stop(), 0);
    let unused = BlockStatus::Unused as u16;
    assert_eq!(statuses(&host.completed()), (0..16).map(|id| (id, unused, 0)).collect::<Vec<_>>());
}

#[test]
fn what_the_device_says_is_passed_on_and_fua_arrives() {
    let (host, mut instance) = probed();
    host.request(request(&host, 0, BlockOp::Flush, 0, 0));
    instance.poll(0, QUEUE_CAPACITY, 0);
    assert_eq!(statuses(&host.completed()), [(0, BlockStatus::Failed as u16, 0x4080)]);
    let mut queues = super::queues::BlockQueues::new(host.nook().page());
    host.request(BlockRequest { flags: request_flags::FUA, ..request(&host, 1, BlockOp::Write, 0, 1) });
    let (mut requested, _) = queues.begin(1);
    assert_eq!(requested.left(), 1);
    let taken = requested.next().unwrap();
    assert_eq!((taken.fua, taken.ticket.id(), taken.iova % 4096), (true, 1, 0));
}

#[test]
fn a_request_that_makes_no_sense_is_not_taken() {
    let (host, mut instance) = probed();
    let window_bytes = host.page_now().window_len_bytes as u32;
    host.request(BlockRequest { offset: window_bytes - 511, ..request(&host, 0, BlockOp::Read, 0, 1) });
    instance.poll(0, QUEUE_CAPACITY, 0);
    assert_eq!((host.completed(), host.requests_waiting()), (Vec::new(), 1));
}
