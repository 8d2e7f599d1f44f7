//! Frames in both directions.

use e1000_regs::tx::command;
use e1000_regs::*;
use nook_sdk::abi::net::{PacketStatus, Queue, QueueEntry, entry_flags};
use nook_sdk::{NetDriver, Poll};

use crate::rig::{Rig, tally};

#[test]
fn a_received_frame_comes_back_with_its_length() {
    let mut rig = Rig::open();
    assert!(rig.chip().receive(1514, rx::status::EOP | rx::status::IXSM));
    rig.driver.poll(0, 32);
    let entries = rig.host.returned(Queue::RxReturn);
    let flags = entry_flags::FIRST | entry_flags::LAST;
    assert_eq!(entries, [QueueEntry { id: 0, flags, len_bytes: 1514, ..QueueEntry::default() }]);
}

#[test]
fn a_damaged_frame_is_returned_as_failed() {
    use rx::error::{CE, CXE, RXE, SE, SEQ};
    for error in [CE, SE, SEQ, CXE, RXE] {
        let mut rig = Rig::open();
        rig.chip().receive(60, rx::status::EOP | error);
        rig.chip().receive(60, rx::status::EOP);
        assert_eq!(rig.poll(32), Poll::Idle);
        assert_eq!(rig.rx, tally(1, 1, 0));
    }
}

#[test]
fn a_length_that_cannot_be_is_not_believed() {
    let mut rig = Rig::open();
    for len in [0, 13, 1523, 0xffff] {
        rig.chip().receive(len, rx::status::EOP);
    }
    rig.chip().receive(14, rx::status::EOP);
    rig.chip().receive(1522, rx::status::EOP);
    rig.poll(32);
    assert_eq!(rig.rx, tally(2, 4, 0));
}

#[test]
fn a_frame_in_several_descriptors_is_dropped_as_a_whole() {
    let mut rig = Rig::open();
    rig.chip().receive(1518, 0);
    // The rest comes in another poll.
    rig.poll(32);
    rig.chip().receive(1518, 0);
    rig.chip().receive(100, rx::status::EOP);
    rig.chip().receive(60, rx::status::EOP);
    rig.poll(32);
    assert_eq!(rig.rx, tally(1, 1, 2));
}

#[test]
fn a_frame_that_was_cut_off_by_a_stop_does_not_spoil_the_next_one() {
    let mut rig = Rig::open();
    rig.chip().receive(1518, 0);
    rig.poll(32);
    rig.driver.stop().unwrap();
    rig.collect();
    rig.provide_rx(256);
    rig.driver.open().unwrap();
    rig.chip().receive_frames(1);
    rig.poll(32);
    assert_eq!((rig.rx.done, rig.rx.failed), (1, 1));
}

#[test]
fn a_frame_is_sent_from_where_it_is() {
    let mut rig = Rig::open();
    rig.provide_tx(1);
    assert_eq!(rig.poll(32), Poll::Idle);
    assert_eq!(rig.tx, tally(0, 0, 0), "it was not sent yet");
    rig.chip().send(1, 0);
    rig.poll(32);
    assert_eq!(rig.tx, tally(1, 0, 0));
    let pool = rig.host.net_page().pool;
    let address = rig.host.page_now().window_iova + u64::from(pool.offset) + 300 * u64::from(pool.stride_bytes);
    let how = command::EOP | command::IFCS | command::RS | command::IDE;
    assert_eq!(rig.chip().sent, [(address, 360, how)]);
}

#[test]
fn a_frame_in_two_buffers_ends_with_the_second() {
    let mut rig = Rig::open();
    rig.provide_buffers(1, entry_flags::FIRST);
    rig.provide_buffers(1, entry_flags::LAST);
    rig.poll(32);
    rig.chip().send(2, 0);
    rig.poll(32);
    let ends: Vec<bool> = rig.chip().sent.iter().map(|(_, _, how)| how & command::EOP != 0).collect();
    assert_eq!(ends, [false, true]);
    assert_eq!(rig.tx, tally(2, 0, 0));
}

