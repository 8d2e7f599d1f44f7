//! What is reported to the driver and the host, and when: interrupts, the mask, the link.

use e1000_regs::*;
use nook_sdk::{Irq, NetDriver, Poll};

use crate::rig::Rig;

#[test]
fn an_interrupt_masks_the_chip_until_the_poll_that_finds_nothing_left() {
    let mut rig = Rig::open();
    rig.chip().receive_frames(40);
    assert!(rig.chip().interrupts());
    assert_eq!(rig.irq(), Irq::HandledPoll);
    assert_eq!(rig.chip().mask, 0);
    assert_eq!(rig.poll(32), Poll::Again);
    assert_eq!(rig.chip().mask, 0);
    assert_eq!(rig.poll(32), Poll::Idle);
    assert_eq!(rig.chip().mask, ICR::RXT0 | ICR::TXDW | ICR::LSC);
    assert!(!rig.chip().interrupts());
}

#[test]
fn a_frame_that_was_sent_is_a_reason_to_poll() {
    let mut rig = Rig::open();
    rig.provide_tx(1);
    rig.poll(32);
    rig.chip().send(1, 0);
    assert_eq!(rig.chip().causes, ICR::TXDW);
    assert_eq!(rig.irq(), Irq::HandledPoll);
}

#[test]
fn a_frame_that_comes_while_interrupts_are_masked_interrupts_when_they_are_not() {
    let mut rig = Rig::open();
    rig.chip().receive_frames(1);
    rig.irq();
    rig.chip().receive_frames(1);
    // As if it came after the poll had looked: the poll's answer is the same, and the cause is still there.
    assert_eq!(rig.poll(32), Poll::Idle);
    assert!(rig.chip().interrupts());
    assert_eq!(rig.irq(), Irq::HandledPoll);
}

#[test]
fn another_devices_interrupt_is_not_ours() {
    let mut rig = Rig::open();
    // Causes that were never asked for do not count.
    rig.chip().causes = ICR::TXQE | ICR::RXO;
    assert_eq!(rig.irq(), Irq::NotMine);
    assert!(rig.host.calls().iter().all(|call| call.starts_with("mmio_read32")));
}

#[test]
fn another_devices_interrupt_during_a_poll_takes_no_cause_away_unseen() {
    let mut rig = Rig::open();
    rig.chip().receive_frames(40);
    rig.irq();
    assert_eq!(rig.poll(32), Poll::Again);
    // Reading ICR clears what the chip has to say, masked or not.
    rig.chip().receive_frames(1);
    assert_eq!(rig.irq(), Irq::HandledPoll);
    assert_eq!(rig.poll(32), Poll::Idle);
    assert_eq!(rig.rx.done, 41);
}

#[test]
fn a_poll_that_used_its_budget_leaves_interrupts_masked_even_if_they_were_not() {
    let mut rig = Rig::open();
    rig.provide_tx(8);
    assert_eq!(rig.poll(8), Poll::Again);
    assert_eq!(rig.chip().mask, 0);
}

#[test]
fn a_full_return_queue_is_a_reason_to_be_called_again() {
    let mut rig = Rig::open();
    rig.provide_tx(255);
    rig.poll(512);
    rig.chip().send(255, 0);
    rig.provide_tx(9);
    assert_eq!(rig.driver.poll(0, 512), Poll::Idle);
    rig.chip().send(9, 0);
    // The host does not take anything in between.
    assert_eq!(rig.driver.poll(0, 512), Poll::Again);
    rig.collect();
    assert_eq!(rig.poll(512), Poll::Idle);
    assert_eq!(rig.tx.done, 264);
    rig.chip().receive_frames(255);
    assert_eq!(rig.driver.poll(0, 512), Poll::Idle);
    rig.chip().receive_frames(10);
    assert_eq!(rig.driver.poll(0, 512), Poll::Again);
    rig.collect();
    assert_eq!(rig.poll(512), Poll::Idle);
    assert_eq!(rig.rx.done, 256);
}