#[test]
fn a_frame_that_was_given_up_is_returned_as_failed() {
    let mut rig = Rig::open();
    rig.provide_tx(3);
    rig.poll(32);
    rig.chip().send(1, tx::status::EC);
    rig.chip().send(1, tx::status::LC);
    rig.chip().send(1, 0);
    rig.poll(32);
    assert_eq!(rig.tx, tally(1, 2, 0));
}

#[test]
fn the_transmit_ring_holds_what_one_call_can_return_and_goes_on_when_there_is_room() {
    let mut rig = Rig::open();
    rig.provide_tx(256);
    rig.poll(512);
    rig.provide_tx(40);
    assert_eq!(rig.poll(512), Poll::Idle, "what is done interrupts");
    assert_eq!(rig.chip().to_send(), 256);
    assert_eq!(rig.waiting().1, 40);
    rig.chip().send(40, 0);
    assert_eq!(rig.poll(512), Poll::Idle);
    assert_eq!((rig.chip().to_send(), rig.waiting().1), (256, 0));
    rig.chip().send(256, 0);
    rig.poll(512);
    assert_eq!(rig.tx, tally(296, 0, 0));
}

#[test]
fn what_no_descriptor_can_say_is_refused() {
    let mut rig = Rig::open();
    for (id, len_bytes) in [(600, 60), (599, 2049), (598, 0)] {
        rig.host.provide(Queue::TxProvide, QueueEntry { id, len_bytes, ..QueueEntry::default() });
    }
    rig.driver.poll(0, 32);
    assert_eq!(rig.chip().to_send(), 0);
    let returned = rig.host.returned(Queue::TxReturn);
    let failed = PacketStatus::Failed as u16;
    assert!(returned.iter().map(|e| (e.id, e.status)).eq([(600, failed), (599, failed), (598, failed)]));
}

#[test]
fn no_more_than_the_budget_is_moved_each_way() {
    let mut rig = Rig::open();
    rig.chip().receive_frames(20);
    rig.provide_tx(20);
    for moved in [8, 16] {
        assert_eq!(rig.poll(8), Poll::Again);
        assert_eq!((rig.rx.done, rig.chip().to_send()), (moved, moved));
    }
    while rig.poll(8) == Poll::Again {}
    assert_eq!((rig.rx.done, rig.chip().to_send()), (20, 20));
}

#[test]
fn a_poll_of_32_packets_each_way_makes_three_hostcalls_and_reads_nothing() {
    let mut rig = Rig::open();
    for budget in [32, 64] {
        // 32 frames were sent and 32 came; 32 wait to be sent, and 32 buffers to be filled.
        rig.provide_tx(32);
        while rig.poll(256) == Poll::Again {}
        rig.chip().send(32, 0);
        rig.chip().receive_frames(32);
        rig.irq();
        rig.provide_tx(32);
        rig.provide_rx(256);
        rig.host.take_calls();
        rig.chip().take_reads();
        let answer = rig.poll(budget);
        let writes: Vec<_> =
            rig.host.take_calls().iter().map(|call| call.split(',').nth(1).map(str::to_owned)).collect();
        let doorbells = [RDT, TDT].map(|register| Some(format!(" {}", register.offset())));
        let unmask = Some(format!(" {}", IMS.offset()));
        if budget == 32 {
            // The budget is used up, so interrupts stay masked: that costs nothing.
            assert_eq!((answer, &writes[..]), (Poll::Again, &doorbells[..]));
        } else {
            assert_eq!((answer, &writes[..2], &writes[2..]), (Poll::Idle, &doorbells[..], &[unmask][..]));
        }
        assert_eq!(rig.chip().take_reads(), 0);
        while rig.poll(256) == Poll::Again {}
        rig.chip().send(32, 0);
        while rig.poll(256) == Poll::Again {}
    }
    assert_eq!((rig.rx.done, rig.tx.done), (64, 128));
}

#[test]
fn a_poll_with_nothing_to_do_makes_no_hostcall() {
    let mut rig = Rig::open();
    assert_eq!(rig.poll(32), Poll::Idle);
    assert!(rig.host.calls().is_empty());
}