/// Lets a millisecond pass with this many interrupts, each with one received frame and this many sent ones.
fn millisecond(rig: &mut Rig, interrupts: u32, sent: u32) {
    for _ in 0..interrupts {
        rig.provide_rx(1);
        rig.provide_tx(sent);
        rig.poll(256);
        rig.host.advance(1_000_000 / u64::from(interrupts));
        assert_eq!(rig.chip().receive_frames(1), 1);
        rig.chip().send(sent, 0);
        assert_eq!(rig.irq(), Irq::HandledPoll);
        rig.poll(256);
    }
}

#[test]
fn interrupts_of_a_stream_are_kept_apart_and_no_others() {
    let mut rig = Rig::open();
    (0..3).for_each(|_| millisecond(&mut rig, 50, 1));
    assert_eq!(rig.get(ITR), 0, "requests and answers");
    (0..2).for_each(|_| millisecond(&mut rig, 50, 0));
    let itr = rig.get(ITR);
    assert!(itr != 0 && u64::from(itr) * ITR_STEP_NS <= 100_000, "a stream");
    let written = |calls: Vec<String>| {
        let itr = format!("mmio_write32 [0, {},", ITR.offset());
        calls.iter().filter(|call| call.starts_with(&itr)).count()
    };
    rig.host.take_calls();
    (0..5).for_each(|_| millisecond(&mut rig, 50, 0));
    assert_eq!(written(rig.host.take_calls()), 0, "it is written when it changes");
    millisecond(&mut rig, 2, 0);
    millisecond(&mut rig, 2, 0);
    assert_eq!(rig.get(ITR), 0);
    // A reset takes it off, and a stream is known for one again.
    (0..2).for_each(|_| millisecond(&mut rig, 50, 0));
    assert_ne!(rig.get(ITR), 0);
    rig.driver.set_mtu(9000).unwrap();
    rig.collect();
    assert_eq!(rig.get(ITR), 0);
    rig.driver.set_mtu(1500).unwrap();
    rig.collect();
    rig.deferred();
    (0..2).for_each(|_| millisecond(&mut rig, 50, 0));
    assert_eq!(rig.get(ITR), itr);
}

fn links(rig: &Rig) -> Vec<String> {
    rig.host.take_calls().into_iter().filter(|call| call.starts_with("net_link")).collect()
}

#[test]
fn a_link_change_is_reported_once() {
    let mut rig = Rig::open();
    for (status, report) in [
        (0, "net_link [0, 0, 0]"),
        (STATUS::LU | STATUS::FD | STATUS::SPEED.put(1), "net_link [1, 100, 1]"),
        (STATUS::LU | STATUS::SPEED.put(0), "net_link [1, 10, 0]"),
    ] {
        rig.chip().set(STATUS, status);
        for expected in [vec![report.to_owned()], vec![]] {
            rig.chip().causes |= ICR::LSC;
            assert_eq!(rig.irq(), Irq::Handled);
            assert_eq!(links(&rig), expected);
        }
    }
    assert_eq!(rig.chip().mask, ICR::RXT0 | ICR::TXDW | ICR::LSC, "a link change is no reason to poll");
}

#[test]
fn a_link_that_goes_down_without_an_interrupt_is_noticed_by_the_timer() {
    let mut rig = Rig::open();
    rig.chip().set(STATUS, 0);
    rig.host.advance(1_000_000_000);
    rig.driver.timer();
    let calls = rig.host.take_calls();
    assert!(calls.contains(&"net_link [0, 0, 0]".to_owned()));
    let next = rig.host.page_now().now_ns + 1_000_000_000;
    assert!(calls.contains(&format!("timer_set [{next}]")), "and it looks again");
}

#[test]
fn a_link_that_is_up_already_is_reported_by_open() {
    let mut rig = Rig::probed(|_| ());
    rig.chip().set(STATUS, STATUS::LU | STATUS::FD | STATUS::SPEED.put(2));
    rig.driver.open().unwrap();
    assert_eq!(links(&rig), ["net_link [1, 1000, 1]"]);
}
